import { worker, type Worker } from "wheelwork";
import { defaultSwitches, pathOf } from "./network.ts";
import type { FlowSpokes } from "./spokes.ts";

/** What a flow gets besides its path and its rules. */
export interface Resources {
  readonly cookie: number;
  readonly meter: number;
}

/** For whom resources are, and what is stored with them. */
export interface Wanted {
  readonly request: string;
  readonly flowid: string;
  readonly path: readonly string[];
  readonly rules: number;
}

/** The application's resources: cookies, each given once, and meters, which come back. */
export interface ResourcePool {
  /**
   * Gives a request a cookie and a meter. The same idempotency key gets the same ones again.
   * @returns Or why not: there is no meter left, or the request has released its resources already. Whoever is told that
   * there is none gets none later.
   */
  allocate(key: string, wanted: Wanted): Promise<Resources | "exhausted" | "released">;
  /** Takes back all that a request has; it gets nothing from now on. Whether it had anything. */
  release(request: string, flowid: string): Promise<boolean>;
}

/** What a request has, as far as its rules follow from it. */
export type Held = Pick<Wanted, "request" | "flowid" | "rules">;

/** What every pool can be set to. */
export interface PoolOptions {
  /** How many meters there are. Default 1,000,000. */
  readonly meters?: number;
  /** How long a released request is remembered, in milliseconds. Default 7 days. */
  readonly rememberMs?: number;
}

export const defaults: Required<PoolOptions> = { meters: 1_000_000, rememberMs: 7 * 86_400_000 };

/** The workers of PathComputer, RuleComputer and ResourcePool. */
export function resourceWorkers(
  spokes: FlowSpokes,
  pool: ResourcePool,
  switches = defaultSwitches,
): Worker[] {
  return [
    worker(spokes.computePath, ({ length }) => ({ path: pathOf(length, switches) })),
    worker(spokes.computeRules, ({ length }) => ({ rules: Array.from({ length }, (_, ruleid) => ruleid) })),
    worker(spokes.allocate, async ({ flowid, length, path }, context) => {
      const wanted = { request: context.requestId, flowid, path, rules: length };
      const given = await pool.allocate(context.idempotencyKey, wanted);
      if (given === "exhausted") return context.fail("exhausted", "no meter is left");
      if (given === "released") return context.fail("released", "the request has released its resources");
      return { cookie: given.cookie, meter: given.meter };
    }),
    worker(spokes.release, async ({ flowid }, context) => ({
      released: await pool.release(context.requestId, flowid),
    })),
  ];
}
