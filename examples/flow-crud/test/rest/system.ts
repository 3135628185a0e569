import { northbound, type NorthboundOptions } from "@wheelwork/northbound";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { createEngine, silentLogger, SqliteStore } from "wheelwork";
import { createController, type ControllerOptions } from "../../src/controller/controller.ts";
import { addressOf, isSameRule, switchIdOf, type Rule } from "../../src/controller/model.ts";
import type { Discrepancy, Speaker, SpeakerAnswer, SpeakerCommand } from "../../src/controller/speaker.ts";
import { flowRoutes, type ControllerParts } from "../../src/rest/rest.ts";
import { undocumented, type ApiDocument } from "./document.ts";
import { MemoryFlowStore } from "./memory-store.ts";

export const sw = (number: number): string => switchIdOf(BigInt(number));

/** Switches that hold what they are told. A test makes them be away, refuse, or keep silent. */
class TestSwitches implements Speaker {
  readonly rules = new Map<string, Map<string, Rule>>();
  readonly away = new Set<string>();
  readonly refusing = new Set<string>();
  /** Commands to them wait until they are taken out. */
  readonly #held = new Map<string, PromiseWithResolvers<void>>();
  #waiting: { readonly switchId: string; readonly tell: () => void }[] = [];
  readonly #reached = new Set<string>();

  /** The next commands to a switch wait. */
  hold(switchId: string): void {
    this.#held.set(switchId, Promise.withResolvers());
    this.#reached.delete(switchId);
  }

  /** Resolves when a command waits at a switch. */
  reached(switchId: string): Promise<void> {
    if (this.#reached.has(switchId)) return Promise.resolve();
    return new Promise((tell) => this.#waiting.push({ switchId, tell }));
  }

  release(switchId: string): void {
    this.#held.get(switchId)?.resolve();
    this.#held.delete(switchId);
  }

  async execute(command: SpeakerCommand): Promise<SpeakerAnswer | undefined> {
    const { switchId, rules } = command;
    const held = this.#held.get(switchId);
    if (held !== undefined) {
      this.#reached.add(switchId);
      for (const { switchId: of, tell } of this.#waiting) if (of === switchId) tell();
      this.#waiting = this.#waiting.filter((one) => one.switchId !== switchId);
      await held.promise;
    }
    const there = this.rules.get(switchId) ?? new Map<string, Rule>();
    this.rules.set(switchId, there);
    if (command.command === "read") return this.#read(switchId, rules, there);
    const isDuty = command.command === "remove" || command.must;
    if (this.away.has(switchId))
      return isDuty ? { answer: "done", unconfirmed: rules.length } : { answer: "away" };
    if (command.command === "install" && this.refusing.has(switchId))
      return { answer: "refused", reason: "the table is full", isFull: true };
    for (const rule of rules) {
      if (command.command === "install") there.set(addressOf(rule), rule);
      else there.delete(addressOf(rule));
    }
    return { answer: "done", unconfirmed: 0 };
  }

  #read(switchId: string, rules: readonly Rule[], there: ReadonlyMap<string, Rule>): SpeakerAnswer {
    if (this.away.has(switchId)) return { answer: "away" };
    const discrepancies: Discrepancy[] = [];
    for (const rule of rules) {
      const found = there.get(addressOf(rule)) ?? null;
      if (found === null || !isSameRule(rule, found)) discrepancies.push({ rule, found });
    }
    const all = [...there.values()];
    const meters = all.filter(({ kind }) => kind === "meter").length;
    return {
      answer: "read",
      discrepancies,
      packets: 0,
      bytes: 0,
      totalRules: all.length - meters,
      totalMeters: meters,
    };
  }

  unconfirmed() {
    return { count: 0, rules: [] };
  }

  /** How many rules and meters all switches have. */
  get count(): number {
    return [...this.rules.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

/**
 * Switch 1 and 3 are linked over 2 and, dearer, over 4. Switch 5 is alone. Switch 6 is away. Ports 1 to 20 are those of links.
 */
function network(): MemoryFlowStore {
  const switches = [1, 2, 3, 4, 5, 6].map((number) => ({
    switchId: sw(number),
    isConnected: number !== 6,
    address: `10.0.0.${number}:6653`,
    description: "a test switch",
    ports: [{ port: 1, name: "eth1", isUp: true, speedKbps: 1_000_000 }],
  }));
  const link = (one: number, other: number, cost: number, bandwidth?: number) => ({
    ends: { from: sw(one), fromPort: other, to: sw(other), toPort: one },
    cost,
    ...(bandwidth === undefined ? {} : { bandwidth }),
  });
  return new MemoryFlowStore(switches, [link(1, 2, 1), link(2, 3, 1), link(1, 4, 5), link(3, 4, 5)]);
}

/** The document is the same for all servers without access. */
let kept: Promise<ApiDocument> | undefined;
const documentOf = (url: string): Promise<ApiDocument> =>
  (kept ??= fetch(`${url}/openapi.json`).then((reply) => reply.json() as Promise<ApiDocument>));

/** What a test may set. */
export interface SystemOptions {
  readonly controller?: ControllerOptions;
  readonly northbound?: Partial<NorthboundOptions>;
  readonly waits?: Pick<ControllerParts, "defaultWaitMs" | "maxWaitMs">;
}

/** A controller with its HTTP side. */
export async function startRest({
  controller: options = {},
  northbound: more = {},
  waits = {},
}: SystemOptions = {}) {
  const folder = mkdtempSync(join(tmpdir(), "flow-crud-rest-"));
  const controller = createController({ backoffMs: 5, awayAttempts: 2, ...options });
  const store = network();
  const switches = new TestSwitches();
  const engine = createEngine({
    hubs: controller.all,
    workers: controller.workers(store, switches),
    store: new SqliteStore(join(folder, "wheelwork.db"), { durability: "normal" }),
    logger: silentLogger,
  });
  await engine.start();
  const parts = { engine, hubs: controller.hubs, store, logger: silentLogger, ...waits };
  const server = await northbound({
    engine,
    routes: [],
    extra: flowRoutes(parts),
    logger: silentLogger,
    ...more,
  });
  const url = await server.listen({ port: 0, host: "127.0.0.1" });
  onTestFinished(async () => {
    await server.close();
    await engine.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const { access } = more;
  const document = access === undefined ? await documentOf(url) : undefined;

  /** Sends a request over HTTP. The reply must be what the document says. */
  async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        ...(body === undefined && method === "GET" ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = (response.headers.get("content-type") ?? "").includes("json");
    // oxlint-disable-next-line typescript/no-explicit-any
    const json: any = isJson && text !== "" ? JSON.parse(text) : undefined;
    const type = response.headers.get("content-type") ?? "";
    const problem =
      document === undefined || path.startsWith("/requests")
        ? undefined
        : undocumented(document, method, path, { status: response.status, type, json });
    if (problem !== undefined) throw new Error(problem);
    return { status: response.status, headers: response.headers, text, json };
  }
  return { engine, store, switches, server, url, send, hubs: controller.hubs, document };
}

/** A flow from switch 1 to switch 3, as v2 has it. */
export const flowBody = (flowId: string, vlan: number, more: object = {}) => ({
  flow_id: flowId,
  source: { switch_id: sw(1), port_number: 30, vlan_id: vlan },
  destination: { switch_id: sw(3), port_number: 30, vlan_id: vlan },
  maximum_bandwidth: 1000,
  ...more,
});
