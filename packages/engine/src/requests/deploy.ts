import { WheelworkError } from "@wheelwork/core";
import { Run } from "@wheelwork/core/kernel";
import { randomUUID } from "node:crypto";
import { scheduleHubName, scheduleKey } from "../ports/keys.ts";
import type { Clock, Logger } from "../ports/ports.ts";
import { retrying, type RetryPolicy } from "../ports/retry.ts";
import { isDeployed, type ScheduleCommand, type ScheduleData } from "../schedules/hub.ts";
import type { Schedule } from "../schedules/schedule.ts";
import type { RequestItem } from "../shard/items.ts";
import type { Shard } from "../shard/shard.ts";

const deploying: RetryPolicy = { minMs: 100, maxMs: 5000 };
/** So many are deployed side by side. */
const atOnce = 100;

/**
 * Sees to it that each schedule has its run, and that the run knows when the schedule ticks now. It goes on beside the work of the shard,
 * and tries again until it is done or the shard has ended: the next claim does it anew.
 */
export function deploy(shard: Shard, schedules: readonly Schedule[], clock: Clock, logger: Logger): void {
  const end = new AbortController();
  const left = new Set(schedules);
  const task = async (): Promise<void> => {
    if (shard.status === "stopping" || shard.status === "stopped") return end.abort();
    // One that fails holds up no other one, and what is done is not done again.
    const failures: unknown[] = [];
    const all = [...left];
    for (let from = 0; from < all.length; from += atOnce) {
      const some = all.slice(from, from + atOnce).map((one) =>
        deployOne(shard, one, logger).then(
          () => void left.delete(one),
          (error: unknown) => void failures.push(error),
        ),
      );
      await Promise.all(some);
    }
    if (failures.length > 0) throw failures[0];
  };
  const onFailure = (error: unknown): void =>
    logger.warn({ error: String(error) }, "the schedules could not be deployed yet");
  void retrying(clock, deploying, task, { signal: end.signal, onFailure });
}

async function deployOne(shard: Shard, { name, stored, version }: Schedule, logger: Logger): Promise<void> {
  const key = scheduleKey(name);
  const at = shard.now();
  const known = await shard.committed.lookUp(key);
  if (known !== undefined && known.hub !== scheduleHubName)
    throw new WheelworkError("WW_KEY_REUSED", `the request ${key} has the key of the schedule ${name}`, {
      next: "Rename the schedule.",
    });
  if (known instanceof Run) {
    const data = known.data as ScheduleData;
    if (known.state === "Waiting" && isDeployed(data, stored, version)) return;
    if (version < (data.version ?? 1))
      logger.warn(
        { schedule: name, version, deployed: data.version },
        "a later version of the schedule is deployed, and it ticks as that one says",
      );
    const command: ScheduleCommand = { name: "deploy", payload: { stored, at, version } };
    await shard.command(key, {
      kind: "signal",
      id: randomUUID(),
      signal: command.name,
      payload: command.payload,
    });
    return;
  }
  await new Promise<void>((resolve, reject) => {
    const item: RequestItem = {
      kind: "request",
      key,
      hub: scheduleHubName,
      request: { name, stored, version, since: at, last: at },
      hash: "",
      isSame: () => true,
      fresh: false,
      isOwed: true,
      isRecord: true,
      accept: () => resolve(),
      refuse: reject,
    };
    const refusal = shard.request(item, () => item);
    if (refusal !== undefined) reject(refusal);
  });
}
