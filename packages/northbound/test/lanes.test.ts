import { end, hub } from "@wheelwork/core";
import { createEngine, silentLogger } from "@wheelwork/engine";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { northbound } from "../src/index.ts";
import { directory } from "./system.ts";

const change = (name: string, whenBusy: "queue" | "refuse") =>
  hub(
    name,
    {
      request: z.strictObject({ flow: z.string() }),
      reply: z.string(),
      deadlineMs: 60_000,
      signals: { go: z.null() },
      exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy },
      chart: { Waiting: { Went: "Done", Late: "Done" }, Done: end },
      data: () => ({}),
    },
    { Waiting: (s) => s.wait({ on: { go: "Went" }, deadline: "Late" }), Done: () => "done" },
  );

test("a request shows who is in its way, and one that may not wait is refused with 409", async () => {
  const hubs = [change("change", "queue"), change("ping", "refuse")];
  const store = join(directory(), "engine.db");
  const engine = createEngine({ hubs, workers: [], store, durability: "normal", logger: silentLogger });
  await engine.start();
  onTestFinished(() => engine.stop());
  const app = await northbound({
    engine,
    routes: hubs.map((one) => ({ method: "POST" as const, path: `/${one.name}`, hub: one })),
  });
  onTestFinished(() => app.close());
  const post = (url: string, key: string) =>
    app.inject({
      method: "POST",
      url,
      payload: { flow: "a" },
      headers: { "idempotency-key": key, prefer: "wait=0" },
    });
  const first = (await post("/change", "k1")).json().requestId as string;
  const second = await post("/change", "k2");
  expect([second.statusCode, second.json()]).toMatchObject([202, { status: "pending" }]);
  const id = second.json().requestId as string;
  expect(second.headers["location"]).toBe(`/requests/${encodeURIComponent(id)}`);
  expect((await app.inject({ url: `/requests/${encodeURIComponent(id)}` })).json()).toMatchObject({
    status: "pending",
    lane: { name: "flow", key: "a", position: 1, holders: [first] },
  });
  expect((await app.inject({ url: "/requests?status=pending" })).json().requests).toMatchObject([
    { id, lane: { name: "flow", key: "a" } },
  ]);
  const busy = await post("/ping", "k3");
  expect([busy.statusCode, busy.json()]).toMatchObject([
    409,
    { code: "WW_BUSY", details: { holders: [first] } },
  ]);
  expect((await post("/change", "k2")).json().requestId).toBe(id);
});
