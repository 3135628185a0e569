import { end, hub, spoke } from "@wheelwork/core";
import { createEngine, createMetrics, silentLogger, worker } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Change, Figures } from "../src/cli/figures.ts";
import { frame, type Reading } from "../src/cli/top-frame.ts";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const page = fileURLToPath(new URL("../../../docs/metrics.md", import.meta.url));
const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
const { WHEELWORK_URL: _url, WHEELWORK_CONTEXT: _context, ...env } = process.env;
const hasTmux = spawnSync("tmux", ["-V"]).status === 0;

const bucketsOf = (name: string, labels: string, counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([le, count]) => `${name}_bucket{${labels}${labels === "" ? "" : ","}le="${le}"} ${count}`)
    .join("\n");

test("rates and quantiles are those between two readings, also after a restart of the server", () => {
  const times = (a: number, b: number, c: number): string =>
    bucketsOf("time", 'hub="a \\"b\\""', { "0.1": a, "1": b, "+Inf": c });
  const before = new Figures(`# HELP n a number\nn{of="x"} 10\n${times(5, 5, 5)}`, 0);
  const after = new Figures(`n{of="x"} 30\nnonsense\n${times(5, 15, 25)}`, 2000);
  const change = new Change(before, after);
  expect(change.rate("n")).toBe(10);
  expect(change.rate("n", { of: "y" })).toBe(0);
  const labels = { hub: 'a "b"' };
  // Of 20, 10 are between 0.1 and 1.
  expect(change.quantile(0.25, "time", labels)).toBeCloseTo(0.55);
  // The others are above all bounds.
  expect(change.quantile(0.99, "time", labels)).toBe(1);
  expect(change.quantile(0.5, "none")).toBeUndefined();
  expect(new Change(after, new Figures('n{of="x"} 4', 4000)).rate("n")).toBe(2);
});

/** Two readings of a server on which something of each kind is stuck. */
function readings(): readonly [Reading, Reading] {
  const of = (factor: number): string =>
    [
      `wheelwork_requests_total{hub="order",outcome="accepted"} ${240 * factor}`,
      `wheelwork_requests_total{hub="order",outcome="known"} ${4 * factor}`,
      `wheelwork_answer_duration_seconds_count{hub="order",kind="result"} ${236 * factor}`,
      `wheelwork_answer_duration_seconds_count{hub="order",kind="error"} ${2 * factor}`,
      bucketsOf("wheelwork_answer_duration_seconds", 'hub="order",kind="result"', {
        "0.1": 120 * factor,
        "0.25": 234 * factor,
        "0.5": 236 * factor,
        "+Inf": 236 * factor,
      }),
      bucketsOf("wheelwork_commit_duration_seconds", "", {
        "0.001": 90 * factor,
        "0.0025": 100 * factor,
        "+Inf": 100 * factor,
      }),
      'wheelwork_runs{hub="order",status="running",state="Paying"} 31',
      'wheelwork_runs{hub="order",status="incident",state="Paying"} 2',
      'wheelwork_runs{hub="order",status="running",state="Shipping"} 12',
      'wheelwork_attempts_open{shard="0"} 43',
      'wheelwork_queue_length{shard="0"} 1',
      'wheelwork_event_loop_delay_seconds{percentile="99"} 0.0042',
      ...["Paying", "Shipping"].flatMap((state) => [
        `wheelwork_state_duration_seconds_count{hub="order",state="${state}"} ${238 * factor}`,
        bucketsOf("wheelwork_state_duration_seconds", `hub="order",state="${state}"`, {
          "0.05": 119 * factor,
          "0.1": 238 * factor,
          "+Inf": 238 * factor,
        }),
      ]),
      ...["charge", "ship"].flatMap((name) => [
        `wheelwork_attempt_duration_seconds_count{spoke="${name}",outcome="ok"} ${236 * factor}`,
        bucketsOf("wheelwork_attempt_duration_seconds", `spoke="${name}",outcome="ok"`, {
          "0.05": 200 * factor,
          "0.1": 236 * factor,
          "+Inf": 236 * factor,
        }),
      ]),
      `wheelwork_attempt_duration_seconds_count{spoke="charge",outcome="declined"} ${6 * factor}`,
      `wheelwork_retries_total{spoke="charge",failure="declined"} ${4 * factor}`,
    ].join("\n");
  const reading = (factor: number): Reading => ({
    figures: new Figures(of(factor), factor * 2000),
    health: { status: "running", ready: true },
    incidents: [
      { id: "order-17", hub: "order", state: "Paying" },
      { id: "order-23", hub: "order", state: "Paying" },
    ],
    lanes: [{ name: "customer", key: "c-9", waiting: 3, holders: ["order-31"] }],
    shards: [{ shard: 0 }],
  });
  return [reading(1), reading(2)];
}

test("the picture of docs/metrics.md is what top shows", () => {
  const [before, now] = readings();
  const text = frame(before, now, "wheelwork top  http://127.0.0.1:8088").join("\n");
  expect(text).not.toContain("\u001B");
  expect(readFileSync(page, "utf8"), `docs/metrics.md lacks this picture:\n${text}`).toContain(
    `\`\`\`console\n${text}\n\`\`\``,
  );
});

const run = spoke("run", { input: z.number(), output: z.number(), timeoutMs: 20_000 });
const order = hub(
  "order",
  {
    request: z.object({ n: z.number() }),
    reply: z.number(),
    deadlineMs: 60_000,
    chart: { Running: { Ran: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n }),
  },
  {
    Running: (s) => s.call(run, { input: ({ n }) => n, ok: "Ran", failed: "Ran", deadline: "Late" }),
    Done: ({ n }) => n,
  },
);

async function server(withMetrics = true) {
  const made = mkdtempSync(join(tmpdir(), "wheelwork-top-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  const metrics = createMetrics();
  const engine = createEngine({
    hubs: [order],
    workers: [worker(run, (n) => n)],
    store: join(made, "engine.db"),
    durability: "normal",
    logger: silentLogger,
    observe: metrics.observe,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  let n = 0;
  const load = setInterval(() => void engine.submit(order, { n: n++ }).catch(() => {}), 10);
  onTestFinished(() => clearInterval(load));
  const app = await northbound({
    engine,
    routes: [{ method: "POST", path: "/order", hub: order }],
    ...(withMetrics ? { metrics } : {}),
  });
  onTestFinished(() => app.close());
  return { url: await app.listen({ port: 0, host: "127.0.0.1" }), away: () => app.close() };
}

const cli = (...args: readonly string[]) =>
  promisify(execFile)(process.execPath, [...flags, program, ...args], { env, encoding: "utf8" });

test("where there is no terminal, it prints plain text", async () => {
  const { url } = await server();
  const { stdout } = await cli("top", "--once", "--interval", "1", "--url", url);
  expect(stdout).not.toContain("\u001B");
  expect(stdout).toMatch(/^\d{4}-\S+Z {2}wheelwork top {2}http:\S+ {2}takes requests\n/);
  expect(stdout).toMatch(/^requests\/s {3}accepted [1-9]\d*(\.\d)?/m);
  expect(stdout).toMatch(/^order {2}Running/m);
  expect(stdout).toMatch(/^run +[1-9]/m);
  expect(stdout).toMatch(/^nothing is stuck$/m);
  await expect(cli("top", "--interval", "0", "--url", url)).rejects.toMatchObject({ code: 2 });
  const { url: without } = await server(false);
  await expect(cli("top", "--once", "--url", without)).rejects.toMatchObject({
    code: 3,
    stderr: expect.stringMatching(/shows no figures.*\n {2}Give northbound the option metrics/) as string,
  });
});

/** A terminal that something runs in. */
function terminal(command: string) {
  const made = mkdtempSync(join(tmpdir(), "wheelwork-tmux-"));
  const socket = join(made, "tmux");
  const tmux = (...args: readonly string[]): string =>
    execFileSync("tmux", ["-S", socket, ...args], { encoding: "utf8", env });
  onTestFinished(() => {
    tmux("kill-server");
    rmSync(made, { recursive: true, force: true });
  });
  tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", "110", "-y", "40", "/bin/sh");
  const type = (...keys: readonly string[]): void => void tmux("send-keys", "-t", "t", ...keys);
  const screen = (): string => tmux("capture-pane", "-p", "-t", "t");
  /** Whether the whole screen is taken, whether the cursor is seen, and which process is in front. */
  const state = (): string =>
    tmux("display-message", "-p", "-t", "t", "#{alternate_on} #{cursor_flag} #{pane_current_command}").trim();
  type("PS1='$ '; echo before", "Enter");
  type(command, "Enter");
  return { type, screen, state, pid: () => Number(tmux("display-message", "-p", "-t", "t", "#{pane_pid}")) };
}

const slow = { timeout: 60_000 };

/** The child of a shell. */
const childOf = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ")[0]);

const ends: Readonly<Record<string, (type: (key: string) => void, pid: number) => void>> = {
  q: (type) => type("q"),
  "Ctrl+C": (type) => type("C-c"),
  SIGTERM: (_type, pid) => void process.kill(pid, "SIGTERM"),
  SIGHUP: (_type, pid) => void process.kill(pid, "SIGHUP"),
};

test.skipIf(!hasTmux).each(Object.keys(ends))(
  "on a terminal it fills the screen, and gives it back after %s",
  async (how) => {
    const { url } = await server();
    const { type, screen, state, pid } = terminal(
      `${process.execPath} ${flags.join(" ")} ${program} top --interval 0.5 --url ${url}; stty -a | grep -o ' icanon'; echo after`,
    );
    await expect
      .poll(screen, slow)
      .toMatch(/wheelwork top[\s\S]*requests\/s[\s\S]*order {2}Running[\s\S]*q ends it/);
    expect(state()).toMatch(/^1 0 /);
    expect(screen()).not.toContain("before");
    ends[how]?.(type, childOf(pid()));
    await expect.poll(screen, slow).toMatch(/before[\s\S]*icanon\nafter/);
    expect(state()).toMatch(/^0 1 /);
  },
  120_000,
);

test.skipIf(!hasTmux)(
  "it says that the server is gone, and can be ended then",
  async () => {
    const { url, away } = await server();
    const { type, screen, state } = terminal(
      `${process.execPath} ${flags.join(" ")} ${program} top --interval 0.5 --url ${url}`,
    );
    await expect.poll(screen, slow).toContain("takes requests");
    await away();
    await expect.poll(screen, slow).toMatch(/the server cannot be reached[\s\S]*q ends it/);
    type("q");
    await expect.poll(state, slow).toMatch(/^0 1 /);
  },
  120_000,
);

test.skipIf(!hasTmux)(
  "Ctrl+Z gives the terminal back, and fg takes it again",
  async () => {
    const { url } = await server();
    const { type, screen, state } = terminal(
      `set -m; ${process.execPath} ${flags.join(" ")} ${program} top --interval 0.5 --url ${url}`,
    );
    await expect.poll(screen, slow).toContain("q ends it");
    type("C-z");
    await expect.poll(screen, slow).toContain("before");
    expect(state()).toMatch(/^0 1 /);
    type("fg", "Enter");
    await expect.poll(screen, slow).toContain("q ends it");
    expect(state()).toMatch(/^1 0 /);
    type("q");
    await expect.poll(state, slow).toMatch(/^0 1 /);
  },
  120_000,
);
