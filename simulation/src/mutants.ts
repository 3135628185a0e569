import type { WorldName } from "./worlds.ts";

/** A deliberate defect: its name says what it does wrong, and `to` replaces `from` in a file. */
export interface Mutant {
  readonly name: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** The world in which it is looked for. Default: that of one engine. */
  readonly world?: WorldName;
}

const turn = "packages/core/src/turn.ts";
const parked = "packages/core/src/parked.ts";
const run = "packages/core/src/run.ts";
const timers = "packages/core/src/timers.ts";
const coordinator = "packages/core/src/coordinator.ts";
const effects = "packages/core/src/effects.ts";
const shard = "packages/engine/src/shard/shard.ts";
const suspectTurns = "packages/engine/src/shard/suspect-turns.ts";
const decider = "packages/engine/src/shard/decider.ts";
const engineTime = "packages/engine/src/shard/engine-time.ts";
const logProgress = "packages/engine/src/shard/log-progress.ts";
const pipeline = "packages/engine/src/shard/pipeline.ts";
const records = "packages/engine/src/shard/records.ts";
const residency = "packages/engine/src/shard/residency.ts";
const tenure = "packages/engine/src/shard/tenure.ts";
const heart = "packages/engine/src/attempts/heart.ts";
const retry = "packages/core/src/retry.ts";
const lanes = "packages/engine/src/shard/lanes.ts";
const laneKeeper = "packages/engine/src/shard/lane-keeper.ts";
const pending = "packages/core/src/pending.ts";
const host = "packages/engine/src/attempts/host.ts";
const limiter = "packages/engine/src/attempts/limiter.ts";
const turns = "packages/engine/src/attempts/turns.ts";
const underWay = "packages/engine/src/attempts/under-way.ts";
const localShard = "packages/engine/src/requests/local-shard.ts";
const store = "packages/testing/src/memory-store.ts";
const router = "packages/engine/src/delivery/router.ts";
const offer = "packages/engine/src/delivery/offer.ts";
const ownedShard = "packages/engine/src/cluster/owned-shard.ts";
const shardFeed = "packages/engine/src/cluster/shard-feed.ts";
const outbox = "packages/engine/src/shard/outbox.ts";

const stormHub = "packages/storm/src/parts/hub.ts";
const stormWorker = "packages/storm/src/parts/worker.ts";
const stormCoordinator = "packages/storm/src/parts/coordinator.ts";
const stormNb = "packages/storm/src/parts/nb.ts";
const stormStreams = "packages/storm/src/parts/streams.ts";

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
    from: "(!late && deadline <= timer.due)",
    to: "(!late && deadline < timer.due)",
  },
  {
    name: "let a timer cut a round that drains",
    file: turn,
    from: "logic.drain === true && !late && this.#run.held === undefined && this.#othersRun(undefined)",
    to: "logic.drain === true && late && this.#run.held === undefined && this.#othersRun(undefined)",
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
    from: '    effects.push({ type: "close", call });\n    cancelChild(call, effects);\n  }\n}',
    to: '    effects.push({ type: "close", call });\n  }\n}',
  },
  {
    name: "do not close the parts that a handler closes",
    file: run,
    from: "for (const number of calls) run.calls.delete(number);",
    to: "for (const number of calls) run.calls.get(number);",
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
    from: "    batch.effects.accepted.push({ item, known: false });",
    to: "    item.accept(false);",
  },
  {
    name: "forget the deadlines of open calls at the claim",
    file: shard,
    from: '        if (run.status === "running") deadlines.registerCall(call);\n',
    to: "",
  },
  {
    name: "forget the deadlines of states at the claim",
    file: shard,
    from: "      deadlines.registerRun(run);\n      for (const call of run.calls.values()) {\n",
    to: "      for (const call of run.calls.values()) {\n",
  },
  {
    name: "do not repeat open attempts at the claim",
    file: shard,
    from: '        if (run.status === "running")\n          pipeline.open.effects.attempts.push({ call, attempt: call.attempt, anew: true });\n',
    to: "",
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
    to: "    const tenure = new Tenure(claim, this.#tenureOptions());\n    for (const live of this.#tenure?.residency.values() ?? []) {\n      for (const callback of [live.run, ...live.run.calls.values()]) Object.assign(callback, { callbackAt: -1, previous: undefined, following: undefined });\n      Object.assign(tenure.residency.begin(live.run.key), live);\n    }\n",
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
    from: "      if (at === undefined || at > now) break;",
    to: "      if (at === undefined || at > now + 5) break;",
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
    from: "      clearCalls(run);\n      run.held = undefined;\n      run.epoch++;",
    to: "      run.held = undefined;\n      run.epoch++;",
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
    from: '        effects.push({ type: "close", call });\n        cancelChild(call, effects);\n',
    to: '        effects.push({ type: "close", call });\n',
  },
  {
    name: "do not tell a hub that its child run has answered",
    file: decider,
    from: '    this.#atOnce.push({ kind: "input", key: parent.key, input });',
    to: '    if (run.createdAt % 3 > 0) this.#atOnce.push({ kind: "input", key: parent.key, input });',
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
    from: " || kept?.has(call.number) === true) continue;",
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
    from: "      } else if (live.dirty) {\n        swept.push(live);",
    to: "      } else if (live.dirty && live.run.calls.size !== 2) {\n        swept.push(live);",
  },
  {
    name: "keep ended runs in a checkpoint",
    file: residency,
    from: "      if (!isOver && ended.length >= most) break;\n",
    to: "      if (ended.length >= 0) break;\n",
  },
  {
    name: "queue a request that is refused as too much",
    file: shard,
    from: "    item.refuse(overloaded(overload));\n",
    to: "    item.refuse(overloaded(overload));\n    this.#push({ ...item, accept: () => {}, refuse: () => {} });\n",
  },
  {
    name: "refuse a request as too much whose run has left the memory",
    file: localShard,
    from: "      if (known === undefined) throw error;\n",
    to: "      if (known === undefined || !request.fresh) throw error;\n",
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
    from: "    for (const [key, text] of histories) disk.histories.set(key, [...(disk.histories.get(key) ?? []), text]);",
    to: "    for (const [key, text] of histories) disk.histories.set(key, [text]);",
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
    from: "  if (named !== undefined) run.named = new Map(Object.entries(named));",
    to: "  void commands;",
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
    from: "      progress: call.progress,\n",
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
    name: "cut the journal while histories need it",
    file: store,
    from: "if (seq <= oldest) journal.delete(seq);",
    to: "if (seq <= checkpoint) journal.delete(seq);",
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
    from: "due = excluded.due, snapshot = excluded.snapshot",
    to: "due = excluded.due",
  },
  {
    name: "store an answer without its channel",
    file: records,
    from: "    ...(run.replyTo === undefined ? {} : { replyTo: run.replyTo }),\n    state: run.state,",
    to: "    state: run.state,",
    world: "cluster",
  },
  {
    name: "do not publish answers again at the claim",
    file: tenure,
    from: "store.journal(logProgress?.published ?? seq)",
    to: "store.journal(seq)",
    world: "cluster",
  },
  {
    name: "commit a position ahead of the decisions",
    file: logProgress,
    from: "    let position = this.#position;\n",
    to: "    let position = this.#position === 0 ? 0 : this.#position + 1;\n",
    world: "cluster",
  },
  {
    name: "count a batch as published although its answers are not",
    file: decider,
    from: "if (logProgress?.published === seq - 1 && answers.length === 0)",
    to: "if (logProgress?.published === seq - 1)",
    world: "cluster",
  },
  {
    name: "count answers as published before they are",
    file: outbox,
    from: "return first === undefined ? seq : first - 1;",
    to: "return first === undefined ? seq : seq;",
    world: "cluster",
  },
  {
    name: "let a fenced owner go on",
    file: store,
    from: "    if (commit.epoch !== disk.epoch) throw fenced();\n    if (commit.seq !== disk.lastSeq + 1)",
    to: "    if (commit.seq < 0)",
    world: "cluster",
  },
  {
    name: "commit the router's position before the inbox has the record",
    file: router,
    from: "      void this.#settle(record, this.#unsettled);\n",
    to: "      void this.#settle(record, this.#unsettled);\n      this.#unsettled.delete(record.offset);\n      this.#noteSoon();\n",
    world: "cluster",
  },
  {
    name: "count a directly routed request as durable before its commit",
    file: offer,
    from: '      accept: () => resolve("durable"),\n',
    to: '      accept: position === undefined ? (resolve("durable"), nothing) : () => resolve("durable"),\n',
    world: "cluster",
  },
  {
    name: "do not send a refused request through the inbox",
    file: offer,
    from: 'resolve(error.retryable ? "refused" : { reason',
    to: 'resolve(error.retryable ? "durable" : { reason',
    world: "cluster",
  },
  {
    name: "run a request twice if it comes twice",
    file: decider,
    from: "    const hash = item.fresh ? undefined : this.#hashOf(batch, key);",
    to: "    const hash = item.fresh || item.offset !== undefined ? undefined : this.#hashOf(batch, key);",
    world: "cluster",
  },
  {
    name: "fire callbacks before the inbox is read up to its end",
    file: logProgress,
    from: "    return this.#position < this.#catchUp.offset && now < this.#catchUp.before;",
    to: "    return this.#position > this.#catchUp.offset + now;",
    world: "cluster",
  },
  {
    name: "do not wait for relay replies from before the claim",
    file: logProgress,
    from: "this.#catchUp = { offset: later === undefined ? end : Number.POSITIVE_INFINITY, before };",
    to: "this.#catchUp = { offset: end, before };",
    world: "cluster",
  },
  {
    name: "lose relay replies when the shard fails",
    file: offer,
    from: '    () => "refused" as const,\n',
    to: '    () => "durable" as const,\n',
    world: "cluster",
  },
  {
    name: "let a frozen node keep a shard that another node had meanwhile",
    file: ownedShard,
    from: "    return epoch <= this.shard.epoch;\n",
    to: "    return epoch > 0;\n",
    world: "cluster",
  },
  {
    name: "replay a dead letter to the partition of its key",
    file: "packages/engine/src/delivery/dead-letters.ts",
    from: "value: record.value, headers }, partition);",
    to: "value: record.value, headers });",
    world: "cluster",
  },
  {
    name: "read a recreated inbox from the old position",
    file: logProgress,
    from: "isAnew || isReplaced ? undefined",
    to: "isAnew ? undefined",
    world: "cluster",
  },
  {
    name: "pass over records of an inbox that are no entries",
    file: shardFeed,
    from: "      this.#bury(shard, record, error instanceof Error ? error.message : String(error));\n",
    to: "",
    world: "cluster",
  },
  {
    name: "read no more of an inbox that was cut",
    file: shardFeed,
    from: "    if (!isLogLost(error)) return onEnded(error);\n",
    to: "    if (isLogLost(error)) return;\n",
    world: "cluster",
  },
  {
    name: "forget unpublished answers when the position is reset",
    file: store,
    from: '{ ...logProgress, log: "", position: 0 }',
    to: '{ log: "", position: 0, published: this.#disk.lastSeq }',
    world: "cluster",
  },
  {
    name: "ignore a signal from the inbox",
    file: offer,
    from: "      const { run = key, input } = entry;\n",
    to: '      const { run = key, input } = entry;\n      if (input.kind === "signal" && position !== undefined) {\n        shard.feed({ kind: "mark", offset: position });\n        return "durable";\n      }\n',
    world: "cluster",
  },
  {
    name: "accept a command for another node before the inbox has it",
    file: "packages/engine/src/cluster/remote-shard.ts",
    from: '    await this.#append(key, { type: "command", input });',
    to: '    this.#append(key, { type: "command", input }).catch(() => {});',
    world: "cluster",
  },
  {
    name: "move the position past another body before its dead letter is durable",
    file: decider,
    from: "    if (item.offset !== undefined) this.#options.log?.pin(item.offset);\n",
    to: "",
    world: "cluster",
  },
  {
    name: "take another body under a known key for the same request",
    file: decider,
    from: "      if (item.isSame(hash)) return",
    to: "      if (hash !== undefined) return",
    world: "cluster",
  },
  {
    name: "let other nodes read only the last checkpoint",
    file: "packages/engine/src/cluster/remote-shard-reader.ts",
    from: "    const run = (await this.#replayed(checkpoint, [key])).get(key);",
    to: "    const run = (await this.#replayed(checkpoint, [])).get(key);",
    world: "cluster",
  },
  {
    name: "list changed runs twice at another node",
    file: "packages/engine/src/requests/list.ts",
    from: "rows.has(row.key) || moved.has(row.key)) continue;\n      else if (!overlay.isCurrent(row)) {",
    to: "rows.has(row.key)) continue;\n      else if (!(moved.has(row.key) || overlay.isCurrent(row))) {",
    world: "cluster",
  },
  {
    name: "publish answers in any order",
    file: outbox,
    from: "    for (const reply of replies) void this.#deliver(seq, reply);",
    to: "    for (const reply of replies)\n      this.#clock.after(seq % 2 === 0 ? 100 : 0, () => void this.#deliver(seq, reply));",
    world: "cluster",
  },
  {
    name: "give an answer another id each time it is published",
    file: records,
    from: "  id: `${known.key}@${known.createdAt}`,",
    to: "  id: `${known.key}@${known.createdAt + Math.floor(performance.now())}`,",
    world: "cluster",
  },
  {
    name: "hand out decisions of the next batch with those of this one",
    file: shard,
    from: "if (call.attempt === attempt) this.#dispatch(call, ",
    to: "if (call.attempt >= attempt) this.#dispatch(call, ",
    world: "cluster",
  },
  {
    name: "do not let effects wait for an asynchronous commit",
    file: pipeline,
    from: "    this.#committing = { batch, began, done };\n",
    to: "    this.#committing = { batch, began, done };\n    for (const { item, known } of batch.effects.accepted.splice(0)) item.accept(known);\n",
    world: "cluster",
  },
  {
    name: "say that a request does not exist after losing the shard",
    file: localShard,
    from: " || !(await this.#shard.isOwned())) return unavailable();",
    to: ") return unavailable();",
    world: "cluster",
  },
  {
    name: "let nodes take shards with runs of newer hubs",
    file: residency,
    from: "      else if (definition.version < version) {",
    to: "      else if (definition.version < 0) {",
    world: "cluster",
  },
  {
    name: "let callbacks wait until something else happens",
    file: shard,
    from: "    else deadlines.arm(at);",
    to: "    else deadlines.arm(at + 20_000);",
    world: "cluster",
  },
  {
    name: "purge answers a minute too early",
    file: tenure,
    from: "return store.purge(endedBefore, limit,",
    to: "return store.purge(endedBefore + 60_000, limit,",
    world: "cluster",
  },
  {
    name: "give two owners the same epoch",
    file: store,
    from: "    disk.epoch++;",
    to: "    if (disk.epoch % 3 !== 1) disk.epoch++;",
    world: "cluster",
  },
  {
    name: "make undecided records of a stopping shard dead letters",
    file: shard,
    from: "if (item.offset === undefined) refuse(item, stopping());",
    to: "refuse(item, stopping());",
    world: "cluster",
  },
  {
    name: "keep a batch that was decided ahead when the commit before it fails",
    file: pipeline,
    from: "    this.#sealed = undefined;\n    this.#busy = undefined;\n    this.#open = emptyBatch();\n    return items;\n",
    to: "    for (const { item, known } of this.#sealed?.effects.accepted ?? []) item.accept(known);\n    this.#sealed = undefined;\n    this.#busy = undefined;\n    this.#open = emptyBatch();\n    return items;\n",
    world: "cluster",
  },
  {
    name: "decide batches while a checkpoint is written",
    file: pipeline,
    from: "return commit?.checkpoint === undefined && this.#readers === 0 && ",
    to: "return commit !== undefined && this.#readers === 0 && ",
    world: "cluster",
  },
  {
    name: "a tuple is acked before its request is committed",
    file: stormHub,
    from: "const result = await offer(this.#working(), key, entry);",
    to: 'const offered = offer(this.#working(), key, entry);\n    const result = entry.type === "request" ? "durable" : await offered;',
    world: "storm",
  },
  {
    name: "a hub that was taken over acks what comes",
    file: stormHub,
    from: "    const result = await offer(",
    to: "    if (this.#host === undefined) return;\n    const result = await offer(",
    world: "storm",
  },
  {
    name: "a hub that was taken over never claims again",
    file: stormHub,
    from: "    this.#reclaim?.begin();\n",
    to: "",
    world: "storm",
  },
  {
    name: "a request whose key cannot be stored is worked where it came in",
    file: stormHub,
    from: "if (shardOf(key, this.#config.shards) !== this.#index)",
    to: "if (shardOf(record.key, this.#config.shards) !== this.#index)",
    world: "storm",
  },
  {
    name: "a record is acked before its dead letter is there",
    file: stormHub,
    from: "[this.#key, JSON.stringify([publication])], [tuple]);",
    to: '[this.#key, JSON.stringify([publication])], tuple.id === "" ? [tuple] : []);',
    world: "storm",
  },
  {
    name: "records that are older than answers are kept are taken",
    file: stormHub,
    from: "return offset < (await this.#log.since(topic, partition, now - retentionMs));",
    to: "return offset < 0;",
    world: "storm",
  },
  {
    name: "an answer counts as published when its tuple is sent",
    file: stormHub,
    from: "    this.#publications?.add(this.#key, publication);\n",
    to: "    this.#publications?.add(this.#key, publication);\n    resolve();\n",
    world: "storm",
  },
  {
    name: "an answer of which nothing is heard is not sent again",
    file: stormHub,
    from: "if ((waiting[0]?.since ?? before) >= before) continue;",
    to: "if ((waiting[0]?.since ?? before) >= 0) continue;",
    world: "storm",
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
    name: "a hub counts an answer as published of another request",
    file: stormHub,
    from: "const waiting = this.#unpublished.get(id) ?? [];\n    this.#unpublished.delete(id);",
    to: "const waiting = [...this.#unpublished.values()].flat();\n    this.#unpublished.clear();",
    world: "storm",
  },
  {
    name: "callbacks wait for the coordinator alone",
    file: stormCoordinator,
    from: "timerMs(delayMs + sweepMs)",
    to: "timerMs(delayMs + 100 * sweepMs)",
    world: "storm",
  },
  {
    name: "the bolt to Northbound acks what no broker has",
    file: stormNb,
    from: "    if (failed === undefined) return;\n",
    to: "    if (failed === undefined || ids.length === 0) return;\n",
    world: "storm",
  },
  {
    name: "the bolt to Northbound reports what no broker has",
    file: stormNb,
    from: "if (!isTooLarge(error)) throw error;",
    to: "if (!isTooLarge(error)) return id === undefined ? [] : [id];",
    world: "storm",
  },
  {
    name: "attempts of a call share a name",
    file: stormStreams,
    from: "  `${request}#${call}#${attempt}`;",
    to: "  `${request}#${call}#${attempt > 0 ? 1 : 0}`;",
    world: "storm",
  },
  {
    name: "outcomes of the runs that a request begins go to the task of another key",
    file: stormWorker,
    from: "outcomes.add(rootOf(order.run.key), ",
    to: "outcomes.add(order.run.key, ",
    world: "storm",
  },
  {
    name: "what is for several tasks goes to one of them",
    file: stormStreams,
    from: "const task = shardOf(key, this.#tasks);",
    to: "const task = shardOf(key, 1);",
    world: "storm",
  },
  {
    name: "a tuple of a turn is forgotten when there are two",
    file: stormStreams,
    from: "else waiting.items.push(item);",
    to: "else waiting.items[waiting.items.length - 1] = item;",
    world: "storm",
  },
  {
    name: "do not give a place on when its run has ended",
    file: decider,
    from: '    if (lane?.canGrant === true) this.#atOnce.push({ kind: "free", lane });\n',
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
    from: "    else this.#open(lane).hold(lane.shares ?? key);",
    to: "    else this.#open(lane).hold(key);",
  },
  {
    name: "let a call free the place that it shares",
    file: lanes,
    from: "    const left = (this.#places.get(place) ?? 0) - 1;",
    to: "    const left = 0;",
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
    from: "shares === undefined ? { ...of, ...stays } : { ...of, shares };",
    to: "{ ...of, ...stays };",
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
    from: "    due: lane.joins === undefined ? queueBy : Math.min(answerBy, callerBy),",
    to: "    due: at + 1e12,",
  },
  {
    name: "leave requests of channels in the shard of their own key",
    file: "packages/engine/src/delivery/place.ts",
    from: "    placed = placedKey(definition, key, invalid === undefined ? valid : entry.request);",
    to: "    placed = key;",
    world: "cluster",
  },
  {
    name: "group the tuples of lanes by the whole keys of their requests",
    file: stormStreams,
    from: "{ key: routeOf(key), items: [item] }",
    to: "{ key, items: [item] }",
    world: "storm",
  },
];
