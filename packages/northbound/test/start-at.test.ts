import { expect, test } from "vitest";
import { system } from "./system.ts";

/** Sends a greeting that begins at a time. */
async function setUp() {
  const { app, engine } = await system();
  const post = (startAt: string, key = "k", wait: Record<string, string> = {}) =>
    app.inject({
      method: "POST",
      url: `/greetings?startAt=${encodeURIComponent(startAt)}`,
      payload: { name: "Ada" },
      headers: { "idempotency-key": key, ...wait },
    });
  return { app, engine, post };
}

test("a request with startAt is pending until its time, and shows it", async () => {
  const { app, post } = await setUp();
  const accepted = await post("2999-12-01T07:00:00+01:00");
  expect([accepted.statusCode, accepted.json()]).toEqual([202, { requestId: "k", status: "pending" }]);
  const shown = (await app.inject({ url: "/requests/k" })).json();
  expect(shown).toMatchObject({ status: "pending", startAt: "2999-12-01T06:00:00.000Z" });
  // The same request, whatever its time.
  const again = await post("2999-01-01T00:00:00Z");
  expect([again.statusCode, again.json()]).toEqual([202, { requestId: "k", status: "pending" }]);
  expect((await app.inject({ url: "/requests/k" })).json().startAt).toBe("2999-12-01T06:00:00.000Z");
  const { events } = (await app.inject({ url: "/requests/k/history" })).json();
  expect(events[0]).toMatchObject({ type: "accepted", startAt: "2999-12-01T06:00:00.000Z" });
  const headers = { "content-type": "application/json" };
  const cancelled = await app.inject({ method: "POST", url: "/requests/k/cancel", headers });
  expect(cancelled.statusCode).toBe(202);
  expect((await app.inject({ url: "/requests/k/answer" })).json()).toMatchObject({ code: "WW_CANCELLED" });
});

test("a client may wait for a request that begins soon, and for one whose time is over", async () => {
  const { post } = await setUp();
  const soon = await post(String(Date.now() + 200), "soon", { prefer: "wait=30" });
  expect([soon.statusCode, soon.json()]).toEqual([200, { requestId: "soon", message: "hello, Ada" }]);
  const over = await post("2001-01-01T00:00:00.000Z", "over");
  expect([over.statusCode, over.json()]).toEqual([200, { requestId: "over", message: "hello, Ada" }]);
});

test.each(["", "tomorrow", "2999-12-01T07:00:00", "2999-02-30T00:00:00Z", "1e400", "99999999999999999"])(
  "%j is no time",
  async (startAt) => {
    const { post } = await setUp();
    const refused = await post(startAt);
    expect(refused.statusCode).toBe(400);
    expect(refused.json()).toMatchObject({
      code: "WW_INVALID_REQUEST",
      problems: [{ path: "startAt", message: expect.stringMatching(/^must be a time: ISO 8601/) }],
    });
  },
);

test("a query tells why a time with a + is none, and what it does not know", async () => {
  const { app } = await system();
  const refused = async (query: string): Promise<unknown> => {
    const payload = { name: "Ada" };
    return (await app.inject({ method: "POST", url: `/greetings?${query}`, payload })).json().problems;
  };
  expect(await refused("startAt=2999-12-01T07:00:00+01:00")).toEqual([
    { path: "startAt", message: expect.stringMatching(/In a URL, a \+ is written %2B$/) },
  ]);
  expect(await refused("startat=2999-12-01T07:00:00Z")).toEqual([
    { path: "startat", message: "is not known" },
  ]);
  expect(await refused("startAt=1&startAt=2")).toMatchObject([{ path: "startAt" }]);
});
