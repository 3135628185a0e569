import { waitUntil } from "@wheelwork/services";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "wheelwork";
import { keepLooks } from "../../src/controller/kept-looks.ts";
import { flowBody, linkEvent, startRest, sw } from "./system.ts";

type System = Awaited<ReturnType<typeof startRest>>;

const statusOf = async ({ store }: System, flowId: string): Promise<string | undefined> =>
  (await store.flow(flowId))?.status;

const isAtRest = async ({ engine }: System): Promise<boolean> =>
  (await engine.count({ status: ["running", "pending"] })) === 0;

const strict = { strict_bandwidth: true };
const narrow = `src_switch=${sw(1)}&src_port=104&dst_switch=${sw(4)}&dst_port=101`;

/** Flows a, b and c of 1,000 kbit/s each. The way over switch 2 is cut, and that over switch 4 has room for one: it is a. */
async function startWaiting(): Promise<System> {
  const system = await startRest({ controller: { againMs: 20 } });
  const { send, tell } = system;
  await send("PATCH", `/v1/links/bandwidth?${narrow}`, { max_bandwidth: 1_500 });
  for (const [index, flowId] of ["a", "b", "c"].entries())
    await send("POST", "/v2/flows", flowBody(flowId, index + 1, { ...strict, priority: index }));
  await tell(linkEvent(1, 2, false));
  await waitUntil(() => isAtRest(system), 20_000);
  const statuses = await Promise.all(["a", "b", "c"].map((flowId) => statusOf(system, flowId)));
  expect(statuses).toEqual(["UP", "DOWN", "DOWN"]);
  return system;
}

/** What gives back what another flow waits for, and nothing happens in the network. */
const waysToGiveBack: readonly {
  readonly name: string;
  readonly giveBack: (system: System) => Promise<unknown>;
}[] = [
  { name: "a delete", giveBack: ({ send }) => send("DELETE", "/v2/flows/a") },
  {
    name: "an update that takes less",
    giveBack: ({ send }) => send("PATCH", "/v2/flows/a", { maximum_bandwidth: 500 }),
  },
  {
    // No rule changes: it is over when it is committed.
    name: "an update that takes nothing any more",
    giveBack: ({ send }) => send("PATCH", "/v2/flows/a", { strict_bandwidth: false, ignore_bandwidth: true }),
  },
  {
    name: "an update to another way",
    giveBack: ({ send }) =>
      send("PATCH", "/v2/flows/a", {
        destination: { switch_id: sw(1), port_number: 11, vlan_id: 9 },
      }),
  },
  {
    name: "an operator who gives a link more",
    giveBack: ({ send }) => send("PATCH", `/v1/links/bandwidth?${narrow}`, { max_bandwidth: 2_500 }),
  },
];

/** The others are in the long form: WHEELWORK_LONG=1. */
const isLong = process.env["WHEELWORK_LONG"] !== undefined;
const ways = waysToGiveBack.filter(
  ({ name }) => isLong || ["a delete", "an operator who gives a link more"].includes(name),
);

test.each(ways)(
  "what $name gives back goes to the flow that waits for it, the most important one, and to no other",
  async ({ giveBack }) => {
    const system = await startWaiting();
    const { send, engine, hubs, store } = system;
    const restoresOf = (flow: string) => engine.count({ hub: hubs.restore.name, labels: { flow } });
    const before = await restoresOf("c");
    await giveBack(system);
    await waitUntil(async () => (await statusOf(system, "b")) === "UP", 20_000);
    await waitUntil(() => isAtRest(system), 20_000);
    expect([await statusOf(system, "c"), await restoresOf("c")]).toEqual(["DOWN", before]);
    const [entry] = (await send("GET", "/v2/flows/b/history")).json;
    expect(entry).toMatchObject({ action: "Flow rerouting", details: "Done" });
    expect(entry.actor).toBe("others have given back what it lacks");
    expect(await store.audit()).toEqual([]);
    // Then it is the turn of the last one.
    await send("DELETE", "/v2/flows/b");
    await waitUntil(async () => (await statusOf(system, "c")) === "UP", 20_000);
  },
);

test("what was given back by a process that was killed right after it goes to the flow that waits, and nothing happens in the network", async () => {
  const system = await startWaiting();
  const { place, engine, hubs, store } = system;
  const link = { from: sw(1), fromPort: 104, to: sw(4), toPort: 101 };
  const operator = join(import.meta.dirname, "dying-operator.ts");
  const given = [JSON.stringify(place), JSON.stringify(link), "2500"];
  const child = spawn(process.execPath, [...process.execArgv, operator, ...given], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  expect(await once(child, "exit")).toEqual([null, "SIGKILL"]);
  onTestFinished(keepLooks({ store, engine, hub: hubs.lookAfterFlows, clock: systemClock }));
  await waitUntil(async () => (await statusOf(system, "b")) === "UP", 20_000);
  await waitUntil(() => isAtRest(system), 20_000);
  expect([await statusOf(system, "c"), await store.audit()]).toEqual(["DOWN", []]);
});

test("what an operation has taken and gives back when it fails goes to the flow that waits for it", async () => {
  const system = await startRest({ controller: { againMs: 20 } });
  const { send, tell, switches, store } = system;
  await send("PATCH", `/v1/links/bandwidth?${narrow}`, { max_bandwidth: 1_500 });
  await send("POST", "/v2/flows", flowBody("a", 1, { ...strict, priority: 1 }));
  await send("POST", "/v2/flows", flowBody("b", 2, { ...strict, maximum_bandwidth: 1_200, priority: 2 }));
  await tell(linkEvent(1, 2, false));
  switches.hold(4);
  const creating = send("POST", "/v2/flows", flowBody("x", 3, { maximum_bandwidth: 500 }));
  await switches.reached(4);
  await send("PATCH", "/v2/flows/a", { strict_bandwidth: false, ignore_bandwidth: true });
  await waitUntil(async () => (await system.engine.count({ status: ["running", "pending"] })) === 1, 20_000);
  expect(await statusOf(system, "b")).toBe("DOWN");
  switches.refuse(4);
  switches.release(4);
  expect((await creating).status).toBe(500);
  switches.refuse(4, false);
  await waitUntil(async () => (await statusOf(system, "b")) === "UP", 20_000);
  await waitUntil(() => isAtRest(system), 20_000);
  expect(await store.audit()).toEqual([]);
});

test("many that wait and many deletes: looks are few, and in the end each has what fits", async () => {
  const system = await startRest({ controller: { againMs: 200 } });
  const { send, tell, engine, hubs, store } = system;
  const waiting = isLong ? 200 : 10;
  await send("PATCH", `/v1/links/bandwidth?${narrow}`, { max_bandwidth: waiting * 1_000 });
  const create = async (name: string, first: number): Promise<void> => {
    const bodies = Array.from({ length: waiting }, (_, index) =>
      flowBody(`${name}${index}`, first + index, strict),
    );
    for (let index = 0; index < waiting; index += 20)
      await Promise.all(bodies.slice(index, index + 20).map((body) => send("POST", "/v2/flows", body)));
  };
  await create("keeps", 1);
  await tell(linkEvent(1, 2, false));
  await tell(linkEvent(1, 2, true));
  await create("waits", 1 + waiting);
  await tell(linkEvent(1, 2, false));
  await waitUntil(() => isAtRest(system), 20_000);
  expect(await store.counts()).toEqual({ UP: waiting, DOWN: waiting, DEGRADED: 0 });
  const before = await engine.count({ hub: hubs.restore.name });
  const began = performance.now();
  for (let index = 0; index < waiting; index++) await send("DELETE", `/v2/flows/keeps${index}`);
  const tookMs = performance.now() - began;
  await waitUntil(async () => (await store.counts()).UP === waiting, 20_000);
  await waitUntil(() => isAtRest(system), 20_000);
  const restores = (await engine.count({ hub: hubs.restore.name })) - before;
  const looks = await engine.count({ hub: hubs.lookAfterFlows.name });
  // Each was rerouted once, when there was room for it, or once more where two had hoped for the same.
  expect(restores).toBeLessThan(2 * waiting);
  expect(looks).toBeLessThan(waiting / 2 + tookMs / 100);
  expect(await store.audit()).toEqual([]);
});
