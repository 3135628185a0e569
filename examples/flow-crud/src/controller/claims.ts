import { linkKeyOf } from "./graph.ts";
import type { Layout, Path } from "./model.ts";
import type { Plan, Recalled, Refusal } from "./store.ts";

/** What changes a flow. */
export type FlowOperation = "plan" | "closePlan" | "commit" | "recall" | "settle" | "undo";

/** All that is stored of a flow. */
export interface FlowRecord {
  readonly flowId: string;
  /** The highest guard that was seen, which operation it had, and what came of it: a repeated one is answered from here. */
  readonly fence: number;
  readonly step: number;
  readonly operation: FlowOperation;
  /** `plan`, `abandoned`: the answer is `planned`. */
  readonly result: "plan" | "abandoned" | "done" | Recalled | Refusal;
  /** What stands; null: nothing, or no flow. */
  readonly standing: Layout | null;
  /** What is under way: planned, and neither settled nor undone. */
  readonly planned: PlanUnderWay | null;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly info: string | null;
  /** A link of its paths has failed since its last operation: it is to be looked at when the link is back. */
  readonly isTouched: boolean;
  /** That it is to be looked at again, whatever becomes of the runs that work on it; null: all is well, or nothing can be done now. */
  readonly concern: Concern | null;
}

/** Why a flow is to be looked at again, and since when. See `concerns.ts`. */
export interface Concern {
  /** Milliseconds since 1970. */
  readonly since: number;
  /** How often it was handed out since all was well. */
  readonly tries: number;
  /** A reroute has failed, and is to be made again. Otherwise a run should see to it. */
  readonly hasFailed: boolean;
  /** The network asks for it. Otherwise it is a run that may have ended in the middle. */
  readonly isOwed: boolean;
}

/** A plan, and how far it is. */
export interface PlanUnderWay extends Plan {
  /** The fence of its run. */
  readonly fence: number;
  readonly isCommitted: boolean;
  /** See `Intent`. */
  readonly keep: boolean;
  readonly isAutomatic: boolean;
}

/** Whether nothing is left of a flow but its guard. */
export const isGone = ({ standing, planned }: FlowRecord): boolean => standing === null && planned === null;

/** The layout to show; null: the flow is not there, or no more. A flow that is being created is shown without paths. */
export function shownLayout({ standing, planned }: FlowRecord): Layout | null {
  if (standing !== null || planned === null || planned.isCommitted || planned.after === null) return standing;
  return { spec: planned.after.spec, paths: [] };
}

/** Something that a flow has of the network, and that no other one may have at the same time, or only a share of it. */
export type Claim =
  | { readonly kind: "path"; readonly pathId: number; readonly flowId: string }
  | {
      readonly kind: "endpoint";
      readonly switchId: string;
      readonly port: number;
      readonly vlan: number;
      readonly flowId: string;
    }
  | { readonly kind: "vlan"; readonly switchId: string; readonly vlan: number; readonly pathId: number }
  | { readonly kind: "meter"; readonly switchId: string; readonly meter: number; readonly pathId: number }
  | {
      readonly kind: "share";
      readonly link: string;
      readonly flowId: string;
      /** Kilobits per second. */
      readonly kbps: number;
    };

/** The key of an endpoint. */
export const endpointKeyOf = (switchId: string, port: number, vlan: number): string =>
  `${switchId} ${port} ${vlan}`;

/** What is claimed, by who can have it. Two claims of one key cannot be there at the same time. */
export function keyOf(claim: Claim): string {
  switch (claim.kind) {
    case "path":
      return `path ${claim.pathId}`;
    case "endpoint":
      return `endpoint ${endpointKeyOf(claim.switchId, claim.port, claim.vlan)}`;
    case "vlan":
      return `vlan ${claim.switchId} ${claim.vlan}`;
    case "meter":
      return `meter ${claim.switchId} ${claim.meter}`;
    case "share":
      return `share ${claim.link} ${claim.flowId}`;
  }
}

/** Whether two claims of one key are the same. */
export function isSameClaim(one: Claim, other: Claim): boolean {
  if (one.kind === "share") return other.kind === "share" && one.kbps === other.kbps;
  const ownerOf = (claim: Claim): string | number => ("pathId" in claim ? claim.pathId : claim.flowId);
  return ownerOf(one) === ownerOf(other);
}

/** The switches that a path crosses, with both ends. */
const switchesOf = ({ segments }: Path): string[] =>
  segments.length === 0
    ? []
    : [(segments[0] as Path["segments"][number]).from, ...segments.map(({ to }) => to)];

/** The layouts of which a flow has what they need. */
const layoutsOf = ({ standing, planned }: FlowRecord): Layout[] =>
  (planned === null ? [standing] : [planned.before, planned.after]).filter((layout) => layout !== null);

/** Whether two records of a flow have the same by their very layouts: most steps change no layout. */
export function areOfSameLayouts(one: FlowRecord, other: FlowRecord): boolean {
  const [ones, others] = [layoutsOf(one), layoutsOf(other)];
  return ones.length === others.length && ones.every((layout, index) => layout === others[index]);
}

/**
 * All that a flow has, by keys. While two layouts stand side by side, it has what either of them needs. Of a link that both use, it has
 * the larger of both shares and not the sum: its packets take the old way or the new one and never both.
 */
export function claimsOf(record: FlowRecord): Map<string, Claim> {
  const claims = new Map<string, Claim>();
  const add = (claim: Claim): void => void claims.set(keyOf(claim), claim);
  const { flowId } = record;
  const shares = new Map<string, number>();
  for (const layout of layoutsOf(record)) {
    const { source, destination } = layout.spec;
    for (const { switchId, port, vlan } of [source, destination]) {
      add({ kind: "endpoint", switchId, port, vlan, flowId });
    }
    const own = new Map<string, number>();
    for (const path of layout.paths) {
      const { id: pathId, vlan, meters } = path;
      add({ kind: "path", pathId, flowId });
      if (vlan !== null)
        for (const switchId of switchesOf(path)) add({ kind: "vlan", switchId, vlan, pathId });
      const { forward, reverse } = meters;
      if (forward !== null) add({ kind: "meter", switchId: source.switchId, meter: forward, pathId });
      if (reverse !== null) add({ kind: "meter", switchId: destination.switchId, meter: reverse, pathId });
      for (const segment of path.segments) {
        const link = linkKeyOf(segment);
        own.set(link, (own.get(link) ?? 0) + path.bandwidth);
      }
    }
    for (const [link, kbps] of own) shares.set(link, Math.max(kbps, shares.get(link) ?? 0));
  }
  for (const [link, kbps] of shares) add({ kind: "share", link, flowId, kbps });
  return claims;
}
