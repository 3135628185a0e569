import { end, hub } from "@wheelwork/core";
import { createEngine, silentLogger } from "@wheelwork/engine";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { northbound } from "../src/index.ts";
import { directory } from "./system.ts";

const change = hub(
  "change",
  {
    request: z.strictObject({ flow: z.string() }),
    reply: z.string(),
    deadlineMs: 60_000,
    signals: { go: z.null() },
    exclusive: { lane: "flow", by: ({ flow }) => flow, whenBusy: "queue" },
    chart: { Waiting: { Went: "Done", Late: "Done" }, Done: end },
    data: () => ({}),
  },
  { Waiting: (s) => s.wait({ on: { go: "Went" }, deadline: "Late" }), Done: () => "done" },
);

async function open() {
  const engine = createEngine({
    hubs: [change],
    workers: [],
    store: join(directory(), "engine.db"),
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const routes = [{ method: "POST" as const, path: "/change", hub: change, summary: "Change a flow" }];
  const app = await northbound({ engine, routes });
  onTestFinished(() => app.close());
  const get = async (url: string) => (await app.inject({ url })).json() as unknown;
  return { engine, app, get };
}

test("the hubs of the engine are listed, with their charts as data and as boxes", async () => {
  const { engine, app, get } = await open();
  expect(await get("/hubs")).toEqual({
    hubs: [
      {
        name: "change",
        version: 1,
        answerBy: change.definition.answerBy,
        path: "/change",
        summary: "Change a flow",
      },
    ],
  });
  expect(await get("/hubs/change")).toMatchObject({
    hub: "change",
    initial: "Waiting",
    states: [{ name: "Waiting" }, { name: "Done", end: true }],
  });
  const boxes = await app.inject({ url: "/hubs/change/diagram.txt" });
  expect(boxes.headers["content-type"]).toBe("text/plain; charset=utf-8");
  expect(boxes.body).toContain("●─▶│ Waiting");
  const { id } = await engine.submit("change", { flow: "a" });
  const run = await app.inject({ url: `/requests/${encodeURIComponent(id)}/diagram.txt` });
  expect(run.body).toContain("●─▶│ > Waiting");
  for (const url of ["/hubs/none", "/hubs/none/diagram.txt"]) {
    const response = await app.inject({ url });
    expect([response.statusCode, response.json()]).toMatchObject([404, { code: "WW_HUB_UNKNOWN" }]);
  }
  expect((await app.inject({ url: "/requests/none/diagram.txt" })).statusCode).toBe(404);
});

test("lanes are listed by the length of their queues, with who is in the way", async () => {
  const { engine, get } = await open();
  const ids: string[] = [];
  for (const flow of ["a", "b", "b", "b"]) ids.push((await engine.submit("change", { flow })).id);
  expect(await get("/lanes")).toEqual({
    lanes: [
      { name: "flow", key: "b", places: 1, held: 1, waiting: 2, holders: [ids[1]] },
      { name: "flow", key: "a", places: 1, held: 1, waiting: 0, holders: [ids[0]] },
    ],
    total: 2,
  });
  expect(await get("/lanes?limit=1")).toMatchObject({ lanes: [{ key: "b" }], total: 2 });
  expect(await get("/lanes?name=other")).toEqual({ lanes: [], total: 0 });
});

test("the shard of an embedded engine has an owner and no lag", async () => {
  const { get } = await open();
  const { shards } = (await get("/shards")) as { readonly shards: readonly object[] };
  expect(shards).toEqual([
    {
      shard: 0,
      isHere: true,
      owner: expect.stringContaining(`:${process.pid}:`) as string,
      epoch: 1,
      batches: expect.any(Number) as number,
      unpublished: 0,
      storeBytes: expect.any(Number) as number,
    },
  ]);
});

test("an embedded engine says that it has no dead letters", async () => {
  const { app } = await open();
  const responses = [
    await app.inject({ url: "/dead-letters" }),
    await app.inject({
      method: "POST",
      url: "/dead-letters/0:1/replay",
      headers: { "content-type": "application/json" },
    }),
  ];
  for (const response of responses)
    expect([response.statusCode, response.json()]).toMatchObject([
      501,
      { code: "WW_NOT_SUPPORTED", next: expect.stringContaining("lost") as string },
    ]);
});
