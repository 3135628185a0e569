import {
  WheelworkError,
  type AnyHub,
  type Outcome,
  type Problem,
  type RunEvent,
  type Spoke,
} from "@wheelwork/core";
import {
  apply,
  decide,
  migrate,
  noDeadline,
  restore,
  Run,
  snapshot,
  textOf,
  type Call,
  type HubDefinition,
  type Ignored,
  type Input,
} from "@wheelwork/core/kernel";
import { asOutcome, checkedOutcome } from "../attempts/outcomes.ts";
import { silentLogger } from "../ports/logger.ts";
import type { RequestView } from "./api.ts";
import { signalHash, validSignal } from "./validate.ts";

/** What is supposed to happen to a request. */
export type Supposition =
  | { readonly kind: "signal"; readonly name: string; readonly payload: unknown }
  | { readonly kind: "cancel" | "retry" }
  /** An open call has an outcome. `isFinal`: and so have all attempts that follow, until the call is over. */
  | {
      readonly kind: "outcome";
      readonly call: number;
      readonly outcome: Outcome;
      readonly isFinal?: boolean;
    }
  /**
   * Time passes, and nobody answers: until the next thing that is due, until a time in milliseconds since 1970, or until the
   * deadline of the hub.
   */
  | { readonly kind: "time"; readonly until?: number | "deadline" };

/** What would happen. Nothing of it has. */
export interface WhatIf {
  /** The events that would follow, in their order: they have the next states, what changes in the data, and the calls. */
  readonly events: readonly RunEvent[];
  /** Why it would change nothing. */
  readonly ignored?: Ignored;
  /** There would be more events than are computed at once. */
  readonly isCut?: true;
  /** By when the request would be answered; absent: it would have its answer. */
  readonly answerBy?: number;
  /** The request as it would be. */
  readonly request: RequestView;
}

/** The most events that are computed at once. */
const maxEvents = 1000;

/** What a supposition is computed with. */
interface Supposing {
  readonly definition: HubDefinition;
  /** That of the shard, in milliseconds of engine time. */
  readonly now: number;
}

/**
 * Decides what would follow, on a copy of the run. `decide` has no effects (I1), so nothing is stored, and no worker is called.
 * @throws WheelworkError WW_INVALID_INPUT, WW_SIGNAL_UNKNOWN.
 */
export function suppose(
  run: Run,
  given: Supposition,
  supposing: Supposing,
): { readonly run: Run } & Omit<WhatIf, "request" | "answerBy"> {
  const supposed = new Supposed(restore(run.key, snapshot(run)), supposing);
  const supposition = fieldsOf(given);
  switch (supposition.kind) {
    case "signal": {
      const { name, payload } = supposition;
      const valid = validSignal(run.hub, supposing.definition, name, payload);
      supposed.take({
        kind: "signal",
        id: supposedId,
        signal: name,
        payload: valid,
        hash: signalHash(name, payload, valid),
      });
      break;
    }
    case "cancel":
    case "retry":
      supposed.take({ kind: supposition.kind, id: supposedId });
      break;
    case "outcome":
      supposed.settle(supposition);
      break;
    case "time":
      supposed.pass(supposition.until);
      break;
    default:
      throw invalid("kind", "must be one of signal, cancel, retry, outcome, time");
  }
  return supposed.result();
}

/** What is supposed, each field read once. Outcomes and payloads are checked as those that happen. */
function fieldsOf(given: Supposition): Supposition {
  try {
    return { ...given };
  } catch (error) {
    throw invalid("", `cannot be read: ${textOf(error)}`);
  }
}

/** No command of a caller has it. */
const supposedId = "what-if\n";

/** A copy of a run that lives on by itself. */
class Supposed {
  readonly #run: Run;
  readonly #definition: HubDefinition;
  readonly #events: RunEvent[] = [];
  #now: number;
  #ignored: Ignored | undefined = undefined;
  #isCut = false;

  constructor(run: Run, { definition, now }: Supposing) {
    this.#run = run;
    this.#definition = definition;
    this.#now = now;
  }

  result(): ReturnType<typeof suppose> {
    return {
      run: this.#run,
      events: this.#events,
      ...(this.#ignored === undefined || this.#events.length > 0 ? {} : { ignored: this.#ignored }),
      ...(this.#isCut ? { isCut: true } : {}),
    };
  }

  take(input: Input): void {
    const run = this.#run;
    const env = { now: this.#now, random: 0 };
    if (run.version !== this.#definition.version && run.status === "running") {
      this.#apply(migrate(this.#definition, run, input, env));
      // It is parked, with the input.
      if ((run.status as string) === "incident") return;
    }
    const { events, ignored, redeliver = [] } = decide(this.#definition, run, input, env);
    this.#ignored = ignored;
    this.#apply(events);
    for (const kept of redeliver) if (!this.#isCut) this.take(kept);
  }

  #apply(events: readonly RunEvent[]): void {
    for (const event of events) {
      apply(this.#run, event);
      this.#events.push(event);
    }
    this.#isCut = this.#events.length >= maxEvents;
  }

  settle({ call: number, outcome, isFinal }: Extract<Supposition, { kind: "outcome" }>): void {
    const call = this.#run.calls.get(number);
    if (call === undefined) throw invalid("call", "must be the number of an open call");
    if (call.attempt === 0) throw invalid("call", "waits for its turn, and has not begun");
    const checked = this.#checked(call, outcome);
    let goesOn = this.#conclude(call, checked);
    if (isFinal !== true) return;
    while (goesOn && !this.#isCut) goesOn = this.#conclude(call, checked);
  }

  /** The next attempt of a call has an outcome. The result is whether another one follows. */
  #conclude(call: Call, outcome: Outcome): boolean {
    const { number } = call;
    if (call.backoff) {
      this.#now = Math.max(this.#now, call.due ?? 0);
      this.take({ kind: "callDue", call: number });
    }
    const { attempt } = call;
    this.take({ kind: "outcome", call: number, attempt, epoch: this.#run.epoch, outcome });
    // A parked run keeps it.
    return this.#run.calls.get(number) === call && (call.backoff || call.attempt > attempt);
  }

  /** An outcome as the contract of the callee has it. */
  #checked(call: Call, outcome: Outcome): Outcome {
    const given = asOutcome(call.callee, outcome);
    const callee = this.#definition.callees.get(call.callee);
    if (callee === undefined)
      throw invalid("call", `calls ${call.callee}, which the hub does not call any more`);
    const output =
      callee.kind === "hub" ? (callee as unknown as AnyHub).definition.reply : (callee as Spoke).output;
    const contract = { name: callee.name, errors: callee.errors, output } as unknown as Spoke;
    const checked = checkedOutcome(contract, given, {
      logger: silentLogger,
      redact: undefined,
      fieldsOf: () => ({}),
      secretsOf: () => undefined,
    });
    if (checked.kind === "error" && checked.code === "WW_INVALID_OUTPUT" && checked !== given)
      throw invalid("outcome", checked.message);
    return checked;
  }

  pass(until: number | "deadline" | undefined): void {
    const run = this.#run;
    if (run.status === "pending") throw invalid("kind", "must not be time: the request is pending");
    if (until === "deadline" && run.deadline === noDeadline)
      throw invalid("until", "must be a time: the hub has answered, and no deadline runs");
    const isTime = typeof until === "number" && until >= 0;
    if (until !== undefined && until !== "deadline" && !isTime)
      throw invalid("until", "must be a time, or deadline");
    const end = until === "deadline" ? run.deadline : (until ?? this.#next()?.at ?? 0);
    for (let next = this.#next(); next !== undefined && next.at <= end; next = this.#next()) {
      this.#now = Math.max(this.#now, next.at);
      const before = this.#events.length;
      this.take(next.input);
      if (this.#isCut || this.#events.length === before) return;
    }
  }

  /** What is due next: the run, or an attempt. */
  #next(): { readonly at: number; readonly input: Input } | undefined {
    const run = this.#run;
    if (run.status === "ended") return undefined;
    const due = run.nextDue;
    let next: { at: number; input: Input } | undefined =
      due === undefined ? undefined : { at: due, input: { kind: "due" } };
    if (run.status !== "running") return next;
    for (const { number, due: at } of run.calls.values())
      if (at !== undefined && (next === undefined || at < next.at))
        next = { at, input: { kind: "callDue", call: number } };
    return next;
  }
}

function invalid(path: string, message: string): WheelworkError {
  const problems: Problem[] = [{ path, message }];
  return new WheelworkError("WW_INVALID_INPUT", "this cannot be supposed", { problems });
}
