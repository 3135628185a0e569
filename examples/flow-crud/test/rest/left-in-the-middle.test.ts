import { waitUntil } from "@wheelwork/services";
import { expect, test } from "vitest";
import { rulesOf } from "../../src/controller/rules.ts";
import { flowBody, startRest, sw } from "./system.ts";

// An operator ends operations in the middle: a defect has parked their runs, and they are resolved. The chart never gets to its clean-up.

type System = Awaited<ReturnType<typeof startRest>>;

/** A system whose operations are parked at the wished one of their decisions, counted from 1. */
async function startDefective() {
  let decision = 0;
  let wished = Number.POSITIVE_INFINITY;
  const system = await startRest({
    isDefective: () => ++decision >= wished,
    controller: {
      switchTimeoutMs: 60_000,
      patienceMs: 0,
      againMs: 50,
    },
  });
  const defectAt = (wish: number): void => {
    [decision, wished] = [0, wish];
  };
  return { ...system, defectAt, repair: () => defectAt(Number.POSITIVE_INFINITY) };
}

/** The runs that are parked. */
const parked = async ({ engine }: System): Promise<readonly string[]> =>
  (await engine.requests({ status: "incident" })).items.map(({ id }) => id);

/** What holds of the network and the books, whatever has become of runs. */
async function expectOrder({ store, switches, send, engine, hubs }: System, what: string): Promise<void> {
  // What was given back is looked at: a flow that was left without a path gets one.
  const isQuiet = async (): Promise<boolean> =>
    (await store.counts()).DOWN === 0 &&
    (await engine.lanes()).total === 0 &&
    (await engine.count({ status: ["running", "pending"] })) === 0;
  // Its run may have promised that, and was ended before it did: the next tick of the schedule does it.
  await engine.call(hubs.lookAfterFlows, {});
  await waitUntil(isQuiet, 10_000);
  const flows = await store.flows({ limit: 100 });
  const wanted = flows
    .map(rulesOf)
    .reduce((sum, rules) => sum + rules.inner.length + rules.entries.length, 0);
  expect(await switches.count(), what).toBe(wanted);
  expect(await store.audit(), what).toEqual([]);
  for (const { spec, paths } of flows) {
    if (paths.length === 0) continue;
    const { json } = await send("GET", `/v1/flows/${spec.flowId}/validate`);
    expect(
      json.every((entry: { readonly as_expected: boolean }) => entry.as_expected),
      what,
    ).toBe(true);
  }
  expect((await send("GET", "/v2/flows?status=IN_PROGRESS")).json, what).toEqual([]);
}

/** Each takes other rules to its switches, and back. */
const operations = {
  create: ({ send }: System) => send("POST", "/v2/flows", flowBody("a", 1)),
  "create that is kept": ({ send }: System) =>
    send("POST", "/v2/flows", flowBody("a", 1), { prefer: "respond-async, wait=1" }),
  update: ({ send }: System): Promise<unknown> => send("PATCH", "/v2/flows/a", { maximum_bandwidth: 2000 }),
  move: ({ send }: System) =>
    send("PATCH", "/v2/flows/a", {
      destination: { switch_id: sw(3), port_number: 11, vlan_id: 500 },
      allocate_protected_path: true,
    }),
  delete: ({ send }: System) => send("DELETE", "/v2/flows/a"),
  "move that is refused": async (system: System) => {
    system.switches.refuse(2);
    return operations.update(system).finally(() => system.switches.refuse(2, false));
  },
} as const;

type OperationName = keyof typeof operations;

/** The others, and each of their decisions, are in the long form: WHEELWORK_LONG=1. */
const isLong = process.env["WHEELWORK_LONG"] !== undefined;
const names = (Object.keys(operations) as OperationName[]).filter(
  (name) => isLong || ["create that is kept", "move that is refused"].includes(name),
);

/** What comes next on the flow. It may be refused: what has been left is closed all the same. */
const nexts = [
  ({ send }: System) => send("PATCH", "/v1/flows/a/sync"),
  ({ engine, hubs }: System) => engine.call(hubs.restore, { flowId: "a", reason: "a link has failed" }),
  ({ send }: System) => send("DELETE", "/v2/flows/a"),
  ({ send }: System) => send("POST", "/v2/flows", flowBody("a", 1)),
  // Nobody does anything: it is looked after by itself.
  async ({ engine, hubs }: System): Promise<void> => {
    await engine.call(hubs.lookAfterFlows, {});
    await waitUntil(async () => (await engine.count({ status: ["running", "pending"] })) === 0, 10_000);
  },
] as const;

test.each(names)(
  "of %s that is ended in the middle, the next operation on the flow removes what was left",
  async (name) => {
    const system = await startDefective();
    const { send, engine, store, defectAt, repair } = system;
    await send("POST", "/v2/flows", flowBody("other", 2));
    let left = 0;
    for (let decision = 1, isParked = true; isParked; decision += isLong ? 1 : 2) {
      const what = `${name}, parked at its decision ${decision}`;
      await send("DELETE", "/v2/flows/a");
      if (!name.startsWith("create")) await send("POST", "/v2/flows", flowBody("a", 1));
      defectAt(decision);
      let isOver = false;
      const operation = operations[name](system).finally(() => (isOver = true));
      const isAtRest = async () => isOver && (await engine.count({ status: "running" })) === 0;
      await waitUntil(async () => (await parked(system)).length > 0 || (await isAtRest()), 10_000);
      repair();
      const ids = await parked(system);
      for (const id of ids) await engine.resolve(id, "it is in the way");
      await operation;
      await waitUntil(async () => (await engine.count({ status: "running" })) === 0, 10_000);
      isParked = ids.length > 0;
      left += ids.length;
      // What was left is still taken, so nobody gets it meanwhile.
      expect((await send("POST", "/v2/flows", flowBody("third", 3))).json.status, what).toBe("Up");
      expect(await store.audit(), what).toEqual([]);
      await (nexts[decision % nexts.length] as (typeof nexts)[number])(system);
      await expectOrder(system, what);
      await send("DELETE", "/v2/flows/third");
      await expectOrder(system, what);
    }
    expect(left).toBeGreaterThan(isLong ? 3 : 2);
  },
);
