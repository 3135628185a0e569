import type { SQLInputValue } from "node:sqlite";
import type { RequestFilter, RequestStatus } from "../ports/ports.ts";

/** One of the statements that together list requests. Each gives its newest rows in order. */
export interface ListStatement {
  readonly sql: string;
  readonly values: readonly SQLInputValue[];
}

/** Rows of one table that an index holds in the order of lists, and nothing else. A second index has them hub by hub. */
interface Part {
  readonly table: "run" | "request";
  readonly index: string;
  readonly where: string;
  /** There is only the second index. Each answer is written to each index, so that one fewer is worth several walks. */
  readonly isByHub?: true;
}

const part = (table: Part["table"], index: string, where: string): Part => ({ table, index, where });

const running = part("run", "run_listed", "root = 1 AND status = 'running'");
const pending = part("run", "run_listed", "root = 1 AND status = 'pending'");
const parked = part("run", "run_listed", "root = 1 AND status = 'incident'");
// A request whose run goes on after its answer is listed by the row of its run.
const answered: Part = {
  ...part("request", "request_listed", "root = 1 AND ended_at IS NOT NULL"),
  isByHub: true,
};

const partsOf: Readonly<Record<RequestStatus | "any", readonly Part[]>> = {
  any: [pending, running, parked, answered],
  pending: [pending],
  running: [running],
  // Those of calls of hubs and of tells, too.
  incident: [parked, part("run", "run_incident", "root = 0 AND status = 'incident'")],
  ended: [{ ...answered, where: `${answered.where} AND status = 'ended'` }],
  lost: [part("request", "request_lost", "status = 'lost' AND ended_at IS NOT NULL")],
};

/** The next hub, in their order, that has answered requests. */
export const nextAnsweredHub = `SELECT hub FROM request INDEXED BY request_listed_hub
  WHERE ${answered.where} AND hub > ? ORDER BY hub LIMIT 1`;

/**
 * The statements of a list. Each walks an index that holds the rows of the list in their order, and looks at no others: a list
 * costs as much as its page, however many requests there are. The index is named, so that a wrong one is an error.
 * @param answeredHubs All hubs that have answered requests.
 */
export function listStatements(
  filter: RequestFilter,
  answeredHubs: () => readonly string[],
): ListStatement[] {
  const { hub, status } = filter;
  return partsOf[status ?? "any"].flatMap((one) =>
    one.isByHub === true && hub === undefined
      ? answeredHubs().map((each) => statementOf(one, { ...filter, hub: each }))
      : [statementOf(one, filter)],
  );
}

function statementOf({ table, index, where }: Part, { hub, before, limit }: RequestFilter): ListStatement {
  const values: SQLInputValue[] = [];
  let more = "";
  if (hub !== undefined) {
    more += " AND hub = ?";
    values.push(hub);
  }
  if (before !== undefined) {
    more += " AND (created_at, key) < (?, ?)";
    values.push(before.createdAt, before.key);
  }
  const suffix = hub === undefined ? "" : "_hub";
  return {
    sql: `SELECT key, hub, version, status, state, created_at, answered_at, ${
      table === "run" ? "lane" : "NULL AS lane"
    } FROM ${table} INDEXED BY ${index}${suffix}
      WHERE ${where}${more} ORDER BY created_at DESC, key DESC LIMIT ?`,
    values: [...values, limit],
  };
}
