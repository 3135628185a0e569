import type { Problem } from "./errors.ts";
import type { StateLogic } from "./logic.ts";

/*
 * What the options of a state say before any run. With types, the compiler finds all that is wrong there. Plain JavaScript has no types,
 * and what is spread or cast is not checked: a misspelt option would do nothing, and an event that is not there would park each run.
 */

/** An event that the options of a state name. */
interface StatedEvent {
  /** The option, such as `ok`. */
  readonly path: string;
  readonly event: string;
  /** It must leave the state. */
  readonly leaves: boolean;
}

/** What is known of the options of a state. */
export interface Stated {
  readonly problems: readonly Problem[];
  readonly events: readonly StatedEvent[];
}

/**
 * What an option must be:
 * - `event`: the name of an event, or a function. `leaving`: of one that leaves the state.
 * - `listed`: the same in another list of options (`on`), by name.
 * - `any`: it is checked elsewhere.
 */
type Kind = "event" | "leaving" | "function" | "truth" | "text" | "timers" | "listed" | "any";
type Shape = Readonly<Record<string, Kind>>;

const waits: Shape = { deadline: "any", after: "timers", on: "listed" };
const calls: Shape = { ...waits, drain: "truth" };
const failures = (kind: Kind): Shape => ({ error: kind, timeout: kind, failed: kind });
const outcomes = (kind: Kind): Shape => ({ ok: kind, ...failures(kind) });

/** The options of each function of `s`, and which of them must be there. */
const shapes = {
  call: [
    { ...calls, ...outcomes("leaving"), settled: "leaving", input: "function", key: "function" },
    "input",
  ],
  each: [
    {
      ...calls,
      ...outcomes("event"),
      settled: "event",
      inputs: "function",
      key: "function",
      done: "leaving",
      limit: "any",
    },
    "inputs",
    "done",
  ],
  all: [{ ...calls, ...failures("event"), done: "leaving" }, "failed", "done"],
  part: [{ ...outcomes("event"), input: "function", key: "function" }, "input"],
  sequence: [{ ...calls, failed: "leaving", done: "leaving" }, "failed", "done"],
  step: [{ input: "function", ok: "function" }, "input"],
  wait: [{ ...waits, idle: "truth" }],
  answer: [{ next: "text" }, "next"],
  tell: [{ input: "function", next: "text" }, "input", "next"],
  start: [{ input: "function", key: "function", startAt: "function", next: "text" }, "input", "next"],
  signalRun: [
    { id: "function", signal: "text", payload: "function", next: "text" },
    "id",
    "signal",
    "payload",
    "next",
  ],
} as const satisfies Readonly<Record<string, readonly [Shape, ...string[]]>>;

const mustBe: Readonly<Record<Exclude<Kind, "any" | "timers" | "listed">, string>> = {
  event: "must be the name of an event, or a function",
  leaving: "must be the name of an event, or a function",
  function: "must be a function",
  truth: "must be true or false",
  text: "must be a text",
};

const isRecord = (given: unknown): given is Readonly<Record<string, unknown>> =>
  typeof given === "object" && given !== null && !Array.isArray(given);

/** Collects what the options of one state say. */
class Reader implements Stated {
  readonly problems: Problem[] = [];
  readonly events: StatedEvent[] = [];

  problem(path: string, message: string): void {
    this.problems.push({ path, message });
  }

  callee(path: string, what: string, callee: unknown): void {
    const { kind } = (callee ?? {}) as { readonly kind?: unknown };
    if (kind !== "spoke" && kind !== "hub") this.problem(path, `s.${what} needs a spoke or a hub`);
  }

  options(what: keyof typeof shapes, given: unknown, at = ""): void {
    if (!isRecord(given)) return this.problem(at, `needs the options of s.${what}`);
    const [shape, ...needed]: readonly [Shape, ...string[]] = shapes[what];
    for (const [name, value] of Object.entries(given)) {
      const kind = Object.hasOwn(shape, name) ? shape[name] : undefined;
      if (value === undefined) continue;
      if (kind === undefined)
        this.problem(
          `${at}.${name}`,
          `is no option of s.${what}, which has ${Object.keys(shape).toSorted().join(", ")}`,
        );
      else this.#option(`${at}.${name}`, kind, value);
    }
    for (const name of needed) if (given[name] === undefined) this.problem(`${at}.${name}`, "is missing");
    if (what === "call" || what === "each") this.#outcomes(given, at);
  }

  #option(path: string, kind: Kind, value: unknown): void {
    if (kind === "any") return;
    if (kind === "timers" || kind === "listed") {
      if (!isRecord(value)) return this.problem(path, "must be an object");
      for (const [name, one] of Object.entries(value)) {
        if (one === undefined) continue;
        if (kind === "listed") this.#option(`${path}.${name}`, "event", one);
        else this.#timer(`${path}.${name}`, one);
      }
      return;
    }
    const isText = typeof value === "string";
    const mayBeText = kind === "event" || kind === "leaving" || kind === "text";
    const mayBeFunction = kind !== "text" && kind !== "truth";
    const isRight =
      kind === "truth"
        ? typeof value === "boolean"
        : (mayBeText && isText) || (mayBeFunction && typeof value === "function");
    if (!isRight) this.problem(path, mustBe[kind]);
    else if (isText && kind !== "text") this.events.push({ path, event: value, leaves: kind === "leaving" });
  }

  /** What a number of milliseconds must be is checked with the chart. */
  #timer(path: string, given: unknown): void {
    const { ms, patch } = isRecord(given) ? given : { ms: given, patch: undefined };
    if (typeof ms !== "number" && typeof ms !== "function")
      this.problem(path, "must be a number of milliseconds, a function, or { ms, patch }");
    if (patch !== undefined && typeof patch !== "function") this.problem(`${path}.patch`, mustBe.function);
  }

  #outcomes({ settled, ok, error, timeout, failed }: Readonly<Record<string, unknown>>, at: string): void {
    const hasFailures = failed !== undefined || (error !== undefined && timeout !== undefined);
    if (settled === undefined && !(ok !== undefined && hasFailures))
      this.problem(
        at,
        "needs a handler of each outcome: `settled`, or `ok` and `failed`, or `ok`, `error` and `timeout`",
      );
  }
}

/** A state that calls one callee, or that has something for another run. */
export function statedOf(
  what: "call" | "each" | "tell" | "start" | "signalRun",
  callee: unknown,
  options: unknown,
): Stated {
  const reader = new Reader();
  const mayBeName = what === "start" || what === "signalRun";
  if (!(mayBeName && typeof callee === "string")) reader.callee("", what, callee);
  reader.options(what, options);
  return reader;
}

/** A state that waits, or that answers. */
export function statedAlone(what: "wait" | "answer" | "pick", given: unknown, options?: unknown): Stated {
  const reader = new Reader();
  if (what !== "wait" && typeof given !== "function") reader.problem("", mustBe.function);
  if (what !== "pick") reader.options(what, what === "wait" ? given : options);
  return reader;
}

/** A state with several callees: parts, by their names, or steps. */
export function statedAmong(what: "all" | "sequence", among: unknown, options: unknown): Stated {
  const reader = new Reader();
  const one = what === "all" ? "part" : "step";
  const list = what === "all" ? isRecord(among) : Array.isArray(among);
  if (!list) reader.problem("", what === "all" ? "needs an object of parts" : "needs a list of steps");
  for (const [name, given] of list ? Object.entries(among as object) : []) {
    const made = isRecord(given) ? given[one] : undefined;
    if (!isRecord(made)) reader.problem(`.${name}`, `must be made by s.${one}`);
    else {
      const { callee, ...rest } = made;
      reader.callee(`.${name}`, one, callee);
      reader.options(one, rest, `.${name}`);
    }
  }
  reader.options(what, options);
  return reader;
}

/** What there is instead of the logic of a state whose options are wrong: the hub is refused. */
export const withoutLogic = (kind: StateLogic["kind"], stated: Stated): StateLogic => ({
  kind,
  callees: [],
  enter: () => ({}),
  stated,
});
