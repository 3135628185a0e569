import type { CommandResult, Engine } from "@wheelwork/engine";
import { seededRandom } from "../random.ts";
import type { PlannedCommand } from "./plans.ts";
import type { OpenedSystem } from "./systems.ts";

/** Gives a planned command, for a request, to an engine. */
export function giveCommand(
  engine: Engine,
  { id: commandId, kind, seed }: PlannedCommand,
  key: string,
  system: OpenedSystem,
): Promise<CommandResult> {
  switch (kind) {
    case "cancel":
      return engine.cancel(key, { commandId });
    case "retry":
      return engine.retry(key, { commandId });
    case "resolve":
      return engine.resolve(key, "as the operator says", { commandId });
    case "signal": {
      const signal = system.signal?.(seededRandom(seed));
      if (signal === undefined) return Promise.resolve("ended");
      return engine.signal(key, signal.name, signal.payload, { commandId });
    }
  }
}
