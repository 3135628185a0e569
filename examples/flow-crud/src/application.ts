import { mkdirSync } from "node:fs";
import { join } from "node:path";
import {
  createEngine,
  LocalBus,
  SqliteStore,
  systemClock,
  type AnyHub,
  type Bus,
  type Durability,
  type Engine,
  type EngineOptions,
} from "wheelwork";
import { createController, type Controller, type ControllerOptions } from "./controller/controller.ts";
import { SqliteFlowStore } from "./controller/flow-store-sqlite.ts";
import { keepLooks } from "./controller/kept-looks.ts";
import { switchIdOf } from "./controller/model.ts";
import type { FlowStore } from "./controller/store.ts";
import {
  beginBook,
  bookName,
  checkFiles,
  checkJournal,
  checkOriginalBook,
  heldRules,
  noteFiles,
  originalBooks,
} from "./data-folder.ts";
import { Floodlight, type FloodlightOptions } from "./floodlight/floodlight.ts";
import { openNetwork } from "./floodlight/open-network.ts";
import { OpenFlowSwitches, type OpenFlowOptions } from "./floodlight/openflow-switches.ts";
import { SimulatedNetwork } from "./floodlight/simulated-network.ts";
import type { SwitchSpeaker } from "./floodlight/switch-speaker.ts";
import type { Switches } from "./floodlight/switches.ts";
import type { Topology } from "./floodlight/topology.ts";
import { Flows } from "./flows.ts";
import { flowCreateHub, type FlowCreateOptions } from "./hub.ts";
import { defaultSwitches } from "./network.ts";
import { SqliteResourcePool } from "./resources-sqlite.ts";
import { resourceWorkers, type PoolOptions } from "./resources.ts";
import { flowCreateService } from "./service.ts";
import { flowSpokes } from "./spokes.ts";
import { floodlightWorkers } from "./workers.ts";

/** What the application is made of. */
export interface FlowCrudOptions {
  /** The folder of its files; it is made if it is missing. */
  readonly dataDir: string;
  /** Deadlines, attempts and limits of flow-create. */
  readonly flow?: FlowCreateOptions;
  /** Which of the two hubs takes new requests: the chart (default), or the one by handlers. Both finish their runs. */
  readonly style?: "chart" | "handlers";
  /** The switches, and what goes wrong on the way to them. */
  readonly floodlight?: Omit<FloodlightOptions, "durability" | "clock">;
  /** Deadlines and attempts of the operations on flows. */
  readonly controller?: ControllerOptions;
  /** What the simulated network is made of. Default: a ring. Real switches have their own links. */
  readonly topology?: Topology;
  /** Drives real switches instead of simulated ones. */
  readonly network?: Omit<OpenFlowOptions, "path" | "durability" | "clock" | "onProblem">;
  /** Makes the book of rules anew of the flows that are stored, if `rules.db` is lost, and those of `POST /flow` that are lost. */
  readonly rebuildRules?: boolean;
  /** How many meters there are. */
  readonly meters?: PoolOptions["meters"];
  /** Carries the messages between the workers and the switches. Default: a bus within the process. */
  readonly bus?: Bus;
  /** How much a commit waits for the disk, in every file. Default `full`. */
  readonly durability?: Durability;
  /** What the engine takes besides: logger, observer, limits, and in tests the clock. */
  readonly engine?: Omit<EngineOptions, "hubs" | "workers" | "store" | "bus" | "durability">;
}

/** The running application. */
export interface FlowCrud {
  readonly engine: Engine;
  readonly hub: AnyHub;
  readonly floodlight: Floodlight;
  /** The real switches, if it drives some. */
  readonly network: OpenFlowSwitches | undefined;
  readonly flows: Flows;
  /** The hubs of the life of flows, and what they know and drive. */
  readonly controller: Controller;
  readonly flowStore: FlowStore;
  readonly speaker: SwitchSpeaker;
  /** The simulated network; undefined: it drives real switches. */
  readonly simulated: SimulatedNetwork | undefined;
  /** Stops the engine when what is open is committed, and closes the files. Runs go on at the next start. */
  close(): Promise<void>;
}

/** So many requests of `POST /flow` are compared with their book at the start. An older book lacks the newest ones. */
const mostCompared = 1_000;

/** What makes books of rules anew. */
const rebuild = "npm start -- --rebuild-rules";

/** Opens the files of the application, wires its parts, and starts the engine. */
export async function openFlowCrud(options: FlowCrudOptions): Promise<FlowCrud> {
  const { dataDir, flow = {}, meters, bus = new LocalBus(), durability = "full" } = options;
  const { logger, clock, observe } = options.engine ?? {};
  mkdirSync(dataDir, { recursive: true });
  checkFiles(dataDir, { rebuild: options.rebuildRules === true });
  checkJournal(dataDir);
  const parts: { close(): void | Promise<void> }[] = [];
  const keep = <T extends { close(): void | Promise<void> }>(part: T): T => {
    parts.unshift(part);
    return part;
  };
  try {
    // First, since it locks the folder: a second process ends here, before it has touched anything.
    const store = keep(new SqliteStore(join(dataDir, "wheelwork.db"), { durability }));
    const pool = keep(
      new SqliteResourcePool(join(dataDir, "resources.db"), {
        durability,
        ...(meters === undefined ? {} : { meters }),
        ...(clock === undefined ? {} : { soon: clock.soon, wallMs: clock.wallMs }),
      }),
    );
    const onProblem = (problem: string): void => logger?.warn({ part: "floodlight" }, problem);
    const switches = (options.network ?? options.floodlight)?.switches ?? defaultSwitches;
    const flowStore = keep(
      new SqliteFlowStore(join(dataDir, "flows.db"), {
        durability,
        ...(clock === undefined ? {} : { soon: clock.soon, wallMs: clock.wallMs }),
      }),
    );
    const controller = createController(options.controller);
    const simulated =
      options.network === undefined
        ? new SimulatedNetwork({
            topology: options.topology ?? { shape: "ring", switches },
            ...(options.floodlight?.tableSize === undefined
              ? {}
              : { tableSize: options.floodlight.tableSize }),
            ...(clock === undefined ? {} : { clock }),
          })
        : undefined;
    if (simulated !== undefined && (await flowStore.switches()).length === 0)
      await introduce(simulated, flowStore);
    const started = Promise.withResolvers<Engine>();
    const opened = keep(
      await openNetwork({
        path: join(dataDir, bookName),
        switches: simulated === undefined ? { listen: options.network?.listen ?? {} } : { simulated },
        begin: (book) =>
          beginBook(book, flowStore, {
            command: rebuild,
            rebuild: options.rebuildRules === true,
            onRebuilt: onProblem,
          }),
        believed: async () => ({ links: await flowStore.links(), switches: await flowStore.switches() }),
        onEvent: async (event) => {
          await (await started.promise).submit(controller.hubs.handleEvent, { event });
        },
        onProblem,
        durability,
        ...(clock === undefined ? {} : { clock }),
      }),
    );
    const checkOriginal = (name: string, book: Pick<Switches, "countOf">): void =>
      checkOriginalBook(name, book, pool.newestUp(mostCompared), rebuild);
    const rebuilt = (name: string) =>
      options.rebuildRules === true ? heldRules(name, pool.held(), onProblem) : undefined;
    const network =
      options.network === undefined
        ? undefined
        : await OpenFlowSwitches.over(() => Promise.resolve(opened.share()), {
            ...options.network,
            isShared: true,
            path: join(dataDir, originalBooks.real),
            adopts: rebuilt(originalBooks.real),
            begin: (book) => checkOriginal(originalBooks.real, book),
            durability,
            onProblem,
          });
    const floodlight = keep(
      new Floodlight(join(dataDir, originalBooks.simulated), bus, {
        onProblem,
        adopts: network === undefined ? rebuilt(originalBooks.simulated) : undefined,
        ...options.floodlight,
        ...(network === undefined ? {} : { drives: network }),
        durability,
        ...(clock === undefined ? {} : { clock }),
      }),
    );
    if (network === undefined) checkOriginal(originalBooks.simulated, floodlight);
    noteFiles(dataDir);
    const spokes = flowSpokes(flow);
    const chart = flowCreateHub(flow, spokes);
    const service = flowCreateService(flow, spokes);
    const hub: AnyHub = options.style === "handlers" ? service : chart;
    const engine = createEngine({
      ...options.engine,
      hubs: [chart, service, ...controller.all],
      schedules: controller.schedules,
      workers: [
        ...resourceWorkers(spokes, pool, switches),
        ...floodlightWorkers(spokes),
        ...controller.workers(flowStore, opened.speaker),
      ],
      store,
      bus,
      observe: (signal) => {
        const isOriginal =
          signal.name === "answered" && (signal.hub === chart.name || signal.hub === service.name);
        if (isOriginal && signal.answer === "result") {
          // Lost if the process dies now; `catchUp` does it then.
          pool.activate(signal.key).catch(() => {});
        }
        observe?.(signal);
      },
    });
    await engine.start();
    started.resolve(engine);
    const endLooks = keepLooks({
      store: flowStore,
      engine,
      hub: controller.hubs.lookAfterFlows,
      clock: clock ?? systemClock,
      logger,
    });
    const flows = keep(new Flows(engine, pool));
    flows.catchUp().catch((error: unknown) => {
      logger?.warn({ error: String(error) }, "the states of flows could not be caught up with");
    });
    return {
      engine,
      hub,
      floodlight,
      network,
      flows,
      controller,
      flowStore,
      speaker: opened.speaker,
      simulated,
      close: async () => {
        endLooks();
        await engine.stop();
        for (const part of parts.splice(0)) await part.close();
      },
    };
  } catch (error) {
    for (const part of parts) await part.close();
    throw error;
  }
}

/** A simulated network is known from its first start on: nobody waits until its links are found. */
async function introduce({ switchIds, links }: SimulatedNetwork, store: FlowStore): Promise<void> {
  for (const switchId of switchIds)
    await store.note({ kind: "switch", switchId, isConnected: true, address: "", description: "" });
  for (const { between, ports, latencyMs, bandwidth } of links) {
    const [from = "", to = ""] = between.map((number) => switchIdOf(BigInt(number)));
    const [fromPort, toPort] = ports;
    await store.note({
      kind: "link",
      from,
      fromPort,
      to,
      toPort,
      isUp: true,
      latencyMs,
      speedKbps: bandwidth,
    });
  }
}
