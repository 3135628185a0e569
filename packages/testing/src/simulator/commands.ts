import type { CommandResult, Engine } from "@wheelwork/engine";
import { scheduleHub } from "./checker/schedules.ts";
import { seededRandom } from "../random.ts";
import type { PlannedCommand, PlannedScheduleCommand } from "./plans.ts";
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

/** Gives a planned command to a schedule of the system. The result is the key that a trigger is told. */
export async function giveScheduleCommand(
  engine: Engine,
  { id: commandId, kind, seed }: PlannedScheduleCommand,
  wish: NonNullable<OpenedSystem["wish"]>,
): Promise<{ readonly key: string; readonly made: string | undefined }> {
  const { schedule: name, range } = wish(seededRandom(seed));
  const schedule = engine.schedule(name);
  const key = `${scheduleHub}${name}`;
  const made = await (() => {
    switch (kind) {
      case "cancel":
        return engine.cancel(key, { commandId }).then(() => {});
      case "backfill":
        return schedule.backfill(range, { commandId });
      default:
        return schedule[kind]({ commandId });
    }
  })();
  return { key, made: made ?? undefined };
}
