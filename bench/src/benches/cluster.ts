import { clusterTopics, createNode, type Channel, type LogRecord } from "@wheelwork/engine/cluster";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
} from "@wheelwork/services";
import { fork, execFileSync, type ChildProcess } from "node:child_process";
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { callsOf, commandTopic, flow, newKey, relayedFlow, resultTopic } from "../flow.ts";
import { answerTopic, requestTopic } from "../storm/topics.ts";
import { drive, Measured, phase, rounded, withFolder, type Bench, type Phase } from "../harness.ts";

const length = 10;
const shards = 4;
const warmMs = 1000;
/** The broker's JVM compiles its code while it works, so it needs some load to become fast. In milliseconds. */
const brokerWarmMs = 12_000;
const nodeWarmMs = 5000;
const sliceMs = 2500;
const slices = 2;
const boundTopic = "bench-bound";
const inFlights = [1, 16, 200, 1000];

/** Where the servers are. */
export interface Place {
  readonly brokers: string;
  readonly url: string;
}

/** Longer timeouts than the application's: a slow flow must not count as a failed one. */
export const patient = { deadlineMs: 60_000, timeoutMs: 30_000 };

/** The channel of the requests and answers that are measured. */
export const channel: Channel = {
  name: "bench",
  from: requestTopic,
  to: answerTopic,
  hub: "flow-create",
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: answer.kind === "result" ? "ok" : JSON.stringify(answer) }),
};

const topics = [
  ...clusterTopics({ shards, channels: [channel] }).map(({ name, partitions = shards }) => ({
    name,
    partitions,
  })),
  ...[commandTopic, resultTopic, boundTopic].map((name) => ({ name, partitions: shards })),
];

/** A phase that goes on until its process is killed. It tells its parent when it has begun. */
const forever = (): Promise<never> => {
  process.send?.("begun");
  return new Promise<never>(() => {});
};

const node = phase(
  import.meta.url,
  "node",
  async ({ brokers, url, relayed }: Place & { readonly relayed: boolean }): Promise<never> => {
    const log = kafka({ brokers });
    const { hub, workers } = relayed ? relayedFlow(patient) : flow(patient);
    const made = createNode({
      hubs: [hub],
      workers,
      shards,
      store: (shard) => postgresStore({ connectionString: url, shard, shards }),
      log,
      channels: [channel],
    });
    await made.start();
    return forever();
  },
);

/** Stands for the switches. It answers each command at once. */
export const switches = phase(import.meta.url, "switches", async ({ brokers }: Place): Promise<never> => {
  const log = kafka({ brokers });
  log.subscribe(commandTopic, ({ key, value }) => {
    const { ruleid, command } = JSON.parse(value) as { ruleid: number; command: string };
    log.publish(resultTopic, { key, value: `${command} ${ruleid}` })?.catch(() => {});
  });
  await log.ready();
  return forever();
});

/** What a bare bound does for each request. */
interface Shape extends Place {
  /** Transactions for each request. The engine needs three: after a crash it must know what it has called. */
  readonly transactions: 1 | 3;
  /** Between two transactions, ten commands go to the switches, and ten results come back. */
  readonly relayed: boolean;
}

/**
 * The bounds: a consumer of the requests, transactions that all requests in flight share (a fence, one record of what
 * happened, a row for each answer), and a producer of the answers. They make no decisions and recover nothing.
 */
const bound = phase(
  import.meta.url,
  "bound",
  async ({ brokers, url, transactions, relayed }: Shape): Promise<never> => {
    const log = kafka({ brokers });
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query(`CREATE SCHEMA IF NOT EXISTS bound; SET search_path = bound;
    CREATE TABLE IF NOT EXISTS fence (id integer PRIMARY KEY, seq bigint NOT NULL) WITH (fillfactor = 50);
    CREATE TABLE IF NOT EXISTS record (seq bigint PRIMARY KEY, record text NOT NULL);
    CREATE TABLE IF NOT EXISTS answer (key text COLLATE "C" PRIMARY KEY, request text NOT NULL, answer text NOT NULL);
    INSERT INTO fence VALUES (0, 0) ON CONFLICT DO NOTHING`);
    interface Flow {
      readonly key: string;
      readonly value: string;
      done: number;
      open: number;
    }
    const round = Array.from({ length }, (_, call) => `[${call},"RuleInstalled"]`).join();
    const flows = new Map<string, Flow>();
    let waiting: Flow[] = [];
    let busy = false;
    const call = (flow: Flow): void => {
      if (!relayed) return void waiting.push(flow);
      flow.open = length;
      for (let ruleid = 0; ruleid < length; ruleid++) {
        const command = flow.done === 1 ? "installed" : "validated";
        const value = JSON.stringify({ flowid: flow.key, ruleid, error: null, command });
        void log.publish(commandTopic, { key: `${flow.key}-${ruleid}`, value });
      }
    };
    const work = async (): Promise<void> => {
      busy = true;
      while (waiting.length > 0) {
        const batch = waiting;
        waiting = [];
        for (const flow of batch) flow.done++;
        const rounds = transactions === 1 ? `${round},${round}` : round;
        const over = batch.filter(({ done }) => done === transactions);
        await client.query({
          name: "batch",
          text: `WITH fence AS (UPDATE fence SET seq = seq + 1 WHERE id = 0 RETURNING seq),
          record AS (INSERT INTO record SELECT seq, $1 FROM fence)
          INSERT INTO answer SELECT t.* FROM fence, unnest($2::text[], $3::text[], $4::text[]) AS t`,
          values: [
            batch.map(({ key, value, done }) => `["${key}",${done === 1 ? value : ""},${rounds}]`).join(),
            over.map(({ key }) => key),
            over.map(({ value }) => value),
            over.map(() => "ok"),
          ],
        });
        for (const flow of batch) if (flow.done < transactions) call(flow);
        for (const { key } of over) {
          flows.delete(key);
          void log.publish(answerTopic, { key, value: "ok" });
        }
      }
      busy = false;
    };
    const go = (): void => {
      if (!busy) void work();
    };
    const read = async (topic: string, take: (record: LogRecord) => void): Promise<void> => {
      for (let partition = 0; partition < shards; partition++) {
        await log.read(topic, partition, await log.end(topic, partition), {
          records: (records) => {
            for (const record of records) take(record);
            go();
          },
          lost: () => {},
        });
      }
    };
    await read(boundTopic, ({ key, value }) => {
      const flow = { key, value, done: 0, open: 0 };
      if (relayed) flows.set(key, flow);
      waiting.push(flow);
    });
    if (relayed) {
      await read(resultTopic, ({ key }) => {
        const flow = flows.get(key.slice(0, key.lastIndexOf("-")));
        if (flow !== undefined && --flow.open === 0) waiting.push(flow);
      });
    }
    return forever();
  },
);

/** Starts a phase that does not end, and waits until it has begun. */
export async function begin<A>(what: Phase<A, never>, argument: A): Promise<ChildProcess> {
  const child = fork(
    new URL("../child.ts", import.meta.url),
    [what.module, what.name, JSON.stringify(argument)],
    {
      execArgv: process.execArgv,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    },
  );
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code, signal) =>
      reject(new Error(`the phase ${what.name} ended early (${signal ?? code})`)),
    );
  });
  return child;
}

/** Sends requests, and reads their answers. */
export class Asker {
  readonly failed: string[] = [];
  readonly #log: Kafka;
  readonly #waiting = new Map<string, (text: string) => void>();

  constructor(log: Kafka) {
    this.#log = log;
    log.subscribe(answerTopic, ({ key, value }) => this.#waiting.get(key)?.(value));
  }

  async ask(topic: string): Promise<void> {
    const key = newKey();
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#waiting.set(key, resolve);
    await this.#log.publish(topic, { key, value: JSON.stringify({ flowid: key, length, error: null }) });
    const text = await promise;
    this.#waiting.delete(key);
    if (text !== "ok") this.failed.push(text);
  }
}

const sizeOf = (folder: string): number =>
  Number(execFileSync("du", ["-sb", folder]).toString().split("\t")[0]);

async function measure(
  { brokers, wal, kafkaBytes }: Place & { wal: () => Promise<number>; kafkaBytes: () => number },
  topic: string,
  inFlight: number,
): Promise<{ measured: Measured; wal_bytes: number; kafka_bytes: number; failed: number }> {
  const log = kafka({ brokers });
  const asker = new Asker(log);
  await log.ready();
  await drive(inFlight, warmMs, new Measured(), () => asker.ask(topic));
  const measured = new Measured();
  const [walBefore, kafkaBefore] = [await wal(), kafkaBytes()];
  for (let slice = 0; slice < slices; slice++)
    await drive(inFlight, sliceMs, measured, () => asker.ask(topic));
  const each = (bytes: number): number => Math.round(bytes / measured.count);
  const result = {
    measured,
    wal_bytes: each((await wal()) - walBefore),
    kafka_bytes: each(kafkaBytes() - kafkaBefore),
    failed: asker.failed.length,
  };
  await log.close();
  return result;
}

async function warm({ brokers }: Place, topic: string, milliseconds: number): Promise<void> {
  const log = kafka({ brokers });
  const asker = new Asker(log);
  await log.ready();
  await drive(200, milliseconds, new Measured(), () => asker.ask(topic));
  await log.close();
}

/**
 * Workflows per second through Kafka and PostgreSQL, and their ratios to two bounds. `ratio`: one transaction for each
 * request. `ratio_same`: three transactions, as the engine needs, and the same messages to the switches.
 */
export const cluster: Bench = {
  name: "cluster",
  about:
    "flow-create of 10 rules through Kafka and PostgreSQL: one node and two, workers in process and over Kafka",
  run: async ({ report, note, dir }) => {
    if (!kafkaIsInstalled(defaultCache) || !postgresIsInstalled())
      return note("left out. Run npm run services -- install to get Kafka and PostgreSQL");
    await withFolder(dir, async (folder) => {
      chmodSync(folder, 0o755);
      const broker = new KafkaBroker(join(folder, "kafka"), await freePort(), defaultCache);
      const server = new PostgresServer(join(folder, "postgres"), await freePort());
      await Promise.all([broker.start(await freePort()), server.start()]);
      const place = { brokers: broker.brokers, url: server.url };
      const client = new Client({ connectionString: server.url });
      const children: ChildProcess[] = [];
      try {
        const log = kafka({ brokers: broker.brokers });
        await log.ensureTopics(topics);
        await log.close();
        await client.connect();
        const wal = async (): Promise<number> => {
          const { rows } = await client.query<{ bytes: string }>(
            "SELECT pg_current_wal_lsn() - '0/0' AS bytes",
          );
          return Number(rows[0]?.bytes);
        };
        const around = { ...place, wal, kafkaBytes: () => sizeOf(join(folder, "kafka", "data")) };
        const bounds = new Map<string, number>();
        const ratio = (rate: number, of: string): number => rounded(rate / (bounds.get(of) ?? Number.NaN));
        const stop = (): void => {
          for (const child of children.splice(0)) child.kill("SIGKILL");
        };
        for (const [transactions, workers, warmMs] of [
          [1, "in process", brokerWarmMs],
          [3, "in process", nodeWarmMs],
          [3, "over Kafka", nodeWarmMs],
        ] as const) {
          const relayed = workers === "over Kafka";
          if (relayed) children.push(await begin(switches, place));
          children.push(await begin(bound, { ...place, transactions, relayed }));
          await warm(place, boundTopic, warmMs);
          for (const inFlight of inFlights) {
            note(`the bound of ${transactions} transactions, workers ${workers}, ${inFlight} in flight`);
            const { measured, ...bytes } = await measure(around, boundTopic, inFlight);
            bounds.set(`${transactions} ${workers} ${inFlight}`, measured.rate);
            report({
              bench: `cluster-bound-${transactions}`,
              workers,
              inflight: inFlight,
              ...measured.figures(callsOf(length)),
              ...bytes,
            });
          }
          stop();
        }
        for (const [workers, nodes] of [
          ["in process", 1],
          ["in process", 2],
          ["over Kafka", 1],
          ["over Kafka", 2],
        ] as const) {
          const relayed = workers === "over Kafka";
          if (relayed) children.push(await begin(switches, place));
          for (let count = 0; count < nodes; count++) children.push(await begin(node, { ...place, relayed }));
          await warm(place, requestTopic, nodeWarmMs);
          for (const inFlight of inFlights) {
            note(`${nodes} nodes, workers ${workers}, ${inFlight} in flight`);
            const { measured, ...bytes } = await measure(around, requestTopic, inFlight);
            report({
              bench: "cluster",
              workers,
              nodes,
              inflight: inFlight,
              ...measured.figures(callsOf(length)),
              ratio: ratio(measured.rate, `1 in process ${inFlight}`),
              ratio_same: ratio(measured.rate, `3 ${workers} ${inFlight}`),
              ...bytes,
            });
          }
          stop();
        }
      } finally {
        for (const child of children) child.kill("SIGKILL");
        await client.end().catch(() => {});
        await broker.signal("SIGKILL");
        await server.signal("SIGKILL");
      }
    });
  },
};
