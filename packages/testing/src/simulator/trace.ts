import type { Answer, HistoryEvent, Outcome, RunEvent } from "@wheelwork/core";
import type { LogProgress, RunUpdate } from "@wheelwork/engine";

/** What was seen from outside of the engine: by its clients, its workers, its store, and the operating system. */
export type Seen =
  | { readonly type: "ready" | "died" | "stopping" | "stopped" | "frozen" | "thawed"; readonly node: number }
  /** Its store hangs, and goes on. */
  | { readonly type: "hangs" | "hangs-no-more"; readonly node: number }
  /** It has claimed, and reads first what it has missed. */
  | { readonly type: "behind"; readonly node: number }
  | {
      readonly type: "started";
      readonly node: number;
      /** The versions of its hubs, by name. */
      readonly versions: { readonly [hub: string]: number };
    }
  | { readonly type: "fault"; readonly kind: string; readonly node: number | undefined }
  | { readonly type: "claimed"; readonly node: number; readonly epoch: number }
  | {
      readonly type: "committed";
      readonly node: number;
      readonly epoch: number;
      readonly seq: number;
      /** Engine time. */
      readonly now: number;
      readonly journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[];
      /** Only of a shard that reads a log. */
      readonly logProgress?: LogProgress;
    }
  /** The position of a shard has passed a command in its inbox. */
  | { readonly type: "passed"; readonly key: string; readonly kind: string; readonly id: string }
  | { readonly type: "store-failed"; readonly node: number }
  /** The store does not take what a run brings: it is told so before "store-failed". */
  | { readonly type: "refuses"; readonly node: number; readonly key: string }
  /** What ended before a time, in engine time, has been purged, or a part of it. */
  | { readonly type: "purged"; readonly node: number; readonly endedBefore: number }
  /** Events of live runs from before a time, in engine time, have been archived, or a part of them. */
  | { readonly type: "archived"; readonly node: number; readonly before: number }
  | {
      readonly type: "attempt";
      readonly node: number;
      readonly spoke: string;
      readonly request: string;
      readonly call: number;
      readonly attempt: number;
      readonly idempotencyKey: string;
      /** Where an earlier attempt was. */
      readonly lastProgress?: unknown;
    }
  /** The worker of an attempt has said how far it is. */
  | {
      readonly type: "beat";
      readonly node: number;
      readonly request: string;
      readonly call: number;
      readonly attempt: number;
      readonly value: unknown;
    }
  /** An attempt of a spoke with limits has begun: what is wrong with that. */
  | {
      readonly type: "limited";
      readonly node: number;
      readonly request: string;
      readonly problem: string | undefined;
    }
  /** An owner has handed an attempt out to another process, which makes it if it hears of it. */
  | {
      readonly type: "ordered";
      readonly node: number;
      readonly spoke: string;
      readonly request: string;
      readonly call: number;
      readonly attempt: number;
    }
  | {
      readonly type: "outcome";
      readonly node: number;
      readonly request: string;
      readonly call: number;
      readonly attempt: number;
      /** `broken`: it threw, or gave what is no outcome. */
      readonly outcome: Outcome | { readonly kind: "broken" };
    }
  | { readonly type: "submitted"; readonly key: string; readonly hub: string }
  | { readonly type: "accepted"; readonly key: string; readonly known: boolean }
  | { readonly type: "refused"; readonly key: string; readonly code: string; readonly retryable: boolean }
  /** A client has waited for the answer for long, and asks anew. */
  | { readonly type: "gave-up"; readonly key: string; readonly node: number }
  | { readonly type: "told"; readonly key: string; readonly answer: Answer }
  | {
      readonly type: "commanded";
      readonly key: string;
      readonly id: string;
      readonly kind: "cancel" | "signal" | "retry" | "resolve";
      /** `accepted`, `ended`, or the code of the error. */
      readonly result: string;
    }
  /** An operator has given a command to a schedule, which was accepted. `made`: the key that a trigger was told. */
  | {
      readonly type: "operated";
      readonly key: string;
      readonly id: string;
      readonly kind: string;
      readonly made: string | undefined;
    }
  | { readonly type: "not-operated"; readonly id: string; readonly kind: string; readonly code: string }
  /** Somebody who watches a request is told how it is. `after`: how many events it had when they were told last. Absent: it is the first. */
  | {
      readonly type: "shown";
      readonly key: string;
      readonly node: number;
      readonly after: number | undefined;
      readonly update: RunUpdate;
    }
  /** A watch says that there is no more. */
  | {
      readonly type: "shown-all";
      readonly key: string;
      readonly node: number;
      readonly after: number | undefined;
      readonly until: "answer" | "end";
    }
  /** For people. */
  | { readonly type: "noted"; readonly what: string; readonly details: string }
  | { readonly type: "calm" }
  | { readonly type: "ended"; readonly problem: string | undefined }
  | {
      readonly type: "view";
      readonly key: string;
      readonly status: string;
      readonly answer: Answer | undefined;
      readonly history: readonly HistoryEvent[];
    }
  | {
      readonly type: "listed";
      readonly keys: readonly string[];
      /** How many requests the engine counts that are listed here. */
      readonly count: number;
      readonly liveRuns: number;
      readonly openAttempts: number;
    }
  | { readonly type: "outside"; readonly problem: string };

/** Something that was seen, and when, in milliseconds of simulated time. */
export type TraceEntry = Seen & {
  readonly at: number;
  /** Of several traces, which came first at one time. */
  readonly order?: number;
};

/** One line of a trace, for people. */
export function lineOf(entry: TraceEntry): string {
  const { at, type, order: _order, ...rest } = entry;
  const details = Object.entries(rest)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => (name === "journal" ? journalOf(value as never) : `${name}=${text(value)}`));
  return `${String(at).padStart(9)} ms  ${type.padEnd(12)} ${details.join(" ")}`;
}

const text = (value: unknown): string => (typeof value === "string" ? value : json(value));

/** Workers may give what JSON does not have. */
const json = (value: unknown): string =>
  JSON.stringify(value, (_name, part: unknown) => (typeof part === "bigint" ? `${part}n` : part));

function journalOf(
  journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[],
): string {
  return journal
    .map(({ key, events }) => {
      const list = events.map(({ type, at: _at, ...rest }) => `${type} ${short(rest)}`);
      return `\n${" ".repeat(26)}${key}: ${list.join(`\n${" ".repeat(28 + key.length)}`)}`;
    })
    .join("");
}

function short(value: object): string {
  const line = json(value);
  return line.length > 160 ? `${line.slice(0, 160)}…` : line;
}
