import { WheelworkError } from "@wheelwork/core";
import type { Engine } from "@wheelwork/engine";
import type { SimulatedProcess } from "../../clock.ts";
import type { Stage } from "./stage.ts";

/** A process that one can ask for requests, commands and what is known. */
export interface Askable {
  readonly number: number;
  readonly process: SimulatedProcess;
  readonly engine: Engine;
  /** Settles when it dies. */
  readonly death: Promise<void>;
  /** Whether it can be asked at the moment. */
  readonly able: boolean;
  /** Since when nothing was in its way, in simulated time. */
  readonly wellSince: number;
  /** Whether it takes itself for the owner of a shard. */
  owns(shard: number): boolean;
  /** Whether it has ever been the owner of a shard. */
  hasOwned(shard: number): boolean;
}

/** The processes of a world, for those who ask them. */
export interface Processes {
  /** In the order in which they were started. */
  readonly askable: readonly Askable[];
  /** Whether it has claimed the shard last. */
  isOwner(shard: number, process: Askable): boolean;
}

/** What a process has said. */
export type Said<T> = { readonly value: T } | { readonly code: string; readonly retryable: boolean };

/** For how long one waits for what one has asked, in milliseconds. */
const patienceMs = 12_000;

/** Asks the process that runs now. */
export class Asking {
  readonly #stage: Stage;
  readonly #processes: Processes;

  constructor(stage: Stage, processes: Processes) {
    this.#stage = stage;
    this.#processes = processes;
  }

  /** All that can be asked. */
  get able(): readonly Askable[] {
    return this.#processes.askable.filter(({ able }) => able);
  }

  /** Any that can be asked. */
  any(who: string): Askable | undefined {
    const { able } = this;
    return able[this.#stage.delay(who, Math.max(0, able.length - 1))];
  }

  /** Whether it takes itself for the owner of a shard, and is not. */
  isMistaken(process: Askable, shard: number): boolean {
    return process.owns(shard) && !this.#processes.isOwner(shard, process);
  }

  /** Asks a process; undefined: it has died, or does not answer for long. */
  async ask<T>(process: Askable, question: () => Promise<T>): Promise<Said<T> | undefined> {
    const given = question().then(
      (value) => ({ value }),
      (error: unknown) => {
        if (error instanceof WheelworkError) return { code: error.code, retryable: error.retryable };
        return { code: String(error), retryable: true };
      },
    );
    const first = await Promise.race([given, process.death, this.#stage.wait(patienceMs)]);
    return process.process.alive ? (first ?? undefined) : undefined;
  }

  /** What a question gives in the end; undefined: the process does not tell. */
  async insist<T>(process: Askable, question: () => Promise<T>): Promise<T | undefined> {
    const asked = this.ask(process, question);
    await this.#stage.clock.runUntil(asked, 60_000);
    const given = await asked;
    return given !== undefined && "value" in given ? given.value : undefined;
  }
}
