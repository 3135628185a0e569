import type { Mutant } from "./mutant.ts";
import { mutantsOfBulks } from "./mutants-of-bulks.ts";
import { mutantsOfFlows } from "./mutants-of-flows.ts";
import { mutantsOfOwners } from "./mutants-of-owners.ts";
import { mutantsOfShards } from "./mutants-of-shards.ts";
import { mutantsOfSwitches } from "./mutants-of-switches.ts";
import { mutantsOfTimes } from "./mutants-of-times.ts";
import { mutantsOfStreams } from "./mutants-of-streams.ts";
import { mutantsOfWatches } from "./mutants-of-watches.ts";

const turn = "packages/core/src/turn.ts";
const parked = "packages/core/src/parked.ts";
const run = "packages/core/src/run.ts";
const timers = "packages/core/src/timers.ts";
const coordinator = "packages/core/src/coordinator.ts";
const effects = "packages/core/src/effects.ts";
const takeUp = "packages/engine/src/shard/take-up.ts";
const shard = "packages/engine/src/shard/shard.ts";
const suspectTurns = "packages/engine/src/shard/suspect-turns.ts";
const decider = "packages/engine/src/shard/decider.ts";
const recorder = "packages/engine/src/shard/recorder.ts";
const engineTime = "packages/engine/src/shard/engine-time.ts";
const pipeline = "packages/engine/src/shard/pipeline.ts";
const records = "packages/engine/src/shard/records.ts";
const residency = "packages/engine/src/shard/residency.ts";
const tenure = "packages/engine/src/shard/tenure.ts";
const heart = "packages/engine/src/attempts/heart.ts";
const retry = "packages/core/src/retry.ts";
const round = "packages/core/src/round.ts";
const snapshot = "packages/core/src/snapshot.ts";
const lanes = "packages/engine/src/shard/lanes.ts";
const laneKeeper = "packages/engine/src/shard/lane-keeper.ts";
const pending = "packages/core/src/pending.ts";
const host = "packages/engine/src/attempts/host.ts";
const limiter = "packages/engine/src/attempts/limiter.ts";
const turns = "packages/engine/src/attempts/turns.ts";
const underWay = "packages/engine/src/attempts/under-way.ts";
const localShard = "packages/engine/src/requests/local-shard.ts";
const posts = "packages/engine/src/requests/posts.ts";
const store = "packages/testing/src/memory-store.ts";

/**
 * The simulator must find each of these mutants. No check of its checker is written for one mutant, except for some of
 * clusters (docs/simulation.md).
 */
export const mutants: readonly Mutant[] = [
  {
    name: "arm timers for the millisecond that it is",
    file: timers,
    from: "due: Math.max(clock.enteredAt + ms, clock.now + 1) }",
    to: "due: Math.max(clock.enteredAt + ms, clock.now) }",
  },
  {
    name: "do not disarm a timer",
    file: timers,
    from: "    if (ms === null) continue;\n    const known = before.find((timer) => timer.event === event && timer.set !== true);",
    to: "    const known = before.find((timer) => timer.event === event && timer.set !== true);\n    if (ms === null && known !== undefined) armed.push(known);\n    if (ms === null) continue;",
  },
  {
    name: "forget that a timer has fired when another one changes",
    file: timers,
    from: "known?.ms === ms ? known",
    to: "known?.ms === ms && known.fired !== true ? known",
  },
  {
    name: "fire the timer that is written first, and not the earliest",
    file: timers,
    from: "(next === undefined || timer.due < next.due)",
    to: "next === undefined",
  },
  {
    name: "forget the timers in a checkpoint",
    file: "packages/core/src/snapshot.ts",
    from: "    timers: run.timers,\n",
    to: "",
  },
  {
    name: "let a timer go before the hub's deadline of the same instant",
    file: turn,
    from: "(isOver || deadline <= timer.due)",
    to: "(isOver || deadline < timer.due)",
  },
  {
    name: "let a timer cut a round that drains",
    file: turn,
    from: "logic.drain === true && !late && this.#run.round.held === undefined && this.#othersRun(undefined)",
    to: "logic.drain === true && late && this.#run.round.held === undefined && this.#othersRun(undefined)",
  },
  {
    name: "let a signal cut a round that drains",
    file: turn,
    from: "if (logic.drain === true && this.#steps === 0 && this.#othersRun(undefined))",
    to: "if (logic.drain === true && this.#steps > 0 && this.#othersRun(undefined))",
  },
  {
    name: "call a round back for its timers although it holds an event",
    file: run,
    from: "  if (run.timers !== undefined && !run.late) run.due = dueBy(run.deadline);\n",
    to: "",
  },
  {
    name: "forget when a run is due after its timers have changed",
    file: run,
    from: "  run.due = run.late ? next : dueBy(Math.min(next ?? run.deadline, run.deadline));",
    to: "  if (run.late) run.due = next;",
  },
  {
    name: "keep signals that nobody takes any more",
    file: turn,
    from: "      if (drops.length > 0) entered.drops = drops;\n",
    to: "",
  },
  {
    name: "take signals into a round that holds an event",
    file: turn,
    from: "if (held !== undefined || logic.signals?.includes(signal) !== true) {",
    to: "if (logic.signals?.includes(signal) !== true) {",
  },
  {
    name: "let the children of closed parts go on",
    file: effects,
    from: "    if (call !== undefined) effects = closeCall(call, effects);",
    to: '    if (call !== undefined) effects = add(effects, { type: "close", call });',
  },
  {
    name: "do not close the parts that a handler closes",
    file: run,
    from: "for (const number of calls) callsOf(run).delete(number);",
    to: "for (const number of calls) callsOf(run).get(number);",
  },
  {
    name: "do not check the epoch in the store",
    file: store,
    from: "    if (commit.epoch !== disk.epoch) throw fenced();\n",
    to: "",
  },
  {
    name: "let a fenced owner take the shard back",
    file: shard,
    from: "await store.claim(owner, this.#hasClaimed)",
    to: "await store.claim(owner)",
  },
  {
    name: "accept an outcome of a stale attempt",
    file: "packages/core/src/attempt.ts",
    from: "input.attempt !== call.attempt || call.backoff",
    to: "call.backoff",
  },
  {
    name: "release effects before their commit",
    file: pipeline,
    from: "    const began = clock.monotonicMs();\n    let given: MaybePromise<void>;\n",
    to: "    const began = clock.monotonicMs();\n    let given: MaybePromise<void>;\n    loop.act({ ...batch, commit: undefined, found: new Map(), effects: { ...emptyBatch().effects, attempts: batch.effects.attempts.splice(0) } });\n",
  },
  {
    name: "tell the client that a request is accepted before its commit",
    file: decider,
    from: "now)) return;\n    batch.effects.accepted.push({ item, known: false });",
    to: "now)) return;\n    item.accept(false);",
  },
  {
    name: "forget the deadlines of open calls at the claim",
    file: takeUp,
    from: '      if (run.status === "running") deadlines.registerCall(call);\n',
    to: "",
  },
  {
    name: "forget the deadlines of states at the claim",
    file: takeUp,
    from: "    deadlines.registerRun(run);\n    for (const call of run.calls.values()) {\n",
    to: "    for (const call of run.calls.values()) {\n",
  },
  {
    name: "do not repeat open attempts at the claim",
    file: takeUp,
    from: "        attempts.push({ call, attempt: call.attempt, anew: true });\n",
    to: "        void call;\n",
  },
  {
    name: "fire callbacks before outcomes that are waiting",
    file: decider,
    from: "    let decided = 0;\n    for (const item of items) {\n",
    to: "    let decided = 0;\n    for (const early of this.#options.deadlines.take(now, Infinity)) this.#callBack(batch, early, now);\n    for (const item of items) {\n",
  },
  {
    name: "never answer clients that waited during a failure",
    file: shard,
    from: "    await this.#waiters.answerKnown(tenure.residency, store);\n",
    to: "",
  },
  {
    name: "treat a failed commit as done",
    file: pipeline,
    from: "        else loop.lose(error, []);\n",
    to: "        else this.#landed(batch, 0);\n",
  },
  {
    name: "keep decisions when their commit fails",
    file: shard,
    from: "    const tenure = new Tenure(claim, this.#tenureOptions());\n",
    to: "    const tenure = new Tenure(claim, this.#tenureOptions());\n    for (const live of this.#tenure?.residency.values() ?? []) {\n      for (const callback of [live.run, ...live.run.calls.values()]) Object.assign(callback, { millisecond: undefined, previous: undefined, following: undefined });\n      Object.assign(tenure.residency.begin(live.run.key), live);\n    }\n",
  },
  {
    name: "use a call number again",
    file: run,
    from: "    run.nextCall = group.first + group.inputs.length;",
    to: "    run.nextCall = group.first + group.inputs.length - 1;",
  },
  {
    name: "fire a cancelled callback",
    file: coordinator,
    from: "    if (callback.previous === undefined) millisecond.first = callback.following;",
    to: "    if (callback.previous === undefined) millisecond.first = callback.following ?? millisecond.first;",
  },
  {
    name: "lose one of two callbacks in the same millisecond",
    file: coordinator,
    from: "    else millisecond.last.following = callback;",
    to: "    else if (Math.abs(at) % 3 > 0) millisecond.last.following = callback;",
  },
  {
    name: "fire callbacks a little early",
    file: coordinator,
    from: "    if (at === undefined || at > now) return undefined;",
    to: "    if (at === undefined || at > now + 5) return undefined;",
  },
  {
    name: "answer twice",
    file: turn,
    from: "    if (!this.#answered && this.answerBy <= now) {",
    to: "    if (this.answerBy <= now) {",
  },
  {
    name: "skip the drain",
    file: turn,
    from: "      if (logic.drain === true && this.#othersRun(call)) {",
    to: "      if (logic.drain === true && call.number < 0) {",
  },
  {
    name: "leave calls open when the run leaves their state",
    file: run,
    from: "      clearCalls(run);\n      run.round.held = undefined;\n      run.epoch++;",
    to: "      run.round.held = undefined;\n      run.epoch++;",
  },
  {
    name: "go on with attempts of closed calls",
    file: shard,
    from: "    this.#host.end(closed);\n",
    to: "",
  },
  {
    name: "forget child runs when the run leaves their state",
    file: effects,
    from: "      return forAll(run.calls, closeCall, undefined, most);",
    to: '      return forAll(run.calls, (call, before) => add(before, { type: "close", call }), undefined, most);',
  },
  {
    name: "forget all but the first of many calls that are closed or resumed",
    file: decider,
    from: '    if (to < many.calls.length) this.#carried.push({ kind: "many", live, many, from: to });\n',
    to: "",
  },
  {
    name: "forget a retry that another process has begun",
    file: decider,
    from: "    if (isRetrying(run)) this.#recorder.carryRedelivery(run);\n",
    to: "",
  },
  {
    name: "do not tell a hub that its child run has answered",
    file: recorder,
    from: '    this.atOnce.push({ kind: "input", key: parent.key, input });',
    to: '    if (run.createdAt % 3 > 0) this.atOnce.push({ kind: "input", key: parent.key, input });',
  },
  {
    name: "begin suspects together with all others",
    file: suspectTurns,
    from: "    if (!isSuspect(call)) return false;\n",
    to: "    if (call.deaths >= 0) return false;\n",
  },
  {
    name: "count a death for suspects that waited for their turn",
    file: underWay,
    from: "requests.filter((request) => !isSuspect(request))",
    to: "requests.slice()",
  },
  {
    name: "go on with a lone suspect after its fifth death",
    file: "packages/core/src/claim.ts",
    from: "call === lone && deaths >= maxDeaths",
    to: "call === lone && deaths >= maxDeaths + 1",
  },
  {
    name: "forget at the claim the children that have not begun",
    file: decider,
    from: '      this.#carried.push({ kind: "child", call, isStored: true });\n',
    to: "",
  },
  {
    name: "forget at the claim to cancel a child that has not begun",
    file: decider,
    from: '      if (isCancelled) this.#carried.push({ kind: "cancel", key: childKey(key, call.number) });\n',
    to: "",
  },
  {
    name: "begin a child again whose outcome a parked run keeps",
    file: decider,
    from: " || keepsOutcome(run, call.number)) continue;",
    to: ") continue;",
  },
  {
    name: "forget at the claim the first turn of runs that were told something",
    file: decider,
    from: '    if (isUnbegun(run)) this.#carried.push({ kind: "begin", key });\n',
    to: "",
  },
  {
    name: "forget at the claim to end the children that nobody waits for",
    file: decider,
    from: "      if (!isWanted || cancelsRound(",
    to: "      if (isWanted && cancelsRound(",
  },
  {
    name: "forget at the claim to cancel the children of a round that drains",
    file: decider,
    from: "      if (!isWanted || cancelsRound(this.#definition(caller.hub), caller))",
    to: "      if (!isWanted)",
  },
  {
    name: "let runs leave the memory that have not begun",
    file: records,
    from: "  isUnbegun(run) ||\n",
    to: "",
  },
  {
    name: "decide what is carried over with the next input only",
    file: shard,
    from: "    if (pipeline.carries) return this.#turns.schedule();\n",
    to: "",
  },
  {
    name: "make one attempt too many",
    file: turn,
    from: "    if (call.attempt >= rule.attempts)",
    to: "    if (call.attempt > rule.attempts)",
  },
  {
    name: "begin the next attempt without the backoff",
    file: turn,
    from: "    if (pause === 0) this.#attempt(call, attempt + 1);",
    to: "    this.#attempt(call, attempt + 1);",
  },
  {
    name: "change the idempotency key with each attempt",
    file: run,
    from: "    ? `${run.key}/${call.number}`",
    to: "    ? `${run.key}/${call.number}/${call.attempt}`",
  },
  {
    name: "give two requests the same idempotency keys",
    file: run,
    from: "    ? `${run.key}/${call.number}`",
    to: "    ? `${run.hub}/${call.number}`",
  },
  {
    name: "replay the journal one batch too late",
    file: store,
    from: "      if (seq > after) yield",
    to: "      if (seq > after + 1) yield",
  },
  {
    name: "leave runs out of a checkpoint",
    file: residency,
    from: "      } else if (live.dirty && live.firstSeq <= sweep.from) {\n        swept.push(live);",
    to: "      } else if (live.dirty && live.firstSeq <= sweep.from && live.run.calls.size !== 2) {\n        swept.push(live);",
  },
  {
    name: "keep ended runs in a checkpoint",
    file: residency,
    from: "      if (ended.length >= most) break;\n",
    to: "      if (ended.length >= 0) break;\n",
  },
  {
    name: "queue a request that is refused as too much",
    file: shard,
    from: "    return overloaded(overload);\n",
    to: "    this.#push({ ...make(), accept: () => {}, refuse: () => {} });\n    return overloaded(overload);\n",
  },
  {
    name: "refuse a request as too much whose run has left the memory",
    file: localShard,
    from: "      if (known === undefined) throw error;\n",
    to: "      if (known === undefined || !request.fresh) throw error;\n",
  },
  {
    name: "leave runs out of a checkpoint that its journal is cut for",
    file: residency,
    from: "live.firstSeq <= sweep.from) {",
    to: "live.firstSeq < sweep.from) {",
  },
  {
    name: "replay what the row of a run has already",
    file: residency,
    from: "seq <= live.rowSeq) return;",
    to: "seq < 0) return;",
  },
  {
    name: "drop the journal when a part of a checkpoint is written",
    file: residency,
    from: "covers: isOver ? sweep.from : 0 };",
    to: "covers: sweep.from };",
  },
  {
    name: "keep rows of runs that end while a checkpoint is written",
    file: residency,
    from: "        if (live.stored) ended.push(live.run.key);\n",
    to: "",
  },
  {
    name: "never bring runs back into memory",
    file: residency,
    from: "    this.#scanAt = Math.min(this.#scanAt, due - Math.floor(this.#limits.horizonMs / 2));",
    to: "    void due;",
  },
  {
    name: "lose the part of a history before a checkpoint",
    file: store,
    from: "disk.histories.set(key, [...parts, { number, text }]);",
    to: "disk.histories.set(key, [{ number, text }]);",
  },
  {
    name: "apply a command twice",
    file: turn,
    from: "    if (refused !== undefined) return refused;",
    to: "",
  },
  {
    name: "forget commands in a restart",
    file: "packages/core/src/snapshot.ts",
    from: "for (const [name, known] of Object.entries(named ?? {})) {",
    to: "for (const [name, known] of Object.entries<string>({})) {",
  },
  {
    name: "forget the ids of commands too early",
    file: "packages/engine/src/shard/retention.ts",
    from: "const commandsSince = this.endedBefore(now, this.#retentionMs);",
    to: "const commandsSince = now;",
  },
  {
    name: "lose inputs of a parked run",
    file: parked,
    from: '      return { events: [{ type: "parked", at, input }] };\n    }\n    case "callDue":',
    to: '      return { events: [] };\n    }\n    case "callDue":',
  },
  {
    name: "do not answer the request of a parked run in time",
    file: parked,
    from: "        events: run.answer === undefined && run.answerBy <= at ? [timeoutAnswer(definition, run, at)] : [],",
    to: "        events: [],",
  },
  {
    name: "do not look a request up in the store",
    file: pipeline,
    from: '      const mayBeStored = item.kind === "request" ? !item.fresh : item.done !== undefined;',
    to: '      const mayBeStored = item.kind === "request" ? false : item.done !== undefined;',
  },
  {
    name: "let the time of an attempt run while it waits for a slot",
    file: host,
    from: "    if (attempt === undefined || attempt.attempt !== request.attempt) return undefined;",
    to: "    if (attempt === undefined || attempt.attempt !== request.attempt || !attempt.isMade) return undefined;",
  },
  {
    name: "drop an outcome when its slot is needed",
    file: host,
    from: '    if (open || outcome.kind === "ok")',
    to: "    if (open && (limiter?.running ?? 0) < 2)",
  },
  {
    name: "forget an attempt in the queue",
    file: turns,
    from: "    const waiting = queue?.waiting.first;",
    to: "    const waiting = queue?.waiting.first;\n    if (queue !== undefined && waiting !== undefined && waiting.attempt.call % 5 === 4) {\n      this.remove(waiting);\n      return this.take();\n    }",
  },
  {
    name: "give a place away before its work has ended",
    file: host,
    from: "    if (!attempt.isMade) return limiter.leave(attempt);",
    to: "    return limiter.leave(attempt);",
  },
  {
    name: "let one more be under way than a limit allows",
    file: limiter,
    from: "    while (this.#running < this.limits.concurrency) {",
    to: "    while (this.#running <= this.limits.concurrency) {",
  },
  {
    name: "let one more be under way than the limit of a key allows",
    file: limiter,
    from: "key.waiting > 0 && key.running < this.limits.concurrent;",
    to: "key.waiting > 0 && key.running <= this.limits.concurrent;",
  },
  {
    name: "begin with full buckets",
    file: limiter,
    from: "clock.monotonicMs() + limits.burst * this.#tokenMs",
    to: "clock.monotonicMs()",
  },
  {
    name: "take no token for what has waited",
    file: limiter,
    from: "      this.#take(key, attempt);\n      this.#update(key);",
    to: "      const { fullAt } = key;\n      this.#take(key, attempt);\n      key.fullAt = fullAt;\n      this.#update(key);",
  },
  {
    name: "fail an attempt for silence that has just said something",
    file: heart,
    from: "if (now - this.#beatAt >= this.#heartbeatMs) return",
    to: "if (now >= this.#beatAt) return",
  },
  {
    name: "forget what an attempt has said last when it fails",
    file: host,
    from: '      if (open && checked.kind !== "ok") this.#hearts.get(attempt)?.save();\n',
    to: "",
  },
  {
    name: "forget what an attempt has said last when it times out",
    file: decider,
    from: "    if (callback instanceof Call) this.#keepProgress(batch, live, callback, now);\n",
    to: "",
  },
  {
    name: "leave the progress of a call out of its checkpoint",
    file: "packages/core/src/snapshot.ts",
    from: "      ...(call.progress !== undefined && { progress: call.progress }),\n",
    to: "",
  },
  {
    name: "follow the rule of all failures for each of them",
    file: retry,
    from: "  if (retries.on.size === 0) return retries;\n",
    to: "  if (retries.on.size >= 0) return retries;\n",
  },
  {
    name: "let engine time follow the wall clock back",
    file: engineTime,
    from: "    this.#began = Math.max(lastCommit, here, this.#last);\n    this.#last = this.#began;\n",
    to: "    this.#began = Math.floor(this.#clock.wallMs());\n    void [lastCommit, here];\n    this.#last = this.#began;\n",
  },
  {
    name: "let an outage use up the time of the clean-up",
    file: turn,
    from: "    if (overdue && late && due < since) return this.rearm();\n",
    to: "",
  },
  {
    name: "take an edge that the chart does not have",
    file: turn,
    from: "    this.enter(target, event, patch, byCancel);",
    to: '    this.enter(this.#late && target.startsWith("Clean") ? "Failed" : target, event, patch, byCancel);',
  },
  {
    name: "show an answer that is not committed",
    file: localShard,
    from: "known instanceof Run && !this.#shard.isCommitted(known.key) ? undefined : known.answer",
    to: "known.answer",
  },
  {
    name: "purge answers before their retention is over",
    file: tenure,
    from: "return store.purge(endedBefore, limit,",
    to: "return store.purge(time.now(), limit,",
  },
  {
    name: "purge a request while what it has begun is known",
    file: store,
    from: " || [...answers.keys()].some(isOf);",
    to: ";",
  },
  {
    name: "archive events before their retention is over",
    file: tenure,
    from: "return store.archive(this.retention.endedBefore(time.now(), historyRetentionMs), limit);",
    to: "return store.archive(time.now(), limit);",
  },
  {
    name: "count the events that are archived wrongly",
    file: store,
    from: "events: (gone?.events ?? 0) + events.length,",
    to: "events: events.length,",
  },
  {
    name: "cut the journal while histories need it",
    file: store,
    from: "if (seq > oldest || (JSON",
    to: "if (seq > checkpoint || (JSON",
  },
  {
    name: "let runs of an older version go on without migrating",
    file: decider,
    from: 'if (run.version !== definition.version && run.status === "running") {',
    to: 'if (run.version > definition.version && run.status === "running") {',
  },
  {
    name: "migrate from the last version only",
    file: "packages/core/src/migrations.ts",
    from: "for (let version = run.version; version < definition.version; version++) {",
    to: "for (let version = definition.version - 1; version < definition.version; version++) {",
  },
  {
    name: "keep the first row of a run in the SQLite file",
    file: "packages/engine/src/stores/sqlite.ts",
    from: "attempts = excluded.attempts, snapshot = excluded.snapshot",
    to: "attempts = excluded.attempts",
  },
  {
    name: "a SQLite file counts the labels of rows that have gone",
    file: "packages/engine/src/stores/sqlite-facets.ts",
    from: "this.#changesOf(label).add(facet, createdAt, undefined, -1);",
    to: "",
  },
  {
    name: "a run that comes back into memory has no labels",
    file: "packages/core/src/snapshot.ts",
    from: "hash, parent, caller, replyTo, labels };",
    to: "hash, parent, caller, replyTo, labels: undefined };",
  },
  {
    name: "a count has the rows of runs that have moved on",
    file: "packages/engine/src/requests/list.ts",
    from: "sums.add(row.facet, -1, messageOf(row));",
    to: "sums.add(row.facet, 0);",
  },
  {
    name: "the hub's deadline counts after its answer",
    file: "packages/core/src/run.ts",
    from: "if (event.own === true) run.deadline = noDeadline;",
    to: "",
  },
  {
    name: "a hub answers though the engine has answered",
    file: "packages/core/src/turn.ts",
    from: "  #answer(reply: unknown): void {\n    if (this.#answered) return;",
    to: "  #answer(reply: unknown): void {",
  },
  {
    name: "do not give a place on when its run has ended",
    file: recorder,
    from: '    if (lane?.canGrant === true) this.atOnce.push({ kind: "free", lane });\n',
    to: "",
  },
  {
    name: "forget at a claim the runs of lanes that are not in memory",
    file: residency,
    from: "lanes.add(stored);",
    to: "void stored;",
  },
  {
    name: "forget at a claim whose place a run shares",
    file: lanes,
    from: "    else this.#open(lane).hold(lane.shares ?? key, lane.fence);",
    to: "    else this.#open(lane).hold(key, lane.fence);",
  },
  {
    name: "let a call free the place that it shares",
    file: lanes,
    from: "if (held !== undefined && --held.runs === 0) this.#places.delete(place);",
    to: "if (held !== undefined) this.#places.delete(place);",
  },
  {
    name: "grant the last one first",
    file: lanes,
    from: "  a.rank < b.rank || (a.rank === b.rank && a.key < b.key);",
    to: "  a.rank > b.rank;",
  },
  {
    name: "let those who come go before those who wait",
    file: lanes,
    from: "    return this.#places.size < this.slots && this.queued === 0;",
    to: "    return this.#places.size <= this.slots && this.queued === 0;",
  },
  {
    name: "let a call take a place of its own",
    file: laneKeeper,
    from: ": { ...of, ...(shares.fence === undefined ? {} : { fence: shares.fence }), shares: shares.place };",
    to: ": { ...of, fence: this.#nextFence(), ...stays };",
  },
  {
    name: "grant a place to a run whose time is over",
    file: laneKeeper,
    from: "      if (run.due !== undefined && run.due <= now) {",
    to: "      if (now < 0) {",
  },
  {
    name: "leave those who wait for an answer without it",
    file: laneKeeper,
    from: "    for (const joined of this.#residency.lanes.get(lane)?.joinedTo(key) ?? [])\n      this.#end(batch, joined, answer, now);\n",
    to: "",
  },
  {
    name: "wait for a turn without a bound",
    file: pending,
    from: "    due: lane?.joins === undefined ? queueBy : Math.min(answerBy, callerBy),",
    to: "    due: at + 1e12,",
  },
  {
    name: "begin no run that carries a post",
    file: recorder,
    from: '        this.atOnce.push({ kind: "tell", ...carrierOf(run, effect.posted), trace });\n',
    to: '        if (effect.posted.type === "told") this.atOnce.push({ kind: "tell", ...carrierOf(run, effect.posted), trace });\n',
  },
  {
    name: "let the posts of one run to another overtake each other",
    file: "packages/engine/src/requests/hubs.ts",
    from: "{ ...definition, exclusive: inOrder, deadlineMs: postMs }",
    to: "{ ...definition, deadlineMs: postMs }",
  },
  {
    name: "give each attempt of a post a command id of its own",
    file: posts,
    from: "const id = `${run}@${since.toString(36)}`;",
    to: "const id = `${run}@${since.toString(36)}${Math.random()}`;",
  },
  {
    name: "give a post up when its first attempt fails",
    file: posts,
    from: 'return failed(error.retryable ? "away" : "refused", error.message);',
    to: 'return failed("refused", error.message);',
    // In one engine, the loop that carries a post is the one that takes it.
    world: "cluster",
  },
  {
    name: "count a post as delivered before its run has it",
    file: posts,
    from: "=> engine().signalOwed(hub, id, signal),",
    to: "=> Promise.resolve(void engine().signalOwed(hub, id, signal).catch(() => {})),",
  },
  {
    name: "refuse what a run has started when there is too much to do",
    file: shard,
    from: "const isNew = isOwed !== true && this.find(key) === undefined;",
    to: "const isNew = this.find(key) === undefined;",
  },
  {
    name: "let the fence of a lane begin anew with each claim",
    file: laneKeeper,
    from: "this.#fence = Math.max(this.#fence + 1, this.#deciding.nextSeq() * grantsOfBatch);",
    to: "this.#fence++;",
  },
  {
    name: "open more calls of a round while some are queued",
    file: round,
    from: " && run.round.nextQueued >= run.nextCall;",
    to: ";",
  },
  {
    name: "forget in a checkpoint what a round has left",
    file: snapshot,
    from: "inputsLeft: storedInputsLeft(run),",
    to: "inputsLeft: undefined,",
  },
  {
    name: "leave out an input of a long round",
    file: round,
    from: "else run.round.left.from = from;",
    to: "else run.round.left.from = from + 1;",
  },
  ...mutantsOfOwners,
  ...mutantsOfTimes,
  ...mutantsOfWatches,
  ...mutantsOfStreams,
  ...mutantsOfBulks,
  ...mutantsOfFlows,
  ...mutantsOfShards,
  ...mutantsOfSwitches,
];
