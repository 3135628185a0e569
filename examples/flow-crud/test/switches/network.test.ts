import { Network, openVSwitchIsInstalled } from "@wheelwork/services";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { FastifyInstance } from "fastify";
import { openFlowCrud, type FlowCrud, type FlowCrudOptions } from "../../src/application.ts";
import { serveFlowCrud } from "../../src/http.ts";
import { networkArgs, networkOf, switchesIn, type NetworkValues } from "../../src/network-options.ts";
import { Ring } from "./lab.ts";

/** The switches, the broker and the application share two processors with other tests: whoever is slow is not late. */
const patient = { deadlineMs: 20_000, workerTimeoutMs: 5000, cleanUpAttempts: 1 };
/** The time of an answer that never comes. */
const impatient = { deadlineMs: 3000, workerTimeoutMs: 1000 };

/** flow-crud on a ring of real switches. */
class System {
  readonly #folder = mkdtempSync(join(tmpdir(), "flow-crud-network-"));
  readonly ring: Ring;
  system!: FlowCrud;
  #app!: FastifyInstance;

  readonly #options: Pick<FlowCrudOptions, "flow" | "floodlight">;

  private constructor(ring: Ring, options: Pick<FlowCrudOptions, "flow" | "floodlight">) {
    this.ring = ring;
    this.#options = options;
  }

  static async start(
    switches: number,
    options: Pick<FlowCrudOptions, "flow" | "floodlight">,
  ): Promise<System> {
    const system = new System(await Ring.prepare(switches), options);
    onTestFinished(() => system.end());
    await system.open(switches);
    await system.ring.complete();
    return system;
  }

  async open(switches: number): Promise<void> {
    const listen = { host: "127.0.0.1", port: this.ring.port };
    this.system = await openFlowCrud({
      ...this.#options,
      dataDir: this.#folder,
      network: { switches, listen },
    });
    this.ring.drivenBy(this.system.network);
    this.#app = await serveFlowCrud(this.system);
  }

  async close(): Promise<void> {
    await this.#app.close();
    await this.system.close();
  }

  async get<T>(url: string): Promise<T> {
    return (await this.#app.inject({ url, headers: { host: "localhost" } })).json();
  }

  async create(body: object): Promise<string> {
    const headers = { host: "localhost", "content-type": "application/json" };
    const reply = await this.#app.inject({ method: "POST", url: "/flow", headers, payload: body });
    const told = reply.json<{ message?: string; detail?: string }>();
    return told.message ?? told.detail ?? reply.body;
  }

  /** How many rules each switch has, as Open vSwitch itself says. */
  counts(): Promise<number[]> {
    return this.ring.counts();
  }

  async end(): Promise<void> {
    await this.close();
    await this.ring.end();
    rmSync(this.#folder, { recursive: true });
  }
}

describe.skipIf(!openVSwitchIsInstalled())("flow-crud on real switches", () => {
  test("the four requests of the proof of concept have the same answers, and the switches agree", async () => {
    const system = await System.start(4, { flow: impatient });
    expect(await system.create({ flowid: "f1", length: 10 })).toBe("all operation is successful");
    expect(await system.counts()).toEqual([3, 3, 2, 2]);
    expect(await system.create({ flowid: "f2", length: 10, error: "IN_HUB" })).toBe(
      "error in hub by timeout",
    );
    expect(await system.create({ flowid: "f3", length: 10, error: "IN_WORKER" })).toBe(
      "error in worker on rule install",
    );
    expect(await system.create({ flowid: "f4", length: 10, error: "IN_FL" })).toBe(
      "error in worker on rule install",
    );
    expect(await system.counts()).toEqual([3, 3, 2, 2]);
    expect(await system.get("/switches/rules?flowid=f1")).toMatchObject({ count: 10 });
    expect(await system.get("/switches/unconfirmed")).toEqual({ count: 0, rules: [] });
    // They are there after a restart, and after a crash of the switches, too.
    await system.close();
    await system.open(4);
    await system.ring.lab.crash();
    await system.ring.complete();
    await expect.poll(() => system.counts()).toEqual([3, 3, 2, 2]);
  });

  test("what cannot be removed since a switch is away outlives the answer, is shown, and is removed when it is back", async () => {
    // The removals come half a second after the rules: time enough to cut a switch off.
    const system = await System.start(2, { flow: patient, floodlight: { faults: { latencyMs: 1000 } } });
    // One of them finds the links of the switch.
    await system.ring.limit(3);
    // Six rules: three for each switch, and the first one has room for two.
    const failed = system.create({ flowid: "f1", length: 6 });
    await expect.poll(async () => (await system.counts())[1]).toBe(3);
    await system.ring.cut(2);
    expect(await failed).toBe("error in worker on rule install");
    expect(await system.counts()).toEqual([0, 3]);
    const left = await system.get<{ count: number; rules: { switch: string }[] }>("/switches/unconfirmed");
    expect(left.count).toBe(3);
    expect(new Set(left.rules.map((rule) => rule.switch))).toEqual(new Set(["sw-2"]));
    await system.ring.complete();
    await expect.poll(() => system.counts()).toEqual([0, 0]);
    await expect.poll(() => system.get("/switches/unconfirmed")).toEqual({ count: 0, rules: [] });
  });
});

test("the options of a network are checked", () => {
  const folder = mkdtempSync(join(tmpdir(), "no-network-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const none = new Network("none", folder);
  const of = (values: NetworkValues, options: Parameters<typeof networkOf>[1] = {}) =>
    networkOf({ network: true, ...values }, options, none);
  expect(networkOf({ openflow: "127.0.0.1:1" })).toBeUndefined();
  expect(of({})).toEqual({ switches: 8, listen: { host: "127.0.0.1", port: 6653 } });
  const openflow = "[::1]:7000";
  expect(of({ openflow }, { switches: 3 })).toEqual({ switches: 3, listen: { host: "::1", port: 7000 } });
  expect(of({ openflow: "a/b.sock" })).toEqual({ switches: 8, listen: { path: "a/b.sock" } });
  for (const wrong of ["", "6653", "host", "host:", "127.0.0.1:70000", ":1"])
    expect(() => of({ openflow: wrong })).toThrow(/--openflow must be HOST:PORT/);
  for (const wrong of ["0", "-1", "1.5", "x", "", "1001"])
    expect(() => switchesIn(wrong)).toThrow(/--switches must be/);
  // Beyond loopback, switches have to show who they are.
  expect(() => of({ openflow: "0.0.0.0:6653" })).toThrow(/lets anybody who reaches it be a switch/);
  expect(of({ openflow: "0.0.0.0:6653" }, { insecure: true })?.listen).toEqual({
    host: "0.0.0.0",
    port: 6653,
  });
  const file = join(folder, "a.pem");
  writeFileSync(file, "pem");
  const pems = { "openflow-cert": file, "openflow-key": file, "openflow-ca": file };
  expect(of({ openflow: "0.0.0.0:6653", ...pems })?.listen).toEqual({
    host: "0.0.0.0",
    port: 6653,
    tls: { cert: "pem", key: "pem", ca: "pem" },
  });
  expect(() => of({ openflow, "openflow-cert": file })).toThrow(/belong together/);
  const args = ["--network", "--openflow", openflow];
  expect(networkArgs({ network: true, openflow })).toEqual(args);
  expect(networkArgs({ network: true, openflow, ...pems })).toEqual(
    args.concat("--openflow-cert", file, "--openflow-key", file, "--openflow-ca", file),
  );
  expect(networkArgs({ openflow })).toEqual([]);
});
