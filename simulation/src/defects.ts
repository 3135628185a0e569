/** A deliberate defect: what it breaks, and the text that makes it. */
export interface Defect {
  readonly name: string;
  readonly file: string;
  /** Occurs exactly once in the file. */
  readonly from: string;
  readonly to: string;
  /** It is one of clusters, and looked for there. */
  readonly cluster?: true;
}

const kernel = "packages/core/src/kernel.ts";
const run = "packages/core/src/run.ts";
const coordinator = "packages/core/src/coordinator.ts";
const shard = "packages/engine/src/shard.ts";
const host = "packages/engine/src/host.ts";
const engine = "packages/engine/src/engine.ts";
const store = "packages/testing/src/memory-store.ts";
const router = "packages/engine/src/router.ts";
const cluster = "packages/engine/src/cluster.ts";
const outbox = "packages/engine/src/outbox.ts";

/** Each must be found by the simulator. Its checker has no check for any one of them, but for two of clusters (see the page). */
export const defects: readonly Defect[] = [
  {
    name: "drop the epoch check of the store",
    file: store,
    from: "    if (commit.epoch !== disk.epoch) throw fenced();\n",
    to: "",
  },
  {
    name: "a fenced owner takes the shard back",
    file: shard,
    from: "await store.claim(owner, this.#claim.epoch > 0)",
    to: "await store.claim(owner)",
  },
  {
    name: "accept an outcome of a stale attempt",
    file: kernel,
    from: "input.attempt !== call.attempt || call.backoff",
    to: "call.backoff",
  },
  {
    name: "release effects before their commit",
    file: shard,
    from: "    const prepared = commit;\n",
    to: "    const prepared = commit;\n    for (const call of this.#effects.attempts.splice(0)) this.#dispatch(call);\n",
  },
  {
    name: "tell who sent a request before its commit",
    file: shard,
    from: "    this.#effects.accepted.push({ item, known: false });",
    to: "    item.accept(false);",
  },
  {
    name: "forget the deadlines of open calls at claim",
    file: shard,
    from: "        if (call.due !== undefined) this.#coordinator.register(call, call.due);\n        if (isRunning(call) && !call.isHub && (call.due ?? 0) > this.#lastNow)",
    to: "        if (isRunning(call) && !call.isHub && (call.due ?? 0) > this.#lastNow)",
  },
  {
    name: "forget the deadlines of waits at claim",
    file: shard,
    from: '      this.#registerRun(run);\n      if (run.status !== "running") continue;',
    to: '      if (run.status !== "running") continue;',
  },
  {
    name: "do not make open attempts again at claim",
    file: shard,
    from: "(call.due ?? 0) > this.#lastNow)\n          this.#effects.attempts.push(call);",
    to: "(call.due ?? 0) > this.#lastNow + 1e12)\n          this.#effects.attempts.push(call);",
  },
  {
    name: "fire callbacks before the outcomes that wait",
    file: shard,
    from: "      for (const item of items) this.#take(item, now);\n",
    to: "      for (const early of this.#coordinator.take(now)) this.#callBack(early, now);\n      for (const item of items) this.#take(item, now);\n",
  },
  {
    name: "never answer those who waited through a failure",
    file: shard,
    from: "    await this.#answerWaiters();\n",
    to: "",
  },
  {
    name: "count a failed commit as done",
    file: shard,
    from: "        this.#waiting = undefined;\n        this.#lose(error, items);",
    to: "        this.#waiting = undefined;\n        next(undefined as never);\n        void error;",
  },
  {
    name: "keep what was decided when its commit fails",
    file: shard,
    from: "    this.#live.clear();\n    this.#endedStored.clear();\n    this.#coordinator",
    to: "    this.#endedStored.clear();\n    this.#coordinator",
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
    file: kernel,
    from: "    if (!this.#answered && this.answerBy <= now) {",
    to: "    if (this.answerBy <= now) {",
  },
  {
    name: "skip the drain",
    file: kernel,
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
    file: shard,
    from: "        this.#close(call);\n        if (call.isHub) this.#cancelChild(run, call);\n      }",
    to: "        this.#close(call);\n      }",
  },
  {
    name: "do not tell a hub that its child has answered",
    file: shard,
    from: '    this.#internal.push({ kind: "input", key: parent.key, input });',
    to: '    if (run.createdAt % 3 > 0) this.#internal.push({ kind: "input", key: parent.key, input });',
  },
  {
    name: "one attempt too many",
    file: kernel,
    from: "    if (hopeless || call.attempt >= retry.attempts)",
    to: "    if (hopeless || call.attempt > retry.attempts)",
  },
  {
    name: "begin the next attempt without its pause",
    file: kernel,
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
    file: shard,
    from: "      } else if (live.dirty) {\n        runs.push(storedRun(run));",
    to: "      } else if (live.dirty) {\n        if (run.calls.size !== 2) runs.push(storedRun(run));",
  },
  {
    name: "a checkpoint that keeps runs that have ended",
    file: shard,
    from: "    const ended = [...this.#endedStored];",
    to: "    const ended: string[] = [];",
  },
  {
    name: "runs that left the memory never come back",
    file: shard,
    from: "    this.#scanAt = Math.min(this.#scanAt, due - Math.floor(this.#options.limits.horizonMs / 2));",
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
    file: kernel,
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
    file: kernel,
    from: '      return { events: [{ type: "parked", at, input }] };\n    }\n    case "callDue":',
    to: '      return { events: [] };\n    }\n    case "callDue":',
  },
  {
    name: "no answer in time for a parked run",
    file: kernel,
    from: "        events: run.answer === undefined && run.answerBy <= at ? [timeoutAnswer(definition, at)] : [],",
    to: "        events: [],",
  },
  {
    name: "a request that is not looked up in the store",
    file: shard,
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
    file: host,
    from: "      const next = lane.queue[lane.served++] as Attempt;",
    to: "      const next = lane.queue[lane.served++] as Attempt;\n      if (next.call % 5 === 4) continue;",
  },
  {
    name: "engine time that follows the wall clock back",
    file: shard,
    from: "    this.#timeBase = Math.max(this.#claim.engineTime, Math.floor(clock.wallMs()), this.#lastNow);",
    to: "    this.#timeBase = Math.floor(clock.wallMs());",
  },
  {
    name: "clean-up that an outage uses up",
    file: kernel,
    from: "    if (overdue && late && due < since) return this.#rearm();\n",
    to: "",
  },
  {
    name: "an edge that the chart does not have",
    file: kernel,
    from: "    this.enter(target, event, patch, byCancel);",
    to: '    this.enter(this.#late && target.startsWith("Clean") ? "Failed" : target, event, patch, byCancel);',
  },
  {
    name: "show an answer that is not committed",
    file: engine,
    from: "known instanceof Run && !this.shard.isCommitted(known.key) ? undefined : known.answer",
    to: "known.answer",
  },
  {
    name: "purge answers before their time",
    file: engine,
    from: "this.#store.purge(this.shard.now() - this.#retentionMs, most)",
    to: "this.#store.purge(this.shard.now(), most)",
  },
  {
    name: "a journal that is cut before its histories",
    file: store,
    from: "if (seq <= oldest) journal.delete(seq);",
    to: "if (seq <= checkpoint) journal.delete(seq);",
  },
  {
    name: "runs of an older version go on as they are",
    file: shard,
    from: 'if (run.version !== definition.version && run.status === "running") {',
    to: 'if (run.version > definition.version && run.status === "running") {',
  },
  {
    name: "migrate from the last version only",
    file: kernel,
    from: "for (let version = run.version; version < definition.version; version++) {",
    to: "for (let version = definition.version - 1; version < definition.version; version++) {",
  },
  {
    name: "a SQLite file that keeps runs as they first were",
    file: "packages/engine/src/sqlite.ts",
    from: "due = excluded.due, snapshot = excluded.snapshot",
    to: "due = excluded.due",
  },
  {
    name: "a stored answer that does not say where it is to go",
    file: shard,
    from: "    ...(run.replyTo === undefined ? {} : { replyTo: run.replyTo }),\n    state: run.state,",
    to: "    state: run.state,",
    cluster: true,
  },
  {
    name: "answers that are not published again at claim",
    file: shard,
    from: "store.journal(marks?.published ?? seq)",
    to: "store.journal(seq)",
    cluster: true,
  },
  {
    name: "the position is committed ahead of what is decided",
    file: shard,
    from: "    let position = this.#position;\n",
    to: "    let position = this.#position === 0 ? 0 : this.#position + 1;\n",
    cluster: true,
  },
  {
    name: "answers count as published before they are",
    file: outbox,
    from: "return first === undefined ? seq : first - 1;",
    to: "return first === undefined ? seq : seq;",
    cluster: true,
  },
  {
    name: "a fenced owner goes on",
    file: store,
    from: "    if (commit.epoch !== disk.epoch) throw fenced();\n    if (commit.seq !== disk.lastSeq + 1)",
    to: "    if (commit.seq < 0)",
    cluster: true,
  },
  {
    name: "the router notes how far it has come before the inbox has it",
    file: router,
    from: "  async #route(records: readonly LogRecord[]): Promise<void> {\n",
    to: "  async #route(records: readonly LogRecord[]): Promise<void> {\n    const early = records.at(-1);\n    if (early !== undefined)\n      await this.#options.membership()?.commit(early.topic, early.partition, early.offset + 1).catch(() => {});\n",
    cluster: true,
  },
  {
    name: "a request that comes twice is worked twice",
    file: shard,
    from: "    const hash = item.fresh ? undefined : this.#hashOf(key);",
    to: "    const hash = item.fresh || item.offset !== undefined ? undefined : this.#hashOf(key);",
    cluster: true,
  },
  {
    name: "callbacks fire before the inbox was read up to its end",
    file: shard,
    from: "    return this.#position < this.#catchUp.offset && now < this.#catchUp.before;",
    to: "    return this.#position > this.#catchUp.offset + now;",
    cluster: true,
  },
  {
    name: "a shard that was fenced never comes back",
    file: cluster,
    from: "if (this.#fenced.has(shard) && this.#wanted.has(shard)) this.#membership?.rejoin();",
    to: "this.#fenced.has(shard);",
    cluster: true,
  },
];
