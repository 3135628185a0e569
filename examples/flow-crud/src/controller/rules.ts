import {
  addressOf,
  hexOf,
  isSameRule,
  type Action,
  type Endpoint,
  type FlowRule,
  type FlowSpec,
  type Layout,
  type MeterRule,
  type Path,
  type Rule,
} from "./model.ts";

/** The priority of rules that match a VLAN, as in OpenKilda; one for a whole port comes after them. */
const priority = 24_576;

/** A direction of a path. */
export type Direction = "forward" | "reverse";

const directionBit: Readonly<Record<Direction, bigint>> = { forward: 1n << 62n, reverse: 1n << 61n };

/** All cookies of flows: one of the two bits of directions, and not the one of service rules. */
export const cookieBits = directionBit.forward | directionBit.reverse;

/** The cookie of the rules of a direction of a path: OpenKilda's bits 62 and 61, and the id of the path. */
export function cookieOfPath(path: Pick<Path, "id">, direction: Direction): string {
  return hexOf(directionBit[direction] | BigInt(path.id));
}

/** What a cookie says; undefined: it is none of a flow. */
export function pathOfCookie(
  cookie: bigint,
): { readonly pathId: number; readonly direction: Direction } | undefined {
  const direction = (["forward", "reverse"] as const).find(
    (one) => (cookie >> 44n) << 44n === directionBit[one],
  );
  return direction === undefined ? undefined : { pathId: Number(cookie & ((1n << 44n) - 1n)), direction };
}

/** A hop of a direction: it comes in on a port of a switch and leaves by another one. */
export interface Hop {
  readonly switchId: string;
  readonly inPort: number;
  readonly outPort: number;
}

/** The switches of a path, in the order of a direction. */
export function hopsOf(
  { source, destination }: FlowSpec,
  { segments }: Path,
  direction: Direction,
): readonly Hop[] {
  const ends = direction === "forward" ? ([source, destination] as const) : ([destination, source] as const);
  const links =
    direction === "forward"
      ? segments
      : segments
          .map(({ from, fromPort, to, toPort }) => ({
            from: to,
            fromPort: toPort,
            to: from,
            toPort: fromPort,
          }))
          .toReversed();
  const inPorts = [ends[0].port, ...links.map(({ toPort }) => toPort)];
  const outPorts = [...links.map(({ fromPort }) => fromPort), ends[1].port];
  const switches = [ends[0].switchId, ...links.map(({ to }) => to)];
  return switches.map((switchId, index) => ({
    switchId,
    inPort: inPorts[index] as number,
    outPort: outPorts[index] as number,
  }));
}

const output = ({ inPort, outPort }: Hop): Action => ({
  type: "output",
  port: inPort === outPort ? "in" : outPort,
});

/** Makes the VLAN of a packet another one. 0: it has none that counts. */
function retag(from: number, to: number): Action[] {
  if (from === to) return [];
  if (to === 0) return [{ type: "popVlan" }];
  return from === 0 ? [{ type: "pushVlan" }, { type: "setVlan", vlan: to }] : [{ type: "setVlan", vlan: to }];
}

/** What one direction of a path needs: its meter, and its rules from the entry on. */
export function rulesOfDirection(spec: FlowSpec, path: Path, direction: Direction): readonly Rule[] {
  const [entry, ...others] = flowRulesOf(spec, path, direction);
  const isOpen = path.role === "main" && entry !== undefined;
  return [...meterOf(spec, path, direction), ...(isOpen ? [entry] : []), ...others];
}

/** The rules of one direction of a path, the one at its entry first. */
function flowRulesOf(spec: FlowSpec, path: Path, direction: Direction): FlowRule[] {
  const [entry, exit]: readonly [Endpoint, Endpoint] =
    direction === "forward" ? [spec.source, spec.destination] : [spec.destination, spec.source];
  const cookie = cookieOfPath(path, direction);
  const hops = hopsOf(spec, path, direction);
  const last = hops.length - 1;
  return hops.map((hop, index) => {
    const before = index === 0 ? entry.vlan : (path.vlan as number);
    const after = index === last ? exit.vlan : (path.vlan as number);
    return {
      kind: "rule",
      switchId: hop.switchId,
      cookie,
      priority: before === 0 ? priority - 1 : priority,
      inPort: hop.inPort,
      vlan: before === 0 ? null : before,
      meter: index === 0 ? path.meters[direction] : null,
      actions: [...retag(before, after), output(hop)],
    };
  });
}

/** What a flow needs on its switches: what must be there before packets may enter a path, and what lets them in. */
export interface FlowRules {
  /** Meters, and the rules behind the entries of all paths. */
  readonly inner: readonly Rule[];
  /** The rules at the two entries of the main path. */
  readonly entries: readonly Rule[];
}

/**
 * The rules of a flow. A protected path has no entries: its rules wait for the packets that a swap sends to them.
 */
export function rulesOf(layout: Layout | null): FlowRules {
  const inner: Rule[] = [];
  const entries: Rule[] = [];
  if (layout === null) return { inner, entries };
  const { spec, paths } = layout;
  for (const path of paths) {
    for (const direction of ["forward", "reverse"] as const) {
      const [entry, ...others] = flowRulesOf(spec, path, direction);
      inner.push(...meterOf(spec, path, direction), ...others);
      if (path.role === "main" && entry !== undefined) entries.push(entry);
    }
  }
  return { inner, entries };
}

function meterOf(spec: FlowSpec, path: Path, direction: Direction): MeterRule[] {
  const meter = path.meters[direction];
  if (meter === null) return [];
  const { switchId } = direction === "forward" ? spec.source : spec.destination;
  return [
    { kind: "meter", switchId, cookie: cookieOfPath(path, direction), meter, rateKbps: spec.bandwidth },
  ];
}

/** What leads from the rules of one layout to those of another one. Each list goes to its switches at the same time. */
export interface Steps {
  /** First: what the new layout has behind its entries. */
  readonly inner: readonly Rule[];
  /** Then, and only if all of that is there: its entries, which take the place of the old ones. */
  readonly entries: readonly Rule[];
  /** At last: what only the old layout has. */
  readonly removed: readonly Rule[];
  /** To go back instead: what the new layout has overwritten, … */
  readonly restored: readonly Rule[];
  /** … and then what only the new layout has, to be removed. */
  readonly withdrawn: readonly Rule[];
}

const placeOf = (rule: Rule): string => `${rule.switchId} ${addressOf(rule)}`;

/**
 * The steps from a layout to another one, make before break. null: there is no flow, or none any more.
 * @param all Tells the switches also what they should have already.
 */
export function stepsBetween(before: Layout | null, after: Layout | null, all = false): Steps {
  const [old, next] = [rulesOf(before), rulesOf(after)];
  const oldRules = [...old.inner, ...old.entries];
  const nextRules = [...next.inner, ...next.entries];
  // A flow that is created replaces nothing.
  if (oldRules.length === 0) return { ...next, removed: [], restored: [], withdrawn: nextRules };
  const oldAt = new Map(oldRules.map((rule) => [placeOf(rule), rule]));
  const nextAt = new Map(nextRules.map((rule) => [placeOf(rule), rule]));
  const isNew = (rule: Rule): boolean => {
    const there = oldAt.get(placeOf(rule));
    return all || there === undefined || !isSameRule(there, rule);
  };
  return {
    inner: next.inner.filter(isNew),
    entries: next.entries.filter(isNew),
    removed: oldRules.filter((rule) => !nextAt.has(placeOf(rule))),
    restored: oldRules.filter((rule) => {
      const there = nextAt.get(placeOf(rule));
      return there !== undefined && !isSameRule(there, rule);
    }),
    withdrawn: nextRules.filter((rule) => !oldAt.has(placeOf(rule))),
  };
}

/** Rules by their switches: each switch gets its own in one command. */
export function bySwitch(rules: readonly Rule[]): { readonly switchId: string; readonly rules: Rule[] }[] {
  return [...Map.groupBy(rules, ({ switchId }) => switchId)].map(([switchId, own]) => ({
    switchId,
    rules: own,
  }));
}
