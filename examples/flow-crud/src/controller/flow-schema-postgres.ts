// The tables of the store in PostgreSQL, the same as those in a file. `changed` is the revision of the transaction that has written a row:
// a process reads what is later than what it knows. The row of `state` is the lock: who writes, has it until its transaction ends.

/** So many revisions keep their names. Whoever knows less reads all anew. */
const rememberedRevisions = 100_000;

/**
 * Creates what is missing. The advisory lock is for processes that start at the same time. Tables that are there are not touched: that would
 * take locks on them, in another order than those who write.
 */
export const tablesOf = (schema: string): string => `
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('${schema}'));
CREATE SCHEMA IF NOT EXISTS ${schema};
SET LOCAL search_path = ${schema};
DO $tables$ BEGIN
-- It came later than the others.
IF to_regclass('${schema}.book') IS NULL THEN
  CREATE TABLE book (id integer PRIMARY KEY CHECK (id = 0), name text NOT NULL, generation bigint NOT NULL);
END IF;
-- A name of each of the last revisions. Where a revision has another name than before, the database was restored from a backup, and has gone on.
IF to_regclass('${schema}.lineage') IS NULL THEN
  CREATE TABLE lineage (revision bigint PRIMARY KEY, token text NOT NULL);
END IF;
IF to_regclass('${schema}.state') IS NOT NULL THEN
  RETURN;
END IF;
CREATE TABLE state (
  id integer PRIMARY KEY CHECK (id = 1),
  version bigint NOT NULL,
  next_path bigint NOT NULL,
  revision bigint NOT NULL,
  -- The highest revision of a row that was forgotten. Who knows less reads all anew.
  forgotten bigint NOT NULL
);
INSERT INTO state VALUES (1, 0, 1, 0, 0);
CREATE TABLE switch (switch_id text PRIMARY KEY, record text NOT NULL, changed bigint NOT NULL);
CREATE TABLE link (
  link_key text PRIMARY KEY,
  from_switch text NOT NULL REFERENCES switch,
  from_port bigint NOT NULL,
  to_switch text NOT NULL REFERENCES switch,
  to_port bigint NOT NULL,
  is_up boolean NOT NULL,
  cost bigint NOT NULL CHECK (cost >= 0),
  latency_ms double precision NOT NULL CHECK (latency_ms >= 0),
  is_latency_set boolean NOT NULL,
  bandwidth bigint NOT NULL,
  used bigint NOT NULL,
  changed bigint NOT NULL,
  CHECK (used BETWEEN 0 AND bandwidth)
);
CREATE TABLE flow (
  flow_id text PRIMARY KEY,
  record text NOT NULL,
  gone_at bigint,
  changed bigint NOT NULL
);
CREATE TABLE path (path_id bigint PRIMARY KEY, flow_id text NOT NULL REFERENCES flow);
CREATE TABLE endpoint (
  switch_id text NOT NULL REFERENCES switch,
  port bigint NOT NULL,
  vlan integer NOT NULL CHECK (vlan BETWEEN 0 AND 4095),
  flow_id text NOT NULL REFERENCES flow,
  PRIMARY KEY (switch_id, port, vlan)
);
CREATE TABLE vlan (
  switch_id text NOT NULL REFERENCES switch,
  vlan integer NOT NULL CHECK (vlan BETWEEN 2 AND 4094),
  path_id bigint NOT NULL REFERENCES path,
  PRIMARY KEY (switch_id, vlan)
);
CREATE TABLE meter (
  switch_id text NOT NULL REFERENCES switch,
  meter integer NOT NULL CHECK (meter BETWEEN 32 AND 2500),
  path_id bigint NOT NULL REFERENCES path,
  PRIMARY KEY (switch_id, meter)
);
CREATE TABLE share (
  link_key text NOT NULL REFERENCES link,
  flow_id text NOT NULL REFERENCES flow,
  kbps bigint NOT NULL CHECK (kbps >= 0),
  PRIMARY KEY (link_key, flow_id)
);
CREATE INDEX switch_changed ON switch (changed);
CREATE INDEX link_changed ON link (changed);
CREATE INDEX flow_changed ON flow (changed);
CREATE INDEX flow_gone ON flow (gone_at) WHERE gone_at IS NOT NULL;
CREATE INDEX path_flow ON path (flow_id);
CREATE INDEX endpoint_flow ON endpoint (flow_id);
CREATE INDEX vlan_path ON vlan (path_id);
CREATE INDEX meter_path ON meter (path_id);
CREATE INDEX share_flow ON share (flow_id);
END $tables$;

-- Plans are made when the tables are small: no scans. The server takes such a plan for a dear one, and would compile it for longer than it runs.
CREATE OR REPLACE FUNCTION apply_changes(changes jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = ${schema} SET enable_seqscan = off SET jit = off AS $$
DECLARE
  added jsonb := changes->'added';
  removed jsonb := changes->'removed';
  now_revision bigint := changes->'revision';
  old_revision bigint;
BEGIN
  DELETE FROM endpoint USING jsonb_to_recordset(removed->'endpoint') AS gone (switch_id text, port bigint, vlan integer)
    WHERE endpoint.switch_id = gone.switch_id AND endpoint.port = gone.port AND endpoint.vlan = gone.vlan;
  DELETE FROM vlan USING jsonb_to_recordset(removed->'vlan') AS gone (switch_id text, vlan integer)
    WHERE vlan.switch_id = gone.switch_id AND vlan.vlan = gone.vlan;
  DELETE FROM meter USING jsonb_to_recordset(removed->'meter') AS gone (switch_id text, meter integer)
    WHERE meter.switch_id = gone.switch_id AND meter.meter = gone.meter;
  DELETE FROM share USING jsonb_to_recordset(removed->'share') AS gone (link_key text, flow_id text)
    WHERE share.link_key = gone.link_key AND share.flow_id = gone.flow_id;
  DELETE FROM path USING jsonb_to_recordset(removed->'path') AS gone (path_id bigint)
    WHERE path.path_id = gone.path_id;
  INSERT INTO switch SELECT switch_id, record, now_revision
    FROM jsonb_to_recordset(changes->'switches') AS wanted (switch_id text, record text)
    ON CONFLICT (switch_id) DO UPDATE SET record = excluded.record, changed = excluded.changed;
  INSERT INTO link SELECT link_key, from_switch, from_port, to_switch, to_port, is_up, cost, latency_ms, is_latency_set, bandwidth,
      used, now_revision
    FROM jsonb_to_recordset(changes->'links') AS wanted (link_key text, from_switch text, from_port bigint, to_switch text,
      to_port bigint, is_up boolean, cost bigint, latency_ms double precision, is_latency_set boolean, bandwidth bigint, used bigint)
    ON CONFLICT (link_key) DO UPDATE SET is_up = excluded.is_up, cost = excluded.cost, latency_ms = excluded.latency_ms,
      is_latency_set = excluded.is_latency_set, bandwidth = excluded.bandwidth, used = excluded.used, changed = excluded.changed;
  INSERT INTO flow SELECT flow_id, record, gone_at, now_revision
    FROM jsonb_to_recordset(changes->'flows') AS wanted (flow_id text, record text, gone_at bigint)
    ON CONFLICT (flow_id) DO UPDATE SET record = excluded.record, gone_at = excluded.gone_at, changed = excluded.changed;
  INSERT INTO path SELECT path_id, flow_id FROM jsonb_to_recordset(added->'path') AS wanted (path_id bigint, flow_id text);
  INSERT INTO endpoint SELECT switch_id, port, vlan, flow_id
    FROM jsonb_to_recordset(added->'endpoint') AS wanted (switch_id text, port bigint, vlan integer, flow_id text);
  INSERT INTO vlan SELECT switch_id, vlan, path_id
    FROM jsonb_to_recordset(added->'vlan') AS wanted (switch_id text, vlan integer, path_id bigint);
  INSERT INTO meter SELECT switch_id, meter, path_id
    FROM jsonb_to_recordset(added->'meter') AS wanted (switch_id text, meter integer, path_id bigint);
  INSERT INTO share SELECT link_key, flow_id, kbps
    FROM jsonb_to_recordset(added->'share') AS wanted (link_key text, flow_id text, kbps bigint);
  WITH old AS (DELETE FROM flow WHERE flow_id IN (SELECT flow_id FROM flow
      WHERE gone_at < (changes->'forgetBefore')::bigint ORDER BY gone_at LIMIT 100) RETURNING changed)
    SELECT max(changed) INTO old_revision FROM old;
  UPDATE state SET version = (changes->'version')::bigint, next_path = (changes->'nextPath')::bigint, revision = now_revision,
    forgotten = greatest(forgotten, old_revision)
    WHERE version <= (changes->'version')::bigint AND next_path <= (changes->'nextPath')::bigint AND revision < now_revision;
  IF FOUND THEN
    INSERT INTO lineage VALUES (now_revision, coalesce(changes->>'token', gen_random_uuid()::text));
    DELETE FROM lineage WHERE revision <= now_revision - ${rememberedRevisions};
  ELSE
    RAISE EXCEPTION 'versions, revisions and ids of paths are never given again';
  END IF;
END $$;
COMMIT`;

/** Begins a transaction: what has changed since a revision, or all (undefined). To write, it waits for its turn. */
export function beginOf(schema: string, since: number | undefined, writes: boolean): string {
  const changed = since === undefined ? "true" : `changed > ${since}`;
  return `
BEGIN ISOLATION LEVEL ${writes ? "READ COMMITTED" : "REPEATABLE READ READ ONLY"};
SET LOCAL search_path = ${schema};
SELECT version, next_path, revision, forgotten FROM state ${writes ? "FOR UPDATE" : ""};
SELECT record FROM switch WHERE ${changed};
SELECT * FROM link WHERE ${changed};
SELECT record FROM flow WHERE ${since === undefined ? "gone_at IS NULL" : changed};
SELECT revision, token FROM lineage WHERE revision = ${since ?? -1} OR revision = (SELECT revision FROM state)`;
}

/** The tables of claims. */
export const tables = ["path", "endpoint", "vlan", "meter", "share"] as const;

/** Reads all claims, by their tables. */
export const claimsOf = (schema: string): string =>
  tables.map((table) => `SELECT * FROM ${schema}.${table}`).join(";\n");
