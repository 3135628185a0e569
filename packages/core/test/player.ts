import type { AnyHub, RunEvent } from "@wheelwork/core";
import {
  apply,
  decide,
  migrate,
  restore,
  Run,
  snapshot,
  start,
  type Env,
  type Ignored,
  type Input,
} from "@wheelwork/core/kernel";
import { ok, strictEqual } from "node:assert/strict";

type Ok = { readonly ok: unknown };
type Bad = { readonly error: string };

/** Plays one run of a hub on the kernel alone, without an engine, and records what happens. */
export class Player {
  now = 0;
  /** What the jitter of retries draws. */
  random = 0;
  /** How many calls of a round one turn opens at most. */
  readonly maxOpened: number;
  readonly transcript: string[] = [];
  readonly events: RunEvent[] = [];
  run: Run;
  hub: AnyHub;
  #commands = 0;

  constructor(hub: AnyHub, request: unknown, deadlineMs?: number, maxOpened = 500) {
    this.hub = hub;
    this.maxOpened = maxOpened;
    this.run = new Run("r");
    const options = { request, hash: "h", ...(deadlineMs === undefined ? {} : { deadlineMs }) };
    const { definition } = hub;
    this.#take(start(definition, this.run, options, this.#env()));
  }

  at(now: number): this {
    this.now = now;
    return this;
  }

  /** The present attempt of a call ends with an outcome. */
  outcome(call: number, result: Ok | Bad | "timeout"): Ignored | undefined {
    const { attempt } = this.run.calls.get(call) ?? { attempt: 1 };
    return this.report(call, attempt, this.run.epoch, result);
  }

  report(call: number, attempt: number, epoch: number, result: Ok | Bad | "timeout"): Ignored | undefined {
    const outcome =
      result === "timeout"
        ? { kind: "timeout" as const }
        : "ok" in result
          ? { kind: "ok" as const, output: result.ok }
          : { kind: "error" as const, code: result.error as "WW_WORKER_FAILED", message: "as told" };
    return this.input({ kind: "outcome", call, attempt, epoch, outcome });
  }

  due(): Ignored | undefined {
    return this.input({ kind: "due" });
  }

  callDue(call: number): Ignored | undefined {
    return this.input({ kind: "callDue", call });
  }

  signal(signal: string, payload: unknown, id = `c${this.#commands++}`): Ignored | undefined {
    return this.input({ kind: "signal", id, signal, payload });
  }

  cancel(id = `c${this.#commands++}`): Ignored | undefined {
    return this.input({ kind: "cancel", id });
  }

  retry(id = `c${this.#commands++}`): Ignored | undefined {
    return this.input({ kind: "retry", id });
  }

  resolve(message: string): Ignored | undefined {
    return this.input({ kind: "resolve", id: `c${this.#commands++}`, message });
  }

  /** Lets the callbacks of the run and its calls fire, in order, up to a time. */
  runTo(time: number): this {
    for (;;) {
      const calls = this.run.status === "running" ? [...this.run.calls.values()] : [];
      const next = calls
        .filter(({ due }) => due !== undefined)
        .toSorted((a, b) => (a.due ?? 0) - (b.due ?? 0))[0];
      const due = Math.min(next?.due ?? Infinity, this.run.nextDue ?? Infinity);
      if (due > time) break;
      this.now = Math.max(this.now, due);
      if (next !== undefined && next.due === due) this.callDue(next.number);
      else this.due();
    }
    this.now = Math.max(this.now, time);
    return this;
  }

  input(input: Input): Ignored | undefined {
    const { definition } = this.hub;
    if (this.run.version !== definition.version && this.run.status === "running") {
      this.#take(migrate(definition, this.run, input, this.#env()));
      if (this.run.status !== "running") return undefined;
    }
    // The decision changes nothing (I1), is the same when made again (I2), and is the same for the run as it is read
    // back from a store (I19).
    const before = JSON.stringify(snapshot(this.run));
    const decision = decide(definition, this.run, input, this.#env());
    const told = JSON.stringify([decision.events, decision.ignored]);
    strictEqual(JSON.stringify(snapshot(this.run)), before);
    const again = decide(definition, this.run, input, this.#env());
    strictEqual(withoutStack(JSON.stringify([again.events, again.ignored])), withoutStack(told));
    const copy = restore("r", JSON.parse(before) as Record<string, unknown>);
    const fromStore = decide(definition, copy, input, this.#env());
    strictEqual(withoutStack(JSON.stringify([fromStore.events, fromStore.ignored])), withoutStack(told));
    this.#take(decision.events);
    if (decision.ignored !== undefined) this.transcript.push(`${this.now} ignored: ${decision.ignored}`);
    for (const parked of decision.redeliver ?? []) this.input(parked);
    return decision.ignored;
  }

  #env(): Env {
    return { now: this.now, random: this.random, maxOpened: this.maxOpened };
  }

  #take(events: readonly RunEvent[]): void {
    for (const event of JSON.parse(JSON.stringify(events)) as RunEvent[]) {
      apply(this.run, event);
      this.events.push(event);
      this.transcript.push(lineOf(event));
    }
    if (this.run.status === "ended") {
      // I12: an ended run has no open call and no deadline.
      strictEqual(this.run.calls.size, 0);
      strictEqual(this.run.nextDue, undefined);
    }
    ok(answersIn(this.events) <= 1, "one answer at most (I5)");
  }
}

/** How many answers a history gives: never more than one (I5). */
function answersIn(events: readonly RunEvent[]): number {
  return events.filter(({ type, answer }: RunEvent & { answer?: unknown }) =>
    type === "answered" || type === "ended" ? answer !== undefined : false,
  ).length;
}

const withoutStack = (text: string): string => text.replaceAll(/"stack":"(?:[^"\\]|\\.)*"/g, "");

/** An event as a line that people can compare. */
function lineOf(event: RunEvent): string {
  const { at, type, ...rest } = event;
  const fields = rest as Record<string, unknown>;
  delete fields["hash"];
  if (type === "incident") {
    const { code, message } = event.error;
    return `${at} incident ${code} ${message} (${event.input.kind})`;
  }
  if (type === "parked") return `${at} parked ${event.input.kind}`;
  const text = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [at, type, ...text].join(" ").replaceAll('"', "");
}
