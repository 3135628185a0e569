import type { RunEvent } from "@wheelwork/core";
import type { LogProgress } from "@wheelwork/engine";
import { deadLetterTopic, readDeadLetter, type LogRecord } from "@wheelwork/engine/cluster";
import { count } from "../world.ts";
import { isStray } from "./strays.ts";
import { commandOf, saidOf, typeOf, type Body, type Ledger, type Story } from "../shards/ledger.ts";

interface Claimed {
  readonly shard: number;
  /** Where the inbox ended, and when that was. */
  readonly end: number;
  /** Where the topics of relays ended, by `topic/partition`. */
  readonly ends: ReadonlyMap<string, number>;
  /** Where they ended when it looked, which is later: what came between may wait for a reader that is gone. */
  readonly looked: Map<string, number>;
  readonly at: number;
  /** The inbox could not be read for a while. */
  cut: boolean;
  /** The batch of the last answer that was sent for the first time. */
  lastSent: number;
}

/** What the inboxes need to know of their world. */
export interface InboxesOptions {
  readonly inbox: string;
  readonly shards: number;
  readonly ledger: Ledger;
  readonly now: () => number;
  /** The identity of the inbox as it is now. */
  readonly inboxId: () => string;
  /** What a request is for its hub. */
  readonly bodyOf: (hub: string, request: unknown) => Body;
}

/** How long callbacks may wait for what was in the inbox at a claim, in milliseconds. */
const catchUpMs = 10_000;

/**
 * The inboxes of the shards and the topics of relays, and how far owners have come with them: positions pass only what is
 * decided, what was there at a claim goes before callbacks, and answers are published in the order of their batches.
 */
export class Inboxes {
  readonly #options: InboxesOptions;
  readonly #ledger: Ledger;
  readonly #inboxes: LogRecord[][];
  /** Up to which record each shard's inbox was committed. */
  readonly #committedTo: number[] = [];
  /** Up to which record each shard's inbox was looked at: what was cut is no longer to come. */
  readonly #positions: number[];
  readonly #claims = new Map<number, Claimed>();
  /** What workers elsewhere have said, by request, call and attempt: where it is in the inbox. */
  readonly #said = new Map<string, number>();
  /** What relays were told, by request, call and attempt: where it is. */
  readonly #relayed = new Map<string, { readonly place: string; readonly offset: number }>();
  /** Where the topics of relays end: each of their partitions is here. */
  readonly #ends = new Map<string, number>();
  /** The attempt of each call that is under way: `request/call`. */
  readonly #attempts = new Map<string, number>();
  /** Places of the inbox that have a dead letter. */
  readonly #buried = new Set<string>();

  constructor(options: InboxesOptions) {
    this.#options = options;
    this.#ledger = options.ledger;
    this.#inboxes = Array.from({ length: options.shards }, () => []);
    this.#positions = Array.from({ length: options.shards }, () => 0);
  }

  // ---- the log ----

  /** A record that the broker has written. */
  wrote(record: LogRecord): void {
    const { topic, partition, offset } = record;
    if (topic === this.#options.inbox) {
      this.#inboxes[partition]?.push(record);
      const name = saidOf(record);
      if (name !== undefined && !this.#said.has(name)) this.#said.set(name, offset);
    } else if (topic.endsWith(deadLetterTopic(""))) {
      const { origin } = readDeadLetter(record);
      if (origin.topic === this.#options.inbox) this.#buried.add(`${origin.partition}/${origin.offset}`);
    }
  }

  /** Relays read this partition. */
  relay(topic: string, partition: number): void {
    this.#ends.set(`${topic}/${partition}`, 0);
  }

  /** A message to a relay was written; undefined: nobody waits for it. */
  relayed({ topic, partition, offset }: LogRecord, attempt: string | undefined): void {
    const place = `${topic}/${partition}`;
    this.#ends.set(place, offset + 1);
    if (attempt !== undefined && !this.#relayed.has(attempt)) this.#relayed.set(attempt, { place, offset });
  }

  /** What a shard has not consumed will be deleted. @returns Whether there is something. */
  cut(shard: number): boolean {
    const left = (this.#inboxes[shard] ?? []).slice(this.#positions[shard]);
    for (const { key } of left) this.#ledger.lost.add(key);
    this.#positions[shard] = this.#inboxes[shard]?.length ?? 0;
    return left.length > 0;
  }

  /** The inbox is another one, which is empty. */
  recreated(): void {
    for (let shard = 0; shard < this.#options.shards; shard++) {
      this.cut(shard);
      this.#inboxes[shard] = [];
      this.#positions[shard] = 0;
      this.#committedTo[shard] = 0;
    }
    this.#buried.clear();
    this.#said.clear();
    this.#relayed.clear();
  }

  /** An operator lets the shard begin anew, at the beginning of what its inbox still has. */
  reset(shard: number, first: number): void {
    this.#positions[shard] = first;
    // A statement of an owner that has died may arrive after that, with a position from before it.
    this.#committedTo[shard] = 0;
  }

  #positionOf(shard: number): number {
    return this.#positions[shard] ?? 0;
  }

  /** An owner hands an answer to the log for the first time. */
  published(owner: number, story: Story): void {
    const claim = this.#claims.get(owner);
    if (claim?.shard !== story.shard) return;
    this.#ledger.demand(
      "order",
      story.answerSeq >= claim.lastSent,
      () =>
        `${story.key} was answered in batch ${story.answerSeq}, and is published after batch ${claim.lastSent}`,
    );
    claim.lastSent = Math.max(claim.lastSent, story.answerSeq);
  }

  // ---- the stores ----

  claimed(shard: number, owner: number, isCut: boolean): void {
    const end = this.#inboxes[shard]?.length ?? 0;
    const ends = new Map(this.#ends);
    const at = this.#options.now();
    this.#claims.set(owner, { shard, end, ends, looked: new Map(), at, cut: isCut, lastSent: 0 });
  }

  /** An owner has looked how much there is to read in a partition. */
  looked(owner: number, topic: string, partition: number, end: number): void {
    this.#claims.get(owner)?.looked.set(`${topic}/${partition}`, end);
  }

  /** The inbox cannot be read by an owner. */
  cutOff(owner: number): void {
    const claim = this.#claims.get(owner);
    if (claim !== undefined) claim.cut = true;
  }

  /** Whether an owner has consumed what was there when it claimed and looked; `noted`: how far the group has come with a topic. */
  hasCaughtUp(owner: number, noted: (topic: string, partition: number) => number | undefined): boolean {
    const claim = this.#claims.get(owner);
    if (claim === undefined || this.#positionOf(claim.shard) < claim.end) return false;
    for (const place of claim.ends.keys()) {
      const end = claim.looked.get(place);
      const [topic = "", partition] = place.split("/");
      if (end === undefined || (noted(topic, Number(partition)) ?? 0) < end) return false;
    }
    return true;
  }

  /** What an owner has committed of runs. */
  committed(
    owner: number,
    journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[],
  ): void {
    for (const { key, events } of journal) for (const event of events) this.#event(owner, key, event);
  }

  #event(owner: number, key: string, event: RunEvent): void {
    if (event.type === "attempt") this.#attempts.set(`${key}/${event.call}`, event.attempt);
    if (event.type !== "failed" && event.type !== "settled") return;
    const outcome = event.type === "failed" ? event.failure : event.outcome;
    const attempt = this.#attempts.get(`${key}/${event.call}`) ?? 1;
    if (outcome === "ok") this.#countKept(owner, `${key}/${event.call}/${attempt}`);
    else if (outcome.kind === "timeout") this.#timedOut(owner, key, event.call, attempt);
  }

  /** Counts what a relay was told while its owner was away. */
  #countKept(owner: number, attempt: string): void {
    const { place = "", offset = 0 } = this.#relayed.get(attempt) ?? {};
    if (offset < (this.#claims.get(owner)?.ends.get(place) ?? 0)) count(this.#ledger.exercised, "kept");
  }

  /** What was in the inbox at the claim goes first, unless it could not be read in time. */
  #timedOut(owner: number, key: string, call: number, attempt: number): void {
    const name = `${key}/${call}/${attempt}`;
    const said = this.#said.get(name);
    const claim = this.#claims.get(owner);
    const [root = key] = key.split("/");
    if (claim === undefined || this.#ledger.lost.has(root)) return;
    const excused = claim.cut || this.#options.now() >= claim.at + catchUpMs;
    const what = `${key}: attempt ${attempt} of call ${call} times out, though its outcome was`;
    if (said !== undefined)
      this.#ledger.demand("I10", said >= claim.end || excused, () => `${what} in the inbox`);
    const relayed = this.#relayed.get(name);
    if (relayed === undefined) return;
    const { place, offset } = relayed;
    const isNew = offset >= (claim.ends.get(place) ?? 0);
    this.#ledger.demand("I10", isNew || excused, () => `${what} in ${place}`);
  }

  /** A batch says how far its shard has come. @returns The commands that the position passes with it. */
  passed(
    shard: number,
    { log, position }: LogProgress,
  ): readonly { readonly key: string; readonly kind: string; readonly id: string }[] {
    if (!log.endsWith(`/${this.#options.inboxId()}`)) return [];
    const from = this.#positionOf(shard);
    const before = this.#committedTo[shard] ?? 0;
    const records = this.#inboxes[shard] ?? [];
    this.#ledger.demand(
      "position",
      position <= records.length && position >= before,
      () => `the position of shard ${shard} goes from ${before} to ${position}, of ${records.length}`,
    );
    this.#committedTo[shard] = position;
    this.#positions[shard] = Math.max(from, position);
    return records.slice(from, position).flatMap((record) => this.#pass(shard, record));
  }

  #pass(shard: number, record: LogRecord): { key: string; kind: string; id: string }[] {
    const { key } = record;
    if (isStray(record)) {
      const isBuried = this.#buried.has(`${shard}/${record.offset}`);
      this.#ledger.demand("dead-letter", isBuried, () => `${key} is no entry, and is no dead letter`);
      return [];
    }
    const type = typeOf(record);
    if (type === "command") {
      const { id, kind, run } = commandOf(record) ?? {};
      return id === undefined || kind === undefined ? [] : [{ key: run ?? key, kind, id }];
    }
    if (type !== "request") return [];
    const story = this.#ledger.stories.get(key);
    this.#ledger.demand(
      "position",
      story !== undefined && story.shard === shard,
      () => `the position of shard ${shard} passes ${key}, which is not decided`,
    );
    if (story === undefined) return [];
    const { hub, request } = JSON.parse(record.value) as Body;
    if (this.#ledger.isBegunBy(story, this.#options.bodyOf(hub, request))) return [];
    this.#ledger.demand(
      "dead-letter",
      // What had begun its key before may have been forgotten since.
      story.purged || story.starts > 1 || this.#buried.has(`${shard}/${record.offset}`),
      () => `another body came for ${key}, and is no dead letter`,
    );
    return [];
  }
}
