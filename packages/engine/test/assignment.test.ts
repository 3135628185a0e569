import { WheelworkError } from "@wheelwork/core";
import { SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";
import {
  claimFailureOf,
  isWanted,
  ShardAssignment,
  transition,
  type AssignmentAction,
  type AssignmentEvent,
  type AssignmentState,
  type ClaimFailure,
} from "../src/cluster/assignment.ts";

const now = 1000;
const unassigned: AssignmentState = { name: "unassigned" };
const causes: readonly ClaimFailure[] = ["too-old", "unfit", "broken", "for-now"];

/** A shard to which all this happens: its last state, and what was to be done about the last event. */
function after(...events: readonly AssignmentEvent[]) {
  let [state, actions]: [AssignmentState, readonly AssignmentAction[]] = [unassigned, []];
  for (const event of events) ({ state, actions } = transition(state, event));
  return { state, actions };
}

const [assigned, takenAway] = [{ type: "assigned" }, { type: "unassigned" }] as const;
const [claimed, released, retry] = [{ type: "claimed" }, { type: "released" }, { type: "retry" }] as const;
const [takenOver, outdated, broken] = [
  { type: "taken-over" },
  { type: "outdated" },
  { type: "broken" },
] as const;
const [fit, unfit] = [{ type: "fit" }, { type: "unfit" }] as const;
const stillFenced = { type: "still-fenced" } as const;
const failed = (cause: ClaimFailure): AssignmentEvent => ({ type: "claim-failed", cause, now });
const checked = (isLost: boolean, at = now): AssignmentEvent => ({ type: "store-checked", isLost, now: at });

test("a shard is claimed when the group gives it, and let go when the group takes it away", () => {
  expect(after(assigned)).toMatchObject({ state: { name: "claiming" }, actions: ["claim"] });
  expect(after(assigned, claimed)).toMatchObject({ state: { name: "owned" }, actions: [] });
  expect(after(assigned, claimed, assigned)).toMatchObject({
    state: { name: "owned" },
    actions: ["confirm"],
  });
  expect(after(assigned, claimed, takenAway)).toMatchObject({
    state: { name: "releasing" },
    actions: ["release"],
  });
  expect(after(assigned, claimed, takenAway, released)).toMatchObject({ state: unassigned, actions: [] });
});

test("what the group says while a shard is claimed or let go counts when that is over", () => {
  expect(after(assigned, takenAway)).toMatchObject({ state: { name: "claiming" }, actions: [] });
  expect(after(assigned, takenAway, claimed)).toMatchObject({
    state: { name: "releasing" },
    actions: ["release"],
  });
  expect(after(assigned, takenAway, failed("for-now"))).toMatchObject({ state: unassigned, actions: [] });
  expect(after(assigned, claimed, takenAway, assigned)).toMatchObject({
    state: { name: "releasing" },
    actions: [],
  });
  expect(after(assigned, claimed, takenAway, assigned, released)).toMatchObject({ actions: ["claim"] });
});

test("a claim that fails is tried again, later and later, until the group gives the shard to another", () => {
  const pauses: number[] = [];
  let { state } = after(assigned, failed("for-now"));
  for (let tries = 0; tries < 8; tries++) {
    if (state.name !== "waiting") throw new Error(state.name);
    pauses.push(state.retryMs);
    ({ state } = transition(transition(state, retry).state, failed("for-now")));
  }
  expect(pauses).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  expect(transition(state, takenAway)).toEqual({ state: unassigned, actions: ["cancel-retry-timer"] });
  // The next assignment begins with the first pause again.
  expect(
    after(assigned, failed("for-now"), retry, claimed, takenAway, released, assigned).state,
  ).toMatchObject({
    name: "claiming",
    retryMs: 100,
  });
});

test("a shard that another owner has taken over is claimed again only when the group says so", () => {
  expect(after(assigned, claimed, takenOver)).toMatchObject({
    state: { name: "releasing" },
    actions: ["report-taken-over", "release", "start-fence-timer"],
  });
  const fenced = [assigned, claimed, takenOver, released];
  expect(after(...fenced)).toMatchObject({ state: { name: "fenced" }, actions: [] });
  expect(after(...fenced, stillFenced)).toMatchObject({ state: { name: "fenced" }, actions: ["rejoin"] });
  expect(after(...fenced, assigned)).toMatchObject({ actions: ["claim"] });
  expect(after(...fenced, takenAway)).toMatchObject({ state: unassigned, actions: [] });
  expect(after(...fenced, assigned, stillFenced).actions).toEqual([]);
});

test("a claim that was taken over before its end is of no use, though the group gives the shard again meanwhile", () => {
  expect(after(assigned, takenOver, claimed)).toMatchObject({ actions: ["release"] });
  expect(after(assigned, takenOver, claimed, released).state).toEqual({ name: "fenced" });
  expect(after(assigned, takenOver, assigned, claimed)).toMatchObject({ actions: ["release"] });
  expect(after(assigned, takenOver, assigned, claimed, released)).toMatchObject({ actions: ["claim"] });
});

test("a shard that another owner has had meanwhile is claimed anew", () => {
  expect(after(assigned, claimed, outdated)).toMatchObject({ actions: ["release"] });
  expect(after(assigned, claimed, outdated, released)).toMatchObject({ actions: ["claim"] });
  // Its last commit was fenced: the group is asked first.
  expect(after(assigned, claimed, outdated, takenOver, released).state).toEqual({ name: "fenced" });
});

test("what only people can set right is reported, and tried again after a while or with the next assignment", () => {
  for (const events of [
    [assigned, failed("broken")],
    [assigned, broken],
    [assigned, claimed, broken],
  ])
    expect(after(...events).actions).toContain("report-failed");
  const stopped = [assigned, claimed, broken, released];
  expect(after(...stopped)).toEqual({ state: { name: "failed" }, actions: ["start-retry-timer"] });
  expect(after(...stopped, retry)).toMatchObject({ actions: ["claim"] });
  expect(after(...stopped, takenAway)).toEqual({ state: unassigned, actions: ["cancel-retry-timer"] });
  expect(isWanted(after(...stopped).state)).toBe(false);
  expect(after(...stopped, assigned)).toMatchObject({ actions: ["claim"] });
});

test("a shard whose hubs this node lacks is refused for good, and the group is told", () => {
  const refused = [assigned, failed("too-old")];
  expect(after(...refused)).toMatchObject({
    state: { name: "refused" },
    actions: ["report-refused", "rejoin"],
  });
  expect(after(...refused, takenAway, assigned)).toMatchObject({ state: { name: "refused" }, actions: [] });
});

test("it is known since when a shard is without its store: while it is claimed in vain, and while it is owned", () => {
  const lost = [assigned, failed("for-now"), retry, { ...failed("for-now"), now: 2000 }];
  expect(after(...lost).state).toMatchObject({ name: "waiting", lostSince: now });
  expect(after(...lost, retry).state).toMatchObject({ name: "claiming", lostSince: now });
  expect(after(...lost, retry, claimed).state).toEqual({ name: "owned", lostSince: undefined });
  expect(after(assigned, claimed, checked(true), checked(true, 2000)).state).toMatchObject({
    lostSince: now,
  });
  expect(after(assigned, claimed, checked(true), checked(false)).state).toMatchObject({
    lostSince: undefined,
  });
  // Nobody waits for the store of a shard that failed, was refused, or is another node's.
  for (const events of [
    [...lost, takenAway],
    [assigned, failed("broken")],
    [assigned, failed("too-old")],
  ])
    expect(after(...events).state).not.toHaveProperty("lostSince");
});

/** What is held of a shard, and what is under way. */
interface World {
  readonly state: AssignmentState;
  readonly holds: boolean;
  readonly runs: "claim" | "release" | undefined;
}

/** All that can happen to a shard in a world. */
function possible({ state, runs }: World): AssignmentEvent[] {
  const always = [
    assigned,
    takenAway,
    takenOver,
    outdated,
    broken,
    stillFenced,
    fit,
    unfit,
    checked(true),
    checked(false),
  ];
  if (runs === "claim") return [...always, claimed, ...causes.map(failed)];
  if (runs === "release") return [...always, released];
  return ["waiting", "failed", "unfit"].includes(state.name) ? [...always, retry] : always;
}

function step(world: World, event: AssignmentEvent): { readonly world: World; readonly problem?: string } {
  let { holds, runs } = world;
  if (event.type === "claimed") [holds, runs] = [true, undefined];
  if (event.type === "claim-failed") runs = undefined;
  if (event.type === "released") [holds, runs] = [false, undefined];
  const { state, actions } = transition(world.state, event);
  let problem: string | undefined;
  for (const action of actions) {
    if (action !== "claim" && action !== "release") continue;
    if (runs !== undefined) problem = `${action} beside a ${runs}`;
    if (holds !== (action === "release")) problem = `${action} ${holds ? "of what is" : "of nothing"} held`;
    runs = action;
  }
  const isBusy = state.name === "claiming" || state.name === "releasing";
  if (isBusy !== (runs !== undefined)) problem = `${state.name}, and ${runs ?? "nothing"} runs`;
  if (holds !== (state.name === "owned" || state.name === "releasing"))
    problem = `${state.name} holds ${holds}`;
  return problem === undefined
    ? { world: { state, holds, runs } }
    : { world: { state, holds, runs }, problem };
}

test("in no state that can be reached is a shard claimed twice, or kept against the will of the group", () => {
  const first: World = { state: unassigned, holds: false, runs: undefined };
  const seen = new Map([[JSON.stringify(first), first]]);
  const add = (world: World): void => void seen.set(JSON.stringify(world), world);
  // A map gives what is added while it is gone through.
  for (const world of seen.values()) {
    for (const event of possible(world)) {
      const next = step(world, event);
      expect(next.problem, `${JSON.stringify(world)} ${JSON.stringify(event)}`).toBeUndefined();
      add(next.world);
    }
  }
  const names = new Set([...seen.values()].map(({ state }) => state.name));
  expect(names.size).toBe(9);
  for (const world of seen.values()) {
    // Once the group takes it away, and what runs has come to its end, nothing is held.
    let left = step(world, takenAway).world;
    for (let end = left.runs; end !== undefined; end = left.runs)
      left = step(left, end === "claim" ? claimed : released).world;
    expect(["unassigned", "refused", "unfit"], JSON.stringify(world)).toContain(left.state.name);
    // Once the group gives it, it is owned, unless this node lacks its hubs, or its clock is wrong.
    let taken = step(world, assigned).world;
    while (taken.runs !== undefined || taken.state.name === "waiting") {
      const event = taken.state.name === "waiting" ? retry : taken.runs === "claim" ? claimed : released;
      taken = step(taken, event).world;
    }
    expect(["owned", "refused", "unfit"], JSON.stringify(world)).toContain(taken.state.name);
  }
});

test("failures of a claim are told apart by their codes", () => {
  const of = (
    code: "WW_CLOCK" | "WW_HUB_UNKNOWN" | "WW_STORE_NEWER" | "WW_LOG_LOST" | "WW_STORE_LOCKED",
  ): ClaimFailure => claimFailureOf(new WheelworkError(code, "as the test says"));
  expect([of("WW_HUB_UNKNOWN"), of("WW_STORE_NEWER"), of("WW_LOG_LOST"), of("WW_STORE_LOCKED")]).toEqual([
    "too-old",
    "too-old",
    "broken",
    "for-now",
  ]);
  expect(of("WW_CLOCK")).toBe("unfit");
  expect(claimFailureOf(new Error("the connection was lost"))).toBe("for-now");
});

/** An assignment whose claims come to their end when the test says so. */
function assignment() {
  const clock = new SimulatedClock();
  const did: string[] = [];
  const claims: PromiseWithResolvers<number>[] = [];
  const shard = new ShardAssignment<number>({
    clock,
    claim: () => {
      did.push("claim");
      const claim = Promise.withResolvers<number>();
      claims.push(claim);
      return claim.promise;
    },
    release: async (owned) => void did.push(`release ${owned}`),
    isLatest: async (owned) => {
      if (did.filter((one) => one === "ask").length < 2) {
        did.push("ask");
        throw new Error("the store cannot be reached");
      }
      return owned > 1;
    },
    isFit: async () => {
      did.push("examine");
      return did.filter((one) => one === "examine").length > 1;
    },
    isLost: () => false,
    rejoin: () => void did.push("rejoin"),
    report: (what, { message }) => void did.push(`${what}: ${message}`),
  });
  return { clock, did, claims, shard };
}

test("an assignment does what its states say, and can be waited for", async () => {
  const { clock, did, claims, shard } = assignment();
  shard.assign(true);
  claims[0]?.reject(new Error("away"));
  await clock.advance(99);
  expect(did).toEqual(["claim", "not-claimed: away"]);
  await clock.advance(1);
  claims[1]?.resolve(1);
  await clock.settle();
  expect(shard.owned).toBe(1);
  did.length = 0;
  // Another one has claimed it since; the store tells so once it can be reached.
  shard.assign(true);
  await clock.advance(1000);
  expect(did).toEqual(["ask", "ask", "release 1", "claim"]);
  expect(shard.owned).toBeUndefined();
  did.length = 0;
  shard.assign(false);
  const settled = shard.settled();
  claims[2]?.resolve(2);
  await settled;
  expect(did).toEqual(["release 2"]);
  expect(shard.isWanted).toBe(false);
});

test("a shard that was taken over asks the group after a while, with its reason reported", async () => {
  const { clock, did, claims, shard } = assignment();
  shard.assign(true);
  claims[0]?.resolve(7);
  await clock.settle();
  shard.ended(new WheelworkError("WW_STORE_LOCKED", "another owner"));
  await shard.settled();
  expect([shard.owned, shard.isWanted]).toEqual([undefined, true]);
  await clock.advance(1000);
  expect(did).toEqual([
    "claim",
    expect.stringContaining("taken-over: WW_STORE_LOCKED"),
    "release 7",
    "rejoin",
  ]);
});

test("a node whose clock is wrong refuses the shard until its clock is right, and claims nothing meanwhile", async () => {
  const { clock, did, claims, shard } = assignment();
  shard.assign(true);
  claims[0]?.reject(new WheelworkError("WW_CLOCK", "far ahead"));
  await clock.settle();
  // The group has no other node, or gives it to one.
  for (const isAssigned of [true, false, true]) {
    shard.assign(isAssigned);
    expect([shard.isRefused, shard.isWanted]).toEqual([true, false]);
    expect(shard.failure).toContain("far ahead");
  }
  await clock.advance(20_000);
  expect(did).toEqual([
    "claim",
    expect.stringContaining("failed: WW_CLOCK"),
    "rejoin",
    "examine",
    "examine",
    "rejoin",
  ]);
  expect([shard.isRefused, shard.failure]).toEqual([false, undefined]);
  shard.assign(true);
  expect(did.at(-1)).toBe("claim");
});

test("a shard that failed is claimed again until it is set right; its reason is reported once, and again if it changes", async () => {
  const { clock, did, claims, shard } = assignment();
  const fails = async (number: number, message: string): Promise<void> => {
    claims[number]?.reject(new WheelworkError("WW_COMMITS_LOST", message));
    await clock.advance(0);
  };
  shard.assign(true);
  await fails(0, "the first");
  expect(shard.failure).toContain("the first");
  await clock.advance(10_000);
  await fails(1, "the first");
  await clock.advance(10_000);
  expect(shard.failure).toContain("the first");
  await fails(2, "the second");
  await clock.advance(10_000);
  claims[3]?.resolve(1);
  await clock.settle();
  expect([shard.owned, shard.failure]).toEqual([1, undefined]);
  expect(did.filter((one) => one.startsWith("failed"))).toEqual([
    "failed: WW_COMMITS_LOST: the first",
    "failed: WW_COMMITS_LOST: the second",
  ]);
});
