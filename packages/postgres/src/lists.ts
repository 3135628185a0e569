import type { RequestFilter } from "@wheelwork/engine";

type Status = NonNullable<RequestFilter["status"]>;

/** Rows of one table that one index holds in the order of lists, and nothing else; a second one has them hub by hub. */
const running = "run WHERE root AND status = 'running'";
const pending = "run WHERE root AND status = 'pending'";
const parked = "run WHERE root AND status = 'incident'";
// A request whose run goes on after its answer is listed by the row of its run.
const answered = "request WHERE root AND ended_at IS NOT NULL";

const partsOf: Readonly<Record<Status | "any", readonly string[]>> = {
  any: [pending, running, parked, answered],
  pending: [pending],
  running: [running],
  // Those of calls of hubs and of tells, too.
  incident: [parked, "run WHERE NOT root AND status = 'incident'"],
  ended: [`${answered} AND status = 'ended'`],
  lost: ["request WHERE status = 'lost' AND ended_at IS NOT NULL"],
};

/** Only runs that live have a lane. */
const laneOf = (part: string): string => (part.startsWith("run ") ? "lane" : "NULL::text");

/**
 * The statement of a list. It walks an index for each of its parts, and costs as much as its page, however many requests there
 * are. It has no name: its plan is made for its values each time, not kept from a time when the tables were empty.
 */
export function listStatement(
  shard: number,
  { status, hub, before, limit }: RequestFilter,
): { readonly text: string; readonly values: unknown[] } {
  const values: unknown[] = [];
  const bind = (value: unknown): string => `$${values.push(value)}`;
  const order = `ORDER BY created_at DESC, key DESC LIMIT ${bind(limit)}`;
  let where = `AND shard = ${bind(shard)}`;
  if (hub !== undefined) where += ` AND hub = ${bind(hub)}`;
  if (before !== undefined)
    where += ` AND (created_at, key) < (${bind(before.createdAt)}, ${bind(before.key)})`;
  const parts = partsOf[status ?? "any"].map(
    (part) =>
      `(SELECT key, hub, version, status, state, created_at, answered_at, ${laneOf(part)} AS lane FROM ${part} ${where} ${order})`,
  );
  return { text: `SELECT * FROM (${parts.join(" UNION ALL ")}) AS listed ${order}`, values };
}
