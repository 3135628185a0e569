import { claimsOf, isGone, isSameClaim, keyOf, type Claim, type FlowRecord } from "./claims.ts";
import { Books, type Content } from "./books.ts";
import { begun } from "./concerns.ts";
import type { Segment } from "./model.ts";
import type { BookMark } from "./store.ts";
import type { LinkProperties } from "./graph.ts";

/** How long the guard of a flow is kept after the flow is gone, in milliseconds: a week. */
export const rememberMs = 7 * 24 * 3_600_000;

/** The text of a record in a database. Names and descriptions may have any character: as JSON, they are stored by any database. */
export function textOf(record: FlowRecord): string {
  // What stands is in the plan already. It would be written twice.
  return JSON.stringify(record.planned === null ? record : { ...record, standing: undefined });
}

/** The record of a text. */
export function recordOfText(text: string): FlowRecord {
  const stored = JSON.parse(text) as FlowRecord;
  const { planned } = stored;
  // Records of earlier versions do not say all.
  const { concern = planned === null ? null : begun(null, stored.updatedAt, false) } = stored;
  const record = { ...stored, concern };
  if (planned === null) return record;
  return {
    ...record,
    planned: { ...planned, keep: planned.keep ?? false, isAutomatic: planned.isAutomatic ?? false },
    standing: planned.isCommitted ? planned.after : planned.before,
  };
}

/** When only the guard of a flow was left, in milliseconds since 1970; null: there is more. */
export const goneAtOf = (record: FlowRecord): number | null => (isGone(record) ? record.updatedAt : null);

/** All that a database has. */
export interface Dump extends Content {
  readonly links: readonly LinkRow[];
  readonly claims: readonly Claim[];
}

/** A link as a row has it. */
interface LinkRow {
  readonly key: string;
  readonly segment: Segment;
  readonly properties: LinkProperties;
  readonly used: number;
}

/** What does not fit together. See `FlowStore.audit`. */
export function auditOf({ counters, links, flows, claims }: Dump): string[] {
  const found: string[] = [];
  const expected = new Map<string, Claim>();
  for (const record of flows) {
    for (const [key, claim] of claimsOf(record)) {
      if (expected.has(key)) found.push(`${key}: two flows have it, ${record.flowId} and another one`);
      expected.set(key, claim);
      if (claim.kind === "path" && claim.pathId >= counters.nextPath)
        found.push(`${key}: its id can be given again`);
    }
  }
  const sums = new Map<string, number>();
  for (const claim of claims) {
    const key = keyOf(claim);
    const wanted = expected.get(key);
    if (wanted === undefined) found.push(`${key}: it has no owner`);
    else if (!isSameClaim(wanted, claim))
      found.push(`${key}: it is ${JSON.stringify(claim)} instead of ${JSON.stringify(wanted)}`);
    expected.delete(key);
    if (claim.kind === "share") sums.set(claim.link, (sums.get(claim.link) ?? 0) + claim.kbps);
  }
  for (const key of expected.keys()) found.push(`${key}: a flow has it, and it is not noted`);
  for (const { key, properties, used } of links) {
    const { bandwidth } = properties;
    const sum = sums.get(key) ?? 0;
    if (used !== sum) found.push(`link ${key}: ${used} kbit/s are used, and flows have ${sum}`);
    if (used > bandwidth) found.push(`link ${key}: ${used} kbit/s are used of ${bandwidth}`);
  }
  return found;
}

/** A row as a database gives it. */
export type Row = Readonly<Record<string, unknown>>;

/** The link of a row of the table `link`. */
export const linkOf = (row: Row): LinkRow => ({
  key: String(row["link_key"]),
  segment: {
    from: String(row["from_switch"]),
    fromPort: Number(row["from_port"]),
    to: String(row["to_switch"]),
    toPort: Number(row["to_port"]),
  },
  properties: {
    isUp: Boolean(row["is_up"]),
    cost: Number(row["cost"]),
    latencyMs: Number(row["latency_ms"]),
    isLatencySet: Boolean(row["is_latency_set"]),
    bandwidth: Number(row["bandwidth"]),
  },
  used: Number(row["used"]),
});

/** The mark of a row of the table `book`. */
export const bookMarkOf = (row: Row): BookMark => ({
  name: String(row["name"]),
  generation: Number(row["generation"]),
});

/** The claim of a row of the table of its kind. */
export function claimOf(kind: Claim["kind"], row: Row): Claim {
  const [switchId, flowId, pathId] = [
    String(row["switch_id"]),
    String(row["flow_id"]),
    Number(row["path_id"]),
  ];
  switch (kind) {
    case "path":
      return { kind, pathId, flowId };
    case "endpoint":
      return { kind, switchId, port: Number(row["port"]), vlan: Number(row["vlan"]), flowId };
    case "vlan":
      return { kind, switchId, vlan: Number(row["vlan"]), pathId };
    case "meter":
      return { kind, switchId, meter: Number(row["meter"]), pathId };
    case "share":
      return { kind, link: String(row["link_key"]), flowId, kbps: Number(row["kbps"]) };
  }
}

/** The books of what a database has. */
export function booksOf(content: Content): Books {
  const books = new Books();
  books.update(content);
  return books;
}
