import { isSecondBest, mainOf, spareOf, wantedKbps, type Books } from "./books.ts";
import type { FlowRecord } from "./claims.ts";
import { handedOut } from "./concerns.ts";
import { freeFor, type Link } from "./graph.ts";
import type { FlowSpec, Layout } from "./model.ts";
import type { Look } from "./looks.ts";
import { inOrder } from "./network-events.ts";
import { decide, isRefusal } from "./planning.ts";
import type { Pace } from "./store.ts";

// Flows that are not UP wait for what others have: bandwidth, VLANs, meters. When others give it back, nobody may be there to use it, or a
// thousand. So a look is rare (one per pause, however often something is given back), cheap (who has no way at all is not planned for), and
// exact: a flow is handed out only if a plan would make it better, beside the plans of those before it.

/**
 * For how many flows plans are made in one look, at least, and how many links all plans of a look may visit: everybody waits for it. A plan may
 * visit each link of the network, and takes some milliseconds then.
 */
const [fewestPlans, mostVisits] = [20, 80_000];

/** The longest time that a flow is left alone, for which plans were made in vain, in milliseconds. */
const longestPauseMs = 30_000;

/** How long after somebody was told to look the next one is told, in milliseconds. A look that comes ends that. */
const promiseMs = 10_000;

/** A look that has not looked at all of them promises the next one. */
const thisLook = "this look";

/** Whether some time is over; also if the clock has been set back meanwhile. */
const isOver = (since: number, pauseMs: number, now: number): boolean =>
  now < since || now - since >= pauseMs;

/** Whether nothing but what others have keeps a flow from what it should be, as far as is known without a plan. */
function waits(books: Books, flowId: string): boolean {
  const record = books.find(flowId);
  if (record === undefined || record.standing === null || record.planned !== null) return false;
  // Otherwise somebody sees to it already.
  return record.concern === null && !record.standing.spec.pinned;
}

const isNews = (books: Books, flowId: string): boolean =>
  books.looks.byFlow.get(flowId)?.freed !== books.freed && waits(books, flowId);

/** See `FlowStore.promiseLook`. */
export function promiseLook(books: Books, by: string, now: number): boolean {
  const { looks } = books;
  const { promised } = looks;
  if (promised !== undefined && promised.by !== by && !isOver(promised.at, promiseMs, now)) return false;
  for (const flowId of books.notUp()) {
    if (!isNews(books, flowId)) continue;
    looks.promised = { by, at: now };
    return true;
  }
  return false;
}

/** Takes the flows that what was given back makes better. See `FlowStore.takeDue`. */
export function takeFreed(
  books: Books,
  pace: Pace,
  now: number,
): { readonly flows: readonly string[]; readonly nextInMs: number | null } {
  const { looks, freed } = books;
  const news = [...books.notUp()].filter((flowId) => isNews(books, flowId));
  if (news.length === 0) return { flows: [], nextInMs: null };
  if (!isOver(looks.lastAt, pace.firstMs, now)) {
    looks.promised = { by: thisLook, at: now };
    return { flows: [], nextInMs: looks.lastAt + pace.firstMs - now };
  }
  looks.lastAt = now;
  const pauseOf = ({ vain }: Look): number =>
    Math.min(pace.firstMs * 2 ** Math.min(vain, 20), pace.mostMs, longestPauseMs);
  const rests = (look: Look | undefined): look is Look =>
    look !== undefined && look.vain > 0 && !isOver(look.at, pauseOf(look), now);
  const seen = (flowId: string, vain: number): void => {
    looks.byFlow.set(flowId, { freed, vain, at: now });
  };

  let nextInMs = Number.POSITIVE_INFINITY;
  const connected = connectedOf(books, news);
  const open: string[] = [];
  for (const flowId of news) {
    const look = looks.byFlow.get(flowId);
    if (!connected.has(flowId)) seen(flowId, 0);
    else if (rests(look)) nextInMs = Math.min(nextInMs, look.at + pauseOf(look) - now);
    else open.push(flowId);
  }
  const ordered = inOrder(books, open);
  const plans = Math.max(fewestPlans, Math.floor(mostVisits / Math.max(1, books.graph.links.size)));
  const asked = ordered.slice(0, Math.min(plans, pace.limit));
  if (asked.length < ordered.length) nextInMs = Math.min(nextInMs, pace.firstMs);
  const flows = chosen(books, asked);
  const isChosen = new Set(flows);
  for (const flowId of asked)
    seen(flowId, isChosen.has(flowId) ? 0 : (looks.byFlow.get(flowId)?.vain ?? 0) + 1);
  // Whoever is handed out is looked after from now on like all that are due.
  for (const flowId of flows) {
    const record = books.find(flowId) as FlowRecord;
    books.put({ ...record, concern: { ...handedOut(record, now), isOwed: true } });
  }
  const known = new Set(books.notUp());
  for (const flowId of looks.byFlow.keys()) if (!known.has(flowId)) looks.byFlow.delete(flowId);
  const isLast = !Number.isFinite(nextInMs);
  looks.promised = isLast ? undefined : { by: thisLook, at: now };
  return { flows, nextInMs: isLast ? null : nextInMs };
}

/** What a flow lacks, as a number: the less the better. */
function lacksOf(books: Books, { spec, paths }: Layout): number {
  const [main, spare] = [mainOf({ spec, paths }), spareOf({ spec, paths })];
  const isLive = main !== undefined && books.isLive(main);
  const lacks = spec.protectedPath && (spare === undefined || !books.isLive(spare)) ? 1 : 0;
  return lacks + (isLive ? (isSecondBest(spec, main) ? 2 : 0) : 4);
}

/** Those of some flows that a plan makes better, if those before them have theirs. It changes nothing. */
function chosen(books: Books, flowIds: readonly string[]): string[] {
  const { freed, counters } = books;
  const before: FlowRecord[] = [];
  const better: string[] = [];
  for (const flowId of flowIds) {
    const record = books.find(flowId) as FlowRecord;
    const standing = record.standing as Layout;
    const decision = decide({ books, flowId, avoid: { switches: [] } }, standing, {
      kind: "reroute",
      isAutomatic: true,
    });
    if (isRefusal(decision) || decision.after === null) continue;
    if (lacksOf(books, decision.after) >= lacksOf(books, standing)) continue;
    better.push(flowId);
    before.push(record);
    // So that the next one does not count on the same.
    const { after, shortcoming, nextPath } = decision;
    books.counters = { ...books.counters, nextPath };
    const plan = { version: counters.version, before: standing, after, isMoved: false, shortcoming };
    const run = { fence: record.fence, isCommitted: false, keep: false, isAutomatic: true };
    books.put({ ...record, planned: { ...plan, ...run } });
  }
  for (const record of before.toReversed()) books.put(record);
  books.counters = counters;
  books.freed = freed;
  return better;
}

// Who has a way at all. Links join switches, those with the most free bandwidth first; a flow is asked as soon as all links are there that
// have as much free as it needs. That takes one pass over the links for all flows, and no search.

/** Sets of switches that are joined. */
class Joined {
  readonly #up = new Map<string, string>();

  of(id: string): string {
    let top = id;
    for (let next = this.#up.get(top); next !== undefined; next = this.#up.get(top)) top = next;
    // Shorter ways for those who ask next.
    for (let at = id; at !== top;) {
      const next = this.#up.get(at) as string;
      this.#up.set(at, top);
      at = next;
    }
    return top;
  }

  join(one: string, other: string): void {
    const [top, under] = [this.of(one), this.of(other)];
    if (top !== under) this.#up.set(under, top);
  }
}

/** The least that a flow needs of each link, in kilobits per second, to be better than it is. */
function leastOf(books: Books, { spec, paths }: Layout): number {
  const main = mainOf({ spec, paths });
  const isDown = main === undefined || !books.isLive(main);
  return isDown && !spec.strictBandwidth ? 0 : wantedKbps(spec);
}

/** Those of some flows between whose ends there is a way with enough bandwidth. */
function connectedOf(books: Books, flowIds: readonly string[]): Set<string> {
  const isThere = ({ isUp, arcs }: Link): boolean =>
    isUp && arcs[0].from.isConnected && arcs[0].to.isConnected;
  const endsOf = ({ arcs: [{ from, to }] }: Link): readonly [string, string] => [from.id, to.id];
  const links = [...books.graph.links.values()]
    .filter(isThere)
    .map((link) => ({ ends: endsOf(link), free: freeFor(link, undefined) }))
    .toSorted((one, other) => other.free - one.free);
  const asking = flowIds
    .map((flowId) => {
      const layout = books.find(flowId)?.standing as Layout;
      return { flowId, layout, kbps: leastOf(books, layout) };
    })
    .toSorted((one, other) => other.kbps - one.kbps);
  const joined = new Joined();
  const found = new Set<string>();
  let next = 0;
  for (const { flowId, layout, kbps } of asking) {
    for (let link = links[next]; link !== undefined && link.free >= kbps; link = links[++next])
      joined.join(...link.ends);
    const { source, destination }: FlowSpec = layout.spec;
    // What it has of a link already is free to it.
    const own = new Joined();
    for (const segment of layout.paths.flatMap(({ segments }) => segments)) {
      const link = books.graph.link(segment);
      if (link === undefined || !isThere(link) || freeFor(link, flowId) < kbps) continue;
      const [from, to] = endsOf(link);
      own.join(joined.of(from), joined.of(to));
    }
    if (own.of(joined.of(source.switchId)) === own.of(joined.of(destination.switchId))) found.add(flowId);
  }
  return found;
}
