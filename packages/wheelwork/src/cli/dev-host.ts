import { WheelworkError } from "@wheelwork/core";
import { createEngine, createMetrics, type Engine, type EngineOptions } from "@wheelwork/engine";
import { checkWorkers, collectHubs, standingRuns, unfitRuns } from "@wheelwork/engine/parts";
import { mkdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { dirname } from "node:path";
import type { Ask, Asked, Serving, Told } from "./dev-messages.ts";
import { loadModule } from "./module.ts";
import { needed } from "./place.ts";

// A process that hosts one version of a module for `wheelwork dev`. Modules cannot be unloaded, so that each version has a process of
// its own. It does as its parent asks, and ends with it.

/** How long attempts may go on when another version takes over, in milliseconds. Then that one makes them again. */
const drainMs = 1000;

type Module = Awaited<ReturnType<typeof loadModule>>;

let loaded: { readonly module: Module; readonly store: string } | undefined = undefined;
let running: { readonly engine: Engine; close(): Promise<void> } | undefined = undefined;

function demanded<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the host was asked in the wrong order");
  return value;
}

async function answer(ask: Ask): Promise<unknown> {
  switch (ask.do) {
    case "load": {
      const module = await loadModule(ask.module);
      checkWorkers(collectHubs(module.hubs, module.schedules), module.workers);
      loaded = { module, store: ask.store };
      return undefined;
    }
    case "standing":
      return standingRuns(demanded(running).engine);
    case "fits": {
      const { hubs, schedules } = demanded(loaded).module;
      return unfitRuns(collectHubs(hubs, schedules), ask.standing);
    }
    case "start":
      return start(demanded(loaded));
    case "release":
      await running?.close();
      running = undefined;
      return undefined;
  }
}

async function start({ module, store }: NonNullable<typeof loaded>): Promise<Serving> {
  const { northbound } = await needed("@wheelwork/northbound", () => import("@wheelwork/northbound"));
  const { hubs, workers, schedules } = module;
  mkdirSync(dirname(store), { recursive: true });
  const metrics = createMetrics();
  const options: EngineOptions = {
    hubs,
    workers,
    ...(schedules === undefined ? {} : { schedules }),
    store,
    observe: metrics.observe,
    onFailure: () => process.exit(1),
  };
  const engine = createEngine(options);
  await engine.start();
  try {
    const routes = hubs.map((hub) => ({
      method: "POST" as const,
      path: `/${encodeURIComponent(hub.name)}`,
      hub,
    }));
    const app = await northbound({ engine, routes, metrics });
    await app.listen({ host: "127.0.0.1", port: 0 });
    const close = async (): Promise<void> => {
      await app.close();
      await engine.stop({ drainMs });
    };
    running = { engine, close };
    const { port } = app.server.address() as AddressInfo;
    return { port, hubs: routes.map(({ hub: { name }, path }) => ({ name, path })) };
  } catch (error) {
    await engine.stop();
    throw error;
  }
}

const textOf = (error: unknown): string => {
  if (error instanceof WheelworkError) return error.message;
  // A module that does not compile: the stack begins with the place.
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
};

process.on("message", ({ number, ask }: Asked) => {
  const tell = (told: Told): void => void process.send?.(told);
  answer(ask).then(
    (value) => tell({ number, value }),
    (error: unknown) => tell({ number, failed: textOf(error) }),
  );
});

// Ctrl+C comes to the parent as well, which ends this process in good order.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("disconnect", () => {
  const ended = running?.close() ?? Promise.resolve();
  ended.then(
    () => process.exit(0),
    () => process.exit(1),
  );
});
