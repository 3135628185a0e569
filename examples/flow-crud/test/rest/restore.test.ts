import { expect, test } from "vitest";
import { flowBody, startRest } from "./system.ts";

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
