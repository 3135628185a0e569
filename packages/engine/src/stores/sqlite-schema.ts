import { WheelworkError } from "@wheelwork/core";
import type { DatabaseSync } from "node:sqlite";
import { formerTookSql } from "./facets.ts";

/**
 * The schema, one migration after another; the number of those applied is the file's user_version. A migration that has
 * been released is never changed.
 */
const migrations: readonly string[] = [
  `
  CREATE TABLE shard (
    id INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    owner TEXT NOT NULL,
    engine_time INTEGER NOT NULL,
    -- The batch of the last checkpoint: a restart replays the journal after it.
    checkpoint INTEGER NOT NULL
  );
  -- What happened, a record a batch (journal.ts). What is older than the last checkpoint is kept for the histories.
  CREATE TABLE journal (seq INTEGER PRIMARY KEY, record BLOB NOT NULL);
  -- Live runs as they were at the last checkpoint.
  CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    hub TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    answered_at INTEGER,
    hot INTEGER NOT NULL,
    due INTEGER,
    root INTEGER NOT NULL,
    snapshot TEXT NOT NULL
  );
  CREATE INDEX run_hot ON run (id) WHERE hot = 1;
  CREATE INDEX run_due ON run (due, key) WHERE hot = 0;
  CREATE INDEX run_hub ON run (hub, version);
  CREATE INDEX run_created ON run (created_at, key);
  -- Requests that have their answer.
  CREATE TABLE request (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    hub TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    answered_at INTEGER NOT NULL,
    ended_at INTEGER,
    root INTEGER NOT NULL,
    answer TEXT NOT NULL,
    request TEXT NOT NULL,
    -- The batches that hold its events since a part of its history was last written.
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    -- The checkpoint before its answer: neither this request nor a later one needs an older batch.
    checkpoint INTEGER NOT NULL
  );
  CREATE INDEX request_created ON request (created_at, key);
  -- Histories of runs that outlived a checkpoint: what they did up to it.
  CREATE TABLE history (id INTEGER PRIMARY KEY, key TEXT NOT NULL, events TEXT NOT NULL);
  CREATE INDEX history_key ON history (key);
  `,
  `
  -- The log that the shard's inputs come from, and how far it has come: see LogProgress.
  ALTER TABLE shard ADD COLUMN log TEXT;
  ALTER TABLE shard ADD COLUMN position INTEGER;
  ALTER TABLE shard ADD COLUMN published INTEGER;
  ALTER TABLE request ADD COLUMN reply_to TEXT;
  `,
  `
  -- Keys have no order: an index that each of them is written to at once makes a page dirty for each (sqlite-keys.ts).
  CREATE TABLE answered (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    hub TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    answered_at INTEGER NOT NULL,
    ended_at INTEGER,
    root INTEGER NOT NULL,
    answer TEXT NOT NULL,
    request TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL,
    reply_to TEXT
  );
  INSERT INTO answered SELECT id, key, hub, version, hash, state, status, created_at, answered_at, ended_at, root, answer,
    request, first_seq, last_seq, checkpoint, reply_to FROM request;
  DROP TABLE request;
  ALTER TABLE answered RENAME TO request;
  CREATE INDEX request_created ON request (created_at, key);
  CREATE TABLE request_key (key TEXT PRIMARY KEY, id INTEGER NOT NULL) WITHOUT ROWID;
  INSERT INTO request_key SELECT key, id FROM request ORDER BY key;
  -- The row up to which all keys are in request_key.
  ALTER TABLE shard ADD COLUMN keyed INTEGER NOT NULL DEFAULT 0;
  UPDATE shard SET keyed = (SELECT coalesce(max(id), 0) FROM request);
  `,
  `
  -- Long downtimes, as JSON: retention counts a part of them only.
  ALTER TABLE shard ADD COLUMN downtimes TEXT;
  -- Of what does not change in the row (checksums.ts). Rows of earlier versions have none.
  ALTER TABLE request ADD COLUMN checksum INTEGER;
  `,
  `
  -- Each list of requests has an index with its rows and no others, in its order (sqlite-list.ts).
  DROP INDEX run_created;
  DROP INDEX request_created;
  CREATE INDEX run_listed ON run (status, created_at, key) WHERE root = 1;
  CREATE INDEX run_listed_hub ON run (hub, status, created_at, key) WHERE root = 1;
  CREATE INDEX run_incident ON run (created_at, key) WHERE root = 0 AND status = 'incident';
  CREATE INDEX run_incident_hub ON run (hub, created_at, key) WHERE root = 0 AND status = 'incident';
  CREATE INDEX request_listed ON request (created_at, key) WHERE root = 1 AND ended_at IS NOT NULL;
  CREATE INDEX request_listed_hub ON request (hub, created_at, key) WHERE root = 1 AND ended_at IS NOT NULL;
  CREATE INDEX request_lost ON request (created_at, key) WHERE status = 'lost';
  CREATE INDEX request_lost_hub ON request (hub, created_at, key) WHERE status = 'lost';
  `,
  `
  -- The last epoch whose owner has stopped in order.
  ALTER TABLE shard ADD COLUMN stopped INTEGER;
  `,
  `
  -- From here on shard.engine_time is that of the last checkpoint; the journal has the times of later commits. A list of all
  -- hubs is made of the lists of each: an index fewer that every answer is written to.
  DROP INDEX request_listed;
  `,
  `
  -- The last data of a run whose hub has a view, once it has ended.
  ALTER TABLE request ADD COLUMN data TEXT;
  `,
  `
  -- The lane of a run, as JSON: a claim reads who waits in which one, without the rest of these runs.
  ALTER TABLE run ADD COLUMN lane TEXT;
  CREATE INDEX run_lane ON run (id) WHERE lane IS NOT NULL;
  `,
  `
  -- Parts of histories that may be archived, by the time of their last event. 0: an earlier version has written the part, and did not
  -- say. NULL: its run has ended, so that it stays. Their number, and the state that they leave the run in, if they enter one.
  ALTER TABLE history ADD COLUMN last_at INTEGER DEFAULT 0;
  ALTER TABLE history ADD COLUMN count INTEGER;
  ALTER TABLE history ADD COLUMN state TEXT;
  CREATE INDEX history_old ON history (last_at) WHERE last_at IS NOT NULL;
  -- How many events of a run are archived, when the last of them happened, and the state that they have left it in.
  CREATE TABLE archived (key TEXT PRIMARY KEY, events INTEGER NOT NULL, last_at INTEGER NOT NULL, state TEXT) WITHOUT ROWID;
  `,
  `
  -- The commands that somebody gave, a row for each batch that has some, as JSON.
  CREATE TABLE audit (at INTEGER NOT NULL, seq INTEGER NOT NULL, entries TEXT NOT NULL, PRIMARY KEY (at, seq)) WITHOUT ROWID;
  `,
  `
  -- What requests have in common that are alike for lists (counting.ts). What a facet lacks is empty, or -1.
  CREATE TABLE facet (
    id INTEGER PRIMARY KEY,
    hub TEXT NOT NULL,
    status TEXT NOT NULL,
    activity TEXT NOT NULL,
    state TEXT NOT NULL,
    root INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    code TEXT NOT NULL,
    took INTEGER NOT NULL,
    UNIQUE (hub, status, activity, state, root, outcome, code, took)
  );
  -- How many requests of a facet were accepted in a span of time, and when the first and the last of them got their answers.
  CREATE TABLE cell (
    facet INTEGER NOT NULL,
    level INTEGER NOT NULL,
    cell INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_answered INTEGER,
    last_answered INTEGER,
    PRIMARY KEY (facet, level, cell)
  ) WITHOUT ROWID;
  DROP INDEX run_listed;
  DROP INDEX run_listed_hub;
  DROP INDEX run_incident;
  DROP INDEX run_incident_hub;
  DROP INDEX request_listed_hub;
  DROP INDEX request_lost;
  DROP INDEX request_lost_hub;
  -- NULL: no list shows the row.
  ALTER TABLE run ADD COLUMN activity TEXT;
  ALTER TABLE run ADD COLUMN facet INTEGER;
  ALTER TABLE request ADD COLUMN facet INTEGER;
  UPDATE run SET activity = CASE hot WHEN 1 THEN 'calling' ELSE 'waiting' END WHERE status = 'running';
  CREATE TEMP TABLE listed AS
    SELECT id, 1 AS live, hub, status, coalesce(activity, '') AS activity,
      state, root, '' AS outcome, '' AS code, -1 AS took FROM run WHERE root = 1 OR status = 'incident'
    UNION ALL
    SELECT id, 0, hub, status, '', state, root, coalesce(outcome, ''), CASE outcome WHEN 'error' THEN coalesce(code, '') ELSE '' END,
      ${formerTookSql("answered_at - created_at")}
    FROM (SELECT *, CASE WHEN json_valid(answer) THEN answer ->> '$.kind' END AS outcome,
        CASE WHEN json_valid(answer) THEN answer ->> '$.code' END AS code FROM request)
    WHERE ended_at IS NOT NULL AND (root = 1 OR status = 'lost');
  INSERT INTO facet (hub, status, activity, state, root, outcome, code, took)
    SELECT DISTINCT hub, status, activity, state, root, outcome, code, took FROM listed;
  CREATE INDEX temp.listed_id ON listed (live, id);
  UPDATE run SET facet = (SELECT facet.id FROM listed CROSS JOIN facet USING (hub, status, activity, state, root, outcome, code, took)
    WHERE listed.live = 1 AND listed.id = run.id);
  UPDATE request SET facet = (SELECT facet.id FROM listed CROSS JOIN facet USING (hub, status, activity, state, root, outcome, code, took)
    WHERE listed.live = 0 AND listed.id = request.id);
  DROP TABLE listed;
  CREATE TEMP TABLE level AS SELECT column1 AS level, column2 AS bits FROM (VALUES (0, 62), (1, 28), (2, 22), (3, 16), (4, 10));
  INSERT INTO cell (facet, level, cell, count, first_answered, last_answered)
    SELECT facet, level, created_at >> bits, count(*), min(answered_at), max(answered_at) FROM (
      SELECT facet, created_at, answered_at FROM run WHERE facet IS NOT NULL
      UNION ALL
      SELECT facet, created_at, answered_at FROM request WHERE facet IS NOT NULL
    ) CROSS JOIN level GROUP BY 1, 2, 3;
  DROP TABLE level;
  CREATE INDEX run_facet ON run (facet, created_at, key, answered_at) WHERE facet IS NOT NULL;
  CREATE INDEX request_facet ON request (facet, created_at, key, answered_at) WHERE facet IS NOT NULL;
  `,
  `
  -- The labels of a request, as JSON. An index has the rows of each label (name=value), and there are counters for each (labels.ts).
  ALTER TABLE run ADD COLUMN labels TEXT;
  ALTER TABLE request ADD COLUMN labels TEXT;
  CREATE TABLE labelled (
    label TEXT NOT NULL,
    facet INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    key TEXT NOT NULL,
    answered_at INTEGER,
    -- Of the row in its table.
    id INTEGER NOT NULL,
    labels TEXT NOT NULL,
    PRIMARY KEY (label, facet, created_at, key)
  ) WITHOUT ROWID;
  CREATE TABLE label_cell (
    label TEXT NOT NULL,
    level INTEGER NOT NULL,
    facet INTEGER NOT NULL,
    cell INTEGER NOT NULL,
    count INTEGER NOT NULL,
    first_answered INTEGER,
    last_answered INTEGER,
    PRIMARY KEY (label, level, facet, cell)
  ) WITHOUT ROWID;
  `,
  `
  -- Which runs are stuck is told by the index of lists alone.
  DROP INDEX run_facet;
  CREATE INDEX run_facet ON run (facet, created_at, key, answered_at, due) WHERE facet IS NOT NULL;
  ALTER TABLE labelled ADD COLUMN due INTEGER;
  `,
  `
  -- What a parked run has in common with others, as JSON. The index of labels has its message, too.
  ALTER TABLE run ADD COLUMN incident TEXT;
  `,
  `
  -- The highest attempt of the open calls of a run.
  ALTER TABLE run ADD COLUMN attempts INTEGER;
  ALTER TABLE labelled ADD COLUMN attempts INTEGER;
  DROP INDEX run_facet;
  CREATE INDEX run_facet ON run (facet, created_at, key, answered_at, due, attempts) WHERE facet IS NOT NULL;
  `,
  `
  -- Rows by duration, for bounds that end no class.
  CREATE INDEX request_took ON request (facet, answered_at - created_at) WHERE facet IS NOT NULL;
  `,
  `
  -- What filters of the audit list say of the commands of each batch (audit-terms.ts). Earlier versions have not said it of theirs.
  CREATE TABLE audit_term (term INTEGER NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (term, at, seq)) WITHOUT ROWID;
  ALTER TABLE audit ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
  CREATE INDEX audit_former ON audit (at, seq) WHERE indexed = 0;
  `,
  `
  -- Which runs a batch is about (journal.ts): a damaged one harms these alone. Earlier versions have not said it.
  ALTER TABLE journal ADD COLUMN runs BLOB;
  -- The runs that damaged batches have harmed, as JSON: [{"seq": number of the batch, "runs": [hash of a key, ...]}, ...]. Without runs:
  -- nobody knows them, and an operator has given the batch up.
  ALTER TABLE shard ADD COLUMN harms TEXT;
  `,
];

/** How many migrations this version knows. */
export const currentSchema = migrations.length;

/** How many migrations of a file are applied. */
export function schemaVersion(db: DatabaseSync): number {
  const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
  return version;
}

/** Brings the file up to the present schema. Each migration is one transaction. */
export function migrateSchema(db: DatabaseSync, path: string): void {
  const version = schemaVersion(db);
  if (version > migrations.length) {
    throw new WheelworkError(
      "WW_STORE_NEWER",
      `${path} was written by a newer version of Wheelwork (schema ${version})`,
      {
        next: `Install that version; this one knows the schemas up to ${migrations.length}.`,
      },
    );
  }
  for (const [index, migration] of migrations.entries()) {
    if (index < version) continue;
    db.exec(`BEGIN IMMEDIATE; ${migration} PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}
