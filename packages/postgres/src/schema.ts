import { WheelworkError } from "@wheelwork/core";
import { formerTookSql } from "@wheelwork/engine/stores";
import type { ClientBase } from "pg";
import { configError } from "./errors.ts";

/**
 * The schema, one migration after another; `settings` says how many of them are applied. A migration that has been
 * released is never changed. All shards share the tables, the shard first in each key; only the journal is a table for
 * each shard (see `journalTable`), so that its parts can be dropped without a lock that others feel.
 */
const migrations: readonly string[] = [
  `
  CREATE TABLE shard (
    id integer PRIMARY KEY,
    epoch bigint NOT NULL,
    owner text NOT NULL,
    engine_time bigint NOT NULL,
    -- The last batch.
    seq bigint NOT NULL,
    -- The batch of the last checkpoint: a restart replays the journal after it.
    checkpoint bigint NOT NULL
  ) WITH (fillfactor = 50);
  -- Live runs as they were at the last checkpoint.
  CREATE TABLE run (
    shard integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    hub text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    status text NOT NULL,
    state text NOT NULL,
    created_at bigint NOT NULL,
    answered_at bigint,
    hot boolean NOT NULL,
    due bigint,
    root boolean NOT NULL,
    snapshot text NOT NULL,
    PRIMARY KEY (shard, key)
  );
  CREATE INDEX run_hot ON run (shard, key) WHERE hot;
  CREATE INDEX run_due ON run (shard, due, key) WHERE NOT hot AND due IS NOT NULL;
  CREATE INDEX run_hub ON run (shard, hub, version);
  CREATE INDEX run_created ON run (shard, created_at, key);
  -- Requests that have their answer.
  CREATE TABLE request (
    shard integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    hub text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    hash text NOT NULL,
    state text NOT NULL,
    status text NOT NULL,
    created_at bigint NOT NULL,
    answered_at bigint NOT NULL,
    ended_at bigint,
    root boolean NOT NULL,
    answer text NOT NULL,
    request text NOT NULL,
    -- The batches that hold its events since a part of its history was last written.
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    -- The checkpoint before it was written: neither this request nor one that ended later needs an older batch.
    checkpoint bigint NOT NULL,
    PRIMARY KEY (shard, key)
  );
  CREATE INDEX request_created ON request (shard, created_at, key);
  CREATE INDEX request_ended ON request (shard, ended_at) WHERE ended_at IS NOT NULL;
  -- Histories of runs that outlived a checkpoint: what they did up to it.
  CREATE TABLE history (
    shard integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    events text NOT NULL,
    PRIMARY KEY (shard, key, id)
  );
  `,
  `
  -- The log that the shard's inputs come from, and how far it has come: see LogProgress.
  ALTER TABLE shard ADD COLUMN log text, ADD COLUMN position bigint, ADD COLUMN published bigint;
  ALTER TABLE request ADD COLUMN reply_to text;
  `,
  `
  -- A batch that an owner has seen committed, and that the server had no longer: nobody works on the shard until it is null.
  ALTER TABLE shard ADD COLUMN lost bigint;
  `,
  `
  -- Long downtimes, as JSON: retention counts a part of them only.
  ALTER TABLE shard ADD COLUMN downtimes text;
  -- Of what does not change in the row. Rows of earlier versions have none.
  ALTER TABLE request ADD COLUMN checksum bigint;
  `,
  `
  -- Each list of requests has an index with its rows and no others, in its order (lists.ts).
  DROP INDEX run_created;
  DROP INDEX request_created;
  CREATE INDEX run_listed ON run (shard, status, created_at, key) WHERE root;
  CREATE INDEX run_listed_hub ON run (shard, hub, status, created_at, key) WHERE root;
  CREATE INDEX run_incident ON run (shard, created_at, key) WHERE NOT root AND status = 'incident';
  CREATE INDEX run_incident_hub ON run (shard, hub, created_at, key) WHERE NOT root AND status = 'incident';
  CREATE INDEX request_listed ON request (shard, created_at, key) WHERE root AND ended_at IS NOT NULL;
  CREATE INDEX request_listed_hub ON request (shard, hub, created_at, key) WHERE root AND ended_at IS NOT NULL;
  CREATE INDEX request_lost ON request (shard, created_at, key) WHERE status = 'lost';
  CREATE INDEX request_lost_hub ON request (shard, hub, created_at, key) WHERE status = 'lost';
  `,
  `
  -- The last epoch whose owner has stopped in order.
  ALTER TABLE shard ADD COLUMN stopped bigint;
  `,
  `
  -- The last data of a run whose hub has a view, once it has ended.
  ALTER TABLE request ADD COLUMN data text;
  `,
  `
  -- The lane of a run, as JSON: a claim reads who waits in which one, without the rest of these runs.
  ALTER TABLE run ADD COLUMN lane text;
  CREATE INDEX run_lane ON run (shard, key) WHERE lane IS NOT NULL;
  `,
  `
  -- Parts of histories that may be archived, by the time of their last event. 0: an earlier version has written the part, and did not
  -- say. NULL: its run has ended, so that it stays. Their number, and the state that they leave the run in, if they enter one.
  ALTER TABLE history ADD COLUMN last_at bigint DEFAULT 0, ADD COLUMN count bigint, ADD COLUMN state text;
  CREATE INDEX history_old ON history (shard, last_at, id) WHERE last_at IS NOT NULL;
  -- How many events of a run are archived, when the last of them happened, and the state that they have left it in.
  CREATE TABLE archived (
    shard integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    events bigint NOT NULL,
    last_at bigint NOT NULL,
    state text,
    PRIMARY KEY (shard, key)
  );
  `,
  `
  -- The commands that somebody gave, a row for each batch that has some, as JSON.
  CREATE TABLE audit (
    shard integer NOT NULL,
    at bigint NOT NULL,
    seq bigint NOT NULL,
    entries text NOT NULL,
    PRIMARY KEY (shard, at, seq)
  );
  `,
  `
  -- What requests have in common that are alike for lists. What a facet lacks is empty, or -1.
  CREATE TABLE facet (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hub text COLLATE "C" NOT NULL,
    status text NOT NULL,
    activity text NOT NULL,
    state text COLLATE "C" NOT NULL,
    root integer NOT NULL,
    outcome text NOT NULL,
    code text COLLATE "C" NOT NULL,
    took integer NOT NULL,
    UNIQUE (hub, status, activity, state, root, outcome, code, took)
  );
  -- How many requests of a facet were accepted in a span of time, and when the first and the last of them got their answers.
  CREATE TABLE cell (
    shard integer NOT NULL,
    facet integer NOT NULL,
    level integer NOT NULL,
    cell bigint NOT NULL,
    count bigint NOT NULL,
    first_answered bigint,
    last_answered bigint,
    PRIMARY KEY (shard, facet, level, cell)
  ) WITH (fillfactor = 50);
  DROP INDEX run_listed, run_listed_hub, run_incident, run_incident_hub;
  DROP INDEX request_listed, request_listed_hub, request_lost, request_lost_hub;
  -- The facet is NULL where no list shows the row.
  ALTER TABLE run ADD COLUMN activity text, ADD COLUMN facet integer;
  ALTER TABLE request ADD COLUMN facet integer;
  UPDATE run SET activity = CASE WHEN hot THEN 'calling' ELSE 'waiting' END WHERE status = 'running';
  CREATE TEMP TABLE listed ON COMMIT DROP AS
    SELECT true AS live, shard, key, hub, status, coalesce(activity, '') AS activity, state, root::integer AS root,
      '' AS outcome, '' AS code, -1 AS took FROM run WHERE root OR status = 'incident'
    UNION ALL
    SELECT false, shard, key, hub, status, '', state, root::integer,
      coalesce(substring(answer FROM '^{"kind":"([a-z]+)"'), ''),
      coalesce(substring(answer FROM '^{"kind":"error","code":"([^"]*)"'), ''), ${formerTookSql("(answered_at - created_at)")}
    FROM request WHERE ended_at IS NOT NULL AND (root OR status = 'lost');
  INSERT INTO facet (hub, status, activity, state, root, outcome, code, took)
    SELECT DISTINCT hub, status, activity, state, root, outcome, code, took FROM listed;
  UPDATE run SET facet = facet.id FROM listed JOIN facet USING (hub, status, activity, state, root, outcome, code, took)
    WHERE listed.live AND run.shard = listed.shard AND run.key = listed.key;
  UPDATE request SET facet = facet.id FROM listed JOIN facet USING (hub, status, activity, state, root, outcome, code, took)
    WHERE NOT listed.live AND request.shard = listed.shard AND request.key = listed.key;
  INSERT INTO cell SELECT shard, facet, level, created_at >> bits, count(*), min(answered_at), max(answered_at) FROM (
      SELECT shard, facet, created_at, answered_at FROM run WHERE facet IS NOT NULL
      UNION ALL
      SELECT shard, facet, created_at, answered_at FROM request WHERE facet IS NOT NULL
    ) AS rows CROSS JOIN (VALUES (0, 62), (1, 28), (2, 22), (3, 16), (4, 10)) AS span (level, bits) GROUP BY 1, 2, 3, 4;
  CREATE INDEX run_facet ON run (shard, facet, created_at, key) INCLUDE (answered_at) WHERE facet IS NOT NULL;
  CREATE INDEX request_facet ON request (shard, facet, created_at, key) INCLUDE (answered_at) WHERE facet IS NOT NULL;
  `,
  `
  -- The labels of a request, as JSON. An index has the rows of each label (name=value), and there are counters for each.
  ALTER TABLE run ADD COLUMN labels text;
  ALTER TABLE request ADD COLUMN labels text;
  CREATE TABLE labelled (
    shard integer NOT NULL,
    label text COLLATE "C" NOT NULL,
    facet integer NOT NULL,
    created_at bigint NOT NULL,
    key text COLLATE "C" NOT NULL,
    answered_at bigint,
    labels text NOT NULL,
    PRIMARY KEY (shard, label, facet, created_at, key) INCLUDE (answered_at)
  );
  CREATE TABLE label_cell (
    shard integer NOT NULL,
    label text COLLATE "C" NOT NULL,
    level integer NOT NULL,
    facet integer NOT NULL,
    cell bigint NOT NULL,
    count bigint NOT NULL,
    first_answered bigint,
    last_answered bigint,
    PRIMARY KEY (shard, label, level, facet, cell)
  ) WITH (fillfactor = 50);
  `,
  `
  -- Which runs are stuck is told by the index of lists alone.
  DROP INDEX run_facet;
  CREATE INDEX run_facet ON run (shard, facet, created_at, key) INCLUDE (answered_at, due) WHERE facet IS NOT NULL;
  ALTER TABLE labelled ADD COLUMN due bigint;
  `,
  `
  -- What a parked run has in common with others, as JSON. The index of labels has its message, too.
  ALTER TABLE run ADD COLUMN incident text;
  `,
  `
  -- The highest attempt of the open calls of a run.
  ALTER TABLE run ADD COLUMN attempts integer;
  ALTER TABLE labelled ADD COLUMN attempts integer;
  DROP INDEX run_facet;
  CREATE INDEX run_facet ON run (shard, facet, created_at, key) INCLUDE (answered_at, due, attempts) WHERE facet IS NOT NULL;
  `,
  `
  -- Rows by duration, for bounds that end no class. The index alone tells the durations, since it has both times. It is for statements that
  -- repeat the condition on durations: a plan for an empty table could take it for any list.
  CREATE INDEX request_took ON request (shard, facet, (answered_at - created_at)) INCLUDE (created_at, answered_at)
    WHERE facet IS NOT NULL AND answered_at - created_at >= 0;
  `,
  `
  -- The labels of a request once more, unless they are too long for an index: it takes 2700 bytes for all that it has of a row. So the
  -- index alone tells which rows of a label have another one.
  ALTER TABLE labelled DROP CONSTRAINT labelled_pkey, ADD COLUMN brief text GENERATED ALWAYS AS
    (CASE WHEN octet_length(label) + octet_length(key) + octet_length(labels) <= 2000 THEN labels END) STORED;
  ALTER TABLE labelled ADD PRIMARY KEY (shard, label, facet, created_at, key) INCLUDE (answered_at, due, attempts, brief);
  `,
  `
  -- What filters of the audit list say of the commands of each batch. Earlier versions have not said it of theirs.
  CREATE TABLE audit_term (
    shard integer NOT NULL,
    term bigint NOT NULL,
    at bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (shard, term, at, seq)
  );
  ALTER TABLE audit ADD COLUMN indexed boolean NOT NULL DEFAULT false;
  CREATE INDEX audit_former ON audit (shard, at, seq) WHERE NOT indexed;
  `,
  `
  -- Which runs a batch is about: a damaged one harms these alone. Earlier versions have not said it.
  DO $$ DECLARE journal regclass; BEGIN
    FOR journal IN SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'p' AND relname ~ '^journal_[0-9]+$'
    LOOP EXECUTE format('ALTER TABLE %s ADD COLUMN runs bytea', journal); END LOOP;
  END $$;
  -- The runs that damaged batches have harmed, as JSON: [{"seq": number of the batch, "runs": [hash of a key, ...]}, ...]. Without runs:
  -- nobody knows them, and an operator has given the batch up.
  ALTER TABLE shard ADD COLUMN harms text;
  `,
];

/**
 * The journal is cut by engine time into periods, each a partition: what has outlived its retention is dropped with its
 * partition. Deleting its rows, and the many pieces in which long records are kept, would leave more behind than
 * autovacuum removes.
 */
export const journalPeriodMs = 6 * 3_600_000;

export const journalTable = (shard: number): string => `journal_${shard}`;

const periodTable = (shard: number, period: number): string => `${journalTable(shard)}_${period}`;

/** Several nodes may start at once: one of them changes the schema, the others wait for it. Freed when the transaction ends. */
const lock = "SELECT pg_advisory_xact_lock(hashtext('wheelwork'), hashtext(current_schema() || ' schema'))";

const rowsOf = async (client: ClientBase, text: string, ...values: unknown[]): Promise<object[]> =>
  (await client.query<object>(text, values)).rows;

/** What is set once for all shards. */
async function setting(client: ClientBase, name: string): Promise<number | undefined> {
  const [row] = (await rowsOf(client, "SELECT value FROM settings WHERE name = $1", name)) as {
    value: number;
  }[];
  return row?.value;
}

/**
 * Texts may have any characters. UTF-8 holds them all, and so does SQL_ASCII, with which the server takes and gives the bytes of the
 * client as they are. In another encoding, the first character that it lacks would stop its shard.
 * @throws WheelworkError WW_CONFIG
 */
export function checkEncoding(encoding: unknown): void {
  if (encoding === "UTF8" || encoding === "SQL_ASCII") return;
  throw configError(
    `the database has the encoding ${String(encoding)}, which cannot hold all texts`,
    "Create a database with the encoding UTF8: CREATE DATABASE name TEMPLATE template0 ENCODING 'UTF8'.",
  );
}

/**
 * Brings the schema up to date, within a transaction, and makes the shard's own tables.
 * @throws WheelworkError WW_STORE_NEWER, WW_CONFIG when the store has another number of shards, or an encoding that cannot hold all texts.
 */
export async function prepareSchema(
  client: ClientBase,
  schema: string,
  shard: number,
  shards: number,
): Promise<void> {
  const [server] = (await rowsOf(client, "SHOW server_encoding")) as { server_encoding: string }[];
  checkEncoding(server?.server_encoding);
  // Whoever may lose the last commits may not lose the tables: those who run would not make them again.
  await client.query(
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
  );
  // Not IF NOT EXISTS alone, which asks for the right to create even where there is nothing to do.
  const schemas = await rowsOf(client, "SELECT 1 FROM pg_namespace WHERE nspname = $1", schema);
  if (schemas.length === 0) {
    await client.query("SELECT pg_advisory_xact_lock(hashtext('wheelwork'))");
    await client.query(`CREATE SCHEMA IF NOT EXISTS "${schema}"`);
  }
  await client.query(lock);
  const tables = await rowsOf(client, "SELECT 1 WHERE to_regclass('settings') IS NOT NULL");
  if (tables.length === 0)
    await client.query("CREATE TABLE settings (name text PRIMARY KEY, value bigint NOT NULL)");
  const version = (await setting(client, "schema")) ?? 0;
  if (version > migrations.length) {
    throw new WheelworkError(
      "WW_STORE_NEWER",
      `the schema ${schema} was written by a newer version of Wheelwork (schema ${version})`,
      { next: `Install that version; this one knows the schemas up to ${migrations.length}.` },
    );
  }
  for (const migration of migrations.slice(version)) await client.query(migration);
  if (version < migrations.length) {
    const sql =
      "INSERT INTO settings VALUES ('schema', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    await client.query(sql, [migrations.length]);
  }
  await client.query("INSERT INTO settings VALUES ('shards', $1) ON CONFLICT (name) DO NOTHING", [shards]);
  const stored = await setting(client, "shards");
  if (stored !== shards) {
    throw configError(
      `the store in the schema ${schema} has ${stored} shards, not ${shards}`,
      "The number of shards is fixed when the store is created: start with that number, or in another schema.",
    );
  }
  await client.query("INSERT INTO shard VALUES ($1, 0, '', 0, 0, 0) ON CONFLICT (id) DO NOTHING", [shard]);
  const journal = journalTable(shard);
  const journals = await rowsOf(client, "SELECT 1 WHERE to_regclass($1) IS NOT NULL", journal);
  if (journals.length > 0) return;
  await client.query(
    `CREATE TABLE ${journal} (era integer NOT NULL, seq bigint NOT NULL, record bytea NOT NULL, runs bytea)
       PARTITION BY LIST (era)`,
  );
  // The engine has compressed what gains by it.
  await client.query(`ALTER TABLE ${journal} ALTER record SET STORAGE EXTERNAL`);
  // A unique index over partitions must name their key, too.
  await client.query(`CREATE UNIQUE INDEX ${journal}_seq ON ${journal} (seq, era)`);
}

/** The periods that the shard's journal has partitions for, in their order. */
export async function journalPeriods(client: ClientBase, shard: number): Promise<number[]> {
  const journal = journalTable(shard);
  const rows = (await rowsOf(
    client,
    "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = to_regclass($1)",
    journal,
  )) as { name: string }[];
  return rows.map(({ name }) => Number(name.slice(name.lastIndexOf("_") + 1))).toSorted((a, b) => a - b);
}

/** Makes the partition of a period, within a transaction. It is attached, which no reader and no dump holds up. */
export async function createPeriod(client: ClientBase, shard: number, period: number): Promise<void> {
  await client.query(lock);
  if ((await journalPeriods(client, shard)).includes(period)) return;
  const [journal, table] = [journalTable(shard), periodTable(shard, period)];
  await client.query(`CREATE TABLE ${table} (LIKE ${journal} INCLUDING ALL)`);
  await client.query(`ALTER TABLE ${journal} ATTACH PARTITION ${table} FOR VALUES IN (${period})`);
}

/**
 * Drops the periods before one, from the oldest on, as far as none of their batches is later than `oldest`, within a
 * transaction. It waits a moment at most for readers of the journal, since commits would wait behind it.
 */
export async function dropPeriods(
  client: ClientBase,
  shard: number,
  before: number,
  oldest: number,
): Promise<void> {
  for (const period of await journalPeriods(client, shard)) {
    if (period >= before) return;
    const table = periodTable(shard, period);
    const later = await rowsOf(client, `SELECT 1 FROM ${table} WHERE seq > $1 LIMIT 1`, oldest);
    if (later.length > 0) return;
    await client.query("SET LOCAL lock_timeout = '200ms'");
    await client.query(`DROP TABLE ${table}`);
  }
}
