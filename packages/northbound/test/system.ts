import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, type EngineOptions, worker, type Engine } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { z } from "zod";
import { northbound, type HubRoute, type NorthboundOptions } from "../src/index.ts";

const greetRequest = z.strictObject({
  name: z.string().min(1),
  times: z.int().min(1).max(3).optional(),
});
const greetReply = z.object({ message: z.string() });

const greeting = spoke("greeting", {
  input: z.object({ name: z.string() }),
  output: z.string(),
  errors: ["rude"],
  timeoutMs: 20_000,
});

/** Answers at once. Its worker refuses the name `boor`, and the hub itself `mute`, each with its own error code. */
export const greet = hub(
  "greet",
  {
    request: greetRequest,
    reply: greetReply,
    errors: ["worker-error", "no-voice"],
    deadlineMs: 50_000,
    chart: {
      Greeting: { Greeted: "Done", Refused: "Failed", Late: "Failed" },
      Done: end,
      Failed: end,
    },
    labels: ({ name, times }) => ({ length: `${name.length}`, times: times?.toString() }),
    data: ({ name }) => ({ name, message: "", why: "" }),
  },
  {
    Greeting: (s) =>
      s.call(greeting, {
        input: ({ name }) => ({ name }),
        ok: (_data, message) => s.raise("Greeted", { message }),
        failed: (_data, failure) =>
          s.raise("Refused", { why: failure.kind === "error" ? failure.message : "too late" }),
        deadline: "Late",
      }),
    Done: ({ message }) => ({ message }),
    Failed: ({ name, why }, s) =>
      name === "mute"
        ? s.fail("no-voice", "nobody can speak", { name })
        : s.fail("worker-error", `no greeting: ${why}`, { name }),
  },
);

/** Waits for the signal `approve`. A cancel leads to an answer of the hub. */
const approval = hub(
  "approval",
  {
    request: z.strictObject({ subject: z.string() }),
    reply: z.object({ message: z.string(), by: z.string() }),
    errors: ["withdrawn", "expired"],
    deadlineMs: 60_000,
    signals: { approve: z.strictObject({ by: z.string() }) },
    cancel: "Withdrawn",
    chart: {
      Waiting: { Approved: "Accepted", Withdrawn: "Refused", Expired: "Forgotten" },
      Accepted: end,
      Refused: end,
      Forgotten: end,
    },
    data: ({ subject }) => ({ subject, by: "" }),
  },
  {
    Waiting: (s) =>
      s.wait({ on: { approve: (_data, { by }) => s.raise("Approved", { by }) }, deadline: "Expired" }),
    Accepted: ({ subject, by }) => ({ message: `${subject}: approved`, by }),
    Refused: (_data, s) => s.fail("withdrawn", "the request was withdrawn"),
    Forgotten: (_data, s) => s.fail("expired", "nobody decided"),
  },
);

/** Has no event for a cancel, and a signal without a payload. */
const plain = hub(
  "plain",
  {
    request: z.strictObject({}),
    reply: z.string(),
    deadlineMs: 60_000,
    signals: { go: z.null() },
    cancel: end,
    chart: { Waiting: { Go: "Gone", Late: "Gone" }, Gone: end },
    data: () => ({}),
  },
  { Waiting: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }), Gone: () => "gone" },
);

/** Adds up what it is sent. */
const sum = hub(
  "sum",
  {
    request: z.strictObject({}),
    reply: z.number(),
    deadlineMs: 60_000,
    signals: { add: z.strictObject({ amount: z.number() }) },
    chart: { Adding: { Added: "(stay)", Late: "Done" }, Done: end },
    data: () => ({ total: 0 }),
  },
  {
    Adding: (s) =>
      s.wait({
        on: { add: ({ total }, { amount }) => s.raise("Added", { total: total + amount }) },
        deadline: "Late",
      }),
    Done: ({ total }) => total,
  },
);

/** Ends after two signals. */
const pair = hub(
  "pair",
  {
    request: z.strictObject({}),
    reply: z.string(),
    deadlineMs: 60_000,
    signals: { go: z.null() },
    chart: { First: { Go: "Second", Late: "Gone" }, Second: { Go: "Gone", Late: "Gone" }, Gone: end },
    data: () => ({}),
  },
  {
    First: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
    Second: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
    Gone: () => "gone",
  },
);

/** Throws in its first state while `broken` is set. */
export const faults = { broken: true };
const faulty = hub(
  "faulty",
  {
    request: z.strictObject({}),
    reply: greetReply,
    deadlineMs: 60_000,
    chart: { Choosing: { Chosen: "Done" }, Done: end },
    data: () => ({}),
  },
  {
    Choosing: (s) =>
      s.pick(() => {
        if (faults.broken) throw new Error("the handler is broken");
        return "Chosen";
      }),
    Done: () => ({ message: "mended" }),
  },
);

/** Nobody signals it, so its deadline passes soon, and it fails with its own error. */
const brief = hub(
  "brief",
  {
    request: z.strictObject({}),
    reply: greetReply,
    deadlineMs: 50,
    errors: ["hub-timeout"],
    chart: { Waiting: { Late: "Failed", Go: "Failed" }, Failed: end },
    signals: { go: z.null() },
    data: () => ({}),
  },
  {
    Waiting: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
    Failed: (_data, s) => s.fail("hub-timeout", "error in hub by timeout"),
  },
);

const greeter = worker(greeting, ({ name }, ctx) => {
  if (name === "boor" || name === "mute") return ctx.fail("rude", "the worker refused");
  return Promise.resolve(`hello, ${name}`);
});

export const routes: readonly HubRoute[] = [
  {
    method: "POST",
    path: "/greetings",
    hub: greet,
    summary: "Greet somebody",
    requestSchema: z.toJSONSchema(greetRequest),
    resultSchema: z.toJSONSchema(greetReply),
    statusOf: ({ code }) => ({ "worker-error": 502 })[code],
    failures: { 502: "The worker refused." },
  },
  {
    method: "POST",
    path: "/approvals",
    hub: approval,
    statusOf: ({ code }) => ({ withdrawn: 410, expired: 504 })[code],
  },
  { method: "POST", path: "/plain", hub: plain },
  { method: "POST", path: "/faulty", hub: faulty },
  {
    method: "POST",
    path: "/brief",
    hub: brief,
    statusOf: ({ code }) => (code === "hub-timeout" ? 504 : undefined),
  },
];

/** A directory that is removed at the end of the test. */
export function directory(): string {
  const made = mkdtempSync(join(tmpdir(), "northbound-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A started engine on a file. It stops at the end of the test. */
export async function engineOn(
  file: string,
  limits: EngineOptions["limits"] = {},
  observe: EngineOptions["observe"] = () => {},
): Promise<Engine> {
  const hubs = [greet, approval, plain, pair, sum, faulty, brief];
  const engine = createEngine({
    hubs,
    workers: [greeter],
    store: file,
    durability: "normal",
    limits,
    observe,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  return engine;
}

/** A Northbound on a real engine. It closes at the end of the test. */
export async function system(
  options: Partial<NorthboundOptions> = {},
  file = join(directory(), "wheelwork.db"),
) {
  faults.broken = true;
  const engine = options.engine ?? (await engineOn(file));
  const app = await northbound({ routes, ...options, engine });
  onTestFinished(() => app.close());
  return { engine, app };
}
