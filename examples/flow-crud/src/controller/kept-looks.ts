import type { AnyHub, Clock, Engine, Logger } from "wheelwork";
import type { FlowStore } from "./store.ts";

/** How often somebody looks whether a look is owed, in milliseconds. */
const everyMs = 10_000;

/** What is needed to keep looks. */
export interface KeptLooksOptions {
  readonly store: Pick<FlowStore, "counts" | "promiseLook">;
  readonly engine: Pick<Engine, "submit">;
  /** The hub that looks after flows. */
  readonly hub: Pick<AnyHub, "name">;
  readonly clock: Pick<Clock, "after">;
  readonly logger?: Logger | undefined;
}

/**
 * Sees to it that a look comes that somebody has promised and does not keep: his process has died, an operator has ended his run, or the engine
 * took no request. What is owed needs no note of its own, which could be lost or forgotten: it follows from the flows that wait, which are
 * stored, and from what was looked at, which this process knows. Who begins anew has looked at nothing, so it looks at once.
 * @returns What ends it.
 */
export function keepLooks({ store, engine, hub, clock, logger }: KeptLooksOptions): () => void {
  let isEnded = false;
  let cancel = (): void => {};
  const look = async (): Promise<void> => {
    try {
      // Others may have given something back: only who reads knows of it.
      await store.counts();
      if (!isEnded && store.promiseLook("whoever keeps looks")) await engine.submit(hub.name, {});
    } catch (error) {
      logger?.debug({ error: String(error) }, "flows that wait for something are looked at later");
    }
    if (!isEnded) cancel = clock.after(everyMs, () => void look());
  };
  void look();
  return () => {
    isEnded = true;
    cancel();
  };
}
