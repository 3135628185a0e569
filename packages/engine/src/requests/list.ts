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
  type StatusFilter,
} from "../ports/filter.ts";
import { nextTurn, readMs } from "../ports/clock.ts";
import type { Clock, PinnedStore, RequestRow, Store } from "../ports/ports.ts";
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
/** Runs that are looked at before somebody looks at the time. */
const lookedAtTogether = 100;
/** So often a count begins anew because something was committed meanwhile. */
const maxCounts = 5;
/** So often a list begins anew because a run ended meanwhile. */
const maxLists = 5;

const endStatuses: ReadonlySet<StatusFilter> = new Set(["ended", "result", "error", "timeout", "cancelled"]);

/**
 * Looks at all that has moved on, some of it in each turn of the loop.
 * @param ms A turn is over after so long, in milliseconds, if not before.
 */
async function lookAt(
  overlay: Overlay,
  clock: Clock,
  look: (moved: Moved) => void,
  ms = Number.POSITIVE_INFINITY,
): Promise<void> {
  let seen = 0;
  let until = clock.monotonicMs() + ms;
  for (const moved of overlay.moved()) {
    if (moved !== undefined) look(moved);
    seen++;
    if (seen < maxLookedAt && (seen % lookedAtTogether !== 0 || clock.monotonicMs() < until)) continue;
    await nextTurn(clock);
    seen = 0;
    until = clock.monotonicMs() + ms;
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
  for (let left = maxLists; ; left--) {
    const version = overlay.version();
    const listing = new Listing(list, overlay);
    await lookAt(overlay, clock, ({ run }) => listing.add(run), readMs);
    const pinned = store.pin?.();
    try {
      await listing.read(pinned ?? store, clock);
    } finally {
      pinned?.end();
    }
    if (left <= 1 || !listing.hasGone || overlay.version() === version) return listing.rows();
    await nextTurn(clock);
  }
}

/** One look at a list. */
class Listing {
  readonly #list: RequestList;
  readonly #overlay: Overlay;
  readonly #moved = new Map<string, Run>();
  readonly #stored = new Map<string, RequestRow>();
  /** Those whose row of a live run is out of date, and whose run is over. They have another row, if they ended before it was read. */
  readonly #gone = new Set<string>();

  constructor(list: RequestList, overlay: Overlay) {
    this.#list = list;
    this.#overlay = overlay;
  }

  rows(): RequestRow[] {
    return [...Array.from(this.#moved.values(), rowOf), ...this.#stored.values()];
  }

  /** Whether a request may be missing because its run ended while the store was asked. */
  get hasGone(): boolean {
    return mayHaveBoth(this.#list) && this.#gone.size > 0;
  }

  add(run: Run | undefined): void {
    const { limit, order } = this.#list;
    if (run === undefined || !isMeant(listedRow(run), this.#list) || !isListedAfter(run, this.#list)) return;
    this.#moved.set(run.key, run);
    // Only the first ones are needed. Those that are left out here come again with their rows, behind the part.
    if (this.#moved.size < 4 * limit + maxRows) return;
    const last = [...this.#moved.values()].toSorted((a, b) => compareInList(a, b, order)).slice(limit);
    for (const { key } of last) this.#moved.delete(key);
  }

  async read(store: Pick<Store, "list"> | PinnedStore, clock: Clock): Promise<void> {
    const { limit: wanted, order } = this.#list;
    let page = this.#list;
    // A page that begins with the two rows of one request has another one.
    for (let limit = Math.max(wanted, 3); ; limit = Math.min(2 * limit, maxRows)) {
      const stored = await store.list({ ...page, limit });
      for (const row of stored) this.#addStored(row);
      const last = stored.at(-1);
      if (last === undefined || stored.length < limit) return;
      // Its other row may come next.
      this.#gone.delete(last.key);
      if (this.rows().filter((row) => compareInList(row, last, order) <= 0).length >= wanted) return;
      // The last row comes again, with the other one of its request.
      page = { ...this.#list, after: { createdAt: last.createdAt, key: last.key, isIncluded: true } };
      await nextTurn(clock);
    }
  }

  #addStored(row: RequestRow): void {
    const { key, status } = row;
    if (status === "ended" || status === "lost") {
      // It may have ended while the store was asked.
      this.#moved.delete(key);
      this.#gone.delete(key);
    } else if (this.#stored.has(key) || this.#moved.has(key)) return;
    else if (!this.#overlay.isCurrent(row)) {
      const run = this.#overlay.find(key);
      if (run === undefined) this.#gone.add(key);
      return this.add(run);
    }
    this.#stored.set(key, row);
  }
}

/** Whether a list may have a request while its run goes on, and after its end, too. */
function mayHaveBoth({ state, status, attempts }: RequestList): boolean {
  if (state !== undefined || attempts !== undefined) return false;
  return status === undefined || (Array.isArray(status) && status.some((one) => endStatuses.has(one)));
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
    const pinned = store.pin?.();
    try {
      const given = (pinned ?? store).facets(filter);
      // What is pinned is of this moment, and so is what has happened since the rows were written: nobody waits in between.
      if (given instanceof Promise && pinned === undefined) await given;
      // It is awaited later: until then, nobody else is told if it fails.
      else if (given instanceof Promise) given.catch(() => {});
      const messageOf = (row: Pick<FacetRow, "incident">): string | undefined =>
        filter.byMessage === true ? row.incident?.message : undefined;
      // In as few turns as can be: what moves on between two of them makes the count begin anew.
      await lookAt(overlay, clock, ({ run, row }) => {
        if (row !== undefined && isOfFacet(row, row.facet, filter)) sums.add(row.facet, -1, messageOf(row));
        const now = run === undefined ? undefined : listedRow(run);
        const facet = now === undefined ? undefined : facetOf(now);
        if (now !== undefined && facet !== undefined && isOfFacet(now, facet, filter))
          sums.add(facet, 1, messageOf(now));
      });
      const isExact = overlay.version() === version;
      for (const { count, message, ...facet } of await given) sums.add(facet, count, message);
      if (left <= 1 || isExact) return sums.counts();
    } finally {
      pinned?.end();
    }
    await nextTurn(clock);
  }
}
