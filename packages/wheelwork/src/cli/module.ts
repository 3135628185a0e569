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
  const { hubs, workers } = loaded.default ?? {};
  if (hubs === undefined || workers === undefined) {
    throw new WheelworkError("WW_CONFIG", `${module} has no default export with hubs and workers`, {
      next: "Export them: export default { hubs: [...], workers: [...] }.",
    });
  }
  return { ...loaded.default, hubs, workers };
}
