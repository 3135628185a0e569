import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import {
  clusterTopics,
  createClient,
  createNode,
  type Channel,
  type ClusterNode,
} from "@wheelwork/engine/cluster";
import { expect, onTestFinished } from "vitest";
import { again, Attacker, attacks, honestAnswer, honestAttempts, Witness } from "./attack.ts";
import { hubs, target, unlikeStored, workersOf, type Asked } from "./places.ts";

const shards = 2;
const inbox = "hostile-inbox";
const eventually = { timeout: 60_000, interval: 50 };

const channel: Channel = {
  name: "hostile",
  from: "hostile-in",
  to: "hostile-out",
  hub: "target",
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

export interface ClusterAttack {
  readonly brokers: string;
  readonly databaseUrl: string;
  /** How many of all pairs of a place and a value are drawn, from 0 to 1. */
  readonly share: number;
  readonly seed: number;
}

/** How many attacks there were, and how many runs they have parked. */
export interface Attacked {
  readonly attacks: number;
  readonly parked: number;
}

/**
 * Attacks two nodes on Kafka and PostgreSQL, half through a client and half through records, and stops one of them. Demands that each attack
 * harms its own run alone, once, and that the node that takes over finds the same.
 */
export async function attackCluster({ brokers, databaseUrl, share, seed }: ClusterAttack): Promise<Attacked> {
  const connect = (): Kafka => {
    const log = kafka({ brokers, sessionTimeoutMs: 10_000 });
    onTestFinished(() => log.close());
    return log;
  };
  const log = connect();
  await log.ensureTopics(clusterTopics({ shards, inbox, channels: [channel] }));
  const pool = postgresPool({ connectionString: databaseUrl, schema: "hostile" });
  onTestFinished(() => pool.close());
  const store = (shard: number): ReturnType<typeof postgresStore> => postgresStore({ pool, shard, shards });

  const witness = new Witness();
  const failures: Error[] = [];
  const begin = async (name: string): Promise<ClusterNode> => {
    const node = createNode({
      name,
      hubs,
      workers: workersOf(witness.attempted),
      shards,
      inbox,
      group: "hostile",
      log: connect(),
      channels: [channel],
      store,
      observe: witness.observe,
      onFailure: (error) => void failures.push(error),
    });
    await node.start();
    onTestFinished(() => node.stop({ drainMs: 0 }));
    return node;
  };
  const running = (node: ClusterNode): number =>
    node.shards.filter(({ status }) => status === "running").length;
  const first = await begin("first");
  const second = await begin("second");
  await expect.poll(() => [running(first), running(second)], eventually).toEqual([1, 1]);
  const claimed = witness.claims;
  const client = createClient({ hubs, shards, inbox, log: connect(), store });
  await client.start();
  onTestFinished(() => client.stop());
  /** By the key of the request. */
  const published = new Map<string, string[]>();
  const { partitions } = await log.topic(channel.to as string);
  for (let partition = 0; partition < partitions; partition++)
    await log.read(channel.to as string, partition, undefined, {
      records: (records) => {
        for (const { key, value } of records) published.set(key, [...(published.get(key) ?? []), value]);
      },
      lost: () => {},
    });

  const all = attacks(share, seed);
  const attacker = new Attacker(all);
  const send = async (key: string, request: Asked): Promise<void> =>
    log.publish(channel.from, { key, value: JSON.stringify(request) });
  const honest = async (name: string): Promise<void> => {
    await Promise.all(
      [first, second, client].map(async (engine, index) => {
        if (engine === second && claimed !== witness.claims) return;
        const id = await attacker.honest(engine, `${name}-${index}`);
        expect(await again(() => engine.answer(id, { waitMs: 60_000 }))).toEqual(honestAnswer);
        await expect.poll(() => witness.attemptsOf(id)).toBe(honestAttempts);
      }),
    );
    await send(`${name}-sent`, { place: "", value: "" });
    await expect
      .poll(() => published.get(`${name}-sent`), eventually)
      .toEqual([JSON.stringify(honestAnswer)]);
  };
  const settled = async (): Promise<Map<string, string>> => {
    let seen = new Map<string, string>();
    const open = async (): Promise<string[]> => {
      seen = await attacker.list(client);
      return [...seen].flatMap(([key, is]) => (/^(running|pending)/.test(is) ? [key] : []));
    };
    await expect.poll(open, { timeout: 60_000 + all.length * 100, interval: 500 }).toEqual([]);
    return new Map([...seen].filter(([key]) => !key.startsWith("honest")));
  };

  await Promise.all([attacker.attack(client, send), honest("honest-during")]);
  // Each record is answered, also that of a parked run, once its time is over.
  await expect
    .poll(() => attacker.sent.filter((key) => !published.has(key)), { ...eventually, timeout: 300_000 })
    .toEqual([]);
  await honest("honest-after");
  const before = await settled();
  const known = all.filter(({ key }) => before.has(key)).length;
  expect(known).toBeGreaterThan(all.length / 2);
  expect(witness.parked()).toBeGreaterThan(all.length / 5);
  // No shard has moved by itself.
  expect(witness.claims).toBe(claimed);
  expect([running(first), running(second)]).toEqual([1, 1]);

  await second.stop({ drainMs: 0 });
  await expect.poll(() => running(first), eventually).toBe(shards);
  await honest("honest-then");
  expect(await settled()).toEqual(before);
  expect(witness.claims).toBe(claimed + 1);
  expect(witness.harms).toEqual([]);
  expect(witness.parkedAgain()).toEqual([]);
  expect(failures).toEqual([]);
  expect(unlikeStored).toEqual([]);
  expect([...published].filter(([, answers]) => new Set(answers).size !== 1)).toEqual([]);
  // The next owner has what is kept for a retry, and does the same with it.
  const parked = [...before].flatMap(([key, is]) => (is.startsWith("incident") ? [key] : [])).slice(0, 5);
  for (const key of parked) {
    const { id } = await client.submit(target, requestOf(key) as never, { key });
    expect(await client.resolve(id, "as it should")).toBe("accepted");
    await expect.poll(async () => (await client.request(id)).status, eventually).toBe("ended");
  }
  return { attacks: all.length, parked: witness.parked() };

  function requestOf(key: string): Asked {
    const { place = "", value = "" } = all.find((one) => one.key === key) ?? {};
    return { place, value };
  }
}
