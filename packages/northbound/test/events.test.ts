import { end, hub } from "@wheelwork/core";
import { createEngine } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { EventStream } from "../src/event-stream.ts";
import { createToken, revokeToken } from "../src/tokens.ts";
import { openStream } from "./streams.ts";
import { directory, system } from "./system.ts";

interface Told {
  readonly id: string;
  readonly hub: string;
  readonly labels?: object;
  readonly event: { readonly type: string; readonly [field: string]: unknown };
}

/** Reads the stream of all events, as it comes. */
class Stream {
  readonly told: Told[] = [];
  problem: { readonly code: string } | undefined = undefined;
  /** As an EventSource keeps it. */
  position = "";
  readonly ended: Promise<void>;
  readonly response: Response;
  readonly #leave: AbortController;

  private constructor(response: Response, leave: AbortController) {
    this.response = response;
    this.#leave = leave;
    this.ended = this.#read();
    this.ended.catch(() => {});
  }

  static async open(
    app: FastifyInstance,
    query = "",
    { after, token }: { readonly after?: string; readonly token?: string } = {},
  ): Promise<Stream> {
    const { response, leave } = await openStream(app, `/events${query}`, { after, token });
    const stream = new Stream(response, leave);
    if (response.status === 200) await vi.waitUntil(() => stream.position !== "", 60_000);
    return stream;
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const chunk of this.response.body ?? []) {
      text += new TextDecoder().decode(chunk);
      const parts = text.split("\n\n");
      text = parts.pop() as string;
      for (const part of parts) {
        const fields = Object.fromEntries(part.split("\n").map((line) => line.split(/: (.*)/)));
        if (fields["id"] !== undefined) this.position = fields["id"];
        const data: unknown = JSON.parse(fields["data"] ?? "null");
        if (fields["event"] === "problem") this.problem = data as { code: string };
        else if (data !== null) this.told.push(data as Told);
      }
    }
  }

  get texts(): string[] {
    return this.told.map(({ id, event }) => `${id} ${event.type}`);
  }

  leave(): void {
    this.#leave.abort();
  }
}

test("each event comes once, also to a client that was away", async () => {
  const { app, engine } = await system();
  const whole = await Stream.open(app);
  expect(whole.response.headers.get("content-type")).toBe("text/event-stream");
  const start = whole.position;
  await engine.call({ name: "greet" } as never, { name: "Ann", times: 2 } as never, { key: "a" });
  const { id } = await engine.submit("pair", {}, { key: "b" });
  await engine.signal(id, "go", null);
  await expect.poll(() => whole.texts.length).toBe(9);
  expect(whole.texts).toEqual([
    "a started",
    "a entered",
    "a settled",
    "a entered",
    "a ended",
    "b started",
    "b entered",
    "b signalled",
    "b entered",
  ]);
  expect(whole.told[0]).toMatchObject({
    id: "a",
    hub: "greet",
    labels: { length: "3", times: "2" },
    event: { type: "started", request: { name: "Ann", times: 2 } },
  });
  const history = (await app.inject({ url: "/requests/b/history" })).json();
  expect(whole.told.filter((told) => told.id === "b").map(({ event }) => event)).toEqual(history.events);
  whole.leave();
  await engine.signal(id, "go", null);
  const again = await Stream.open(app, "", { after: whole.position });
  await expect.poll(() => again.texts).toEqual(["b signalled", "b entered", "b ended"]);
  const asked = await Stream.open(app, `?after=${start}&type=ended&hub=pair&hub=plain`);
  await expect.poll(() => asked.texts).toEqual(["b ended"]);
  const labelled = await Stream.open(app, `?after=${start}&label=length=3&state=Done`);
  await expect.poll(() => labelled.texts).toEqual(["a entered"]);
  const one = await Stream.open(app, `?after=${start}&request=b`);
  await expect.poll(() => one.texts).toHaveLength(7);
});

test("what is wrong is refused before the stream begins", async () => {
  const { app } = await system();
  const refused = async (url: string, headers = {}) => {
    const { statusCode, body } = await app.inject({ url, headers });
    const { code, problems } = JSON.parse(body) as { code: string; problems?: { path: string }[] };
    return [statusCode, code, ...(problems ?? []).map(({ path }) => path)];
  };
  expect(await refused("/events?type=began")).toEqual([400, "WW_INVALID_REQUEST", "type.0"]);
  expect(await refused("/events?after=seven")).toEqual([400, "WW_INVALID_REQUEST", "after"]);
  expect(await refused("/events?since=1")).toEqual([400, "WW_INVALID_REQUEST", "since"]);
  expect(await refused("/events?after=zz.1")).toEqual([410, "WW_EVENTS_GONE"]);
  expect(await refused("/events", { "last-event-id": "0.-0." })).toEqual([410, "WW_EVENTS_GONE"]);
});

test("a server that closes, and an engine that stops, end the stream in order", async () => {
  const one = await system();
  const stream = await Stream.open(one.app);
  await one.app.close();
  await stream.ended;
  const other = await system();
  const stopped = await Stream.open(other.app);
  await other.engine.stop();
  await stopped.ended;
  expect([stream.problem, stopped.problem]).toEqual([undefined, undefined]);
});

test.each(["revoked", "replaced by one without its scope"])("it ends when its token is %s", async (how) => {
  const file = join(directory(), "tokens.json");
  const { token, stored } = createToken(file, { name: "brief", grants: ["reader", "payloads"] });
  const { app } = await system({ access: { tokens: file } });
  const stream = await Stream.open(app, "", { token });
  if (how === "revoked") revokeToken(file, stored.id);
  else writeFileSync(file, readFileSync(file, "utf8").replace(/"payloads"/, '"submitter:none"'));
  await stream.ended;
  expect(stream.told).toEqual([]);
});

test("who may not see payloads sees none, and nobody sees secrets", async () => {
  const file = join(directory(), "tokens.json");
  const reader = createToken(file, { name: "reader", grants: ["reader"] }).token;
  const auditor = createToken(file, { name: "auditor", grants: ["reader", "payloads"] }).token;
  const submitter = createToken(file, { name: "submitter", grants: ["submitter:pay"] }).token;
  const pay = hub(
    "pay",
    {
      request: z.object({ card: z.string(), amount: z.number() }),
      reply: z.string(),
      secret: ["card"],
      errors: ["declined"],
      deadlineMs: 60_000,
      chart: { Done: end },
      data: ({ card, amount }) => ({ card, note: `card ${card}, ${amount}` }),
    },
    { Done: ({ note }, s) => s.fail("declined", `nothing for ${note}`) },
  );
  const engine = createEngine({ hubs: [pay], workers: [], store: join(directory(), "wheelwork.db") });
  await engine.start();
  onTestFinished(() => engine.stop());
  const { app } = await system({ access: { tokens: file }, engine, routes: [] });
  expect((await app.inject({ url: "/events" })).statusCode).toBe(401);
  const headers = { authorization: `Bearer ${submitter}` };
  expect((await app.inject({ url: "/events", headers })).json().code).toBe("WW_FORBIDDEN");
  const [outline, whole] = [
    await Stream.open(app, "", { token: reader }),
    await Stream.open(app, "", { token: auditor }),
  ];
  // No id, time or sequence number has these by chance: an id is hexadecimal, and the amount has more digits than a time.
  await engine.call(pay, { card: "gold-card", amount: 420_420_420_420_420 });
  await expect.poll(() => [outline.texts.length, whole.texts.length]).toEqual([3, 3]);
  const [seen, all] = [JSON.stringify(outline.told), JSON.stringify(whole.told)];
  expect(seen).not.toMatch(/gold-card|420420420420420|nothing/);
  expect(seen).toContain("declined");
  expect(all).not.toContain("gold-card");
  expect(all).toContain("nothing for card [secret], 420420420420420");
});

test("a client that does not read is told so, and then cut off; one that reads on misses nothing", async () => {
  let made = 0;
  let isStuck = false;
  const stream = new EventStream(
    (async function* () {
      for (;;) yield `${made++}\n`.padEnd(10_000, ".");
    })(),
    { unreadMs: 100, tooSlow: "too slow", onStuck: () => (isStuck = true) },
  );
  stream.read(1);
  await expect.poll(() => isStuck).toBe(true);
  // It has made no more than a client may leave unread, and a text.
  expect(made).toBeLessThan(10);
  const texts: string[] = await stream.toArray();
  expect(texts.join("").endsWith("too slow")).toBe(true);
  let read = 0;
  const other = new EventStream(
    (async function* () {
      for (let n = 0; n < 100; n++) yield "x".repeat(10_000);
    })(),
    { unreadMs: 1000, tooSlow: "too slow", onStuck: () => {} },
  );
  for await (const text of other) {
    read += (text as string).length;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(read).toBe(1_000_000);
});
