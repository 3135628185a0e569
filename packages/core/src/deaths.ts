import { WheelworkError } from "./errors.ts";
import type { Call } from "./run.ts";

/*
 * A worker may end its process: it calls `process.exit`, blocks until a watchdog kills it, or takes all the memory. The
 * next process makes its attempt again, and dies of it again. An exception in a worker is an outcome, but nobody is left
 * to report this one. So the owner of a shard counts, at each claim, the deaths of the process with an attempt under way.
 *
 *   deaths      what happens to the attempt
 *   0 or 1      it is begun with all others: the process may have died of anything
 *   2           it is a suspect: suspects are begun one after the other
 *   3, 4        the same, after all suspects with fewer deaths
 *   5           its run is parked as an incident, if it was the only suspect under way
 *
 * A suspect whose process lives until its end is cleared. So those that were under way by chance go on after a while, and
 * only the one that the process dies of is left. An end of any kind, a failure too, sets the count of a call to zero.
 * Nothing is written while an attempt runs: only a claim writes (`died`), and the beginning of a suspect (`alone`), since
 * the next claim must know which suspect was under way.
 */

/** From so many deaths on, an attempt is a suspect. */
export const suspectDeaths = 2;
/** A lone suspect is parked at so many deaths. */
export const maxDeaths = 5;

/** Whether the present attempt of a call must be begun alone, and is not yet. */
export function isSuspect({ deaths, alone }: Pick<Call, "deaths" | "alone">): boolean {
  return deaths >= suspectDeaths && !alone;
}

/** Why the run of a lone suspect is parked. */
export function workerDied({ callee, number, attempt }: Call, deaths: number): WheelworkError {
  return new WheelworkError(
    "WW_WORKER_DIED",
    `the process has ended ${deaths} times while the worker of ${callee} made attempt ${attempt} of call ${number}`,
    {
      next: "Look why the process ended: an exit, a crash, the memory, or somebody who killed it. Correct the worker or its input. Then retry the incident.",
    },
  );
}
