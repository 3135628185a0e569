import type { Mutant } from "./mutant.ts";

const shard = "packages/engine/src/shard/shard.ts";
const decider = "packages/engine/src/shard/decider.ts";
const logProgress = "packages/engine/src/shard/log-progress.ts";
const pipeline = "packages/engine/src/shard/pipeline.ts";
const records = "packages/engine/src/shard/records.ts";
const residency = "packages/engine/src/shard/residency.ts";
const tenure = "packages/engine/src/shard/tenure.ts";
const localShard = "packages/engine/src/requests/local-shard.ts";
const store = "packages/testing/src/memory-store.ts";
const router = "packages/engine/src/delivery/router.ts";
const offer = "packages/engine/src/delivery/offer.ts";
const ownedShard = "packages/engine/src/cluster/owned-shard.ts";
const shardFeed = "packages/engine/src/cluster/shard-feed.ts";
const calls = "packages/engine/src/requests/calls.ts";
const laneKeeper = "packages/engine/src/shard/lane-keeper.ts";
const lanes = "packages/engine/src/shard/lanes.ts";
const posts = "packages/engine/src/requests/posts.ts";
const service = "packages/engine/src/requests/service.ts";
const outbox = "packages/engine/src/shard/outbox.ts";
const stormHub = "packages/storm/src/parts/hub.ts";
const stormWorker = "packages/storm/src/parts/worker.ts";
const stormCoordinator = "packages/storm/src/parts/coordinator.ts";
const stormNb = "packages/storm/src/parts/nb.ts";
const stormStreams = "packages/storm/src/parts/streams.ts";

/** Mutants that show in clusters, or on Storm. */
export const mutantsOfShards: readonly Mutant[] = [
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
    file: "packages/engine/src/delivery/remote-shard.ts",
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
    file: "packages/engine/src/delivery/remote-shard-reader.ts",
    from: "    const { runs, seq } = await this.#replayed(checkpoint, [key]);",
    to: "    const { runs, seq } = await this.#replayed(checkpoint, []);",
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
  {
    name: "bring no answer to the shard of the caller",
    file: decider,
    from: '    if (carrier !== undefined) this.#atOnce.push({ kind: "tell", ...carrier });\n',
    to: '    if (carrier !== undefined && answer?.kind !== "error") this.#atOnce.push({ kind: "tell", ...carrier });\n',
    world: "cluster",
  },
  {
    name: "do not cancel what was called in another shard",
    file: service,
    from: '    await this.#accessOf(call.key).deliver(call.key, { kind: "cancel", id: callersCancel });\n',
    to: "",
    world: "cluster",
  },
  {
    name: "cancel what was called in another shard although it may begin later",
    file: service,
    from: "    await this.callOwed(call);\n    await this.#accessOf(call.key)",
    to: "    await this.#accessOf(call.key)",
    world: "cluster",
  },
  {
    name: "begin what was called in another shard under a new key with each attempt",
    file: posts,
    from: "call: (call) => engine().callOwed(call),",
    to: "call: ({ key, ...call }) => engine().callOwed({ ...call, key: `${Math.random()}${key}` }),",
    world: "cluster",
  },
  {
    name: "take the answer of a callee for that of a failure to begin it",
    file: calls,
    from: 'ok: "Taken",\n          failed: (_carried, failure) => s.raise("Refused", { answer: refused(failure) }),\n          on: { [outcomeSignal]: (_carried, answer) => s.raise("Answered", { answer: answer as Answer }) },\n        }),\n      Waiting:',
    to: 'ok: "Taken",\n          failed: (_carried, failure) => s.raise("Refused", { answer: refused(failure) }),\n          on: { [outcomeSignal]: () => s.raise("Answered", { answer: lost }) },\n        }),\n      Waiting:',
    world: "cluster",
  },
  {
    name: "share a place of a caller in another shard that is free by now",
    file: lanes,
    from: "    if (held === undefined) return false;\n",
    to: "    if (held === undefined) return true;\n",
    world: "cluster",
  },
  {
    name: "share no place with a caller in another shard",
    file: laneKeeper,
    from: "return void (yield* caller?.places ?? []);",
    to: "return;",
    world: "cluster",
  },
];
