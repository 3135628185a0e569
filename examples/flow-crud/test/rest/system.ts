import { northbound, type NorthboundOptions } from "@wheelwork/northbound";
import { postgresStore } from "@wheelwork/postgres";
import { waitUntil } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { createEngine, silentLogger, SqliteStore, type Store } from "wheelwork";
import type { BookedFlowStore } from "../../src/controller/booked-flow-store.ts";
import { createController, type ControllerOptions } from "../../src/controller/controller.ts";
import { giveDefects } from "../../src/controller/defects.ts";
import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { switchIdOf } from "../../src/controller/model.ts";
import type { Speaker, SpeakerAnswer, SpeakerCommand } from "../../src/controller/speaker.ts";
import type { NetworkEvent } from "../../src/controller/store.ts";
import { portTo } from "../../src/network.ts";
import { flowRoutes, type ControllerParts } from "../../src/rest/rest.ts";
import { links, RealGround, SimulatedGround, type Ground } from "./grounds.ts";
import { undocumented, type ApiDocument } from "./document.ts";

export const sw = (number: number): string => switchIdOf(BigInt(number));

/** Holds commands to a switch back for as long as a test looks at what is under way. */
class Gate implements Speaker {
  readonly #speaker: Speaker;
  readonly #held = new Map<
    string,
    PromiseWithResolvers<void> & { readonly reached: PromiseWithResolvers<void> }
  >();

  constructor(speaker: Speaker) {
    this.#speaker = speaker;
  }

  /** The next commands to a switch wait. */
  hold(switchId: string): void {
    this.#held.set(switchId, { ...Promise.withResolvers<void>(), reached: Promise.withResolvers() });
  }

  /** Resolves when a command waits for a switch. */
  reached(switchId: string): Promise<void> | undefined {
    return this.#held.get(switchId)?.reached.promise;
  }

  release(switchId: string): void {
    this.#held.get(switchId)?.resolve();
    this.#held.delete(switchId);
  }

  async execute(command: SpeakerCommand): Promise<SpeakerAnswer | undefined> {
    const held = this.#held.get(command.switchId);
    held?.reached.resolve();
    await held?.promise;
    return this.#speaker.execute(command);
  }

  unconfirmed(limit: number) {
    return this.#speaker.unconfirmed(limit);
  }
}

/** Both directions of a link between two switches. */
const linkBetween = (one: number, other: number) => ({
  from: sw(one),
  fromPort: portTo(other),
  to: sw(other),
  toPort: portTo(one),
});

/** What a test may set. */
export interface SystemOptions {
  readonly controller?: ControllerOptions;
  /** While it says so, the handlers of operations throw, and their runs are parked. */
  readonly isDefective?: () => boolean;
  readonly northbound?: Partial<NorthboundOptions>;
  readonly waits?: Pick<ControllerParts, "defaultWaitMs" | "maxWaitMs">;
  /** Real switches instead of simulated ones. */
  readonly isReal?: boolean;
  /** A database of PostgreSQL for the flows and the runs of their operations. Default: that of `onPostgres`, or else files. */
  readonly database?: { readonly url: string } | undefined;
}

let usual: (() => NonNullable<SystemOptions["database"]>) | undefined;
let systems = 0;

/** All systems of this test file that say nothing else are on PostgreSQL, each in schemas of its own. */
export function onPostgres(database: () => NonNullable<SystemOptions["database"]>): void {
  usual = database;
}

/** Where another process finds a store of flows. */
export type StorePlace = { readonly path: string } | { readonly url: string; readonly schema: string };

/** Where flows and runs are stored. */
function storesOf(
  database: SystemOptions["database"],
  folder: string,
): { flows: BookedFlowStore; place: StorePlace; runs: Store } {
  if (database === undefined) {
    const path = join(folder, "flows.db");
    return {
      flows: new SqliteFlowStore(path, { durability: "normal" }),
      place: { path },
      runs: new SqliteStore(join(folder, "wheelwork.db"), { durability: "normal" }),
    };
  }
  const { url } = database;
  const number = ++systems;
  const schema = `flows_${number}`;
  return {
    flows: new PostgresFlowStore(url, { schema }),
    place: { url, schema },
    runs: postgresStore({ connectionString: url, schema: `runs_${number}` }),
  };
}

/** The document is the same for all servers without access. */
let kept: Promise<ApiDocument> | undefined;
const documentOf = (url: string): Promise<ApiDocument> =>
  (kept ??= fetch(`${url}/openapi.json`).then((reply) => reply.json() as Promise<ApiDocument>));

/**
 * A controller with its HTTP side, on simulated switches or on real ones: switches 1 and 3 are linked over 2 and, dearer, over 4. Switch 5 is alone. Switch 6
 * is away. Port 100 + j of switch i leads to switch j; ports 1 to 20 are for hosts.
 */
export async function startRest({
  controller: options = {},
  northbound: more = {},
  waits = {},
  isReal = false,
  isDefective,
  database,
}: SystemOptions = {}) {
  const folder = mkdtempSync(join(tmpdir(), "flow-crud-rest-"));
  const ground: Ground = await (isReal ? RealGround.start() : SimulatedGround.start());
  const { speaker } = ground;
  const { flows: store, place, runs } = storesOf(database ?? usual?.(), folder);
  const controller = createController({ backoffMs: 5, awayAttempts: 2, ...options });
  if (isDefective !== undefined) {
    const { create, update, delete: remove, reroute, restore, swap, sync } = controller.hubs;
    giveDefects([create, update, remove, reroute, restore, swap, sync], isDefective);
  }
  const gate = new Gate(speaker);
  const engine = createEngine({
    hubs: controller.all,
    workers: controller.workers(store, gate),
    store: runs,
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
    await ground.close();
    await store.close();
    await runs.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const switchEvent = (number: number, isConnected: boolean): NetworkEvent => ({
    kind: "switch",
    switchId: sw(number),
    isConnected,
    address: `10.0.0.${number}:6653`,
    description: "a test switch",
    ports: Array.from({ length: 20 }, (_, index) => ({
      port: index + 1,
      name: `eth${index + 1}`,
      isUp: true,
      speedKbps: 1_000_000,
    })),
  });
  for (let number = 1; number <= 6; number++) await store.note(switchEvent(number, number !== 6));
  for (const { between, cost } of links) {
    const link = linkBetween(between[0], between[1]);
    await store.note({ kind: "link", ...link, isUp: true, latencyMs: 2, speedKbps: 1_000_000 });
    await store.changeLink(link, { cost });
  }
  await waitUntil(() => speaker.connected.length === ground.connected, 60_000);

  /** The runs that a run has started, when all of them have ended. */
  async function startedBy(id: string): Promise<readonly string[]> {
    const hub = ["restore-flows", "restore-flow"];
    const keys = (await engine.history(id)).flatMap((event) =>
      event.type === "posted" && event.post.kind === "start" && hub.includes(event.post.hub)
        ? [event.post.key ?? ""]
        : [],
    );
    let ended: readonly string[] = [];
    await waitUntil(async () => {
      const { items } = await engine.requests({ hub, status: "ended", limit: 1000 });
      // A request in a lane has the mark of the lane behind its key.
      ended = items.map((row) => row.id).filter((one) => keys.includes(one.replace(/@~[0-9a-f]{16}$/, "")));
      return ended.length === keys.length;
    }, 20_000);
    return ended;
  }

  /** Something happens in the network: it is noted, and the flows that it concerns are rerouted. */
  async function tell(event: NetworkEvent): Promise<void> {
    const { id } = await engine.submit(controller.hubs.handleEvent, { event });
    await engine.answer(id);
    for (const restores of await startedBy(id)) await startedBy(restores);
  }

  const switches = {
    hold: (number: number) => gate.hold(sw(number)),
    reached: (number: number) => gate.reached(sw(number)),
    release: (number: number) => gate.release(sw(number)),
    /** A switch loses its connection, and keeps its rules. */
    away: async (number: number): Promise<void> => {
      await ground.off(number);
      await waitUntil(() => !speaker.connected.includes(sw(number)), 60_000);
    },
    /** It is there again, and has what it should have. */
    back: async (number: number): Promise<void> => {
      await ground.on(number);
      await waitUntil(() => speaker.connected.includes(sw(number)), 60_000);
    },
    /** A switch takes no more rules than it has, or takes them again. */
    refuse: (number: number, isFull = true) => ground.limit(number, isFull ? 0 : 10_000),
    takeRules: (number: number, inPort: number) => ground.takeRules(number, inPort),
    count: () => ground.count(),
  };

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
    const type = response.headers.get("content-type") ?? "";
    // oxlint-disable-next-line typescript/no-explicit-any
    const json: any = type.includes("json") && text !== "" ? JSON.parse(text) : undefined;
    const problem =
      document === undefined
        ? undefined
        : undocumented(document, method, path, { status: response.status, type, json });
    if (problem !== undefined) throw new Error(problem);
    return { status: response.status, headers: response.headers, text, json };
  }
  return {
    engine,
    store,
    place,
    network: ground,
    switches,
    server,
    url,
    send,
    tell,
    hubs: controller.hubs,
    document,
  };
}

/** A link between two switches is there, or is not. */
export const linkEvent = (one: number, other: number, isUp: boolean): NetworkEvent => ({
  kind: "link",
  ...linkBetween(one, other),
  isUp,
});

/** A flow from switch 1 to switch 3, as v2 has it. */
export const flowBody = (flowId: string, vlan: number, more: object = {}) => ({
  flow_id: flowId,
  source: { switch_id: sw(1), port_number: 10, vlan_id: vlan },
  destination: { switch_id: sw(3), port_number: 10, vlan_id: vlan },
  maximum_bandwidth: 1000,
  ...more,
});
