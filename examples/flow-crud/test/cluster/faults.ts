import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { postgresStore } from "@wheelwork/postgres";
import { shardOf, type StoredAnswer } from "wheelwork";
import { northboundChannel } from "../../src/cluster/channel.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { checkMeters, readRules } from "../crash/checks.ts";
import { TopicClient, type Asked } from "./client.ts";
import { Cluster, type Process } from "./processes.ts";

/** What is to be done to a cluster. */
export interface FaultPlan {
  readonly faults: number;
  /** No more faults after so many milliseconds. Default: no limit. */
  readonly forMs?: number;
  readonly seed: number;
  readonly folder: string;
  readonly clients: number;
  /** Which faults, by name. Default: all. */
  readonly only?: readonly string[];
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface FaultReport {
  /** How often each fault was done. */
  readonly faults: Readonly<Record<string, number>>;
  readonly requests: number;
  /** Requests by the text of their answer. */
  readonly texts: Readonly<Record<string, number>>;
  /** Answers that were published more than once, with one id. */
  readonly repeated: number;
  readonly zombies: number;
  /** From the end of a fault to the next answer, in order of size, in milliseconds. */
  readonly backMs: readonly number[];
  readonly problems: readonly string[];
}

const shards = 4;
const sessionTimeoutMs = 2000;
const flags = [
  "--session-timeout",
  `${sessionTimeoutMs}`,
  "--deadline",
  "5000",
  "--worker-timeout",
  "1000",
  "--log",
  "warn",
];

type Fault = (cluster: Cluster, random: () => number) => Promise<void>;

const pick = (nodes: readonly Process[], random: () => number): Process =>
  nodes[Math.floor(random() * nodes.length)] as Process;

async function killNode(cluster: Cluster, random: () => number): Promise<void> {
  const node = pick(cluster.nodes, random);
  await node.end("SIGKILL");
  await sleep(random() * 3000);
  await node.start();
}

async function killBroker({ kafka }: Cluster, random: () => number): Promise<void> {
  await kafka.signal("SIGKILL");
  await sleep(random() * 2000);
  await kafka.start();
}

async function killDatabase({ postgres }: Cluster, random: () => number): Promise<void> {
  await postgres.signal("SIGKILL");
  await sleep(random() * 2000);
  await postgres.start();
}

/** Frozen until others have its shards: it wakes up as a zombie in the middle of whatever it was doing. */
async function freezeNode(cluster: Cluster, random: () => number): Promise<void> {
  const node = pick(cluster.nodes, random);
  node.signal("SIGSTOP");
  await sleep(sessionTimeoutMs * (1.5 + random()));
  node.signal("SIGCONT");
}

const allFaults: Readonly<Record<string, Fault>> = {
  "kill a node": killNode,
  "kill all nodes": async ({ nodes }, random) => {
    await Promise.all(nodes.map((node) => node.end("SIGKILL")));
    await sleep(random() * 2000);
    await Promise.all(nodes.map((node) => node.start()));
  },
  "kill the broker": killBroker,
  "kill the database": killDatabase,
  "kill broker and database": async (cluster, random) => {
    await Promise.all([killBroker(cluster, random), killDatabase(cluster, random)]);
  },
  "freeze a node": freezeNode,
  "freeze a node and kill the database": async (cluster, random) => {
    await Promise.all([freezeNode(cluster, random), killDatabase(cluster, random)]);
  },
  "freeze the database": async ({ postgres }, random) => {
    await postgres.signal("SIGSTOP");
    await sleep(1000 + random() * 3000);
    await postgres.signal("SIGCONT");
  },
  "freeze the broker": async ({ kafka }, random) => {
    await kafka.signal("SIGSTOP");
    await sleep(1000 + random() * 3000);
    await kafka.signal("SIGCONT");
  },
  "restart a node in good order": async (cluster, random) => {
    const node = pick(cluster.nodes, random);
    await node.end("SIGTERM");
    await node.start();
  },
  "add a node and take one away": async (cluster, random) => {
    const added = cluster.addNode();
    await added.start();
    await sleep(random() * 1000);
    // The first node has the wires.
    const [oldest] = cluster.nodes.splice(1, 1);
    if (oldest === undefined) return;
    await oldest.end(random() < 0.5 ? "SIGTERM" : "SIGKILL");
  },
  "cut a node off from the database": async ({ toPostgres }, random) => {
    toPostgres.cut();
    await sleep(2000 + random() * 8000);
    toPostgres.mend();
  },
  "cut a node off from the broker": async ({ toKafka }, random) => {
    toKafka.cut();
    await sleep(sessionTimeoutMs * (0.5 + 3 * random()));
    toKafka.mend();
  },
  "kill the switch controller": async ({ floodlight }, random) => {
    await floodlight.end("SIGKILL");
    await sleep(random() * 1000);
    await floodlight.start();
  },
};

/**
 * Breaks a cluster of real processes in every way, one fault after the other, under load, with clients that insist on their
 * answers; then compares what they read with what is on the switches.
 */
export async function breakCluster(plan: FaultPlan): Promise<FaultReport> {
  const { faults: most, forMs = Number.POSITIVE_INFINITY, seed, folder, clients, progress } = plan;
  const random = seeded(seed);
  const names = Object.keys(allFaults).filter((name) => plan.only?.includes(name) ?? true);
  if (names.length === 0)
    throw new Error(`there is no such fault; there are: ${Object.keys(allFaults).join(", ")}`);
  const cluster = await Cluster.start(folder, shards, flags);
  const client = new TopicClient(cluster.kafka.brokers, seed);
  const done: Record<string, number> = {};
  const backMs: number[] = [];
  const problems: string[] = [];
  const load = { on: true };
  let sent = 0;
  const answered = { count: 0, lastAt: 0 };
  const work = async (): Promise<void> => {
    while (load.on) {
      const draw = random();
      const error = draw < 0.7 ? null : draw < 0.8 ? 0 : draw < 0.9 ? 1 : 2;
      await client.ask(sent++, Math.floor(1 + 30 ** random()), error, random() < 0.1);
      answered.count++;
      answered.lastAt = performance.now();
    }
  };
  try {
    await cluster.addWiredNode().start();
    await Promise.all([cluster.floodlight.start(), cluster.addNode().start()]);
    await client.listen();
    const working = Promise.all(Array.from({ length: clients }, work));
    working.catch(() => {});
    const end = performance.now() + forMs;
    for (let count = 0; count < most && performance.now() < end; count++) {
      await sleep(random() * 2000);
      // Each fault once before any comes again.
      const name = names[count % names.length] as string;
      await allFaults[name]?.(cluster, random);
      done[name] = (done[name] ?? 0) + 1;
      const began = performance.now();
      const before = answered.count;
      while (answered.count === before && performance.now() < began + 60_000) await sleep(20);
      const back = Math.round(answered.lastAt - began);
      if (answered.count === before) {
        problems.push(`no answer within a minute after: ${name}`);
        for (const node of cluster.nodes) progress?.(`${node.name}: ${node.output.slice(-3000)}`);
      }
      backMs.push(Math.max(0, back));
      progress?.(
        `${count + 1}. ${name}: answers again after ${back} ms; ${answered.count} of ${sent} answered`,
      );
    }
    load.on = false;
    await Promise.race([
      working,
      sleep(120_000, undefined, { ref: false }).then(
        () => void problems.push("some requests have no answer after two minutes"),
      ),
    ]);
    // What was sent may still be under way: each request once more, so that its answer comes after all others.
    const asked = [...client.asked.values()];
    const counts = asked.map(({ answers }) => answers.length);
    await Promise.all(asked.map((request) => client.send(request)));
    const again = performance.now() + 60_000;
    while (
      performance.now() < again &&
      asked.some(({ answers }, index) => answers.length <= (counts[index] ?? 0))
    )
      await sleep(50);
    for (const [index, { key, answers }] of asked.entries())
      if (answers.length <= (counts[index] ?? 0))
        problems.push(`${key} gets no answer when it is asked again`);
    for (const node of cluster.nodes) {
      const code = await node.end("SIGTERM");
      if (code !== 0) problems.push(`SIGTERM ended ${node.name} with ${code}`);
    }
    await cluster.floodlight.end("SIGTERM");
    problems.push(...client.strange.map((line) => `nobody asked for ${line}`), ...checkAnswers(asked));
    const stored = await readAnswers(cluster.postgres.url, asked);
    const files = checkFiles(cluster.data, asked, stored);
    problems.push(...files.problems);
    const texts: Record<string, number> = {};
    for (const { answers } of asked)
      texts[answers[0]?.text ?? "none"] = (texts[answers[0]?.text ?? "none"] ?? 0) + 1;
    return {
      faults: done,
      requests: asked.length,
      texts,
      repeated: asked.filter(({ answers, sent: times }) => answers.length > times).length,
      zombies: files.zombies,
      backMs: backMs.toSorted((a, b) => a - b),
      problems,
    };
  } finally {
    load.on = false;
    await client.close();
    await cluster.stop();
  }
}

const known = new Set([
  "all operation is successful",
  "error in hub by timeout",
  "error in worker on rule install",
  "error in worker on rule validation",
  "error in worker on resource allocation",
]);

/** Every request has one answer: whatever was published under its key has one id and one text. */
function checkAnswers(asked: readonly Asked[]): string[] {
  const problems: string[] = [];
  for (const { key, error, answers } of asked) {
    const say = (problem: string): void => void problems.push(`${key} (error ${error}) ${problem}`);
    const ids = new Set(answers.map(({ id }) => id));
    const texts = new Set(answers.map(({ text }) => text));
    if (ids.size !== 1 || texts.size !== 1)
      say(`has ${ids.size} ids and ${texts.size} texts: ${[...texts].join(" | ")}`);
    for (const text of texts)
      for (const line of text.split(";\n"))
        if (!known.has(line)) say(`has the answer ${JSON.stringify(text)}`);
    if (texts.has("all operation is successful") && error !== null) say("is up in spite of its error switch");
  }
  return problems;
}

/** The answers as the store has them. */
async function readAnswers(databaseUrl: string, asked: readonly Asked[]): Promise<Map<string, StoredAnswer>> {
  const stored = new Map<string, StoredAnswer>();
  const byShard = Map.groupBy(asked, ({ key }) => shardOf(key, shards));
  for (const [shard, list] of byShard) {
    const store = postgresStore({ connectionString: databaseUrl, shard, shards });
    for (const { answer } of await store.find(list.map(({ key }) => key)))
      if (answer !== undefined) stored.set(answer.key, answer);
    await store.close();
  }
  return stored;
}

/** What is on the switches and in the pool is what the answers say. */
function checkFiles(
  data: string,
  asked: readonly Asked[],
  stored: ReadonlyMap<string, StoredAnswer>,
): { problems: string[]; zombies: number } {
  const problems: string[] = [];
  let zombies = 0;
  const floodlight = new DatabaseSync(join(data, "floodlight.db"), { readOnly: true });
  const resources = new DatabaseSync(join(data, "resources.db"), { readOnly: true });
  problems.push(...checkMeters(resources));
  const rulesOf = readRules(floodlight);
  const allocationsOf = Map.groupBy(
    resources.prepare("SELECT request FROM allocation").all(),
    ({ request }) => String(request),
  );
  for (const { key, length, answers } of asked) {
    const say = (problem: string): void => void problems.push(`${key} ${problem}`);
    const rules = rulesOf.get(key) ?? new Set();
    const allocations = allocationsOf.get(key)?.length ?? 0;
    const answer = stored.get(key);
    if (answer?.endedAt === undefined) say("has not ended in the store");
    else if (northboundChannel.answer(answer.answer).value !== answers[0]?.text)
      say("has another answer in the store");
    if (answer?.answer.kind === "result") {
      if (rules.size !== length) say(`is up with ${rules.size} of its ${length} rules`);
      if (allocations !== 1) say(`is up with ${allocations} allocations`);
      continue;
    }
    const { zombies: named = [], resourcesReleased = true } = detailsOf(answer);
    const secret = [...rules].filter((rule) => !named.includes(rule));
    zombies += rules.size;
    if (secret.length > 0) say(`failed, and left the rules ${secret.join()} without a word`);
    if (allocations > 0 && resourcesReleased)
      say(`failed, and left ${allocations} allocations without a word`);
  }
  floodlight.close();
  resources.close();
  return { problems, zombies };
}

function detailsOf(stored: StoredAnswer | undefined): { zombies?: number[]; resourcesReleased?: boolean } {
  const answer = stored?.answer;
  return answer?.kind === "error"
    ? ((answer.details ?? {}) as { zombies?: number[]; resourcesReleased?: boolean })
    : {};
}
