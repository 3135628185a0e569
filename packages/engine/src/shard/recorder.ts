import type { RunEvent, RunLane } from "@wheelwork/core";
import { isOpening, spansOf, step, type Call, type Effect, type Run } from "@wheelwork/core/kernel";
import { callHubName, outcomeCarrierOf } from "../ports/calls.ts";
import { childKey, toldSpoke } from "../ports/keys.ts";
import { addressed, carrierOf } from "../ports/posts.ts";
import { linkOf } from "../ports/trace.ts";
import type { Batch, LiveRun } from "./batch.ts";
import { Carried } from "./carried.ts";
import type { DeciderOptions } from "./deciding.ts";
import type { AtOnceItem } from "./items.ts";
import {
  calleesOutcome,
  noteDeaths,
  noteFailure,
  noteGiver,
  noteSpans,
  outcomeInput,
  outcomeOf,
  secretsOf,
  shownSpans,
  withoutSecrets,
} from "./records.ts";
import { stage } from "./residency.ts";

/** Why the call of a child ends before the child begins. */
export type RefusedCode = "WW_DEFECT" | "WW_BUSY" | "WW_STORE_CORRUPT";

/**
 * What follows once events of a run are decided: they are applied in memory, staged for the commit, and each effect goes where it
 * belongs. It decides nothing itself.
 *
 * ```
 *   an attempt, a closed call, an answer    batch.effects: they happen once the batch is committed
 *   a deadline                              deadlines
 *   what is owed to another run at once     atOnce: decided in the same batch
 *   what may wait for a later batch         carried: it follows from what is stored
 * ```
 */
export class Recorder {
  /** What is decided before the next input. */
  readonly atOnce: AtOnceItem[] = [];
  /** What waits for its turn, in this batch or a later one. */
  readonly carried: Carried = new Carried();
  readonly #options: DeciderOptions;
  /** Number of the last sealed batch. */
  #seq: number;

  constructor(options: DeciderOptions) {
    this.#options = options;
    this.#seq = options.seq;
  }

  /** Number of the last sealed batch. */
  get seq(): number {
    return this.#seq;
  }

  /** The number of the batch that is sealed now. */
  nextSeq(): number {
    return ++this.#seq;
  }

  /** Applies events of a run, and carries out what follows from them. */
  record(batch: Batch, live: LiveRun, events: readonly RunEvent[]): void {
    if (events.length === 0) return;
    const { history, run } = live;
    stage(batch, live, events.length, this.#seq + 1);
    const { hubs, isObserved, deadlines, openedCalls, residency } = this.#options;
    for (const made of events) {
      const event = isQuiet(made) ? made : this.#prepared(batch, run, made);
      const spans = isObserved ? spansOf(run, event) : undefined;
      const effects = step(run, event, openedCalls);
      if (spans !== undefined) noteSpans(batch, run, shownSpans(hubs, run, spans));
      if (event.type === "died") noteDeaths(batch, run, event);
      if (run.lane !== undefined) residency.laneChanged(run, event);
      history.push(event);
      for (let index = 0; index < effects.length; index++) this.follow(batch, live, effects[index] as Effect);
    }
    noteGiver(batch, run, events);
    deadlines.registerRun(run);
    if (run.round.left !== undefined) this.carryOpening(live);
  }

  /** What of an event is recorded: nobody's secrets, and where a post goes. Failures are noted for those who watch. */
  #prepared(batch: Batch, run: Run, made: RunEvent): RunEvent {
    let event = withoutSecrets(this.#options.hubs, run, made);
    if (event.type === "incident") event = { ...event, error: this.#options.outcomes.redact(event.error) };
    else if (event.type === "posted") event = addressed(run, event);
    if (event.type === "failed" || event.type === "settled") noteFailure(batch, run, event);
    return event;
  }

  /** Carries out one thing that follows from an event. */
  follow(batch: Batch, live: LiveRun, effect: Effect): void {
    const { deadlines } = this.#options;
    const { run } = live;
    switch (effect.type) {
      case "close":
        deadlines.cancel(effect.call);
        batch.effects.closed.push(effect.call);
        return;
      case "attempt":
        deadlines.registerCall(effect.call);
        batch.effects.attempts.push(effect);
        return;
      case "callback":
        deadlines.registerCall(effect.call);
        return;
      case "startChild":
        deadlines.registerCall(effect.call);
        this.carried.push({ kind: "child", call: effect.call });
        return;
      case "cancelChild":
        this.carried.push({ kind: "cancel", key: childKey(run.key, effect.call.number) });
        return;
      case "post": {
        const trace = linkOf(this.#options.tracing, run);
        this.atOnce.push({ kind: "tell", ...carrierOf(run, effect.posted), trace });
        return;
      }
      case "answer":
        this.#answered(batch, live);
        return;
      case "end":
        // The row of an answer says when its run has ended, also if an earlier batch gave the answer.
        batch.answers.push(live);
        batch.ended.push(live);
        if (run.lane !== undefined) this.#freed(run.lane);
        return;
      case "redeliver":
        return this.carryRedelivery(run);
      case "many":
        return this.carried.push({ kind: "many", live, many: effect, from: 0 });
      case "park": {
        // A callback that comes all the same changes nothing.
        if (run.calls.size <= this.#options.openedCalls)
          for (const call of run.calls.values()) deadlines.cancel(call);
        const { hub, key, state, createdAt, trace } = run;
        batch.effects.parked.push({ hub, key, state, createdAt, trace, error: effect.error });
        return;
      }
    }
  }

  /** The round of a run opens its next calls in a turn that follows. */
  carryOpening(live: LiveRun): void {
    if (live.opens || !isOpening(live.run)) return;
    live.opens = true;
    this.carried.push({ kind: "open", key: live.run.key });
  }

  /** The retry of a run goes on with what it keeps. */
  carryRedelivery({ key, calls }: Run): void {
    this.carried.push({ kind: "redeliver", key, calls: [...calls.keys()] });
  }

  #freed(of: RunLane): void {
    const lane = this.#options.residency.lanes.get(of);
    if (lane?.canGrant === true) this.atOnce.push({ kind: "free", lane });
  }

  /** The call ends with an error of the engine. */
  refuseChild(run: Run, call: Call, message: string, code: RefusedCode = "WW_DEFECT"): void {
    const outcome = { kind: "error" as const, code, message };
    const input = { kind: "outcome" as const, call: call.number, attempt: 1, epoch: run.epoch, outcome };
    this.atOnce.push({ kind: "input", key: run.key, input });
  }

  /** The answer is written and told with the batch. A hub that waits for it gets it as the outcome of its call. */
  #answered(batch: Batch, live: LiveRun): void {
    const { run } = live;
    live.answering = true;
    batch.answers.push(live);
    batch.effects.answered.push(live);
    const { answer, lane, origin } = run;
    const { parent } = origin;
    if (lane?.stays === true) this.atOnce.push({ kind: "joined", run });
    const spoke = toldSpoke(run);
    if (spoke !== undefined && answer !== undefined && answer.kind !== "result") {
      const { key } = run;
      const secrets = secretsOf(this.#options.hubs, run);
      const reason = secrets?.hideIn(answer.message) ?? answer.message;
      batch.effects.observed.push({ name: "tell-lost", spoke, key, reason });
    }
    const carrier = outcomeCarrierOf(run);
    if (carrier !== undefined) this.atOnce.push({ kind: "tell", ...carrier });
    if (parent === undefined || answer === undefined) return;
    const outcome = run.hub === callHubName ? calleesOutcome(answer) : outcomeOf(answer);
    const caller = this.#options.residency.fetch(parent.key, batch.found);
    const call = caller?.run.calls.get(parent.call);
    if (caller === undefined || call === undefined) return;
    const input = outcomeInput(call, outcome);
    this.atOnce.push({ kind: "input", key: parent.key, input });
  }
}

/** Whether nothing of an event is secret or noted: nearly all are so. */
const isQuiet = (event: RunEvent): boolean =>
  event.type === "settled"
    ? event.outcome === "ok"
    : event.type !== "failed" && event.type !== "incident" && event.type !== "posted";
