import type { StoredAnswer, StoredRun } from "@wheelwork/engine";
import { answerTexts, incidentText, labelsText, laneText } from "@wheelwork/engine/stores";
import { addLabelled, changeLabelCells, dropLabelCells, dropLabelled, labelledCount } from "./labels.ts";
import { arraysOf, cellTypes, changeCells, dropCells } from "./lists.ts";

// What the store says to the database: the columns that it writes many rows of, and its prepared statements.

/** What a recovery reads at once, in bytes. */
const maxPageBytes = 4_000_000;

/** A column that is written from many things at once: its SQL type, and what it holds of each. */
type Columns<T> = readonly (readonly [name: string, type: string, of: (thing: T) => unknown])[];

/** An answer with its long texts, each made once. */
export const withTexts = (
  stored: StoredAnswer,
): { stored: StoredAnswer; texts: ReturnType<typeof answerTexts> } => ({
  stored,
  texts: answerTexts(stored),
});

export const answerColumns: Columns<ReturnType<typeof withTexts> & { readonly facet: number | null }> = [
  ["key", "text", ({ stored }) => stored.key],
  ["hub", "text", ({ stored }) => stored.hub],
  ["version", "integer", ({ stored }) => stored.version],
  ["hash", "text", ({ stored }) => stored.hash],
  ["state", "text", ({ stored }) => stored.state],
  ["status", "text", ({ stored }) => stored.status],
  ["created_at", "bigint", ({ stored }) => stored.createdAt],
  ["answered_at", "bigint", ({ stored }) => stored.answeredAt],
  ["ended_at", "bigint", ({ stored }) => stored.endedAt ?? null],
  ["root", "boolean", ({ stored }) => stored.root],
  ["answer", "text", ({ texts }) => texts.answer],
  ["request", "text", ({ texts }) => texts.request],
  ["checksum", "bigint", ({ texts }) => texts.checksum],
  ["first_seq", "bigint", ({ stored }) => stored.firstSeq],
  ["last_seq", "bigint", ({ stored }) => stored.lastSeq],
  ["reply_to", "text", ({ stored }) => stored.replyTo ?? null],
  ["data", "text", ({ texts }) => texts.data],
  ["facet", "integer", ({ facet }) => facet],
  ["labels", "text", ({ stored }) => labelsText(stored)],
];

export const runColumns: Columns<{
  readonly run: StoredRun;
  readonly facet: number | null;
  readonly snapshot: string;
}> = [
  ["key", "text", ({ run }) => run.key],
  ["hub", "text", ({ run }) => run.hub],
  ["version", "integer", ({ run }) => run.version],
  ["status", "text", ({ run }) => run.status],
  ["state", "text", ({ run }) => run.state],
  ["activity", "text", ({ run }) => run.activity ?? null],
  ["created_at", "bigint", ({ run }) => run.createdAt],
  ["answered_at", "bigint", ({ run }) => run.answeredAt ?? null],
  ["hot", "boolean", ({ run }) => run.hot],
  ["due", "bigint", ({ run }) => run.due ?? null],
  ["root", "boolean", ({ run }) => run.root],
  ["lane", "text", ({ run }) => laneText(run)],
  ["facet", "integer", ({ facet }) => facet],
  ["labels", "text", ({ run }) => labelsText(run)],
  ["incident", "text", ({ run }) => incidentText(run)],
  ["attempts", "integer", ({ run }) => run.attempts ?? null],
  ["snapshot", "text", ({ snapshot }) => snapshot],
];

export const columnsOf = <T>(columns: Columns<T>, things: readonly T[]): unknown[][] =>
  columns.map(([, , of]) => things.map(of));

const namesOf = <T>(columns: Columns<T>): string => columns.map(([name]) => name).join(", ");

/** `unnest` of a column each, from a parameter on. */
const unnestOf = <T>(columns: Columns<T>, first: number): string =>
  `unnest(${arraysOf(
    columns.map(([, type]) => type),
    first,
  )}) AS t (${namesOf(columns)})`;

const replaced = (names: readonly string[]): string =>
  names.map((name) => `${name} = excluded.${name}`).join(", ");

export type StatementName = keyof ReturnType<typeof statements>;

/**
 * The row with a key. Of equality, a plan that is made while the tables are empty takes any index that has the shard, and goes
 * through all of it for each key, for as long as the plan is kept; only one index has the keys in their order.
 */
const withKey = (columns: string, table: string, key: string): string =>
  `(SELECT ${columns} FROM ${table} WHERE shard = $1 AND key BETWEEN ${key} AND ${key} ORDER BY key LIMIT 1)`;

/**
 * A run that a request has begun: the row of one that lives, or of the answer of one that has ended. Such keys begin with that of the
 * request and '/', which '0' follows. As above, the order of the keys makes the plan use the index on them.
 */
const begunRow = (table: "run" | "request", root: string, but = ""): string =>
  `(SELECT key FROM ${table} AS begun WHERE shard = $1 AND key > ${root} || '/' AND key < ${root} || '0' ${but}
    ORDER BY key LIMIT 1)`;

/** The parameter of a commit that its answers begin with. */
const firstAnswer = 14;

/** The wall clock of the server. */
const serverMs = "floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS server_ms";

export function statements(journal: string) {
  // One statement is one round trip and one transaction: whatever the client dies of, it holds no lock afterwards.
  const fence = `
    WITH fence AS (
      UPDATE shard SET engine_time = $4, seq = $5, log = coalesce($8, log), position = coalesce($9, position),
        published = coalesce($10, published)
      WHERE id = $1 AND epoch = $2 AND owner = $3 AND seq = $5 - 1 AND lost IS NULL RETURNING checkpoint
    ), record AS (
      INSERT INTO ${journal} (era, seq, record, runs) SELECT $6, $5, $7, $13::bytea FROM fence
    ), commands AS (
      INSERT INTO audit (shard, at, seq, entries, indexed) SELECT $1, $4, $5, $11::text, true FROM fence WHERE $11::text IS NOT NULL
    ), terms AS (
      INSERT INTO audit_term (shard, term, at, seq) SELECT $1, said.term, $4, $5 FROM fence, unnest($12::bigint[]) AS said (term)
    )`;
  const answers = `${fence}, answered AS (
      INSERT INTO request (shard, ${namesOf(answerColumns)}, checkpoint)
      SELECT $1, t.*, fence.checkpoint FROM fence, ${unnestOf(answerColumns, firstAnswer)}
      ON CONFLICT (shard, key) DO UPDATE SET
        ${replaced(["state", "status", "version", "ended_at", "first_seq", "last_seq", "checkpoint", "data", "facet"])}
    ), cells AS (${changeCells(firstAnswer + answerColumns.length, "fence, ")})`;
  const afterCells = firstAnswer + answerColumns.length + cellTypes.length;
  return {
    peek: `SELECT *, ${serverMs} FROM shard WHERE id = $1`,
    shard: "SELECT epoch, owner, seq, lost FROM shard WHERE id = $1",
    size: `SELECT coalesce(sum(bytes) FILTER (WHERE relname ~ $1), 0) AS own,
        coalesce(sum(bytes) FILTER (WHERE relname !~ $2), 0) AS shared
      FROM (SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')) AS sizes`,
    probe: `SELECT current_setting('server_encoding') AS encoding, ${serverMs}`,
    claim: `UPDATE shard SET epoch = epoch + 1, owner = $2 WHERE id = $1 AND epoch = $3 AND lost IS NULL
      RETURNING *, ${serverMs}`,
    markLost: `UPDATE shard SET lost = seen.seq FROM unnest($1::integer[], $2::bigint[]) AS seen (id, seq)
      WHERE shard.id = seen.id AND shard.seq < seen.seq RETURNING shard.id`,
    commit: `${fence} SELECT 1 FROM fence`,
    commitAnswers: `${answers} SELECT 1 FROM fence`,
    commitLabelled: `${answers}, labelled_rows AS (${addLabelled(afterCells, "fence, ")}
      ), label_cells AS (${changeLabelCells(afterCells + labelledCount, "fence, ")})
      SELECT 1 FROM fence`,
    former: `SELECT live.* FROM unnest($2::text[]) AS asked (key),
      LATERAL ${withKey("key, facet, created_at, labels, incident", "run", "asked.key")} AS live`,
    cells: changeCells(2),
    dropCells,
    labelled: addLabelled(2),
    dropLabelled,
    labelCells: changeLabelCells(2),
    dropLabelCells,
    runs: `INSERT INTO run (shard, ${namesOf(runColumns)}) SELECT $1, t.* FROM ${unnestOf(runColumns, 2)}
      ON CONFLICT (shard, key) DO UPDATE SET
        ${replaced(runColumns.map(([name]) => name).filter((name) => name !== "key"))}`,
    ended: `DELETE FROM run WHERE ctid = ANY (ARRAY(
        SELECT live.ctid FROM unnest($2::text[]) AS gone (key), LATERAL ${withKey("ctid", "run", "gone.key")} AS live))
      RETURNING key, facet, created_at, labels, incident`,
    histories: `INSERT INTO history (shard, key, last_at, count, state, events)
      SELECT $1, t.key, t.last_at, t.count, t.state, t.events
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[]) WITH ORDINALITY
        AS t (key, last_at, count, state, events, place) ORDER BY place`,
    audit: `SELECT at, seq, entries FROM audit WHERE shard = $1 AND (at, seq) < ($2, $3)
      ORDER BY at DESC, seq DESC LIMIT $4`,
    // With those of earlier versions, which may have anything.
    auditAbout: `SELECT * FROM (
        (SELECT said.at, said.seq, batch.entries FROM (
            SELECT at, seq FROM audit_term WHERE shard = $1 AND term = $5 AND (at, seq) < ($2, $3) ORDER BY at DESC, seq DESC LIMIT $4
          ) AS said, LATERAL (SELECT entries FROM audit WHERE shard = $1 AND at = said.at AND seq = said.seq) AS batch)
        UNION ALL
        (SELECT at, seq, entries FROM audit WHERE shard = $1 AND NOT indexed AND (at, seq) < ($2, $3)
          ORDER BY at DESC, seq DESC LIMIT $4)
      ) AS found ORDER BY at DESC, seq DESC LIMIT $4`,
    purgeAudit: `DELETE FROM audit WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM audit WHERE shard = $1 AND at < $4
          AND EXISTS (SELECT 1 FROM shard WHERE id = $1 AND epoch = $2 AND owner = $3)
        ORDER BY at, seq LIMIT $5))
      RETURNING at, seq, entries`,
    purgeTerms: `DELETE FROM audit_term USING unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS gone (term, at, seq)
      WHERE shard = $1 AND audit_term.term = gone.term AND audit_term.at = gone.at AND audit_term.seq = gone.seq`,
    downtimes: "UPDATE shard SET downtimes = $2 WHERE id = $1",
    harms: "UPDATE shard SET harms = $2 WHERE id = $1",
    stopped: "UPDATE shard SET stopped = epoch WHERE id = $1",
    checkpointed: "UPDATE shard SET checkpoint = greatest(checkpoint, $2) WHERE id = $1",
    // A page has so many bytes at most, or one row: runs and batches may be large.
    journal: `SELECT seq, record, runs FROM (
        SELECT seq, record, runs, sum(octet_length(record)) OVER before AS bytes FROM ${journal} WHERE seq > $1
        WINDOW before AS (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) ORDER BY seq LIMIT 32
      ) AS page WHERE coalesce(bytes, 0) < ${maxPageBytes} ORDER BY seq`,
    // Walks the index from one (hub, version) to the next, however many runs have it.
    hubVersions: `WITH RECURSIVE known AS (
        (SELECT hub, version FROM run WHERE shard = $1 ORDER BY hub, version LIMIT 1)
        UNION ALL
        SELECT next.hub, next.version FROM known, LATERAL (
          SELECT hub, version FROM run WHERE shard = $1 AND (hub, version) > (known.hub, known.version)
          ORDER BY hub, version LIMIT 1) AS next
      )
      SELECT hub, version FROM known WHERE EXISTS (
        SELECT 1 FROM run WHERE shard = $1 AND run.hub = known.hub AND run.version = known.version
          AND key <> ALL ($2::text[]))`,
    hotRuns: `SELECT * FROM (
        SELECT *, sum(octet_length(snapshot)) OVER before AS bytes FROM run WHERE shard = $1 AND hot AND key > $2
        WINDOW before AS (ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) ORDER BY key LIMIT 1000
      ) AS page WHERE coalesce(bytes, 0) < ${maxPageBytes} ORDER BY key`,
    laneRuns: `SELECT key, hub, status, lane FROM run WHERE shard = $1 AND lane IS NOT NULL AND key > $2
      ORDER BY key LIMIT 1000`,
    dueRuns: `SELECT * FROM run WHERE shard = $1 AND NOT hot AND due < $4 AND (due, key) > ($2, $3)
      ORDER BY due, key LIMIT $5`,
    nextDue: "SELECT due FROM run WHERE shard = $1 AND NOT hot AND due >= $2 ORDER BY due LIMIT 1",
    // One snapshot: a run that ends meanwhile is seen by its row or by its answer.
    find: `SELECT to_json(live) AS run, to_json(done) AS answered
      FROM unnest($2::text[]) WITH ORDINALITY AS asked (key, place)
      LEFT JOIN LATERAL ${withKey("*", "run", "asked.key")} AS live ON true
      LEFT JOIN LATERAL ${withKey("*", "request", "asked.key")} AS done ON true
      ORDER BY place`,
    // A page sees one snapshot, in which the parts of the history come before the journal: what a run did moves from there to here
    // until it ends, and nothing moves afterwards.
    history: `SELECT part, place, events, record, archived, last_at, state FROM (
        SELECT *, sum(coalesce(octet_length(events), octet_length(record))) OVER before AS bytes FROM (
          (SELECT 0 AS part, 0::bigint AS place, NULL AS events, NULL::bytea AS record, events AS archived, last_at, state
            FROM archived WHERE shard = $1 AND key = $2)
          UNION ALL
          (SELECT 1, id, events, NULL, NULL, NULL, NULL FROM history
            WHERE shard = $1 AND key = $2 AND id > $3 ORDER BY id LIMIT 256)
          UNION ALL
          (SELECT 2, seq, NULL, record, NULL, NULL, NULL FROM ${withKey("*", "request", "$2")} AS done
            JOIN ${journal} ON seq BETWEEN first_seq AND last_seq AND seq > $4
            WHERE ended_at IS NOT NULL ORDER BY seq LIMIT 256)
        ) AS stored
        WINDOW before AS (ORDER BY part, place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ORDER BY part, place LIMIT 257
      ) AS page WHERE coalesce(bytes, 0) < ${maxPageBytes} ORDER BY part, place`,
    purge: `WITH old AS (
        DELETE FROM request WHERE ctid = ANY (ARRAY(
          SELECT ctid FROM request WHERE shard = $1 AND ended_at < $4
            AND EXISTS (SELECT 1 FROM shard WHERE id = $1 AND epoch = $2 AND owner = $3)
            -- Only the key of a request has no '/' behind anything else.
            AND NOT (key !~ '[^/]/' AND (key = ANY ($6::text[]) OR ${begunRow("request", "request.key")} IS NOT NULL
              OR ${begunRow("run", "request.key", "AND key <> ALL ($7::text[])")} IS NOT NULL))
          ORDER BY ended_at LIMIT $5))
        RETURNING key, facet, created_at, labels
      ), parts AS (
        DELETE FROM history USING old WHERE shard = $1 AND history.key = old.key
      ), gone AS (
        DELETE FROM archived USING old WHERE shard = $1 AND archived.key = old.key
      ) SELECT * FROM old`,
    // Parts of ended runs stay, and are not looked at again. One statement: a reader sees what is archived or its number.
    archive: `WITH old AS (
        SELECT history.ctid AS row, key, id, last_at, count, state,
          ${withKey("ended_at", "request", "history.key")} IS NOT NULL AS ended
        FROM history WHERE shard = $1 AND last_at > 0 AND last_at < $4
          AND EXISTS (SELECT 1 FROM shard WHERE id = $1 AND epoch = $2 AND owner = $3)
        ORDER BY last_at, id LIMIT $5
      ), kept AS (
        UPDATE history SET last_at = NULL FROM old WHERE history.ctid = old.row AND old.ended
      ), gone AS (
        DELETE FROM history USING old WHERE history.ctid = old.row AND NOT old.ended
      ), counted AS (
        INSERT INTO archived (shard, key, events, last_at, state)
        SELECT $1, key, sum(count), max(last_at), (array_agg(state ORDER BY id DESC) FILTER (WHERE state IS NOT NULL))[1]
        FROM old WHERE NOT ended GROUP BY key
        ON CONFLICT (shard, key) DO UPDATE SET events = archived.events + excluded.events,
          last_at = excluded.last_at, state = coalesce(excluded.state, archived.state)
      ) SELECT count(*) FROM old`,
    // Parts that an earlier version has written, which did not say when their last event happened.
    undated: "SELECT id, key, events FROM history WHERE shard = $1 AND last_at = 0 ORDER BY id LIMIT $2",
    dated: `UPDATE history SET last_at = t.last_at, count = t.count, state = t.state
      FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]) AS t (key, id, last_at, count, state)
      WHERE shard = $1 AND history.key = t.key AND history.id = t.id`,
    // Runs end in the order of their batches: what the first that ended needs is enough for all.
    needed: `SELECT owner, epoch, engine_time, coalesce(
        (SELECT min(checkpoint) FROM request WHERE shard = $1
          AND ended_at = (SELECT min(ended_at) FROM request WHERE shard = $1)),
        checkpoint) AS needed FROM shard WHERE id = $1`,
  };
}
