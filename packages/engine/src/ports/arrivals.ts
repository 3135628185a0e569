import { setImmediate } from "node:timers/promises";

let count = 0;

/** Tells the engines of this process that a server has accepted a connection. */
export function connectionAccepted(): void {
  count++;
}

/** How many connections servers of this process have accepted. */
export const acceptedConnections = (): number => count;

/** How long work that takes long waits at most for connections that come one after the other, in milliseconds. */
const maxYieldMs = 50;

/**
 * Resolves in a later turn of the event loop, once the connections that wait are accepted. Node accepts one in each turn, so work that
 * takes long and comes again in each turn would keep them waiting. After 50 ms it resolves anyway.
 */
export async function afterArrivals(): Promise<void> {
  const until = performance.now() + maxYieldMs;
  let before: number;
  do {
    before = count;
    await setImmediate();
  } while (count !== before && performance.now() < until);
}
