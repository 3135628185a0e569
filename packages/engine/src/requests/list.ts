import type { Run } from "@wheelwork/core/kernel";
import {
  compareInList,
  facetOf,
  FacetSums,
  isListedAfter,
  isMeant,
  isOfFacet,
  type FacetCount,
  type FacetRow,
  type StoreFilter,
  type RequestList,
} from "../ports/filter.ts";
import { nextTurn } from "../ports/clock.ts";
import type { Clock, RequestRow, Store } from "../ports/ports.ts";
import { listedRow, type ListedAs } from "../shard/listed.ts";

/** A run that has moved on since its row was written. */
interface Moved {
  /** The run as it is now; undefined: it has ended, and another row tells of it. */
  readonly run: Run | undefined;
  /** What its row says; undefined: it has none, or no list shows that. */
  readonly row: ListedAs | undefined;
}

/** What has happened to the runs of a shard since its rows were written. */
export interface Overlay {
  /** The runs that have moved on. */
  moved(): Iterable<Moved | undefined>;
  /** Whether the row of a live run is as its run is now. */
  isCurrent(row: RequestRow): boolean;
  /** The run of a row that is not current, if it lives. It may have moved on while the store was asked. */
  find(key: string): Run | undefined;
  /** Changes whenever something is committed. */
  version(): unknown;
}

/** Rows that are read at once at most, so that a list never holds the loop for long. */
const maxRows = 1000;
/** Runs that are looked at in one turn of the loop: there may be very many. */
const maxLookedAt = 10_000;
/** So often a count begins anew because something was committed meanwhile. */
const maxCounts = 5;

/** Looks at all that has moved on, some of it in each turn of the loop. */
async function lookAt(overlay: Overlay, clock: Clock, look: (moved: Moved) => void): Promise<void> {
  let left = maxLookedAt;
  for (const moved of overlay.moved()) {
    if (moved !== undefined) look(moved);
    if (--left > 0) continue;
    left = maxLookedAt;
    await nextTurn(clock);
  }
}

/**
 * A part of the list of a shard: its stored rows, overlaid with the runs that have moved on since. Rows that have moved on
 * take places in what the store gives. So the store is asked for more, page by page, until nothing that it has not given can
 * be in this part.
 *
 * A store may hold two rows of one request: that of its run, which stays until the next checkpoint, and that of its end. The
 * end is final, and counts.
 */
export async function listOverlaid(
  store: Store,
  list: RequestList,
  clock: Clock,
  overlay: Overlay,
): Promise<readonly RequestRow[]> {
  const { limit: wanted, order } = list;
  const moved = new Map<string, Run>();
  const rows = new Map<string, RequestRow>();
  const add = (run: Run | undefined): void => {
    if (run === undefined || !isMeant(listedRow(run), list) || !isListedAfter(run, list)) return;
    moved.set(run.key, run);
    // Only the first ones are needed. Those that are left out here come again with their rows, behind the part.
    if (moved.size < 4 * wanted + maxRows) return;
    const last = [...moved.values()].toSorted((a, b) => compareInList(a, b, order)).slice(wanted);
    for (const { key } of last) moved.delete(key);
  };
  await lookAt(overlay, clock, ({ run }) => add(run));
  let page = list;
  // A page that begins with the two rows of one request has another one.
  for (let limit = Math.max(wanted, 3); ; limit = Math.min(2 * limit, maxRows)) {
    const stored = await store.list({ ...page, limit });
    for (const row of stored) {
      // It may have ended while the store was asked.
      if (row.status === "ended" || row.status === "lost") moved.delete(row.key);
      else if (rows.has(row.key) || moved.has(row.key)) continue;
      else if (!overlay.isCurrent(row)) {
        add(overlay.find(row.key));
        continue;
      }
      rows.set(row.key, row);
    }
    const listed = [...Array.from(moved.values(), rowOf), ...rows.values()];
    const last = stored.at(-1);
    if (last === undefined || stored.length < limit) return listed;
    if (listed.filter((row) => compareInList(row, last, order) <= 0).length >= wanted) return listed;
    // The last row comes again, with the other one of its request.
    page = { ...list, after: { createdAt: last.createdAt, key: last.key, isIncluded: true } };
    await nextTurn(clock);
  }
}

/** A run as a line of a list. */
function rowOf(run: Run): RequestRow {
  const { key, hub, version, status, state, createdAt, answeredAt, lane, origin } = run;
  const { activity, outcome, code } = facetOf(listedRow(run)) ?? {};
  return {
    key,
    hub,
    version,
    status,
    state,
    createdAt,
    answeredAt,
    ...(activity === undefined ? {} : { activity }),
    ...(outcome === undefined ? {} : { outcome }),
    ...(code === undefined ? {} : { code }),
    ...(lane === undefined ? {} : { lane }),
    ...(origin.labels === undefined ? {} : { labels: origin.labels }),
  };
}

/**
 * How many requests of a shard a filter means, by facet: what the store counts, without the rows of those that have moved on since, and
 * with what they are now. The store is asked again if something is committed meanwhile, some times at most.
 */
export async function countOverlaid(
  store: Store,
  filter: StoreFilter,
  clock: Clock,
  overlay: Overlay,
): Promise<readonly FacetCount[]> {
  for (let left = maxCounts; ; left--) {
    const sums = new FacetSums();
    const version = overlay.version();
    const given = store.facets(filter);
    const counts = given instanceof Promise ? await given : given;
    const messageOf = (row: Pick<FacetRow, "incident">): string | undefined =>
      filter.byMessage === true ? row.incident?.message : undefined;
    for (const { count, message, ...facet } of counts) sums.add(facet, count, message);
    await lookAt(overlay, clock, ({ run, row }) => {
      if (row !== undefined && isOfFacet(row, row.facet, filter)) sums.add(row.facet, -1, messageOf(row));
      const now = run === undefined ? undefined : listedRow(run);
      const facet = now === undefined ? undefined : facetOf(now);
      if (now !== undefined && facet !== undefined && isOfFacet(now, facet, filter))
        sums.add(facet, 1, messageOf(now));
    });
    if (left <= 1 || overlay.version() === version) return sums.counts();
    await nextTurn(clock);
  }
}
