import * as z from "zod";
import { FlowChanges, FlowId, FlowSpec, Layout, SwitchId, type Segment } from "./model.ts";

/**
 * Who changes a flow: the place of its run in the lane of the flow, and the number of its step. A store refuses a lower pair than it has
 * seen of a flow (`superseded`), and gives the same result again for an equal one. So an attempt that was given up and comes late changes
 * nothing, and one that is repeated changes nothing twice.
 */
export interface Guard {
  readonly fence: number;
  readonly step: number;
}

/** What is to become of a flow. */
export const Intent = z.discriminatedUnion("kind", [
  /** `keep`: if it is undone, the flow stays, DOWN and without paths. */
  z.object({ kind: z.literal("create"), spec: FlowSpec, keep: z.boolean().optional() }),
  /** `changes`: what is to be other than it is. */
  z.object({ kind: z.literal("update"), changes: FlowChanges }),
  /**
   * A path for the network as it is now. `isAutomatic`: only if the flow is not UP, and what is lost must be found again: a broken
   * protected path is first swapped to (the plan then has the roles exchanged and the broken path replaced, if that can be).
   * Otherwise a path that the strategy finds better, too.
   */
  z.object({ kind: z.literal("reroute"), isAutomatic: z.boolean() }),
  /** The protected path becomes the main one. */
  z.object({ kind: z.literal("swap") }),
  /** It stays as it is. */
  z.object({ kind: z.literal("sync") }),
  z.object({ kind: z.literal("delete") }),
]);
export type Intent = z.output<typeof Intent>;

/** Why a flow does not become what it should. */
export const refusals = [
  /** There is a flow of this id. */
  "exists",
  /** Another flow has an endpoint, or the VLANs, meters or ids are used up. */
  "conflict",
  /** There is no such flow. */
  "unknown",
  /** No path fits. */
  "no-path",
  /** What is asked for cannot be: a switch that is not known, an endpoint on the port of a link, and so on. */
  "invalid",
  /** It is pinned, and to be rerouted. */
  "pinned",
  /** An end is on a switch that is not connected. */
  "inactive",
] as const;
type RefusalCode = (typeof refusals)[number];

/** Why not; its message is for people. */
export interface Refusal {
  readonly code: RefusalCode | "superseded";
  readonly message: string;
}

/** What is to be done, with all that it needs taken already. */
export const Plan = z.object({
  /** Rises with each plan of any flow, by one thousand at least: see `Command.seq` of the switches. */
  version: z.int(),
  /** What stands; null: there is no flow yet. */
  before: Layout.nullable(),
  /** What shall stand; null: none any more. Paths that stay have the same ids. */
  after: Layout.nullable(),
  /** `after` has another main path than `before`. */
  isMoved: z.boolean(),
  /** What of the wish could not be had, such as a protected path, for people. */
  shortcoming: z.string().nullable(),
});
export type Plan = z.output<typeof Plan>;

/**
 * What a run that has ended has left of a flow: a plan that was neither settled nor undone, since an operator has ended the run in the middle,
 * or a defect. It keeps what it has taken, and its rules may be on switches, until the next run of the flow has closed it.
 */
export const Abandoned = z.object({
  abandoned: Plan,
  /** Its layout stands, and what only the old one had is left. Otherwise it is to be undone. */
  isCommitted: z.boolean(),
});
export type Abandoned = z.output<typeof Abandoned>;

/** What a plan must not use: switches that have just refused or not answered. */
export const Avoid = z.object({ switches: z.array(SwitchId) });
export type Avoid = z.output<typeof Avoid>;

/** A flow as it is stored. */
export interface StoredFlow extends Layout {
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly updatedAt: number;
  /** Why it is not what it should be, for people; null: it is. */
  readonly info: string | null;
  /** What is derived from its paths and their links: UP, DOWN or DEGRADED. Whether a run works on it is for the engine to say. */
  readonly status: "UP" | "DOWN" | "DEGRADED";
  /** Of each path, by its id: whether all its links are there. */
  readonly live: Readonly<Record<number, boolean>>;
}

/** A switch that is or was connected. */
export interface StoredSwitch {
  readonly switchId: string;
  readonly isConnected: boolean;
  readonly address: string;
  readonly description: string;
  readonly ports: readonly StoredPort[];
}
export interface StoredPort {
  readonly port: number;
  readonly name: string;
  readonly isUp: boolean;
  /** Kilobits per second; 0: not known. */
  readonly speedKbps: number;
}

/** One direction of a link. Both directions are stored, and fail and come back together. */
export interface StoredLink extends Segment {
  readonly isUp: boolean;
  readonly cost: number;
  readonly latencyMs: number;
  /**
   * Kilobits per second that flows may have of it, and those that they have. `used` never exceeds `bandwidth`: the schema says so. A flow
   * whose old and new path both have the link has the larger of both shares and not the sum: its packets never take both.
   */
  readonly bandwidth: number;
  readonly used: number;
}

/**
 * The book of rules that goes with a store of flows: its name, and how often it was opened, in numbers that only rise. Who has it open drives
 * the switches.
 */
export const BookMark = z.object({ name: z.string(), generation: z.int() });
export type BookMark = Readonly<z.output<typeof BookMark>>;

/** Whether another book has been opened since, or the same one again. Who has opened this one drives the switches no more. */
export const isSuperseded = (mark: BookMark, last: BookMark | undefined): boolean =>
  last !== undefined && (mark.name !== last.name || mark.generation < last.generation);

/** Who tells something of the network. Without it, nobody asks. */
const by = BookMark.optional();

/** What happens in the network. */
export const NetworkEvent = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("switch"),
    switchId: SwitchId,
    isConnected: z.boolean(),
    address: z.string(),
    description: z.string(),
    /** Absent: as before. */
    ports: z
      .array(z.object({ port: z.int(), name: z.string(), isUp: z.boolean(), speedKbps: z.int().min(0) }))
      .optional(),
    by,
  }),
  z.object({
    kind: z.literal("port"),
    switchId: SwitchId,
    port: z.int(),
    name: z.string(),
    isUp: z.boolean(),
    speedKbps: z.int().min(0),
    by,
  }),
  /** A link was found, is there again, or has failed. It stands for both directions. */
  z.object({
    kind: z.literal("link"),
    from: SwitchId,
    fromPort: z.int(),
    to: SwitchId,
    toPort: z.int(),
    isUp: z.boolean(),
    latencyMs: z.number().min(0).optional(),
    /** Kilobits per second, when it is found first. */
    speedKbps: z.int().min(0).optional(),
    by,
  }),
]);
export type NetworkEvent = z.output<typeof NetworkEvent>;

/** What an event is about: a switch, a port, or a link, whichever end is named first. Events of the same thing follow one another. */
export function subjectOf(event: NetworkEvent): string {
  if (event.kind === "switch") return `switch ${event.switchId}`;
  if (event.kind === "port") return `port ${event.switchId} ${event.port}`;
  const ends = [`${event.from} ${event.fromPort}`, `${event.to} ${event.toPort}`].toSorted();
  return `link ${ends.join(" ")}`;
}

/** How soon flows are looked at again. */
export const Pace = z.object({
  /** The most that are taken at once. */
  limit: z.int().min(1),
  /** So long after a reroute that has failed, in milliseconds. */
  firstMs: z.int().min(0),
  /** So long after whatever should have ended by then, in milliseconds. */
  patienceMs: z.int().min(0),
  /** Both double with each try, up to this, in milliseconds. */
  mostMs: z.int().min(0),
});
export type Pace = z.output<typeof Pace>;

/** Flows to be looked at again. */
export const DueFlows = z.object({
  /** What is due longest first. */
  flows: z.array(FlowId),
  /** Those for which something has been given back that they lack: the most important first. */
  freed: z.array(FlowId).default([]),
  /** When the next look is worth it, in milliseconds from now: one that the network concerns is due then, or what was given back lately is to be looked at; null: never. */
  nextInMs: z.number().min(0).nullable(),
});
export type DueFlows = z.output<typeof DueFlows>;

/** A flow, as far as it says what its switches should have. */
export interface FlowMark {
  readonly flowId: string;
  readonly standing: Layout | null;
  /** A plan that was neither settled nor undone. */
  readonly planned: (Pick<Plan, "version" | "before" | "after"> & { readonly isCommitted: boolean }) | null;
}

/** How far a store of flows has come. Its numbers only rise, unless it is restored from an older backup. */
export interface StoreAge {
  /** The version of the last plan; 0: it has never planned. */
  readonly lastPlan: number;
  /** The id of the next path. */
  readonly nextPath: number;
}

/** What a store of flows says of its past, for those who keep something that must go with it. */
export interface FlowMarks extends StoreAge {
  readonly flows: readonly FlowMark[];
}

/** The numbers of the steps of a run, in their order: see `Guard`. */
export const steps = { plan: 1, commit: 2, recall: 3, settle: 4, undo: 5, close: 6 } as const;
/** A run that asks for another plan begins its steps anew, above those of the round before. */
export const stepsPerRound = 10;

/** Which flows to list. */
export interface FlowFilter {
  readonly status?: StoredFlow["status"];
  /** After this id. */
  readonly after?: string;
  readonly limit: number;
}

/** How far a plan has come: its commit has not come true, has, or has and nothing is left to settle. */
export const Recalled = z.enum(["open", "committed", "settled"]);
export type Recalled = z.output<typeof Recalled>;

/**
 * What the controller knows: the network, flows, paths, and what they have taken. Invariants are in the schema: a link is never
 * over-booked; an endpoint, a meter of a switch and a VLAN on a switch belong to one path or flow at most.
 */
export interface FlowStore {
  /**
   * Decides how a flow becomes what it should be, and takes all that the new layout needs beyond the old one, in one transaction. The old
   * layout keeps what it has until `settle`. An earlier plan of the same run, that was not committed, is undone first: this is its next try, and
   * its rules are gone. A plan of an earlier run is given back instead (`Abandoned`): only who has seen to its rules may close it.
   */
  plan(flowId: string, guard: Guard, intent: Intent, avoid: Avoid): Promise<Plan | Abandoned | Refusal>;
  /**
   * Closes the plan that an earlier run has left, when the switches are told what that run would have told them at last: one that was
   * committed is settled, one that was not is undone. Without such a plan it is done.
   */
  closePlan(flowId: string, guard: Guard): Promise<"done" | Refusal>;
  /**
   * The new layout stands from now on. `settles`: the old one is given back in the same transaction, as `settle` does it. Of one that is null,
   * the flow is shown no more, and its id is not free yet. `unknown`: the run of this guard has no plan.
   */
  commit(
    flowId: string,
    guard: Guard,
    settles: { readonly info: string | null } | null,
  ): Promise<"done" | Refusal>;
  /**
   * What has come of a commit of which nobody knows. From then on it does not come true any more, if it has not yet: a late attempt of it is
   * superseded. `open`: it has not.
   */
  recall(flowId: string, guard: Guard): Promise<Recalled | Refusal>;
  /** Gives back what only the old layout has had. `info`: see `StoredFlow`. `unknown`: the run of this guard has no committed plan. */
  settle(flowId: string, guard: Guard, info: string | null): Promise<"done" | Refusal>;
  /**
   * Gives back what only the new layout has had. A flow that was to be created stays, without paths, as DOWN, if its intent says `keep`;
   * otherwise nothing is left of it. `info`: why, if a flow remains; null: what it was before.
   *
   * It is possible until `settle`, also after `commit`: a run that does not know what came of its commit can go back. Without a plan of the
   * run, it notes `info` and is done: what comes later of an earlier step is superseded. The plan of another run stays: see `closePlan`.
   */
  undo(flowId: string, guard: Guard, info: string | null): Promise<"done" | Refusal>;

  /** A flow that is being created is shown without paths, as DOWN, from its plan on. */
  flow(flowId: string): Promise<StoredFlow | undefined>;
  /** In the order of their ids. */
  flows(filter: FlowFilter): Promise<readonly StoredFlow[]>;
  /** How many flows there are, by status. */
  counts(): Promise<Readonly<Record<StoredFlow["status"], number>>>;

  /**
   * Notes what has happened in the network, and says which flows it concerns: if a link has failed, those with a path on it; if a link or a
   * switch is there again, those that are not UP, and those with a path on the link that no operation has settled since it failed, or
   * that say what they lack. Pinned ones are left out. Those of lower priority numbers come first, then those of more bandwidth. The same event again concerns the same flows
   * again, as long as nobody has worked on them.
   *
   * A link that is found on a port with another link replaces that one, which has failed then. Links are never forgotten.
   *
   * An event by somebody who drives the switches no more (`by`, `isSuperseded`) changes nothing, and concerns no flow.
   */
  note(event: NetworkEvent): Promise<readonly string[]>;
  /**
   * Takes flows that are due to be looked at again: whose automatic reroute has failed for a reason that may pass by itself, and those of which
   * a run or a reroute should have come to its end by now. They are due again later until an operation on them ends well, so none is lost
   * with whoever takes it. A reroute that finds no path, or an end that is away, is not due: it waits for the network, or for others to give
   * back what it lacks.
   *
   * Once in `firstMs` at most, it also looks whether that has happened, and takes the flows that it makes better, each beside those that are
   * more important.
   */
  takeDue(pace: Pace): Promise<DueFlows>;
  /**
   * Whether somebody is to call `takeDue`, since something has been given back for which a flow may wait. Only one is told so at a time: who
   * asks promises to see to it, and is told so again. It knows of what this process has done or seen; others say it for themselves.
   * @param by Who asks.
   */
  promiseLook(by: string): boolean;
  switches(): Promise<readonly StoredSwitch[]>;
  links(): Promise<readonly StoredLink[]>;
  /** Changes what an operator may of both directions of a link. @returns Whether there is such a link. A bandwidth below `used` is refused. */
  changeLink(
    link: Segment,
    change: { readonly cost?: number; readonly latencyMs?: number; readonly bandwidth?: number },
  ): Promise<boolean | Refusal>;
  /** What does not fit together: links whose `used` is not the sum of what flows have, and resources without an owner. For tests and for people. */
  audit(): Promise<readonly string[]>;
  close(): Promise<void>;
}
