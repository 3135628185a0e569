import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { postgresStore } from "@wheelwork/postgres";
import { Client } from "pg";
import type { StoredAnswer } from "wheelwork";
import { shardOf } from "wheelwork/cluster";
import { textOf } from "../../src/cluster/channel.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { checkMeters, readRules } from "../crash/checks.ts";
import type { FlowTopics } from "../../src/topics.ts";
import { TopicClient, type Asked } from "./client.ts";

/** What is to be done to a cluster. */
export interface FaultPlan {
  readonly faults: number;
  /** No more faults after so many milliseconds. Default: no limit. */
  readonly forMs?: number;
  readonly seed: number;
  readonly folder: string;
  readonly clients: number;
  /** Each fault comes somewhere among so many requests. Default: within two seconds. */
  readonly requests?: number;
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

/** A system of real processes that can be broken. */
export interface Breakable {
  readonly brokers: string;
  readonly databaseUrl: string;
  /** The folder of the switches. */
  readonly data: string;
  readonly shards: number;
  readonly topics: FlowTopics;
  /** Of the shards, and of the pool of resources. */
  readonly schemas: { readonly shards: string; readonly resources: string };
  readonly faults: Readonly<Record<string, (random: () => number) => Promise<void>>>;
  /** How long it may take to answer again after a fault, in milliseconds. */
  readonly backWithinMs: number;
  start(): Promise<void>;
  /** Ends the parts in good order, so that their files can be looked at; gives what went wrong with that. */
  end(): Promise<string[]>;
  /** Ends everything at once. */
  stop(): Promise<void>;
  /** What the parts have printed of late. */
  output(): string;
}

/**
 * Breaks a system of real processes in every way, one fault after the other, under load, with clients that insist on their
 * answers; then compares what they read with what is on the switches.
 */
export async function breakSystem(system: Breakable, plan: FaultPlan): Promise<FaultReport> {
  const { faults: most, forMs = Number.POSITIVE_INFINITY, seed, clients, requests, progress } = plan;
  const { brokers, databaseUrl, data, schemas, topics, backWithinMs } = system;
  const random = seeded(seed);
  const names = Object.keys(system.faults).filter((name) => plan.only?.includes(name) ?? true);
  if (names.length === 0)
    throw new Error(`there is no such fault; there are: ${Object.keys(system.faults).join(", ")}`);
  const client = new TopicClient(brokers, seed, topics);
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
    await system.start();
    await client.listen();
    const working = Promise.all(Array.from({ length: clients }, work));
    working.catch(() => {});
    const end = performance.now() + forMs;
    /** Waits until so many are answered; not for ever, when none is any more. */
    const reach = async (count: number): Promise<void> => {
      while (answered.count < count && performance.now() < Math.max(began, answered.lastAt) + backWithinMs)
        await sleep(20);
    };
    let began = performance.now();
    for (let count = 0; count < most && performance.now() < end; count++) {
      const share = answered.count + (requests ?? 0);
      if (requests === undefined) await sleep(random() * 2000);
      else await reach(answered.count + Math.floor(random() * requests));
      // Each fault once before any comes again.
      const name = names[count % names.length] as string;
      await system.faults[name]?.(random);
      done[name] = (done[name] ?? 0) + 1;
      began = performance.now();
      const before = answered.count;
      await reach(before + 1);
      const back = Math.round(answered.lastAt - began);
      if (answered.count === before) {
        problems.push(`no answer within ${backWithinMs / 1000} s after: ${name}`);
        progress?.(system.output());
      }
      backMs.push(Math.max(0, back));
      await reach(share);
      progress?.(
        `${count + 1}. ${name}: answers again after ${back} ms; ${answered.count} of ${sent} answered`,
      );
    }
    load.on = false;
    await Promise.race([
      working,
      sleep(240_000 + backWithinMs, undefined, { ref: false }).then(
        () => void problems.push("some requests have no answer for too long"),
      ),
    ]);
    // What was sent may still be under way: each request once more, so that its answer comes after all others.
    const asked = [...client.asked.values()];
    const counts = asked.map(({ answers }) => answers.length);
    await Promise.all(asked.map((request) => client.send(request)));
    const again = performance.now() + 240_000 + 10 * asked.length;
    while (
      performance.now() < again &&
      asked.some(({ answers }, index) => answers.length <= (counts[index] ?? 0))
    )
      await sleep(50);
    for (const [index, { key, answers }] of asked.entries())
      if (answers.length <= (counts[index] ?? 0))
        problems.push(`${key} gets no answer when it is asked again`);
    problems.push(...(await system.end()));
    problems.push(...client.strange.map((line) => `nobody asked for ${line}`), ...checkAnswers(asked));
    const stored = await readAnswers(system, asked);
    const files = checkOutside(data, await readResources(databaseUrl, schemas.resources), asked, stored);
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
    await system.stop();
  }
}

const known = [
  /^all operation is successful$/,
  /^error in hub by timeout$/,
  /^error in worker on rule (install|validation)$/,
  // The pool of resources is in the database that is killed.
  /^error on resource allocation( by timeout|: the pool of resources cannot be reached)$/,
];

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
        if (!known.some((form) => form.test(line))) say(`has the answer ${JSON.stringify(text)}`);
    if (texts.has("all operation is successful") && error !== null) say("is up in spite of its error switch");
  }
  return problems;
}

/** The answers as the store has them. */
async function readAnswers(
  { databaseUrl: connectionString, shards, schemas: { shards: schema } }: Breakable,
  asked: readonly Asked[],
): Promise<Map<string, StoredAnswer>> {
  const stored = new Map<string, StoredAnswer>();
  const byShard = Map.groupBy(asked, ({ key }) => shardOf(key, shards));
  for (const [shard, list] of byShard) {
    const store = postgresStore({ connectionString, schema, shard, shards });
    for (const { answer } of await store.find(list.map(({ key }) => key)))
      if (answer !== undefined) stored.set(answer.key, answer);
    await store.close();
  }
  return stored;
}

interface ResourcesHeld {
  readonly problems: readonly string[];
  /** How many allocations a request has. */
  readonly allocations: ReadonlyMap<string, number>;
}

async function readResources(databaseUrl: string, schema: string): Promise<ResourcesHeld> {
  const client = new Client(databaseUrl);
  await client.connect();
  try {
    const rows = async (sql: string): Promise<Record<string, string>[]> =>
      (await client.query<Record<string, string>>(sql)).rows;
    const meters = await rows(
      `SELECT meter FROM ${schema}.allocation UNION ALL SELECT meter FROM ${schema}.free_meter`,
    );
    const held = await rows(`SELECT request, count(*) AS count FROM ${schema}.allocation GROUP BY request`);
    return {
      problems: checkMeters(meters.map(({ meter }) => Number(meter))),
      allocations: new Map(held.map(({ request = "", count }) => [request, Number(count)])),
    };
  } finally {
    await client.end();
  }
}

/** What is on the switches and in the pool is what the answers say. */
function checkOutside(
  data: string,
  resources: ResourcesHeld,
  asked: readonly Asked[],
  stored: ReadonlyMap<string, StoredAnswer>,
): { problems: string[]; zombies: number } {
  const problems = [...resources.problems];
  let zombies = 0;
  const floodlight = new DatabaseSync(join(data, "floodlight.db"), { readOnly: true });
  const rulesOf = readRules(floodlight);
  for (const { key, length, answers } of asked) {
    const say = (problem: string): void => void problems.push(`${key} ${problem}`);
    const rules = rulesOf.get(key) ?? new Set();
    const allocations = resources.allocations.get(key) ?? 0;
    const answer = stored.get(key);
    if (answer?.endedAt === undefined) say("has not ended in the store");
    else if (textOf(answer.answer) !== answers[0]?.text) say("has another answer in the store");
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
  return { problems, zombies };
}

function detailsOf(stored: StoredAnswer | undefined): { zombies?: number[]; resourcesReleased?: boolean } {
  const answer = stored?.answer;
  return answer?.kind === "error"
    ? ((answer.details ?? {}) as { zombies?: number[]; resourcesReleased?: boolean })
    : {};
}
