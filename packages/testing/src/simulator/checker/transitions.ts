import type { Answer, RunEvent } from "@wheelwork/core";
import { noDeadline } from "@wheelwork/core/kernel";
import type { TraceEntry } from "../trace.ts";
import type { Attempts } from "./attempts.ts";
import type { Evidence } from "./evidence.ts";
import type { LaneChecks } from "./lanes.ts";
import { openedCall, plain, startedRun, type CallModel, type RunModel } from "./model.ts";
import type { Owed } from "./owed.ts";
import type { Heartbeats } from "./heartbeats.ts";
import type { Ownership } from "./ownership.ts";
import { Waits } from "./waits.ts";

type EventOf<Type extends RunEvent["type"]> = RunEvent & { type: Type };

/** Applies events to the model of runs, and looks whether each may follow what was before. */
export class Transitions {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  readonly #attempts: Attempts;
  readonly #heartbeats: Heartbeats;
  readonly #owed: Owed;
  readonly #waits: Waits;
  readonly #lanes: LaneChecks;
  /** When the owner claimed, in engine time as its commits tell. */
  #claimedNow = 0;

  constructor(
    evidence: Evidence,
    ownership: Ownership,
    attempts: Attempts,
    heartbeats: Heartbeats,
    owed: Owed,
    lanes: LaneChecks,
  ) {
    this.#lanes = lanes;
    this.#evidence = evidence;
    this.#ownership = ownership;
    this.#attempts = attempts;
    this.#heartbeats = heartbeats;
    this.#owed = owed;
    this.#waits = new Waits(evidence);
  }

  /** A commit is looked at. */
  begin(): void {
    const { at, now } = this.#evidence;
    this.#claimedNow = now - (at - this.#ownership.claimedAt);
  }

  take(key: string, event: RunEvent): void {
    const run = this.#evidence.runs.get(key);
    const begins = event.type === "started" || event.type === "accepted";
    if (run === undefined || (begins && this.#mayStartAgain(run))) {
      this.#demand("I5", begins, () => `${key} does ${event.type} before it has started`);
      if (run !== undefined) this.#evidence.startedAgain.add(key);
      if (begins) this.#start(key, event);
      return;
    }
    this.#demand("I5", !begins, () => `${key} starts twice`);
    this.#demand("I12", run.status !== "ended", () => `${key} does ${event.type} after its end`);
    const last = run.events.at(-1);
    this.#demand("Time", last === undefined || last.at <= event.at, () => `${key}: time goes back`);
    run.events.push(plain(event));
    run.changedAt = this.#evidence.at;
    this.#version(run, event);
    this.#lanes.take(run, event);
    this.#apply(run, event);
  }

  #demand(invariant: string, holds: boolean, message: () => string): void {
    this.#evidence.demand(invariant, holds, message);
  }

  #apply(run: RunModel, event: RunEvent): void {
    const { key } = run;
    switch (event.type) {
      case "granted":
        return this.#grant(run, event);
      case "arrived":
        return this.#arrive(run, event);
      case "entered":
        return this.#enter(run, event);
      case "settled":
        return this.#settle(run, event);
      case "failed":
        return this.#fail(run, event);
      case "attempt":
        return this.#retry(run, event);
      case "waited":
        return this.#wait(run, event);
      case "told":
      case "posted":
        return this.#number(run, event.call);
      case "signalled":
        this.#forget(run, event);
        this.#command(run, `signal ${event.id}`);
        this.#waits.signalled(run, event);
        return this.#stay(run, event);
      case "received":
        this.#waits.received(run, event);
        return this.#stay(run, event);
      case "opened":
        this.#demand(
          "I18",
          queuedOf(run) === 0,
          () => `${key} opens more calls, and has some that are queued`,
        );
        return this.#openCalls(run, event.calls);
      case "fired":
        return this.#stay(run, event);
      case "migrated":
        return this.#waits.stays(run, event);
      case "cancelling":
        this.#command(run, `cancel ${event.id}`);
        this.#demand(
          "I32",
          event.id !== "parent" || run.deadline < noDeadline,
          () => `${key} has answered, and its caller cancels it`,
        );
        this.#stay(run, event);
        if (event.held !== undefined) this.#owed.cancels(run);
        return;
      case "answered":
        this.#demand(
          "I8",
          event.answer.kind !== "timeout" || event.at >= run.answerBy,
          () => `${key} is answered with a timeout at ${event.at}, before ${run.answerBy}`,
        );
        if (event.own === true) run.deadline = noDeadline;
        return this.#answer(run, event.answer);
      case "ended":
        if (event.answer !== undefined) this.#answer(run, event.answer);
        this.#demand("I5", run.answer !== undefined, () => `${key} ends without an answer`);
        this.#owed.cancels(run);
        run.status = "ended";
        run.retrying = false;
        return this.#close(run, run.calls.values());
      case "died":
        return this.#died(run, event);
      case "rearmed":
        this.#demand(
          "I6",
          run.due !== undefined && run.due < event.at && event.due >= event.at,
          () => `${key}: the deadline of ${run.state} begins anew, and had not passed`,
        );
        this.#waits.rearmed(run, event);
        run.due = event.due;
        run.answerBy = event.answerBy ?? run.answerBy;
        return;
      case "progressed":
        return this.#heartbeats.progressed(run, event.call, event.value);
      case "incident":
        this.#demand("I16", run.status === "running" || run.retrying, () => `${key} is parked twice`);
        run.status = "incident";
        run.retrying = false;
        run.everParked = true;
        this.#demand(
          "I24",
          event.error.code !== "WW_WORKER_DIED" || [...run.calls.values()].some(({ deaths }) => deaths >= 5),
          () => `${key} is parked for deaths, and no attempt of it has five`,
        );
        return this.#park(run, event.input);
      case "parked":
        this.#demand(
          "I16",
          run.status === "incident",
          () => `${key} keeps an input for later and is not parked`,
        );
        return this.#park(run, event.input);
      case "resumed":
        this.#demand("I16", run.status === "incident", () => `${key} is resumed and was not parked`);
        this.#demand("I16", !run.retrying, () => `${key} is retried twice`);
        if (event.hash !== undefined) run.known.set(`retry ${event.id}`, { at: event.at });
        run.retrying = true;
        return event.left === true ? this.#owed.retry(run) : this.#resume(run);
      case "redelivered":
        this.#demand("I16", run.retrying, () => `${key} decides what it keeps, and is not retried`);
        return event.last === true ? this.#resume(run) : undefined;
      default:
    }
  }

  #resume(run: RunModel): void {
    run.status = "running";
    run.retrying = false;
    this.#waits.resumed(run);
    for (const call of run.calls.values()) {
      call.begun = call.begunAgain = true;
      call.deaths = Math.min(call.deaths, 2);
      call.alone = false;
    }
  }

  /** A death counts once for each attempt that was under way: a suspect was only if it had its turn. */
  #died(run: RunModel, { attempts }: EventOf<"died">): void {
    for (const { call: number, deaths } of attempts) {
      const call = this.#open(run, number, "a death");
      if (call === undefined) continue;
      this.#demand(
        "I24",
        deaths === call.deaths + 1 && (call.deaths < 2 || call.alone) && deaths <= 5,
        () => `${run.key}: call ${number} has ${deaths} deaths, and had ${call.deaths}`,
      );
      Object.assign(call, { deaths, alone: false });
    }
  }

  /** Only an attempt whose time has passed, and that another one of its spoke has kept waiting, gets more. */
  #wait({ key, calls }: RunModel, { call: number, attempt, due, at }: EventOf<"waited">): void {
    const call = calls.get(number);
    this.#demand(
      "I6",
      call !== undefined && call.attempt === attempt && (call.due ?? at) <= at && due > at,
      () => `${key}: call ${number} gets time until ${due}, and had until ${call?.due}`,
    );
    if (call !== undefined) call.due = due;
  }

  // ---- runs ----

  /** A key that was purged is a new request, and nothing is known any more of what the former one had begun. */
  #mayStartAgain(run: RunModel): boolean {
    return run.status === "ended" && this.#evidence.isPurged(run.key);
  }

  /** Its time has come. The result is how late that is, in milliseconds: it has all its time all the same. */
  #come(run: RunModel, at: number): number {
    const { key, startAt } = run;
    if (startAt === undefined) return 0;
    this.#demand("I35", at >= startAt, () => `${key} begins at ${at}, before its time ${startAt}`);
    run.startAt = undefined;
    return Math.max(0, at - startAt);
  }

  #arrive(run: RunModel, { at, due, answerBy }: EventOf<"arrived">): void {
    this.#come(run, at);
    run.due = due;
    run.answerBy = answerBy;
  }

  /** The turn of a run has come: it begins, within the time that was promised when it was accepted. */
  #grant(run: RunModel, { at, deadline, answerBy, version }: EventOf<"granted">): void {
    const { key } = run;
    this.#demand("I31", run.status === "pending", () => `${key} is granted a place, and did not wait`);
    const lateMs = this.#come(run, at);
    this.#demand(
      "I6",
      answerBy >= deadline && answerBy <= run.answerBy + lateMs,
      () => `${key} is answered by ${answerBy}, and ${run.answerBy} was promised`,
    );
    run.status = "running";
    run.version = version;
    run.due = undefined;
    run.deadline = deadline;
    run.answerBy = answerBy;
    this.#owed.firstTurn(run);
  }

  #start(key: string, event: EventOf<"started" | "accepted">): void {
    const run = startedRun(key, event, this.#evidence.at);
    this.#evidence.runs.set(key, run);
    this.#lanes.take(run, event);
    if (event.type === "started") this.#owed.firstTurn(run);
    const version = this.#ownership.versionOf(run.hub);
    this.#demand(
      "I20",
      version === undefined || version === run.version,
      () => `${key} starts with version ${run.version}, its owner has ${version}`,
    );
    const { parent } = event;
    this.#demand(
      "I6",
      Number.isFinite(event.answerBy) &&
        (event.type === "accepted" || (Number.isFinite(event.deadline) && event.answerBy >= event.deadline)),
      () => `${key} has no finite deadline`,
    );
    if (parent === undefined) return;
    this.#evidence.later(() => {
      const numbers = this.#evidence.runs.get(parent.key)?.numbers;
      this.#demand(
        "I9",
        numbers?.has(parent.call) === true,
        () => `${key} is the child of a call that is not there`,
      );
    });
  }

  /** A run moves on in the present version of its hub only. */
  #version(run: RunModel, event: RunEvent): void {
    const version = this.#ownership.versionOf(run.hub);
    if (version === undefined) return;
    if (event.type === "migrated") {
      this.#demand(
        "I20",
        event.version === version && version >= run.version,
        () => `${run.key} goes from version ${run.version} to ${event.version}; its owner has ${version}`,
      );
      run.version = event.version;
    } else if (event.type === "entered" || event.type === "settled" || event.type === "received") {
      this.#demand(
        "I20",
        run.version === version,
        () => `${run.key} of version ${run.version} is moved on by version ${version}`,
      );
    }
  }

  /** What a parked run keeps, and takes when it goes on: an outcome has counted, and a command. */
  #park(
    run: RunModel,
    { kind, call, id }: { readonly kind: string; readonly call?: unknown; readonly id?: unknown },
  ): void {
    const counted = kind === "outcome" ? run.calls.get(Number(call)) : undefined;
    if (counted !== undefined) counted.outcomeAt = undefined;
    if (typeof id !== "string") return;
    // Each claim cancels again the children that nobody waits for, and one may be parked with that.
    if (kind === "cancel" && id === "parent" && run.commands.has("cancel parent")) return;
    this.#command(run, `${kind} ${id}`);
    run.parked.add(`${kind} ${id}`);
  }

  #command(run: RunModel, command: string): void {
    const again = run.parked.delete(command);
    this.#demand("I5", again || !run.commands.has(command), () => `${run.key}: the ${command} counts twice`);
    run.commands.add(command);
  }

  /** A run forgets the oldest ids, and gets to know one. */
  #forget({ key, known, commands }: RunModel, event: EventOf<"signalled">): void {
    const { at, id, hash, post, forgets = 0 } = event;
    for (const [name, { at: knownAt }] of [...known].slice(0, forgets)) {
      const age = at - knownAt;
      this.#demand(
        "I5",
        age >= this.#evidence.system.retentionMs,
        () => `${key} forgets the ${name} after ${age} ms`,
      );
      known.delete(name);
      commands.delete(name);
    }
    if (hash === undefined) return;
    const name = post === undefined ? `signal ${id}` : `post ${post.from}`;
    // One that was kept with an incident may have been overtaken.
    if ((known.get(name)?.number ?? -1) > (post?.number ?? 0)) return;
    known.delete(name);
    known.set(name, { at, number: post?.number });
  }

  #answer(run: RunModel, answer: Answer): void {
    this.#demand("I5", run.answer === undefined, () => `${run.key} is answered twice`);
    run.answer = plain(answer);
    run.answeredAt = this.#evidence.at;
    const { parent } = run.events[0] as EventOf<"started" | "accepted">;
    if (parent === undefined) return;
    this.#evidence.later(() => {
      const caller = this.#evidence.runs.get(parent.key);
      this.#demand(
        "I9",
        caller?.status !== "running" || !caller.calls.has(parent.call),
        () => `${run.key} has its answer, and its caller waits on`,
      );
    });
  }

  /** A command has been taken from the inbox: it has counted, or the run has no use for it any more. */
  passed({ key, kind, id }: TraceEntry & { type: "passed" }): void {
    const run = this.#evidence.runs.get(key);
    if (run === undefined || run.status === "ended" || this.#evidence.startedAgain.has(key)) return;
    if (kind === "signal")
      this.#demand("I5", run.commands.has(`signal ${id}`), () => `the signal ${id} to ${key} is lost`);
    if (kind === "cancel") {
      const counts = run.late || run.everParked || [...run.commands].some((one) => one.startsWith("cancel "));
      this.#demand("I5", counts, () => `the cancel ${id} of ${key} is lost`);
    }
  }

  // ---- states ----

  #enter(run: RunModel, event: EventOf<"entered">): void {
    // A migration has renamed the state.
    if (event.kept === true) {
      run.state = event.state;
      return this.#waits.stays(run, event);
    }
    const chart = this.#evidence.system.charts.get(run.hub);
    if (chart !== undefined) {
      const row = chart[run.state];
      const target =
        run.state === "" ? Object.keys(chart)[0] : typeof row === "object" ? row[event.by ?? ""] : undefined;
      this.#demand(
        "I14",
        target === event.state,
        () => `${run.key} goes from ${run.state} by ${event.by} to ${event.state}, which is no edge`,
      );
      this.#evidence.edges.add(`${run.hub}: ${run.state} --${event.by ?? ""}--> ${event.state}`);
    }
    this.#leave(run, event);
    run.state = event.state;
    run.late ||= event.late === true;
    run.due = event.due;
    if (event.answerBy !== undefined) {
      this.#demand("I6", event.answerBy >= run.answerBy, () => `${run.key}: answerBy goes back`);
      run.answerBy = event.answerBy;
    }
    this.#waits.entered(run, event);
    this.#close(run, run.calls.values());
    this.#openCalls(run, event.calls);
  }

  /** How a state may be left, besides by its edges. */
  #leave(run: RunModel, event: EventOf<"entered">): void {
    const { lagMs } = this.#evidence.system;
    const { drains } = this.#evidence.stateOf(run);
    const before = run.events.at(-2);
    const time = this.#waits.timeOf(run, event);
    const byInput =
      before?.at === event.at &&
      (before.type === "settled" || before.type === "received" || before.type === "signalled");
    const cutAt = run.late ? run.due : run.deadline;
    if (drains && (byInput || time === "timer") && cutAt !== undefined && cutAt > event.at) {
      const others = [...run.calls.values()].filter(({ attempt, backoff }) => attempt > 0 && !backoff);
      this.#demand(
        "I12",
        // Calls of the turn that leaves have not begun.
        others.length === 0 || run.enteredAt === event.at,
        () => `${run.key} leaves ${run.state}, which drains, with ${others.length} attempts under way`,
      );
    }
    if (run.late && time === "timer" && run.due !== undefined) {
      const { due, state } = run;
      this.#demand(
        "I6",
        due + lagMs >= this.#claimedNow,
        () => `${run.key}: the time of the clean-up in ${state} passed while nobody worked`,
      );
    }
    this.#owed.cancels(run);
  }

  // ---- calls ----

  #settle(run: RunModel, event: EventOf<"settled">): void {
    const call = this.#open(run, event.call, event.type);
    if (call === undefined) return;
    this.#attempts.settled(run, call, event.outcome, event.at);
    this.#close(run, [call]);
    this.#stay(run, event);
  }

  /** A turn stays in its state, or its round holds an event. */
  #stay(run: RunModel, event: EventOf<"settled" | "fired" | "signalled" | "received" | "cancelling">): void {
    this.#waits.stays(run, event);
    if ("closes" in event) this.#closeTagged(run, event.closes ?? []);
    if (event.held !== undefined) this.#hold(run);
    if ("calls" in event) this.#openCalls(run, event.calls);
  }

  /** An attempt has failed, and there will be another one. */
  #fail(run: RunModel, event: EventOf<"failed">): void {
    const { key } = run;
    const call = this.#open(run, event.call, event.type);
    if (call === undefined) return;
    this.#attempts.settled(run, call, event.failure, event.at);
    this.#heartbeats.failed(run, call, event.failure);
    this.#demand(
      "I4",
      event.attempt === call.attempt,
      () => `${key}: attempt ${event.attempt} is not the current one`,
    );
    const { attempts = 1, on } = this.#evidence.system.spokes.get(call.callee) ?? {};
    const code = event.failure.kind === "error" ? event.failure.code : "WW_TIMEOUT";
    this.#demand(
      "I17",
      call.attempt < (on?.get(code) ?? attempts),
      () => `${key}: call ${call.number} has no attempt left`,
    );
    this.#demand(
      "I6",
      event.due >= event.at && Number.isFinite(event.due),
      () => `${key}: a pause without end`,
    );
    this.#attempts.over(run, call);
    call.backoff = true;
    call.due = event.due;
  }

  /** The next attempt begins. */
  #retry(run: RunModel, event: EventOf<"attempt">): void {
    const { key } = run;
    const call = this.#open(run, event.call, event.type);
    if (call === undefined) return;
    // A suspect is begun once more.
    if (event.alone === true && event.attempt === call.attempt && !call.backoff) {
      const { deaths } = call;
      this.#demand("I24", deaths >= 2, () => `${key}: call ${call.number} is no suspect, and begins alone`);
      this.#begin(run, call, event.attempt, event.due);
      Object.assign(call, { deaths, alone: true });
      return;
    }
    this.#demand(
      "I8",
      call.attempt === 0 || (call.backoff && (call.due ?? 0) <= event.at),
      () => `${key}: attempt ${event.attempt} of call ${call.number} begins too early`,
    );
    this.#demand(
      "I3",
      event.attempt === call.attempt + 1,
      () => `${key}: attempt ${event.attempt} follows ${call.attempt}`,
    );
    this.#begin(run, call, event.attempt, event.due);
  }

  /** Calls that wait for a place or for another attempt are given up when a round is lost. */
  #hold(run: RunModel): void {
    this.#close(
      run,
      [...run.calls.values()].filter(({ attempt, backoff }) => attempt === 0 || backoff),
    );
  }

  /** A handler has closed calls by their tags: they were open, and their children are told to end. */
  #closeTagged(run: RunModel, numbers: readonly number[]): void {
    for (const number of numbers) {
      const call = this.#open(run, number, "a close");
      if (call === undefined) continue;
      this.#owed.cancelled(run, call);
      this.#close(run, [call]);
    }
  }

  #close(run: RunModel, calls: Iterable<CallModel>): void {
    for (const call of calls) {
      run.calls.delete(call.number);
      this.#attempts.over(run, call);
    }
  }

  #open(run: RunModel, number: number, what: string): CallModel | undefined {
    const call = run.calls.get(number);
    this.#demand("I3", call !== undefined, () => `${run.key}: ${what} of call ${number}, which is not open`);
    return call;
  }

  #number(run: RunModel, number: number): void {
    this.#demand("I3", !run.numbers.has(number), () => `${run.key}: the call number ${number} is used again`);
    run.numbers.add(number);
  }

  #openCalls(run: RunModel, groups: EventOf<"entered">["calls"]): void {
    for (const { first, callee, hub, inputs, started = inputs.length, due } of groups ?? []) {
      for (let position = 0; position < inputs.length; position++) {
        const number = first + position;
        this.#number(run, number);
        const { claims } = this.#ownership;
        const call = openedCall({ number, callee, isHub: hub === true }, claims, this.#evidence.now);
        run.calls.set(number, call);
        if (position < started) this.#begin(run, call, 1, due);
      }
    }
  }

  #begin(run: RunModel, call: CallModel, attempt: number, due: number | undefined): void {
    this.#demand(
      "I6",
      call.isHub || (due !== undefined && Number.isFinite(due)),
      () => `an attempt of call ${call.number} has no deadline`,
    );
    const begun = openedCall(call, this.#ownership.claims, this.#evidence.now);
    Object.assign(call, begun, { attempt, due });
    this.#attempts.begun(run, call);
    if (call.isHub) this.#owed.child(run, call);
  }
}

const queuedOf = ({ calls }: RunModel): number =>
  [...calls.values()].filter(({ attempt }) => attempt === 0).length;
