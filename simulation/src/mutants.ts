import type { WorldName } from "./worlds.ts";

/** A deliberate defect: what it breaks, and the text that makes it. */
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
const coordinator = "packages/core/src/coordinator.ts";
const effects = "packages/core/src/effects.ts";
const shard = "packages/engine/src/shard/shard.ts";
const decider = "packages/engine/src/shard/decider.ts";
const engineTime = "packages/engine/src/shard/engine-time.ts";
const logProgress = "packages/engine/src/shard/log-progress.ts";
const pipeline = "packages/engine/src/shard/pipeline.ts";
const records = "packages/engine/src/shard/records.ts";
const residency = "packages/engine/src/shard/residency.ts";
const tenure = "packages/engine/src/shard/tenure.ts";
const host = "packages/engine/src/attempts/host.ts";
const lane = "packages/engine/src/attempts/lane.ts";
const localShard = "packages/engine/src/requests/local-shard.ts";
const shardHost = "packages/engine/src/requests/shard-host.ts";
const store = "packages/testing/src/memory-store.ts";
const router = "packages/engine/src/delivery/router.ts";
const offer = "packages/engine/src/delivery/offer.ts";
const ownedShard = "packages/engine/src/cluster/owned-shard.ts";
const outbox = "packages/engine/src/shard/outbox.ts";

/** Each must be found by the simulator. Its checker has no check for any one of them, but for some of clusters (see the page). */
export const mutants: readonly Mutant[] = [
  {
    name: "drop the epoch check of the store",
    file: store,
    from: "    if (commit.epoch !== disk.epoch) throw fenced();\n",
    to: "",
  },
  {
    name: "a fenced owner takes the shard back",
    file: shard,
    from: "await store.claim(owner, this.#hasClaimed)",
    to: "await store.claim(owner)",
  },
  {
    name: "accept an outcome of a stale attempt",
    file: turn,
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
    name: "tell who sent a request before its commit",
    file: decider,
    from: "    batch.effects.accepted.push({ item, known: false });",
    to: "    item.accept(false);",
  },
  {
    name: "forget the deadlines of open calls at claim",
    file: shard,
    from: '        if (run.status === "running") deadlines.registerCall(call);\n',
    to: "",
  },
  {
    name: "forget the deadlines of waits at claim",
    file: shard,
    from: "      deadlines.registerRun(run);\n      for (const call of run.calls.values()) {\n",
    to: "      for (const call of run.calls.values()) {\n",
  },
  {
    name: "do not make open attempts again at claim",
    file: shard,
    from: '        if (run.status === "running" && (call.due ?? 0) > this.#time.last)\n          pipeline.open.effects.attempts.push({ call, attempt: call.attempt });\n',
    to: "",
  },
  {
    name: "fire callbacks before the outcomes that wait",
    file: decider,
    from: "    for (const item of items) this.#take(batch, item, now);\n",
    to: "    for (const early of this.#options.deadlines.take(now, Infinity)) this.#callBack(batch, early, now);\n    for (const item of items) this.#take(batch, item, now);\n",
  },
  {
    name: "never answer those who waited through a failure",
    file: shard,
    from: "    await this.#answerWaiters(tenure);\n",
    to: "",
  },
  {
    name: "count a failed commit as done",
    file: pipeline,
    from: "        if (!this.#isOver) loop.lose(error, []);\n      },\n    );\n    this.#committing =",
    to: "        if (!this.#isOver) this.#landed(batch, 0);\n        void error;\n      },\n    );\n    this.#committing =",
  },
  {
    name: "keep what was decided when its commit fails",
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
    name: "lose one of two callbacks in a millisecond",
    file: coordinator,
    from: "    else millisecond.last.following = callback;",
    to: "    else if (Math.abs(at) % 3 > 0) millisecond.last.following = callback;",
  },
  {
    name: "call back a little early",
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
    name: "leave calls open when their state is left",
    file: run,
    from: '    case "entered":\n      clearCalls(run);',
    to: '    case "entered":',
  },
  {
    name: "go on with attempts of calls that are closed",
    file: shard,
    from: "    this.#host.end(closed);\n",
    to: "",
  },
  {
    name: "forget the children of a state that is left",
    file: effects,
    from: '        effects.push({ type: "close", call });\n        cancelChild(call, effects);\n',
    to: '        effects.push({ type: "close", call });\n',
  },
  {
    name: "do not tell a hub that its child has answered",
    file: decider,
    from: '    this.#internal.push({ kind: "input", key: parent.key, input });',
    to: '    if (run.createdAt % 3 > 0) this.#internal.push({ kind: "input", key: parent.key, input });',
  },
  {
    name: "one attempt too many",
    file: turn,
    from: "    if (hopeless || call.attempt >= retry.attempts)",
    to: "    if (hopeless || call.attempt > retry.attempts)",
  },
  {
    name: "begin the next attempt without its pause",
    file: turn,
    from: "    if (pause === 0) this.#attempt(call, call.attempt + 1);",
    to: "    this.#attempt(call, call.attempt + 1);",
  },
  {
    name: "an idempotency key that changes with the attempt",
    file: run,
    from: "    ? `${run.key}/${call.number}`",
    to: "    ? `${run.key}/${call.number}/${call.attempt}`",
  },
  {
    name: "idempotency keys that requests share",
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
    name: "a checkpoint that leaves out runs",
    file: residency,
    from: "      } else if (live.dirty) {\n        runs.push(storedRun(run));",
    to: "      } else if (live.dirty) {\n        if (run.calls.size !== 2) runs.push(storedRun(run));",
  },
  {
    name: "a checkpoint that keeps runs that have ended",
    file: residency,
    from: "    const ended = [...this.#endedStored];",
    to: "    const ended: string[] = [];",
  },
  {
    name: "runs that left the memory never come back",
    file: residency,
    from: "    this.#scanAt = Math.min(this.#scanAt, due - Math.floor(this.#limits.horizonMs / 2));",
    to: "    void due;",
  },
  {
    name: "a history that loses what came before a checkpoint",
    file: store,
    from: "    for (const [key, text] of histories) disk.histories.set(key, [...(disk.histories.get(key) ?? []), text]);",
    to: "    for (const [key, text] of histories) disk.histories.set(key, [text]);",
  },
  {
    name: "a command that counts twice",
    file: turn,
    from: '    if (hasCommand(this.#run, "signal", input.id)) return "duplicate";',
    to: "",
  },
  {
    name: "forget commands over a restart",
    file: run,
    from: "  for (const id of commands) run.commands.add(id);",
    to: "  void commands;",
  },
  {
    name: "lose what comes while a run is parked",
    file: parked,
    from: '      return { events: [{ type: "parked", at, input }] };\n    }\n    case "callDue":',
    to: '      return { events: [] };\n    }\n    case "callDue":',
  },
  {
    name: "no answer in time for a parked run",
    file: parked,
    from: "        events: run.answer === undefined && run.answerBy <= at ? [timeoutAnswer(definition, at)] : [],",
    to: "        events: [],",
  },
  {
    name: "a request that is not looked up in the store",
    file: pipeline,
    from: '      const mayBeStored = item.kind === "request" ? !item.fresh : item.done !== undefined;',
    to: '      const mayBeStored = item.kind === "request" ? false : item.done !== undefined;',
  },
  {
    name: "an outcome that is dropped when its place is needed",
    file: host,
    from: '    if (open || outcome.kind === "ok") this.#report(',
    to: "    if (open && lane.running < 2) this.#report(",
  },
  {
    name: "a queue of attempts that forgets one",
    file: lane,
    from: "      const next = this.#queue[this.#served++] as Attempt;",
    to: "      const next = this.#queue[this.#served++] as Attempt;\n      if (next.call % 5 === 4) continue;",
  },
  {
    name: "engine time that follows the wall clock back",
    file: engineTime,
    from: "    this.#began = Math.max(lastCommit, here, this.#last);\n    this.#last = this.#began;\n",
    to: "    this.#began = Math.floor(this.#clock.wallMs());\n    void [lastCommit, here];\n    this.#last = this.#began;\n",
  },
  {
    name: "clean-up that an outage uses up",
    file: turn,
    from: "    if (overdue && late && due < since) return this.#rearm();\n",
    to: "",
  },
  {
    name: "an edge that the chart does not have",
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
    name: "purge answers before their time",
    file: shardHost,
    from: "this.#store.purge(endedBefore, purgeLimit)",
    to: "this.#store.purge(this.shard.now(), purgeLimit)",
  },
  {
    name: "a journal that is cut before its histories",
    file: store,
    from: "if (seq <= oldest) journal.delete(seq);",
    to: "if (seq <= checkpoint) journal.delete(seq);",
  },
  {
    name: "runs of an older version go on as they are",
    file: decider,
    from: 'if (run.version !== definition.version && run.status === "running") {',
    to: 'if (run.version > definition.version && run.status === "running") {',
  },
  {
    name: "migrate from the last version only",
    file: turn,
    from: "for (let version = run.version; version < definition.version; version++) {",
    to: "for (let version = definition.version - 1; version < definition.version; version++) {",
  },
  {
    name: "a SQLite file that keeps runs as they first were",
    file: "packages/engine/src/stores/sqlite.ts",
    from: "due = excluded.due, snapshot = excluded.snapshot",
    to: "due = excluded.due",
  },
  {
    name: "a stored answer that does not say where it is to go",
    file: records,
    from: "    ...(run.replyTo === undefined ? {} : { replyTo: run.replyTo }),\n    state: run.state,",
    to: "    state: run.state,",
    world: "cluster",
  },
  {
    name: "answers that are not published again at claim",
    file: tenure,
    from: "store.journal(logProgress?.published ?? seq)",
    to: "store.journal(seq)",
    world: "cluster",
  },
  {
    name: "the position is committed ahead of what is decided",
    file: logProgress,
    from: "    let position = this.#position;\n",
    to: "    let position = this.#position === 0 ? 0 : this.#position + 1;\n",
    world: "cluster",
  },
  {
    name: "a batch counts as published although it gives answers",
    file: decider,
    from: "if (logProgress?.published === seq - 1 && answers.length === 0)",
    to: "if (logProgress?.published === seq - 1)",
    world: "cluster",
  },
  {
    name: "answers count as published before they are",
    file: outbox,
    from: "return first === undefined ? seq : first - 1;",
    to: "return first === undefined ? seq : seq;",
    world: "cluster",
  },
  {
    name: "a fenced owner goes on",
    file: store,
    from: "    if (commit.epoch !== disk.epoch) throw fenced();\n    if (commit.seq !== disk.lastSeq + 1)",
    to: "    if (commit.seq < 0)",
    world: "cluster",
  },
  {
    name: "the router notes how far it has come before the inbox has it",
    file: router,
    from: "      void this.#settle(record);\n",
    to: "      void this.#settle(record);\n      this.#unsettled.delete(record.offset);\n      this.#noteSoon();\n",
    world: "cluster",
  },
  {
    name: "a request of this node's own shard counts as settled before its commit",
    file: offer,
    from: '      accept: () => resolve("durable"),\n',
    to: '      accept: position === undefined ? (resolve("durable"), nothing) : () => resolve("durable"),\n',
    world: "cluster",
  },
  {
    name: "what a shard of this node refuses does not go through its inbox",
    file: offer,
    from: 'resolve(error.retryable ? "refused" : { reason',
    to: 'resolve(error.retryable ? "durable" : { reason',
    world: "cluster",
  },
  {
    name: "a request that comes twice is worked twice",
    file: decider,
    from: "    const hash = item.fresh ? undefined : this.#hashOf(batch, key);",
    to: "    const hash = item.fresh || item.offset !== undefined ? undefined : this.#hashOf(batch, key);",
    world: "cluster",
  },
  {
    name: "callbacks fire before the inbox was read up to its end",
    file: logProgress,
    from: "    return this.#position < this.#catchUp.offset && now < this.#catchUp.before;",
    to: "    return this.#position > this.#catchUp.offset + now;",
    world: "cluster",
  },
  {
    name: "callbacks do not wait for what relays were told before the claim",
    file: logProgress,
    from: "this.#catchUp = { offset: later === undefined ? end : Number.POSITIVE_INFINITY, before };",
    to: "this.#catchUp = { offset: end, before };",
    world: "cluster",
  },
  {
    name: "what relays were told is lost when the shard fails",
    file: offer,
    from: '    () => "refused" as const,\n',
    to: '    () => "durable" as const,\n',
    world: "cluster",
  },
  {
    name: "a node that stood still keeps a shard that another has had meanwhile",
    file: ownedShard,
    from: "    return epoch <= this.shard.epoch;\n",
    to: "    return epoch > 0;\n",
    world: "cluster",
  },
  {
    name: "a dead letter goes to the partition of its key",
    file: "packages/engine/src/delivery/dead-letters.ts",
    from: "value: record.value, headers }, partition);",
    to: "value: record.value, headers });",
    world: "cluster",
  },
  {
    name: "an inbox that was made anew is read from the old place",
    file: tenure,
    from: "logProgress !== undefined && !isAnew && logProgress.log !== feed.log",
    to: "logProgress !== undefined && logProgress.position < 0",
    world: "cluster",
  },
  {
    name: "a shard whose inbox was cut goes on without it",
    file: ownedShard,
    from: "          onEnded(error);\n",
    to: "",
    world: "cluster",
  },
  {
    name: "what was not published is forgotten with the place in the log",
    file: store,
    from: '{ ...logProgress, log: "", position: 0 }',
    to: '{ log: "", position: 0, published: this.#disk.lastSeq }',
    world: "cluster",
  },
  {
    name: "a signal that comes through the inbox is passed over",
    file: offer,
    from: "      const { run = key, input } = entry;\n",
    to: '      const { run = key, input } = entry;\n      if (input.kind === "signal" && position !== undefined) {\n        shard.feed({ kind: "mark", offset: position });\n        return "durable";\n      }\n',
    world: "cluster",
  },
  {
    name: "a command for another node is accepted before it is in the inbox",
    file: "packages/engine/src/cluster/remote-shard.ts",
    from: '    await this.#append(key, { type: "command", input });',
    to: '    this.#append(key, { type: "command", input }).catch(() => {});',
    world: "cluster",
  },
  {
    name: "the position passes another body before its dead letter is there",
    file: decider,
    from: "    if (item.offset !== undefined) this.#options.log?.pin(item.offset);\n",
    to: "",
    world: "cluster",
  },
  {
    name: "another body under a known key is the same request",
    file: decider,
    from: "      if (hash === item.hash) return",
    to: "      if (hash !== undefined) return",
    world: "cluster",
  },
  {
    name: "other nodes know of what the last checkpoint knew",
    file: "packages/engine/src/cluster/remote-shard-reader.ts",
    from: "    const run = (await this.#replayed(checkpoint, [key])).get(key);",
    to: "    const run = (await this.#replayed(checkpoint, [])).get(key);",
    world: "cluster",
  },
  {
    name: "a list at another node has what has moved on twice",
    file: "packages/engine/src/requests/list.ts",
    from: "rows.has(row.key) || moved.has(row.key)) continue;\n      else if (!overlay.isCurrent(row)) {",
    to: "rows.has(row.key)) continue;\n      else if (!(moved.has(row.key) || overlay.isCurrent(row))) {",
    world: "cluster",
  },
  {
    name: "answers are published in any order",
    file: outbox,
    from: "    for (const reply of replies) void this.#deliver(seq, reply);",
    to: "    for (const reply of replies)\n      this.#clock.after(seq % 2 === 0 ? 100 : 0, () => void this.#deliver(seq, reply));",
    world: "cluster",
  },
  {
    name: "an answer has another id each time that it is published",
    file: records,
    from: "  id: `${known.key}@${known.createdAt}`,",
    to: "  id: `${known.key}@${known.createdAt + Math.floor(performance.now())}`,",
    world: "cluster",
  },
  {
    name: "what is decided ahead is handed out with what was decided before",
    file: shard,
    from: "if (call.attempt === attempt) this.#dispatch(call);",
    to: "if (call.attempt >= attempt) this.#dispatch(call);",
    world: "cluster",
  },
  {
    name: "effects do not wait for a commit beside the loop",
    file: pipeline,
    from: "    this.#committing = { batch, began, done };\n",
    to: "    this.#committing = { batch, began, done };\n    for (const { item, known } of batch.effects.accepted.splice(0)) item.accept(known);\n",
    world: "cluster",
  },
  {
    name: "one that was taken over says that there is no such request",
    file: localShard,
    from: " || !(await this.#shard.isOwned())) return unavailable();",
    to: ") return unavailable();",
    world: "cluster",
  },
  {
    name: "nodes take shards with runs of hubs newer than theirs",
    file: residency,
    from: "      else if (definition.version < version) {",
    to: "      else if (definition.version < 0) {",
    world: "cluster",
  },
  {
    name: "callbacks wait until something else happens",
    file: shard,
    from: "    else deadlines.arm(at);",
    to: "    else deadlines.arm(at + 20_000);",
    world: "cluster",
  },
  {
    name: "answers are purged a minute too early",
    file: shardHost,
    from: "this.#store.purge(endedBefore, purgeLimit)",
    to: "this.#store.purge(endedBefore + 60_000, purgeLimit)",
    world: "cluster",
  },
  {
    name: "two owners share an epoch",
    file: store,
    from: "    disk.epoch++;",
    to: "    if (disk.epoch % 3 !== 1) disk.epoch++;",
    world: "cluster",
  },
  {
    name: "what a stopping shard has not decided becomes a dead letter",
    file: shard,
    from: "if (item.offset === undefined) refuse(item, stopping());",
    to: "refuse(item, stopping());",
    world: "cluster",
  },
  {
    name: "a batch that was decided ahead outlives the commit that failed",
    file: pipeline,
    from: "    this.#sealed = undefined;\n    this.#busy = undefined;\n    this.#open = emptyBatch();\n    return items;\n",
    to: "    for (const { item, known } of this.#sealed?.effects.accepted ?? []) item.accept(known);\n    this.#sealed = undefined;\n    this.#busy = undefined;\n    this.#open = emptyBatch();\n    return items;\n",
    world: "cluster",
  },
  {
    name: "batches are decided while a checkpoint is written",
    file: pipeline,
    from: "return commit?.checkpoint === undefined && this.#readers === 0 && ",
    to: "return commit !== undefined && this.#readers === 0 && ",
    world: "cluster",
  },
];
