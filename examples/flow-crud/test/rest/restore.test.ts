import { waitUntil } from "@wheelwork/services";
import { expect, test } from "vitest";
import { flowBody, linkEvent, startRest } from "./system.ts";

type System = Awaited<ReturnType<typeof startRest>>;

const statusOf = async ({ store }: System, flowId: string): Promise<string | undefined> =>
  (await store.flow(flowId))?.status;

test("a reroute that a switch refuses is made again by itself, less and less often, until the flow is up", async () => {
  const system = await startRest({ controller: { againMs: 20, maxAgainMs: 100 } });
  const { send, switches, engine, hubs, store } = system;
  for (const [flowId, vlan] of [
    ["a", 1],
    ["b", 2],
    ["gone", 3],
  ] as const)
    await send("POST", "/v2/flows", flowBody(flowId, vlan));
  switches.refuse(4);
  await engine.call(hubs.handleEvent, { event: linkEvent(2, 3, false) });
  const triesOf = (flow: string) =>
    engine.count({ hub: hubs.restore.name, labels: { flow }, status: "error" });
  // Nothing happens in the network meanwhile.
  await waitUntil(async () => (await triesOf("a")) >= 4 && (await triesOf("b")) >= 4, 20_000);
  expect((await send("GET", "/v2/flows/a")).json).toMatchObject({
    status: "Down",
    status_info: expect.stringContaining("switch"),
  });
  expect((await send("DELETE", "/v2/flows/gone?whenBusy=queue")).status).toBe(200);
  switches.refuse(4, false);
  await waitUntil(
    async () => (await statusOf(system, "a")) === "UP" && (await statusOf(system, "b")) === "UP",
    20_000,
  );
  // Then it is over: who has looked after them has nothing left to do.
  await waitUntil(async () => (await engine.count({ status: ["running", "pending"] })) === 0, 20_000);
  const pace = { limit: 10, firstMs: 0, mostMs: 0, patienceMs: 0 };
  expect(await store.takeDue(pace)).toEqual({ flows: [], freed: [], nextInMs: null });
  expect(await store.audit()).toEqual([]);
});

test("a reroute that had no turn is not lost", async () => {
  const system = await startRest({ controller: { queueMs: 30, againMs: 20, patienceMs: 200 } });
  const { send, switches, engine, hubs } = system;
  await send("POST", "/v2/flows", flowBody("a", 1));
  switches.hold(1);
  const update = send("PATCH", "/v2/flows/a", { maximum_bandwidth: 2000 });
  await switches.reached(1);
  await engine.call(hubs.handleEvent, { event: linkEvent(2, 3, false) });
  // Its turn does not come in its time.
  const isLate = async () => (await engine.count({ hub: hubs.restore.name, status: "timeout" })) > 0;
  await waitUntil(isLate, 20_000);
  switches.release(1);
  await update;
  await waitUntil(async () => (await engine.count({ status: ["running", "pending"] })) === 0, 20_000);
  expect(await statusOf(system, "a")).toBe("UP");
});

test("a flow without a path waits for the network, and is not tried again and again", async () => {
  const system = await startRest({ controller: { againMs: 1, maxAgainMs: 1, patienceMs: 1 } });
  const { send, tell, engine, hubs } = system;
  await send("POST", "/v2/flows", flowBody("a", 1));
  await tell(linkEvent(1, 4, false));
  await tell(linkEvent(2, 3, false));
  await waitUntil(async () => (await engine.count({ status: ["running", "pending"] })) === 0, 20_000);
  const tries = await engine.count({ hub: hubs.restore.name });
  await engine.call(hubs.lookAfterFlows, {});
  expect([await engine.count({ hub: hubs.restore.name }), await statusOf(system, "a")]).toEqual([
    tries,
    "DOWN",
  ]);
  // Whoever looks sees what it waits for.
  expect((await send("GET", "/v2/flows/a")).json.status_info).toContain("finds no path");
  await tell(linkEvent(1, 4, true));
  await waitUntil(async () => (await statusOf(system, "a")) === "UP", 20_000);
  expect((await send("GET", "/v2/flows/a")).json).not.toHaveProperty("status_info");
});

test("each flow that is not up says why, also one that nobody reroutes", async () => {
  const system = await startRest();
  const { send, tell } = system;
  await send("POST", "/v2/flows", flowBody("pinned", 1, { pinned: true }));
  await send("POST", "/v2/flows", flowBody("spare", 2, { allocate_protected_path: true }));
  const infoOf = async (id: string) => (await send("GET", `/v2/flows/${id}`)).json.status_info;
  await tell(linkEvent(1, 2, false));
  expect(await infoOf("pinned")).toContain("it is pinned");
  expect(await infoOf("spare")).toBe("No path is left for a protected path.");
  await tell(linkEvent(1, 2, true));
  expect([await infoOf("pinned"), await infoOf("spare")]).toEqual([undefined, undefined]);
});

test("what the network reroutes is shown like every operation, in lists, statuses and histories", async () => {
  const { send, switches, engine, hubs } = await startRest();
  await send("POST", "/v2/flows", flowBody("a", 1));
  await send("POST", "/v2/flows", flowBody("b", 2));
  switches.hold(2);
  const running = send("PATCH", "/v2/flows/a", { maximum_bandwidth: 2000 });
  await switches.reached(2);
  // More than are started at once, most of them of flows that are gone.
  const flows = ["b", "a", ...Array.from({ length: 118 }, (_, index) => `gone-${index}`)];
  const answer = await engine.call(hubs.restoreFlows, { flows, reason: "a link has failed" });
  expect(answer).toMatchObject({ kind: "result", value: { started: 120 } });
  const restores = await engine.requests({ hub: hubs.restore.name, labels: { flow: ["a", "b"] } });
  for (const { id, labels } of restores.items) if (labels?.["flow"] === "b") await engine.answer(id);
  expect((await send("GET", "/v2/flows/b/history")).json[0]).toMatchObject({
    action: "Flow rerouting",
    actor: "a link has failed",
    details: "Done",
  });
  // That of the other flow waits for its turn, and is cancelled while it does.
  expect((await send("PATCH", "/v1/flows/a/reroute/flush")).json).toEqual({ flow_id: "a", cancelled: 1 });
  expect((await send("GET", "/v2/flows/a/history")).json[0].details).toMatch(/^WW_CANCELLED/);
  switches.release(2);
  expect((await running).json.status).toBe("Up");
  expect(await engine.count({ hub: hubs.restore.name })).toBe(120);
});
