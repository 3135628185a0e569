import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, worker, type EngineEvent, type EngineOptions, type Logger } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { folder } from "./world.ts";

/** Nothing fails silently: what the log, the history, the lists and the answers say of what went wrong. */

const mail = spoke("mail", {
  input: z.object({ to: z.string() }),
  output: z.object({ n: z.int() }),
  timeoutMs: 50,
  retry: { attempts: 2 },
});

const seen: unknown[] = [];

const asks = hub(
  "asks",
  {
    request: z.object({ to: z.string() }),
    reply: z.object({ to: z.email() }),
    deadlineMs: 200,
    chart: { Ask: { Next: "Done" }, Done: end },
    data: (request) => request,
  },
  {
    Ask: (s) =>
      s.call(mail, {
        input: ({ to }) => ({ to }),
        ok: "Next",
        failed: (_data, failure) => {
          seen.push(failure);
          return s.raise("Next");
        },
        deadline: "Next",
      }),
    Done: ({ to }) => ({ to }),
  },
);

const tells = hub(
  "tells",
  {
    request: z.object({ to: z.string() }),
    reply: z.object({}),
    deadlineMs: 200,
    chart: { Tell: { Next: "Done" }, Done: end },
    data: (request) => request,
  },
  { Tell: (s) => s.tell(mail, { input: ({ to }) => ({ to }), next: "Next" }), Done: () => ({}) },
);

/** An engine whose mail worker throws, is silent, or works, and what its log says. */
async function started(options: Partial<EngineOptions> = {}) {
  const lines: { readonly level: string; readonly message: string; readonly fields: object }[] = [];
  const say =
    (level: string) =>
    (fields: object, message: string): void =>
      void lines.push({ level, message, fields });
  const logger: Logger = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  const events: EngineEvent[] = [];
  const engine = createEngine({
    store: new MemoryStore(),
    hubs: [asks, tells],
    workers: [
      worker(mail, ({ to }) => {
        if (to.startsWith("silent")) return new Promise<never>(() => {});
        if (to.includes("@") || to === "no address") return { n: 1 };
        throw new Error(`no such user: ${to}`, { cause: new Error("SMTP is down") });
      }),
    ],
    logger,
    observe: (event) => void events.push(event),
    ...options,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  return { engine, lines, events };
}

const failuresOf = (history: readonly { readonly type: string }[]): object[] =>
  history.flatMap((event) => ("failure" in event ? [event.failure as object] : []));

test("the exception of a worker is logged and kept with its stack and its causes, and no handler sees these", async () => {
  const { engine, lines } = await started();
  await engine.submit(asks, { to: "ada" }, { key: "a" });
  await engine.answer("a");
  const stack = expect.stringMatching(
    /no such user: ada[^]*failures\.test\.ts[^]*Caused by: Error: SMTP is down/,
  );
  expect(lines).toContainEqual({
    level: "warn",
    message: "a worker has thrown an exception",
    fields: {
      spoke: "mail",
      request: "a",
      hub: "asks",
      state: "Ask",
      call: 0,
      attempt: 1,
      error: "no such user: ada",
      stack,
    },
  });
  const kept = { kind: "error", code: "WW_WORKER_FAILED", message: "no such user: ada", stack };
  expect(failuresOf(await engine.history("a"))).toEqual([kept]);
  expect(seen.at(-1)).toEqual({ kind: "error", code: "WW_WORKER_FAILED", message: "no such user: ada" });
});

test("attempts, time-outs and retries are lines of the log at debug, and events", async () => {
  const { engine, lines, events } = await started();
  await engine.submit(asks, { to: "silent@example.org" }, { key: "a" });
  await engine.answer("a");
  const of = { callee: "mail", key: "a", call: 0 };
  const told = [
    { name: "attempt", ...of, attempt: 1 },
    { name: "attempt-timeout", ...of, attempt: 1 },
    { name: "retry", ...of, attempt: 1, failure: "timeout", inMs: 0 },
    { name: "attempt", ...of, attempt: 2 },
    { name: "attempt-timeout", ...of, attempt: 2 },
  ];
  expect(events.filter(({ name }) => /attempt|retry/.test(name))).toEqual(told);
  expect(lines.filter(({ level }) => level === "debug").map(({ fields }) => fields)).toEqual(told);
});

test("the answer that the deadline of a parked run brings names the incident, without its stack", async () => {
  const { engine } = await started();
  expect(await engine.call(asks, { to: "no address" })).toEqual({
    kind: "timeout",
    code: "WW_TIMEOUT",
    message: "the hub asks reached no end within its time: an incident has parked it",
    details: {
      incident: {
        code: "WW_INVALID_REPLY",
        message: expect.stringContaining("to: Invalid email"),
        state: "Ask",
      },
    },
  });
});

describe("a tell that has failed for good", () => {
  test("is logged, listed, and says why", async () => {
    const { engine, lines, events } = await started();
    await engine.call(tells, { to: "ada@example.org" }, { key: "works" });
    await engine.call(tells, { to: "ada" }, { key: "fails" });
    const reason = "the spoke mail did not take what it was told: WW_WORKER_FAILED: no such user: ada";
    const lost = { name: "tell-lost", spoke: "mail", key: "fails/t0", reason };
    await expect.poll(() => events.find(({ name }) => name === "tell-lost")).toEqual(lost);
    const fields = { spoke: "mail", request: "fails/t0", hub: "tell:mail", state: "Lost", reason };
    expect(lines).toContainEqual({ level: "error", message: "a tell has failed for good", fields });
    const { items } = await engine.requests({ status: "lost" });
    expect(items.map(({ id, hub: name, status }) => [id, name, status])).toEqual([
      ["fails/t0", "tell:mail", "lost"],
    ]);
    expect(await engine.request("fails/t0")).toMatchObject({
      answer: { code: "not-delivered", message: reason },
    });
    // It is no request of a caller, as before.
    expect((await engine.requests()).items.map(({ id }) => id).toSorted()).toEqual(["fails", "works"]);
  });
});

describe("redact", () => {
  test("changes failures and incidents before anything keeps them, and never their codes", async () => {
    const { engine, lines } = await started({
      redact: ({ message }) => ({ code: "other", message: message.replace(/ada|no address/, "***") }),
    });
    await engine.submit(asks, { to: "ada" }, { key: "a" });
    await engine.answer("a");
    const hidden = { kind: "error", code: "WW_WORKER_FAILED", message: "no such user: ***" };
    const history = await engine.history("a");
    expect(failuresOf(history)).toEqual([hidden]);
    expect(history.find(({ type }) => type === "incident")).toMatchObject({
      error: { code: "WW_INVALID_REPLY", message: expect.any(String) },
    });
    expect(JSON.stringify(lines)).not.toMatch(/no such user: ada|stack/);
  });

  test.each<readonly [string, () => never]>([
    [
      "throws",
      () => {
        throw new Error("a bug");
      },
    ],
    ["is asynchronous", () => Promise.reject(new Error("later")) as never],
  ])("keeps only the code if it %s", async (_, redact) => {
    const { engine } = await started({ redact });
    await engine.submit(asks, { to: "ada" }, { key: "a" });
    await engine.answer("a");
    const hidden = { kind: "error", code: "WW_WORKER_FAILED", message: "not shown, since `redact` threw" };
    expect(failuresOf(await engine.history("a"))).toEqual([hidden]);
  });
});

describe("without a logger", () => {
  const program = (logger: string): string => `
    import { createEngine, silentLogger, end, hub } from "wheelwork";
    import { z } from "zod";
    const h = hub("h", { request: z.object({}), reply: z.object({}), deadlineMs: 50, data: () => ({}),
      chart: { Go: { Next: "Done" }, Done: end } }, { Go: "Next", Done: () => { throw new Error("a bug"); } });
    const engine = createEngine({ store: process.argv[1], hubs: [h], workers: []${logger} });
    await engine.start();
    await engine.call(h, {});
    await engine.stop();`;

  const said = async (logger: string, level?: string): Promise<string> => {
    const { WHEELWORK_LOG_LEVEL: _, ...env } = process.env;
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const { stderr } = await promisify(execFile)(
      process.execPath,
      [...flags, "--input-type=module", "-e", program(logger), join(folder(), "store.db")],
      { env: level === undefined ? env : { ...env, WHEELWORK_LOG_LEVEL: level } },
    );
    return stderr;
  };

  test("warnings and errors go to standard error", async () => {
    expect(await said("")).toMatch(/"msg":"incident"/);
  });

  test("a silent logger, or a level of the environment, keeps it quiet", async () => {
    expect(await said(", logger: silentLogger")).toBe("");
    expect(await said("", "silent")).toBe("");
  });
});
