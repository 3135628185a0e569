import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
const slow = { timeout: 60_000 };

/** The source of a module: a hub that waits for the signal `go`, and answers with a word. */
const source = (word: string, { state = "Waiting", version = 1, more = "" } = {}): string => `
import { end, hub } from "wheelwork";
const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
const waiting = hub(
  "waiting",
  {
    request: anything,
    reply: anything,
    version: ${version},
    deadlineMs: 600_000,
    signals: { go: anything },
    ${more}
    chart: { ${state}: { Went: "Done", Late: "Done" }, Done: end },
    data: () => ({}),
  },
  { ${state}: (s) => s.wait({ on: { go: "Went" }, deadline: "Late" }), Done: () => ${JSON.stringify(word)} },
);
export default { hubs: [waiting], workers: [] };
`;

/** A folder from which modules can import the library, and which the tools ignore that look at all sources: some modules are broken. */
function folder(): string {
  const parent = join(import.meta.dirname, "../../../.wheelwork");
  mkdirSync(parent, { recursive: true });
  const made = mkdtempSync(join(parent, "dev-"));
  onTestFinished(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

async function dev() {
  const made = folder();
  const module = join(made, "module.mjs");
  writeFileSync(module, source("one"));
  const args = [...flags, program, "dev", module, "--port", "0", "--store", join(made, ".data", "dev.db")];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(() => void child.kill("SIGKILL"));
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (part: Buffer) => (said += part.toString()));
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await expect.poll(() => said, slow).toMatch(/serves [\s\S]*Ctrl\+C/);
  const url = /http:\S+/.exec(said)?.[0] ?? "";
  const send = async (path: string, body: unknown, headers: Readonly<Record<string, string>> = {}) => {
    const response = await fetch(`${url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body),
    });
    return [response.status, (await response.json()) as unknown] as const;
  };
  return {
    url,
    send,
    submit: (key: string) => send("/waiting", {}, { "idempotency-key": key, prefer: "wait=0" }),
    /** The answer to a request that is told to go on. */
    go: async (key: string) => {
      expect((await send(`/requests/${key}/signals/go`, null))[0]).toBe(202);
      const response = await fetch(`${url}/requests/${key}/answer`, { headers: { prefer: "wait=30" } });
      return (await response.json()) as { readonly result: unknown };
    },
    /** Changes the module, and waits until that is said. */
    change: async (text: string, expected: RegExp) => {
      said = "";
      writeFileSync(module, text);
      await expect.poll(() => said, slow).toMatch(expected);
      return said;
    },
    end: async () => {
      child.kill("SIGINT");
      return exited;
    },
  };
}

test("a module is loaded again while its runs go on, and not if it is broken or breaks a run", async () => {
  const { url, submit, go, change, end } = await dev();
  expect((await submit("k1"))[0]).toBe(202);
  // Somebody asks all the time, and never finds the door shut.
  const asked: Promise<boolean>[] = [];
  const asking = setInterval(() => asked.push(fetch(`${url}/health`).then(({ ok }) => ok)), 5);
  onTestFinished(() => clearInterval(asking));
  await change(source("two"), /changed: .*module\.mjs\nreloaded in \d+ ms/);
  expect(await go("k1")).toMatchObject({ result: "two" });

  expect((await submit("k2"))[0]).toBe(202);
  const syntax = await change("export default {", /not loaded: the former version goes on/);
  expect(syntax).toContain("SyntaxError");
  const chart = await change(
    source("three", { state: "Wait ing" }).replace("Wait ing:", "Pausing:"),
    /not loaded/,
  );
  expect(chart).toMatch(/SyntaxError|WW_BAD_HUB/);
  const moved = await change(source("three", { state: "Pausing" }), /not loaded[\s\S]*lacks the state/);
  expect(moved).toMatch(
    /the chart of waiting lacks the state Waiting, and in it stand 1 live run of waiting version 1, such as k2\. Bring the state back/,
  );
  const gone = await change(source("three").replace('"waiting"', '"renamed"'), /not loaded/);
  expect(gone).toContain("the hub waiting is gone");
  // The former version has served all the while.
  expect((await submit("k3"))[0]).toBe(202);
  expect(await go("k3")).toMatchObject({ result: "two" });

  const mapped = {
    state: "Pausing",
    version: 2,
    more: 'migrate: { 1: (run) => ({ ...run, state: "Pausing" }) },',
  };
  await change(source("three", mapped), /reloaded in/);
  expect(await go("k2")).toMatchObject({ result: "three" });
  clearInterval(asking);
  expect(asked.length).toBeGreaterThan(10);
  expect(new Set(await Promise.all(asked))).toEqual(new Set([true]));
  expect(await end()).toBe(0);
  await expect(fetch(`${url}/health`)).rejects.toThrow("fetch failed");
}, 180_000);

test("a version that compiles and does not start leaves the former one, and a process that ends is started again", async () => {
  const { submit, go, change, end } = await dev();
  expect((await submit("k1"))[0]).toBe(202);
  // Two hubs cannot have one path.
  const twice = source("two").replace("hubs: [waiting]", "hubs: [waiting, waiting]");
  await change(twice, /not loaded: the former version goes on\nWW_CONFIG/);
  expect(await go("k1")).toMatchObject({ result: "one" });
  const mortal = source("two").replace(
    "export default",
    "setTimeout(() => process.exit(3), 3000);\nexport default",
  );
  await change(mortal, /ended by itself: it is started again/);
  await change(source("three"), /reloaded in|serves/);
  expect((await submit("k2"))[0]).toBe(202);
  expect(await go("k2")).toMatchObject({ result: "three" });
  expect(await end()).toBe(0);
}, 180_000);
