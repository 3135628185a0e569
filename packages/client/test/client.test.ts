import { end, hub, stay } from "@wheelwork/core";
import { createEngine, silentLogger } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { createToken } from "@wheelwork/northbound/tokens";
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rolldown } from "rolldown";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import {
  ApiError,
  createClient,
  unwrap,
  type RequestUpdate,
  type Schemas,
  type ToldEvent,
} from "../src/index.ts";
import { apiPageFile } from "./api-page.ts";
import { generated, typesFile } from "./generate.ts";

const counter = hub(
  "counter",
  {
    request: z.strictObject({ goal: z.number().int().positive() }),
    reply: z.object({ total: z.number() }),
    errors: ["given-up"],
    deadlineMs: 60_000,
    signals: { add: z.number() },
    cancel: "GivenUp",
    chart: {
      Counting: { Added: stay, Reached: "Done", GivenUp: "Failed", Late: "Failed" },
      Done: end,
      Failed: end,
    },
    data: ({ goal }) => ({ goal, total: 0 }),
    view: ({ total }) => ({ total }),
  },
  {
    Counting: (s) =>
      s.wait({
        on: {
          add: ({ goal, total }, n) => s.raise(total + n >= goal ? "Reached" : "Added", { total: total + n }),
        },
        deadline: "Late",
      }),
    Done: ({ total }) => ({ total }),
    Failed: ({ total }, s) => s.fail("given-up", "somebody has given up", { total }),
  },
);

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wheelwork-client-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function open() {
  const made = folder();
  const tokens = join(made, "tokens.json");
  const { token } = createToken(tokens, { name: "ann", grants: ["admin", "payloads", "submitter:*"] });
  const { token: weak } = createToken(tokens, { name: "eve", grants: ["reader"] });
  const engine = createEngine({
    hubs: [counter],
    workers: [],
    store: join(made, "engine.db"),
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const serve = async (port: number) => {
    const app = await northbound({
      engine,
      routes: [{ method: "POST", path: "/counters", hub: counter, statusOf: () => 410 }],
      access: { tokens },
      logger: silentLogger,
    });
    onTestFinished(() => app.close());
    return { app, url: await app.listen({ port, host: "127.0.0.1" }) };
  };
  const { app, url } = await serve(0);
  return { engine, app, url, serve, client: createClient({ url, token: () => token }), weak };
}

test("the types and docs/api.md are those of the document of a server: if this fails, run npm run client", async () => {
  const { types, page } = await generated();
  expect(readFileSync(typesFile, "utf8")).toBe(types);
  expect(readFileSync(apiPageFile, "utf8")).toBe(page);
});

test("operations have the types of the document, and refusals are errors with their codes", async () => {
  const { client, url, weak } = await open();
  const { id, answer } = await client.submit("/counters", { goal: 3 }, { key: "a/1 ü" });
  expect({ id, answer }).toEqual({ id: "a/1 ü", answer: undefined });
  const request: Schemas["Request"] = await unwrap(
    client.GET("/requests/{id}", { params: { path: { id } } }),
  );
  expect(request).toMatchObject({ id, hub: "counter", status: "running", view: { total: 0 } });
  await client.submit("/counters", { goal: 3 });
  const filter = { hub: ["counter", "other"], status: ["waiting" as const] };
  const { count } = await unwrap(client.GET("/counts", { params: { query: filter } }));
  expect(count).toBe(2);
  // A POST without a body is taken, too.
  const bulk = await unwrap(client.POST("/bulks/cancel", { params: { query: { hub: ["counter"] } } }));
  expect(bulk).toMatchObject({ command: { kind: "cancel" }, by: "token:ann" });
  const refused = unwrap(client.GET("/requests/{id}", { params: { path: { id: "none" } } }));
  await expect(refused).rejects.toThrow(ApiError);
  await expect(refused).rejects.toMatchObject({ status: 404, code: "WW_NOT_FOUND", retryable: false });
  const stranger = createClient({ url, token: weak });
  await expect(stranger.submit("/counters", { goal: 1 })).rejects.toMatchObject({ code: "WW_FORBIDDEN" });
  await expect(createClient({ url }).submit("/counters", {})).rejects.toMatchObject({ status: 401 });
  await expect(client.submit("/counters", { goal: "x" })).rejects.toMatchObject({
    code: "WW_INVALID_REQUEST",
    problem: { problems: [{ path: "goal" }] },
  });
});

test("a submit waits for the answer, also one that is an error", async () => {
  const { client, engine } = await open();
  const waiting = client.submit<{ total: number }>("/counters", { goal: 2 }, { key: "k", waitSeconds: 20 });
  await expect.poll(() => engine.count({ status: "running" })).toBe(1);
  const signal = { params: { path: { id: "k", name: "add" } }, body: 2 };
  await unwrap(client.POST("/requests/{id}/signals/{name}", signal));
  expect(await waiting).toEqual({ id: "k", answer: { total: 2 } });
  await client.submit("/counters", { goal: 9 }, { key: "l" });
  await unwrap(client.POST("/requests/{id}/cancel", { params: { path: { id: "l" } } }));
  await expect(client.submit("/counters", { goal: 9 }, { key: "l", waitSeconds: 20 })).rejects.toMatchObject({
    status: 410,
    code: "given-up",
    isAnswer: true,
  });
});

test("events of all requests go on when the connection ends, and nothing is missed or comes twice", async () => {
  const { client, engine, app, url, serve } = await open();
  for (const key of ["a", "b"]) await engine.submit(counter, { goal: 9 }, { key });
  let now = app;
  const seen: ToldEvent[] = [];
  // From the beginning of the store.
  for await (const told of client.events({ hub: ["counter"], after: "0." })) {
    seen.push(told);
    const signals = seen.filter(({ event }) => event.type === "signalled").length;
    if (seen.length === 4) await engine.signal("a", "add", 1);
    if (seen.length === 5 || seen.length === 7) {
      await now.close();
      await engine.signal("b", "add", 1);
      ({ app: now } = await serve(Number(new URL(url).port)));
      await engine.signal("a", "add", 1);
    }
    if (signals === 5) break;
  }
  expect(new Set(seen.map(({ position }) => position)).size).toBe(9);
  for (const id of ["a", "b"]) {
    const told = seen.filter((one) => one.id === id).map(({ event }) => event.type);
    expect(told).toEqual((await engine.history(id)).map(({ type }) => type));
  }
  const [{ position: after = "" } = {}, ...rest] = seen;
  const again: ToldEvent[] = [];
  for await (const told of client.events({ after })) if (again.push(told) === rest.length) break;
  expect(again).toEqual(rest);
  const gone = client.events({ after: "zzz." })[Symbol.asyncIterator]();
  await expect(gone.next()).rejects.toMatchObject({ status: 410, code: "WW_EVENTS_GONE" });
});

test("updates go on when the connection ends, and nothing is missed or comes twice", async () => {
  const { client, engine, app, url, serve } = await open();
  await client.submit("/counters", { goal: 6 }, { key: "k" });
  const seen: RequestUpdate[] = [];
  let now = app;
  for await (const update of client.updates("k")) {
    seen.push(update);
    const { total } = update.view as { total: number };
    if (total < 3) await engine.signal("k", "add", 1);
    if (total !== 3) continue;
    await now.close();
    await engine.signal("k", "add", 1);
    ({ app: now } = await serve(Number(new URL(url).port)));
    await engine.signal("k", "add", 1);
    await engine.signal("k", "add", 1);
  }
  expect(seen.map(({ view }) => (view as { total: number }).total)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(seen.at(-1)).toMatchObject({ status: "ended", answer: { kind: "result", value: { total: 6 } } });
  const last = seen.at(-1)?.event ?? 0;
  for await (const update of client.updates("k", { after: last })) expect.unreachable(`${update.event}`);
  await expect(client.updates("none")[Symbol.asyncIterator]().next()).rejects.toMatchObject({
    code: "WW_NOT_FOUND",
  });
  await client.submit("/counters", { goal: 6 }, { key: "l" });
  const leave = new AbortController();
  let count = 0;
  for await (const { status } of client.updates("l", { signal: leave.signal })) {
    expect(status).toBe("running");
    count++;
    leave.abort();
  }
  expect(count).toBe(1);
});

/** The client as one file for browsers. */
async function bundled(): Promise<string> {
  const input = join(import.meta.dirname, "../src/index.ts");
  const bundle = await rolldown({ input, platform: "browser", logLevel: "silent" });
  const { output } = await bundle.generate({ format: "esm" });
  expect(output).toHaveLength(1);
  expect(output[0].imports).toEqual([]);
  return output[0].code;
}

test("a bundle for browsers is one small file, and has nothing of Node", async () => {
  const code = await bundled();
  expect(code).not.toMatch(/\bBuffer\b|node:/);
  expect(code.length).toBeLessThan(40_000);
});

const browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

test.skipIf(browser === undefined)("a page in a browser submits, signals and follows a request", async () => {
  const script = `
    import { createClient, unwrap } from "/client.js";
    const client = createClient();
    const seen = [];
    try {
      const { id } = await client.submit("/counters", { goal: 2 }, { key: "from a page" });
      for await (const { view, answer } of client.updates(id)) {
        seen.push(answer ?? view);
        if (answer === undefined)
          await unwrap(client.POST("/requests/{id}/signals/{name}", { params: { path: { id, name: "add" } }, body: 1 }));
      }
    } catch (error) {
      seen.push(String(error));
    }
    await fetch("/seen", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(seen) });
  `;
  const files: Readonly<Record<string, readonly [type: string, text: string]>> = {
    "/page": ["text/html", '<script type="module" src="/page.js"></script>'],
    "/page.js": ["text/javascript", script],
    "/client.js": ["text/javascript", await bundled()],
  };
  let tell: (seen: unknown) => void = () => {};
  const told = new Promise((resolve) => (tell = resolve));
  const made = folder();
  const engine = createEngine({
    hubs: [counter],
    workers: [],
    store: join(made, "engine.db"),
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const app = await northbound({
    engine,
    routes: [{ method: "POST", path: "/counters", hub: counter }],
    logger: silentLogger,
    extra: (own) => {
      for (const [path, [type, text]] of Object.entries(files))
        own.get(path, (_request, reply) =>
          reply.header("content-security-policy", "default-src 'self'").type(type).send(text),
        );
      own.post("/seen", ({ body }, reply) => {
        tell(body);
        return reply.send({});
      });
    },
  });
  onTestFinished(() => app.close());
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", `--user-data-dir=${made}/profile`];
  const page = spawn(browser ?? "", [...flags, `${url}/page`], { stdio: "ignore" });
  const gone = new Promise((resolve) => page.once("exit", resolve));
  try {
    expect(await told).toEqual([{ total: 0 }, { total: 1 }, { kind: "result", value: { total: 2 } }]);
  } finally {
    page.kill();
    await gone;
  }
});
