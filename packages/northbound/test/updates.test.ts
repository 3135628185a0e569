import type { FastifyInstance } from "fastify";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createToken, revokeToken } from "../src/tokens.ts";
import { openStream } from "./streams.ts";
import { directory, system } from "./system.ts";

interface Update {
  readonly id: number;
  readonly status: string;
  readonly state: string;
  readonly answer?: { readonly kind: string };
}

/** Reads server-sent events, as they come. */
class Stream {
  readonly updates: Update[] = [];
  readonly response: Response;
  readonly ended: Promise<void>;
  readonly #leave: AbortController;

  private constructor(response: Response, leave: AbortController) {
    this.response = response;
    this.#leave = leave;
    this.ended = this.#read();
    this.ended.catch(() => {});
  }

  static async open(
    app: FastifyInstance,
    path: string,
    lastEventId?: string,
    token?: string,
  ): Promise<Stream> {
    const { response, leave } = await openStream(app, path, { after: lastEventId, token });
    return new Stream(response, leave);
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const chunk of this.response.body ?? []) {
      text += new TextDecoder().decode(chunk);
      const parts = text.split("\n\n");
      text = parts.pop() as string;
      for (const part of parts) {
        const [, id, data] = /^id: (\d+)\ndata: (.*)$/.exec(part) ?? [];
        if (data !== undefined) this.updates.push({ id: Number(id), ...JSON.parse(data) } as Update);
      }
    }
  }

  leave(): void {
    this.#leave.abort();
  }
}

const path = (id: string, query = ""): string => `/requests/${id}/updates${query}`;

test("each change comes as an event, and the stream ends with the answer", async () => {
  const { app, engine } = await system();
  const { id } = await engine.submit("pair", {});
  const all = await Stream.open(app, path(id));
  expect(all.response.status).toBe(200);
  expect(all.response.headers.get("content-type")).toBe("text/event-stream");
  await expect.poll(() => all.updates.length).toBe(1);
  await engine.signal(id, "go", null);
  await expect.poll(() => all.updates.length).toBe(2);
  await engine.signal(id, "go", null);
  await all.ended;
  expect(all.updates.map(({ state, status, answer }) => [state, status, answer])).toEqual([
    ["First", "running", undefined],
    ["Second", "running", undefined],
    ["Gone", "ended", { kind: "result", value: "gone" }],
  ]);
  // Who was away gets the rest.
  for (const [at, { id: seen }] of all.updates.slice(0, -1).entries()) {
    const rest = await Stream.open(app, path(id), String(seen));
    await rest.ended;
    expect(rest.updates).toEqual(all.updates.slice(at + 1));
  }
  const whole = await Stream.open(app, path(id, "?until=end"), "0");
  await whole.ended;
  expect(whole.updates).toEqual(all.updates);
  // There is no more, and an EventSource must not ask for it.
  const nothing = await Stream.open(app, path(id), String(all.updates.at(-1)?.id));
  expect(nothing.response.status).toBe(204);
});

test("a client that goes leaves no watch behind, and a server that closes ends all streams", async () => {
  const { app, engine } = await system();
  const { id } = await engine.submit("pair", {});
  const gone = await Stream.open(app, path(id));
  const stays = await Stream.open(app, path(id), "0");
  await expect.poll(() => [gone.updates.length, stays.updates.length]).toEqual([1, 1]);
  gone.leave();
  await expect(gone.ended).rejects.toMatchObject({ name: "AbortError" });
  await engine.signal(id, "go", null);
  await expect.poll(() => stays.updates.length).toBe(2);
  await app.close();
  // It has not been cut.
  await stays.ended;
  expect(stays.updates.map(({ state }) => state)).toEqual(["First", "Second"]);
});

test("an engine that stops ends its streams in order", async () => {
  const { app, engine } = await system();
  const { id } = await engine.submit("pair", {});
  const stream = await Stream.open(app, path(id));
  await expect.poll(() => stream.updates.length).toBe(1);
  await engine.stop();
  await stream.ended;
});

test("what is wrong is refused before a stream begins", async () => {
  const { app, engine } = await system();
  const { id } = await engine.submit("pair", {});
  expect((await app.inject({ url: path("nobody") })).json()).toMatchObject({
    code: "WW_NOT_FOUND",
    status: 404,
  });
  for (const [url, lastEventId, problem] of [
    [path(id), "seven", { path: "Last-Event-ID", message: "must be the `id` of an event" }],
    [path(id), "-1", { path: "Last-Event-ID", message: "must be the `id` of an event" }],
    [path(id, "?until=dawn"), "1", { path: "until", message: "must be one of answer, end" }],
    [path(id, "?after=1"), "1", { path: "after", message: "is not known" }],
  ] as const) {
    const refused = await app.inject({ url, headers: { "last-event-id": lastEventId } });
    expect([refused.statusCode, refused.json().problems]).toEqual([400, [problem]]);
  }
});

test.each(["revoked", "expired", "replaced by one without its scope"])(
  "a stream ends when its token is %s, and others go on",
  async (how) => {
    const file = join(directory(), "tokens.json");
    const lasting = createToken(file, { name: "lasting", grants: ["reader"] });
    const { token, stored } = createToken(file, {
      name: "brief",
      grants: ["reader", "payloads"],
      ...(how === "expired" ? { validMs: 2500 } : {}),
    });
    const { app, engine } = await system({ access: { tokens: file } });
    const { id } = await engine.submit("sum", {});
    const stream = await Stream.open(app, path(id), undefined, token);
    const other = await Stream.open(app, path(id), undefined, lasting.token);
    await expect.poll(() => stream.updates.length + other.updates.length).toBe(2);
    if (how === "revoked") revokeToken(file, stored.id);
    if (how.startsWith("replaced")) {
      const tokens = readFileSync(file, "utf8");
      const changed = JSON.parse(tokens, (name, value: unknown) =>
        name === "grants" && Array.isArray(value) ? ["reader"] : value,
      ) as object;
      writeFileSync(file, JSON.stringify(changed));
    }
    await stream.ended;
    expect(stream.updates).toHaveLength(1);
    await engine.signal(id, "add", { amount: 1 });
    await engine.cancel(id);
    await other.ended;
    expect(other.updates.at(-1)?.status).toBe("ended");
  },
);
