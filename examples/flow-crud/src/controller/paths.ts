// The search for paths. It is pure: it reads a graph and changes nothing.
//
// No library serves. Those of npm that are well kept (graphology, ngraph, cytoscape) find one shortest path by one number. A flow needs
// several alternatives, two limits at once (cost and latency), wishes that rank before cost, and pairs without a link in common.
//
// The rule of order, the same for all searches. Of two routes, that one comes first which has, in this order:
//   1. fewer links and switches that it should shun (`shunLinks`, `shunSwitches`);
//   2. the lower weight by its strategy, then the lower second weight (see `weigh`);
//   3. fewer links;
//   4. the lower latency;
//   5. at the first switch where they part, counted from the source, the link on the lower port.
// So the same graph always gives the same routes, in whichever order its links were found.

import { freeFor, type Arc, type Graph, type Link, type Node } from "./graph.ts";
import type { Strategy } from "./model.ts";

/** What a route should be like. */
export interface RouteWish {
  /** Where it begins and ends: two switches. */
  readonly from: string;
  readonly to: string;
  readonly strategy: Strategy;
  /** Kilobits per second that each of its links must have free. */
  readonly bandwidth: number;
  /** The flow that asks: what it has of a link already counts as free to it. */
  readonly flowId?: string;
  /** The longest latency, in milliseconds; null: any. */
  readonly maxLatencyMs: number | null;
  /** What it must not use. The two ends are excepted. */
  readonly avoidSwitches?: ReadonlySet<string>;
  readonly avoidLinks?: ReadonlySet<Link>;
  /** What it should not use if that can be. */
  readonly shunSwitches?: ReadonlySet<string>;
  readonly shunLinks?: ReadonlySet<Link>;
}

/** What routes are compared by, in the order of the fields. All are whole numbers, so that sums are exact. */
interface Weight {
  readonly shunned: number;
  readonly weight: number;
  readonly second: number;
  readonly hops: number;
  /** Nanoseconds. */
  readonly latency: number;
}

/** A way through the network without a loop. */
export interface Route {
  /** From the source to the destination. */
  readonly arcs: readonly Arc[];
  readonly latencyMs: number;
  readonly weight: Weight;
}

const nanoseconds = (latencyMs: number): number => Math.round(latencyMs * 1e6);
const none: Weight = { shunned: 0, weight: 0, second: 0, hops: 0, latency: 0 };

/** More than any route has. */
const endless: Weight = { ...none, shunned: Infinity };

const sumOf = (one: Weight, other: Weight): Weight => ({
  shunned: one.shunned + other.shunned,
  weight: one.weight + other.weight,
  second: one.second + other.second,
  hops: one.hops + other.hops,
  latency: one.latency + other.latency,
});
const negative = (one: Weight): Weight => ({
  shunned: -one.shunned,
  weight: -one.weight,
  second: -one.second,
  hops: -one.hops,
  latency: -one.latency,
});
const compareWeights = (one: Weight, other: Weight): number =>
  one.shunned - other.shunned ||
  one.weight - other.weight ||
  one.second - other.second ||
  one.hops - other.hops ||
  one.latency - other.latency;

/** Whether a route is better than another one by what its owner asked for. Fewer links or a lower port do not count. */
export const isBetter = ({ weight: one }: Route, { weight: other }: Route): boolean =>
  (one.shunned - other.shunned || one.weight - other.weight || one.second - other.second) < 0;

/** The order of routes: by the rule at the head of this file. */
export function compareRoutes(one: Route, other: Route): number {
  const parting = one.arcs.findIndex((arc, index) => arc !== other.arcs[index]);
  const ports = (one.arcs[parting]?.fromPort ?? 0) - (other.arcs[parting]?.fromPort ?? 0);
  return compareWeights(one.weight, other.weight) || ports;
}

function isUsable({ link, to }: Arc, wish: RouteWish): boolean {
  if (!link.isUp || !to.isConnected || (wish.avoidLinks?.has(link) ?? false)) return false;
  // Most often it is free for anybody.
  if (link.bandwidth - link.used < wish.bandwidth && freeFor(link, wish.flowId) < wish.bandwidth)
    return false;
  return to.id === wish.to || to.id === wish.from || !(wish.avoidSwitches?.has(to.id) ?? false);
}

/**
 * What an arc adds to the weight of a route. `cost_and_available_bandwidth`: of routes of the same cost, that one comes first whose links
 * have more free: the sum of 1/free decides, since the narrowest link alone would not tell how many are narrow.
 */
function weigh({ link, to }: Arc, wish: RouteWish): Weight {
  const shunned =
    Number(wish.shunLinks?.has(link) ?? false) +
    Number(to.id !== wish.to && (wish.shunSwitches?.has(to.id) ?? false));
  const latency = nanoseconds(link.latencyMs);
  const base = { shunned, hops: 1, latency };
  switch (wish.strategy) {
    case "cost":
      return { ...base, weight: link.cost, second: 0 };
    case "cost_and_available_bandwidth": {
      const second = Math.ceil(1e9 / Math.max(1, freeFor(link, wish.flowId)));
      return { ...base, weight: link.cost, second };
    }
    case "latency":
    case "max_latency":
      return { ...base, weight: latency, second: link.cost };
  }
}

const routeOf = (arcs: readonly Arc[], weight: Weight): Route => ({
  arcs,
  latencyMs: weight.latency / 1e6,
  weight,
});

/** The route of given arcs; undefined: it does not fit the wish, as it is now. */
export function routeAlong(arcs: readonly Arc[], wish: RouteWish): Route | undefined {
  const [first, last] = [arcs[0], arcs.at(-1)];
  if (first?.from.id !== wish.from || last?.to.id !== wish.to || !first.from.isConnected) return undefined;
  if (!arcs.every((arc) => isUsable(arc, wish))) return undefined;
  const weight = arcs.reduce((sum, arc) => sumOf(sum, weigh(arc, wish)), none);
  return weight.latency > limitOf(wish) ? undefined : routeOf(arcs, weight);
}

const limitOf = ({ maxLatencyMs }: RouteWish): number =>
  maxLatencyMs === null ? Infinity : nanoseconds(maxLatencyMs);

/** The way from a switch to the destination, as far as a search has found it. */
interface Label {
  readonly node: Node;
  readonly weight: Weight;
  /** Of the first arc. */
  readonly port: number;
  readonly arc: Arc | null;
  readonly next: Label | null;
}

/** Labels, the first one at hand: a binary heap. */
class Frontier {
  readonly #heap: Label[] = [];

  static #isBefore(one: Label, other: Label): boolean {
    return (compareWeights(one.weight, other.weight) || one.port - other.port) < 0;
  }

  push(label: Label): void {
    const heap = this.#heap;
    let place = heap.length;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent] as Label;
      if (!Frontier.#isBefore(label, above)) break;
      heap[place] = above;
      place = parent;
    }
    heap[place] = label;
  }

  pop(): Label | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && Frontier.#isBefore(heap[child + 1] as Label, heap[child] as Label))
        child++;
      const below = heap[child] as Label;
      if (!Frontier.#isBefore(below, last)) break;
      heap[place] = below;
      place = child;
    }
    heap[place] = last;
    return first;
  }
}

/** The direction in which a link leads to a switch. */
const opposite = (arc: Arc): Arc => arc.link.arcs[arc.link.arcs[0] === arc ? 1 : 0];

/** What a search leaves out beyond its wish: where other alternatives have gone. */
interface Bans {
  readonly nodes: ReadonlySet<Node>;
  readonly arcs: ReadonlySet<Arc>;
}
const noBans: Bans = { nodes: new Set(), arcs: new Set() };

/**
 * The shortest latency from `start` to each switch, in nanoseconds. It bounds what a search with a limit must look at.
 */
function latenciesFrom(graph: Graph, start: Node, wish: RouteWish): Float64Array {
  const shortest = new Float64Array(graph.nodes.length).fill(Infinity);
  const byLatency: RouteWish = { ...wish, strategy: "latency" };
  const frontier = new Frontier();
  frontier.push({ node: start, weight: none, port: 0, arc: null, next: null });
  for (let label = frontier.pop(); label !== undefined; label = frontier.pop()) {
    const { node, weight } = label;
    if (weight.weight >= (shortest[node.index] as number)) continue;
    shortest[node.index] = weight.weight;
    for (const arc of node.arcs) {
      if (!isUsable(arc, byLatency)) continue;
      const latency = weight.weight + nanoseconds(arc.link.latencyMs);
      if (latency < (shortest[arc.to.index] as number)) {
        frontier.push({ node: arc.to, weight: { ...none, weight: latency }, port: 0, arc, next: null });
      }
    }
  }
  return shortest;
}

/**
 * The first route from a switch to the destination of a wish. It searches backwards, from the destination: of two ways from one switch, the
 * first arc then decides the rule of the lower port at once.
 *
 * With a limit, a switch may have several labels: one that is heavier is worth keeping if its latency is lower. Labels come in the order of
 * their weights, so a later one counts if, and only if, its latency is below that of all earlier ones of its switch.
 */
function firstRoute(
  graph: Graph,
  start: Node,
  wish: RouteWish,
  limit: number,
  bans: Bans,
): Route | undefined {
  const end = graph.node(wish.to);
  if (end?.isConnected !== true || !start.isConnected) return undefined;
  if (limit !== Infinity) {
    // Most often the limit does no harm. If even the quickest route is too slow, there is none.
    const free = firstRoute(graph, start, wish, Infinity, bans);
    if (free === undefined || free.weight.latency <= limit) return free;
  }
  const from = limit === Infinity ? undefined : latenciesFrom(graph, start, wish);
  if (from !== undefined && (from[end.index] as number) > limit) return undefined;
  const isOut = (node: Node, latency: number): boolean =>
    from !== undefined && latency + (from[node.index] as number) > limit;
  // Without a limit: the best label of each switch that is under way, so that worse ones are not kept.
  const best: (Label | undefined)[] = Array.from({ length: graph.nodes.length });
  const lowest = new Float64Array(graph.nodes.length).fill(Infinity);
  const isSettled = new Uint8Array(graph.nodes.length);
  const frontier = new Frontier();
  frontier.push({ node: end, weight: none, port: 0, arc: null, next: null });
  for (let label = frontier.pop(); label !== undefined; label = frontier.pop()) {
    const { node, weight } = label;
    if (limit === Infinity ? isSettled[node.index] === 1 : weight.latency >= (lowest[node.index] as number))
      continue;
    isSettled[node.index] = 1;
    lowest[node.index] = weight.latency;
    if (node === start) return routeOf(arcsOf(label), weight);
    for (const out of node.arcs) {
      const arc = opposite(out);
      const { from: before } = arc;
      if (limit === Infinity && isSettled[before.index] === 1) continue;
      if (!isUsable(arc, wish) || !isOpen(before, start, wish, bans) || bans.arcs.has(arc)) continue;
      const sum = sumOf(weight, weigh(arc, wish));
      if (isOut(before, sum.latency) || sum.latency >= (lowest[before.index] as number)) continue;
      const next: Label = { node: before, weight: sum, port: arc.fromPort, arc, next: label };
      if (limit === Infinity) {
        const known = best[before.index];
        if (known !== undefined && (compareWeights(known.weight, sum) || known.port - next.port) <= 0)
          continue;
        best[before.index] = next;
      }
      frontier.push(next);
    }
  }
  return undefined;
}

/** Whether a route may begin at a switch or cross it. */
function isOpen(node: Node, start: Node, wish: RouteWish, bans: Bans): boolean {
  if (node === start) return true;
  return node.isConnected && !bans.nodes.has(node) && !(wish.avoidSwitches?.has(node.id) ?? false);
}

function arcsOf(label: Label): Arc[] {
  const arcs: Arc[] = [];
  for (let at: Label | null = label; at?.arc != null; at = at.next) arcs.push(at.arc);
  return arcs;
}

/**
 * The first `count` routes without a loop, in order (Yen's algorithm): each next one leaves an earlier one at some switch, and is the
 * first of those that do.
 */
export function searchRoutes(graph: Graph, wish: RouteWish, count = 1): Route[] {
  const start = graph.node(wish.from);
  if (start === undefined || wish.from === wish.to) return [];
  const limit = limitOf(wish);
  const first = firstRoute(graph, start, wish, limit, noBans);
  if (first === undefined) return [];
  const found = [first];
  const candidates = new Map<string, Route>();
  while (found.length < count) {
    const last = found.at(-1) as Route;
    for (const [index, { from: spur }] of last.arcs.entries()) {
      const root = last.arcs.slice(0, index);
      const rootWeight = root.reduce((sum, arc) => sumOf(sum, weigh(arc, wish)), none);
      const bans: Bans = {
        nodes: new Set(root.map(({ from }) => from)),
        arcs: new Set(
          found
            .filter(({ arcs }) => root.every((arc, place) => arcs[place] === arc))
            .map(({ arcs }) => arcs[index] as Arc),
        ),
      };
      const rest = firstRoute(graph, spur, wish, limit - rootWeight.latency, bans);
      if (rest === undefined) continue;
      const arcs = [...root, ...rest.arcs];
      const key = arcs.map(({ from, fromPort }) => `${from.index}-${fromPort}`).join(" ");
      candidates.set(key, routeOf(arcs, sumOf(rootWeight, rest.weight)));
    }
    const next = [...candidates].toSorted(([, one], [, other]) => compareRoutes(one, other))[0];
    if (next === undefined) break;
    candidates.delete(next[0]);
    found.push(next[1]);
  }
  return found;
}

/** The switches between the ends of a route. */
const innerSwitches = ({ arcs }: Route): string[] => arcs.slice(1).map(({ from }) => from.id);

/** A wish for a route that shares no link with another one, and no switch if that can be. */
export const besides = (route: Route, wish: RouteWish): RouteWish => ({
  ...wish,
  avoidLinks: new Set([...(wish.avoidLinks ?? []), ...route.arcs.map(({ link }) => link)]),
  shunSwitches: new Set([...(wish.shunSwitches ?? []), ...innerSwitches(route)]),
});

/** How many first routes are tried with a limit of latency, before a pair is given up. To find a pair within it is NP-hard. */
const pairTries = 16;

/**
 * Two routes without a link in common: the first route of all and the best one besides it; if there is none, the pair of the least sum
 * (Bhandari): the first route alone may block each second one although there are pairs.
 *
 * With a limit of latency, a pair is found if one of its routes is among the first `pairTries`, or if the pair of the least sum keeps it.
 */
export function searchPair(graph: Graph, wish: RouteWish): readonly [Route, Route] | undefined {
  const isLimited = wish.maxLatencyMs !== null;
  const [first] = searchRoutes(graph, wish);
  if (first === undefined) return undefined;
  const [second] = searchRoutes(graph, besides(first, wish));
  if (second !== undefined) return [first, second];
  const pair = cheapestPair(graph, wish, first);
  if (pair === undefined || !isLimited) return pair;
  const limit = limitOf(wish);
  if (pair.every(({ weight }) => weight.latency <= limit)) return pair;
  for (const route of searchRoutes(graph, wish, pairTries)) {
    const [other] = searchRoutes(graph, besides(route, wish));
    if (other !== undefined) return [route, other];
  }
  return undefined;
}

/**
 * The pair of the least sum, without regard to the limit of latency: a second search in which the links of the first route can only be
 * gone back, for what they have cost. Where it does so, the two routes change over.
 */
function cheapestPair(graph: Graph, wish: RouteWish, limited: Route): readonly [Route, Route] | undefined {
  const [start, end] = [graph.node(wish.from), graph.node(wish.to)] as readonly [Node, Node];
  const first = firstRoute(graph, start, wish, Infinity, noBans) ?? limited;
  const taken = new Map(first.arcs.map((arc) => [arc.link, arc]));
  // Bellman and Ford's, with a queue: weights below zero are few, and only on the first route. Of equal weights the
  // earlier one stays: to change over between them could go round in a circle that costs nothing.
  const best: (Label | undefined)[] = Array.from({ length: graph.nodes.length });
  best[end.index] = { node: end, weight: none, port: 0, arc: null, next: null };
  const waiting = new Set<Node>([end]);
  for (const node of waiting) {
    waiting.delete(node);
    const label = best[node.index] as Label;
    for (const out of node.arcs) {
      const arc = opposite(out);
      const { from: before } = arc;
      if (before !== start && !isOpen(before, start, wish, noBans)) continue;
      const used = taken.get(arc.link);
      if (used === arc || (used === undefined && !isUsable(arc, wish))) continue;
      const sum = sumOf(label.weight, used === undefined ? weigh(arc, wish) : negative(weigh(used, wish)));
      if (compareWeights(sum, best[before.index]?.weight ?? endless) >= 0) continue;
      best[before.index] = { node: before, weight: sum, port: arc.fromPort, arc, next: label };
      waiting.add(before);
    }
  }
  const second = secondOf(best, start, graph.nodes.length);
  if (second === undefined) return undefined;
  // What one goes and the other goes back, neither goes.
  const isCancelled = (arc: Arc): boolean => second.includes(opposite(arc));
  const arcs = [
    ...first.arcs.filter((arc) => !isCancelled(arc)),
    ...second.filter((arc) => !taken.has(arc.link)),
  ];
  const routes = [0, 1].map(() => {
    const way: Arc[] = [];
    for (let at = start; at !== end;) {
      const next = arcs.findIndex(({ from }) => from === at);
      const [arc] = arcs.splice(next, 1) as [Arc];
      way.push(arc);
      at = arc.to;
    }
    return routeOf(
      way,
      way.reduce((sum, arc) => sumOf(sum, weigh(arc, wish)), none),
    );
  });
  return routes.toSorted(compareRoutes) as [Route, Route];
}

/** The arcs of the second search, from the labels that were the last ones. */
function secondOf(best: readonly (Label | undefined)[], start: Node, most: number): Arc[] | undefined {
  const arcs: Arc[] = [];
  for (let label = best[start.index]; label?.arc != null; label = best[label.arc.to.index]) {
    arcs.push(label.arc);
    if (arcs.length > most) throw new Error("the second search goes in a circle");
  }
  return arcs.length === 0 ? undefined : arcs;
}
