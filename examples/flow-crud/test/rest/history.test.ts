import { expect, test } from "vitest";
import { flowBody, startRest, sw } from "./system.ts";

test("the history of a flow tells all operations, also when the flow is gone, with what each has done", async () => {
  const { send, switches, engine, hubs } = await startRest();
  await send("POST", "/v2/flows", flowBody("h", 1), { correlation_id: "task-create" });
  await send("POST", "/v2/flows", flowBody("other", 2));
  await send("PATCH", "/v2/flows/h", { maximum_bandwidth: 2000 }, { correlation_id: "task-update" });
  switches.refuse(1);
  await send("PATCH", "/v2/flows/h", { maximum_bandwidth: 3000 });
  switches.refuse(1, false);
  await engine.call(hubs.restore, { flowId: "h", reason: "the link has failed" });
  await send("GET", "/v1/flows/h/validate");
  await send("DELETE", "/v2/flows/h", undefined, { correlation_id: "task-delete" });

  const { json: entries } = await send("GET", "/v2/flows/h/history");
  expect(entries.map((entry: Record<string, unknown>) => [entry["action"], entry["task_id"]])).toEqual([
    ["Flow deleting", "task-delete"],
    ["Flow rerouting", "the link has failed"],
    ["Flow updating", expect.any(String)],
    ["Flow updating", "task-update"],
    ["Flow creating", "task-create"],
  ]);
  expect((await send("GET", "/v1/flows/h/history")).json).toEqual(entries);
  const [deleted, rerouted, failed, updated, created] = entries;
  expect(created).toMatchObject({ flow_id: "h", actor: "Northbound", details: "Done" });
  expect(rerouted.actor).toBe("the link has failed");
  expect(failed.details).toMatch(/^not-installed: switch 00:00:00:00:00:00:00:01/);
  const stepsOf = (entry: { payload: { action: string; details: string }[] }) =>
    entry.payload.map(({ action, details }) => `${action} ${details}`);
  expect(stepsOf(created)).toEqual(
    expect.arrayContaining([
      "The operation has begun ",
      "InstallingInner Planned",
      `Done install-rules, on ${sw(2)}, 2 rules`,
      "The operation has ended ",
    ]),
  );
  expect(stepsOf(failed).join()).toMatch(/Failed install-rules, on 00:00:00:00:00:00:00:01/);
  const times = created.payload.map(({ timestamp_iso: time }: { timestamp_iso: string }) => time);
  expect(times).toEqual(times.toSorted());
  // What the flow was before, and after.
  const dumpsOf = (entry: { dumps: { type: string; bandwidth: number; path: string }[] }) =>
    entry.dumps.map(({ type, bandwidth, path }) => [type, bandwidth, path]);
  expect(dumpsOf(created)).toEqual([["stateAfter", 1000, "main"]]);
  expect(dumpsOf(updated)).toEqual([
    ["stateBefore", 1000, "main"],
    ["stateAfter", 2000, "main"],
  ]);
  expect(dumpsOf(deleted)).toEqual([["stateBefore", 2000, "main"]]);
  expect(created.dumps[0].links).toEqual([`${sw(1)}:102 - ${sw(2)}:101`, `${sw(2)}:103 - ${sw(3)}:102`]);

  const { json } = await send("GET", "/v2/flows/h/history/statuses");
  expect(json.history_statuses.map(({ status_become: status }: { status_become: string }) => status)).toEqual(
    ["DELETED", "IN_PROGRESS", "UP", "IN_PROGRESS", "IN_PROGRESS", "UP", "IN_PROGRESS", "UP", "IN_PROGRESS"],
  );
});

test("a history comes in pages, and between times", async () => {
  const { send } = await startRest();
  await send("POST", "/v2/flows", flowBody("p", 1));
  for (const priority of [1, 2, 3]) await send("PATCH", "/v2/flows/p", { priority });
  const actions: string[] = [];
  for (let path = "/v2/flows/p/history?max_count=3"; path !== "";) {
    const page = await send("GET", path);
    expect(page.json.length).toBeLessThanOrEqual(3);
    actions.push(...page.json.map(({ action }: { action: string }) => action));
    [, path = ""] = /<([^>]+)>; rel="next"/.exec(page.headers.get("link") ?? "") ?? [];
  }
  expect(actions).toEqual(["Flow updating", "Flow updating", "Flow updating", "Flow creating"]);
  const now = Math.floor(Date.now() / 1000);
  const count = async (query: string) => (await send("GET", `/v2/flows/p/history?${query}`)).json.length;
  expect(await count(`timeFrom=${now - 3600}&timeTo=${now + 3600}`)).toBe(4);
  expect(await count(`timeTo=${now - 3600}`)).toBe(0);
  expect((await send("GET", "/v2/flows/unknown/history")).json).toEqual([]);
});

test("a flush cancels automatic reroutes that wait, and leaves what runs", async () => {
  const { send, switches, engine, hubs } = await startRest();
  await send("POST", "/v2/flows", flowBody("q", 1));
  switches.hold(2);
  const running = send("PATCH", "/v2/flows/q", { maximum_bandwidth: 2000 });
  await switches.reached(2);
  const { id } = await engine.submit(hubs.restore, { flowId: "q", reason: "a link has failed" });
  const flushed = await send("PATCH", "/v1/flows/q/reroute/flush");
  expect(flushed.json).toEqual({ flow_id: "q", cancelled: 1 });
  expect(await engine.answer(id)).toMatchObject({ kind: "error", code: "WW_CANCELLED" });
  expect((await send("PATCH", "/v1/flows/q/reroute/flush")).json.cancelled).toBe(0);
  switches.release(2);
  expect((await running).json.status).toBe("Up");
});
