import { createMetrics, metrics, prometheusName } from "@wheelwork/engine";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { delimiter, join, resolve } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { directory, engineOn, system } from "./system.ts";

const root = resolve(import.meta.dirname, "../../..");
const rulesFile = join(root, "deploy/prometheus/wheelwork.rules.yml");

interface Dashboard {
  readonly panels: readonly {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string }[];
  }[];
}

/** The queries of the dashboard, with values in place of its variables. */
function dashboardQueries(): readonly { readonly name: string; readonly query: string }[] {
  const text = readFileSync(join(root, "deploy/grafana/wheelwork.json"), "utf8");
  return (JSON.parse(text) as Dashboard).panels.flatMap(({ title: name, targets = [] }) =>
    targets.map(({ expr }) => ({
      name,
      query: expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$(?:instance|hub)\b/g, ".*"),
    })),
  );
}

const alerts = (): Rules["groups"][number]["rules"] =>
  (parse(readFileSync(rulesFile, "utf8")) as Rules).groups.flatMap(({ rules }) => rules);

/** A program of Prometheus: an installed one, or the one that .ci/run has unpacked. */
function program(name: string): string | undefined {
  const unpacked = join(root, ".services/cache/prometheus/usr/bin");
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), unpacked];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

const promtool = program("promtool");
const prometheus = program("prometheus");

async function measured() {
  const figures = createMetrics();
  const engine = await engineOn(join(directory(), "wheelwork.db"), {}, figures.observe);
  return system({ engine, metrics: figures });
}

test("/metrics shows the figures in the text format of Prometheus", async () => {
  const { app } = await measured();
  for (const name of ["Ann", "boor"])
    await app.inject({ method: "POST", url: "/greetings", payload: { name } });
  const reply = await app.inject({ url: "/metrics" });
  expect(reply.statusCode).toBe(200);
  expect(reply.headers["content-type"]).toBe("text/plain; version=0.0.4; charset=utf-8");
  const lines = reply.body.split("\n");
  expect(lines).toContain('wheelwork_requests_total{hub="greet",outcome="accepted"} 2');
  expect(lines).toContain('wheelwork_answer_duration_seconds_count{hub="greet",kind="error"} 1');
  expect(lines).toContain("wheelwork_ready 1");
});

test("there is no /metrics if nobody gives it figures", async () => {
  const { app } = await system();
  expect((await app.inject({ url: "/metrics" })).statusCode).toBe(404);
});

test("the dashboard and the alerts ask for figures and labels that there are", () => {
  const labels = new Map<string, readonly string[]>();
  for (const metric of Object.values(metrics)) {
    const name = prometheusName(metric);
    if (metric.kind !== "histogram") labels.set(name, metric.labels);
    else for (const part of ["bucket", "sum", "count"]) labels.set(`${name}_${part}`, metric.labels);
  }
  const ofPrometheus = ["instance", "le"];
  const queries = [
    ...dashboardQueries(),
    ...alerts().map(({ alert, expr }) => ({ name: alert, query: expr })),
  ];
  expect(queries.length).toBeGreaterThan(40);
  for (const { name, query } of queries) {
    const asked = query.match(/\bwheelwork_\w+/g) ?? [];
    expect(asked.length, name).toBeGreaterThan(0);
    for (const one of asked) expect(labels.has(one), `${name} asks for ${one}`).toBe(true);
    const known = new Set([...ofPrometheus, ...asked.flatMap((one) => labels.get(one) ?? [])]);
    const by = [...query.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = ""]) => list.split(", "));
    const matched = [...query.matchAll(/(\w+)\s*=~?"/g)].map(([, label = ""]) => label);
    for (const label of [...by, ...matched]) expect(known, `${name}: ${label}`).toContain(label);
  }
});

test.skipIf(promtool === undefined)(
  "promtool finds no fault in the text, and the alerts do as told",
  async () => {
    const check = (args: readonly string[], input = ""): void => {
      const { status, stdout, stderr } = spawnSync(promtool ?? "", args, { input, encoding: "utf8" });
      expect(stderr + stdout).not.toMatch(/FAILED|error|no help|should/);
      expect(status).toBe(0);
    };
    const { app } = await measured();
    await app.inject({ method: "POST", url: "/greetings", payload: { name: "Ann" } });
    await app.inject({ url: "/metrics" });
    check(["check", "metrics"], (await app.inject({ url: "/metrics" })).body);
    check(["check", "rules", rulesFile]);
    check(["test", "rules", join(root, "deploy/prometheus/wheelwork.test.yml")]);
  },
);

test.skipIf(prometheus === undefined)(
  "a Prometheus reads the figures, and knows all that is asked of them",
  async () => {
    const { app } = await measured();
    await app.listen({ host: "127.0.0.1", port: 0 });
    await app.inject({ method: "POST", url: "/greetings", payload: { name: "Ann" } });
    const { port } = app.server.address() as AddressInfo;
    const get = await startPrometheus(`127.0.0.1:${port}`);
    await expect
      .poll(() => get("query", { query: "wheelwork_ready" }), patient)
      .toMatchObject([{ value: [expect.anything(), "1"] }]);
    const byKind = "wheelwork_answer_duration_seconds_count";
    expect(await get("query", { query: byKind })).toMatchObject([
      { metric: { hub: "greet", kind: "result" } },
    ]);
    for (const { name, query } of dashboardQueries())
      expect(await get("query", { query }), name).toBeDefined();
    const loaded = (await get("rules", {})) as Rules;
    expect(loaded.groups[0]?.rules).toHaveLength(alerts().length);
  },
);

const patient = { timeout: 30_000, interval: 100 };

/** Starts a Prometheus that reads the figures of a server each second. The result asks its API. */
async function startPrometheus(target: string) {
  const folder = directory();
  const config = {
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files: [rulesFile],
    scrape_configs: [{ job_name: "wheelwork", static_configs: [{ targets: [target] }] }],
  };
  writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(config));
  const port = await freePort();
  const args = [
    `--config.file=${join(folder, "prometheus.yml")}`,
    `--storage.tsdb.path=${join(folder, "data")}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  const child = spawn(prometheus ?? "", args, { stdio: "ignore" });
  const ended = new Promise<void>((resolved) => void child.once("exit", () => resolved()));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return async (what: string, parameters: Readonly<Record<string, string>>): Promise<unknown> => {
    const query = new URLSearchParams(parameters).toString();
    const reply = await fetch(`http://127.0.0.1:${port}/api/v1/${what}?${query}`).catch(() => undefined);
    if (reply === undefined || reply.status === 503) return undefined;
    const body = (await reply.json()) as { status: string; error?: string; data: { result?: unknown } };
    expect(body.status, `${JSON.stringify(parameters)}: ${body.error}`).toBe("success");
    return body.data.result ?? body.data;
  };
}

function freePort(): Promise<number> {
  return new Promise((resolved) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolved(port));
    });
  });
}
