import { WheelworkError } from "@wheelwork/core";
import type { NodeOptions } from "@wheelwork/engine/cluster";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

/** What the module of a node, or of `dev`, exports. @throws WheelworkError WW_CONFIG. */
export async function loadModule(
  module: string,
): Promise<Partial<NodeOptions> & Pick<NodeOptions, "hubs" | "workers">> {
  const loaded = (await import(pathToFileURL(resolve(module)).href)) as {
    readonly default?: Partial<NodeOptions>;
  };
  // A module that also runs on Storm may say there how what its workers use is closed.
  const { close: _close, ...options } = (loaded.default ?? {}) as Partial<NodeOptions> & { close?: unknown };
  const { hubs, workers } = options;
  if (hubs === undefined || workers === undefined) {
    throw new WheelworkError("WW_CONFIG", `${module} has no default export with hubs and workers`, {
      next: "Export them: export default { hubs: [...], workers: [...] }.",
    });
  }
  return { ...options, hubs, workers };
}
