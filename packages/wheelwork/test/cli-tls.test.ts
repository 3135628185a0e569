import { end, hub } from "@wheelwork/core";
import { createEngine, silentLogger } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { Authority, opensslIsInstalled } from "@wheelwork/services";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

const signed = hub(
  "signed",
  {
    request: z.strictObject({ subject: z.string() }),
    reply: z.object({ ok: z.boolean() }),
    deadlineMs: 60_000,
    signals: { sign: z.null() },
    chart: { Waiting: { Signed: "Done", Late: "Done" }, Done: end },
    data: () => ({}),
  },
  { Waiting: (s) => s.wait({ on: { sign: "Signed" }, deadline: "Late" }), Done: () => ({ ok: true }) },
);

const outer = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith("WHEELWORK_")),
);

/** A server that wants certificates of its clients, and the program beside it. */
async function open() {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-cli-tls-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const authority = new Authority(folder, "authority");
  const server = authority.issue("server", ["localhost", "127.0.0.1"]);
  const engine = createEngine({
    hubs: [signed],
    workers: [],
    store: join(folder, "engine.db"),
    durability: "normal",
    logger: silentLogger,
  });
  await engine.start();
  onTestFinished(() => engine.stop());
  const app = await northbound({
    engine,
    routes: [{ method: "POST", path: "/signed", hub: signed }],
    tls: { ...server, clientCa: authority.ca },
    access: { certificates: { "CN=ann": ["admin"] } },
    logger: silentLogger,
  });
  onTestFinished(() => app.close());
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  const contexts = join(folder, "contexts.json");
  const run = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const child = spawn(process.execPath, [...flags, program, ...args], {
      env: { ...outer, WHEELWORK_CONTEXTS: contexts, ...env },
      stdio: ["ignore", "pipe", "pipe"],
      cwd: folder,
    });
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
    return { status, stdout, stderr };
  };
  return { folder, authority, url, run, contexts, engine, ann: authority.issue("ann", []) };
}

test.skipIf(!opensslIsInstalled())(
  "the program shows a certificate by options, by the environment, and by a context",
  async () => {
    const { folder, authority, url, run, contexts, engine, ann } = await open();
    const files = ["--tls-cert", ann.cert, "--tls-key", ann.key, "--tls-ca", authority.ca];
    const submit = ["requests", "submit", "signed", '{"subject":"x"}', "--key", "k"];
    expect(await run([...submit, "--url", url, ...files])).toEqual({ status: 0, stdout: "k\n", stderr: "" });
    const env = {
      WHEELWORK_URL: url,
      WHEELWORK_TLS_CERT: ann.cert,
      WHEELWORK_TLS_KEY: ann.key,
      WHEELWORK_TLS_CA: authority.ca,
    };
    expect(await run(["requests", "list", "-o", "ids"], env)).toMatchObject({ status: 0, stdout: "k\n" });
    // A context keeps whole paths, so that it is good in another folder.
    const names = [ann.cert, ann.key, authority.ca].map((file) => file.slice(folder.length + 1));
    const [cert = "", key = "", ca = ""] = names;
    const relative = ["--tls-cert", cert, "--tls-key", key, "--tls-ca", ca];
    expect(await run(["context", "set", "prod", "--url", url, ...relative])).toMatchObject({ status: 0 });
    expect(JSON.parse(readFileSync(contexts, "utf8"))).toEqual({
      current: "prod",
      contexts: { prod: { url, cert: ann.cert, key: ann.key, ca: authority.ca } },
    });
    // A stream goes over the same connection: what happens is seen while it happens.
    const watching = run(["requests", "watch", "k"]);
    expect(await run(["requests", "signal", "k", "sign", "null"])).toMatchObject({ status: 0 });
    expect(await watching).toMatchObject({ status: 0, stdout: expect.stringContaining("Done") as string });
    const { items } = await engine.audit({ command: "signal" });
    expect(items).toMatchObject([{ by: "cert:CN=ann", id: "k" }]);
  },
);

test.skipIf(!opensslIsInstalled())("what is wrong with a certificate is said, with what to do", async () => {
  const { folder, authority, url, run, ann } = await open();
  const stranger = new Authority(folder, "stranger");
  const mallory = stranger.issue("mallory", []);
  const list = ["requests", "list", "--url", url];
  const own = ["--tls-cert", ann.cert, "--tls-key", ann.key];
  const trust = ["--tls-ca", authority.ca];
  const cases: readonly (readonly [status: number, said: RegExp, args: readonly string[]])[] = [
    [7, /Give the authority that has signed its certificate: --tls-ca FILE/, [...list, ...own]],
    [7, /Give a certificate that the server trusts/, [...list, ...trust]],
    [
      6,
      /if it does not trust the certificate .*mallory/,
      [...list, ...trust, "--tls-cert", mallory.cert, "--tls-key", mallory.key],
    ],
    [2, /give --tls-cert and --tls-key, or neither/, [...list, ...trust, "--tls-cert", ann.cert]],
    [2, /the files of TLS are not valid/, [...list, "--tls-cert", ann.cert, "--tls-key", mallory.key]],
    [2, /are for https/, ["requests", "list", "--url", "http://127.0.0.1:1", ...trust]],
  ];
  const ran = await Promise.all(cases.map(([, , args]) => run(args)));
  for (const [index, [status, said, args]] of cases.entries()) {
    expect(ran[index]?.stderr, args.join(" ")).toMatch(said);
    expect(ran[index]?.status, args.join(" ")).toBe(status);
  }
});
