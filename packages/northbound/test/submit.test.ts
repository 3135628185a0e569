import { createHash } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { directory, engineOn, greet, system } from "./system.ts";

const hex32 = /^[0-9a-f]{32}$/;

describe("an answer", () => {
  test("is 200 with the request id and the fields of the result", async () => {
    const { app } = await system();
    const response = await app.inject({ method: "POST", url: "/greetings", payload: { name: "Ada" } });
    expect(response.statusCode).toBe(200);
    expect(response.headers["content-type"]).toBe("application/json; charset=utf-8");
    const { requestId, ...rest } = response.json();
    expect(requestId).toMatch(hex32);
    expect(rest).toEqual({ message: "hello, Ada" });
    expect(response.body.startsWith('{"requestId":')).toBe(true);
    expect(response.headers["content-location"]).toBe(`/requests/${requestId}/answer`);
  });

  test("with a result that is not an object has it under `result`", async () => {
    const { app, engine } = await system();
    const { id } = await engine.submit("plain", {});
    await engine.signal(id, "go", null);
    const response = await app.inject({ url: `/requests/${id}/answer`, headers: { prefer: "wait=5" } });
    expect(response.json()).toEqual({ requestId: id, result: "gone" });
  });

  test("with the hub's error is problem details with the route's status", async () => {
    const { app } = await system();
    const response = await app.inject({ method: "POST", url: "/greetings", payload: { name: "boor" } });
    expect(response.statusCode).toBe(502);
    expect(response.headers["content-type"]).toMatch(/^application\/problem\+json/);
    expect(response.json()).toEqual({
      type: "about:blank",
      title: "Bad Gateway",
      status: 502,
      code: "worker-error",
      detail: "no greeting: the worker refused",
      requestId: expect.stringMatching(hex32),
      details: { name: "boor" },
    });
  });

  test("with an error that the route gives no status is 500", async () => {
    const { app } = await system();
    const response = await app.inject({ method: "POST", url: "/greetings", payload: { name: "mute" } });
    expect(response.statusCode).toBe(500);
    expect(response.json()).toMatchObject({ code: "no-voice", detail: "nobody can speak" });
  });

  test("of a hub's timeout is 504", async () => {
    const { app } = await system();
    const response = await app.inject({ method: "POST", url: "/brief", payload: {} });
    expect(response.statusCode).toBe(504);
    expect(response.json()).toMatchObject({ code: "hub-timeout", detail: "error in hub by timeout" });
  });
});

describe("plain text", () => {
  test.each([
    ["text/plain", "Ada", 200, "hello, Ada"],
    ["text/plain", "boor", 502, "no greeting: the worker refused"],
    ["application/json;q=0.2, text/*;q=0.5", "Ada", 200, "hello, Ada"],
  ])("Accept: %s for %s is %i and the text, nothing else", async (accept, name, status, text) => {
    const { app } = await system();
    const response = await app.inject({
      method: "POST",
      url: "/greetings",
      payload: { name },
      headers: { accept },
    });
    expect([response.statusCode, response.body]).toEqual([status, text]);
    expect(response.headers["content-type"]).toBe("text/plain; charset=utf-8");
  });

  test.each(["*/*", "text/plain;q=0.5, application/json", "text/plain;q=0", "image/png", "; garbage ,,"])(
    "Accept: %s is JSON",
    async (accept) => {
      const { app } = await system();
      const payload = { name: "Ada" };
      const response = await app.inject({ method: "POST", url: "/greetings", payload, headers: { accept } });
      expect(response.json()).toMatchObject({ message: "hello, Ada" });
      expect(response.headers["vary"]).toContain("Accept");
    },
  );

  test("of a refusal lists all problems", async () => {
    const { app } = await system();
    const response = await app.inject({
      method: "POST",
      url: "/greetings",
      payload: { name: "", times: 9, tone: "low" },
      headers: { accept: "text/plain" },
    });
    expect(response.statusCode).toBe(400);
    expect(response.body.split("\n")).toHaveLength(4);
  });
});

describe("an idempotency key", () => {
  const post = { method: "POST", url: "/greetings", headers: { "idempotency-key": "order 17" } } as const;

  test("is the id of the request", async () => {
    const { app } = await system();
    const response = await app.inject({ ...post, payload: { name: "Ada" } });
    expect(response.json()).toMatchObject({ requestId: "order 17" });
    expect(response.headers["content-location"]).toBe("/requests/order%2017/answer");
  });

  test("finds a request that an earlier version stored under a hash of the hub and the key", async () => {
    const { app, engine } = await system();
    const id = createHash("sha256").update("greet\norder 17").digest("hex").slice(0, 32);
    await engine.call(greet, { name: "Ada" }, { key: id });
    expect((await app.inject({ ...post, payload: { name: "Ada" } })).json()).toMatchObject({ requestId: id });
    const other = await app.inject({ ...post, payload: { name: "Bob" } });
    expect(other.json()).toMatchObject({ code: "WW_KEY_REUSED" });
    const { app: later } = await system({ engine, acceptFormerKeys: false });
    const anew = await later.inject({ ...post, payload: { name: "Ada" } });
    expect(anew.json()).toMatchObject({ requestId: "order 17" });
  });

  test("is not looked up as an earlier version stored it, once it is known that there is no such request", async () => {
    const { app, engine } = await system();
    const formerOf = (key: string) => createHash("sha256").update(`greet\n${key}`).digest("hex").slice(0, 32);
    // Ids that the engine has made are as long.
    await engine.call(greet, { name: "Eve" });
    let number = 0;
    /** The id of a request that is stored under a hash. */
    const found = async (): Promise<string> => {
      const key = `order ${++number}`;
      await engine.call(greet, { name: "Ada" }, { key: formerOf(key) });
      const headers = { "idempotency-key": key };
      const response = await app.inject({ ...post, payload: { name: "Ada" }, headers });
      return (response.json() as { requestId: string }).requestId === key ? "the key" : "the hash";
    };
    await app.inject({ ...post, payload: { name: "Ada" } });
    await expect.poll(found).toBe("the key");
    expect(await found()).toBe("the key");
  });

  test.each([
    "order/42",
    "..",
    "commande-été",
    "注文-42",
    "🚀".repeat(200),
    "a\u0000b",
    " ",
    "50% off",
    "o%2F42",
    "//x",
  ])("is any text, and names the same request in the path and for the engine: %s", async (key) => {
    const { app, engine } = await system();
    const sent = key === ".." ? ".." : encodeURIComponent(key);
    const request = { ...post, url: "/approvals", payload: { subject: "a" } };
    const headers = { "idempotency-key": sent, prefer: "wait=0" };
    const first = await app.inject({ ...request, headers });
    expect([first.statusCode, first.json().requestId]).toEqual([202, key]);
    expect(await engine.submit("approval", { subject: "a" }, { key })).toEqual({ id: key, known: true });
    const path = first.headers["location"] as string;
    if (key === "..") return;
    expect(path).toBe(`/requests/${encodeURIComponent(key)}`);
    expect((await app.inject(path)).json()).toMatchObject({ id: key, hub: "approval" });
    expect((await app.inject(`${path}/history`)).json()).toMatchObject({ requestId: key });
    expect((await app.inject("/requests")).json().requests).toMatchObject([{ id: key }]);
    const signal = { method: "POST", url: `${path}/signals/approve`, payload: { by: "Ada" } } as const;
    expect((await app.inject(signal)).statusCode).toBe(202);
    expect(await engine.answer(key)).toMatchObject({ kind: "result" });
    expect((await app.inject(`${path}/answer`)).json()).toMatchObject({ requestId: key, by: "Ada" });
  });

  test("may be UTF-8 as it is", async () => {
    const { app, engine } = await system();
    const headers = { "idempotency-key": Buffer.from("注文-42").toString("latin1") };
    await app.inject({ ...post, payload: { name: "Ada" }, headers });
    expect(await engine.request("注文-42")).toMatchObject({ hub: "greet" });
  });

  test("gives the same answer again, also after a restart, and with the fields in another order", async () => {
    const file = join(directory(), "wheelwork.db");
    const first = await system({}, file);
    const once = await first.app.inject({ ...post, payload: { name: "Ada", times: 2 } });
    const twice = await first.app.inject({ ...post, payload: { times: 2, name: "Ada" } });
    expect(twice.body).toBe(once.body);
    expect((await first.engine.requests()).items).toHaveLength(1);
    await first.app.close();
    await first.engine.stop();
    const second = await system({ engine: await engineOn(file) });
    const again = await second.app.inject({ ...post, payload: { name: "Ada", times: 2 } });
    expect([again.statusCode, again.body]).toEqual([once.statusCode, once.body]);
    expect((await second.engine.requests()).items).toHaveLength(1);
  });

  test("that many clients send at once is one request with one answer", async () => {
    const { app, engine } = await system();
    const sent = Array.from({ length: 50 }, () => app.inject({ ...post, payload: { name: "Ada" } }));
    const bodies = (await Promise.all(sent)).map(({ statusCode, body }) => `${statusCode} ${body}`);
    expect(new Set(bodies).size).toBe(1);
    expect((await engine.requests()).items).toHaveLength(1);
  });

  test("with another body is 422, and the first answer stands", async () => {
    const { app } = await system();
    const once = await app.inject({ ...post, payload: { name: "Ada" } });
    const other = await app.inject({ ...post, payload: { name: "Bob" } });
    expect(other.statusCode).toBe(422);
    expect(other.json()).toMatchObject({ status: 422, code: "WW_KEY_REUSED", title: "Unprocessable Entity" });
    expect((await app.inject({ ...post, payload: { name: "Ada" } })).body).toBe(once.body);
  });

  test("belongs to one hub", async () => {
    const { app } = await system();
    await app.inject({ ...post, payload: { name: "Ada" } });
    const approval = await app.inject({ ...post, url: "/approvals", payload: { subject: "a" } });
    expect([approval.statusCode, approval.json().code]).toEqual([422, "WW_KEY_REUSED"]);
  });

  test.each([
    ["", "must be 1 to 200 characters"],
    ["x".repeat(201), "must be 1 to 200 characters"],
    ["%F0%9F%9A%80".repeat(201), "must be 1 to 200 characters"],
    ["50% off", "has a '%' without two hexadecimal digits. Send a percent sign as %25"],
    [
      "flow %ED%A0%BD",
      "is not UTF-8, or has half of a surrogate pair. Send what is not ASCII percent-encoded",
    ],
    ["umlaut ü", "is not UTF-8, or has half of a surrogate pair. Send what is not ASCII percent-encoded"],
  ])(
    "that is not a valid key is 400 with the reason, for requests and commands: %s",
    async (key, message) => {
      const { app, engine } = await system();
      const { id } = await engine.submit("approval", { subject: "leave" });
      const headers = { "idempotency-key": key };
      for (const request of [
        { ...post, payload: { name: "Ada" }, headers },
        { method: "POST", url: `/requests/${id}/cancel`, headers } as const,
      ]) {
        const response = await app.inject(request);
        expect(response.statusCode).toBe(400);
        expect(response.json()).toMatchObject({
          code: "WW_INVALID_REQUEST",
          problems: [{ path: "Idempotency-Key", message }],
        });
      }
      expect((await engine.requests()).items).toHaveLength(1);
    },
  );
});

describe("a request that takes long", () => {
  test("is 202 after the wait, and a later GET gives the answer that the POST would have given", async () => {
    const { app, engine } = await system({ defaultWaitMs: 40 });
    const response = await app.inject({ method: "POST", url: "/approvals", payload: { subject: "leave" } });
    expect(response.statusCode).toBe(202);
    const { requestId } = response.json();
    expect(response.json()).toEqual({ requestId, status: "running" });
    expect(response.headers["location"]).toBe(`/requests/${requestId}`);
    expect(response.headers["retry-after"]).toBe("1");

    const url = `/requests/${requestId}/answer`;
    const early = await app.inject({ url });
    expect([early.statusCode, early.body]).toEqual([202, response.body]);
    expect(early.headers["location"]).toBe(`/requests/${requestId}`);

    const waiting = app.inject({ url, headers: { prefer: "wait=10" } });
    await engine.signal(requestId, "approve", { by: "Eve" });
    const late = await waiting;
    expect([late.statusCode, late.json()]).toEqual([
      200,
      { requestId, message: "leave: approved", by: "Eve" },
    ]);
    expect(late.headers["preference-applied"]).toBe("wait=10");
    const text = await app.inject({ url, headers: { accept: "text/plain" } });
    expect(text.body).toBe("leave: approved");
  });

  test("gives the same status, headers and body to GET as to POST", async () => {
    const { app } = await system();
    for (const accept of ["application/json", "text/plain"]) {
      for (const name of ["Ada", "boor"]) {
        const headers = { accept, prefer: "wait=3" };
        const post = await app.inject({ method: "POST", url: "/greetings", payload: { name }, headers });
        const get = await app.inject({ url: String(post.headers["content-location"]), headers });
        const { date: _date, ...expected } = post.headers;
        expect(get.statusCode).toBe(post.statusCode);
        expect(get.headers).toMatchObject(expected);
        expect(get.body).toBe(post.body);
      }
    }
  });

  test.each([
    ["wait=0", "wait=0"],
    ["respond-async, wait=0", "wait=0"],
    ['handling=lenient; a="b", WAIT="0" ; x=y', "wait=0"],
    ["wait=0, wait=50", "wait=0"],
  ])("Prefer: %s is granted", async (prefer, applied) => {
    // A wait that is not granted would be longer than a test may take.
    const { app } = await system({ defaultWaitMs: 600_000 });
    const response = await app.inject({
      method: "POST",
      url: "/approvals",
      payload: { subject: "leave" },
      headers: { prefer },
    });
    expect(response.statusCode).toBe(202);
    expect(response.headers["preference-applied"]).toBe(applied);
  });

  test.each(["wait=soon", "wait", "wait=-1", "wait=1.5", "await=0"])(
    "Prefer: %s is ignored",
    async (prefer) => {
      const { app } = await system({ defaultWaitMs: 10 });
      const payload = { subject: "leave" };
      const response = await app.inject({ method: "POST", url: "/approvals", payload, headers: { prefer } });
      expect(response.statusCode).toBe(202);
      expect(response.headers["preference-applied"]).toBeUndefined();
    },
  );

  test("waits no longer than the maximum", async () => {
    const { app } = await system({ maxWaitMs: 1000 });
    const response = await app.inject({
      method: "POST",
      url: "/approvals",
      payload: { subject: "leave" },
      headers: { prefer: "wait=99999999999999999999" },
    });
    expect(response.statusCode).toBe(202);
    expect(response.headers["preference-applied"]).toBe("wait=1");
  });
});

describe("a body", () => {
  const post = {
    method: "POST",
    url: "/greetings",
    headers: { "content-type": "application/json" },
  } as const;

  test("is refused with every problem, unknown fields by name", async () => {
    const { app, engine } = await system();
    const response = await app.inject({ ...post, payload: { name: "", times: 4.5, tone: "low", pitch: 1 } });
    expect(response.statusCode).toBe(400);
    const { problems, ...rest } = response.json();
    expect(rest).toMatchObject({
      type: "about:blank",
      title: "Bad Request",
      status: 400,
      code: "WW_INVALID_REQUEST",
    });
    expect(rest.detail).not.toContain("WW_");
    expect(problems.map(({ path }: { path: string }) => path).toSorted()).toEqual(["", "name", "times"]);
    expect(JSON.stringify(problems)).toMatch(/tone.*pitch/);
    expect((await engine.requests()).items).toEqual([]);
  });

  test.each([
    ["no JSON", "{name: 1}", /is not JSON/],
    ["half of it", '{"name": "A', /is not JSON/],
    ["a poisoned prototype", '{"__proto__": {"name": "A"}}', /is not JSON/],
    ["an array", "[1]", /must be a JSON object/],
    ["a text", '"name"', /must be a JSON object/],
    ["null", "null", /must be a JSON object/],
    ["empty", "", /must be a JSON object/],
    ["a number beyond all", '{"name": 1e999}', /out of range/],
    ["bytes that are no UTF-8", Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), /UTF-8/],
    ["a very deep nest", `{"name": ${"[".repeat(200_000)}${"]".repeat(200_000)}}`, /nested/],
    ["a wide one", `{"name": [${"1,".repeat(400_000)}1]}`, /expected string/i],
  ])("that is %s is 400", async (_what, payload, expected) => {
    const { app } = await system();
    const response = await app.inject({ ...post, payload });
    expect(response.statusCode).toBe(400);
    expect(response.json()).toMatchObject({ status: 400, code: "WW_INVALID_REQUEST" });
    expect(response.json().problems[0].message).toMatch(expected);
  });

  test.each(["text/plain", "application/xml", "application/x-www-form-urlencoded", "nonsense"])(
    "of the type %s is 415",
    async (type) => {
      const { app } = await system();
      const headers = { "content-type": type };
      const response = await app.inject({ ...post, payload: '{"name":"Ada"}', headers });
      expect(response.statusCode).toBe(415);
      expect(response.json()).toMatchObject({ status: 415, code: "WW_UNSUPPORTED_MEDIA_TYPE" });
    },
  );

  test("that is too large is 413", async () => {
    const { app } = await system({ bodyLimit: 100 });
    const response = await app.inject({ ...post, payload: { name: "A".repeat(200) } });
    expect(response.statusCode).toBe(413);
    expect(response.json()).toMatchObject({ status: 413, code: "WW_BODY_TOO_LARGE" });
  });

  test("that is valid does not make an unknown query parameter acceptable", async () => {
    const { app } = await system();
    const response = await app.inject({ ...post, url: "/greetings?dry=1&run=2", payload: { name: "Ada" } });
    expect(response.statusCode).toBe(400);
    expect(response.json().problems).toEqual([
      { path: "dry", message: "is not known" },
      { path: "run", message: "is not known" },
    ]);
  });
});

describe("an engine that takes no requests", () => {
  test("is 503 with Retry-After", async () => {
    const { app, engine } = await system();
    await engine.stop();
    const response = await app.inject({ method: "POST", url: "/greetings", payload: { name: "Ada" } });
    expect(response.statusCode).toBe(503);
    expect(response.headers["retry-after"]).toBe("1");
    expect(response.json()).toMatchObject({ status: 503, code: "WW_STOPPING" });
    const ready = await app.inject({ url: "/ready" });
    expect([ready.statusCode, ready.json().code]).toEqual([503, "WW_STOPPING"]);
    expect((await app.inject({ url: "/health" })).json()).toMatchObject({ ready: false, status: "stopped" });
  });
});
