import type { Answer, RunEvent } from "@wheelwork/core";
import type { Message } from "@wheelwork/engine";
import { deadLetterTopic, readDeadLetter, type LogRecord } from "@wheelwork/engine/cluster";
import { isDeepStrictEqual } from "node:util";
import { BulkChecks } from "../checker/bulks.ts";
import { StreamChecks } from "../checker/streams.ts";
import { ScheduleRuns } from "../schedules.ts";
import { isStray } from "../cluster/strays.ts";
import { rootOf } from "../root.ts";
import { count, type Violation } from "../world.ts";

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

/** What the ledger needs to know of its world. */
export interface LedgerOptions {
  readonly inbox: string;
  readonly shards: number;
  /** So long may somebody not know yet what a store has done, in milliseconds. */
  readonly lagMs: number;
  readonly now: () => number;
  /** Whether what was committed at a time may be forgotten by now. */
  readonly mayBeForgotten: (committedAt: number) => boolean;
  readonly say: (what: string, details: string) => void;
  /** What a request is for its hub. */
  readonly bodyOf: (hub: string, request: unknown) => Body;
}

const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

/** What was committed, written and published, held against what must never be: over all shards and processes. */
export class Ledger {
  readonly violations: Violation[] = [];
  readonly exercised = new Map<string, number>();
  readonly stories = new Map<string, Story>();
  /** Runs that are committed and have not ended. */
  readonly live = new Set<string>();
  readonly schedules = new ScheduleRuns();
  /** What those are told who read all events. */
  readonly streams: StreamChecks;
  readonly bulks: BulkChecks;
  /** Requests whose record was deleted before it was consumed, for all that is known. */
  readonly lost = new Set<string>();
  readonly published: LogRecord[] = [];
  readonly letters: LogRecord[] = [];
  /** The keys of all requests that have come to an inbox. */
  readonly inboxed = new Set<string>();
  readonly #options: LedgerOptions;
  /** Answers that were sent, by the ids that they are published under. */
  readonly #sent = new Set<string>();
  readonly #commands = new Set<string>();

  constructor(options: LedgerOptions) {
    this.#options = options;
    const { shards, now, mayBeForgotten } = options;
    const demand = this.demand.bind(this);
    this.bulks = new BulkChecks({ ...options, demand, mayBeForgotten: () => mayBeForgotten(-Infinity) });
    this.streams = new StreamChecks({ shards, now, demand, mayBeForgotten });
  }

  demand(invariant: string, holds: boolean, message: () => string): void {
    count(this.exercised, invariant);
    if (holds) return;
    const text = message();
    this.#options.say("VIOLATION", `${invariant}: ${text}`);
    this.violations.push({ invariant, message: text });
  }

  // ---- the log ----

  /** A record that the broker has written. */
  wrote(record: LogRecord): void {
    const { topic, headers } = record;
    if (topic === this.#options.inbox) {
      const key = requestOf(record);
      const type = typeOf(record);
      if (type === "request") this.inboxed.add(key);
      if (type === "command") this.#commands.add(`${key} ${commandOf(record)?.id}`);
    } else if (topic.endsWith(deadLetterTopic(""))) {
      this.letters.push(record);
    } else if (headers["ce_id"] !== undefined && topic.startsWith("from-")) {
      this.published.push(record);
    }
  }

  /** Whether a command has come to an inbox. */
  hasCommand(key: string, id: string): boolean {
    return this.#commands.has(`${key} ${id}`);
  }

  /** A process hands an answer to the log. @returns What it answers, if it was not sent before. */
  publishes({ key, value, headers = {} }: Message): Story | undefined {
    const id = headers["ce_id"] ?? "";
    const story = this.stories.get(id.slice(0, id.lastIndexOf("@")));
    this.demand(
      "I9",
      story?.answer !== undefined && JSON.stringify(story.answer) === value,
      () => `${key} is answered with ${value}, which is not committed`,
    );
    if (this.#sent.has(id)) return undefined;
    this.#sent.add(id);
    return story;
  }

  // ---- the stores ----

  committed(
    shard: number,
    seq: number,
    journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[],
  ): void {
    this.streams.committed(shard, journal);
    this.bulks.committed(shard, journal);
    for (const { key, events } of journal) {
      for (const event of events) this.#event(shard, key, seq, event);
      const rests = this.schedules.committed(key, events) ?? this.stories.get(key)?.ended !== false;
      if (rests) this.live.delete(key);
      else this.live.add(key);
    }
  }

  #event(shard: number, key: string, seq: number, event: RunEvent): void {
    const now = this.#options.now();
    let story = this.stories.get(key);
    if (story === undefined) {
      const none = { events: [], starts: 0, answer: undefined, startedAt: now, answeredAt: 0, answerSeq: 0 };
      this.stories.set(key, (story = { key, shard, ...none, ended: false, purged: false }));
    }
    if (event.type === "started" || event.type === "accepted") {
      // Its request was purged, and with it all that it had begun.
      this.demand("I5", story.starts === 0 || story.purged, () => `${key} is begun twice`);
      count(this.exercised, this.inboxed.has(key) ? "inbox way" : "short way");
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
  }

  /** Whether a run was begun by such a request; what was refused, was not understood, and all such requests are equal. */
  isBegunBy({ events }: Story, { hub, request }: Body): boolean {
    const [started] = events;
    if ((started?.type !== "started" && started?.type !== "accepted") || started.hub !== hub) return false;
    return hub === refusedHubName || isDeepStrictEqual(started.request, plain(request));
  }

  /** What ended before a time, in engine time, may be unknown from now on, but no request while a run that it has begun is known. */
  purged(shard: number, endedBefore: number): void {
    const kept = new Set<string>();
    const requests: Story[] = [];
    const isForgotten = (story: Story): boolean =>
      (story.purged ||= story.ended && (story.events.at(-1)?.at ?? 0) < endedBefore);
    for (const story of this.stories.values()) {
      if (story.shard !== shard) continue;
      const root = rootOf(story.key);
      if (root === story.key) requests.push(story);
      else if (!isForgotten(story)) kept.add(root);
    }
    for (const story of requests) if (!kept.has(story.key)) isForgotten(story);
  }

  // ---- in the end ----

  /** Published answers. Each equals the stored answer, and has one id. */
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

  /**
   * Dead letters are what nobody could be answered for, and what came under the key of another request. `isKnown` looks at
   * those of channels, `isExcused` at all.
   */
  checkLetters(isKnown: (letter: LogRecord) => boolean, isExcused: (letter: LogRecord) => boolean): void {
    for (const letter of this.letters) {
      const { value } = letter;
      const key = requestOf(letter);
      const { origin, reason } = readDeadLetter(letter);
      if (isExcused(letter) || isStray(letter)) continue;
      if (origin.topic !== this.#options.inbox) {
        this.demand("dead-letter", key === "" || isKnown(letter), () => `${key} is a dead letter: ${reason}`);
        continue;
      }
      const story = this.stories.get(key);
      if (typeOf(letter) === "request") {
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
          // A response without its headers may be anything.
          ["response", undefined].includes(typeOf(letter)) && saidOf(letter) === undefined,
          () => `${key} is a dead letter: ${reason}`,
        );
      }
    }
  }
}

/** The request that a record of an inbox is for. One that a task of Storm has handed on has the tag of a lane as its key. */
export function requestOf({ key, value }: LogRecord): string {
  const handedOn = parsed(value)?.["wheelwork-key"];
  return key.startsWith("@~") && typeof handedOn === "string" ? handedOn : key;
}

/** What a record of an inbox is, as its header says, or its value where headers are lost. */
export function typeOf({ headers, value }: LogRecord): string | undefined {
  const type = headers["ce_type"]?.slice("wheelwork.".length);
  return type ?? (parsed(value)?.["type"] as string | undefined);
}

function parsed(value: string): Record<string, unknown> | undefined {
  try {
    return (JSON.parse(value) as Record<string, unknown> | null) ?? undefined;
  } catch {
    return undefined;
  }
}

/** The command that a record of an inbox holds. */
export function commandOf({
  value,
}: LogRecord): { readonly id: string; readonly kind: string; readonly run?: string } | undefined {
  const { input, run } = JSON.parse(value) as {
    input?: { readonly id: string; readonly kind: string };
    run?: string;
  };
  return input === undefined ? undefined : { ...input, ...(run === undefined ? {} : { run }) };
}

/** The attempt that a record of an inbox says something of that makes sense: `request/call/attempt`. */
export function saidOf(record: LogRecord): string | undefined {
  const { key, value, headers } = record;
  if (typeOf(record) !== "response" || !value.startsWith("{")) return undefined;
  const correlation = headers["correlation-id"] ?? parsed(value)?.["correlation-id"];
  const { run, call, attempt } = attemptOf(key, String(correlation ?? ""));
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
