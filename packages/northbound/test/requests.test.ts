import { toSvg } from "@wheelwork/diagram";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { northbound } from "../src/index.ts";
import { directory, engineOn, faults, greet, routes, system } from "./system.ts";

const iso = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

/** Of a POST without a body. */
const json = { "content-type": "application/json" };

describe("GET /requests/{id}", () => {
  test("shows a request that waits, and one that has ended", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("approval", { subject: "leave" });
    expect((await app.inject({ url: `/requests/${id}` })).json()).toEqual({
      id,
      hub: "approval",
      version: 1,
      status: "running",
      state: "Waiting",
      createdAt: expect.stringMatching(iso),
      request: { subject: "leave" },
      openCalls: [],
    });
    await engine.signal(id, "approve", { by: "Eve" });
    const ended = (await app.inject({ url: `/requests/${id}` })).json();
    expect(ended).toMatchObject({
      status: "ended",
      state: "Accepted",
      answeredAt: expect.stringMatching(iso),
      endedAt: expect.stringMatching(iso),
      answer: { kind: "result", value: { message: "leave: approved", by: "Eve" } },
    });
  });

  test("shows an incident with its error and input, and no stack", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("faulty", {});
    const view = (await app.inject({ url: `/requests/${id}` })).json();
    expect(view).toMatchObject({
      status: "incident",
      incident: { at: expect.stringMatching(iso), error: { message: expect.stringContaining("broken") } },
    });
    const history = await app.inject({ url: `/requests/${id}/history` });
    expect(history.json().events.at(-1)).toMatchObject({ type: "incident" });
    expect(JSON.stringify(view) + history.body).not.toMatch(/stack|\.ts:\d/);
  });

  test.each(["", "/answer", "/history", "/diagram.svg"])("an unknown id is 404 (%s)", async (path) => {
    const { app } = await system();
    const response = await app.inject({ url: `/requests/${"0".repeat(32)}${path}` });
    expect(response.statusCode).toBe(404);
    expect(response.json()).toMatchObject({ status: 404, code: "WW_NOT_FOUND" });
  });

  test.each(["a%20b", "%C3%BC", "x".repeat(300), "%00", "a%2Fb"])(
    "any text may be an id: %s is 404",
    async (id) => {
      const { app } = await system();
      expect((await app.inject({ url: `/requests/${id}/history` })).statusCode).toBe(404);
    },
  );

  test("an id that is too long is 400", async () => {
    const { app } = await system();
    const response = await app.inject({ url: `/requests/${"x".repeat(4001)}/history` });
    expect(response.statusCode).toBe(400);
    expect(response.json().problems[0].path).toBe("id");
  });

  test("a malformed path is 400", async () => {
    const { app } = await system();
    const response = await app.inject({ url: "/requests/%E0%A4%A" });
    expect(response.statusCode).toBe(400);
    expect(response.headers["content-type"]).toMatch(/^application\/problem\+json/);
    expect(response.json()).toMatchObject({ code: "WW_INVALID_REQUEST" });
  });
});

describe("GET /requests", () => {
  test("pages through all requests, newest first, and filters", async () => {
    const { app, engine } = await system();
    const made: string[] = [];
    for (let at = 0; at < 7; at++) {
      made.unshift(
        (await engine.submit(at % 2 === 0 ? "approval" : "plain", at % 2 === 0 ? { subject: "a" } : {})).id,
      );
    }
    const pages: string[][] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined;) {
      const place: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page = (await app.inject({ url: `/requests?limit=3${place}` })).json();
      pages.push(page.requests.map(({ id }: { id: string }) => id));
      cursor = page.cursor;
    }
    expect(pages.map(({ length }) => length)).toEqual([3, 3, 1]);
    const seen = pages.flat();
    expect(seen.toSorted()).toEqual(made.toSorted());
    expect(new Set(seen).size).toBe(7);
    const plain = (await app.inject({ url: "/requests?hub=plain&status=running" })).json();
    expect(plain.requests).toHaveLength(3);
    expect(plain.requests[0]).toEqual({
      id: expect.any(String),
      hub: "plain",
      version: 1,
      status: "running",
      activity: "waiting",
      state: "Waiting",
      createdAt: expect.stringMatching(iso),
    });
    expect((await app.inject({ url: "/requests?status=ended" })).json()).toEqual({ requests: [] });
  });

  test("refuses a bad query with every problem", async () => {
    const { app } = await system();
    const response = await app.inject({ url: "/requests?status=odd&limit=0&hub=&page=2" });
    expect(response.statusCode).toBe(400);
    const { problems } = response.json();
    expect(problems.map(({ path }: { path: string }) => path).toSorted()).toEqual([
      "hub.0",
      "limit",
      "page",
      "status.0",
    ]);
    expect(problems).toContainEqual({
      path: "status.0",
      message: expect.stringMatching(/^must be one of pending, running, .*lost$/),
    });
    expect(problems).toContainEqual({ path: "page", message: "is not known" });
  });

  test.each([
    "limit=ten",
    "limit=1001",
    "limit=1.5",
    "limit=",
    "cursor=bogus",
    "cursor=",
    "limit=1&limit=2",
    "status=a&status=b",
  ])("refuses ?%s", async (query) => {
    const { app } = await system();
    const response = await app.inject({ url: `/requests?${query}` });
    expect(response.statusCode).toBe(400);
    expect(response.json().problems[0].path.split(".")[0]).toBe(query.split("=")[0]);
  });
});

describe("cancel", () => {
  test("is 202 and idempotent; then the hub answers with the route's status, and after the end it is 409 with the answer", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("approval", { subject: "leave" });
    const cancel = { method: "POST", url: `/requests/${id}/cancel`, headers: json } as const;
    const [first, second] = await Promise.all([app.inject(cancel), app.inject(cancel)]);
    expect(first.statusCode).toBe(202);
    expect(first.headers["location"]).toBe(`/requests/${id}`);
    expect(first.json()).toMatchObject({ requestId: id });
    expect([202, 409]).toContain(second.statusCode);
    const answer = await app.inject({ url: `/requests/${id}/answer`, headers: { prefer: "wait=5" } });
    expect([answer.statusCode, answer.json().code]).toEqual([410, "withdrawn"]);
    const late = await app.inject(cancel);
    expect(late.statusCode).toBe(409);
    expect(late.json()).toMatchObject({
      code: "WW_ENDED",
      requestId: id,
      answer: { kind: "error", code: "withdrawn", message: "the request was withdrawn" },
    });
  });

  test("of a hub without an event for it gives the answer 409 WW_CANCELLED", async () => {
    const { app } = await system();
    const headers = { prefer: "wait=0" };
    const { requestId } = (await app.inject({ method: "POST", url: "/plain", payload: {}, headers })).json();
    await app.inject({ method: "POST", url: `/requests/${requestId}/cancel`, headers: json });
    const answer = await app.inject({ url: `/requests/${requestId}/answer`, headers: { prefer: "wait=5" } });
    expect([answer.statusCode, answer.json().code]).toEqual([409, "WW_CANCELLED"]);
  });

  test("takes an empty body with a JSON content type, and refuses an unknown request", async () => {
    const { app } = await system();
    const headers = { "content-type": "application/json" };
    const response = await app.inject({ method: "POST", url: "/requests/nobody/cancel", headers });
    expect([response.statusCode, response.json().code]).toEqual([404, "WW_NOT_FOUND"]);
  });
});

describe("signals", () => {
  test("are 202, then 409 with the answer", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("approval", { subject: "leave" });
    const signal = {
      method: "POST",
      url: `/requests/${id}/signals/approve`,
      payload: { by: "Eve" },
    } as const;
    expect((await app.inject(signal)).statusCode).toBe(202);
    expect(await engine.answer(id, { waitMs: 5000 })).toMatchObject({ kind: "result", value: { by: "Eve" } });
    const late = await app.inject(signal);
    expect([late.statusCode, late.json().code, late.json().answer.kind]).toEqual([409, "WW_ENDED", "result"]);
  });

  test("need no body if they have no payload", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("plain", {});
    expect(
      (await app.inject({ method: "POST", url: `/requests/${id}/signals/go`, headers: json })).statusCode,
    ).toBe(202);
    expect(await engine.answer(id, { waitMs: 5000 })).toEqual({ kind: "result", value: "gone" });
  });

  test("are refused with every problem of the payload, or if the hub has no such signal", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("approval", { subject: "leave" });
    const url = `/requests/${id}/signals/approve`;
    const bad = await app.inject({ method: "POST", url, payload: { bye: 1 } });
    expect(bad.statusCode).toBe(400);
    expect(bad.json()).toMatchObject({ code: "WW_INVALID_INPUT" });
    expect(bad.json().problems).toHaveLength(2);
    const unknown = await app.inject({ method: "POST", url: `/requests/${id}/signals/reject`, payload: {} });
    expect([unknown.statusCode, unknown.json().code]).toEqual([404, "WW_SIGNAL_UNKNOWN"]);
  });

  test("with the same idempotency key count once", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("pair", {});
    const go = async (key: string): Promise<number> => {
      const headers = { "idempotency-key": key };
      return (await app.inject({ method: "POST", url: `/requests/${id}/signals/go`, headers })).statusCode;
    };
    expect([await go("one"), await go("one")]).toEqual([202, 202]);
    expect(await engine.request(id)).toMatchObject({ status: "running", state: "Second" });
    expect([await go("two"), await go("two"), await go("three")]).toEqual([202, 202, 409]);
  });

  test("with the same idempotency key and another body are 422, however the path is written", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("sum", {});
    const add = async (amount: number, name = "add"): Promise<unknown[]> => {
      const request = {
        method: "POST",
        url: `/requests/${id}/signals/${name}`,
        payload: { amount },
      } as const;
      const response = await app.inject({ ...request, headers: { "idempotency-key": "one" } });
      return [response.statusCode, response.json().code];
    };
    expect(await add(5)).toEqual([202, undefined]);
    expect(await add(5)).toEqual([202, undefined]);
    expect(await add(5, "%61dd")).toEqual([202, undefined]);
    expect(await add(7)).toEqual([422, "WW_KEY_REUSED"]);
    expect(await engine.request(id)).toMatchObject({ data: { total: 5 } });
  });
});

describe("incidents", () => {
  test("are 202 to a client that waits, and can be retried", async () => {
    const { app, engine } = await system({ defaultWaitMs: 20 });
    const post = await app.inject({ method: "POST", url: "/faulty", payload: {} });
    expect([post.statusCode, post.json().status]).toEqual([202, "incident"]);
    const { requestId } = post.json();
    faults.broken = false;
    const retry = await app.inject({ method: "POST", url: `/requests/${requestId}/retry`, headers: json });
    expect(retry.statusCode).toBe(202);
    expect(await engine.answer(requestId, { waitMs: 5000 })).toMatchObject({ kind: "result" });
    const late = await app.inject({ method: "POST", url: `/requests/${requestId}/retry`, headers: json });
    expect([late.statusCode, late.json().code]).toEqual([409, "WW_ENDED"]);
  });

  test("can be resolved: the request is answered 500 with the message", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("faulty", {});
    const url = `/requests/${id}/resolve`;
    for (const payload of [undefined, [], {}, { message: "" }, { message: 1, why: 2 }]) {
      const bad = await app.inject({
        method: "POST",
        url,
        headers: json,
        ...(payload === undefined ? {} : { payload }),
      });
      expect([bad.statusCode, bad.json().code]).toEqual([400, "WW_INVALID_REQUEST"]);
    }
    const resolve = await app.inject({ method: "POST", url, payload: { message: "given up" } });
    expect(resolve.statusCode).toBe(202);
    const answer = await app.inject({ url: `/requests/${id}/answer` });
    expect(answer.statusCode).toBe(500);
    expect(answer.json()).toMatchObject({ code: "WW_INCIDENT", detail: "given up", requestId: id });
  });

  test.each(["retry", "resolve"])("%s of a request that is no incident is 409", async (name) => {
    const { app, engine } = await system();
    const { id } = await engine.submit("approval", { subject: "leave" });
    const response = await app.inject({
      method: "POST",
      url: `/requests/${id}/${name}`,
      payload: { message: "m" },
    });
    expect([response.statusCode, response.json().code]).toEqual([409, "WW_NOT_INCIDENT"]);
  });
});

describe("histories and diagrams", () => {
  test("a history comes in pages", async () => {
    const { app, engine } = await system();
    await engine.submit("approval", { subject: "leave" }, { key: "k" });
    await engine.signal("k", "approve", { by: "Eve" });
    await engine.answer("k");
    const get = async (query: string) => app.inject(`/requests/k/history${query}`);
    const whole = (await get("")).json<{ events: object[]; cursor?: string }>();
    expect(whole.cursor).toBeUndefined();
    const events: object[] = [];
    for (let query = "?limit=2"; ;) {
      const page: { events: object[]; cursor?: string } = (await get(query)).json();
      expect(page.events.length).toBeLessThanOrEqual(2);
      events.push(...page.events);
      if (page.cursor === undefined) break;
      query = `?limit=2&cursor=${page.cursor}`;
    }
    expect(events).toEqual(whole.events);
    for (const query of ["?limit=0", "?limit=10001", "?cursor=x", "?after=1"])
      expect((await get(query)).statusCode, query).toBe(400);
  });

  test("a history is read backward, too, and the request is shown as it was after any event", async () => {
    const { app, engine } = await system();
    await engine.submit("sum", {}, { key: "k" });
    for (const amount of [1, 2, 3]) await engine.signal("k", "add", { amount });
    const get = async (path: string) => (await app.inject({ url: `/requests/k/history${path}` })).json();
    const whole = await get("");
    expect(whole).toMatchObject({ first: 0 });
    const last = whole.events.length - 1;
    const newest = await get("?order=newest&limit=2");
    expect(newest.events).toEqual(whole.events.slice(-2).toReversed());
    expect(newest).toMatchObject({ first: last - 1, cursor: String(last - 1) });
    const before = await get(`?order=newest&cursor=${newest.cursor}`);
    expect(before.events).toEqual(whole.events.slice(0, -2).toReversed());
    expect(before.cursor).toBeUndefined();
    expect(await get(`?cursor=${last}`)).toMatchObject({ first: last, events: [whole.events[last]] });
    for (const [event, total] of [
      [last, 6],
      [last - 1, 3],
      [last - 3, 0],
    ] as const)
      expect(await get(`/${event}`)).toMatchObject({ id: "k", state: "Adding", data: { total } });
    expect(await get(`/${last + 1}`)).toMatchObject({ status: 404, code: "WW_NOT_FOUND" });
    expect(await get("/x")).toMatchObject({ status: 400 });
    expect(await get("?order=up")).toMatchObject({ status: 400 });
  });

  test("a history has every event with its time as text", async () => {
    const { app } = await system();
    const { requestId } = (
      await app.inject({ method: "POST", url: "/greetings", payload: { name: "Ada" } })
    ).json();
    const history = (await app.inject({ url: `/requests/${requestId}/history` })).json();
    expect(history.requestId).toBe(requestId);
    const [started, entered] = history.events;
    expect(started).toMatchObject({ type: "started", deadline: expect.stringMatching(iso) });
    expect(entered.calls[0]).toMatchObject({ callee: "greeting", due: expect.stringMatching(iso) });
    for (const { at } of history.events) expect(at).toMatch(iso);
    expect(history.events.at(-1).type).toBe("ended");
  });

  test("a diagram is drawn from the hub and the history", async () => {
    const { app, engine } = await system({ diagram: (hub, history) => toSvg(hub, { history }) });
    const { id } = await engine.submit("approval", { subject: "leave" });
    const url = `/requests/${id}/diagram.svg`;
    const waiting = await app.inject({ url });
    expect(waiting.statusCode).toBe(200);
    expect(waiting.headers["content-type"]).toMatch(/^image\/svg\+xml/);
    expect(waiting.body).toMatch(/<svg[^]*Waiting[^]*<\/svg>/);
    await engine.cancel(id);
    expect((await app.inject({ url })).body).not.toBe(waiting.body);
  });

  test("without a diagram function a diagram is 501", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("approval", { subject: "leave" });
    const response = await app.inject({ url: `/requests/${id}/diagram.svg` });
    expect([response.statusCode, response.json().code]).toEqual([501, "WW_NOT_SUPPORTED"]);
  });
});

describe("other paths and errors", () => {
  test("unknown paths are 404, wrong methods 405 with Allow, before any body is read", async () => {
    const { app } = await system();
    const headers = { "content-type": "application/pdf" };
    const unknown = await app.inject({ method: "POST", url: "/nothing?x=1", headers, payload: "%PDF" });
    expect([unknown.statusCode, unknown.json().code]).toEqual([404, "WW_NOT_FOUND"]);
    const wrong = await app.inject({ method: "DELETE", url: "/requests/abc" });
    expect([wrong.statusCode, wrong.json().code]).toEqual([405, "WW_METHOD_NOT_ALLOWED"]);
    expect(wrong.headers["allow"]).toBe("GET, HEAD");
    const read = await app.inject({ method: "GET", url: "/greetings" });
    expect([read.statusCode, read.headers["allow"]]).toEqual([405, "POST"]);
  });

  test("health and readiness", async () => {
    const { app } = await system();
    const health = await app.inject({ url: "/health" });
    expect(health.json()).toMatchObject({ ready: true, status: "running", liveRuns: 0 });
    expect((await app.inject({ url: "/ready" })).statusCode).toBe(200);
  });

  test("routes of the application answer errors in the same way; a defect shows no details and is logged", async () => {
    const logged: object[] = [];
    const log = (): void => {};
    const { app } = await system({
      logger: { debug: log, info: log, warn: log, error: (fields) => void logged.push(fields) },
      extra: (server) => {
        server.get(
          "/flow/:flowid",
          {
            schema: {
              querystring: {
                type: "object",
                properties: { n: { type: "integer" } },
                additionalProperties: false,
              },
            },
          },
          ({ query }) => query,
        );
        server.get("/broken", () => {
          throw new Error("secret");
        });
      },
    });
    expect((await app.inject({ url: "/flow/1?n=5" })).json()).toEqual({ n: 5 });
    const refused = await app.inject({ url: "/flow/1?n=five&m=1" });
    expect(refused.json().problems).toHaveLength(2);
    const broken = await app.inject({ url: "/broken" });
    expect(broken.statusCode).toBe(500);
    expect(broken.json()).toMatchObject({ code: "WW_DEFECT", status: 500 });
    expect(broken.body).not.toMatch(/secret|stack/);
    expect(logged).toEqual([expect.objectContaining({ err: expect.any(Error), path: "/broken" })]);
  });

  test("wrong routes are refused with every problem", async () => {
    const engine = await engineOn(join(directory(), "wheelwork.db"));
    const stranger = { ...greet, name: "stranger" };
    const made = northbound({
      engine,
      routes: [
        ...routes,
        { method: "POST", path: "/again", hub: greet },
        { method: "POST", path: "/x", hub: stranger },
      ],
    });
    await expect(made).rejects.toMatchObject({
      code: "WW_CONFIG",
      problems: [
        { path: "/again", message: "the hub greet has a route already" },
        { path: "/x", message: "the engine does not serve the hub stranger" },
      ],
    });
  });
});
