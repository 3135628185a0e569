import type { Answer, AnyHub, RunEvent } from "@wheelwork/core";
import type { Bus, Clock, Schedule, Worker } from "@wheelwork/engine";
import { SimulatedClock } from "../clock.ts";
import type { SeededRandom } from "../random.ts";
import { drawFor } from "./plans.ts";

/** What surrounds the engine of a simulation: it outlives each of its processes. */
export interface Outside {
  readonly clock: Clock;
  /** The other end of the network: what the workers' relays talk to. */
  readonly bus: Bus;
  /** The same numbers for the same seed; draw from it only while the system is opened. */
  readonly random: SeededRandom;
  /** Whether a defect is deployed at the moment: handlers that ask for it should throw then. */
  readonly defective: () => boolean;
}

/** A request that has come to its end. */
export interface EndedRequest {
  readonly key: string;
  readonly hub: string;
  readonly request: unknown;
  readonly answer: Answer;
  readonly history: readonly RunEvent[];
}

/** What an operator wants of a schedule. */
export interface ScheduleWish {
  readonly schedule: string;
  /** The ticks to fill in, if they are asked for: in milliseconds since 1970. */
  readonly range: { readonly from: number; readonly to: number };
}

/** A system in a simulation. */
export interface OpenedSystem {
  readonly hubs: readonly AnyHub[];
  /** Requests at certain times, besides those of clients: the schedules of each version of the program, as `upgraded`, from 1. */
  schedules?(version: number): readonly Schedule[];
  /** Draws what an operator wants of a schedule; absent: it has none. */
  wish?(random: SeededRandom): ScheduleWish;
  /** The key of a request that comes through a channel, made of one that no other has; default: that one. */
  readonly key?: (key: string) => string;
  /**
   * The same hubs as of a later version of the program: 2, 3, … with each upgrade. Their charts must be the same. Absent:
   * there is one version.
   */
  upgraded?(version: number): readonly AnyHub[];
  /** The workers of one process. They may be slow, silent and so on by themselves, too; time is that of `Outside`. */
  workers(): readonly Worker[];
  /** Draws a request. */
  request(random: SeededRandom): { readonly hub: AnyHub; readonly request: unknown };
  /** Draws a signal; absent: its hubs take none. */
  signal?(random: SeededRandom): { readonly name: string; readonly payload: unknown };
  /** Looks at the world outside when all has come to rest; what is wrong with it, in sentences. */
  check?(requests: readonly EndedRequest[]): readonly string[] | Promise<readonly string[]>;
}

/** A system that can be simulated: its hubs, its workers, and the world that they act on. */
export interface SimulatedSystem {
  readonly name: string;
  /** The time in which its hubs do their work, in milliseconds. */
  readonly scaleMs: number;
  /** The errors that its spokes declare come from its own workers only; default: attempts fail with them by chance, too. */
  readonly honest?: boolean;
  /**
   * Its requests are of a size that matters, and what a batch takes of several of them must not be longer together, in characters of
   * JSON. Absent: nobody weighs them.
   */
  readonly maxBatchBytes?: number;
  /** What the wall clock shows when a simulation begins, in milliseconds since 1970. Absent: the beginning of 2026. */
  beginsAt?(random: SeededRandom): number;
  /** Makes it anew, for one simulation. */
  open(outside: Outside): OpenedSystem;
}

/** The clock of a simulation of the system. */
export function clockOf(system: SimulatedSystem, seed: number): SimulatedClock {
  const wallMs = system.beginsAt?.(drawFor(seed, "begins"));
  return new SimulatedClock(wallMs === undefined ? {} : { wallMs });
}
