import type { Run } from "@wheelwork/core/kernel";
import { isRoot } from "../ports/keys.ts";
import type { Clock, RequestFilter, RequestRow, Store } from "../ports/ports.ts";
import { isBefore } from "./views.ts";

/** What has happened to the runs of a shard since its rows were written. */
export interface Overlay {
  /** The runs that have moved on, as they are now. */
  runs(): Iterable<Run>;
  /** Whether the row of a live run is as its run is now. */
  isCurrent(row: RequestRow): boolean;
  /** The run of a row that is not current, if it lives. It may have moved on while the store was asked. */
  find(key: string): Run | undefined;
}

/** Rows that are read at once at most, so that a list never holds the loop for long. */
const maxRows = 1000;

/**
 * The newest requests of a shard: its stored rows, overlaid with the runs that have moved on since. Rows that have moved on
 * take places in what the store gives. So the store is asked for more, page by page, until nothing that it has not given can
 * be among the newest.
 *
 * A store may hold two rows of one request: that of its run, which stays until the next checkpoint, and that of its end. The
 * end is final, and counts.
 */
export async function listOverlaid(
  store: Store,
  filter: RequestFilter,
  clock: Clock,
  overlay: Overlay,
): Promise<readonly RequestRow[]> {
  const moved = new Map<string, RequestRow>();
  const rows = new Map<string, RequestRow>();
  const add = (run: Run): void => {
    if (isListed(run, filter)) moved.set(run.key, run);
  };
  for (const run of overlay.runs()) add(run);
  let page = filter;
  // A page that begins with the two rows of one request has another one.
  for (let limit = Math.max(filter.limit, 3); ; limit = Math.min(2 * limit, maxRows)) {
    const stored = await store.list({ ...page, limit });
    for (const row of stored) {
      // It may have ended while the store was asked.
      if (row.status === "ended" || row.status === "lost") moved.delete(row.key);
      else if (rows.has(row.key) || moved.has(row.key)) continue;
      else if (!overlay.isCurrent(row)) {
        const run = overlay.find(row.key);
        if (run !== undefined) add(run);
        continue;
      }
      rows.set(row.key, row);
    }
    const listed = [...moved.values(), ...rows.values()];
    const last = stored.at(-1);
    if (last === undefined || stored.length < limit) return listed;
    if (listed.filter((row) => !isBefore(row, last)).length >= filter.limit) return listed;
    // The last row comes again, with the other one of its request. No key has a blank, so that this place is behind it alone.
    page = { ...filter, before: { createdAt: last.createdAt, key: `${last.key} ` } };
    await new Promise<void>((resolve) => clock.soon(resolve));
  }
}

/** Of incidents, those of calls of hubs and of tells are listed, too: somebody must look after them. */
function isListed(run: Run, { status, hub, before }: RequestFilter): boolean {
  return (
    (isRoot(run) || status === "incident") &&
    (status === undefined || run.status === status) &&
    (hub === undefined || run.hub === hub) &&
    (before === undefined || isBefore(run, before))
  );
}
