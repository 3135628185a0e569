import { end, hub } from "@wheelwork/core";
import { createEngine, schedule, silentLogger, type Engine } from "@wheelwork/engine";
import { northbound, type NorthboundOptions } from "@wheelwork/northbound";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const page = fileURLToPath(new URL("../../../docs/cli.md", import.meta.url));

const faults = { broken: true };

const approval = hub(
  "approval",
  {
    request: z.strictObject({ subject: z.string() }),
    reply: z.object({ by: z.string() }),
    errors: ["withdrawn"],
    deadlineMs: 60_000,
    signals: { approve: z.strictObject({ by: z.string() }) },
    cancel: "Withdrawn",
    labels: ({ subject }) => ({ subject, kind: "approval" }),
    chart: {
      Waiting: { Approved: "Accepted", Withdrawn: "Refused", Expired: "Refused" },
      Accepted: end,
      Refused: end,
    },
    data: () => ({ by: "" }),
  },
  {
    Waiting: (s) =>
      s.wait({ on: { approve: (_data, { by }) => s.raise("Approved", { by }) }, deadline: "Expired" }),
    Accepted: ({ by }) => ({ by }),
    Refused: (_data, s) => s.fail("withdrawn", "nobody approved"),
  },
);

const faulty = hub(
  "faulty",
  {
    request: z.strictObject({ order: z.number() }),
    reply: z.string(),
    deadlineMs: 60_000,
    chart: { Choosing: { Chosen: "Done" }, Done: end },
    data: ({ order }) => ({ order }),
  },
  {
    Choosing: (s) =>
      s.pick(({ order }) => {
        if (faults.broken) throw new Error(`order ${order} of "somebody" is broken`);
        return "Chosen";
      }),
    Done: () => "mended",
  },
);

const step = hub(
  "step",
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

const yearly = schedule("yearly", {
  cron: "0 0 29 2 *",
  hub: approval,
  request: ({ at }) => ({ subject: `${at}` }),
});

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const {
  WHEELWORK_URL: _url,
  WHEELWORK_CONTEXT: _context,
  WHEELWORK_TOKEN: _token,
  WHEELWORK_TOKENS: _tokens,
  ...outerEnv
} = process.env;

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "wheelwork-cli-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** Runs the program beside this one, which may be its server. */
async function cli(env: Readonly<Record<string, string>>, args: readonly string[], input = ""): Promise<Ran> {
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, program, ...args], { env: { ...outerEnv, ...env } });
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
  return { status, stdout, stderr };
}

async function open(options: Pick<NorthboundOptions, "access"> = {}) {
  faults.broken = true;
  const made = folder();
  const engine: Engine = createEngine({
    hubs: [approval, faulty, step],
    workers: [],
    schedules: [yearly],
    store: join(made, "engine.db"),
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const app = await northbound({
    engine,
    routes: [
      { method: "POST", path: "/approvals", hub: approval, summary: "Ask for an approval" },
      { method: "POST", path: "/faulty", hub: faulty },
    ],
    ...options,
  });
  onTestFinished(() => app.close());
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  const env = { WHEELWORK_URL: url, WHEELWORK_CONTEXTS: join(made, "contexts.json") };
  return { engine, url, env, run: (args: readonly string[], input?: string) => cli(env, args, input) };
}

/** What is printed has lines; the last one is empty. */
const lines = ({ stdout }: Ran): string[] => stdout.split("\n").slice(0, -1);

test("a request is submitted, watched, signalled and answered from the shell", async () => {
  const { engine, run } = await open();
  expect(lines(await run(["hubs", "list", "-o", "ids"]))).toEqual(["approval", "faulty", "step"]);
  // The same key is the same request.
  for (let time = 0; time < 2; time++) {
    expect(await run(["requests", "submit", "approval", "-", "--key", "a/1 ü"], '{"subject":"x"}')).toEqual({
      status: 0,
      stdout: "a/1 ü\n",
      stderr: "",
    });
  }
  expect(await run(["requests", "answer", "a/1 ü"])).toEqual({
    status: 5,
    stdout: "",
    stderr: "a/1 ü has no answer yet: it is running\n",
  });
  const watching = run(["requests", "watch", "a/1 ü"]);
  const signalled = await run(["requests", "signal", "a/1 ü", "approve", '{"by":"ann"}']);
  expect(signalled).toMatchObject({ status: 0, stdout: "a/1 ü  sent the signal approve\n" });
  const watched = await watching;
  expect(watched.status).toBe(0);
  expect(watched.stdout).toContain("Accepted");
  const answered = await run(["requests", "answer", "a/1 ü", "--wait", "10"]);
  expect(answered.status).toBe(0);
  expect(JSON.parse(answered.stdout)).toMatchObject({ kind: "result", value: { by: "ann" } });
  const { stdout } = await run(["requests", "history", "a/1 ü"]);
  expect(watched.stdout).toBe(stdout);
  const events = lines(await run(["requests", "history", "a/1 ü", "-o", "jsonl"]));
  expect(events).toHaveLength((await engine.history("a/1 ü")).length);
  expect((await run(["requests", "diagram", "a/1 ü"])).stdout).toContain("║ > Accepted ");
  expect(await run(["requests", "diagram", "a/1 ü", "--svg"])).toMatchObject({
    status: 1,
    stdout: "",
    stderr: expect.stringMatching(/^WW_[A-Z_]+: .*diagram/) as string,
  });
  const got = JSON.parse((await run(["requests", "get", "a/1 ü"])).stdout) as { status: string };
  expect(got.status).toBe("ended");
});

test("an answer that is an error has an exit code of its own, and so has each refusal", async () => {
  const { run, env } = await open();
  const sent = await run(["requests", "submit", "approval", '{"subject":"x"}', "--key", "k"]);
  expect(sent.status).toBe(0);
  expect((await run(["requests", "cancel", "k"])).status).toBe(0);
  const answered = await run(["requests", "answer", "k", "--wait", "10"]);
  expect(answered.status).toBe(4);
  expect(JSON.parse(answered.stdout)).toMatchObject({ kind: "error", code: "withdrawn" });
  const later = ["--key", "later", "--start-at", "2200-01-01T00:00:00Z", "--wait", "0"];
  expect(await run(["requests", "submit", "approval", '{"subject":"x"}', ...later])).toMatchObject({
    status: 5,
    stderr: "later has no answer yet: it is pending\n",
  });
  const cases: readonly (readonly [number, RegExp, readonly string[]])[] = [
    [1, /startAt/, ["requests", "submit", "approval", '{"subject":"x"}', "--start-at", "tomorrow"]],
    [3, /there is no request/i, ["requests", "get", "nobody"]],
    [3, /the server has no hub nobody/, ["requests", "submit", "nobody", "{}"]],
    [1, /subject/, ["requests", "submit", "approval", "{}"]],
    [2, /the request is not JSON/, ["requests", "submit", "approval", "{"]],
    [2, /--status must be one of .*not sad/, ["requests", "list", "--status", "sad"]],
    [2, /takes ID/, ["requests", "get"]],
    [2, /there is no command dance\n/, ["dance"]],
    [2, /there is no command reqeusts. Did you mean requests list\?/, ["reqeusts", "list"]],
    [2, /requests takes one of .*, not dance\n/, ["requests", "dance"]],
    [2, /not cuont. Did you mean count\?/, ["requests", "cuont"]],
    [2, /--hub and --where both say hub/, ["requests", "list", "--hub", "a", "--where", "hub=b"]],
    [1, /bogus: is not known/, ["requests", "list", "--where", "bogus=1"]],
    [3, /there is no context nowhere/, ["health", "--context", "nowhere"]],
    [
      6,
      /cannot be reached at http:\/\/127\.0\.0\.1:1: .*\n.*--url says so/,
      ["health", "--url", "http://127.0.0.1:1"],
    ],
    [2, /--url must be an address/, ["health", "--url", "ftp://x"]],
  ];
  for (const [status, said, args] of cases) {
    const ran = await cli(env, args);
    expect(ran.status, args.join(" ")).toBe(status);
    expect(ran.stderr).toMatch(said);
    expect(ran.stderr).not.toMatch(/^\s+at /m);
    expect(ran.stdout).toBe("");
  }
});

test("lists read all pages, and what they print is what other commands read", async () => {
  const { engine, run } = await open();
  await engine.submit(approval, { subject: "red = a" }, { key: "k red" });
  await engine.submit(approval, { subject: "blue" }, { key: "k blue" });
  const labelled = async (...args: string[]) =>
    lines(await run(["requests", "list", "-o", "ids", ...args])).toSorted();
  expect(await labelled("--label", "subject=red = a", "--label", "kind=approval")).toEqual(["k red"]);
  expect(await labelled("--label", "subject=red = a", "--label", "subject=blue")).toHaveLength(2);
  expect(await labelled("--status", "calling", "--status", "waiting")).toHaveLength(2);
  expect(await run(["requests", "list", "--label", "subject"])).toMatchObject({ status: 2 });
  expect(lines(await run(["requests", "list", "-o", "ids", "--order", "attempts"]))).toEqual([]);
  await engine.cancel("k red");
  await engine.cancel("k blue");
  const strange = ["two\nlines", '"quoted"', " spaced ", "-", "\u001b[2J", "a%2Fb"];
  for (const key of strange) await engine.submit(approval, { subject: "x" }, { key });
  await Promise.all(
    Array.from({ length: 1100 }, (_, at) => engine.submit(approval, { subject: "x" }, { key: `k${at}` })),
  );
  expect(lines(await run(["requests", "list", "-o", "ids"]))).toHaveLength(50);
  const all = await run(["requests", "list", "--all", "--label", "subject=x", "-o", "jsonl"]);
  const ids = lines(all).map((line) => (JSON.parse(line) as { id: string }).id);
  expect(new Set(ids).size).toBe(1106);
  expect(ids).toHaveLength(1106);
  const table = await run(["requests", "list", "--limit", "2000", "--label", "subject=x"]);
  expect(lines(table)).toHaveLength(1107);
  expect(table.stdout).not.toContain("\u001b");
  const named = lines(await run(["requests", "list", "--all", "--label", "subject=x", "-o", "ids"])).filter(
    (line) => !/^k\d/.test(line),
  );
  expect(named).toHaveLength(strange.length);
  const dry = await run(["requests", "cancel", "-", "--dry-run"], named.join("\n"));
  expect(lines(dry)).toHaveLength(strange.length);
  expect((await engine.request("-")).status).toBe("running");
  const done = await run(["requests", "cancel", "-"], `${named.join("\r\n")}\n\nnobody\n`);
  expect(done.status).toBe(3);
  expect(done.stderr).toMatch(/^nobody {2}/);
  expect(lines(done)).toHaveLength(strange.length);
  for (const key of strange) expect((await engine.answer(key))?.kind).toBe("error");
});

test("requests are found by what is inside of them, and counted", async () => {
  const { engine, run } = await open();
  for (const subject of ["blue paint", "red paint", "a ladder"])
    await engine.submit(approval, { subject }, { key: subject });
  await engine.cancel("a ladder");
  await engine.answer("a ladder");
  const found = async (...where: readonly string[]): Promise<string[]> =>
    lines(await run(["requests", "list", "-o", "ids", "--where", ...where])).toSorted();
  expect(await found("text=paint hub=approval")).toEqual(["blue paint", "red paint"]);
  expect(await found('value="request.subject=red paint"')).toEqual(["red paint"]);
  expect(await found('value=request.subject="ladder"')).toEqual([]);
  const table = await run(["requests", "count"]);
  const rows = lines(table).map((line) => line.split(/\s{2,}/));
  expect(rows).toEqual([
    ["hub", "status", "state", "count"],
    ["approval", "ended", "Refused", "1"],
    ["approval", "running", "Waiting", "2"],
    [""],
    ["hub", "answer", "code", "count"],
    ["approval", "error", "withdrawn", "1"],
    [""],
    ["3 requests"],
  ]);
  expect(await run(["requests", "count", "--where", "status=running", "-o", "number"])).toEqual({
    status: 0,
    stdout: "2\n",
    stderr: "",
  });
  // The first word of several commands, alone, lists.
  expect(lines(await run(["schedules", "-o", "ids"]))).toEqual(["yearly"]);
});

test("what would happen is told in words, and does not happen", async () => {
  const { engine, run } = await open();
  await engine.submit(approval, { subject: "x" }, { key: "a" });
  const signal = '{"kind":"signal","name":"approve","payload":{"by":"ann"}}';
  const told = await run(["requests", "what-if", "a", signal]);
  expect(told).toMatchObject({ status: 0, stderr: "" });
  expect(told.stdout).toContain("Accepted");
  expect(lines(told).at(-1)).toBe("it would be ended in Accepted");
  const time = await run(["requests", "what-if", "a", "-", "-o", "json"], '{"kind":"time"}');
  expect(JSON.parse(time.stdout)).toMatchObject({ request: { state: "Refused" } });
  expect((await run(["requests", "what-if", "a", '{"kind":"retry"}'])).stdout).toMatch(
    /^nothing would change: not-incident\nit would be running in Waiting\nit would be answered by \d/,
  );
  expect((await engine.request("a")).state).toBe("Waiting");
  // What has happened is asked for from its end, and the request as it was.
  const [last = ""] = lines(await run(["requests", "history", "a", "--last", "1", "-o", "jsonl"]));
  expect(JSON.parse(last)).toMatchObject({ type: "entered", state: "Waiting" });
  const at = await run(["requests", "get", "a", "--at", "1"]);
  expect(JSON.parse(at.stdout)).toMatchObject({ state: "Waiting", data: { by: "" } });
  expect((await run(["requests", "get", "a", "--at", "9"])).status).toBe(3);
});

test("all that a filter means get a command in the server, which goes on by itself", async () => {
  const { engine, run } = await open();
  for (let n = 0; n < 30; n++) await engine.submit(approval, { subject: "x" }, { key: `a${n}` });
  await engine.submit(step, { flow: "f" }, { key: "other" });
  const where = 'hub=approval status="running" status=pending';
  const dry = await run(["requests", "cancel", "--where", where, "--dry-run"]);
  expect(dry).toMatchObject({ status: 0, stderr: "" });
  expect(lines(dry).at(-1)).toBe("30 requests would get the command");
  const signalled = await run(["requests", "signal", "approve", '{"by":"ann"}', "--where", "status=running"]);
  expect(signalled.status).toBe(1);
  expect(signalled.stdout).toMatch(/ {2}done: 30 done, 1 refused \(WW_SIGNAL_UNKNOWN\)\n$/);
  const [id = ""] = lines(await run(["bulks", "list", "-o", "ids"]));
  expect(signalled.stderr).toContain(id);
  const got = JSON.parse((await run(["bulks", "get", id])).stdout) as object;
  expect(got).toMatchObject({ command: { kind: "signal", name: "approve" }, matched: 31, done: 30 });
  expect(lines(await run(["bulks", "items", id, "-o", "ids"]))).toHaveLength(31);
  const refused = lines(await run(["bulks", "items", id, "--outcome", "refused", "-o", "jsonl"]));
  expect(refused.map((line) => JSON.parse(line) as object)).toMatchObject([{ code: "WW_SIGNAL_UNKNOWN" }]);
  const detached = await run(["requests", "cancel", "--where", "hub=step", "--detach"]);
  const [other = ""] = lines(detached);
  expect(await run(["bulks", "watch", other])).toMatchObject({
    status: 0,
    stdout: `${other}  done: 1 done\n`,
  });
  expect(await run(["bulks", "pause", other])).toMatchObject({ stdout: `${other}  done: 1 done\n` });
  const wrong: readonly (readonly [string[], RegExp])[] = [
    [["requests", "cancel"], /give ids, or --where/],
    [["requests", "cancel", "a", "--where", "hub=a"], /not both/],
    [["requests", "cancel", "--where", "hub"], /NAME=VALUE/],
    [["requests", "cancel", "a", "--detach"], /--detach goes with --where/],
    [["requests", "signal", "a"], /ID NAME/],
  ];
  for (const [args, why] of wrong)
    expect(await run(args)).toMatchObject({ status: 2, stderr: expect.stringMatching(why) as string });
  const unknown = await run(["requests", "cancel", "--where", "hubs=a"]);
  expect(unknown).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("hubs: is not known") as string,
  });
});

test("incidents stand in groups of one kind, and are retried or resolved together", async () => {
  const { engine, run } = await open();
  for (const order of [1, 22, 333]) await engine.submit(faulty, { order }, { key: `f${order}` });
  await expect
    .poll(async () => (await engine.requests({ status: "incident" })).items, { timeout: 10_000 })
    .toHaveLength(3);
  const groups = JSON.parse((await run(["incidents", "-o", "json"])).stdout) as object[];
  expect(groups).toEqual([
    expect.objectContaining({
      hub: "faulty",
      state: "",
      code: "WW_DEFECT",
      message: 'order N of "…" is broken',
      count: 3,
    }),
  ]);
  const ids = await run(["incidents", "-o", "ids"]);
  expect(lines(ids).toSorted()).toEqual(["f1", "f22", "f333"]);
  expect((await run(["requests", "resolve", "f1"])).status).toBe(2);
  expect((await run(["requests", "resolve", "f1", "--message", "lost"])).status).toBe(0);
  faults.broken = false;
  expect((await run(["requests", "retry", "-"], "f22\nf333\n")).status).toBe(0);
  const kinds = await Promise.all(["f1", "f22", "f333"].map(async (id) => (await engine.answer(id))?.kind));
  expect(kinds).toEqual(["error", "result", "result"]);
  expect(lines(await run(["incidents"]))).toEqual(["there are no incidents"]);
});

test("schedules are listed, paused, resumed, triggered and backfilled", async () => {
  const { engine, run } = await open();
  await expect.poll(async () => lines(await run(["schedules", "list", "-o", "ids"]))).toEqual(["yearly"]);
  const got = await run(["schedules", "get", "yearly", "--next", "3"]);
  expect(JSON.parse(got.stdout)).toMatchObject({ name: "yearly", next: { length: 3 } });
  expect((await run(["schedules", "pause", "yearly"])).stdout).toBe("yearly  paused\n");
  expect((await run(["schedules", "resume", "yearly"])).stdout).toBe("yearly  active\n");
  const triggered = await run(["schedules", "trigger", "yearly"]);
  expect(triggered.status).toBe(0);
  const from = "2024-01-01T00:00:00Z";
  expect((await run(["schedules", "backfill", "yearly", "--from", from, "--to", from])).status).toBe(0);
  expect((await run(["schedules", "backfill", "yearly", "--from", from])).status).toBe(2);
  expect((await run(["schedules", "get", "monthly"])).status).toBe(3);
  await expect.poll(async () => (await engine.requests({ hub: "approval" })).items).toHaveLength(1);
});

test("hubs, lanes and shards are shown in the terminal, and a server without topics has no dead letters", async () => {
  const { engine, run } = await open();
  const diagram = await run(["hubs", "diagram", "approval"]);
  expect(diagram.stdout).toContain("●─▶│ Waiting");
  expect(JSON.parse((await run(["hubs", "diagram", "approval", "--json"])).stdout)).toMatchObject({
    initial: "Waiting",
  });
  expect(await run(["hubs", "diagram", "none"])).toMatchObject({
    status: 3,
    stderr: "WW_HUB_UNKNOWN: this engine serves no hub none\n  It serves: approval, faulty, step.\n",
  });
  expect(lines(await run(["lanes"]))).toEqual(["nobody is in a lane"]);
  const ids: string[] = [];
  for (let n = 0; n < 3; n++) ids.push((await engine.submit(step, { flow: "f1" })).id);
  const lanes = lines(await run(["lanes"]));
  expect(lanes[0]).toMatch(/^lane +key +waiting +places +held by$/);
  expect(lanes[1]).toMatch(/^flow +f1 +2 +1 of 1 +/);
  expect(lanes[1]!.endsWith(ids[0]!)).toBe(true);
  const shards = JSON.parse((await run(["shards", "-o", "json"])).stdout) as object[];
  expect(shards).toMatchObject([{ shard: 0, isHere: true, epoch: 1 }]);
  expect(await run(["dead-letters", "list"])).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^WW_NOT_SUPPORTED: .*\n {2}What could not be done/) as string,
  });
  const both = await run(["shards", "--url", "http://127.0.0.1:1", "--brokers", "127.0.0.1:1"]);
  expect([both.status, both.stderr]).toEqual([2, expect.stringContaining("--url or --context")]);
});

test("a request is run again as a new one, as it was or edited", async () => {
  const { engine, run } = await open();
  await engine.submit(approval, { subject: "old" }, { key: "first" });
  const again = lines(await run(["requests", "rerun", "first", "--key", "second"]));
  expect(again).toEqual(["second"]);
  expect((await engine.request("second")).request).toEqual({ subject: "old" });
  const [id = ""] = lines(await run(["requests", "rerun", "first", '{"subject":"new"}']));
  expect(await engine.request(id)).toMatchObject({ hub: "approval", request: { subject: "new" } });
  expect((await run(["requests", "rerun", "nobody"])).status).toBe(3);
});

test("a list is printed again and again, until Ctrl+C", async () => {
  const { engine, env } = await open();
  await engine.submit(approval, { subject: "x" }, { key: "seen" });
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const child = spawn(process.execPath, [...flags, program, "requests", "list", "--watch", "-o", "ids"], {
    env: { ...outerEnv, ...env },
  });
  onTestFinished(() => void child.kill());
  let stdout = "";
  child.stdout.on("data", (part: Buffer) => (stdout += part.toString()));
  await expect.poll(() => stdout, { timeout: 30_000 }).toMatch(/^seen\nseen\n/);
  expect(stdout).not.toContain("\u001B");
  child.kill("SIGINT");
  const signal = await new Promise((exited) => child.once("exit", (_code, by) => exited(by)));
  expect(signal).toBe("SIGINT");
});

test("a context names a server, and its token goes to that server only", async () => {
  const { url, env, run } = await open();
  const seen: (string | undefined)[] = [];
  const proxy: Server = createServer((request, response) => {
    seen.push(request.headers.authorization);
    response.writeHead(request.headers.authorization === "Bearer s3cret" ? 200 : 401, {
      "content-type": "application/json",
    });
    response.end('{"ready":true}');
  });
  await new Promise<void>((done) => proxy.listen(0, "127.0.0.1", done));
  onTestFinished(() => void proxy.close());
  const proxied = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  const { WHEELWORK_URL: _set, ...unset } = env;
  const withToken = { ...unset, WHEELWORK_TOKEN: "s3cret" };
  expect((await cli(withToken, ["context", "set", "prod", "--url", proxied])).status).toBe(0);
  expect(statSync(env.WHEELWORK_CONTEXTS).mode & 0o077).toBe(0);
  expect((await cli(unset, ["context", "set", "here", "--url", url])).status).toBe(0);
  expect((await cli(unset, ["health"])).status).toBe(0);
  expect((await cli(unset, ["health", "--url", proxied])).status).toBe(7);
  expect(seen).toEqual(["Bearer s3cret", "Bearer s3cret", undefined]);
  expect((await cli(unset, ["context", "use", "here"])).status).toBe(0);
  expect(JSON.parse((await cli(unset, ["health"])).stdout)).toMatchObject({ status: "running" });
  const listed = await run(["context", "list", "-o", "json"]);
  expect(listed.stdout).not.toContain("s3cret");
  expect(JSON.parse(listed.stdout)).toHaveLength(2);
  expect((await cli(unset, ["context", "remove", "here"])).status).toBe(0);
  expect((await cli(unset, ["context", "use", "here"])).status).toBe(3);
});

test("a watch waits while its server is away, and goes on where it was", async () => {
  const { engine, url, env } = await open();
  await engine.submit(approval, { subject: "x" }, { key: "w" });
  // Between the two stands a server that can go away and come back at the same port.
  const relay = (): Server =>
    createServer(
      (request, response) =>
        void fetch(`${url}${request.url}`).then(async (reply) => {
          response.writeHead(reply.status, {
            "content-type": reply.headers.get("content-type") ?? "",
            connection: "close",
          });
          response.end(await reply.text());
        }),
    );
  const listening = async (server: Server, port: number): Promise<number> => {
    await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
    return (server.address() as AddressInfo).port;
  };
  const first = relay();
  const port = await listening(first, 0);
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const args = [...flags, program, "requests", "watch", "w", "--url", `http://127.0.0.1:${port}`];
  const child = spawn(process.execPath, args, { env: { ...outerEnv, ...env } });
  onTestFinished(() => void child.kill());
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  let stderr = "";
  child.stderr.on("data", (part: Buffer) => (stderr += part.toString()));
  const stdout = text(child.stdout);
  await new Promise((shown) => child.stdout.once("data", shown));
  first.closeAllConnections();
  await new Promise((closed) => first.close(closed));
  await expect.poll(() => stderr, { timeout: 30_000 }).toMatch(/cannot be reached.*: waiting for it\n$/);
  await engine.signal("w", "approve", { by: "ann" });
  await engine.answer("w");
  const second = relay();
  await listening(second, port);
  onTestFinished(() => void second.close());
  expect(await exited).toBe(0);
  expect(await stdout).toBe((await cli(env, ["requests", "history", "w"])).stdout);
});

test("what happens to all requests is printed, also what has happened while the server was away", async () => {
  const { engine, url, env, run } = await open();
  const relay = (): Server =>
    createServer(
      (request, response) =>
        void fetch(`${url}${request.url}`, {
          headers: { "last-event-id": String(request.headers["last-event-id"] ?? "") || "0." },
        }).then((reply) => {
          response.writeHead(reply.status, {
            "content-type": reply.headers.get("content-type") ?? "",
            connection: "close",
          });
          Readable.fromWeb(reply.body as never)
            .on("error", () => {})
            .pipe(response);
        }),
    );
  const listening = async (server: Server, port: number): Promise<number> => {
    await new Promise<void>((done) => server.listen(port, "127.0.0.1", done));
    return (server.address() as AddressInfo).port;
  };
  const first = relay();
  const port = await listening(first, 0);
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const watching = (...args: readonly string[]) => {
    const all = [...flags, program, "requests", "watch", "--url", `http://127.0.0.1:${port}`, ...args];
    const child = spawn(process.execPath, all, { env: { ...outerEnv, ...env } });
    onTestFinished(() => void child.kill());
    const said = { out: "", err: "" };
    child.stdout.on("data", (part: Buffer) => (said.out += part.toString()));
    child.stderr.on("data", (part: Buffer) => (said.err += part.toString()));
    return said;
  };
  const [all, ended] = [
    watching("--hub", "approval"),
    watching("-o", "jsonl", "--type", "ended", "--label", "subject=x"),
  ];
  for (const key of ["a", "b/1"])
    await engine.submit(approval, { subject: key === "a" ? "x" : "y" }, { key });
  await expect.poll(() => all.out.split("\n").length, { timeout: 30_000 }).toBe(5);
  await expect.poll(() => ended.err + ended.out).toBe("");
  first.closeAllConnections();
  await new Promise((closed) => first.close(closed));
  await expect
    .poll(() => all.err + ended.err, { timeout: 30_000 })
    .toMatch(/(cannot be reached.*: waiting for it\n.*){2}$/s);
  for (const key of ["a", "b/1"]) await engine.signal(key, "approve", { by: "ann" });
  const second = relay();
  await listening(second, port);
  onTestFinished(() => void (second.closeAllConnections(), second.close()));
  await expect.poll(() => all.out.split("\n").length, { timeout: 30_000 }).toBe(11);
  for (const id of ["a", "b/1"]) {
    const lines = all.out.split("\n").filter((line) => line.includes(`  ${id}  `));
    const texts = lines.map((line) => line.slice(line.indexOf(`  ${id}  `) + id.length + 4));
    expect(`${texts.join("\n")}\n`).toBe((await run(["requests", "history", id])).stdout);
  }
  await expect.poll(() => ended.out).not.toBe("");
  expect(JSON.parse(ended.out)).toMatchObject({
    position: expect.any(String),
    id: "a",
    hub: "approval",
    labels: { subject: "x" },
    event: { type: "ended", answer: { kind: "result", value: { by: "ann" } } },
  });
  expect(await run(["requests", "watch", "--after", "zz."])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining("WW_EVENTS_GONE"),
  });
  expect(await run(["requests", "watch", "a", "--hub", "x"])).toMatchObject({
    status: 2,
    stderr: expect.stringContaining("--hub: only without ID"),
  });
});

test("docs/cli.md, help and completion come from the commands", async () => {
  const env = {};
  const [made, help, of, group] = await Promise.all([
    cli(env, ["help", "--markdown"]),
    cli(env, ["help"]),
    cli(env, ["requests", "submit", "--help"]),
    cli(env, ["help", "schedules"]),
  ]);
  const told = "npm run -s wheelwork -- help --markdown > docs/cli.md";
  expect(made.stdout, `docs/cli.md is old: run ${told}`).toBe(readFileSync(page, "utf8"));
  expect(help.stdout).toContain("dead-letters replay");
  expect(of.stdout).toMatch(/^Usage: wheelwork requests submit HUB REQUEST \[options\]\n/);
  expect(group.stdout).not.toContain("requests list");
  const completed = async (...words: readonly string[]): Promise<string[]> =>
    lines(await cli(env, ["complete", "--", ...words]));
  expect(await completed("sch")).toEqual(["schedules"]);
  expect(await completed("schedules", "pa")).toEqual(["pause"]);
  expect(await completed("requests", "list", "--status", "in")).toEqual(["incident"]);
  expect(await completed("requests", "list", "--sta")).toEqual(["--status"]);
  expect((await cli(env, ["completion", "bash"])).stdout).toContain(
    "complete -o default -F _wheelwork wheelwork",
  );
});

test("a token is made, used, listed and revoked from the shell", async () => {
  const made = folder();
  const file = join(made, "tokens.json");
  const tokenOf = async (name: string, ...options: readonly string[]): Promise<string> => {
    const ran = await cli({}, ["token", "create", name, "--file", file, ...options]);
    expect([ran.status, ran.stderr]).toEqual([0, expect.stringContaining("shown this once")]);
    return ran.stdout.trim();
  };
  const ops = await tokenOf("ops", "--role", "operator,payloads", "--expires", "90d");
  const { engine, env } = await open({ access: { tokens: file } });
  await engine.submit("approval", { subject: "x" }, { key: "a1" });
  const count = (token: string) => cli({ ...env, WHEELWORK_TOKEN: token }, ["requests", "list", "-o", "ids"]);
  expect(await count(ops)).toMatchObject({ status: 0, stdout: "a1\n" });
  const listed = await cli({ WHEELWORK_TOKENS: file }, ["token", "list", "-o", "json"]);
  expect(JSON.parse(listed.stdout)).toMatchObject([{ name: "ops", grants: ["operator", "payloads"] }]);
  expect(listed.stdout).not.toContain("hash");
  expect(await cli({ WHEELWORK_TOKENS: file }, ["token", "revoke", "ops"])).toMatchObject({ status: 0 });
  await expect.poll(async () => (await count(ops)).status, { timeout: 10_000 }).toBe(7);
  const refused = await count(ops);
  expect(refused.stderr).toMatch(/WW_UNAUTHENTICATED[^]*wheelwork token create/);
  for (const [args, text] of [
    [["token", "create", "x", "--file", file], "needs --role"],
    [["token", "create", "x", "--role", "reader"], "WHEELWORK_TOKENS"],
    [["token", "create", "x", "--role", "reader", "--file", file, "--expires", "soon"], "90d"],
    [["token", "create", "x", "--role", "root", "--file", file], "submitter:HUB"],
    [["token", "revoke", "x", "--file", file], "has no token x"],
  ] as const) {
    const ran = await cli({}, args);
    expect(ran.status).not.toBe(0);
    expect(ran.stderr).toContain(text);
  }
});
