import { expect, test } from "vitest";
import { system } from "./system.ts";

/** Requests are found and counted over HTTP. */

async function mixed() {
  const { app, engine } = await system();
  for (const [hub, key, body] of [
    ["greet", "ann", { name: "Ann" }],
    ["greet", "boor", { name: "boor" }],
    ["greet", "mute", { name: "mute" }],
    ["approval", "open", { subject: "a" }],
    ["approval", "gone", { subject: "b" }],
  ] as const)
    await engine.submit(hub, body, { key });
  await engine.cancel("gone");
  for (const key of ["ann", "boor", "mute", "gone"]) await engine.answer(key);
  await expect.poll(() => engine.count({ status: "ended" })).toBe(4);
  return { app, engine };
}

test("requests are listed by hub, status, state and code, in both orders", async () => {
  const { app } = await mixed();
  const ids = async (query: string): Promise<string[]> => {
    const response = await app.inject({ url: `/requests?${query}` });
    expect(response.statusCode, response.body).toBe(200);
    return response.json<{ requests: { id: string }[] }>().requests.map(({ id }) => id);
  };
  expect((await ids("hub=greet")).toSorted()).toEqual(["ann", "boor", "mute"]);
  expect(await ids("status=waiting")).toEqual(["open"]);
  expect(await ids("status=result")).toEqual(["ann"]);
  expect((await ids("status=waiting&status=result")).toSorted()).toEqual(["ann", "open"]);
  expect(await ids("code=worker-error")).toEqual(["boor"]);
  expect((await ids("code=no-voice&code=withdrawn")).toSorted()).toEqual(["gone", "mute"]);
  expect((await ids("state=Failed")).toSorted()).toEqual(["boor", "mute"]);
  expect(await ids("order=oldest&limit=1000")).toEqual((await ids("order=newest")).toReversed());
  const answered = await ids("status=ended");
  const byDuration = await ids("order=duration");
  expect(byDuration.toSorted()).toEqual(answered.toSorted());
  const rest = await app.inject({ url: "/requests?order=duration&limit=1" });
  const { requests: longest, cursor } = rest.json<{ requests: { id: string }[]; cursor: string }>();
  expect(longest.map(({ id }) => id)).toEqual(byDuration.slice(0, 1));
  expect(await ids(`order=duration&cursor=${encodeURIComponent(cursor)}`)).toEqual(byDuration.slice(1));
  expect(await ids("order=attempts")).toEqual([]);
  expect((await app.inject({ url: "/requests?order=attempts&text=x" })).json().problems).toMatchObject([
    { path: "order" },
  ]);
  expect(await ids("createdTo=1970-01-02T00:00:00Z")).toEqual([]);
  expect(await ids(`createdFrom=0&answeredTo=${Date.now() + 60_000}&status=result`)).toEqual(["ann"]);
  expect(await ids("minDurationMs=60000")).toEqual([]);
  const { requests } = (await app.inject({ url: "/requests?code=no-voice" })).json<{ requests: object[] }>();
  expect(requests).toMatchObject([{ id: "mute", status: "ended", outcome: "error", code: "no-voice" }]);
});

test("requests are listed and counted by their labels, and show them", async () => {
  const { app, engine } = await mixed();
  await engine.submit("greet", { name: "mime", times: 2 }, { key: "mime" });
  await engine.answer("mime");
  const get = async (url: string) => (await app.inject({ url })).json<Record<string, unknown>>();
  const ids = async (query: string): Promise<string[]> => {
    const { requests } = (await get(`/requests?${query}`)) as { requests: { id: string }[] };
    expect(await get(`/counts?${query}`)).toMatchObject({ count: requests.length });
    return requests.map(({ id }) => id).toSorted();
  };
  await expect.poll(() => ids("label=length=4")).toEqual(["boor", "mime", "mute"]);
  expect(await ids("label=length=4&label=length=3&status=result")).toEqual(["ann", "mime"]);
  expect(await ids("label=length=4&label=times=2")).toEqual(["mime"]);
  expect(await ids("label=length=5")).toEqual([]);
  expect(await get("/requests/mime")).toMatchObject({ labels: { length: "4", times: "2" } });
  expect(await get("/requests?label=times=2")).toMatchObject({
    requests: [{ id: "mime", labels: { length: "4", times: "2" } }],
  });
  expect(await get("/requests/mime/history?limit=1")).toMatchObject({
    events: [{ type: "started", labels: { length: "4", times: "2" } }],
  });
  for (const wrong of ["length", "=4", "a.b=c", "length="])
    expect((await app.inject({ url: `/requests?label=${wrong}` })).statusCode, wrong).toBe(400);
});

test("requests are searched for texts and values", async () => {
  const { app } = await mixed();
  const ids = async (query: string): Promise<string[]> => {
    const response = await app.inject({ url: `/requests?${query}` });
    expect(response.statusCode, response.body).toBe(200);
    return response.json<{ requests: { id: string }[] }>().requests.map(({ id }) => id);
  };
  expect(await ids("text=BOO")).toEqual(["boor"]);
  expect(await ids("value=request.name=mute")).toEqual(["mute"]);
  expect(await ids("value=request.name=mute&status=result")).toEqual([]);
  expect(await ids("value=request.subject=%22a%22&hub=approval")).toEqual(["open"]);
  expect((await app.inject({ url: "/requests?value=name=mute" })).statusCode).toBe(400);
});

test("requests are counted, by state and by answer", async () => {
  const { app } = await mixed();
  const counts = async (query: string) => (await app.inject({ url: `/counts?${query}` })).json<object>();
  expect(await counts("hub=greet")).toEqual({
    count: 3,
    states: [
      { hub: "greet", status: "ended", state: "Done", count: 1 },
      { hub: "greet", status: "ended", state: "Failed", count: 2 },
    ],
    outcomes: [
      { hub: "greet", outcome: "error", code: "no-voice", count: 1 },
      { hub: "greet", outcome: "error", code: "worker-error", count: 1 },
      { hub: "greet", outcome: "result", count: 1 },
    ],
  });
  expect(await counts("status=running")).toEqual({
    count: 1,
    states: [{ hub: "approval", status: "running", activity: "waiting", state: "Waiting", count: 1 }],
    outcomes: [],
  });
});

test("a query that is not valid is refused with every problem", async () => {
  const { app } = await system();
  for (const path of ["/requests", "/counts"]) {
    const query = "status=done&createdFrom=yesterday&minDurationMs=-1&x=1";
    const response = await app.inject({ url: `${path}?${query}` });
    expect(response.statusCode).toBe(400);
    const { problems } = response.json<{ problems: { path: string }[] }>();
    expect(problems.map(({ path: at }) => at).toSorted()).toEqual([
      "createdFrom",
      "minDurationMs",
      "status.0",
      "x",
    ]);
    const times = await app.inject({ url: `${path}?createdFrom=yesterday&answeredTo=2026-13-01T00:00:00Z` });
    expect(times.statusCode).toBe(400);
    expect(times.json<{ problems: { path: string }[] }>().problems.map(({ path: at }) => at)).toEqual([
      "createdFrom",
      "answeredTo",
    ]);
  }
});
