import { createEngine } from "@wheelwork/engine";
import { postgresStore } from "@wheelwork/postgres";
import { randomBytes } from "node:crypto";
import { zstdCompressSync, constants } from "node:zlib";
import { Client } from "pg";
import { callsOf, flow, newKey } from "../flow.ts";
import { drive, inChild, Measured, memoryMb, phase, rounded, type Bench } from "../harness.ts";

const length = 10;
const slices = 4;
const sliceMs = 1500;
const fastest = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/**
 * The bound on a PostgreSQL server: one statement for each commit that an engine needs. It has a fence, one record of
 * what happened and, in the third commit, a row for each answer with an index on its key. All requests in flight share
 * each commit.
 */
class PostgresBound {
  readonly #client: Client;
  #seq = 0;

  constructor(client: Client) {
    this.#client = client;
  }

  async prepare(): Promise<void> {
    await this.#client.query(`
      CREATE TABLE fence (id integer PRIMARY KEY, epoch bigint NOT NULL, seq bigint NOT NULL) WITH (fillfactor = 50);
      CREATE TABLE record (seq bigint PRIMARY KEY, record bytea NOT NULL);
      ALTER TABLE record ALTER record SET STORAGE EXTERNAL;
      CREATE TABLE answer (key text COLLATE "C" PRIMARY KEY, request text NOT NULL, answer text NOT NULL);
      INSERT INTO fence VALUES (0, 1, 0)`);
  }

  async #commit(texts: readonly string[], answers: readonly (readonly string[])[]): Promise<void> {
    const text = `[${texts.join()}]`;
    const record = text.length < 8192 ? Buffer.from(text) : zstdCompressSync(text, fastest);
    const fence = `WITH fence AS (UPDATE fence SET seq = $1 WHERE id = 0 AND epoch = 1 RETURNING seq),
      record AS (INSERT INTO record SELECT $1, $2 FROM fence)`;
    const many =
      ", answered AS (INSERT INTO answer SELECT t.* FROM fence, unnest($3::text[], $4::text[], $5::text[]) AS t)";
    const { rowCount } = await this.#client.query({
      name: answers.length > 0 ? "answers" : "batch",
      text: `${fence}${answers.length > 0 ? many : ""} SELECT 1 FROM fence`,
      values: [++this.#seq, record, ...answers],
    });
    if (rowCount !== 1) throw new Error("the bound was fenced");
  }

  async run(inFlight: number, milliseconds: number, measured: Measured): Promise<void> {
    const began = performance.now();
    const round = Array.from({ length }, (_, call) => call);
    for (let start = began; start < began + milliseconds;) {
      const keys = Array.from({ length: inFlight }, newKey);
      const bodies = keys.map((key) => JSON.stringify({ flowid: key, length, error: null }));
      await this.#commit(
        keys.map((key, index) => `["${key}",${bodies[index]}]`),
        [],
      );
      const outcomes = (name: string): string[] =>
        keys.map((key) => `["${key}",${round.map((call) => JSON.stringify({ [name]: call })).join()}]`);
      await this.#commit(outcomes("installed"), []);
      const answers = keys.map((key) =>
        JSON.stringify({ flowid: key, message: "all operation is successful" }),
      );
      await this.#commit(outcomes("validated"), [keys, bodies, answers]);
      const end = performance.now();
      for (let request = 0; request < inFlight; request++) measured.add(end - start);
      start = end;
    }
    measured.elapsed(performance.now() - began);
  }
}

interface Figures {
  readonly bound: object;
  readonly engine: object;
}

const walBytes = async (client: Client): Promise<number> => {
  const { rows } = await client.query<{ bytes: string }>("SELECT pg_current_wal_lsn() - '0/0' AS bytes");
  return Number(rows[0]?.bytes);
};

/** The bound and the engine take turns on one server. */
const compare = phase(
  import.meta.url,
  "compare",
  async ({ url, inFlight }: { url: string; inFlight: number }): Promise<Figures> => {
    const schema = `bench_${randomBytes(6).toString("hex")}`;
    const client = new Client({ connectionString: url });
    await client.connect();
    await client.query(`CREATE SCHEMA ${schema}; SET search_path = ${schema}`);
    const store = postgresStore({ connectionString: url, schema });
    try {
      const bound = new PostgresBound(client);
      await bound.prepare();
      const { hub, workers } = flow({ deadlineMs: 30_000, timeoutMs: 10_000 });
      const batches = { count: 0, inputs: 0, commitMs: 0, decideMs: 0 };
      const engine = createEngine({
        hubs: [hub],
        workers,
        store,
        observe: (signal) => {
          if (signal.name !== "batch") return;
          batches.count++;
          batches.inputs += signal.inputs;
          batches.commitMs += signal.commitMs;
          batches.decideMs += signal.decideMs;
        },
      });
      await engine.start();
      let flows = 0;
      const work = async (): Promise<void> => {
        const answer = await engine.call(hub, { flowid: `flow-${flows++}`, length }, { key: newKey() });
        if (answer.kind !== "result") throw new Error(`a flow failed: ${JSON.stringify(answer)}`);
      };
      await bound.run(inFlight, sliceMs / 2, new Measured());
      await drive(inFlight, sliceMs, new Measured(), work);
      const ofBound = new Measured();
      const ofEngine = new Measured();
      let wal = 0;
      Object.assign(batches, { count: 0, inputs: 0, commitMs: 0, decideMs: 0 });
      for (let slice = 0; slice < slices; slice++) {
        await bound.run(inFlight, sliceMs / 2, ofBound);
        const before = await walBytes(client);
        await drive(inFlight, sliceMs, ofEngine, work);
        wal += (await walBytes(client)) - before;
      }
      const rss = memoryMb();
      await engine.stop();
      return {
        bound: ofBound.figures(callsOf(length)),
        engine: {
          ...ofEngine.figures(callsOf(length)),
          ratio: rounded(ofEngine.rate / ofBound.rate),
          wal_bytes: Math.round(wal / ofEngine.count),
          batch_inputs: rounded(batches.inputs / batches.count),
          commit_ms: rounded(batches.commitMs / batches.count),
          decide_ms: rounded(batches.decideMs / batches.count),
          rss_mb: rss,
        },
      };
    } finally {
      await store.close();
      await client.query(`DROP SCHEMA ${schema} CASCADE`);
      await client.end();
    }
  },
);

/** Workflows per second of the engine on PostgreSQL, and their ratio to the bound on the same server. */
export const postgres: Bench = {
  name: "postgres",
  about:
    "flow-create of 10 rules on PostgreSQL at 1, 16 and 200 in flight, next to the bound; needs DATABASE_URL",
  run: async ({ report, note }) => {
    const url = process.env["DATABASE_URL"];
    if (url === undefined) return note("left out: DATABASE_URL is not set");
    for (const inFlight of [1, 16, 200]) {
      note(`${inFlight} in flight`);
      const { bound, engine } = await inChild(compare, { url, inFlight });
      report({ bench: "postgres-bound", inflight: inFlight, ...bound });
      report({ bench: "postgres", inflight: inFlight, ...engine });
    }
  },
};
