import { end, hub, spoke, type Answer, type RunEvent, type Schema, type Spoke } from "@wheelwork/core";
import {
  clusterTopics,
  createNode,
  remote,
  shardOf,
  worker,
  type Channel,
  type Claim,
  type ClusterNode,
  type Commit,
  type LogRecord,
  type Message,
  type Worker,
} from "@wheelwork/engine";
import { SimulatedClock, type SimulatedProcess } from "../clock.ts";
import { FaultyStore, type Fault } from "../faulty-store.ts";
import { MemoryBroker, MemoryLog, type LogFault } from "../memory-log.ts";
import { MemoryStore } from "../memory-store.ts";
import { seededRandom } from "../random.ts";
import { checkTrace, type CheckedSystem } from "./checker.ts";
import { drawFor } from "./plan.ts";
import { lineOf, type Seen, type TraceEntry } from "./trace.ts";

/** Everything that can go wrong in a simulation of a cluster, by name. */
export const clusterFaultKinds = [
  "crash-before",
  "crash-after",
  "fail",
  "unseen",
  "append-lost",
  "append-fail",
  "append-unseen",
  "append-twice",
  "kill",
  "stop",
  "freeze",
  "log-gone",
  "store-gone",
  "add",
  "rebalance",
] as const;
/** The name of a fault of a cluster. */
export type ClusterFaultKind = (typeof clusterFaultKinds)[number];

/** One thing that goes wrong: at the n-th commit or record that nodes write, or at a time. */
export interface ClusterFault {
  readonly kind: ClusterFaultKind;
  /** Which commit or record it is, counted over all nodes; for the others: when, in milliseconds. */
  readonly at: number;
  /** How long it lasts, or until the next process starts, in milliseconds. */
  readonly forMs: number;
  /** Which of the nodes that live then it strikes. */
  readonly node: number;
}

/** A request of a cluster's simulation. */
export interface ClusterRequest {
  readonly at: number;
  readonly key: string;
  /** Through a channel, sent once; or given to a node, at once and never again. */
  readonly by: "channel" | "submit";
  readonly twice: boolean;
}

/** All that a simulation of a cluster does: drawn from a seed. */
export interface ClusterPlan {
  readonly seed: number;
  readonly nodes: number;
  readonly shards: number;
  readonly requests: readonly ClusterRequest[];
  readonly faults: readonly ClusterFault[];
  /** Longest time of a message to or from the broker or a store, in milliseconds. */
  readonly latencyMs: number;
  readonly forMs: number;
  readonly checkpointEvents: number;
  readonly batchInputs: number;
}

/** What is wrong, and which promise it breaks. */
export interface ClusterViolation {
  readonly invariant: string;
  readonly message: string;
}

/** A simulation of a cluster that has shown what must never be. */
export interface ClusterFailure {
  readonly seed: number;
  readonly violations: readonly ClusterViolation[];
  readonly plan: ClusterPlan;
  readonly trace: readonly string[];
}

/** What simulations of clusters have reached. */
export interface ClusterReport {
  readonly seeds: number;
  readonly simulatedMs: number;
  readonly requests: number;
  readonly commits: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly signals: ReadonlyMap<string, number>;
  readonly exercised: ReadonlyMap<string, number>;
  readonly failures: readonly ClusterFailure[];
}

/** Which clusters to simulate. */
export interface ClusterSimulationOptions {
  /** The first seed. Default 1. */
  readonly from?: number;
  readonly seeds: number;
  /** Ends earlier, after so many milliseconds of real time. */
  readonly withinMs?: number;
  /** Ends after so many failures. Default 1. */
  readonly failures?: number;
  /** Whether a failure is made smaller. Default true. */
  readonly shrinks?: boolean;
}

const inbox = "wheelwork-inbox";
const work = "work";
const requests = "requests";
const replies = "replies";
/** Longest time in which all must come to rest, once nothing fails any more, in milliseconds. */
const restMs = 240_000;

/** Draws a plan. */
export function clusterPlanOf(seed: number): ClusterPlan {
  const random = seededRandom(seed);
  const forMs = 5_000 + random.int(25_000);
  // What happens at about the same time meets.
  const about = random.int(forMs);
  const when = random.chance(0.5)
    ? () => random.int(forMs)
    : () => Math.min(forMs, about + random.int(3_000));
  const kinds = clusterFaultKinds.filter(() => random.chance(0.4));
  const operations = random.pick([10, 40, 120]);
  const fault = (): ClusterFault => {
    const kind = random.pick(kinds);
    const at = kind in commitFaults || kind in appendFaults ? 1 + random.int(operations) : when();
    return { kind, at, forMs: random.int(random.pick([200, 4_000, 20_000])), node: random.int(8) };
  };
  return {
    seed,
    nodes: 2 + random.int(3),
    shards: random.pick([1, 2, 3, 5]),
    requests: Array.from({ length: 2 + random.int(9) }, (_, place): ClusterRequest => ({
      at: when(),
      key: `${seed.toString(16)}-${place}`,
      by: random.chance(0.75) ? "channel" : "submit",
      twice: random.chance(0.15),
    })),
    faults: Array.from({ length: kinds.length === 0 ? 0 : random.int(10) }, fault),
    latencyMs: random.pick([0, 2, 20]),
    forMs,
    checkpointEvents: random.pick([1, 10, 50_000]),
    batchInputs: random.pick([1, 5_000]),
  };
}

const commitFaults: Partial<Record<ClusterFaultKind, Fault>> = {
  "crash-before": "crash-before",
  "crash-after": "crash-after",
  fail: "fail",
  unseen: "unseen",
};

const appendFaults: Partial<Record<ClusterFaultKind, LogFault>> = {
  "append-lost": "lost",
  "append-fail": "fail",
  "append-unseen": "unseen",
  "append-twice": "twice",
};

/** Simulates clusters: several nodes over one log and the stores of their shards, in virtual time, each from one seed. */
export async function simulateCluster(options: ClusterSimulationOptions): Promise<ClusterReport> {
  const { from = 1, seeds, withinMs = Number.POSITIVE_INFINITY, failures: most = 1 } = options;
  const total = { seeds: 0, simulatedMs: 0, requests: 0, commits: 0 };
  const [faults, signals, exercised] = [new Map(), new Map(), new Map()] as Map<string, number>[];
  const failures: ClusterFailure[] = [];
  const began = performance.now();
  for (let seed = from; seed < from + seeds && failures.length < most; seed++) {
    if (performance.now() - began > withinMs) break;
    const plan = clusterPlanOf(seed);
    const world = await playCluster(plan);
    total.seeds++;
    total.simulatedMs += world.clock.monotonicMs();
    total.requests += plan.requests.length;
    total.commits += world.commits;
    for (const [into, given] of [
      [faults, world.faults],
      [signals, world.signals],
      [exercised, world.exercised],
    ] as const)
      for (const [name, times] of given) count(into as Map<string, number>, name, times);
    if (world.violations.length === 0) continue;
    failures.push(
      options.shrinks === false
        ? { seed, plan, violations: world.violations, trace: world.lines }
        : await shrink(plan, world),
    );
  }
  return {
    ...total,
    faults: faults as Map<string, number>,
    signals: signals as Map<string, number>,
    exercised: exercised as Map<string, number>,
    failures,
  };
}

function count(counts: Map<string, number>, name: string, times = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}

async function playCluster(plan: ClusterPlan): Promise<World> {
  const world = new World(plan);
  await world.play();
  return world;
}

/** Leaves out what need not happen for it to fail in the same way. */
async function shrink(failing: ClusterPlan, first: World): Promise<ClusterFailure> {
  const kinds = new Set(first.violations.map(({ invariant }) => invariant));
  let [plan, world] = [failing, first];
  for (const list of ["faults", "requests"] as const) {
    for (let place = plan[list].length - 1; place >= 0; place--) {
      const smaller = { ...plan, [list]: plan[list].toSpliced(place, 1) };
      const played = await playCluster(smaller);
      if (!played.violations.some(({ invariant }) => kinds.has(invariant))) continue;
      [plan, world] = [smaller, played];
    }
  }
  return { seed: plan.seed, plan, violations: world.violations, trace: world.lines };
}

/** A failure for people: what is wrong, the smallest plan, and what happened. */
export function describeClusterFailure({ seed, violations, plan, trace }: ClusterFailure): string {
  const list = violations.slice(0, 5).map(({ invariant, message }) => `  ${invariant}: ${message}`);
  return [
    `seed ${seed} of a cluster fails:`,
    ...list,
    "the smallest plan that was found:",
    `  ${JSON.stringify({ ...plan, requests: undefined, faults: undefined })}`,
    ...plan.requests.map((request) => `  ${JSON.stringify(request)}`),
    ...plan.faults.map((fault) => `  ${JSON.stringify(fault)}`),
    "what happened:",
    ...trace,
  ].join("\n");
}

// ---- the system: a spoke in the process, and one that is served elsewhere, so that its outcomes come through the inbox ----

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

const check = spoke("check", {
  input: anything,
  output: anything,
  timeoutMs: 4_000,
  retry: { attempts: 5, backoffMs: 100 },
}) as unknown as Spoke<object, object>;

const make = spoke("make", {
  input: anything,
  output: anything,
  timeoutMs: 8_000,
  retry: { attempts: 2, backoffMs: 100 },
}) as unknown as Spoke<object, object>;

interface Order {
  readonly isReady: boolean;
}

const order = hub(
  "order",
  {
    request: anything,
    reply: anything,
    errors: ["failed"],
    deadlineMs: 60_000,
    chart: {
      Checking: { Checked: "Making", Ready: "Done", Failed: "Failed", Late: "Failed" },
      Making: { Made: "Done", Failed: "Failed", Late: "Failed" },
      Done: end,
      Failed: end,
    },
    data: (request) => request as Order,
  },
  {
    Checking: (s) =>
      s.call(check, {
        input: () => ({}),
        // Some need nothing that is made elsewhere: they can be answered while the log is away.
        ok: ({ isReady }: Order) => (isReady ? "Ready" : "Checked"),
        failed: "Failed",
        deadline: "Late",
      }),
    Making: (s) =>
      s.call(make, {
        input: () => ({}),
        ok: (_data: Order, output: object) => ({ raise: "Made", patch: { output } }),
        failed: "Failed",
        deadline: "Late",
      }),
    Done: (data) => data,
    Failed: (_data, s) => s.fail("failed", "as it happens"),
  },
);

const channel: Channel = {
  name: "orders",
  from: requests,
  to: replies,
  hub: order as never,
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

const checkedSystem: CheckedSystem = {
  charts: new Map([["order", order.definition.chart]]),
  spokes: new Map([
    ["check", { attempts: 5, concurrency: check.concurrency }],
    ["make", { attempts: 2, concurrency: make.concurrency }],
  ]),
  states: new Map([
    ["order: Checking", { drains: false, deadline: "Late" }],
    ["order: Making", { drains: false, deadline: "Late" }],
  ]),
  retentionMs: Number.POSITIVE_INFINITY,
  // Nobody can be blamed for what is late: another node may be frozen, and the group waits for it.
  graceMs: Number.POSITIVE_INFINITY,
  lagMs: 20_000,
};

// ---- the world ----

/** A store as one owner has it: what it writes is seen. */
class SeenStore extends MemoryStore {
  readonly #seen: (seen: Claim | Commit) => void;

  constructor(like: MemoryStore, seen: (seen: Claim | Commit) => void) {
    super(like);
    this.#seen = seen;
  }

  override claim(owner: string, again?: boolean): Claim {
    const claim = super.claim(owner, again);
    this.#seen(claim);
    return claim;
  }

  override commit(commit: Commit): void {
    super.commit(commit);
    this.#seen(commit);
  }
}

/** One process with a node in it. */
class Member {
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly engine: ClusterNode;
  readonly stores = new Set<FaultyStore>();
  /** The owners that it is, by shard. */
  readonly owners = new Map<number, number>();
  logGone = false;
  storeGone = false;
  ready = false;
  #log: MemoryLog;

  constructor(world: World, number: number) {
    const { clock, broker, plan } = world;
    this.number = number;
    this.process = clock.process();
    this.#log = new MemoryLog(broker, {
      clock: this.process,
      sends: () => this.process.alive,
      reaches: () => !this.logGone,
      faultAt: (topic, message) => world.append(this, topic, message),
    });
    this.engine = createNode({
      hubs: [order],
      workers: [
        worker(check, async (_input, { requestId, call, attempt, idempotencyKey }) => {
          const owner = this.owners.get(world.shardOf(requestId)) ?? 0;
          world.attempt(this, { spoke: "check", request: requestId, call, attempt, idempotencyKey });
          const random = drawFor(plan.seed, "check", requestId, attempt);
          await this.process.sleep(random.int(random.pick([1, 500, 3_000])));
          world.outcome(owner, requestId, call, attempt);
          return {};
        }),
        this.#elsewhere(world),
      ],
      shards: plan.shards,
      store: (shard) => this.#store(world, shard),
      log: this.#log,
      channels: [channel],
      name: `node ${number}`,
      clock: this.process,
      strict: true,
      random: drawFor(plan.seed, "jitter", number),
      limits: { checkpointEvents: plan.checkpointEvents, batchInputs: plan.batchInputs },
      observe: ({ name }) => count(world.signals, name),
    });
  }

  kill(world: World): void {
    if (!this.process.alive) return;
    this.process.kill();
    for (const store of this.stores) store.crashed = true;
    world.say("died", this);
  }

  /** An attempt that cannot be sent has failed. */
  #elsewhere(world: World): Worker {
    const sent = remote(make, { topic: work });
    return {
      ...sent,
      attempt: (input, context, bus) =>
        Promise.resolve(sent.attempt(input, context, bus)).catch((error: unknown) => {
          const { requestId, call, attempt } = context;
          world.outcome(0, requestId, call, attempt, { kind: "broken" });
          throw error;
        }),
    };
  }

  #store(world: World, shard: number): FaultyStore {
    const owner = world.owner();
    const inner = new SeenStore(world.disks[shard] as MemoryStore, (seen) => {
      if ("journal" in seen) world.committed(this, shard, owner, seen);
      else {
        this.owners.set(shard, owner);
        world.claimed(this, shard, owner, seen);
      }
    });
    const store: FaultyStore = new FaultyStore(inner, {
      faultAt: () => {
        if (this.storeGone) return "fail";
        return world.fault("commit", commitFaults, this);
      },
      onCrash: () => this.kill(world),
      readFails: () => this.storeGone,
      later: (task) => void this.process.after(world.delay("store"), task),
    });
    this.stores.add(store);
    return store;
  }
}

class World {
  readonly plan: ClusterPlan;
  readonly clock = new SimulatedClock();
  readonly broker: MemoryBroker;
  readonly disks: readonly MemoryStore[];
  readonly violations: ClusterViolation[] = [];
  readonly lines: string[] = [];
  readonly faults = new Map<string, number>();
  readonly signals = new Map<string, number>();
  readonly exercised = new Map<string, number>();
  commits = 0;
  readonly #outside: MemoryLog;
  #members: Member[] = [];
  #made = 0;
  #owners = 0;
  #calm = false;
  #delays = 0;
  readonly #operations = new Map<string, number>();
  /** What was seen of each shard, for the checker of single ones. */
  readonly #traces: TraceEntry[][];
  readonly #accepted = new Map<string, ClusterRequest>();
  readonly #answers = new Map<string, Answer>();
  readonly #started = new Set<string>();
  /** Up to which record each shard's inbox was looked at. */
  readonly #positions = new Map<number, number>();
  /** Where the inbox ended when an owner claimed, and whether it could not be read for a while. */
  readonly #claims = new Map<number, { readonly member: Member; readonly end: number; cut: boolean }>();
  /** What workers elsewhere have said, by request, call and attempt: where it is in the inbox. */
  readonly #said = new Map<string, number>();

  constructor(plan: ClusterPlan) {
    this.plan = plan;
    const { clock } = this;
    this.broker = new MemoryBroker({ clock, delayMs: () => this.delay("log") });
    this.disks = Array.from({ length: plan.shards }, () => new MemoryStore());
    this.#traces = Array.from({ length: plan.shards }, () => []);
    this.#outside = new MemoryLog(this.broker, { clock });
    for (const { name, partitions = 2 } of clusterTopics({ shards: plan.shards, channels: [channel] }))
      this.broker.createTopic(name, partitions);
    this.broker.createTopic(work);
  }

  shardOf(key: string): number {
    return shardOf(key, this.plan.shards);
  }

  owner(): number {
    return ++this.#owners;
  }

  delay(what: string): number {
    return drawFor(this.plan.seed, what, ++this.#delays).int(this.plan.latencyMs + 1);
  }

  say(what: string, member?: Member, details = ""): void {
    const at = String(this.clock.monotonicMs()).padStart(9);
    this.lines.push(
      `${at} ms  ${what.padEnd(12)} ${member === undefined ? "" : `node=${member.number}`} ${details}`,
    );
  }

  /** The fault that the plan has for this operation, which is the next of its kind. */
  fault<T extends string>(
    operation: string,
    known: Partial<Record<ClusterFaultKind, T>>,
    member: Member,
  ): T | undefined {
    if (this.#calm) return undefined;
    const number = (this.#operations.get(operation) ?? 0) + 1;
    this.#operations.set(operation, number);
    const found = this.plan.faults.find(({ kind, at }) => at === number && known[kind] !== undefined);
    if (found === undefined) return undefined;
    count(this.faults, found.kind);
    this.say(found.kind, member);
    return known[found.kind];
  }

  #demand(invariant: string, holds: boolean, message: () => string): void {
    count(this.exercised, invariant);
    if (holds) return;
    const text = message();
    this.say("VIOLATION", undefined, `${invariant}: ${text}`);
    this.violations.push({ invariant, message: text });
  }

  #see(shard: number, seen: Seen): void {
    const entry = { ...seen, at: this.clock.monotonicMs() };
    this.#traces[shard]?.push(entry);
    this.lines.push(`${lineOf(entry)} shard=${shard}`);
  }

  // ---- what nodes do ----

  /** A record that a node writes. */
  append(member: Member, topic: string, message: Message): LogFault | undefined {
    if (!member.process.alive) return "lost";
    const fault = this.fault("append", appendFaults, member);
    if (fault === "lost") {
      member.kill(this);
      return fault;
    }
    this.say("append", member, `${topic} ${message.key} ${message.value.slice(0, 100)} ${fault ?? ""}`);
    if (topic === replies) {
      const committed = this.#answers.get(message.key);
      this.#demand(
        "I9",
        committed !== undefined && JSON.stringify(committed) === message.value,
        () => `${message.key} is answered with ${message.value}, which is not committed`,
      );
    }
    return fault;
  }

  attempt(
    member: Member,
    made: {
      readonly spoke: string;
      readonly request: string;
      readonly call: number;
      readonly attempt: number;
      readonly idempotencyKey: string;
    },
  ): void {
    const shard = this.shardOf(made.request);
    this.#see(shard, { type: "attempt", node: member.owners.get(shard) ?? 0, ...made });
  }

  outcome(
    owner: number,
    request: string,
    call: number,
    attempt: number,
    outcome: (Seen & { type: "outcome" })["outcome"] = { kind: "ok", output: {} },
  ): void {
    this.#see(this.shardOf(request), { type: "outcome", node: owner, request, call, attempt, outcome });
  }

  claimed(member: Member, shard: number, owner: number, { epoch }: Claim): void {
    const end = this.broker.bounds(inbox, shard)?.end ?? 0;
    this.#claims.set(owner, { member, end, cut: member.logGone });
    this.#see(shard, { type: "claimed", node: owner, epoch });
    this.say("(owner)", member, `owner=${owner}`);
  }

  committed(member: Member, shard: number, owner: number, commit: Commit): void {
    this.commits++;
    const { epoch, seq, now, journal, marks } = commit;
    const copy = JSON.parse(JSON.stringify(journal)) as typeof journal;
    this.#see(shard, { type: "committed", node: owner, epoch, seq, now, journal: copy });
    for (const { key, events } of copy) for (const event of events) this.#event(member, owner, key, event);
    if (marks === undefined) return;
    const from = this.#positions.get(shard) ?? 0;
    const records = this.#inbox(shard);
    this.#demand(
      "position",
      marks.position <= records.length,
      () => `the position of shard ${shard} is ${marks.position}, and its inbox ends at ${records.length}`,
    );
    for (const record of records.slice(from, marks.position)) {
      if (record.headers["ce_type"] !== "wheelwork.request") continue;
      this.#demand(
        "position",
        this.#started.has(record.key),
        () => `the position of shard ${shard} passes ${record.key}, which is not decided`,
      );
    }
    this.#positions.set(shard, Math.max(from, marks.position));
  }

  #inbox(shard: number): readonly LogRecord[] {
    return this.broker.records(inbox).filter(({ partition }) => partition === shard);
  }

  #event(member: Member, owner: number, key: string, event: RunEvent): void {
    if (event.type === "started") this.#started.add(key);
    if ((event.type === "answered" || event.type === "ended") && event.answer !== undefined) {
      this.#demand("I5", !this.#answers.has(key), () => `${key} is answered twice`);
      this.#answers.set(key, event.answer);
    }
    if (event.type !== "failed" && event.type !== "settled") return;
    const outcome = event.type === "failed" ? event.failure : event.outcome;
    if (outcome === "ok" || outcome.kind !== "timeout") return;
    // The last attempt settles the call.
    const timedOut = event.type === "failed" ? event.attempt : make.retry.attempts;
    const said = this.#said.get(`${key}/${event.call}/${timedOut}`);
    const claim = this.#claims.get(owner);
    if (said === undefined || claim === undefined) return;
    // What was in the inbox at the claim goes first, unless the log could not be read for so long.
    this.#demand(
      "I10",
      said >= claim.end || claim.cut || member.logGone,
      () =>
        `${key}: attempt ${timedOut} of call ${event.call} times out, though its outcome was in the inbox`,
    );
  }

  // ---- play ----

  async play(): Promise<void> {
    const { plan, clock } = this;
    for (let number = 0; number < plan.nodes; number++) this.#boot();
    await this.#serve();
    for (const request of plan.requests) {
      clock.after(request.at, () => this.#ask(request));
      if (request.twice) clock.after(request.at + 3, () => this.#ask(request));
    }
    for (const fault of plan.faults)
      if (commitFaults[fault.kind] === undefined && appendFaults[fault.kind] === undefined)
        clock.after(fault.at, () => this.#strike(fault));
    try {
      await clock.advance(plan.forMs);
      this.#calm = true;
      this.say("calm");
      for (const member of this.#members) {
        member.logGone = member.storeGone = false;
        member.process.thaw();
      }
      while (this.#living().length < Math.min(2, plan.nodes)) this.#boot();
      // Whoever has asked last is told by then whether it is accepted.
      await clock.advance(10_000);
      await clock.runUntil(() => this.#isAtRest(), restMs).catch(() => {});
      // What would come once too often has the time to do so.
      await clock.advance(10_000);
      this.#check();
    } catch (error) {
      this.#demand("I6", false, () => `it never comes to rest: ${String(error)}`);
    } finally {
      for (const member of this.#members) member.process.kill();
    }
  }

  #living(): Member[] {
    return this.#members.filter(({ process }) => process.alive);
  }

  #boot(): void {
    const member = new Member(this, ++this.#made);
    this.#members.push(member);
    this.say("started", member);
    member.engine.start().then(
      () => (member.ready = true),
      () => {
        member.kill(this);
        this.clock.after(1_000, () => this.#boot());
      },
    );
  }

  #strike({ kind, forMs, node }: ClusterFault): void {
    const { clock } = this;
    const living = this.#living();
    const member = living[node % Math.max(1, living.length)];
    if (this.#calm || member === undefined) return kind === "add" && !this.#calm ? this.#boot() : undefined;
    count(this.faults, kind);
    this.say(kind, member, `${forMs} ms`);
    const again = (): void => void clock.after(forMs, () => this.#boot());
    switch (kind) {
      case "kill":
        member.kill(this);
        return again();
      case "stop":
        member.engine.stop().then(
          () => member.kill(this),
          () => member.kill(this),
        );
        return again();
      case "freeze":
        member.process.freeze();
        for (const claim of this.#claims.values()) if (claim.member === member) claim.cut = true;
        clock.after(forMs, () => member.process.thaw());
        return;
      case "log-gone":
        member.logGone = true;
        for (const claim of this.#claims.values()) if (claim.member === member) claim.cut = true;
        clock.after(forMs, () => (member.logGone = false));
        return;
      case "store-gone":
        member.storeGone = true;
        clock.after(forMs, () => (member.storeGone = false));
        return;
      case "add":
        return this.#boot();
      case "rebalance":
        this.#boot();
        clock.after(Math.min(forMs, 3_000), () => this.#members.at(-1)?.kill(this));
        return;
      default:
    }
  }

  /** The worker elsewhere: it outlives all nodes, and answers where it is told to. */
  async #serve(): Promise<void> {
    const reading = this.#outside.read(work, 0, undefined, {
      records: (records) => {
        for (const record of records) this.#work(record);
      },
      lost: () => {},
    });
    await this.clock.runUntil(reading);
  }

  #work({ key, headers, offset }: LogRecord): void {
    const [call = "", attempt = ""] = (headers["correlation-id"] ?? "").split(".");
    const shard = Number(headers["reply-partition"]);
    const random = drawFor(this.plan.seed, "work", offset);
    if (random.chance(0.05)) return;
    const delayMs = random.pick([random.int(50), random.int(2_000), random.int(10_000)]);
    this.#see(shard, {
      type: "attempt",
      node: 0,
      spoke: "make",
      request: key,
      call: Number(call),
      attempt: Number(attempt),
      idempotencyKey: headers["idempotency-key"] ?? "",
    });
    this.clock.after(delayMs, () => {
      this.outcome(0, key, Number(call), Number(attempt));
      const reply = { "correlation-id": headers["correlation-id"] ?? "", ce_type: "wheelwork.response" };
      const value = JSON.stringify({ output: { done: offset } });
      this.#outside.append(inbox, { key, value, headers: reply }, shard).then(
        () => {
          const name = `${key}/${call}/${attempt}`;
          // Another record may have come since: then it counts from that one on.
          const offset = (this.broker.bounds(inbox, shard)?.end ?? 0) - 1;
          if (!this.#said.has(name)) this.#said.set(name, offset);
        },
        () => {},
      );
    });
  }

  /** Sends a request, and never asks again. */
  #ask(request: ClusterRequest): void {
    const { key, by } = request;
    const accepted = (): void => {
      this.#accepted.set(key, request);
      this.say("accepted", undefined, key);
    };
    const value = { order: key, isReady: drawFor(this.plan.seed, "order", key).chance(0.5) };
    if (by === "channel") {
      void this.#outside.append(requests, { key, value: JSON.stringify(value) }).then(accepted);
      return;
    }
    const able = this.#living().filter(({ ready }) => ready);
    const member = able[drawFor(this.plan.seed, "client", key).int(able.length)];
    // A node that was cut off from the log may have sent it all the same: then it is not accepted, and may be answered.
    member?.engine.submit("order", value, { key }).then(accepted, () => {});
  }

  #isAtRest(): boolean {
    const replied = new Set(this.broker.records(replies).map(({ key }) => key));
    for (const [key, { by }] of this.#accepted)
      if (!this.#answers.has(key) || (by === "channel" && !replied.has(key))) return false;
    return true;
  }

  #check(): void {
    const published = Map.groupBy(this.broker.records(replies), ({ key }) => key);
    for (const [key, { by }] of this.#accepted) {
      const [found] = (this.disks[this.shardOf(key)] as MemoryStore).find([key]);
      const stored = found?.answer?.answer;
      this.#demand("I6", stored !== undefined, () => `${key} was accepted, and has no answer`);
      this.#demand(
        "I5",
        JSON.stringify(stored) === JSON.stringify(this.#answers.get(key)),
        () => `${key} is stored with another answer than was committed`,
      );
      if (by === "submit") continue;
      const records = published.get(key) ?? [];
      const different = new Set(records.map(({ headers, value }) => `${headers["ce_id"]} ${value}`));
      this.#demand(
        "replies",
        different.size === 1,
        () => `${key} was accepted, and has ${different.size} answers on the topic of the replies`,
      );
      this.#demand(
        "replies",
        records.every(({ value }) => value === JSON.stringify(stored)),
        () => `${key} is published with another answer than is stored`,
      );
    }
    for (const [key] of published)
      this.#demand("replies", this.#accepted.has(key), () => `${key} is answered, and was never sent`);
    for (const [shard, trace] of this.#traces.entries()) {
      const { violations, exercised } = checkTrace(trace, checkedSystem);
      for (const [name, times] of exercised) count(this.exercised, name, times);
      for (const { invariant, message } of violations)
        this.#demand(invariant, false, () => `shard ${shard}: ${message}`);
    }
  }
}
