import type { Answer, RunEvent } from "@wheelwork/core";
import { isDeepStrictEqual } from "node:util";
import type { TraceEntry } from "./trace.ts";

/** What the checker knows of a system besides the trace: plain data. */
export interface CheckedSystem {
  /** The chart of each hub: state × event → state; a text for an end. */
  readonly charts: ReadonlyMap<
    string,
    { readonly [state: string]: string | { readonly [event: string]: string } }
  >;
  /** Attempts that a call of a spoke may have, and how many may be under way at once. */
  readonly spokes: ReadonlyMap<string, { readonly attempts: number; readonly concurrency: number }>;
  /** What states do, by `hub: State`: whether their rounds drain, and the event of their deadline. */
  readonly states: ReadonlyMap<string, { readonly drains: boolean; readonly deadline: string | undefined }>;
  /** So long is what has ended known at least, in milliseconds. */
  readonly retentionMs: number;
  /** A callback may be so late without anybody to blame, in milliseconds. */
  readonly graceMs: number;
  /** So long may the owner not know yet what its store has done, in milliseconds. */
  readonly lagMs: number;
  /** So long may an owner that has its store's content read what waits for it in logs, in milliseconds. */
  readonly catchUpMs: number;
}

/** Something that must never be seen. */
export interface Violation {
  /** Which invariant, as ARCHITECTURE.md numbers them; `outside`: what the system's own check found. */
  readonly invariant: string;
  readonly message: string;
  /** The place in the trace. */
  readonly place: number;
}

/** What the checker found. */
export interface Checked {
  readonly violations: readonly Violation[];
  /** How often each invariant was held against something. */
  readonly exercised: ReadonlyMap<string, number>;
  /** Edges that runs have taken: `hub: State --Event--> State`. */
  readonly edges: ReadonlySet<string>;
}

interface CallModel {
  readonly number: number;
  readonly callee: string;
  readonly isHub: boolean;
  attempt: number;
  due: number | undefined;
  backoff: boolean;
  /** How many claims there had been when the current attempt was opened, and when it was begun. */
  openedIn: number;
  /** In engine time. */
  openedAt: number;
  /** Whether the owner has begun the current attempt. */
  begun: boolean;
  begunIn: number;
  /** It was begun again, after a disturbance: what its worker says may be of the former time. */
  begunAgain: boolean;
  /** When the owner's worker gave an outcome of the current attempt, in simulated time. */
  outcomeAt: number | undefined;
}

interface RunModel {
  readonly key: string;
  readonly hub: string;
  version: number;
  readonly events: RunEvent[];
  readonly calls: Map<number, CallModel>;
  readonly numbers: Set<number>;
  readonly commands: Set<string>;
  /** Commands that came while it was parked, and count when it goes on. */
  readonly parked: Set<string>;
  status: "running" | "incident" | "ended";
  everParked: boolean;
  state: string;
  /** It cleans up. */
  late: boolean;
  due: number | undefined;
  answerBy: number;
  answer: Answer | undefined;
  /** It may be unknown by now. */
  purged: boolean;
  /** In simulated time. */
  answeredAt: number;
  changedAt: number;
}

/**
 * Holds a trace against the invariants. It shares no code with the engine: it has a model of its own of what a run is,
 * made only of the events that were committed, and looks at everything else from outside.
 */
export function checkTrace(trace: readonly TraceEntry[], system: CheckedSystem): Checked {
  return new Checker(trace, system).check();
}

class Checker {
  readonly #trace: readonly TraceEntry[];
  readonly #system: CheckedSystem;
  readonly #violations: Violation[] = [];
  readonly #exercised = new Map<string, number>();
  readonly #edges = new Set<string>();
  readonly #runs = new Map<string, RunModel>();
  /** What workers have given: `request/call/attempt`. */
  readonly #outcomes = new Map<string, string[]>();
  /** When attempts were over, in simulated time: `request/call/attempt`. */
  readonly #over = new Map<string, number>();
  readonly #callOfKey = new Map<string, string>();
  readonly #keyOfCall = new Map<string, string>();
  readonly #accepted = new Set<string>();
  readonly #told = new Map<string, Answer>();
  #place = 0;
  #at = 0;
  #epoch = 0;
  #owner = 0;
  /** The process that was told to stop last: it hands out nothing more. */
  #stopping: number | undefined = undefined;
  readonly #owners = new Set<number>();
  /** The versions of the hubs of each process. */
  readonly #versions = new Map<number, { readonly [hub: string]: number }>();
  /** Keys that were purged, and came again. */
  readonly #startedAgain = new Set<string>();
  /** The wall clock has jumped, so that engine time may have run ahead. */
  #jumped = false;
  /** When the owner claimed: in simulated time, and in engine time as its commits tell. */
  #claimedAt = 0;
  #claimedNow = 0;
  /** Attempts of each spoke that were under way before the commit that is looked at. */
  #underWay = new Map<string, number>();
  #seq = 0;
  #now = 0;
  /** The store has failed the owner, which has not claimed again yet. */
  #lost = false;
  /** Since when the owner has worked undisturbed, in simulated time. */
  #healthySince = Number.POSITIVE_INFINITY;
  /** What can be judged only when a commit is seen whole. */
  #claims = 0;
  #later: (() => void)[] = [];

  constructor(trace: readonly TraceEntry[], system: CheckedSystem) {
    this.#trace = trace;
    this.#system = system;
  }

  check(): Checked {
    for (const [place, entry] of this.#trace.entries()) {
      this.#place = place;
      this.#at = entry.at;
      this.#take(entry);
    }
    return { violations: this.#violations, exercised: this.#exercised, edges: this.#edges };
  }

  #demand(invariant: string, holds: boolean, message: () => string): boolean {
    this.#exercised.set(invariant, (this.#exercised.get(invariant) ?? 0) + 1);
    if (!holds) this.#violations.push({ invariant, message: message(), place: this.#place });
    return holds;
  }

  #take(entry: TraceEntry): void {
    switch (entry.type) {
      case "claimed":
        this.#demand("I21", entry.epoch > this.#epoch, () => `epoch ${entry.epoch} is not new`);
        this.#demand(
          "I21",
          this.#owner === entry.node || !this.#owners.has(entry.node),
          () => `process ${entry.node} was fenced, and takes the shard back`,
        );
        this.#owners.add(entry.node);
        this.#claimedAt = entry.at;
        this.#claims++;
        this.#lost = false;
        if (this.#owner !== entry.node) this.#disturbed();
        else if (this.#healthySince === Number.POSITIVE_INFINITY && entry.node !== this.#stopping)
          this.#healthySince = entry.at;
        this.#epoch = entry.epoch;
        this.#owner = entry.node;
        return;
      case "ready":
      case "thawed":
        // One that wakes up without its store is well again when it has claimed it.
        if (entry.node !== this.#owner || entry.node === this.#stopping || this.#lost) return;
        this.#healthySince = entry.at;
        return;
      case "behind":
      case "died":
      case "frozen":
      case "stopped":
      case "store-failed":
        if (entry.node !== this.#owner) return;
        this.#lost ||= entry.type === "store-failed";
        this.#disturbed();
        return;
      case "fault":
        if (entry.kind === "freeze") this.#disturbed();
        this.#jumped ||= entry.kind === "clock-jump";
        return;
      case "stopping":
        this.#disturbed();
        this.#stopping = entry.node;
        return;
      case "started":
        this.#versions.set(entry.node, entry.versions);
        return;
      case "purged":
        return this.#purge(entry.endedBefore);
      case "committed":
        return this.#commit(entry);
      case "attempt":
        return this.#attempt(entry);
      case "outcome":
        return this.#outcome(entry);
      case "accepted":
        this.#accepted.add(entry.key);
        this.#demand(
          "I9",
          this.#runs.has(entry.key),
          () => `${entry.key} is accepted before it is committed`,
        );
        return;
      case "told":
        return this.#tell(entry.key, entry.answer);
      case "refused":
        this.#demand(
          "I5",
          entry.retryable || (entry.code === "WW_NOT_FOUND" && this.#isPurged(entry.key)),
          () => `${entry.key} is refused with ${entry.code}, though it was sent as it should be`,
        );
        return;
      case "gave-up": {
        const run = this.#runs.get(entry.key);
        const waits =
          entry.node === this.#owner && run?.answer !== undefined && this.#hadTime(run.answeredAt);
        this.#demand("I5", !waits, () => `${entry.key} has its answer, and who waits for it is not told`);
        return;
      }
      case "commanded":
        if (entry.kind !== "signal" || entry.result !== "accepted") return;
        this.#demand(
          "I9",
          this.#runs.get(entry.key)?.commands.has(`signal ${entry.id}`) === true,
          () => `the signal ${entry.id} to ${entry.key} is accepted, and is not there`,
        );
        return;
      case "passed":
        return this.#pass(entry);
      case "ended":
        return this.#end(entry.problem);
      case "view": {
        const run = this.#runs.get(entry.key);
        this.#demand(
          "I5",
          entry.status === "ended" && isDeepStrictEqual(entry.answer, run?.answer),
          () => `${entry.key} is shown as ${entry.status} with another answer than was committed`,
        );
        this.#demand(
          "I9",
          isDeepStrictEqual(plain(entry.history), run?.events),
          () => `the history of ${entry.key} is not what was committed`,
        );
        return;
      }
      case "listed": {
        const roots = [...this.#runs.keys()].filter((key) => !key.includes("/"));
        const listed = new Set(entry.keys);
        this.#demand(
          "I5",
          listed.size === entry.keys.length &&
            entry.keys.every((key) => roots.includes(key)) &&
            roots.every((key) => listed.has(key) || this.#isPurged(key)),
          () => `the list has ${entry.keys.join(", ")}, and not ${roots.join(", ")}`,
        );
        this.#demand(
          "I12",
          entry.liveRuns === 0 && entry.openAttempts === 0,
          () => `in the end ${entry.liveRuns} runs and ${entry.openAttempts} attempts are in memory`,
        );
        return;
      }
      case "outside":
        this.#demand("outside", false, () => entry.problem);
        return;
      default:
    }
  }

  /** What ended before a time, in engine time, may be unknown from now on. */
  #purge(endedBefore: number): void {
    for (const run of this.#runs.values()) {
      if (run.purged || run.status !== "ended" || (run.events.at(-1)?.at ?? 0) >= endedBefore) continue;
      run.purged = true;
      this.#demand(
        "I5",
        this.#jumped || run.changedAt + this.#system.retentionMs <= this.#at + this.#system.lagMs,
        () => `${run.key} is purged ${this.#at - run.changedAt} ms after its end`,
      );
    }
  }

  /** A key that was purged is a new request; what the former one had begun last may still be known. */
  #mayStartAgain(run: RunModel): boolean {
    const root = run.key.slice(0, (run.key + "/").indexOf("/"));
    return run.status === "ended" && (this.#isPurged(run.key) || this.#startedAgain.has(root));
  }

  #isPurged(key: string): boolean {
    return this.#runs.get(key)?.purged === true;
  }

  #disturbed(): void {
    this.#healthySince = Number.POSITIVE_INFINITY;
    // What was on its way may be lost.
    for (const { calls } of this.#runs.values())
      for (const call of calls.values()) call.outcomeAt = undefined;
  }

  /** Whether the owner has had the time since then, undisturbed. */
  #hadTime(since: number): boolean {
    return Math.max(since, this.#healthySince) + this.#system.graceMs < this.#at;
  }

  // ---- what is committed ----

  #commit({ epoch, node, seq, now, journal }: TraceEntry & { type: "committed" }): void {
    this.#demand(
      "I21",
      epoch === this.#epoch && node === this.#owner,
      () => `the epoch ${epoch} commits, when ${this.#epoch} is the owner's`,
    );
    this.#demand("I9", seq === this.#seq + 1, () => `batch ${seq} follows batch ${this.#seq}`);
    this.#demand("Time", now >= this.#now, () => `engine time goes back from ${this.#now} to ${now}`);
    this.#seq = seq;
    this.#now = now;
    this.#claimedNow = now - (this.#at - this.#claimedAt);
    this.#underWay = this.#countUnderWay();
    for (const run of this.#runs.values()) this.#onTime(run, now);
    const timeouts = new Map<string, CallModel[]>();
    for (const { key, events } of journal) {
      for (const event of events) {
        this.#demand("Time", event.at <= now, () => `an event of ${key} is later than its batch`);
        this.#event(key, event, timeouts);
      }
    }
    for (const calls of timeouts.values()) {
      const sorted = calls.toSorted((a, b) => (a.due ?? 0) - (b.due ?? 0));
      this.#demand(
        "I7",
        calls.every((call, place) => call.due === sorted[place]?.due),
        () => `callbacks fire in another order than they are due: ${calls.map(({ due }) => due).join(", ")}`,
      );
    }
    for (const judge of this.#later.splice(0)) judge();
    for (const { key } of journal) {
      const run = this.#runs.get(key);
      // One that is parked waits for an operator; only its caller must not.
      if (run === undefined || run.status === "ended") continue;
      if (run.status === "incident" && run.answer !== undefined) continue;
      this.#demand("I6", dueOf(run) !== undefined, () => `${key} waits in ${run.state} without a deadline`);
    }
  }

  /** Whatever is overdue should have been done, if there was time for it; results should have counted. */
  #onTime(run: RunModel, now: number): void {
    if (run.status === "ended") return;
    const { graceMs } = this.#system;
    const healthy = this.#hadTime(run.changedAt);
    const due = dueOf(run);
    this.#demand(
      "I7",
      due === undefined || !healthy || due + graceMs >= now,
      () => `${run.key} in ${run.state} was due at ${due}; it is ${now}, and it was not called back`,
    );
    for (const call of run.calls.values()) {
      if (call.outcomeAt === undefined || call.backoff) continue;
      this.#demand(
        "I9",
        !this.#hadTime(call.outcomeAt),
        () => `the outcome of call ${call.number} of ${run.key} did not count, though nothing was lost`,
      );
    }
  }

  #event(key: string, event: RunEvent, timeouts: Map<string, CallModel[]>): void {
    const run = this.#runs.get(key);
    if (run === undefined || (event.type === "started" && this.#mayStartAgain(run))) {
      this.#demand("I5", event.type === "started", () => `${key} does ${event.type} before it has started`);
      if (run !== undefined) this.#startedAgain.add(key);
      if (event.type === "started") this.#start(key, event);
      return;
    }
    this.#demand("I5", event.type !== "started", () => `${key} starts twice`);
    this.#demand("I12", run.status !== "ended", () => `${key} does ${event.type} after its end`);
    const last = run.events.at(-1);
    this.#demand("Time", last === undefined || last.at <= event.at, () => `${key}: time goes back`);
    run.events.push(plain(event));
    run.changedAt = this.#at;
    this.#version(run, event);
    switch (event.type) {
      case "entered":
        return this.#enter(run, event);
      case "settled":
        return this.#settle(run, event, timeouts);
      case "failed": {
        const call = this.#open(run, event.call, event.type);
        if (call === undefined) return;
        this.#backed(run, call, event.failure, event.at, timeouts);
        this.#demand(
          "I4",
          event.attempt === call.attempt,
          () => `${key}: attempt ${event.attempt} is not the current one`,
        );
        const { attempts = 1 } = this.#system.spokes.get(call.callee) ?? {};
        this.#demand("I17", call.attempt < attempts, () => `${key}: call ${call.number} has no attempt left`);
        this.#demand(
          "I6",
          event.due >= event.at && Number.isFinite(event.due),
          () => `${key}: a pause without end`,
        );
        this.#over.set(`${key}/${call.number}/${call.attempt}`, this.#at);
        call.backoff = true;
        call.due = event.due;
        return;
      }
      case "attempt": {
        const call = this.#open(run, event.call, event.type);
        if (call === undefined) return;
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
        this.#begin(call, event.attempt, event.due);
        return;
      }
      case "told":
        this.#number(run, event.call);
        return;
      case "signalled":
        this.#command(run, `signal ${event.id}`);
        return this.#openCalls(run, event.calls);
      case "received":
        return this.#openCalls(run, event.calls);
      case "cancelling":
        this.#command(run, `cancel ${event.id}`);
        if (event.held !== undefined) this.#hold(run);
        return;
      case "answered":
        this.#demand(
          "I8",
          event.answer.kind !== "timeout" || event.at >= run.answerBy,
          () => `${key} is answered with a timeout at ${event.at}, before ${run.answerBy}`,
        );
        return this.#answer(run, event.answer);
      case "ended":
        if (event.answer !== undefined) this.#answer(run, event.answer);
        this.#demand("I5", run.answer !== undefined, () => `${key} ends without an answer`);
        this.#leaveChildren(run);
        run.status = "ended";
        this.#close(run, run.calls.values());
        return;
      case "rearmed":
        this.#demand(
          "I6",
          run.due !== undefined && run.due < event.at && event.due >= event.at,
          () => `${key}: the deadline of ${run.state} begins anew, and had not passed`,
        );
        run.due = event.due;
        run.answerBy = event.answerBy ?? run.answerBy;
        return;
      case "incident":
        this.#demand("I16", run.status === "running", () => `${key} is parked twice`);
        run.status = "incident";
        run.everParked = true;
        this.#counted(run, event.input);
        return this.#park(run, event.input);
      case "parked":
        this.#demand(
          "I16",
          run.status === "incident",
          () => `${key} keeps an input for later and is not parked`,
        );
        this.#counted(run, event.input);
        return this.#park(run, event.input);
      case "resumed":
        this.#demand("I16", run.status === "incident", () => `${key} is resumed and was not parked`);
        run.status = "running";
        for (const call of run.calls.values()) call.begun = call.begunAgain = true;
        return;
      default:
    }
  }

  /** A run moves on in the present version of its hub only. */
  #version(run: RunModel, event: RunEvent): void {
    const version = this.#versions.get(this.#owner)?.[run.hub];
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

  /** A command that a parked run keeps, and takes when it goes on. */
  #park(run: RunModel, { kind, id }: { readonly kind: string; readonly id?: unknown }): void {
    if (typeof id !== "string") return;
    this.#command(run, `${kind} ${id}`);
    run.parked.add(`${kind} ${id}`);
  }

  /** An outcome that a parked run keeps has counted. */
  #counted(run: RunModel, input: { readonly kind: string; readonly call?: unknown }): void {
    const call = input.kind === "outcome" ? run.calls.get(Number(input.call)) : undefined;
    if (call !== undefined) call.outcomeAt = undefined;
  }

  #command(run: RunModel, command: string): void {
    const again = run.parked.delete(command);
    this.#demand("I5", again || !run.commands.has(command), () => `${run.key}: the ${command} counts twice`);
    run.commands.add(command);
  }

  #start(key: string, event: RunEvent & { type: "started" }): void {
    const run: RunModel = {
      key,
      hub: event.hub,
      version: event.version,
      events: [plain(event)],
      calls: new Map(),
      numbers: new Set(),
      commands: new Set(),
      parked: new Set(),
      status: "running",
      everParked: false,
      state: "",
      late: false,
      due: undefined,
      answerBy: event.answerBy,
      answer: undefined,
      purged: false,
      answeredAt: 0,
      changedAt: this.#at,
    };
    this.#runs.set(key, run);
    // One that was purged, and sent again, is another request.
    this.#told.delete(key);
    const version = this.#versions.get(this.#owner)?.[run.hub];
    this.#demand(
      "I20",
      version === undefined || version === run.version,
      () => `${key} starts with version ${run.version}, its owner has ${version}`,
    );
    const { parent } = event;
    this.#demand(
      "I6",
      Number.isFinite(event.deadline) && Number.isFinite(event.answerBy) && event.answerBy >= event.deadline,
      () => `${key} has no finite deadline`,
    );
    if (parent === undefined) return;
    this.#later.push(() => {
      const numbers = this.#runs.get(parent.key)?.numbers;
      this.#demand(
        "I9",
        numbers?.has(parent.call) === true,
        () => `${key} is the child of a call that is not there`,
      );
    });
  }

  #enter(run: RunModel, event: RunEvent & { type: "entered" }): void {
    const chart = this.#system.charts.get(run.hub);
    if (chart !== undefined) {
      const row = chart[run.state];
      const target =
        run.state === "" ? Object.keys(chart)[0] : typeof row === "object" ? row[event.by ?? ""] : undefined;
      this.#demand(
        "I14",
        target === event.state,
        () => `${run.key} goes from ${run.state} by ${event.by} to ${event.state}, which is no edge`,
      );
      this.#edges.add(`${run.hub}: ${run.state} --${event.by ?? ""}--> ${event.state}`);
    }
    this.#leave(run, event);
    run.state = event.state;
    run.late ||= event.late === true;
    run.due = event.due;
    if (event.answerBy !== undefined) {
      this.#demand("I6", event.answerBy >= run.answerBy, () => `${run.key}: answerBy goes back`);
      run.answerBy = event.answerBy;
    }
    this.#close(run, run.calls.values());
    this.#openCalls(run, event.calls);
  }

  /** How a state may be left, besides by its edges. */
  #leave(run: RunModel, event: RunEvent & { type: "entered" }): void {
    const { drains = false, deadline } = this.#system.states.get(`${run.hub}: ${run.state}`) ?? {};
    const before = run.events.at(-2);
    if (drains && before?.type === "settled" && run.due !== undefined && run.due > event.at) {
      const others = [...run.calls.values()].filter(({ attempt, backoff }) => attempt > 0 && !backoff);
      this.#demand(
        "I12",
        others.length === 0,
        () => `${run.key} leaves ${run.state}, which drains, with ${others.length} attempts under way`,
      );
    }
    // An outcome may raise the same event.
    const byDeadline = event.by !== undefined && event.by === deadline && before?.type !== "settled";
    if (run.late && byDeadline && run.due !== undefined) {
      const { due, state } = run;
      this.#demand(
        "I6",
        due + this.#system.lagMs >= this.#claimedNow,
        () => `${run.key}: the time of the clean-up in ${state} passed while nobody worked`,
      );
    }
    this.#leaveChildren(run);
  }

  /** What another run calls for it is told to end. */
  #leaveChildren(run: RunModel): void {
    for (const { number, isHub, attempt } of run.calls.values()) {
      if (!isHub || attempt === 0) continue;
      this.#later.push(() => {
        const child = this.#runs.get(`${run.key}/${number}`);
        const told =
          child === undefined ||
          child.status === "ended" ||
          child.late ||
          child.commands.has("cancel parent");
        this.#demand("I12", told, () => `${run.key} has left its call ${number}, and the child goes on`);
      });
    }
  }

  #settle(run: RunModel, event: RunEvent & { type: "settled" }, timeouts: Map<string, CallModel[]>): void {
    const call = this.#open(run, event.call, event.type);
    if (call === undefined) return;
    this.#backed(run, call, event.outcome, event.at, timeouts);
    this.#close(run, [call]);
    if (event.held !== undefined) this.#hold(run);
    this.#openCalls(run, event.calls);
  }

  /** Calls that wait for a place or for another attempt are given up when a round is lost. */
  #hold(run: RunModel): void {
    this.#close(
      run,
      [...run.calls.values()].filter(({ attempt, backoff }) => attempt === 0 || backoff),
    );
  }

  #close(run: RunModel, calls: Iterable<CallModel>): void {
    for (const { number, attempt } of calls) {
      run.calls.delete(number);
      this.#over.set(`${run.key}/${number}/${attempt}`, this.#at);
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

  #openCalls(run: RunModel, groups: (RunEvent & { type: "entered" })["calls"]): void {
    for (const { first, callee, hub, inputs, started = inputs.length, due } of groups ?? []) {
      for (let position = 0; position < inputs.length; position++) {
        const number = first + position;
        this.#number(run, number);
        const call: CallModel = {
          number,
          callee,
          isHub: hub === true,
          attempt: 0,
          due: undefined,
          backoff: false,
          openedIn: this.#claims,
          openedAt: this.#now,
          begun: false,
          begunIn: 0,
          begunAgain: false,
          outcomeAt: undefined,
        };
        run.calls.set(number, call);
        if (position < started) this.#begin(call, 1, due);
      }
    }
  }

  #begin(call: CallModel, attempt: number, due: number | undefined): void {
    this.#demand(
      "I6",
      call.isHub || (due !== undefined && Number.isFinite(due)),
      () => `an attempt of call ${call.number} has no deadline`,
    );
    call.attempt = attempt;
    call.due = due;
    call.backoff = false;
    call.openedIn = this.#claims;
    call.openedAt = this.#now;
    call.begun = false;
    call.begunAgain = false;
    call.outcomeAt = undefined;
  }

  /** An outcome comes from the worker's attempt that is current, from the child's answer, or from the deadline. */
  #backed(
    run: RunModel,
    call: CallModel,
    outcome: "ok" | { readonly kind: string; readonly code?: string },
    at: number,
    timeouts: Map<string, CallModel[]>,
  ): void {
    const kind = outcome === "ok" ? "ok" : outcome.kind;
    const { number, attempt, due, isHub } = call;
    if (isHub) {
      this.#later.push(() => {
        const answer = this.#runs.get(`${run.key}/${number}`)?.answer;
        const given = answer?.kind === "result" ? "ok" : answer?.kind;
        const tooDeep = typeof outcome === "object" && outcome.code === "WW_DEFECT";
        this.#demand(
          "I4",
          given === kind || tooDeep,
          () => `${run.key}: call ${number} is ${kind}, its child is ${given}`,
        );
      });
      return;
    }
    const given = this.#outcomes.get(`${run.key}/${number}/${attempt}`) ?? [];
    if (kind === "timeout" && !given.includes("timeout")) {
      this.#demand(
        "I8",
        due !== undefined && at >= due,
        () => `${run.key}: call ${number} times out at ${at}, due ${due}`,
      );
      if (attempt === 1) timeouts.set(run.key, [...(timeouts.get(run.key) ?? []), { ...call }]);
      this.#demand(
        "I10",
        call.outcomeAt === undefined || this.#system.lagMs > 0,
        () => `${run.key}: call ${number} times out, though its outcome waited`,
      );
      this.#made(run, call);
      return;
    }
    const code = typeof outcome === "object" ? outcome.code : undefined;
    const fits =
      given.includes(kind === "error" ? `error ${code}` : kind) ||
      (given.includes("broken") && kind !== "ok");
    this.#demand(
      "I4",
      fits,
      () => `${run.key}: call ${number} is ${kind} ${code ?? ""}, which no worker said of attempt ${attempt}`,
    );
  }

  /** An attempt that timed out has been made, if the owner had the time for it, and a place. */
  #made(run: RunModel, call: CallModel): void {
    const { number, attempt, callee, due = 0, openedIn, openedAt, begun, begunIn } = call;
    const { concurrency = 0 } = this.#system.spokes.get(callee) ?? {};
    if (run.everParked || this.#healthySince === Number.POSITIVE_INFINITY) return;
    if ((this.#underWay.get(callee) ?? 0) >= concurrency) return;
    // Its time may be over when its owner hears that it is committed.
    if (due <= openedAt + this.#system.lagMs) return;
    // One that was open when the owner began is made again, unless it was over when all had been read back.
    const began = this.#now - (this.#at - this.#healthySince);
    if (openedIn !== this.#claims && due <= began + this.#system.catchUpMs) return;
    this.#demand(
      "I11",
      begun && (openedIn === this.#claims || begunIn === this.#claims),
      () => `${run.key}: attempt ${attempt} of call ${number} was never made`,
    );
  }

  #countUnderWay(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { calls } of this.#runs.values()) {
      for (const { callee, begun, outcomeAt } of calls.values())
        if (begun && outcomeAt === undefined) counts.set(callee, (counts.get(callee) ?? 0) + 1);
    }
    return counts;
  }

  #answer(run: RunModel, answer: Answer): void {
    this.#demand("I5", run.answer === undefined, () => `${run.key} is answered twice`);
    run.answer = plain(answer);
    run.answeredAt = this.#at;
    const { parent } = run.events[0] as RunEvent & { type: "started" };
    if (parent === undefined) return;
    this.#later.push(() => {
      const caller = this.#runs.get(parent.key);
      this.#demand(
        "I9",
        caller?.status !== "running" || !caller.calls.has(parent.call),
        () => `${run.key} has its answer, and its caller waits on`,
      );
    });
  }

  /** A command has been taken from the inbox: it has counted, or the run has no use for it any more. */
  #pass({ key, kind, id }: TraceEntry & { type: "passed" }): void {
    const run = this.#runs.get(key);
    if (run === undefined || run.status === "ended" || this.#startedAgain.has(key)) return;
    if (kind === "signal")
      this.#demand("I5", run.commands.has(`signal ${id}`), () => `the signal ${id} to ${key} is lost`);
    if (kind === "cancel") {
      const counts = run.late || run.everParked || [...run.commands].some((one) => one.startsWith("cancel "));
      this.#demand("I5", counts, () => `the cancel ${id} of ${key} is lost`);
    }
  }

  // ---- what workers and clients see ----

  #attempt({ node, request, call, attempt, idempotencyKey, spoke }: TraceEntry & { type: "attempt" }): void {
    const name = `${request}/${call}`;
    const key = this.#keyOfCall.get(name) ?? idempotencyKey;
    this.#demand("I11", key === idempotencyKey, () => `${name} has two keys: ${key}, ${idempotencyKey}`);
    const owner = this.#callOfKey.get(idempotencyKey) ?? name;
    this.#demand(
      "I11",
      owner === name || owner.slice(0, owner.lastIndexOf("/")) === request,
      () => `${name} and ${owner} share the key ${idempotencyKey}`,
    );
    this.#keyOfCall.set(name, key);
    this.#callOfKey.set(idempotencyKey, owner);
    // One that was fenced and does not know it yet may go on with what it had handed out.
    if (node !== this.#owner) return;
    const run = this.#runs.get(request);
    const open = run?.calls.get(call);
    const over = this.#over.get(`${name}/${attempt}`);
    if (over !== undefined && over + this.#system.lagMs > this.#at) return;
    this.#demand(
      "I9",
      run?.status !== "ended" &&
        open !== undefined &&
        open.callee === spoke &&
        open.attempt === attempt &&
        !open.backoff,
      () => `attempt ${attempt} of ${name} is made, which is not committed, or is over`,
    );
    if (open === undefined || open.attempt !== attempt) return;
    open.begunAgain = open.begun || open.openedIn !== this.#claims;
    open.begun = true;
    open.begunIn = this.#claims;
  }

  #outcome({ node, request, call, attempt, outcome }: TraceEntry & { type: "outcome" }): void {
    const name = `${request}/${call}/${attempt}`;
    const said = outcome?.kind === "error" ? `error ${outcome.code}` : String(outcome?.kind);
    this.#outcomes.set(name, [...(this.#outcomes.get(name) ?? []), said]);
    const open = this.#runs.get(request)?.calls.get(call);
    if (node !== this.#owner || open === undefined || open.attempt !== attempt || said === "timeout") return;
    if (this.#healthySince <= this.#at && !open.begunAgain) open.outcomeAt ??= this.#at;
  }

  #tell(key: string, answer: Answer): void {
    const committed = this.#runs.get(key)?.answer;
    this.#demand(
      "I9",
      isDeepStrictEqual(plain(answer), committed),
      () => `${key} is told ${JSON.stringify(answer)}; committed is ${JSON.stringify(committed)}`,
    );
    const first = this.#told.get(key) ?? answer;
    this.#demand("I5", isDeepStrictEqual(first, answer), () => `${key} is told two answers`);
    this.#told.set(key, first);
  }

  #end(problem: string | undefined): void {
    this.#demand("I6", problem === undefined, () => `it never comes to rest: ${problem}`);
    if (problem !== undefined) return;
    for (const run of this.#runs.values())
      this.#demand("I12", run.status === "ended", () => `${run.key} is still ${run.status} in ${run.state}`);
    for (const key of this.#accepted)
      this.#demand(
        "I5",
        this.#told.has(key) || this.#isPurged(key),
        () => `${key} was accepted, and has no answer`,
      );
  }
}

/** When a run must be called back, at the latest; undefined: never. */
function dueOf(run: RunModel): number | undefined {
  const times: number[] = [];
  if (run.answer === undefined) times.push(run.answerBy);
  if (run.status === "running") {
    if (run.due !== undefined) times.push(run.due);
    for (const { due } of run.calls.values()) if (due !== undefined) times.push(due);
  }
  return times.length === 0 ? undefined : Math.min(...times);
}

/** As JSON has it. */
const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
