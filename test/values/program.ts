// A process with an engine, or a node of a cluster. Values go in and out through every place that takes one. It prints a line for each
// run that has its answer, and a line for each place where code saw something else than it should. It may be killed at any time, and
// started again.
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { createEngine, relay, type Answer, type Engine } from "wheelwork";
import type { Channel } from "wheelwork/cluster";
import { bounce, numberOf, Values } from "./echo.ts";
import type { ProgramOptions } from "./campaign.ts";

const options = JSON.parse(process.argv[2] ?? "") as ProgramOptions;
const { brokers, schema, seed, from, to, step, store } = options;
const print = (...words: readonly unknown[]): void => void process.stdout.write(`${words.join(" ")}\n`);
const values = new Values(seed, (...words) => print("problem", ...words));
// Runs leave the memory and are read again, and snapshots are made.
const limits = { checkpointEvents: 300 };
const inFlight = brokers === undefined ? 16 : 48;

interface Opened {
  readonly engine: Engine;
  readonly send?: (key: string, request: object) => Promise<void>;
  readonly close: () => Promise<void>;
}

function embedded(): Opened {
  const postgres = schema === "" ? undefined : postgresStore({ connectionString: store, schema });
  const engine = createEngine({
    hubs: [values.echo],
    workers: [...values.workers, values.inProcess],
    store: postgres ?? store,
    durability: "normal",
    limits,
  });
  return { engine, close: async () => postgres?.close() };
}

/** Every third request comes on a channel, and what is bounced goes through a relay. */
async function member(bootstrap: string): Promise<Opened> {
  // Those who need no broker start faster without its client.
  const [{ kafka }, { createNode }] = await Promise.all([
    import("@wheelwork/kafka"),
    import("wheelwork/cluster"),
  ]);
  const log = kafka({ brokers: bootstrap, sessionTimeoutMs: 1500 });
  const shards = 4;
  const pool = postgresPool({ connectionString: store, schema });
  const channel: Channel = {
    name: "values",
    from: "values-in",
    to: "values-out",
    hub: values.echo as never,
    request: ({ value }) => JSON.parse(value) as unknown,
    answer: (answer) => ({ value: JSON.stringify(answer) }),
  };
  // It is another program: whoever hears the message sends it back.
  log.subscribe("values-asked", ({ key, value }) => {
    const {
      n,
      value: bounced,
      correlation,
    } = JSON.parse(value) as {
      readonly n: number;
      readonly value: unknown;
      readonly correlation: string;
    };
    values.look(n, "bounced", bounced);
    const reply = { correlation, outcome: { kind: "ok", output: { value: bounced } } };
    void log.append("values-told", { key, value: JSON.stringify(reply) }).catch(() => {});
  });
  log.subscribe("values-out", ({ key, value }) => {
    const n = numberOf(key);
    values.checkPublished(n, JSON.parse(value) as Answer);
  });
  await log.ready();
  const engine = createNode({
    hubs: [values.echo],
    workers: [
      ...values.workers,
      relay(bounce, {
        to: "values-asked",
        from: "values-told",
        send: ({ n, value }, { requestId, idempotencyKey }) => ({
          key: requestId,
          value: JSON.stringify({ n, value, correlation: idempotencyKey }),
        }),
        correlation: ({ value }) => (JSON.parse(value) as { readonly correlation: string }).correlation,
        receive: ({ value }) => JSON.parse(value) as never,
        request: ({ key }) => key,
      }),
    ],
    shards,
    log,
    channels: [channel],
    store: (shard) => postgresStore({ pool, shard, shards }),
    limits,
  });
  return {
    engine,
    send: (key, request) => log.append("values-in", { key, value: JSON.stringify(request) }),
    close: async () => {
      await log.close();
      await pool.close();
    },
  };
}

const { engine, send, close } = brokers === undefined ? embedded() : await member(brokers);
await engine.start();
let next = from;
await Promise.all(
  Array.from({ length: inFlight }, async () => {
    while (next < to) {
      const n = next;
      next += step;
      try {
        await values.run(engine, n, n % 3 === 0 ? send : undefined);
      } catch (error) {
        print("problem", n, "was not expected:", String(error).replaceAll("\n", " "));
      }
      print("done", n);
    }
  }),
);
await engine.stop();
await close();
print("end", values.counts.result, values.counts.bad);
process.exit(0);
