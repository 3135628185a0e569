import type { AnyHub, Hub } from "@wheelwork/core";
import { createEngine, silentLogger, type Engine } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test } from "vitest";
import {
  clockFindings,
  nodeFindings,
  placeFindings,
  postgresFindings,
  topicFindings,
} from "../src/cli/doctor.ts";
import { lineOf } from "../src/cli/progress.ts";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const engineProgram = fileURLToPath(new URL("../../engine/test/stored-engine.ts", import.meta.url));
const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
const {
  WHEELWORK_URL: _url,
  WHEELWORK_CONTEXT: _context,
  KAFKA_BROKERS: _brokers,
  ...outerEnv
} = process.env;

const { counting } = (await import(engineProgram)) as { readonly counting: AnyHub };

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the program beside this one, which may be its server. */
async function cli(...args: readonly string[]): Promise<Ran> {
  const child = spawn(process.execPath, [...flags, program, ...args], {
    env: outerEnv,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
  return { status, stdout, stderr };
}

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "wheelwork-store-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

/** The store of an engine that was killed. */
function killed(): string {
  const store = join(folder(), "store.db");
  spawnSync(process.execPath, [...flags, engineProgram, store, "kill"]);
  return store;
}

async function running(store: string): Promise<string> {
  const engine = createEngine({ hubs: [counting], workers: [], store, logger: silentLogger });
  await engine.start();
  onTestFinished(() => engine.stop());
  const app = await northbound({ engine, routes: [{ method: "POST", path: "/counting", hub: counting }] });
  onTestFinished(() => app.close());
  return app.listen({ port: 0, host: "127.0.0.1" });
}

const withoutData = (printed: string): unknown => {
  const { data: _data, ...view } = JSON.parse(printed) as { readonly data?: unknown };
  return view;
};

test("the file of an engine that was killed says what its server says", async () => {
  const store = killed();
  const files = readdirSync(join(store, ".."));
  const commands = [
    ["requests", "list", "-o", "json"],
    ["requests", "list", "--status", "incident"],
    ["requests", "get", "k1"],
    ["requests", "get", "k2"],
    ["requests", "get", "k-1"],
    ["requests", "history", "k3", "-o", "jsonl"],
    ["requests", "history", "k-1"],
    ["requests", "answer", "k2"],
    ["requests", "answer", "k1"],
    ["requests", "get", "none"],
    ["incidents", "-o", "json"],
  ];
  const ofFile: Ran[] = [];
  for (const args of commands) ofFile.push(await cli(...args, "--store", store));
  expect(readdirSync(join(store, ".."))).toEqual(files);
  const url = await running(store);
  for (const [at, args] of commands.entries()) {
    const { status, stdout, stderr } = await cli(...args, "--url", url);
    const found = ofFile[at]!;
    expect({ status: found.status, stderr: found.stderr }, args.join(" ")).toEqual({ status, stderr });
    // The file shows the data of a run, too.
    const isView = args[1] === "get" && status === 0;
    const read = (printed: string): unknown => (isView ? withoutData(printed) : printed);
    expect(read(found.stdout)).toEqual(read(stdout));
  }
  const held = await cli("requests", "list", "--store", store);
  expect([held.status, held.stderr]).toEqual([
    1,
    expect.stringMatching(/^WW_STORE_LOCKED: an engine works on .*\n {2}Ask its HTTP server: --url/),
  ]);
  expect((await cli("requests", "list", "--store", store, "--url", url)).status).toBe(2);
  expect((await cli("requests", "answer", "k1", "--store", store, "--wait", "1")).status).toBe(2);
  expect(await cli("requests", "list", "--store", join(store, "..", "none.db"))).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/there is no file .*\n {2}Name the file/) as string,
  });
});

const former = fileURLToPath(new URL("../../engine/test/former", import.meta.url));
// Without WHEELWORK_LONG, only the first one.
const versions = readdirSync(former, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name)
  .toSorted()
  .slice(0, process.env["WHEELWORK_LONG"] === undefined ? 1 : undefined);

test.each(versions)("a store of version %s is read as it is", async (version) => {
  const at = folder();
  const files = ["store.db", "store.db-wal"];
  for (const file of files)
    writeFileSync(join(at, file), brotliDecompressSync(readFileSync(join(former, version, `${file}.br`))));
  const before = files.map((file) => readFileSync(join(at, file)));
  const { live, answers } = JSON.parse(readFileSync(join(former, version, "about.json"), "utf8")) as {
    readonly live: readonly string[];
    readonly answers: Readonly<Record<string, { readonly answer: unknown }>>;
  };
  const of = (...args: readonly string[]): Promise<Ran> => cli(...args, "--store", join(at, "store.db"));
  const [list, history, answer, incidents, doctor] = await Promise.all([
    of("requests", "list", "--limit", "1000", "-o", "json"),
    of("requests", "history", "undoing-row"),
    of("requests", "answer", "error-journal"),
    of("requests", "list", "--status", "incident"),
    of("doctor"),
  ]);
  const items = JSON.parse(list.stdout) as readonly { readonly id: string }[];
  expect(items.map(({ id }) => id)).toEqual(expect.arrayContaining([...live, ...Object.keys(answers)]));
  expect(history.stdout).toMatch(/lay #2 refused \(bad d is refused\)\n.* NotLaid → Removing/);
  expect(JSON.parse(answer.stdout)).toEqual(answers["error-journal"]?.answer);
  for (const id of ["parks-row", "parks-journal", "resolved-row", "resolved-journal"])
    expect(incidents.stdout).toContain(id);
  expect(doctor.stdout).toMatch(/it is sound, and each checksum is right/);
  expect([list, history, incidents, doctor].map(({ status }) => status)).toEqual([0, 0, 0, 0]);
  expect(files.map((file, n) => readFileSync(join(at, file)).equals(before[n] as Buffer))).toEqual([
    true,
    true,
  ]);
});

test("a store is backed up while its engine runs, and never over another file", async () => {
  const store = killed();
  await running(store);
  const to = join(folder(), "backup.db");
  expect((await cli("backup", to)).status).toBe(2);
  const done = await cli("backup", to, "--store", store);
  expect(done).toMatchObject({ status: 0, stderr: "" });
  expect(done.stdout).toMatch(/is a whole and checked copy: 2 answers, \d+ batches, \d+ live runs/);
  expect((await cli("requests", "answer", "k4", "--store", to)).status).toBe(0);
  const again = await cli("backup", to, "--store", store);
  expect([again.status, again.stderr]).toEqual([1, expect.stringContaining("is there already")]);
});

test("a batch that nobody can read, nor say whose it was, is given up", async () => {
  const store = killed();
  const db = new DatabaseSync(store);
  const { seq } = db.prepare("SELECT max(seq) AS seq FROM journal").get() as { seq: number };
  db.exec(`UPDATE journal SET record = x'00', runs = NULL WHERE seq = ${seq}`);
  db.close();
  const start = async (): Promise<Engine> => {
    const engine = createEngine({ hubs: [counting], workers: [], store, logger: silentLogger });
    await engine.start();
    return engine;
  };
  await expect(start()).rejects.toThrow(
    new RegExp(`WW_STORE_CORRUPT: batch ${seq} of the journal is damaged[^]*repair --give-up ${seq}\\.`),
  );
  const repair = async (...args: string[]): Promise<[number | null, string]> => {
    const { status, stdout, stderr } = await cli("repair", ...args);
    return [status, stdout + stderr];
  };
  expect((await repair("--store", store))[0]).toBe(2);
  expect((await repair("--store", store, "--give-up", "-1"))[0]).toBe(2);
  expect(await repair("--store", store, "--give-up", "1")).toEqual([
    1,
    expect.stringContaining("it is sound"),
  ]);
  expect(await repair("--store", store, "--give-up", "99")).toEqual([
    1,
    expect.stringContaining("no such batch"),
  ]);
  expect(await repair("--store", store, "--give-up", `${seq}`)).toEqual([
    0,
    `batch ${seq} is given up: the next start goes on without it\n`,
  ]);
  expect((await repair("--store", store, "--give-up", `${seq}`))[0]).toBe(1);
  const engine = await start();
  onTestFinished(() => engine.stop());
  expect((await repair("--store", store, "--give-up", "1"))[1]).toContain("WW_STORE_LOCKED");
  await engine.submit(counting as Hub<{ readonly n: number }>, { n: 1 }, { key: "new" });
});

test("the doctor says what is well, what is not, and what to do", async () => {
  const store = killed();
  const stopped = await cli("doctor", "--store", store);
  expect(stopped, stopped.stdout).toMatchObject({ status: 0 });
  expect(stopped.stdout).toMatch(/^ok {7}Node /);
  expect(stopped.stdout).toContain("no engine works on it");
  expect(stopped.stdout).toContain("its last commit was at 20");
  expect(stopped.stdout).toMatch(/it is sound, and each checksum is right: 2 answers, 5 batches/);
  const url = await running(store);
  const found = JSON.parse((await cli("doctor", "--store", store, "--url", url, "-o", "json")).stdout) as {
    readonly state: string;
    readonly what: string;
    readonly next?: string;
  }[];
  expect(found.map(({ what }) => what)).toEqual(
    expect.arrayContaining([
      "an engine works on it",
      `${url} takes requests`,
      "the clock of the server agrees with this one",
      "it has 1 shard",
      "requests are parked (incidents)",
    ]),
  );
  expect(found.every(({ state, next }) => state === "ok" || next !== undefined)).toBe(true);

  const damaged = killed();
  const db = new DatabaseSync(damaged);
  db.exec("UPDATE request SET request = replace(request, '2', '7') WHERE key = 'k2'");
  db.close();
  const sick = await cli("doctor", "--store", damaged);
  expect(sick.status).toBe(1);
  expect(sick.stdout).toMatch(
    /^problem {2}WW_STORE_CORRUPT: the answer to k2 is damaged.*\n {9}Restore the store/m,
  );
  expect(existsSync(`${damaged}.lock`)).toBe(true);
  const away = await cli("doctor", "--url", "http://127.0.0.1:1", "--nimbus", "127.0.0.1:1");
  expect(away.status).toBe(1);
  expect(away.stdout).toMatch(/problem {2}the server cannot be reached/);
  expect(away.stdout).toMatch(/problem {2}WW_BUS_UNAVAILABLE: Nimbus cannot be reached/);
});

test("each thing that may be wrong is found", () => {
  const of = (found: readonly { readonly state: string }[]) => found.map(({ state }) => state);
  expect(of(nodeFindings("20.1.0", true))).toEqual(["problem"]);
  expect(of(nodeFindings("22.14.0", false))).toEqual(["problem"]);
  expect(of(nodeFindings("24.0.0", true))).toEqual(["ok"]);
  const well = { type: 0xef53, freeBytes: 1e12, bytes: 1e6, log: 0, names: 1 };
  expect(of(placeFindings("s.db", well))).toEqual(["ok", "ok", "ok"]);
  expect(of(placeFindings("s.db", { ...well, type: 0x6969 }))[0]).toBe("problem");
  expect(of(placeFindings("s.db", { ...well, type: 0x01021994 }))[0]).toBe("warning");
  expect(of(placeFindings("s.db", { ...well, freeBytes: 1000 }))[1]).toBe("problem");
  expect(of(placeFindings("s.db", { ...well, freeBytes: 2e8, bytes: 1e9 }))[1]).toBe("warning");
  expect(of(placeFindings("s.db", { ...well, log: 1e9 }))[2]).toBe("warning");
  expect(of(placeFindings("s.db", { ...well, names: 2 }))[3]).toBe("problem");
  expect(of(clockFindings(1e12, 1e12 + 10_000))).toEqual(["warning"]);
  expect(of(clockFindings(1e12, 1e12 - 31 * 86_400_000))).toEqual(["warning"]);
  expect(of(clockFindings(1e12, 1e12 - 1000))).toEqual(["ok"]);
  const topic = {
    replicas: 3,
    inSync: 3,
    configs: { "cleanup.policy": "delete", "min.insync.replicas": "2", "retention.ms": "604800000" },
  };
  const configured = (configs: Readonly<Record<string, string>>) => ({
    ...topic,
    configs: { ...topic.configs, ...configs },
  });
  expect(of(topicFindings("inbox", topic))).toEqual(["ok"]);
  expect(of(topicFindings("inbox", configured({ "retention.ms": "-1" })))).toEqual(["ok"]);
  expect(of(topicFindings("inbox", configured({ "retention.ms": "3600000" })))).toEqual(["warning"]);
  expect(of(topicFindings("inbox", configured({ "cleanup.policy": "compact,delete" })))).toEqual(["problem"]);
  expect(of(topicFindings("inbox", configured({ "unclean.leader.election.enable": "true" })))).toEqual([
    "problem",
  ]);
  expect(of(topicFindings("inbox", configured({ "min.insync.replicas": "1" })))).toEqual(["warning"]);
  expect(of(topicFindings("inbox", { ...topic, inSync: 2 }))).toEqual(["warning"]);
  expect(of(topicFindings("inbox", { ...topic, inSync: 1 }))).toEqual(["problem"]);
  expect(of(topicFindings("inbox", { replicas: 1, inSync: 1, configs: {} }))).toEqual(["warning"]);
  const settings = {
    fsync: "on",
    full_page_writes: "on",
    synchronous_commit: "on",
    data_checksums: "on",
    synchronous_standby_names: "a",
  };
  const server = { version: "17.2", serverMs: Date.now(), settings, synchronousStandbys: ["a"] };
  expect(new Set(of(postgresFindings(server)))).toEqual(new Set(["ok"]));
  for (const [change, state] of [
    [{ version: "14.1" }, "problem"],
    [{ settings: { ...settings, fsync: "off" } }, "problem"],
    [{ settings: { ...settings, synchronous_commit: "off" } }, "problem"],
    [{ settings: { ...settings, full_page_writes: "off" } }, "problem"],
    [{ settings: { ...settings, data_checksums: "off" } }, "warning"],
    [{ settings: { ...settings, synchronous_standby_names: "" } }, "warning"],
    [{ serverMs: Date.now() + 60_000 }, "warning"],
  ] as const)
    expect(of(postgresFindings({ ...server, ...change }))).toContain(state);
});

test("a bar says how far something is", () => {
  expect(lineOf("copying", undefined)).toBe("copying …");
  expect(lineOf("checking", 0.5)).toBe(`[${"#".repeat(15)}${" ".repeat(15)}]  50 %  checking`);
  expect(lineOf("checking", 1)).toBe(`[${"#".repeat(30)}] 100 %  checking`);
});
