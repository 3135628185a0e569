import { Pool } from "pg";
import { WheelworkError } from "wheelwork";
import {
  defaults,
  type Held,
  type PoolOptions,
  type ResourcePool,
  type Resources,
  type Wanted,
} from "./resources.ts";

/** How long a statement, or an attempt to connect, may take, in milliseconds. */
const timeoutMs = 5_000;

// Each function takes the lock of the pool first, so that nothing changes until its transaction ends. `released` has the
// requests that may not allocate again, as in the file of SQLite. Plans are made when the tables are empty: no scans.
const lockOf = (schema: string): string => `pg_advisory_xact_lock(hashtext('${schema}'))`;
const tablesOf = (schema: string, lock = lockOf(schema)): string => `
BEGIN;
SELECT ${lock};
CREATE SCHEMA IF NOT EXISTS ${schema};
SET LOCAL search_path = ${schema};
CREATE TABLE IF NOT EXISTS allocation (
  cookie bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  idempotency_key text NOT NULL UNIQUE,
  request text NOT NULL,
  flowid text NOT NULL,
  meter bigint NOT NULL UNIQUE,
  path jsonb NOT NULL,
  rules integer NOT NULL
);
CREATE INDEX IF NOT EXISTS allocation_request ON allocation (request);
CREATE TABLE IF NOT EXISTS free_meter (meter bigint PRIMARY KEY);
CREATE TABLE IF NOT EXISTS released (
  request text PRIMARY KEY,
  flowid text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS released_at ON released (at);

CREATE OR REPLACE FUNCTION allocate(wanted jsonb, meters bigint) RETURNS jsonb
LANGUAGE plpgsql SET search_path = ${schema} SET enable_seqscan = off AS $$
DECLARE
  wanted_key text := wanted->>'key';
  wanted_request text := wanted->>'request';
  given allocation;
  free bigint;
BEGIN
  PERFORM ${lock};
  SELECT * INTO given FROM allocation WHERE idempotency_key = wanted_key;
  IF FOUND THEN
    RETURN jsonb_build_object('cookie', given.cookie, 'meter', given.meter);
  END IF;
  IF EXISTS (SELECT FROM released WHERE request = wanted_request) THEN
    RETURN to_jsonb('released'::text);
  END IF;
  DELETE FROM free_meter WHERE meter = (SELECT min(meter) FROM free_meter) RETURNING meter INTO free;
  IF free IS NULL THEN
    SELECT coalesce(max(meter), 0) + 1 INTO free FROM allocation;
  END IF;
  IF free > meters THEN
    INSERT INTO released (request, flowid) VALUES (wanted_request, wanted->>'flowid');
    RETURN to_jsonb('exhausted'::text);
  END IF;
  INSERT INTO allocation (idempotency_key, request, flowid, meter, path, rules)
    VALUES (wanted_key, wanted_request, wanted->>'flowid', free, wanted->'path', (wanted->>'rules')::integer)
    RETURNING * INTO given;
  RETURN jsonb_build_object('cookie', given.cookie, 'meter', given.meter);
END $$;

CREATE OR REPLACE FUNCTION release(given_by jsonb, remember interval) RETURNS jsonb
LANGUAGE plpgsql SET search_path = ${schema} SET enable_seqscan = off AS $$
DECLARE
  had boolean;
BEGIN
  PERFORM ${lock};
  WITH removed AS (DELETE FROM allocation WHERE request = given_by->>'request' RETURNING meter),
    freed AS (INSERT INTO free_meter SELECT meter FROM removed)
  SELECT count(*) > 0 INTO had FROM removed;
  INSERT INTO released (request, flowid) VALUES (given_by->>'request', given_by->>'flowid') ON CONFLICT DO NOTHING;
  DELETE FROM released WHERE request IN
    (SELECT request FROM released WHERE at < clock_timestamp() - remember ORDER BY at LIMIT 100);
  RETURN to_jsonb(had);
END $$;
COMMIT`;

const workOf = (schema: string): string => `
SELECT CASE WHEN wish ? 'key' THEN ${schema}.allocate(wish, $2)
  ELSE ${schema}.release(wish, make_interval(secs => $3)) END AS result
FROM jsonb_array_elements($1) WITH ORDINALITY AS wishes (wish, place) ORDER BY place`;

/** The name of a flow as the server can store it. It is for people only, and an invalid name would fail the whole batch. */
const textOf = (flowid: string): string => flowid.toWellFormed().replaceAll("\0", "\ufffd");

interface Wish {
  readonly wish: { readonly request: string; readonly flowid: string; readonly key?: string };
  readonly resolve: (result: never) => void;
  readonly reject: (error: unknown) => void;
}

/** What the pool on PostgreSQL can be set to. */
export interface PostgresPoolOptions extends PoolOptions {
  /** The schema of its tables, in lower case. Default `flow_crud`. */
  readonly schema?: string;
}

/**
 * The pool of many processes, in PostgreSQL. One process has the pool at a time. What is asked while a statement is under way
 * goes with the next one, so that a batch is one round trip and one commit.
 */
export class PostgresResourcePool implements ResourcePool {
  readonly #server: Pool;
  readonly #schema: string;
  readonly #meters: number;
  readonly #rememberMs: number;
  #prepared = false;
  #wishes: Wish[] = [];
  #working = false;

  /** Connects and creates missing tables at the first use. */
  constructor(connectionString: string, options: PostgresPoolOptions = {}) {
    this.#schema = options.schema ?? "flow_crud";
    this.#meters = options.meters ?? defaults.meters;
    this.#rememberMs = options.rememberMs ?? defaults.rememberMs;
    this.#server = new Pool({
      connectionString,
      max: 1,
      application_name: "flow-crud",
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      // The server keeps the bound itself, unless it is frozen, or cut off.
      query_timeout: timeoutMs + 1000,
    });
    // A statement that loses its connection fails by itself. Between statements nobody needs to know: the next one connects anew.
    this.#server.on("error", () => {});
  }

  allocate(key: string, wanted: Wanted): Promise<Resources | "exhausted" | "released"> {
    return this.#ask({ key, ...wanted, flowid: textOf(wanted.flowid) });
  }

  release(request: string, flowid: string): Promise<boolean> {
    return this.#ask({ request, flowid: textOf(flowid) });
  }

  /** What all requests have. */
  async held(): Promise<readonly Held[]> {
    try {
      await this.#prepare();
      const text = `SELECT request, flowid, rules FROM ${this.#schema}.allocation ORDER BY cookie`;
      return (await this.#server.query<Held>(text)).rows;
    } catch (cause) {
      throw unavailable(cause);
    }
  }

  close(): Promise<void> {
    return this.#server.end();
  }

  #ask<T>(wish: Wish["wish"]): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#wishes.push({ wish, resolve, reject });
      if (!this.#working) void this.#work();
    });
  }

  async #prepare(): Promise<void> {
    if (!this.#prepared) await this.#server.query(tablesOf(this.#schema));
    this.#prepared = true;
  }

  async #work(): Promise<void> {
    this.#working = true;
    // What comes in the same turn goes with the first statement.
    await Promise.resolve();
    while (this.#wishes.length > 0) {
      const batch = this.#wishes;
      this.#wishes = [];
      try {
        await this.#prepare();
        const wishes = JSON.stringify(batch.map(({ wish }) => wish));
        const values = [wishes, this.#meters, this.#rememberMs / 1000];
        const { rows } = await this.#server.query<{ result: unknown }>(workOf(this.#schema), values);
        for (const [index, { resolve }] of batch.entries()) resolve(rows[index]?.result as never);
      } catch (cause) {
        // It may have been done or not. The same request under the same key gets the same resources.
        const error = unavailable(cause);
        for (const { reject } of batch) reject(error);
      }
    }
    this.#working = false;
  }
}

const unavailable = (cause: unknown): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", "the pool of resources cannot be reached", {
    next: "Check that the PostgreSQL server runs and can be reached.",
    retryable: true,
    cause,
  });
