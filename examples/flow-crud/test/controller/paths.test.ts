import { performance } from "node:perf_hooks";
import { expect, test } from "vitest";
import { Graph, type Arc, type Link } from "../../src/controller/graph.ts";
import { switchIdOf } from "../../src/controller/model.ts";
import {
  besides,
  compareRoutes,
  searchPair,
  searchRoutes,
  type Route,
  type RouteWish,
} from "../../src/controller/paths.ts";
import { seeded } from "../../src/floodlight/faults.ts";

const seed = Number(process.env["WHEELWORK_SEED"] ?? Math.floor(Math.random() * 1e9));
const rounds = Number(process.env["WHEELWORK_ROUNDS"] ?? 1_500);
const id = (number: number): string => switchIdOf(BigInt(number));

interface Cable {
  readonly ends: readonly [number, number];
  readonly cost?: number;
  readonly latencyMs?: number;
  readonly bandwidth?: number;
}

/** A graph of switches 1, 2, 3…; the links of a switch are on its ports 1, 2, 3… in their order. */
function graphOf(switches: number, cables: readonly Cable[]): Graph {
  const graph = new Graph();
  for (let number = 1; number <= switches; number++) graph.putSwitch(id(number), true);
  const ports = new Map<number, number>();
  const portOf = (end: number): number => {
    ports.set(end, (ports.get(end) ?? 0) + 1);
    return ports.get(end) as number;
  };
  for (const { ends, cost = 1, latencyMs = 1, bandwidth = 1_000 } of cables) {
    const segment = {
      from: id(ends[0]),
      fromPort: portOf(ends[0]),
      to: id(ends[1]),
      toPort: portOf(ends[1]),
    };
    graph.putLink(segment, { isUp: true, cost, latencyMs, isLatencySet: false, bandwidth });
  }
  return graph;
}

const wishOf = (from: number, to: number, more: Partial<RouteWish> = {}): RouteWish => ({
  from: id(from),
  to: id(to),
  strategy: "cost",
  bandwidth: 0,
  maxLatencyMs: null,
  ...more,
});

/** The numbers of the switches of a route. */
const switchesOf = (route: Route | undefined): number[] =>
  route === undefined
    ? []
    : [route.arcs[0]?.from.id, ...route.arcs.map(({ to }) => to.id)].map((name) =>
        parseInt((name as string).slice(-2), 16),
      );

/** All routes without a loop that fit, in order, found by trying everything. */
function bruteForce(graph: Graph, wish: RouteWish): Route[] {
  const found: Route[] = [];
  const walk = (at: string, way: readonly Arc[], seen: ReadonlySet<string>): void => {
    if (at === wish.to) {
      const sum = (of: (arc: Arc) => number): number => way.reduce((total, arc) => total + of(arc), 0);
      const cost = sum(({ link }) => link.cost);
      const latency = sum(({ link }) => link.latencyMs * 1e6);
      if (wish.maxLatencyMs !== null && latency > wish.maxLatencyMs * 1e6) return;
      const shunned =
        sum(({ link }) => Number(wish.shunLinks?.has(link) ?? false)) +
        sum(({ to }) => Number(to.id !== wish.to && (wish.shunSwitches?.has(to.id) ?? false)));
      const isQuick = wish.strategy === "latency" || wish.strategy === "max_latency";
      const load = sum(({ link }) => Math.ceil(1e9 / Math.max(1, link.bandwidth - link.used)));
      const second = isQuick ? cost : wish.strategy === "cost" ? 0 : load;
      const weight = { shunned, weight: isQuick ? latency : cost, second, hops: way.length, latency };
      found.push({ arcs: way, latencyMs: latency / 1e6, weight });
      return;
    }
    for (const arc of graph.node(at)?.arcs ?? []) {
      const { link, to } = arc;
      if (!link.isUp || !to.isConnected || seen.has(to.id) || wish.avoidLinks?.has(link)) continue;
      if (link.bandwidth - link.used < wish.bandwidth) continue;
      if (to.id !== wish.to && wish.avoidSwitches?.has(to.id)) continue;
      walk(to.id, [...way, arc], new Set([...seen, to.id]));
    }
  };
  if (graph.node(wish.from)?.isConnected) walk(wish.from, [], new Set([wish.from]));
  return found.toSorted(compareRoutes);
}

/** A small network with many ties, and a wish for a route through it. */
function randomCase(random: () => number): { readonly graph: Graph; readonly wish: RouteWish } {
  const below = (limit: number): number => Math.floor(random() * limit);
  const switches = 2 + below(6);
  const cables = Array.from({ length: below(2 * switches + 3) }, (): Cable => {
    const one = 1 + below(switches);
    return {
      ends: [one, 1 + ((one + below(switches - 1)) % switches)],
      cost: below(4),
      latencyMs: below(5) / 2,
      bandwidth: 1 + below(4) * 100,
    };
  });
  const graph = graphOf(switches, cables);
  const links = [...graph.links.values()];
  for (const link of links) {
    if (random() < 0.08) link.isUp = false;
    link.used = below(link.bandwidth + 1);
  }
  for (const node of graph.nodes) if (random() < 0.05) node.isConnected = false;
  const someLinks = (share: number): Set<Link> => new Set(links.filter(() => random() < share));
  const someSwitches = (share: number): Set<string> =>
    new Set(graph.nodes.filter(() => random() < share).map((node) => node.id));
  const strategies = ["cost", "latency", "max_latency", "cost_and_available_bandwidth"] as const;
  const from = 1 + below(switches);
  const wish = wishOf(from, 1 + (from % switches), {
    strategy: strategies[below(4)] ?? "cost",
    bandwidth: below(3) * 50,
    maxLatencyMs: random() < 0.5 ? null : below(10) / 2,
    avoidSwitches: someSwitches(0.08),
    avoidLinks: someLinks(0.05),
    shunSwitches: someSwitches(0.15),
    shunLinks: someLinks(0.15),
  });
  return { graph, wish };
}

test("the routes are those that trying everything finds, in the same order", () => {
  const random = seeded(seed);
  for (let round = 0; round < rounds; round++) {
    const { graph, wish } = randomCase(random);
    const expected = bruteForce(graph, wish).slice(0, 6);
    const found = searchRoutes(graph, wish, 6);
    expect(found, `WHEELWORK_SEED=${seed}, round ${round}`).toEqual(expected);
  }
});

const shareLink = (one: Route, other: Route): boolean =>
  one.arcs.some(({ link }) => other.arcs.some((arc) => arc.link === link));

/** A network in which the cheapest route often blocks each second one. */
function randomTrap(random: () => number): { readonly graph: Graph; readonly wish: RouteWish } {
  const below = (limit: number): number => Math.floor(random() * limit);
  const ways = [
    [1, 2],
    [2, 3],
    [3, 6],
    [1, 4],
    [4, 3],
    [2, 5],
    [5, 6],
  ] as const;
  const cables = ways.map((ends, index): Cable => ({ ends, cost: index < 3 ? below(3) : 2 + below(4) }));
  const more = Array.from({ length: below(3) }, (): Cable => {
    const one = 1 + below(6);
    return { ends: [one, 1 + ((one + below(5)) % 6)], cost: 3 + below(9) };
  });
  return { graph: graphOf(6, [...cables, ...more]), wish: wishOf(1, 6) };
}

const total = ([one, other]: readonly [Route, Route]): number[] =>
  (["shunned", "weight", "second", "hops", "latency"] as const).map(
    (field) => one.weight[field] + other.weight[field],
  );
const compareTotals = (one: readonly number[], other: readonly number[]): number =>
  one.map((value, index) => value - (other[index] as number)).find((difference) => difference !== 0) ?? 0;

test("a pair is found whenever there is one; it shares no link", () => {
  const random = seeded(seed);
  let [pairs, blocked] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    const { graph, wish: limited } = round % 2 === 0 ? randomCase(random) : randomTrap(random);
    const wish = { ...limited, maxLatencyMs: null };
    const what = `WHEELWORK_SEED=${seed}, round ${round}`;
    const routes = bruteForce(graph, wish);
    const found = searchPair(graph, wish);
    const expected = routes.flatMap((one, index) =>
      routes.slice(index + 1).flatMap((other) => (shareLink(one, other) ? [] : [[one, other] as const])),
    );
    expect(found !== undefined, what).toBe(expected.length > 0);
    if (found === undefined) continue;
    pairs++;
    expect(shareLink(...found), what).toBe(false);
    const [first] = routes;
    const isBlocked = found[0].arcs.some((arc, index) => arc !== first?.arcs[index]);
    blocked += Number(isBlocked);
    // The second one is the best that there is beside the first one of all, or the sum is the least.
    const second = bruteForce(graph, besides(found[0], wish))[0];
    const least = expected.map(total).toSorted(compareTotals)[0];
    expect([found[1], total(found)], what).toEqual(isBlocked ? [found[1], least] : [second, total(found)]);
    expect(!isBlocked || compareRoutes(...found) < 0, what).toBe(true);
  }
  // Otherwise this shows nothing.
  expect(pairs).toBeGreaterThan(rounds / 10);
  expect(blocked).toBeGreaterThan(rounds / 50);
});

test("with a limit of latency, a pair keeps it", () => {
  const random = seeded(seed);
  for (let round = 0; round < rounds; round++) {
    const { graph, wish } = randomCase(random);
    const what = `WHEELWORK_SEED=${seed}, round ${round}`;
    const routes = bruteForce(graph, wish);
    const found = searchPair(graph, wish);
    const exists = routes
      .slice(0, 16)
      .some((one) => routes.some((other) => one !== other && !shareLink(one, other)));
    expect(found !== undefined || !exists, what).toBe(true);
    if (found === undefined) continue;
    expect(shareLink(...found), what).toBe(false);
    for (const { latencyMs } of found)
      expect(latencyMs, what).toBeLessThanOrEqual(wish.maxLatencyMs ?? Infinity);
  }
});

test("the order in which links were found changes nothing", () => {
  const cables: readonly (readonly [number, number, number, number])[] = [
    [1, 1, 2, 1],
    [1, 2, 3, 1],
    [2, 2, 4, 1],
    [3, 2, 4, 2],
    [1, 3, 4, 3],
  ];
  const routesOf = (order: typeof cables): number[][] => {
    const graph = new Graph();
    for (const number of order.flat()) if (number <= 4) graph.putSwitch(id(number), true);
    for (const [from, fromPort, to, toPort] of order) {
      graph.putLink(
        { from: id(from), fromPort, to: id(to), toPort },
        { isUp: true, cost: 700, latencyMs: 1, isLatencySet: false, bandwidth: 1 },
      );
    }
    return searchRoutes(graph, wishOf(1, 4), 5).map(switchesOf);
  };
  const expected = [
    [1, 4],
    [1, 2, 4],
    [1, 3, 4],
  ];
  expect(routesOf(cables)).toEqual(expected);
  expect(routesOf(cables.toReversed())).toEqual(expected);
});

test("a first route that blocks each second one gives way to a pair", () => {
  // The cheapest way, 1-2-3-4, leaves none of the outer ways whole.
  const graph = graphOf(4, [
    { ends: [1, 2] },
    { ends: [2, 3] },
    { ends: [3, 4] },
    { ends: [1, 3], cost: 5 },
    { ends: [2, 4], cost: 5 },
  ]);
  expect(switchesOf(searchRoutes(graph, wishOf(1, 4))[0])).toEqual([1, 2, 3, 4]);
  expect(searchPair(graph, wishOf(1, 4))?.map(switchesOf)).toEqual([
    [1, 2, 4],
    [1, 3, 4],
  ]);
});

test("a second route prefers other switches, also for more cost", () => {
  const graph = graphOf(4, [
    { ends: [1, 2] },
    { ends: [2, 4] },
    { ends: [1, 2], cost: 2 },
    { ends: [2, 4], cost: 2 },
    { ends: [1, 3], cost: 50 },
    { ends: [3, 4], cost: 50 },
  ]);
  expect(searchPair(graph, wishOf(1, 4))?.map(switchesOf)).toEqual([
    [1, 2, 4],
    [1, 3, 4],
  ]);
});

test("what a flow has of a link already is free to it, and to no other one", () => {
  const graph = graphOf(2, [{ ends: [1, 2], bandwidth: 1_000 }]);
  for (const link of graph.links.values()) {
    link.used = 900;
    link.shares.set("mine", 600);
  }
  const found = (flowId: string, bandwidth: number): number =>
    searchRoutes(graph, wishOf(1, 2, { flowId, bandwidth })).length;
  expect([found("mine", 700), found("mine", 701), found("other", 100), found("other", 101)]).toEqual([
    1, 0, 1, 0,
  ]);
});

test("a search among 1,000 switches and 4,000 links", () => {
  const random = seeded(seed);
  const below = (limit: number): number => 1 + Math.floor(random() * limit);
  const ring = Array.from({ length: 1_000 }, (_, index): Cable => ({
    ends: [index + 1, ((index + 1) % 1_000) + 1],
  }));
  const chords = Array.from({ length: 3_000 }, (): Cable => {
    const one = below(1_000);
    return { ends: [one, ((one + below(998)) % 1_000) + 1] };
  });
  const cables = [...ring, ...chords].map((cable) => ({
    ...cable,
    cost: below(1_000),
    latencyMs: below(100) / 10,
  }));
  const graph = graphOf(1_000, cables);
  expect(graph.links.size).toBe(4_000);
  const measure = (what: string, search: (from: number, to: number) => number): void => {
    const times = Array.from({ length: 11 }, () => {
      const from = below(1_000);
      const to = ((from + below(998)) % 1_000) + 1;
      const begin = performance.now();
      expect(search(from, to)).toBeGreaterThan(0);
      return performance.now() - begin;
    }).toSorted((one, other) => one - other);
    console.info(`${what}: median ${times[5]?.toFixed(1)} ms, longest ${times[10]?.toFixed(1)} ms`);
  };
  for (const strategy of ["cost", "latency", "cost_and_available_bandwidth"] as const) {
    measure(strategy, (from, to) => searchRoutes(graph, wishOf(from, to, { strategy })).length);
  }
  measure("cost within a latency", (from, to) => {
    const quickest = searchRoutes(graph, wishOf(from, to, { strategy: "latency" }))[0] as Route;
    return searchRoutes(graph, wishOf(from, to, { maxLatencyMs: quickest.latencyMs * 1.3 })).length;
  });
  measure("a pair", (from, to) => searchPair(graph, wishOf(from, to))?.length ?? 0);
  measure("five alternatives", (from, to) => searchRoutes(graph, wishOf(from, to), 5).length);
});
