import {
  end,
  hub,
  WheelworkError,
  type AnyHub,
  type Failure,
  type Hub,
  type Schema,
  type Spoke,
} from "@wheelwork/core";
import {
  hasNoEnd,
  maxCallMs,
  textOf,
  type ExclusiveDefinition,
  type HubDefinition,
} from "@wheelwork/core/kernel";
import { hash as digest } from "node:crypto";
import { addressOf, tellHubName } from "../ports/keys.ts";
import { postSpokeName, type Letter } from "../ports/posts.ts";
import { foreverMs } from "./calls.ts";
import type { Worker } from "../attempts/worker.ts";
import type { Schedule } from "../schedules/schedule.ts";

export function collectHubs(
  hubs: readonly AnyHub[],
  schedules: readonly Schedule[] = [],
): Map<string, AnyHub> {
  const collected = new Map<string, AnyHub>();
  const add = (hub: AnyHub): void => {
    const known = collected.get(hub.name);
    if (known === hub) return;
    if (known !== undefined) {
      throw new WheelworkError("WW_CONFIG", `two hubs are named ${hub.name}`, {
        next: "Give each hub a name of its own.",
      });
    }
    collected.set(hub.name, hub);
    for (const callee of hub.definition.callees.values())
      if (callee.kind === "hub") add(callee as unknown as AnyHub);
  };
  for (const hub of hubs) add(hub);
  for (const { hub } of schedules) add(hub);
  checkLanes(collected.values());
  checkAddressees(collected);
  return collected;
}

/** The hubs of a lane share its places, so that they must agree how many there are. */
function checkLanes(hubs: Iterable<AnyHub>): void {
  const first = new Map<string, HubDefinition>();
  const problems: { path: string; message: string }[] = [];
  for (const { definition } of hubs) {
    const { exclusive, name } = definition;
    if (exclusive === undefined) continue;
    const { lane, slots } = exclusive;
    const other = first.get(lane);
    if (other === undefined) first.set(lane, definition);
    else if (other.exclusive?.slots !== slots) {
      const message = `the hub ${other.name} gives the lane ${lane} ${other.exclusive?.slots} slots, and the hub ${name} ${slots}`;
      problems.push({ path: "hubs", message });
    }
  }
  if (problems.length === 0) return;
  throw new WheelworkError("WW_CONFIG", "the hubs of a lane do not agree", {
    problems,
    next: "Give all hubs of a lane the same number of slots.",
  });
}

/** How many places each lane has, by its name. */
export function placesOf(hubs: Iterable<AnyHub>): ReadonlyMap<string, number> {
  const places = new Map<string, number>();
  for (const { definition } of hubs) {
    const { exclusive } = definition;
    if (exclusive !== undefined) places.set(exclusive.lane, exclusive.slots);
  }
  return places;
}

/** Hubs that others start or send signals by their names. */
function checkAddressees(hubs: ReadonlyMap<string, AnyHub>): void {
  const problems: { path: string; message: string }[] = [];
  for (const { name, definition } of hubs.values()) {
    for (const { logic, name: state } of definition.states.values()) {
      const { addressee, sends } = logic;
      if (addressee === undefined) continue;
      const to = hubs.get(addressee)?.definition;
      const where = `the state ${state} of the hub ${name}`;
      if (to === undefined)
        problems.push({ path: "hubs", message: `${where} names the hub ${addressee}, which is not there` });
      else if (sends !== undefined && !Object.hasOwn(to.signals, sends))
        problems.push({
          path: "hubs",
          message: `${where} sends ${addressee} the signal ${sends}, which it does not take`,
        });
    }
  }
  if (problems.length === 0) return;
  throw new WheelworkError("WW_CONFIG", "hubs name others that the engine does not have so", {
    problems,
    next: "Give the engine all hubs that its hubs name.",
  });
}

export function checkWorkers(hubs: ReadonlyMap<string, AnyHub>, workers: readonly Worker[]): void {
  const served = new Map(workers.map((worker) => [worker.spoke.name, worker.spoke]));
  const problems = new Map<string, string>();
  const seen = new Set<string>();
  for (const { spoke } of workers) {
    if (seen.has(spoke.name)) problems.set(spoke.name, `two workers serve the spoke ${spoke.name}`);
    seen.add(spoke.name);
  }
  for (const { name, definition } of hubs.values()) {
    for (const callee of definition.callees.values()) {
      if (callee.kind === "hub") continue;
      const spoke = served.get(callee.name);
      if (spoke === undefined)
        problems.set(callee.name, `the hub ${name} calls the spoke ${callee.name}, which no worker serves`);
      else if (spoke !== callee)
        problems.set(callee.name, `the worker of ${callee.name} serves another spoke of that name`);
    }
  }
  if (problems.size === 0) return;
  throw new WheelworkError("WW_CONFIG", "the engine cannot be made", {
    problems: [...problems.values()].map((message) => ({ path: "workers", message })),
    next: "Give the engine a worker for each spoke that its hubs call.",
  });
}

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

/** What a tell knows. */
interface Told {
  readonly input: unknown;
  /** Why its last attempt has failed. */
  readonly why?: string;
}

const reasonOf = (failure: Failure): string =>
  failure.kind === "timeout" ? "timeout" : `${failure.code}: ${failure.message}`.slice(0, 1000);

const dayMs = 86_400_000;

/** How long a tell may take: a day, or longer if its attempts take longer. Waiting for a place of its spoke is part of it. */
const tellMs = (spoke: Spoke): number => (hasNoEnd(spoke) ? dayMs : Math.max(dayMs, maxCallMs(spoke) + 1000));

/** A tell is a separate run of a built-in hub that makes one call. It is retried as its spoke says, recorded, and independent. */
export function tellHubs(workers: readonly Worker[]): HubDefinition[] {
  return workers.map(({ spoke }) => {
    const told = hub(
      "tell",
      {
        request: anything,
        reply: anything,
        errors: ["not-delivered"],
        deadlineMs: tellMs(spoke),
        chart: { Telling: { Delivered: "Told", Failed: "Lost" }, Told: end, Lost: end },
        data: (request): Told => request as Told,
      },
      {
        Telling: (s) =>
          s.call(spoke as Spoke, {
            input: ({ input }) => input,
            ok: "Delivered",
            failed: (_told, failure) => s.raise("Failed", { why: reasonOf(failure) }),
            deadline: "Failed",
          }),
        Told: () => ({}),
        Lost: ({ why = "its time is over" }, s) => s.fail("not-delivered", `${notTaken(spoke)}: ${why}`),
      },
    );
    const { name } = spoke;
    const definition = { ...told.definition, name: tellHubName(name) };
    return name === postSpokeName ? { ...definition, exclusive: inOrder, deadlineMs: postMs } : definition;
  });
}

/** How long it may take until a post is taken. The answer of a call is owed as long as its caller may come back. */
const postMs = (request: unknown): number => (letterIn(request).post.kind === "outcome" ? foreverMs : dayMs);

const letterIn = (request: unknown): Letter => (request as { readonly input: Letter }).input;

const notTaken = ({ name }: Spoke): string =>
  name === postSpokeName
    ? "what a run has posted to another one was not taken"
    : `the spoke ${name} did not take what it was told`;

/** The runs that carry posts of one run to another follow each other. They are all in the shard of the sender. */
const inOrder: ExclusiveDefinition = {
  lane: postSpokeName,
  by: (request) => {
    const { from, post } = letterIn(request);
    const to = "to" in post ? post.to : addressOf("id" in post ? post.id : (post.key ?? ""));
    return digest("sha256", `${from}\n${to}`, "hex");
  },
  slots: 1,
  whenBusy: "queue",
  queueMs: dayMs,
  queueLimit: 1_000_000,
  isOfShard: true,
};

/** The hub that a request names. @throws WheelworkError WW_HUB_UNKNOWN. */
export function servedBy(hubs: ReadonlyMap<string, AnyHub>, hub: Hub<never> | string): HubDefinition {
  const name = nameOf(hub);
  const served = typeof name === "string" ? hubs.get(name) : undefined;
  if (served !== undefined) return served.definition;
  throw new WheelworkError("WW_HUB_UNKNOWN", `this engine serves no hub ${textOf(name)}`, {
    next: `It serves: ${[...hubs.keys()].join(", ")}.`,
  });
}

/** The name of what is to be a hub. Callers may give anything. */
function nameOf(hub: unknown): unknown {
  if (typeof hub !== "object" || hub === null) return hub;
  try {
    return (hub as { readonly name?: unknown }).name;
  } catch {
    return hub;
  }
}
