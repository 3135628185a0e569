import { isSecondBest, mainOf, spareOf, wantedKbps, type Books, type NumberSet } from "./books.ts";
import { segmentOf, type Arc, type Link } from "./graph.ts";
import {
  changedFlow,
  contradictionsIn,
  metersOfFlows,
  type Endpoint,
  type FlowChanges,
  type FlowSpec,
  type Layout,
  type Path,
} from "./model.ts";
import {
  besides,
  isBetter,
  routeAlong,
  searchPair,
  searchRoutes,
  type Route,
  type RouteWish,
} from "./paths.ts";
import type { Avoid, Intent, Refusal } from "./store.ts";

/** What shall become of a flow. */
export interface Decision {
  readonly after: Layout | null;
  readonly shortcoming: string | null;
  /** The id of the next path from now on. */
  readonly nextPath: number;
}

const refuse = (code: Refusal["code"], message: string): Refusal => ({ code, message });

/** Whether an answer is a refusal. */
export const isRefusal = (answer: object | string | boolean): answer is Refusal =>
  typeof answer === "object" && "code" in answer;

/** The range of VLANs between switches. */
const vlans = { first: 2, last: 4094 } as const;
const lastPath = 2 ** 44;
/**
 * So many VLANs and meters of each switch are left free by whoever wants more than it has. A flow that moves has both its old path and its new
 * one for a while: on a switch that is full, none could move, and all would be DOWN when a link fails.
 */
const reserve = 64;

/** A flow that is to be planned, and what is known of it. */
interface Task {
  readonly books: Books;
  readonly flowId: string;
  readonly avoid: Avoid;
}

/** Decides what becomes of a flow. It changes nothing: what it takes is claimed when its decision is put into the books. */
export function decide(task: Task, before: Layout | null, intent: Intent): Decision | Refusal {
  if (intent.kind === "create") return create(task, before, intent.spec);
  if (before === null) return refuse("unknown", `Flow ${task.flowId} is not known.`);
  const asIs: Decision = { after: before, shortcoming: null, nextPath: task.books.counters.nextPath };
  switch (intent.kind) {
    case "update":
      return update(task, before, intent.changes);
    case "reroute":
      return reroute(task, before, intent.isAutomatic);
    case "swap":
      return swap(task, before);
    case "sync":
      if (before.paths.length > 0) return asIs;
      return refuse(
        "invalid",
        `Flow ${task.flowId} has no path, so there is nothing to synchronise. Reroute it.`,
      );
    case "delete":
      return { ...asIs, after: null };
  }
}

function create(task: Task, before: Layout | null, spec: FlowSpec): Decision | Refusal {
  if (before !== null) return refuse("exists", `Flow ${task.flowId} exists already.`);
  const problems = [
    ...(spec.flowId === task.flowId ? [] : [`the flow is named ${spec.flowId} and ${task.flowId}`]),
    ...contradictionsIn(spec).map(({ message }) => message),
    ...problemsOfEnds(task, spec, () => true),
    ...problemsOfDiversity(task, spec),
  ];
  if (problems.length > 0) return invalid(task, problems);
  const conflict = conflictOf(task, spec);
  if (conflict !== undefined) return conflict;
  const choice = choose(task, spec, { kbps: [wantedKbps(spec)], needsSpare: spec.protectedPath });
  if (choice === undefined) return noPath(task, spec);
  return layOut(task, null, spec, choice);
}

function update(task: Task, before: Layout, changes: FlowChanges): Decision | Refusal {
  const spec = changedFlow(before.spec, changes);
  const old = before.spec;
  const problems = [
    ...contradictionsIn(spec).map(({ message }) => message),
    ...problemsOfEnds(task, spec, (end) => !isSamePort(spec[end], old[end])),
    ...(spec.diverseWith === old.diverseWith ? [] : problemsOfDiversity(task, spec)),
  ];
  if (problems.length > 0) return invalid(task, problems);
  const conflict = conflictOf(task, spec);
  if (conflict !== undefined) return conflict;
  const main = mainOf(before);
  const hasOtherEnds = (["source", "destination"] as const).some(
    (end) => spec[end].switchId !== old[end].switchId,
  );
  const isAvoided = before.paths.some((path) => crosses(path, task.avoid));
  const wantsOther =
    hasOtherEnds ||
    isAvoided ||
    (["bandwidth", "strategy", "maxLatencyMs", "maxLatencyTier2Ms", "diverseWith"] as const).some(
      (field) => spec[field] !== old[field],
    );
  const wantsSpare = spec.protectedPath && !old.protectedPath;
  if (!wantsOther && !wantsSpare && spec.ignoreBandwidth === old.ignoreBandwidth) {
    const paths = before.paths.filter(({ role }) => role === "main" || spec.protectedPath);
    return { after: { spec, paths }, shortcoming: null, nextPath: task.books.counters.nextPath };
  }
  const away = problemsOfEnds(task, spec, () => true);
  if (away.length > 0) return invalid(task, away);
  const kept = !wantsOther && main !== undefined && task.books.isLive(main) ? main : undefined;
  const choice = choose(task, spec, { kbps: [wantedKbps(spec)], before, kept });
  if (choice === undefined) return noPath(task, spec);
  return layOut(task, before, spec, choice);
}

function reroute(task: Task, before: Layout, isAutomatic: boolean): Decision | Refusal {
  const { books, flowId } = task;
  const { spec } = before;
  const [main, spare] = [mainOf(before), spareOf(before)];
  if (spec.pinned && main !== undefined) return refuse("pinned", `Flow ${flowId} is pinned to its path.`);
  const isMainLive = main !== undefined && books.isLive(main);
  // To a switch that has just refused, it does not move.
  const isSpareLive = spare !== undefined && books.isLive(spare) && !crosses(spare, task.avoid);
  const wantsSpare = spec.protectedPath && !isSpareLive;
  const asIs = { after: before, nextPath: books.counters.nextPath };
  if (isAutomatic && isMainLive && !wantsSpare && !isSecondBest(spec, main)) {
    return { ...asIs, shortcoming: null };
  }
  const away = [spec.source, spec.destination].filter(
    ({ switchId }) => books.switch(switchId)?.isConnected !== true,
  );
  if (away.length > 0) {
    const names = [...new Set(away.map(({ switchId }) => switchId))].join(" and ");
    return refuse("inactive", `Flow ${flowId} cannot be rerouted: ${names} is not connected.`);
  }
  const kbps = [wantedKbps(spec)];
  if (isMainLive) {
    if (!isAutomatic || isSecondBest(spec, main)) {
      const choice = choose(task, spec, { kbps, before });
      const losesSpare = isSpareLive && choice?.spare === null;
      if (choice !== undefined && !losesSpare) return layOut(task, before, spec, choice);
    }
    // It stays as it is rather than to lose something.
    const mended = wantsSpare ? withSpare(task, before, main) : undefined;
    if (mended !== undefined) return mended;
    const lacks = [
      ...(isSecondBest(spec, main) ? [noPath(task, spec).message] : []),
      ...(wantsSpare ? [noSpare] : []),
    ];
    return { ...asIs, shortcoming: lacks.length === 0 ? null : lacks.join(" ") };
  }
  if (isSpareLive) {
    const swapped = { ...before, paths: exchanged(before.paths) };
    const choice = isAutomatic ? undefined : choose(task, spec, { kbps, before });
    if (choice !== undefined) return layOut(task, before, spec, choice);
    const mended = withSpare(task, swapped, spare);
    if (mended !== undefined) return mended;
    // The broken path may be there again one day.
    return { ...asIs, after: swapped, shortcoming: noSpare };
  }
  const choice = choose(task, spec, { kbps: spec.strictBandwidth ? kbps : [...kbps, 0], before });
  if (choice === undefined) return noPath(task, spec);
  return layOut(task, before, spec, choice);
}

/** A layout with the same main path and a new protected one; undefined: there is none. */
function withSpare(task: Task, layout: Layout, main: Path): Decision | undefined {
  const { spec } = layout;
  const arcs = arcsOf(task, main);
  if (arcs === undefined || arcs.length === 0) return undefined;
  const latencyMs = main.latencyMs;
  const route: Route = {
    arcs,
    latencyMs,
    weight: { shunned: 0, weight: 0, second: 0, hops: arcs.length, latency: 0 },
  };
  for (const limit of limitsOf(spec)) {
    const wish = wishOf(task, spec, wantedKbps(spec), limit.maxLatencyMs);
    const [spare] = searchRoutes(task.books.graph, besides(route, wish));
    if (spare === undefined) continue;
    const kbps = wantedKbps(spec);
    const decision = layOut(task, layout, spec, {
      main: route,
      spare,
      mainKbps: main.bandwidth,
      kbps,
      lacks: [],
    });
    return isRefusal(decision) ? undefined : decision;
  }
  return undefined;
}

function swap(task: Task, before: Layout): Decision | Refusal {
  const spare = spareOf(before);
  if (spare === undefined || !task.books.isLive(spare)) {
    const why = spare === undefined ? "has no protected path" : "has a protected path that is broken";
    return invalid(task, [`it ${why}`]);
  }
  const after = { ...before, paths: exchanged(before.paths) };
  return { after, shortcoming: null, nextPath: task.books.counters.nextPath };
}

/** The same paths with their roles exchanged, the main one first. */
const exchanged = (paths: readonly Path[]): Path[] =>
  paths
    .map((path) => ({ ...path, role: path.role === "main" ? ("protected" as const) : ("main" as const) }))
    .toSorted((one) => (one.role === "main" ? -1 : 1));

// What can be wrong.

const invalid = ({ flowId }: Task, problems: readonly string[]): Refusal =>
  refuse("invalid", `Flow ${flowId} is not valid: ${problems.join("; ")}.`);

function noPath({ flowId, avoid }: Task, spec: FlowSpec): Refusal {
  const kbps = wantedKbps(spec);
  const wishes = [
    ...(kbps > 0 ? [`with ${kbps} kbit/s free`] : []),
    ...(spec.maxLatencyMs === null ? [] : [`within ${spec.maxLatencyTier2Ms ?? spec.maxLatencyMs} ms`]),
    ...(spec.protectedPath ? ["with a protected path"] : []),
    ...(avoid.switches.length > 0 ? [`without ${avoid.switches.join(", ")}`] : []),
  ];
  const ends = `${spec.source.switchId} to ${spec.destination.switchId}`;
  return refuse(
    "no-path",
    `Flow ${flowId} finds no path from ${ends}${wishes.map((wish) => ` ${wish}`).join(",")}.`,
  );
}

const isSamePort = (one: Endpoint, other: Endpoint): boolean =>
  one.switchId === other.switchId && one.port === other.port;

/** What is wrong with the ends that are looked at. */
function problemsOfEnds(
  { books }: Task,
  spec: FlowSpec,
  isLookedAt: (end: "source" | "destination") => boolean,
): string[] {
  return (["source", "destination"] as const).filter(isLookedAt).flatMap((end) => {
    const { switchId, port } = spec[end];
    const known = books.switch(switchId);
    if (known === undefined) return [`its ${end} is on switch ${switchId}, which is not known`];
    return [
      ...(known.isConnected ? [] : [`its ${end} is on switch ${switchId}, which is not connected`]),
      ...(books.graph.isPortOfLink(switchId, port)
        ? [`its ${end} is on port ${port} of switch ${switchId}, which belongs to a link`]
        : []),
      // A switch that has not said what ports it has has none in the books.
      ...(known.ports.length > 0 && !known.ports.some((one) => one.port === port)
        ? [`its ${end} is on port ${port} of switch ${switchId}, which the switch does not have`]
        : []),
    ];
  });
}

function problemsOfDiversity({ books, flowId }: Task, { diverseWith }: FlowSpec): string[] {
  if (diverseWith === null || diverseWith === flowId) return [];
  return books.flow(diverseWith) === undefined
    ? [`it should be diverse with ${diverseWith}, which is not known`]
    : [];
}

/** An end that another flow has. */
function conflictOf({ books, flowId }: Task, { source, destination }: FlowSpec): Refusal | undefined {
  const taken = [source, destination].flatMap(({ switchId, port, vlan }) => {
    const owner = books.ownerOf(switchId, port, vlan);
    if (owner === undefined || owner === flowId) return [];
    return [`flow ${owner} has VLAN ${vlan} on port ${port} of switch ${switchId}`];
  });
  return taken.length === 0
    ? undefined
    : refuse("conflict", `Flow ${flowId} is in conflict: ${taken.join("; ")}.`);
}

// Which way.

/** The routes that were chosen. */
interface Choice {
  /** Without arcs: both ends are on one switch. */
  readonly main: Route;
  readonly spare: Route | null;
  /** Kilobits per second that its paths take from each of their links. */
  readonly kbps: number;
  /** Of the main path, if that is other. */
  readonly mainKbps?: number;
  /** What could not be had. */
  readonly lacks: readonly string[];
}

interface ChoiceOptions {
  /** The bandwidths that are tried, one after the other. */
  readonly kbps: readonly number[];
  /** A choice without a protected path, although one is wanted, is none. */
  readonly needsSpare?: boolean;
  /** Its paths are kept if there is nothing better. */
  readonly before?: Layout;
  /** The main path stays if it fits, unless it blocks each protected one. */
  readonly kept?: Path | undefined;
}

const onOneSwitch: Route = {
  arcs: [],
  latencyMs: 0,
  weight: { shunned: 0, weight: 0, second: 0, hops: 0, latency: 0 },
};

/** The limits of latency that are tried, one after the other. */
function limitsOf(
  spec: FlowSpec,
): readonly { readonly maxLatencyMs: number | null; readonly lack: string | null }[] {
  const { strategy, maxLatencyMs, maxLatencyTier2Ms } = spec;
  const first = { maxLatencyMs, lack: null };
  if (strategy !== "max_latency" || maxLatencyMs === null || maxLatencyTier2Ms === null) return [first];
  return [first, { maxLatencyMs: maxLatencyTier2Ms, lack: `No path is within ${maxLatencyMs} ms.` }];
}

/** The links of the flows that a flow should be diverse with, by their flows: those that it names, and those that name it. */
function diverseLinks({ books, flowId }: Task, { diverseWith }: FlowSpec): Map<Link, string> {
  const others = new Set([...(diverseWith === null ? [] : [diverseWith]), ...books.diverseTo(flowId)]);
  const links = new Map<Link, string>();
  for (const other of others) {
    const record = books.find(other);
    for (const layout of [record?.standing, record?.planned?.after]) {
      for (const { segments } of layout?.paths ?? []) {
        for (const segment of segments) {
          const link = books.graph.link(segment);
          if (link !== undefined) links.set(link, other);
        }
      }
    }
  }
  return links;
}

const wishOf = (task: Task, spec: FlowSpec, kbps: number, maxLatencyMs: number | null): RouteWish => ({
  from: spec.source.switchId,
  to: spec.destination.switchId,
  strategy: spec.strategy,
  bandwidth: kbps,
  flowId: task.flowId,
  maxLatencyMs,
  avoidSwitches: new Set(task.avoid.switches),
  shunLinks: new Set(diverseLinks(task, spec).keys()),
});

const noSpare = "No path is left for a protected path.";

function choose(task: Task, spec: FlowSpec, options: ChoiceOptions): Choice | undefined {
  const { kbps: bandwidths, needsSpare = false } = options;
  if (spec.source.switchId === spec.destination.switchId) {
    return { main: onOneSwitch, spare: null, kbps: bandwidths[0] ?? 0, lacks: [] };
  }
  for (const kbps of bandwidths) {
    for (const { maxLatencyMs, lack } of limitsOf(spec)) {
      const wish = wishOf(task, spec, kbps, maxLatencyMs);
      const found = chooseRoutes(task, spec, wish, options);
      if (found === undefined || (needsSpare && found.spare === null)) continue;
      const given =
        kbps < wantedKbps(spec) ? [`No path has ${wantedKbps(spec)} kbit/s free: it takes none.`] : [];
      const lacks = [
        ...(lack === null || found.main.latencyMs <= (spec.maxLatencyMs ?? Infinity) ? [] : [lack]),
        ...given,
      ];
      const spareLack = spec.protectedPath && found.spare === null ? [noSpare] : [];
      return { ...found, kbps, lacks: [...lacks, ...spareLack, ...sharedWith(task, spec, found)] };
    }
  }
  return undefined;
}

/** What to say if the routes share a link with the flow that they should be diverse with. */
function sharedWith(task: Task, spec: FlowSpec, { main, spare }: Pick<Choice, "main" | "spare">): string[] {
  if (spec.diverseWith === null) return [];
  const links = diverseLinks(task, spec);
  const isShared = [...main.arcs, ...(spare?.arcs ?? [])].some(
    ({ link }) => links.get(link) === spec.diverseWith,
  );
  return isShared ? [`No path is without the links of flow ${spec.diverseWith}.`] : [];
}

function chooseRoutes(
  task: Task,
  spec: FlowSpec,
  wish: RouteWish,
  { before, kept }: ChoiceOptions,
): Pick<Choice, "main" | "spare"> | undefined {
  const { graph } = task.books;
  const known = (before?.paths ?? []).map((path) => arcsOf(task, path)).filter((arcs) => arcs !== undefined);
  const keptArcs = kept === undefined ? undefined : arcsOf(task, kept);
  const stays = keptArcs === undefined ? undefined : routeAlong(keptArcs, wish);
  const main = stays ?? best(task, wish, known.slice(0, 1));
  if (main === undefined) return undefined;
  if (!spec.protectedPath) return { main, spare: null };
  const spare = best(task, besides(main, wish), known);
  if (spare !== undefined) return { main, spare };
  const pair = searchPair(graph, wish);
  return pair === undefined ? { main, spare: null } : { main: pair[0], spare: pair[1] };
}

/** The best route, or a known one that is as good. */
function best(
  { books: { graph } }: Task,
  wish: RouteWish,
  known: readonly (readonly Arc[])[],
): Route | undefined {
  const [found] = searchRoutes(graph, wish);
  if (found === undefined) return undefined;
  const there = known.map((arcs) => routeAlong(arcs, wish)).filter((route) => route !== undefined);
  return there.find((route) => !isBetter(found, route)) ?? found;
}

/** The arcs of a path; undefined: a link of it is not known. */
function arcsOf({ books: { graph } }: Task, { segments }: Path): readonly Arc[] | undefined {
  const arcs = segments.map((segment) => graph.arc(segment));
  return arcs.every((arc) => arc !== undefined) ? arcs : undefined;
}

/** Whether a path crosses one of the switches to avoid between its ends. */
const crosses = ({ segments }: Path, { switches }: Avoid): boolean =>
  segments.slice(1).some(({ from }) => switches.includes(from));

// What it takes.

/** Makes paths of the routes. A path that is there already on the same way, with the same meters, stays. */
function layOut(task: Task, before: Layout | null, spec: FlowSpec, choice: Choice): Decision | Refusal {
  const wanted = [
    { role: "main" as const, route: choice.main, kbps: choice.mainKbps ?? choice.kbps },
    ...(choice.spare === null
      ? []
      : [{ role: "protected" as const, route: choice.spare, kbps: choice.kbps }]),
  ];
  const paths: Path[] = [];
  const isLarger = takesMore(
    before,
    spec,
    wanted.map(({ route }) => route.arcs),
  );
  const taking = new Taking(task.books, isLarger ? reserve : 0);
  for (const { role, route, kbps } of wanted) {
    const segments = route.arcs.map(segmentOf);
    const { latencyMs } = route;
    const there = before === null ? undefined : standingPath(before, spec, segments);
    if (there !== undefined) {
      paths.push({ ...there, role, bandwidth: kbps, latencyMs });
      continue;
    }
    const id = taking.path();
    const vlan = route.arcs.length === 0 ? null : taking.vlan(route.arcs);
    const { source, destination } = spec;
    const ends =
      spec.bandwidth === 0 ? [null, null] : [source, destination].map((end) => taking.meter(end.switchId));
    const [forward, reverse] = ends;
    if (id === undefined || vlan === undefined || forward === undefined || reverse === undefined) {
      const used =
        id === undefined
          ? "ids of paths"
          : vlan === undefined
            ? "VLANs of its switches"
            : "meters of its ends";
      const but = isLarger ? `, but for ${reserve} that are kept for flows that move` : "";
      return refuse("conflict", `Flow ${task.flowId} has no place: the ${used} are used up${but}.`);
    }
    paths.push({ id, role, segments, vlan, meters: { forward, reverse }, bandwidth: kbps, latencyMs });
  }
  const shortcoming = choice.lacks.length === 0 ? null : choice.lacks.join(" ");
  return { after: { spec, paths }, shortcoming, nextPath: taking.nextPath };
}

/** Whether a flow takes VLANs or meters for good that it does not have: otherwise it gives back as many when it has moved. */
function takesMore(before: Layout | null, spec: FlowSpec, ways: readonly (readonly unknown[])[]): boolean {
  if (
    before === null ||
    (["source", "destination"] as const).some((end) => before.spec[end].switchId !== spec[end].switchId)
  )
    return true;
  const sizeOf = ({ bandwidth }: FlowSpec, all: readonly (readonly unknown[])[]): number =>
    all.filter((way) => way.length > 0).length + (bandwidth === 0 ? 0 : 2 * all.length);
  return (
    sizeOf(spec, ways) >
    sizeOf(
      before.spec,
      before.paths.map(({ segments }) => segments),
    )
  );
}

function standingPath(
  { spec: old, paths }: Layout,
  spec: FlowSpec,
  segments: Path["segments"],
): Path | undefined {
  if (old.bandwidth !== spec.bandwidth) return undefined;
  if (
    old.source.switchId !== spec.source.switchId ||
    old.destination.switchId !== spec.destination.switchId
  ) {
    return undefined;
  }
  const way = JSON.stringify(segments);
  return paths.find((path) => JSON.stringify(path.segments) === way);
}

/** What a decision takes: the lowest that is free, also beside what it has taken itself. */
class Taking {
  nextPath: number;
  readonly #books: Books;
  readonly #vlans = new Set<number>();
  readonly #meters = new Set<string>();
  readonly #left: number;

  /** @param left How many numbers of each kind it leaves free on each switch. */
  constructor(books: Books, left: number) {
    this.#books = books;
    this.#left = left;
    this.nextPath = books.counters.nextPath;
  }

  path(): number | undefined {
    return this.nextPath > lastPath ? undefined : this.nextPath++;
  }

  /** A VLAN that is free on all switches of a route. Endpoints on the ports of its links have theirs, too: the rules would be at one address. */
  vlan(arcs: readonly Arc[]): number | undefined {
    const switches = new Set(arcs.flatMap(({ from, to }) => [from.id, to.id]));
    const ends = arcs.flatMap(({ link }) => link.arcs);
    const taken = [...switches].map((switchId) => this.#books.vlansOf(switchId));
    const mostTaken = vlans.last - vlans.first - this.#left - this.#vlans.size;
    if (taken.some(({ size }) => size > mostTaken)) return undefined;
    const vlan = lowestFree(
      taken,
      vlans,
      (number) =>
        !this.#vlans.has(number) &&
        ends.every(({ from, fromPort }) => this.#books.ownerOf(from.id, fromPort, number) === undefined),
    );
    if (vlan !== undefined) this.#vlans.add(vlan);
    return vlan;
  }

  meter(switchId: string): number | undefined {
    const taken = this.#books.metersOf(switchId);
    const own = [...this.#meters].filter((key) => key.startsWith(`${switchId} `)).length;
    if (taken.size > metersOfFlows.last - metersOfFlows.first - this.#left - own) return undefined;
    const meter = lowestFree([taken], metersOfFlows, (number) => !this.#meters.has(`${switchId} ${number}`));
    if (meter !== undefined) this.#meters.add(`${switchId} ${meter}`);
    return meter;
  }
}

/** The lowest number of a range that is in none of the sets. */
function lowestFree(
  sets: readonly NumberSet[],
  { first, last }: { readonly first: number; readonly last: number },
  fits: (number: number) => boolean,
): number | undefined {
  for (let word = first >> 5; word <= last >> 5; word++) {
    const taken = sets.reduce((all, { words }) => all | (words[word] as number), 0);
    if (taken === -1) continue;
    for (let number = Math.max(first, word << 5); number <= Math.min(last, (word << 5) + 31); number++) {
      if ((taken & (1 << (number & 31))) === 0 && fits(number)) return number;
    }
  }
  return undefined;
}
