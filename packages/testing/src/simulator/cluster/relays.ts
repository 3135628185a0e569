import type { Outcome } from "@wheelwork/core";
import type { Worker } from "@wheelwork/engine";
import type { LogRecord } from "@wheelwork/engine/cluster";
import { isRouted, type RoutedWorker } from "../attempts.ts";
import type { Stage } from "../shards/stage.ts";
import type { Inboxes } from "./inboxes.ts";

/** Topics of relays have so many partitions. */
const partitions = 2;

interface Asked {
  readonly request: string;
  readonly call: number;
  readonly attempt: number;
}

/** The attempts that a relay calls the same, and what was heard of them. */
interface Relayed {
  readonly asked: Map<string, Asked>;
  readonly said: Outcome[];
}

/** Relays whose messages back are routed by any node. */
export class RoutedRelays {
  readonly #stage: Stage;
  readonly #inboxes: Inboxes;
  readonly #workers: readonly RoutedWorker[];
  /** By spoke and correlation. */
  readonly #relayed = new Map<string, Relayed>();

  constructor(stage: Stage, inboxes: Inboxes) {
    this.#stage = stage;
    this.#inboxes = inboxes;
    this.#workers = stage.opened.workers().filter(isRouted);
    for (const { outcomes } of this.#workers) {
      stage.broker.createTopic(outcomes.topic, partitions);
      for (let partition = 0; partition < partitions; partition++) inboxes.relay(outcomes.topic, partition);
    }
  }

  /** A record that the broker has written. */
  wrote(record: LogRecord): void {
    for (const worker of this.#workers) {
      const { outcomes } = worker;
      if (outcomes.topic !== record.topic) continue;
      const heard = outcomes.read(record);
      const asked = heard === undefined ? [] : [...this.#relayOf(worker, heard.correlation).asked.keys()];
      this.#inboxes.relayed(record, asked.at(-1));
    }
  }

  /** What its messages back say may be heard at any node: it is seen of each attempt that it may be for. */
  observed(worker: RoutedWorker): Worker {
    const { outcomes } = worker;
    const see = ({ request, call, attempt }: Asked, outcome: Outcome): void => {
      const shard = this.#stage.shardOf(request);
      this.#stage.chronicle.see(shard, { type: "outcome", node: 0, request, call, attempt, outcome });
    };
    return {
      ...worker,
      outcomes: {
        ...outcomes,
        read: (message) => {
          const heard = outcomes.read(message);
          if (heard === undefined) return undefined;
          const { asked, said } = this.#relayOf(worker, heard.correlation);
          said.push(heard.outcome);
          for (const attempt of asked.values()) see(attempt, heard.outcome);
          return heard;
        },
        // Asked for when an owner begins to wait for an attempt, its own or that of an earlier owner.
        correlation: (input, context) => {
          const correlation = outcomes.correlation(input, context);
          const { asked, said } = this.#relayOf(worker, correlation);
          const { runKey: request, call, attempt } = context;
          const name = `${request}/${call}/${attempt}`;
          if (!asked.has(name)) {
            asked.set(name, { request, call, attempt });
            // What waits in an inbox may still be taken for it.
            for (const outcome of said) see({ request, call, attempt }, outcome);
          }
          return correlation;
        },
      },
    };
  }

  #relayOf({ spoke }: Worker, correlation: string): Relayed {
    const name = `${spoke.name} ${correlation}`;
    let relayed = this.#relayed.get(name);
    if (relayed === undefined) this.#relayed.set(name, (relayed = { asked: new Map(), said: [] }));
    return relayed;
  }
}
