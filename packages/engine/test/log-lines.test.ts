import { end, hub, spoke } from "@wheelwork/core";
import { consoleLogger, createEngine, worker, type Logger } from "@wheelwork/engine";
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { folder } from "./world.ts";

const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];

/** What a program writes to standard error. */
function written(program: string, env: Readonly<Record<string, string>> = {}): string {
  const { stderr, status } = spawnSync(
    process.execPath,
    [...flags, "--input-type=module", "--eval", program],
    {
      cwd: import.meta.dirname,
      encoding: "utf8",
      env: { ...process.env, ...env },
    },
  );
  expect(status, stderr).toBe(0);
  return stderr;
}

test("a line of JSON has what tools for pino read, whatever the fields hold", () => {
  const lines = written(`
    import { consoleLogger } from "@wheelwork/engine";
    const logger = consoleLogger({ level: "warn", name: "mine" });
    logger.info({}, "too little");
    logger.warn({ request: "k\\u001b[2J\\nx", big: 1n }, "first");
    const circle = { of: null };
    circle.of = circle;
    const error = Object.assign(new Error("broken", { cause: new Error("deeper") }), { code: "E" });
    logger.error({ err: error, circle }, "second");
  `)
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toMatchObject([
    { level: 40, name: "mine", request: "k\u001B[2J\nx", big: "1", msg: "first" },
    {
      level: 50,
      err: { type: "Error", message: "broken", code: "E", cause: { type: "Error", message: "deeper" } },
      circle: expect.stringContaining("cannot be written") as string,
      msg: "second",
    },
  ]);
  for (const line of lines) {
    expect(line["time"]).toBeTypeOf("number");
    expect(line["pid"]).toBeTypeOf("number");
    expect(line["hostname"]).toBeTypeOf("string");
  }
});

test("for people a line has time, level, message and fields, and nothing that controls a terminal", () => {
  const text = written(`
    import { consoleLogger } from "@wheelwork/engine";
    const logger = consoleLogger({ format: "text" });
    logger.warn({ request: "k1", of: "two words", sly: "a\\u001b[2J\\nb", n: 3, none: undefined, stack: "Error: x\\n    at y" }, "watch out");
  `);
  expect(text).toMatch(
    /^\d\d:\d\d:\d\d WARN {2}watch out {2}request=k1 {2}of="two words" {2}sly="a\\u001b\[2J\\nb" {2}n=3\n {4}Error: x\n {4}at y\n$/,
  );
});

test("a terminal gets lines for people, and a pipe lines of JSON", () => {
  const program = `import { consoleLogger } from "@wheelwork/engine"; consoleLogger().warn({}, "here");`;
  expect(written(program)).toMatch(/^\{.*"msg":"here"\}\n$/);
  const inside = `${process.execPath} ${flags.join(" ")} --input-type=module --eval '${program}'`;
  const { stdout } = spawnSync("script", ["-qec", inside, "/dev/null"], {
    cwd: import.meta.dirname,
    encoding: "utf8",
  });
  expect(stdout).toMatch(/^\d\d:\d\d:\d\d WARN {2}here\r?\n/);
});

test("a log that nobody reads ends no program, and holds none up", async () => {
  const program = `
    import { consoleLogger } from "@wheelwork/engine";
    const logger = consoleLogger({ format: "json" });
    for (let n = 0; n < 2000; n++) logger.warn({ text: "x".repeat(200) }, "again");
    process.exitCode = 7;`;
  const child = spawn(process.execPath, [...flags, "--input-type=module", "--eval", program], {
    cwd: import.meta.dirname,
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr.once("data", () => child.stderr.destroy());
  expect(await new Promise((resolve) => child.once("exit", resolve))).toBe(7);
});

const fail = spoke("fail", { input: z.null(), output: z.number(), timeoutMs: 5000, retry: { attempts: 1 } });
const failing = hub(
  "failing",
  {
    request: z.object({ how: z.enum(["throw", "output", "park"]) }),
    reply: z.null(),
    deadlineMs: 20_000,
    chart: { Trying: { Went: "Deciding", Late: "Deciding" }, Deciding: { Decided: "Done" }, Done: end },
    data: ({ how }) => ({ how }),
  },
  {
    Trying: (s) => s.call(fail, { input: () => null, settled: "Went", deadline: "Late" }),
    Deciding: (s) =>
      s.pick(({ how }) => {
        if (how === "park") throw new Error("it cannot be decided");
        return "Decided";
      }),
    Done: () => null,
  },
);

const traceId = "0af7651916cd43dd8448eb211c80319c";
const traceparent = `00-${traceId}-b7ad6b7169203331-01`;

test("lines about a run have its request, its hub, its state and its trace", async () => {
  const lines: [level: string, fields: object, message: string][] = [];
  const at =
    (level: string): Logger["warn"] =>
    (fields, message) =>
      void lines.push([level, fields, message]);
  const logger: Logger = { debug: () => {}, info: () => {}, warn: at("warn"), error: at("error") };
  let how = "throw";
  const engine = createEngine({
    hubs: [failing],
    workers: [
      worker(fail, () => {
        if (how === "throw") throw new Error("the worker is broken");
        return (how === "output" ? "no number" : 1) as number;
      }),
    ],
    store: join(folder(), "engine.db"),
    durability: "normal",
    logger,
  });
  await engine.start();
  await engine.submit(failing, { how: "throw" }, { key: "k1", traceparent });
  await engine.answer("k1");
  how = "output";
  await engine.submit(failing, { how: "output" }, { key: "k2", traceparent });
  await engine.answer("k2");
  how = "park";
  await engine.submit(failing, { how: "park" }, { key: "k/3", traceparent });
  await expect.poll(() => lines.some(([, , message]) => message === "incident")).toBe(true);
  await engine.submit(failing, { how: "park" }, { key: "k4" });
  await expect.poll(() => lines.filter(([, , message]) => message === "incident")).toHaveLength(2);
  await engine.stop();
  const run = { hub: "failing", trace_id: traceId };
  expect(lines).toMatchObject([
    [
      "warn",
      { spoke: "fail", request: "k1", state: "Trying", call: 0, attempt: 1, ...run },
      "a worker has thrown an exception",
    ],
    ["error", { spoke: "fail", request: "k2", state: "Trying", ...run }, "a worker's output is not valid"],
    ["error", { request: "k/3", state: "Trying", ...run, error: { code: "WW_DEFECT" } }, "incident"],
    ["error", { request: "k4", hub: "failing", state: "Trying" }, "incident"],
  ]);
  // Nothing has traced it.
  expect(lines[3]?.[1]).not.toHaveProperty("trace_id");
});

test("a level that is silent writes nothing", () => {
  expect(consoleLogger({ level: "silent" }).error({}, "nothing")).toBeUndefined();
});
