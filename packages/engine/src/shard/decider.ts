import { WheelworkError } from "@wheelwork/core";
import {
  beforeStored,
  accept,
  begin,
  Call,
  cancelsRound,
  decide,
  incidentOf,
  isOpen,
  isOpening,
  isRetrying,
  isRunning,
  isUnbegun,
  keepsOutcome,
  migrate,
  pend,
  postpone,
  callersCancel,
  redeliver,
  restore,
  start,
  type Callback,
  type Env,
  type ExclusiveDefinition,
  type HubDefinition,
  type Ignored,
  type Input,
  type Run,
  type Writable,
} from "@wheelwork/core/kernel";
import { callHubName, remoteCallOf } from "../ports/calls.ts";
import { placeOf } from "../ports/damage.ts";
import { childKey, keyReused, toldSpoke } from "../ports/keys.ts";
import { contextOf } from "../ports/trace.ts";
import type { Commit, EngineEvent, StoredAnswer } from "../ports/ports.ts";
import type { Batch, Culprit, LiveRun } from "./batch.ts";
import { Carried, isLong, type CarriedItem } from "./carried.ts";
import type { DeciderOptions, Inputs } from "./deciding.ts";
import type {
  AtOnceItem,
  IgnoredReason,
  InputItem,
  Item,
  RelayReplyItem,
  RequestItem,
  TellItem,
} from "./items.ts";
import { arrivalOf, demandLane, LaneKeeper, refusalOf, type ArrivalOptions } from "./lane-keeper.ts";
import type { Lane } from "./lanes.ts";
import { replyOf, startOptions, storedAnswer } from "./records.ts";
import { Recorder } from "./recorder.ts";

/** How deep hubs may call one another. */
const maxCallDepth = 32;

/** A batch without news is written if none was for so long, in milliseconds: an hour. */
const maxPauseMs = 3_600_000;

/**
 * The deciding part of the loop: it turns inputs and the time into a batch, synchronously. It changes memory only. It knows
 * neither store, timer, worker nor promise, so a test can drive it by itself.
 *
 * `decide` may be called several times for one batch; `seal` says what the batch writes. What the batch does in the outside
 * world is data in `batch.effects`, and happens once the batch is committed.
 *
 * Runs share nothing (I13). What they have for one another is of two kinds:
 *
 * - **At once**, in the same batch: the answer of a run is the outcome of its caller's call, and a tell is accepted as a run.
 *   Nothing else would say after a crash that they are owed. They are few: calls are `maxCallDepth` deep at most, and one
 *   turn takes a bounded number of steps (I15). A run that ends gives its place in a lane to the next one (lane-keeper.ts).
 * - **Carried**: the first turn of a child or of a tell, and the cancel of a child. Each may cause more of its kind, without
 *   end, so a batch decides only so many, and the next ones the rest. After a crash they follow from what is stored: see
 *   `resume`.
 */
export class Decider {
  readonly #options: DeciderOptions;
  readonly #recorder: Recorder;
  readonly #atOnce: AtOnceItem[];
  readonly #carried: Carried;
  readonly #lanes: LaneKeeper;
  /** One object for all decisions, since they keep nothing of it. */
  readonly #env: Writable<Env>;
  /** Engine time of the last sealed batch. */
  #committedAt: number;

  constructor(options: DeciderOptions) {
    this.#options = options;
    this.#recorder = new Recorder(options);
    this.#atOnce = this.#recorder.atOnce;
    this.#carried = this.#recorder.carried;
    this.#committedAt = options.since;
    this.#env = { now: 0, since: options.since, random: 0, maxOpened: options.openedCalls };
    this.#lanes = new LaneKeeper(
      options.residency,
      {
        record: (batch, live, events) => void this.#recorder.record(batch, live, events),
        decide: (batch, live, input, now) => void this.#decide(batch, live, input, now),
        envAt: (now) => this.#envAt(now),
        definition: (hub) => this.#definition(hub),
        nextSeq: () => this.#recorder.seq + 1,
        culprit: (key) => this.#culprit(key),
        carry: (item) => this.#carried.push(item),
        atOnce: (key, input) => void this.#atOnce.push({ kind: "input", key, input }),
      },
      options.log === undefined,
    );
  }

  /** Number of the last sealed batch. */
  get seq(): number {
    return this.#recorder.seq;
  }

  /** How many items wait for a batch that follows. */
  get carried(): number {
    return this.#carried.size;
  }

  /**
   * Decides the items, then the callbacks that are due, and then what is carried, into a batch. If the time is up, the last items
   * are left for the next batch.
   */
  decide(batch: Batch, inputs: Inputs, now: number): void {
    const { items, found } = inputs;
    batch.since = Math.min(batch.since, now);
    batch.now = now;
    batch.items = batch.items.length === 0 ? items : [...batch.items, ...items];
    batch.found = batch.found.size === 0 ? found : new Map([...batch.found, ...found]);
    this.#options.residency.bring(found);
    // What waits in the queue goes before what is overdue: an outage must not undo work that is done.
    let decided = 0;
    for (const item of items) {
      // The functions of each run may take their time: all of them together must not.
      if (decided > 0 && inputs.isTimeUp()) break;
      this.#take(batch, item, now);
      decided++;
    }
    if (decided < items.length) {
      batch.items = batch.items.slice(0, decided - items.length);
      // They count as queued for the callbacks, which do not go before them.
      inputs.putBack(items.slice(decided));
    }
    const count = decided + this.#callAllBack(batch, inputs, now);
    batch.inputs += count;
    batch.carried += this.#takeCarried(batch, inputs, count, now);
  }

  /** The callbacks that are due, as far as there is time for them: one in any case. The result is how many. */
  #callAllBack(batch: Batch, { callableTo, maxCallbacks, isTimeUp }: Inputs, now: number): number {
    const to = callableTo(now);
    for (let count = 0; ; count++) {
      if (count >= maxCallbacks || (count > 0 && isTimeUp())) return count;
      const callback = this.#options.deadlines.next(to);
      if (callback === undefined) return count;
      this.#callBack(batch, callback, now);
    }
  }

  /**
   * Takes up what is owed to a run that was read back: what earlier batches had carried over when their owner was lost.
   *
   * ```
   *   what is stored                                                  what is owed
   *   a run that was accepted, and is in no state                     its first turn
   *   an open call of a hub, no child, no outcome that is kept        the child begins
   *   a child without an answer whose caller has closed the call      the cancel of the child
   *   a round that a cancel has reached, and a child that works,      the cancel of the child
   *   or has not begun
   *   a round with inputs left, and no call that is queued            its next calls
   *   a parked run whose retry is under way                           the next of what it keeps
   * ```
   */
  resume(live: LiveRun): void {
    const { run } = live;
    const { culprits, residency } = this.#options;
    const { key } = run;
    const { parent } = run.origin;
    if (culprits.get(key)?.isRow === true) this.#carried.push({ kind: "endRefused", key });
    if (isUnbegun(run)) this.#carried.push({ kind: "begin", key });
    if (isRetrying(run)) this.#recorder.carryRedelivery(run);
    this.#recorder.carryOpening(live);
    // A caller that cannot be read has not closed the call.
    if (parent !== undefined && run.answer === undefined && residency.damageOf(parent.key) === undefined) {
      const caller = residency.get(parent.key)?.run;
      const isWanted = caller?.calls.has(parent.call) === true;
      if (!isWanted || cancelsRound(this.#definition(caller.hub), caller))
        this.#carried.push({ kind: "cancel", key });
    }
    const isCancelled = run.round.held !== undefined && cancelsRound(this.#definition(run.hub), run);
    for (const call of run.calls.values()) {
      if (!call.isHub || !isRunning(call) || keepsOutcome(run, call.number)) continue;
      if (residency.get(childKey(key, call.number)) !== undefined) continue;
      this.#carried.push({ kind: "child", call, isStored: true });
      // Its cancel would have come right after it.
      if (isCancelled) this.#carried.push({ kind: "cancel", key: childKey(key, call.number) });
    }
  }

  /** Takes up what is owed to those who wait in a lane. */
  resumeLane(lane: Lane): void {
    this.#lanes.resume(lane);
  }

  /**
   * Ends a batch: what it writes, or undefined if nothing has changed. `actedSeq` is the last batch whose effects have
   * happened.
   */
  seal(batch: Batch, actedSeq: number): Commit | undefined {
    const { log, residency, retention, epoch } = this.#options;
    let logProgress = log?.next(actedSeq);
    const isDue = logProgress !== undefined && log?.isDue(logProgress) === true;
    // The time of the last commit says how long nobody worked.
    const isOld = batch.now - this.#committedAt >= maxPauseMs;
    const isNews = batch.touched.length > 0 || isDue || isOld || residency.isSweeping;
    if (!isNews) return (batch.commit = undefined);
    this.#committedAt = batch.now;
    const downtimes = retention.unsaved();
    const journal = batch.touched.map(({ run, history, batchFrom }) => ({
      key: run.key,
      events: history.slice(batchFrom),
    }));
    const seq = this.#recorder.nextSeq();
    const answers: StoredAnswer[] = [];
    for (const { run, firstSeq } of new Set(batch.answers)) {
      const isViewed = this.#options.hubs.get(run.hub)?.view !== undefined;
      answers.push(storedAnswer(run, firstSeq, seq, isViewed));
    }
    // A batch without answers has nothing to publish. Otherwise it would be news itself, and lead to another batch.
    if (logProgress?.published === seq - 1 && answers.length === 0)
      logProgress = { ...logProgress, published: seq };
    if (logProgress !== undefined) log?.stage(logProgress);
    const checkpoint = residency.checkpointAfter(batch, seq);
    return (batch.commit = {
      epoch,
      seq,
      now: batch.now,
      journal,
      answers,
      ...(logProgress === undefined ? {} : { logProgress }),
      ...(checkpoint === undefined ? {} : { checkpoint }),
      ...(downtimes === undefined ? {} : { downtimes }),
      ...(batch.audit.length === 0 ? {} : { audit: batch.audit }),
    });
  }

  // ---- inputs ----

  #take(batch: Batch, item: Item, now: number): void {
    if (item.offset !== undefined) this.#options.log?.advance(item.offset);
    if (item.kind === "mark") return;
    if (item.kind === "request") this.#takeRequest(batch, item, now);
    else if (item.kind === "relayReply") this.#takeRelayReply(batch, item, now);
    else this.#takeInput(batch, item, now);
    this.#takeAtOnce(batch, now);
  }

  /** The message names no attempt: it counts for the one that is open now (the exception to I4). */
  #takeRelayReply(
    batch: Batch,
    { key, spoke, correlation, outcome, done }: RelayReplyItem,
    now: number,
  ): void {
    const { outcomes } = this.#options;
    const { observed, relayReplies } = batch.effects;
    if (done !== undefined) relayReplies.push(done.resolve);
    const open = outcomes.expected(spoke, correlation);
    if (open === undefined) return void observed.push({ name: "ignored", key, reason: "stale" });
    const { requestId, call, attempt, epoch } = open;
    const checked = outcomes.check(spoke, outcome, correlation);
    const input: Input = { kind: "outcome", call, attempt, epoch, outcome: checked };
    this.#takeInput(batch, { kind: "input", key: requestId, input }, now);
    observed.push({ name: "outcome", callee: spoke, key: requestId, call, outcome: checked.kind });
  }

  #takeAtOnce(batch: Batch, now: number): void {
    for (let next = this.#atOnce.shift(); next !== undefined; next = this.#atOnce.shift()) {
      if (next.kind === "input") this.#takeInput(batch, next, now);
      else if (next.kind === "tell") this.#acceptTell(batch, next, now);
      else if (next.kind === "free") this.#lanes.grant(batch, next.lane, now);
      else this.#lanes.answered(batch, next.run, now);
    }
  }

  /** A run of its own carries out a tell: it may outlive the teller, so that nothing else would say that it is owed. */
  #acceptTell(batch: Batch, { key, hub, request, trace }: TellItem, now: number): void {
    const refused = this.#culprit(key);
    if (refused !== undefined) {
      const spoke = toldSpoke({ hub }) ?? hub;
      return void batch.effects.observed.push({
        name: "tell-lost",
        spoke,
        key,
        reason: refused.error.message,
      });
    }
    const definition = this.#definition(hub);
    const begin = (options: ArrivalOptions): void => {
      const live = this.#options.residency.begin(key);
      this.#recorder.record(batch, live, accept(definition, key, options, this.#envAt(now)));
      this.#carried.push({ kind: "begin", key });
    };
    const options = { request, hash: "", ...(trace === undefined ? {} : { trace }) };
    const { exclusive } = definition;
    if (exclusive === undefined) return begin(options);
    try {
      const arrival = arrivalOf(key, definition, exclusive, options, begin);
      const refused = this.#lanes.arrive(batch, arrival, now);
      if (refused !== undefined) this.#lanes.answer(batch, arrival, refused, now);
    } catch (error) {
      // Its lane is not known, or in another shard.
      begin(options);
      const live = this.#options.residency.get(key);
      const answer = { kind: "error", code: "WW_INCIDENT", message: (error as Error).message } as const;
      if (live !== undefined) this.#recorder.record(batch, live, [{ type: "ended", at: now, answer }]);
    }
  }

  /**
   * Decides carried items, as far as there is room and time for them, and as many as the batch has decided inputs in any
   * case: otherwise more would come than is ever done. The result is how many.
   */
  #takeCarried(batch: Batch, { maxCarried, hasTime }: Inputs, inputs: number, now: number): number {
    let count = 0;
    if (maxCarried === 0) return 0;
    while (this.#carried.size > 0 && (count < inputs || (count < maxCarried && hasTime()))) {
      const item = this.#carried.shift() as CarriedItem;
      // That is about many calls, which the shard deals with after the commit.
      count += isLong(item) ? maxCarried : 1;
      this.#takeOne(batch, item, now);
      this.#takeAtOnce(batch, now);
    }
    return count;
  }

  #takeOne(batch: Batch, item: CarriedItem, now: number): void {
    if (item.kind === "child") return this.#beginChild(batch, item, now);
    if (item.kind === "grant") return this.#lanes.grant(batch, item.lane, now);
    if (item.kind === "many") return this.#followSome(batch, item);
    const live = this.#options.residency.get(item.key);
    if (item.kind === "open") return this.#openMore(batch, live, now);
    // It has ended meanwhile, or its call was closed before it began.
    if (live === undefined) return;
    if (item.kind === "begin") this.#beginLive(batch, live, now);
    else if (item.kind === "redeliver") this.#redeliver(batch, live, item.calls, now);
    else if (item.kind === "endRefused") this.#endRefused(batch, live, now);
    else this.#decide(batch, live, { kind: "cancel", id: callersCancel }, now);
  }

  #redeliver(batch: Batch, live: LiveRun, calls: readonly number[], now: number): void {
    const { run } = live;
    const { openedCalls: most } = this.#options;
    const culprit = isRetrying(run) ? this.#culprit(run.key) : undefined;
    if (culprit !== undefined) return this.#park(batch, live, culprit, { kind: "buffered" }, now);
    const env = this.#envAt(now);
    env.memory = undefined;
    for (const events of redeliver(this.#definition(run.hub), run, calls.slice(0, most), env)) {
      this.#recorder.record(batch, live, events);
      this.#envAt(now);
    }
    if (isRetrying(run)) this.#carried.push({ kind: "redeliver", key: run.key, calls: calls.slice(most) });
  }

  #followSome(batch: Batch, { live, many, from }: CarriedItem & { kind: "many" }): void {
    const to = from + this.#options.openedCalls;
    for (const call of many.calls.slice(from, to))
      for (const effect of many.each(call)) this.#recorder.follow(batch, live, effect);
    if (to < many.calls.length) this.#carried.push({ kind: "many", live, many, from: to });
  }

  #openMore(batch: Batch, live: LiveRun | undefined, now: number): void {
    // It has ended meanwhile, and another run has its key.
    if (live?.opens !== true) return;
    live.opens = false;
    if (isOpening(live.run)) this.#decide(batch, live, { kind: "open" }, now);
  }

  #beginLive(batch: Batch, live: LiveRun, now: number): void {
    const { run } = live;
    if (!isUnbegun(run)) return;
    const culprit = this.#culprit(run.key);
    if (culprit !== undefined) this.#park(batch, live, culprit, unbegun, now);
    else this.#recorder.record(batch, live, begin(this.#definition(run.hub), run, this.#envAt(now)));
  }

  /**
   * Parks a run that the store refuses, instead of the turn that it refused. The outcome of an attempt may be at fault, so that
   * it is not kept: after a retry the attempt is made again.
   */
  #park(
    batch: Batch,
    live: LiveRun,
    { error }: Culprit,
    input: Input | typeof unbegun,
    now: number,
  ): undefined {
    const { run } = live;
    const isOurs = input.kind === "outcome" && run.calls.get(input.call)?.isHub !== true;
    // A death counts for a suspect, and a retry gives it all its tries again.
    const isDropped = isOurs || input.kind === "begin" || input.kind === "died";
    const kept = isDropped ? ({ kind: "buffered" } as const) : input;
    this.#recorder.record(batch, live, [incidentOf(error, kept, this.#envAt(now))]);
  }

  #endRefused(batch: Batch, live: LiveRun, now: number): void {
    const culprit = this.#culprit(live.run.key);
    if (culprit === undefined) return;
    const { message } = culprit.error;
    if (live.run.status === "pending") {
      const answer = { kind: "error", code: "WW_INCIDENT", message } as const;
      return this.#recorder.record(batch, live, [{ type: "ended", at: now, answer }]);
    }
    if (live.run.status === "running") this.#park(batch, live, culprit, { kind: "buffered" }, now);
    this.#decide(batch, live, { kind: "resolve", id: "store", message }, now);
  }

  #beginChild(batch: Batch, { call, isStored }: CarriedItem & { kind: "child" }, now: number): void {
    const { run, number, callee, transformed } = call;
    // Nobody waits for it any more.
    if (run.calls.get(number) !== call) return;
    const key = childKey(run.key, number);
    const refused = this.#culprit(key)?.error.message;
    if (refused !== undefined) return this.#recorder.refuseChild(run, call, refused);
    const depth = this.#lanes.depthOf(run) + 1;
    const damage = this.#options.residency.damageOf(key);
    if (damage !== undefined)
      return this.#recorder.refuseChild(run, call, placeOf(damage), "WW_STORE_CORRUPT");
    if (depth > maxCallDepth)
      return this.#recorder.refuseChild(run, call, `hubs call one another more than ${maxCallDepth} deep`);
    const parent = { key: run.key, call: number };
    const trace = contextOf(this.#options.tracing, run, { kind: "attempt", call: number, attempt: 1 });
    const definition = this.#definition(callee);
    const request = beforeStored(definition.request, call.input);
    const options = { request, hash: "", parent, ...(trace === undefined ? {} : { trace }) };
    const all: ArrivalOptions = isStored === true && !transformed ? { ...options, isStored } : options;
    const { exclusive } = definition;
    if (exclusive === undefined) return this.#begin(batch, key, definition, all, now);
    const begin = (placed: ArrivalOptions): void => this.#begin(batch, key, definition, placed, now);
    try {
      const arrival = arrivalOf(key, definition, exclusive, all, begin);
      if (this.#lanes.isElsewhere(arrival)) {
        const caller = { carrier: key, since: now, depth };
        const carried = remoteCallOf(call, arrival.lane, caller, this.#lanes.placesOf(run));
        return this.#begin(batch, key, this.#definition(callHubName), { ...options, request: carried }, now);
      }
      const busy = this.#lanes.arrive(batch, arrival, now);
      if (busy?.kind === "error") this.#recorder.refuseChild(run, call, busy.message, "WW_BUSY");
    } catch (error) {
      this.#recorder.refuseChild(run, call, (error as Error).message);
    }
  }

  #takeRequest(batch: Batch, item: RequestItem, now: number): void {
    const { key } = item;
    const hasAnswer = item.fresh || batch.found.get(key)?.answer !== undefined;
    const damage = hasAnswer ? undefined : this.#options.residency.damageUnder(key, batch.found);
    if (damage !== undefined) return this.#refuse(batch, item, damage);
    const hash = item.fresh ? undefined : this.#hashOf(batch, key);
    if (hash !== undefined) {
      if (item.replyTo !== undefined) this.#repeat(batch, key, item.replyTo);
      if (item.isSame(hash)) return void batch.effects.accepted.push({ item, known: true });
      return this.#refuse(batch, item, keyReused(key));
    }
    const invalid = item.invalid ?? this.#culprit(key)?.error;
    if (invalid !== undefined) return this.#refuseNew(batch, item, invalid, now);
    const options = startOptions(item);
    const definition = this.#definition(item.hub);
    const { exclusive } = definition;
    const startAt = Math.ceil(item.startAt ?? now);
    if (startAt > now) {
      const { priority } = item;
      const later = { ...options, startAt, ...(priority === undefined ? {} : { priority }) };
      const postponed = postpone(definition, later, this.#envAt(now));
      this.#recorder.record(batch, this.#options.residency.begin(key), [postponed]);
    } else if (exclusive === undefined) this.#begin(batch, key, definition, options, now);
    else if (!this.#arrive(batch, item, definition, exclusive, options, now)) return;
    batch.effects.accepted.push({ item, known: false });
  }

  /** Takes a request to a hub with a lane. The result is whether it is accepted. */
  #arrive(
    batch: Batch,
    item: RequestItem,
    definition: HubDefinition,
    exclusive: ExclusiveDefinition,
    given: ArrivalOptions,
    now: number,
  ): boolean {
    const { key, priority } = item;
    const options = priority === undefined ? given : { ...given, priority };
    const begin = (placed: ArrivalOptions): void => this.#begin(batch, key, definition, placed, now);
    try {
      const arrival = arrivalOf(key, definition, exclusive, options, begin);
      demandLane(arrival);
      const busy = this.#lanes.arrive(batch, arrival, now);
      if (busy === undefined) return true;
      if (item.isRecord !== true) throw refusalOf(busy);
      this.#lanes.answer(batch, arrival, busy, now);
      return true;
    } catch (error) {
      this.#refuseNew(batch, item, error as WheelworkError, now);
      return false;
    }
  }

  /** A request under a key that is free. That of a call is answered: its caller waits for that, and for nothing else. */
  #refuseNew(batch: Batch, item: RequestItem, error: WheelworkError, now: number): void {
    const { key, hash, caller } = item;
    if (caller === undefined) return this.#refuse(batch, item, error);
    // The store may take anything but the request.
    const accepted = pend(this.#definition(item.hub), { request: null, hash, caller }, this.#envAt(now));
    const answer = { kind: "error", code: "WW_DEFECT", message: error.message } as const;
    this.#recorder.record(batch, this.#options.residency.begin(key), [
      accepted,
      { type: "ended", at: now, answer },
    ]);
    batch.effects.accepted.push({ item, known: false });
  }

  /** The refusal of a record becomes a dead letter, which must not be lost: it is unpinned once that is durable. */
  #refuse(batch: Batch, item: RequestItem, error: WheelworkError): void {
    if (item.offset !== undefined) this.#options.log?.pin(item.offset);
    batch.effects.refused.push({ item, error });
  }

  /** The request has come once more: its answer is published again, if it is there. */
  #repeat(batch: Batch, key: string, replyTo: string): void {
    const live = this.#options.residency.get(key);
    const known = live === undefined ? batch.found.get(key)?.answer : live.run;
    // An answer that is not committed yet is published by the batch that gives it.
    if (known?.answer === undefined || live?.answering === true) return;
    batch.effects.repeated.push(replyOf(known, replyTo, known.answer));
  }

  /** The hash of the request under a key that is known; undefined for a new key. */
  #hashOf(batch: Batch, key: string): string | undefined {
    const { residency } = this.#options;
    const live = residency.get(key);
    if (live !== undefined) return live.run.origin.hash;
    const { run, answer } = batch.found.get(key) ?? {};
    if (answer !== undefined || run === undefined) return answer?.hash;
    // The row of a run that has ended and is forgotten goes with the next checkpoint.
    return residency.hasEndedRow(key) ? undefined : restore(key, run.snapshot).origin.hash;
  }

  #begin(
    batch: Batch,
    key: string,
    definition: HubDefinition,
    options: Parameters<typeof start>[2],
    now: number,
  ): void {
    const live = this.#options.residency.begin(key);
    this.#recorder.record(batch, live, start(definition, live.run, options, this.#envAt(now)));
  }

  /** What the store has said of a run: it is asked once, and what comes then is decided anew. */
  #culprit(key: string): Culprit | undefined {
    const { culprits } = this.#options;
    if (culprits.size === 0) return undefined;
    const culprit = culprits.get(key);
    culprits.delete(key);
    return culprit;
  }

  #takeInput(batch: Batch, item: InputItem, now: number): void {
    const live = this.#options.residency.fetch(item.key, batch.found);
    // A command that the store does not take is refused to its sender, and its run goes on.
    if (live !== undefined && item.done !== undefined && item.input.kind !== "begin") {
      const culprit = this.#culprit(item.key);
      if (culprit !== undefined) return void batch.effects.refused.push({ item, error: culprit.error });
    }
    if (live === undefined) {
      const damage = this.#options.residency.damageUnder(item.key, batch.found);
      if (damage !== undefined && item.done !== undefined)
        return void batch.effects.refused.push({ item, error: damage });
      const stored = batch.found.get(item.key);
      this.#ignored(batch, item, stored !== undefined && stored.answer === undefined ? "unknown" : "ended");
      return;
    }
    if ((item.since ?? live.run.createdAt) !== live.run.createdAt) return this.#ignored(batch, item, "stale");
    const ignored = this.#decide(batch, live, item.input, now);
    if (ignored !== undefined && item.input.kind === "outcome") this.#ignored(batch, item, ignored);
    else if (item.done !== undefined) batch.effects.commanded.push({ item, ignored });
  }

  #ignored(batch: Batch, item: InputItem, reason: IgnoredReason): void {
    if (item.done === undefined) batch.effects.observed.push({ name: "ignored", key: item.key, reason });
    else batch.effects.commanded.push({ item, ignored: reason });
  }

  #callBack(batch: Batch, callback: Callback, now: number): void {
    const { residency, deadlines } = this.#options;
    const run = callback instanceof Call ? callback.run : (callback as Run);
    const live = residency.get(run.key);
    if (live?.run !== run) return;
    // It was closed with many others, whose callbacks are cancelled some at a time.
    if (callback instanceof Call && !isOpen(callback)) return;
    const input: Input = callback instanceof Call ? this.#callDue(callback, now) : { kind: "due" };
    if (callback instanceof Call) this.#keepProgress(batch, live, callback, now);
    this.#decide(batch, live, input, now);
    if (live.run.status !== "ended") deadlines.registerRun(live.run);
    this.#takeAtOnce(batch, now);
  }

  /** The attempt may time out now: the next one goes on from where this one was. */
  #keepProgress(batch: Batch, live: LiveRun, due: Call, now: number): void {
    const value = due.work === undefined ? undefined : this.#options.outcomes.unsavedProgress(due);
    if (value === undefined) return;
    const { number: call, attempt } = due;
    const { epoch } = live.run;
    this.#decide(batch, live, { kind: "progress", call, attempt, epoch, value }, now);
  }

  #callDue(call: Call, now: number): Input {
    const due = call.backoff || call.isHub ? undefined : this.#options.outcomes.dueAfterWait(call, now);
    return due === undefined
      ? { kind: "callDue", call: call.number }
      : { kind: "callDue", call: call.number, due };
  }

  #decide(batch: Batch, live: LiveRun, input: Input, now: number): Ignored | undefined {
    const { run } = live;
    const definition = this.#definition(run.hub);
    if (input.kind === "due" && run.start?.at !== undefined && run.start?.at <= now)
      return this.#lanes.comes(batch, live, now);
    const culprit = this.#culprit(run.key);
    if (culprit !== undefined && run.status === "running")
      return this.#park(batch, live, culprit, input, now);
    // What comes first for a run that was accepted is its first turn.
    this.#beginLive(batch, live, now);
    const env = this.#envAt(now);
    env.memory = input.kind === "signal" ? this.#options.retention.memory(now) : undefined;
    if (run.version !== definition.version && run.status === "running") {
      const from = run.version;
      this.#recorder.record(batch, live, migrate(definition, run, input, env));
      if (run.status !== "running") return undefined;
      const event: EngineEvent = { name: "migrated", hub: run.hub, key: run.key, from, to: run.version };
      batch.effects.observed.push(event);
    }
    const decision = decide(definition, run, input, env);
    this.#recorder.record(batch, live, decision.events);
    for (const again of decision.redeliver ?? []) this.#decide(batch, live, again, now);
    return decision.ignored;
  }

  #envAt(now: number): Writable<Env> {
    const env = this.#env;
    env.now = now;
    env.random = this.#options.random();
    return env;
  }

  #definition(hub: string): HubDefinition {
    const definition = this.#options.hubs.get(hub);
    if (definition === undefined) throw new WheelworkError("WW_HUB_UNKNOWN", `this engine has no hub ${hub}`);
    return definition;
  }
}

/** The first turn of a run, as what it is parked with. */
const unbegun = { kind: "start", transformed: true } as const;
