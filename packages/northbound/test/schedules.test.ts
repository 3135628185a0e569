import { end, hub } from "@wheelwork/core";
import { createEngine, schedule, silentLogger } from "@wheelwork/engine";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import type { InjectOptions } from "fastify";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { northbound } from "../src/index.ts";
import { directory } from "./system.ts";

const job = hub(
  "job",
  {
    request: z.object({ at: z.number() }),
    reply: z.object({}),
    deadlineMs: 1000,
    chart: { Done: end },
    data: (request) => request,
  },
  { Done: () => ({}) },
);

/** It ticks once in four years. */
const leap = schedule("leap", { cron: "0 0 29 2 *", hub: job, request: ({ at }) => ({ at }) });
const rare = schedule("rare", { everyMs: 86_400_000, hub: job, request: ({ at }) => ({ at }) });

async function open() {
  const store = join(directory(), "engine.db");
  const engine = createEngine({
    hubs: [job],
    workers: [],
    schedules: [leap, rare],
    store,
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  await expect.poll(() => engine.schedules().catch(() => [])).toHaveLength(2);
  const app = await northbound({ engine, routes: [] });
  onTestFinished(() => app.close());
  const ask = async (request: InjectOptions) => {
    const response = await app.inject(request);
    return { status: response.statusCode, body: response.json() };
  };
  const post = (url: string, payload?: object, key?: string) =>
    ask({
      method: "POST",
      url,
      ...(payload === undefined ? {} : { payload }),
      headers: {
        "content-type": "application/json",
        ...(key === undefined ? {} : { "idempotency-key": key }),
      },
    });
  return { engine, app, ask, post };
}

const iso = expect.stringMatching(/^\d{4}-.*Z$/) as unknown;

test("schedules are listed, and one is shown with its next ticks", async () => {
  const { ask } = await open();
  const { status, body } = await ask({ url: "/schedules" });
  expect(status).toBe(200);
  expect(body).toEqual({
    schedules: ["leap", "rare"].map((name) => ({
      name,
      status: "active",
      id: `schedule:${name}`,
      lastAt: iso,
      nextAt: iso,
      nextDue: iso,
    })),
  });
  expect((await ask({ url: "/schedules/leap" })).body).toEqual(body.schedules[0]);
  const { next } = (await ask({ url: "/schedules/leap?next=3" })).body;
  expect(next).toHaveLength(3);
  for (const at of next) expect(at).toMatch(/^\d{4}-02-29T00:00:00.000Z$/);
});

test("a schedule is paused, resumed, triggered and filled", async () => {
  const { ask, post, engine } = await open();
  expect(await post("/schedules/leap/pause")).toMatchObject({ status: 200, body: { status: "paused" } });
  expect((await ask({ url: "/schedules/leap" })).body).not.toHaveProperty("nextAt");
  const { status, body } = await post("/schedules/leap/trigger");
  expect(status).toBe(202);
  expect(body.key).toMatch(/^leap@trigger:/);
  await expect
    .poll(async () => (await ask({ url: `/requests/${encodeURIComponent(body.key)}` })).body.status)
    .toBe("ended");
  expect(await post("/schedules/leap/resume")).toMatchObject({ status: 200, body: { status: "active" } });
  // 29 February is in it twice.
  const range = { from: "2016-02-29T01:00:00+01:00", to: Date.UTC(2020, 1, 29) };
  expect(await post("/schedules/leap/backfill", range)).toMatchObject({
    status: 202,
    body: { name: "leap" },
  });
  await expect.poll(async () => (await engine.requests()).items.length).toBe(3);
  const keys = (await engine.requests()).items.map(({ id }) => id);
  expect(keys).toEqual(
    expect.arrayContaining(["2016", "2020"].map((year) => `leap@${year}-02-29T00:00:00.000Z`)),
  );
});

test("a command with an Idempotency-Key counts once", async () => {
  const { post, engine } = await open();
  const trigger = await post("/schedules/leap/trigger", undefined, "one");
  expect(trigger.status).toBe(202);
  expect(await post("/schedules/leap/trigger", undefined, "one")).toEqual(trigger);
  const other = await post("/schedules/rare/trigger", undefined, "one");
  expect(other.body.key).toMatch(/^rare@trigger:/);
  await expect
    .poll(async () => (await engine.requests()).items.map(({ id }) => id).toSorted())
    .toEqual([trigger.body.key, other.body.key]);
  // A pause that comes again after a resume changes nothing.
  await post("/schedules/leap/pause", undefined, "two");
  await post("/schedules/leap/resume");
  expect(await post("/schedules/leap/pause", undefined, "two")).toMatchObject({ body: { status: "active" } });
  const range = { from: "2016-02-28T00:00:00Z", to: "2016-03-01T00:00:00Z" };
  expect((await post("/schedules/leap/backfill", range, "three")).status).toBe(202);
  expect((await post("/schedules/leap/backfill", range, "three")).status).toBe(202);
  const another = { ...range, to: "2020-03-01T00:00:00Z" };
  expect(await post("/schedules/leap/backfill", another, "three")).toMatchObject({
    status: 422,
    body: { code: "WW_KEY_REUSED" },
  });
  expect((await post("/schedules/leap/trigger", undefined, "x".repeat(201))).status).toBe(400);
});

test("what is wrong is refused with all its problems", async () => {
  const { ask, post } = await open();
  const time = expect.stringContaining("ISO 8601 with a time zone") as unknown;
  const cases: readonly (readonly [body: object, problems: readonly object[]])[] = [
    [
      {},
      [
        { path: "from", message: "is missing" },
        { path: "to", message: "is missing" },
      ],
    ],
    [
      // Local time, and a day that does not exist.
      { from: "2026-10-25T02:30:00", to: "2026-02-30T00:00:00Z", until: 1 },
      [
        { path: "from", message: time },
        { path: "to", message: time },
        { path: "until", message: "is not known" },
      ],
    ],
    [
      { from: 9e15, to: "2026-10-25" },
      [
        { path: "from", message: time },
        { path: "to", message: time },
      ],
    ],
    [
      { from: null, to: "2026-10-25T25:00Z" },
      [
        { path: "from", message: time },
        { path: "to", message: time },
      ],
    ],
    [{ from: 2, to: 1 }, [{ path: "to", message: "must not be before `from`" }]],
    [[], [{ path: "", message: "must be a JSON object" }]],
  ];
  for (const [body, problems] of cases)
    expect(await post("/schedules/leap/backfill", body)).toMatchObject({
      status: 400,
      body: { code: "WW_INVALID_REQUEST", problems },
    });
  for (const query of ["next=0", "next=1001", "next=many", "last=1"])
    expect((await ask({ url: `/schedules/leap?${query}` })).status).toBe(400);
  for (const request of [
    { url: "/schedules/none" },
    ...["pause", "resume", "trigger"].map((command) => ({
      method: "POST" as const,
      url: `/schedules/none/${command}`,
      headers: { "content-type": "application/json" },
    })),
  ])
    expect(await ask(request)).toMatchObject({
      status: 404,
      body: { code: "WW_NOT_FOUND", detail: expect.stringMatching(/^there is no schedule /) },
    });
  // As for all commands: a form of a web page could send this.
  expect((await ask({ method: "POST", url: "/schedules/leap/pause" })).status).toBe(415);
  const foreign = { "content-type": "application/json", origin: "http://evil.com" };
  expect((await ask({ method: "POST", url: "/schedules/leap/pause", headers: foreign })).status).toBe(403);
});

test("responses are as the document says", async () => {
  const { app, ask, post } = await open();
  const document = (await app.inject({ url: "/openapi.json" })).json();
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema(document, "api");
  const demand = (schema: string, body: unknown) => {
    const check = ajv.compile({ $ref: `api#/components/schemas/${schema}` });
    expect(check(body), ajv.errorsText(check.errors)).toBe(true);
  };
  demand("Schedules", (await ask({ url: "/schedules" })).body);
  demand("Schedule", (await ask({ url: "/schedules/leap?next=2" })).body);
  demand("Schedule", (await post("/schedules/leap/pause")).body);
  demand("Triggered", (await post("/schedules/leap/trigger")).body);
});
