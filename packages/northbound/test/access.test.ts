import {
  chmodSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { spawnSync } from "node:child_process";
import { connect, type AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { permissions } from "../src/access/permissions.ts";
import type { Grant } from "../src/index.ts";
import { letterOutline } from "../src/outlines.ts";
import { createToken, readTokens, revokeToken } from "../src/tokens.ts";
import { directory, system } from "./system.ts";

const callers: Readonly<Record<string, readonly Grant[]>> = {
  reader: ["reader"],
  auditor: ["reader", "payloads"],
  operator: ["operator"],
  keeper: ["operator:greet"],
  other: ["operator:approval"],
  admin: ["admin"],
  payloads: ["payloads"],
  greeter: ["submitter:greet"],
  stranger: ["submitter:approval"],
  sender: ["submitter:*"],
};

/** A server with a token for each caller. */
async function guarded(options: Parameters<typeof system>[0] = {}) {
  const file = join(directory(), "tokens.json");
  const tokens = Object.fromEntries(
    Object.entries(callers).map(([name, grants]) => [name, createToken(file, { name, grants }).token]),
  );
  const { app, engine } = await system({ access: { tokens: file }, ...options });
  const as = (name: string): { authorization: string } => ({ authorization: `Bearer ${tokens[name]}` });
  return { app, engine, file, tokens, as };
}

/** Who may do what, said once more: the table of the source says it in other words. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  nothing: ["nobody", "liar", ...Object.keys(callers)],
  known: Object.keys(callers),
  read: ["reader", "auditor", "operator", "keeper", "other", "admin"],
  look: ["reader", "auditor", "operator", "keeper", "other", "admin", "greeter", "sender"],
  answer: ["auditor", "greeter", "sender"],
  operate: ["operator", "admin"],
  command: ["operator", "keeper", "admin"],
  // Without a hub, all are meant.
  commandAll: ["operator", "admin"],
  admin: ["admin"],
  submit: ["admin", "greeter", "sender"],
};

const places: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "no page": {},
  "its own page": { origin: "http://localhost" },
  "a page of another site": { origin: "http://evil.com" },
  "a page that has made its name the server's": { host: "evil.com", origin: "http://evil.com" },
  "a page in a browser without Origin": { "sec-fetch-site": "cross-site" },
};
const isForeign = (place: string): boolean => place.startsWith("a page");

test("each route × each caller × each place that a request may come from", async () => {
  const { app, engine, as } = await guarded({ metrics: { text: () => Promise.resolve("") } });
  const { id } = await engine.submit("greet", { name: "Ada" });
  await engine.answer(id);
  const table = [...Object.entries(permissions), ["POST /greetings", "submit"] as const];
  let count = 0;
  for (const [route, need] of table) {
    const [method = "", pattern = ""] = route.split(" ");
    // A stream of events has no end, so one is asked for that is refused.
    const url = pattern
      .replace(":id", id)
      .replace(":name", "none")
      .replace(/^\/events$/, "/events?after=z.");
    for (const who of ["nobody", "liar", ...Object.keys(callers)]) {
      const sign =
        {
          nobody: {},
          liar: { authorization: `Bearer ww_0123456789abcdef_${"x".repeat(43)}` },
        }[who] ?? as(who);
      for (const [place, marks] of Object.entries(places)) {
        const headers = { host: "localhost", "content-type": "application/json", ...marks, ...sign };
        const remoteAddress = `10.0.${count >> 8}.${count & 255}`;
        const response = await app.inject({ method: method as "GET", url, headers, remoteAddress });
        const expected = isForeign(place)
          ? /^(?:403 WW_ORIGIN_REFUSED|421 WW_HOST_REFUSED)$/
          : allowed[String(need)]?.includes(who) === true
            ? /^(?!401|403|421)\d/
            : who === "nobody" || who === "liar"
              ? /^401 WW_UNAUTHENTICATED$/
              : /^403 WW_FORBIDDEN$/;
        const isProblem = response.headers["content-type"]?.startsWith("application/problem+json") === true;
        const got = `${response.statusCode} ${isProblem ? response.json().code : ""}`;
        expect(got, `${route} by ${who} from ${place}`).toMatch(expected);
        count++;
      }
    }
  }
  expect(count).toBe(table.length * 12 * 5);
});

test("who operates one hub sends commands to its requests, to one and to many, and to no others", async () => {
  const { app, engine, as } = await guarded();
  for (const key of ["g1", "g2"]) await engine.submit("plain", {}, { key });
  const { id: approval } = await engine.submit("approval", { subject: "x" }, { key: "a1" });
  const post = async (url: string, who = "other") => {
    const headers = { ...as(who), "content-type": "application/json" };
    return app.inject({ method: "POST", url, headers });
  };
  const statusOf = async (url: string, who?: string): Promise<number> => (await post(url, who)).statusCode;
  expect(await statusOf("/requests/g1/cancel")).toBe(403);
  expect(await statusOf("/requests/nobody/cancel")).toBe(403);
  expect(await statusOf("/schedules/x/pause")).toBe(403);
  expect((await post("/requests/g1/cancel")).json().detail).toContain("operator:HUB of the request's hub");
  for (const query of ["", "status=running", "hub=plain", "hub=approval&hub=plain", "hub=*"])
    expect(await statusOf(`/bulks/cancel?${query}`), query).toBe(403);
  expect(await statusOf("/bulks/cancel?hub=approval&dryRun=true")).toBe(200);
  expect(await statusOf("/bulks/cancel?hub=approval&dryRun=true", "keeper")).toBe(403);
  const own = (await post("/bulks/cancel?hub=approval&createdTo=1000")).json();
  const foreign = (await post("/bulks/cancel?hub=plain&createdTo=1000", "operator")).json();
  const all = (await post("/bulks/cancel?status=pending", "operator")).json();
  expect(await statusOf(`/bulks/${own.id}/pause`)).toBe(202);
  expect(await statusOf(`/bulks/${foreign.id}/pause`)).toBe(403);
  expect(await statusOf(`/bulks/${all.id}/pause`)).toBe(403);
  // The run of a bulk has a hub of its own.
  expect(await statusOf(`/requests/${encodeURIComponent(own.requestId)}/cancel`)).toBe(403);
  expect(await statusOf(`/requests/${approval}/cancel`)).toBe(202);
  expect((await engine.audit({ id: approval })).items).toMatchObject([
    { by: "token:other", command: "cancel" },
  ]);
  expect((await app.inject({ url: "/requests", headers: as("other") })).json().requests).toHaveLength(6);
  expect(() => createToken("unused", { name: "x", grants: ["operator:*"] })).toThrow(/must be roles/);
});

test("a server with a route that does not say what it needs does not start, and OPTIONS needs nothing", async () => {
  const file = join(directory(), "tokens.json");
  createToken(file, { name: "a", grants: ["reader"] });
  const failure = system({
    access: { tokens: file },
    extra: (own) => {
      own.get("/own", () => "done");
      own.get("/declared", { config: { permission: "read" } }, () => "done");
      own.options("/own", () => "done");
    },
  });
  await expect(failure).rejects.toMatchObject({
    code: "WW_CONFIG",
    problems: [
      { path: "GET /own", message: "does not say what it needs" },
      { path: "HEAD /own", message: "does not say what it needs" },
    ],
  });
});

test("a route of somebody's own lets in who has what it needs", async () => {
  const { app, as } = await guarded({
    extra: (own) => void own.get("/own/:x", { config: { permission: "operate" } }, () => "done"),
  });
  expect((await app.inject({ url: "/own/1", headers: as("reader") })).json().code).toBe("WW_FORBIDDEN");
  expect((await app.inject({ url: "/own/1", headers: as("operator") })).body).toBe("done");
});

test("who may not see payloads sees none of them, wherever they are", async () => {
  const { app, engine, as } = await guarded({ diagram: () => Promise.resolve("<svg/>") });
  const secret = "a-payload-that-nobody-may-see";
  const { id: waits } = await engine.submit("approval", { subject: secret }, { key: "waits" });
  const { id: ends } = await engine.submit("approval", { subject: secret }, { key: "ends" });
  await engine.signal(ends, "approve", { by: secret });
  await engine.answer(ends);
  const { id: refused } = await engine.submit("greet", { name: "mute" }, { key: "refused" });
  await engine.answer(refused);
  const { id: parked } = await engine.submit("faulty", {}, { key: "parked" });
  await expect.poll(async () => (await engine.request(parked)).status).toBe("incident");
  const texts = { [secret]: 0, "the handler is broken": 0, "nobody can speak": 0 };
  for (const who of ["reader", "operator", "admin", "auditor"]) {
    for (const id of [waits, ends, refused, parked]) {
      for (const route of Object.keys(permissions).filter((name) => /\/requests|\/incidents/.test(name))) {
        const [method = "", pattern = ""] = route.split(" ");
        // Nothing is to change.
        if (method === "POST" && id !== ends) continue;
        const url = pattern.replace(":id", id).replace(":name", "approve");
        // The stream of a request that waits does not end.
        if (url.endsWith("/updates") && (id === waits || id === parked)) continue;
        const headers = { ...as(who), "content-type": "application/json", "last-event-id": "0" };
        const payload = method === "POST" ? { payload: JSON.stringify({ by: "x" }) } : {};
        const { body } = await app.inject({ method: method as "GET", url, headers, ...payload });
        for (const text of Object.keys(texts) as (keyof typeof texts)[]) {
          if (!body.includes(text)) continue;
          expect(who, `${route} of ${id}`).toBe("auditor");
          texts[text]++;
        }
      }
    }
  }
  // The auditor has seen each of them: so they are there to be seen.
  for (const count of Object.values(texts)) expect(count).toBeGreaterThan(1);
});

test("who may not see payloads cannot search them, and counts requests all the same", async () => {
  const { app, engine, as } = await guarded();
  await engine.submit("approval", { subject: "hidden" }, { key: "waits" });
  for (const query of ["text=hidden", "value=request.subject=hidden"]) {
    const url = `/requests?${query}`;
    expect((await app.inject({ url, headers: as("auditor") })).json().requests).toMatchObject([
      { id: "waits" },
    ]);
    const response = await app.inject({ url, headers: as("reader") });
    expect(response.statusCode).toBe(403);
    expect(response.json().code).toBe("WW_FORBIDDEN");
  }
  expect((await app.inject({ url: "/counts", headers: as("reader") })).json().count).toBe(1);
});

test("who may not see payloads sees how many incidents there are, and not their messages", async () => {
  const { app, engine, as } = await guarded();
  for (const key of ["a", "b"]) await engine.submit("faulty", {}, { key });
  await expect.poll(() => engine.count({ status: "incident" })).toBe(2);
  const get = async (url: string, who: string) => (await app.inject({ url, headers: as(who) })).json();
  const group = { hub: "faulty", code: "WW_DEFECT", count: 2 };
  const message = "the handler is broken";
  const [{ message: none, ...seen }] = (await get("/incidents", "reader")).incidents;
  expect(seen).toMatchObject(group);
  expect(none).toBeUndefined();
  const all = await get("/incidents?hub=faulty&code=WW_DEFECT", "auditor");
  expect(all.incidents).toMatchObject([{ ...group, message }]);
  expect(await get("/incidents?hub=greet", "auditor")).toEqual({ incidents: [] });
  for (const path of ["/requests", "/counts"]) {
    const url = `${path}?status=incident&message=${encodeURIComponent(message)}`;
    expect((await get(url, "reader")).code).toBe("WW_FORBIDDEN");
    const found = await get(url, "auditor");
    expect(found.count ?? found.requests.length).toBe(2);
  }
});

test("a dead letter without payloads shows where it is, and not what it says", () => {
  const origin = { topic: "inbox", partition: 0, offset: 3 };
  const letter = {
    place: "0:1",
    at: 5,
    key: "k",
    reason: "unknown kind secret",
    value: "secret",
    origin,
    isShort: false,
  };
  expect(letterOutline(letter)).toEqual({
    place: "0:1",
    at: "1970-01-01T00:00:00.005Z",
    key: "k",
    origin,
    isShort: false,
  });
});

test("who sends requests to a hub sees those and their answers, and no others", async () => {
  const { app, as } = await guarded();
  const headers = { ...as("greeter"), "content-type": "application/json", "idempotency-key": "g1" };
  const sent = await app.inject({ method: "POST", url: "/greetings", headers, payload: { name: "Ada" } });
  expect(sent.json()).toMatchObject({ message: "hello, Ada" });
  const seen = await app.inject({ url: "/requests/g1", headers: as("greeter") });
  expect(seen.json()).toMatchObject({ request: { name: "Ada" }, answer: { kind: "result" } });
  expect((await app.inject({ url: "/requests/g1/answer", headers: as("greeter") })).json()).toEqual(
    sent.json(),
  );
  for (const [who, url] of [
    ["stranger", "/requests/g1"],
    ["stranger", "/requests/g1/answer"],
    // Nobody learns whether a request of others is there.
    ["stranger", "/requests/none"],
    ["greeter", "/requests"],
    ["greeter", "/requests/g1/history"],
  ] as const)
    expect((await app.inject({ url, headers: as(who) })).json().code, url).toBe("WW_FORBIDDEN");
});

test("of its health a server tells strangers whether it works, and no more", async () => {
  const { app, as } = await guarded();
  expect((await app.inject("/health")).json()).toEqual({ ready: true, status: "running" });
  expect((await app.inject({ url: "/ready", headers: as("reader") })).json()).toHaveProperty("liveRuns");
  expect((await app.inject({ url: "/ready", headers: as("greeter") })).json()).not.toHaveProperty("liveRuns");
});

test("problems say what to do, and how to show who one is", async () => {
  const { app, as } = await guarded();
  const unknown = await app.inject("/requests");
  expect(unknown.headers).toMatchObject({
    "www-authenticate": 'Bearer realm="wheelwork"',
    "cache-control": "no-store",
  });
  expect(unknown.json()).toMatchObject({
    status: 401,
    code: "WW_UNAUTHENTICATED",
    next: expect.stringContaining("wheelwork token create"),
  });
  const wrong = await app.inject({ url: "/requests", headers: { authorization: "Bearer x" } });
  expect(wrong.headers["www-authenticate"]).toContain('error="invalid_token"');
  const refused = await app.inject({
    method: "POST",
    url: "/requests/x/cancel",
    headers: { ...as("reader"), "content-type": "application/json" },
  });
  expect(refused.json()).toMatchObject({
    status: 403,
    code: "WW_FORBIDDEN",
    detail:
      "token:reader may not use POST /requests/:id/cancel: it lacks the role operator, or operator:HUB of the request's hub",
  });
});

test("a token counts in one header, once, and nowhere else", async () => {
  const { app, tokens, as } = await guarded();
  const token = tokens["reader"] ?? "";
  const statusOf = async (url: string, headers: Readonly<Record<string, string>>): Promise<number> =>
    (await app.inject({ url, headers })).statusCode;
  for (const authorization of [`Bearer ${token}`, `bearer  ${token}`, `BEARER ${token} `])
    expect(await statusOf("/requests", { authorization })).toBe(200);
  for (const authorization of [
    token,
    `Basic ${Buffer.from(`reader:${token}`).toString("base64")}`,
    `Bearer ${token},Bearer ${token}`,
    `Bearer ${token} x`,
    `Bearer ${token.toUpperCase()}`,
    `Bearer ${token}=`,
    `Bearer ${token.slice(0, -1)}`,
    `Bearer ${token.slice(0, -1)}~`,
    `Bearer ${"x".repeat(9000)}`,
    "Bearer ",
    "",
  ])
    expect([authorization, await statusOf("/requests", { authorization })]).toEqual([authorization, 401]);
  for (const url of [`/requests?access_token=${token}`, `/requests?token=${token}`])
    expect(await statusOf(url, {})).toBe(401);
  expect(await statusOf("/requests", { cookie: `token=${token}`, "x-api-key": token })).toBe(401);
  // However a path is written, it is the same route, or none.
  for (const url of [
    "//requests",
    "/requests/",
    "/./requests",
    "/health/../requests",
    "/%72equests",
    "/REQUESTS",
  ]) {
    expect([url, await statusOf(url, {})]).toEqual([url, 401]);
    expect([url, [200, 400, 404]]).toEqual([
      url,
      expect.arrayContaining([await statusOf(url, as("reader"))]),
    ]);
  }
});

/** Sends bytes as they are, and returns what the server sends until it closes the connection. */
async function raw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(bytes);
  let received = "";
  for await (const chunk of socket) received += String(chunk);
  return received;
}

test("nothing is smuggled behind a request that was refused", async () => {
  const { app, engine, tokens } = await guarded();
  await app.listen({ port: 0, host: "127.0.0.1" });
  const { port } = app.server.address() as AddressInfo;
  const inner = `POST /greetings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"name":"Eve"}`;
  const head = (more: string): string =>
    `POST /greetings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${more}\r\n`;
  const right = `Authorization: Bearer ${tokens["greeter"]}\r\n`;
  for (const bytes of [
    `${head(`${right}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n`)}0\r\n\r\n${inner}`,
    `${head(`${right}Transfer-Encoding: chunked, identity\r\n`)}0\r\n\r\n${inner}`,
    `${head(`${right}Transfer-Encoding: xchunked\r\n`)}0\r\n\r\n${inner}`,
    `${head(`${right}Content-Length: 0\r\nContent-Length: 5\r\n`)}${inner}`,
    `${head(`${right}Authorization: Bearer x\r\nConnection: close\r\nContent-Length: 2\r\n`)}{}`,
    `${head(`Authorization: Bearer x\r\n${right}Connection: close\r\nContent-Length: 2\r\n`)}{}`,
    `${head(`Authorization:\r\n Bearer ${tokens["greeter"]}\r\nConnection: close\r\nContent-Length: 2\r\n`)}{}`,
    `${head(`Content-Length: 2\r\n`)}{}${inner.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")}`,
  ]) {
    const received = await raw(port, bytes);
    expect(received).not.toMatch(/HTTP\/1.1 2\d\d/);
    expect(received).toMatch(/^HTTP\/1.1 4\d\d/);
  }
  expect((await engine.requests()).items).toEqual([]);
});

test("a token counts as soon as it is written, and no more once it is revoked or has expired", async () => {
  const { app, file } = await guarded();
  const statusOf = async (token: string): Promise<number> =>
    (await app.inject({ url: "/requests", headers: { authorization: `Bearer ${token}` } })).statusCode;
  const { token, stored } = createToken(file, { name: "new", grants: ["reader"], validMs: 3_600_000 });
  await expect.poll(() => statusOf(token), { timeout: 5000 }).toBe(200);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_600_001 });
  onTestFinished(() => void vi.useRealTimers());
  expect(await statusOf(token)).toBe(401);
  vi.useRealTimers();
  expect(await statusOf(token)).toBe(200);
  revokeToken(file, stored.id);
  await expect.poll(() => statusOf(token), { timeout: 5000 }).toBe(401);
});

test("while the file of tokens is not as it should be, no token counts, and the server says so", async () => {
  const logged: unknown[] = [];
  const error = (_fields: object, message?: string): void => void logged.push(message);
  const logger = { debug: () => {}, info: () => {}, warn: () => {}, error };
  const { app, file, as } = await guarded({ logger });
  const get = () => app.inject({ url: "/requests", headers: as("reader") });
  const whole = readFileSync(file, "utf8");
  const wrongs: readonly (() => void)[] = [
    () => writeFileSync(file, whole.slice(0, -5)),
    () => writeFileSync(file, `{"tokens":[{"id":"x"}]}`),
    () => writeFileSync(file, "null"),
    () => {},
    () => mkdirSync(file),
    () => (writeFileSync(file, whole), chmodSync(file, 0o666)),
    () => void spawnSync("mkfifo", [file]),
  ];
  for (const [at, make] of wrongs.entries()) {
    rmSync(file, { recursive: true, force: true });
    make();
    await expect.poll(async () => (await get()).json().code, { timeout: 5000 }).toBe("WW_ACCESS_UNAVAILABLE");
    const refused = await get();
    expect([refused.statusCode, refused.headers["retry-after"]]).toEqual([503, "1"]);
    expect(refused.body).not.toContain(dirname(file));
    expect((await app.inject("/health")).statusCode).toBe(200);
    expect(logged.filter((message) => message === "no token is taken").length).toBeGreaterThan(at);
    rmSync(file, { recursive: true, force: true });
    writeFileSync(file, whole, { mode: 0o600 });
    await expect.poll(async () => (await get()).statusCode, { timeout: 5000 }).toBe(200);
  }
  await expect(system({ access: { tokens: join(directory(), "none.json") } })).rejects.toMatchObject({
    code: "WW_CONFIG",
  });
});

test("the file holds hashes alone, for its owner, and is replaced whole, also behind a link", () => {
  const folder = directory();
  const file = join(folder, "tokens.json");
  const { token, stored } = createToken(file, { name: "a", grants: ["reader"] });
  expect(token).toMatch(/^ww_[\da-f]{16}_[\w-]{43}$/);
  const text = readFileSync(file, "utf8");
  expect(text).not.toContain(token.split("_").slice(2).join("_"));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  chmodSync(file, 0o640);
  const link = join(folder, "link.json");
  symlinkSync(file, link);
  createToken(link, { name: "b", grants: ["operator", "payloads"] });
  expect(statSync(file).mode & 0o777).toBe(0o640);
  expect(readTokens(file).tokens.map(({ name, grants }) => [name, grants])).toEqual([
    ["a", ["reader"]],
    ["b", ["operator", "payloads"]],
  ]);
  expect(() => createToken(file, { name: "a", grants: ["reader"] })).toThrow(/has a token a already/);
  expect(() => createToken(file, { name: "c d", grants: [] })).toThrow(/name: must be[^]*grants: must be/);
  expect(() => createToken(file, { name: "c", grants: ["root" as never] })).toThrow(/grants: must be/);
  revokeToken(file, stored.id);
  expect(() => revokeToken(file, stored.id)).toThrow(/has no token/);
  writeFileSync(`${file}.lock`, "");
  expect(() => createToken(file, { name: "c", grants: ["reader"] })).toThrow(/another command changes/);
  renameSync(`${file}.lock`, `${file}.old`);
  createToken(file, { name: "c", grants: ["reader"] });
});

test("the document says how to show who one is, and what a refusal looks like", async () => {
  const { app, as } = await guarded();
  const { security, components, paths } = (
    await app.inject({ url: "/openapi.json", headers: as("greeter") })
  ).json();
  expect(security).toEqual([{ token: [] }]);
  expect(components.securitySchemes.token).toMatchObject({ type: "http", scheme: "bearer" });
  expect(Object.keys(paths["/requests"].get.responses)).toEqual([
    "200",
    "400",
    "401",
    "403",
    "429",
    "431",
    "503",
  ]);
  expect(paths["/requests"].get.responses["401"].content["application/problem+json"].schema).toEqual({
    $ref: "#/components/schemas/Problem",
  });
  expect(paths["/health"].get).toMatchObject({ security: [], responses: { "200": expect.anything() } });
  expect(paths["/health"].get.responses).not.toHaveProperty("401");
});

test("what a caller does is kept with its name, for those who may read the audit list", async () => {
  const { app, engine, as } = await guarded();
  const post = (who: string, url: string, payload: object = {}) =>
    app.inject({
      method: "POST",
      url,
      headers: { ...as(who), "idempotency-key": "k1", prefer: "wait=0" },
      payload,
    });
  expect((await post("sender", "/approvals", { subject: "x" })).statusCode).toBe(202);
  expect((await post("operator", "/requests/k1/signals/approve", { by: "Eve" })).statusCode).toBe(202);
  await engine.answer("k1");
  const { statusCode, body } = await app.inject({ url: "/audit", headers: as("admin") });
  expect(statusCode).toBe(200);
  expect(JSON.parse(body)).toEqual({
    commands: [
      { by: "token:operator", command: "signal", signal: "approve" },
      { by: "token:sender", command: "submit" },
    ].map((command) => ({ ...command, id: "k1", hub: "approval", at: expect.stringMatching(/Z$/) })),
  });
  const { events } = (await app.inject({ url: "/requests/k1/history", headers: as("reader") })).json();
  expect(events).toContainEqual(expect.objectContaining({ type: "started", givenBy: "token:sender" }));
  expect(events).toContainEqual(expect.objectContaining({ type: "signalled", givenBy: "token:operator" }));
});

test("the audit list is asked for by who, what and when, and what was refused is listed beside it", async () => {
  const { app, as } = await guarded();
  const get = async (url: string, headers: object = as("admin")) => {
    const response = await app.inject({ url, headers: { ...headers } });
    return { status: response.statusCode, body: response.json() };
  };
  const post = (who: string, url: string, payload: object = {}) =>
    app.inject({
      method: "POST",
      url,
      headers: { ...as(who), "idempotency-key": "k1", prefer: "wait=0" },
      payload,
    });
  await post("sender", "/approvals", { subject: "x" });
  await post("operator", "/requests/k1/cancel");
  const found = async (query: string) => (await get(`/audit?${query}`)).body.commands as object[];
  expect(await found("by=token:operator")).toMatchObject([{ command: "cancel", id: "k1" }]);
  expect(await found("command=submit&hub=approval&id=k1&from=2020-01-01T00:00:00Z")).toHaveLength(1);
  expect(await found("to=2020-01-01T00:00:00Z")).toEqual([]);
  for (const query of ["command=stop", "from=soon", "who=x"])
    expect(await get(`/audit?${query}`)).toMatchObject({ status: 400 });
  await get("/requests?hub=secret", {});
  for (let time = 0; time < 3; time++) await post("reader", "/requests/k1/cancel");
  await get("/audit", as("operator"));
  await get("/requests", { ...as("reader"), origin: "http://evil.com" });
  const { body } = await get("/audit/refusals");
  const shown = body.refusals.map(
    ({ by = "", method, path, code, count }: Record<string, string>) =>
      `${by} ${method} ${path} ${code} ${count}`,
  );
  expect(shown.toSorted()).toEqual([
    " GET /requests WW_ORIGIN_REFUSED 1",
    " GET /requests WW_UNAUTHENTICATED 1",
    "token:operator GET /audit WW_FORBIDDEN 1",
    "token:reader POST /requests/k1/cancel WW_FORBIDDEN 3",
  ]);
  // A stranger pushes out strangers alone.
  for (let n = 0; n < 2100; n++)
    await app.inject({ url: `/x${n}`, remoteAddress: `10.1.${n >> 8}.${n & 255}` });
  const { refusals } = (await get("/audit/refusals?limit=2000")).body;
  expect(refusals.length).toBeLessThanOrEqual(1002);
  expect(refusals.filter(({ by }: { by?: string }) => by !== undefined)).toHaveLength(2);
});
