import { transcriber, type HistoryEvent } from "@wheelwork/core";
import { eventTypes } from "@wheelwork/engine";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "./client.ts";
import { CommandError } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { say, shown } from "./output.ts";

/** Options that say which events are meant. */
export const eventOptions = {
  hub: { type: "string", value: "NAME", multiple: true, about: "without ID: only those of runs of this hub" },
  state: {
    type: "string",
    value: "NAME",
    multiple: true,
    about: "without ID: only those by which a run enters this state",
  },
  type: {
    type: "string",
    choices: eventTypes,
    multiple: true,
    about: "without ID: only those of this type",
  },
  label: {
    type: "string",
    value: "NAME=VALUE",
    multiple: true,
    about: "without ID: only those of runs with this label",
  },
  after: {
    type: "string",
    value: "POSITION",
    about: "without ID: those that came after this position, as -o jsonl prints it (from now on)",
  },
} as const;

type Values = {
  readonly [Name in Exclude<keyof typeof eventOptions, "after">]?: readonly string[];
} & { readonly after?: string; readonly output?: string };

interface Told {
  readonly id: string;
  readonly hub: string;
  readonly labels?: object;
  readonly event: HistoryEvent;
}

/** How long it waits while the server is away, and when a stream has ended, in milliseconds. */
const [awayMs, endedMs] = [1000, 200];

/** Prints what happens to all requests, until Ctrl+C. It connects again with its last position when the server was away. */
export async function watchAll(
  client: Client,
  { after, output, ...query }: Values,
  eventOf: (given: object) => HistoryEvent,
): Promise<never> {
  const transcripts = new Transcripts(eventOf);
  let position = after;
  let isAway = false;
  for (;;) {
    try {
      for await (const { id, data } of client.stream("/events", { query, after: position })) {
        isAway = false;
        position = id;
        if (data === undefined) continue;
        const told = data as Told;
        if (output === "jsonl") say(JSON.stringify({ position, ...told }));
        else for (const line of transcripts.linesOf(told)) say(line);
      }
      await sleep(endedMs);
    } catch (error) {
      if (!(error instanceof CommandError) || error.exitCode !== exitCodes.tryAgain) throw error;
      if (!isAway) process.stderr.write(`${error.message.split("\n")[0] ?? ""}: waiting for it\n`);
      isAway = true;
      await sleep(awayMs);
    }
  }
}

/** So many runs are remembered, for what their events repeat. */
const maxRuns = 1000;

/** Events as lines, each with the time and the run. */
class Transcripts {
  readonly #runs = new Map<string, (event: HistoryEvent) => string>();
  readonly #eventOf: (given: object) => HistoryEvent;

  constructor(eventOf: (given: object) => HistoryEvent) {
    this.#eventOf = eventOf;
  }

  linesOf({ id, event: given }: Told): string[] {
    const event = this.#eventOf(given);
    const transcribe = this.#runs.get(id) ?? transcriber();
    this.#runs.delete(id);
    if (event.type !== "ended") this.#runs.set(id, transcribe);
    for (const oldest of this.#runs.keys()) {
      if (this.#runs.size <= maxRuns) break;
      this.#runs.delete(oldest);
    }
    const head = `${new Date(event.at).toISOString()}  ${shown(id)}`;
    return transcribe(event)
      .trimEnd()
      .split("\n")
      .map((line) => `${head}  ${shown(line)}`);
  }
}
