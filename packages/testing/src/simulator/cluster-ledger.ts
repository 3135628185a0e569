import type { Answer, RunEvent } from "@wheelwork/core";
import {
  deadLetterTopic,
  readDeadLetter,
  type LogRecord,
  type LogProgress,
  type Message,
} from "@wheelwork/engine";
import { isDeepStrictEqual } from "node:util";

/** What is wrong, and which promise it breaks. */
export interface ClusterViolation {
  readonly invariant: string;
  readonly message: string;
}

/** What a request was when it was accepted: the same for equal requests. */
export interface Body {
  readonly hub: string;
  readonly request: unknown;
}

/** The hub that serves what could not be understood. */
export const refusedHubName = "refused:invalid";

/** What is committed of one run. */
export interface Story {
  readonly key: string;
  readonly shard: number;
  events: RunEvent[];
  /** How often its key was begun: again only after it was forgotten. */
  starts: number;
  answer: Answer | undefined;
  /** In simulated time. */
  startedAt: number;
  answeredAt: number;
  /** The batch of its answer. */
  answerSeq: number;
  ended: boolean;
  /** It may be unknown by now. */
  purged: boolean;
}

interface Claimed {
  readonly shard: number;
  /** Where the inbox ended, and when that was. */
  readonly end: number;
  /** Where the topics of relays ended, by `topic/partition`. */
  readonly ends: ReadonlyMap<string, number>;
  /** The same when it looked, which is a little later: what came between may wait for a reader that is gone. */
  looked: ReadonlyMap<string, number> | undefined;
  readonly at: number;
  /** The inbox could not be read for a while. */
  cut: boolean;
  /** The batch of the last answer that was sent for the first time. */
  lastSent: number;
}

/** What the ledger needs to know of its world. */
export interface LedgerOptions {
  readonly inbox: string;
  readonly shards: number;
  readonly now: () => number;
  readonly say: (what: string, details: string) => void;
  /** The identity of the inbox as it is now. */
  readonly inboxId: () => string;
  /** What a request is for its hub. */
  readonly bodyOf: (hub: string, request: unknown) => Body;
}

const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** How long callbacks may wait for what was in the inbox at a claim, in milliseconds. */
const catchUpMs = 10_000;

/** What was committed, written and published in a cluster, held against what must never be: over all shards and nodes. */
export class Ledger {
  readonly violations: ClusterViolation[] = [];
  readonly exercised = new Map<string, number>();
  readonly stories = new Map<string, Story>();
  /** Runs that are committed and have not ended. */
  readonly live = new Set<string>();
  /** Requests whose record was deleted before it was consumed, for all that is known. */
  readonly lost = new Set<string>();
  readonly published: LogRecord[] = [];
  readonly letters: LogRecord[] = [];
  /** The keys of all requests that have come to an inbox. */
  readonly inboxed = new Set<string>();
  readonly #options: LedgerOptions;
  readonly #inboxes: LogRecord[][];
  /** Up to which record each shard's inbox was committed. */
  readonly #committedTo: number[] = [];
  /** Up to which record each shard's inbox was looked at: what was cut is no longer to come. */
  readonly #positions: number[];
  /** Shards whose store knows how far they have come with their inbox. */
  readonly #begun = new Set<number>();
  readonly #claims = new Map<number, Claimed>();
  /** What workers elsewhere have said, by request, call and attempt: where it is in the inbox. */
  readonly #said = new Map<string, number>();
  /** What relays were told, by request, call and attempt: where it is. */
  readonly #relayed = new Map<string, { readonly place: string; readonly offset: number }>();
  /** Where the topics of relays end. */
  readonly #ends = new Map<string, number>();
  /** The attempt of each call that is under way: `request/call`. */
  readonly #attempts = new Map<string, number>();
  /** Answers that were sent, by the ids that they are published under. */
  readonly #sent = new Set<string>();
  readonly #commands = new Set<string>();
  /** Places of the inbox that have a dead letter. */
  readonly #buried = new Set<string>();

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#inboxes = Array.from({ length: options.shards }, () => []);
    this.#positions = Array.from({ length: options.shards }, () => 0);
  }

  demand(invariant: string, holds: boolean, message: () => string): void {
    this.exercised.set(invariant, (this.exercised.get(invariant) ?? 0) + 1);
    if (holds) return;
    const text = message();
    this.#options.say("VIOLATION", `${invariant}: ${text}`);
    this.violations.push({ invariant, message: text });
  }

  // ---- the log ----

  /** A record that the broker has written. */
  wrote(record: LogRecord): void {
    const { topic, partition, key, headers, offset } = record;
    if (topic === this.#options.inbox) {
      this.#inboxes[partition]?.push(record);
      if (headers["ce_type"] === "wheelwork.request") this.inboxed.add(key);
      if (headers["ce_type"] === "wheelwork.command") this.#commands.add(`${key} ${commandOf(record)?.id}`);
      const name = saidOf(record);
      if (name !== undefined && !this.#said.has(name)) this.#said.set(name, offset);
    } else if (topic.endsWith(deadLetterTopic(""))) {
      this.letters.push(record);
      const { origin } = readDeadLetter(record);
      if (origin.topic === this.#options.inbox) this.#buried.add(`${origin.partition}/${origin.offset}`);
    } else if (headers["ce_id"] !== undefined && topic.startsWith("from-")) {
      this.published.push(record);
    }
  }

  /** A message to a relay was written; undefined: nobody waits for it. */
  relayed({ topic, partition, offset }: LogRecord, attempt: string | undefined): void {
    const place = `${topic}/${partition}`;
    this.#ends.set(place, offset + 1);
    if (attempt !== undefined && !this.#relayed.has(attempt)) this.#relayed.set(attempt, { place, offset });
  }

  /** Whether a command has come to an inbox. */
  hasCommand(key: string, id: string): boolean {
    return this.#commands.has(`${key} ${id}`);
  }

  /** What a shard has not consumed will be deleted. @returns Whether there is something. */
  cut(shard: number): boolean {
    const left = (this.#inboxes[shard] ?? []).slice(this.#positions[shard]);
    for (const { key } of left) this.lost.add(key);
    // One that has never committed begins where its log does by then.
    if (!this.#begun.has(shard)) this.#positions[shard] = this.#inboxes[shard]?.length ?? 0;
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
    this.#committedTo[shard] = first;
    this.#begun.delete(shard);
  }

  positionOf(shard: number): number {
    return this.#positions[shard] ?? 0;
  }

  /** A node hands an answer to the log. */
  publishes(owner: number, { key, value, headers = {} }: Message): void {
    const id = headers["ce_id"] ?? "";
    const story = this.stories.get(id.slice(0, id.lastIndexOf("@")));
    this.demand(
      "I9",
      story?.answer !== undefined && JSON.stringify(story.answer) === value,
      () => `${key} is answered with ${value}, which is not committed`,
    );
    const claim = this.#claims.get(owner);
    if (story === undefined || this.#sent.has(id)) return;
    this.#sent.add(id);
    if (claim?.shard !== story.shard) return;
    this.demand(
      "order",
      story.answerSeq >= claim.lastSent,
      () => `${key} was answered in batch ${story.answerSeq}, and is published after batch ${claim.lastSent}`,
    );
    claim.lastSent = Math.max(claim.lastSent, story.answerSeq);
  }

  // ---- the stores ----

  claimed(shard: number, owner: number, isCut: boolean): void {
    const end = this.#inboxes[shard]?.length ?? 0;
    const ends = new Map(this.#ends);
    const at = this.#options.now();
    this.#claims.set(owner, { shard, end, ends, looked: undefined, at, cut: isCut, lastSent: 0 });
  }

  /** An owner has looked how much there is to read in the topics. */
  looked(owner: number): void {
    const claim = this.#claims.get(owner);
    if (claim !== undefined) claim.looked = new Map(this.#ends);
  }

  /** The inbox cannot be read by an owner. */
  cutOff(owner: number): void {
    const claim = this.#claims.get(owner);
    if (claim !== undefined) claim.cut = true;
  }

  /** Whether an owner has consumed what was there when it claimed and looked; `noted`: how far the group has come with a topic. */
  hasCaughtUp(owner: number, noted: (topic: string, partition: number) => number | undefined): boolean {
    const claim = this.#claims.get(owner);
    if (claim?.looked === undefined || this.positionOf(claim.shard) < claim.end) return false;
    for (const [place, end] of claim.looked) {
      const [topic = "", partition] = place.split("/");
      if ((noted(topic, Number(partition)) ?? 0) < end) return false;
    }
    return true;
  }

  /** @returns The commands that the position passes with it. */
  committed(
    shard: number,
    owner: number,
    seq: number,
    journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[],
    logProgress: LogProgress | undefined,
  ): readonly { readonly key: string; readonly kind: string; readonly id: string }[] {
    for (const { key, events } of journal) {
      for (const event of events) this.#event(shard, owner, key, seq, event);
      if (this.stories.get(key)?.ended === false) this.live.add(key);
      else this.live.delete(key);
    }
    if (logProgress === undefined || !logProgress.log.endsWith(`/${this.#options.inboxId()}`)) return [];
    const from = this.positionOf(shard);
    const before = this.#committedTo[shard] ?? 0;
    const records = this.#inboxes[shard] ?? [];
    this.#begun.add(shard);
    this.demand(
      "position",
      logProgress.position <= records.length && logProgress.position >= before,
      () =>
        `the position of shard ${shard} goes from ${before} to ${logProgress.position}, of ${records.length}`,
    );
    this.#committedTo[shard] = logProgress.position;
    this.#positions[shard] = Math.max(from, logProgress.position);
    return records.slice(from, logProgress.position).flatMap((record) => this.#passed(shard, record));
  }

  #event(shard: number, owner: number, key: string, seq: number, event: RunEvent): void {
    const now = this.#options.now();
    let story = this.stories.get(key);
    if (story === undefined) {
      const none = { events: [], starts: 0, answer: undefined, startedAt: now, answeredAt: 0, answerSeq: 0 };
      this.stories.set(key, (story = { key, shard, ...none, ended: false, purged: false }));
    }
    if (event.type === "started") {
      this.demand("I5", story.starts === 0 || story.purged, () => `${key} is begun twice`);
      const way = this.inboxed.has(key) ? "inbox way" : "short way";
      this.exercised.set(way, (this.exercised.get(way) ?? 0) + 1);
      const begun = { events: [], starts: story.starts + 1, answer: undefined, startedAt: now };
      Object.assign(story, { ...begun, ended: false, purged: false });
    }
    this.demand("I5", story.shard === shard, () => `${key} is worked on in shard ${shard}, too`);
    story.events.push(plain(event));
    if ((event.type === "answered" || event.type === "ended") && event.answer !== undefined) {
      this.demand("I5", story.answer === undefined, () => `${key} is answered twice`);
      Object.assign(story, { answer: plain(event.answer), answeredAt: now, answerSeq: seq });
    }
    if (event.type === "ended") story.ended = true;
    if (event.type === "attempt") this.#attempts.set(`${key}/${event.call}`, event.attempt);
    if (event.type !== "failed" && event.type !== "settled") return;
    const outcome = event.type === "failed" ? event.failure : event.outcome;
    if (outcome === "ok") this.#countKept(owner, key, event.call);
    else if (outcome.kind === "timeout")
      this.#timedOut(owner, key, event.call, this.#attempts.get(`${key}/${event.call}`) ?? 1);
  }

  /** Counts what a relay was told while its owner was away. */
  #countKept(owner: number, key: string, call: number): void {
    const name = `${key}/${call}/${this.#attempts.get(`${key}/${call}`) ?? 1}`;
    const { place = "", offset = 0 } = this.#relayed.get(name) ?? {};
    if (offset < (this.#claims.get(owner)?.ends.get(place) ?? 0))
      this.exercised.set("kept", (this.exercised.get("kept") ?? 0) + 1);
  }

  /** What was in the inbox at the claim goes first, unless it could not be read in time. */
  #timedOut(owner: number, key: string, call: number, attempt: number): void {
    const name = `${key}/${call}/${attempt}`;
    const said = this.#said.get(name);
    const claim = this.#claims.get(owner);
    const [root = key] = key.split("/");
    if (claim === undefined || this.lost.has(root)) return;
    const excused = claim.cut || this.#options.now() >= claim.at + catchUpMs;
    const what = `${key}: attempt ${attempt} of call ${call} times out, though its outcome was`;
    if (said !== undefined) this.demand("I10", said >= claim.end || excused, () => `${what} in the inbox`);
    const relayed = this.#relayed.get(name);
    if (relayed === undefined) return;
    const { place, offset } = relayed;
    this.demand("I10", offset >= (claim.ends.get(place) ?? 0) || excused, () => `${what} in ${place}`);
  }

  #passed(shard: number, record: LogRecord): { key: string; kind: string; id: string }[] {
    const { key, headers } = record;
    if (headers["ce_type"] === "wheelwork.command") {
      const { id, kind, run } = commandOf(record) ?? {};
      return id === undefined || kind === undefined ? [] : [{ key: run ?? key, kind, id }];
    }
    if (headers["ce_type"] !== "wheelwork.request") return [];
    const story = this.stories.get(key);
    this.demand(
      "position",
      story !== undefined && story.shard === shard,
      () => `the position of shard ${shard} passes ${key}, which is not decided`,
    );
    if (story === undefined) return [];
    const { hub, request } = JSON.parse(record.value) as Body;
    if (this.isBegunBy(story, this.#options.bodyOf(hub, request))) return [];
    this.demand(
      "dead-letter",
      // What had begun its key before may have been forgotten since.
      story.purged || story.starts > 1 || this.#buried.has(`${shard}/${record.offset}`),
      () => `another body came for ${key}, and is no dead letter`,
    );
    return [];
  }

  /** Whether a run was begun by such a request; what was refused, was not understood, and all such requests are equal. */
  isBegunBy({ events }: Story, { hub, request }: Body): boolean {
    const [started] = events;
    if (started?.type !== "started" || started.hub !== hub) return false;
    return hub === refusedHubName || isDeepStrictEqual(started.request, plain(request));
  }

  /** What ended before a time, in engine time, may be unknown from now on. */
  purged(shard: number, endedBefore: number): void {
    for (const story of this.stories.values()) {
      if (story.shard !== shard || !story.ended) continue;
      if ((story.events.at(-1)?.at ?? 0) < endedBefore) story.purged = true;
    }
  }

  // ---- in the end ----

  /** Answers that are published: each is the one that is stored, and under one id. */
  checkPublished(): void {
    const values = new Map<string, string>();
    const ids = new Map<string, Set<string>>();
    for (const { key, value, headers, topic } of this.published) {
      const id = headers["ce_id"] ?? "";
      this.demand("replies", (values.get(id) ?? value) === value, () => `${key} has two answers of one id`);
      values.set(id, value);
      const place = `${topic} ${key}`;
      ids.set(place, (ids.get(place) ?? new Set()).add(id));
    }
    for (const [place, found] of ids) {
      const keys = new Set([...found].map((id) => id.slice(0, id.lastIndexOf("@"))));
      const starts = [...keys].reduce((all, key) => all + (this.stories.get(key)?.starts ?? 0), 0);
      this.demand(
        "replies",
        keys.size === 1 && found.size <= starts,
        () => `${place} has the answers ${[...found].join(", ")}`,
      );
    }
  }

  /** Dead letters are what nobody could be answered for, and what came under the key of another request. */
  checkLetters(isKnown: (letter: LogRecord) => boolean): void {
    for (const letter of this.letters) {
      const { key, value, headers } = letter;
      const { origin, reason } = readDeadLetter(letter);
      if (origin.topic !== this.#options.inbox) {
        this.demand("dead-letter", key === "" || isKnown(letter), () => `${key} is a dead letter: ${reason}`);
        continue;
      }
      const story = this.stories.get(key);
      const isRequest = headers["ce_type"] === "wheelwork.request";
      if (isRequest) {
        const { hub, request } = JSON.parse(value) as Body;
        this.demand(
          "dead-letter",
          story !== undefined &&
            (story.starts > 1 || !this.isBegunBy(story, this.#options.bodyOf(hub, request))),
          () => `${key} is a dead letter, though it is what was asked for: ${reason}`,
        );
      } else {
        this.demand(
          "dead-letter",
          headers["ce_type"] === "wheelwork.response" && saidOf(letter) === undefined,
          () => `${key} is a dead letter: ${reason}`,
        );
      }
    }
  }
}

/** The command that a record of an inbox holds. */
function commandOf({
  value,
}: LogRecord): { readonly id: string; readonly kind: string; readonly run?: string } | undefined {
  const { input, run } = JSON.parse(value) as {
    input?: { readonly id: string; readonly kind: string };
    run?: string;
  };
  return input === undefined ? undefined : { ...input, ...(run === undefined ? {} : { run }) };
}

/** The attempt that a record of an inbox says something of that makes sense: `request/call/attempt`. */
function saidOf({ key, value, headers }: LogRecord): string | undefined {
  if (headers["ce_type"] !== "wheelwork.response" || !value.startsWith("{")) return undefined;
  const { run, call, attempt } = attemptOf(key, headers["correlation-id"] ?? "");
  return `${run}/${call}/${attempt}`;
}

/** The attempt that a correlation names, under the key of its request: the call by its way from there. */
export function attemptOf(
  key: string,
  correlation: string,
): { readonly run: string; readonly call: number; readonly attempt: number; readonly epoch: number } {
  const [way = "", attempt, epoch] = correlation.split(".");
  const slash = way.lastIndexOf("/");
  const run = slash < 0 ? key : `${key}/${way.slice(0, slash)}`;
  return { run, call: Number(way.slice(slash + 1)), attempt: Number(attempt), epoch: Number(epoch) };
}
