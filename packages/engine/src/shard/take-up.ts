import { isRunning, type Call, type Run } from "@wheelwork/core/kernel";
import type { WorkerHost } from "../attempts/host.ts";
import type { BusyTurns } from "../ports/clock.ts";
import type { Intake } from "./intake.ts";
import { outcomesIn } from "./items.ts";
import { sortInTurns } from "./sorted.ts";
import type { SuspectTurns } from "./suspect-turns.ts";
import type { Tenure } from "./tenure.ts";

/** What outlives the claim, as far as its runs have to do with it. */
export interface TakeUpOptions {
  readonly host: Pick<WorkerHost, "handOver" | "isHeld" | "adopt">;
  readonly suspects: Pick<SuspectTurns, "begun" | "holds">;
  readonly intake: Pick<Intake, "values">;
  /** The attempts of the claim before go on: only what was decided is read back. */
  readonly goesOn: boolean;
}

/**
 * Takes up what a claim has found open, some of it at a time, before anything is decided: a shard may have a million open calls.
 * Callbacks are registered again, and the open batch gets the attempts that are to be made again. Attempts that go on may end meanwhile:
 * what they report waits in the queue.
 */
export async function takeUp(tenure: Tenure, options: TakeUpOptions, turns: BusyTurns): Promise<void> {
  const { deadlines, decider, pipeline, residency } = tenure;
  const open = new OpenAttempts(options, (key) => residency.get(key)?.run);
  const { attempts } = pipeline.open.effects;
  for (const live of residency.values()) {
    const { run } = live;
    decider.resume(live);
    deadlines.registerRun(run);
    for (const call of run.calls.values()) {
      if (run.status === "running") deadlines.registerCall(call);
      if (isRunning(call) && !call.isHub && !open.has(call) && run.status === "running")
        attempts.push({ call, attempt: call.attempt, anew: true });
      if (turns.tookOne()) await turns.next();
      if (tenure.isOver) return;
    }
    if (turns.tookOne()) await turns.next();
    if (tenure.isOver) return;
  }
  open.endOthers();
  for (const lane of residency.lanes.values()) {
    decider.resumeLane(lane);
    if (turns.tookOne()) await turns.next();
    if (tenure.isOver) return;
  }
  await sortInTurns(attempts, (a, b) => begunAt(a.call) - begunAt(b.call), turns);
}

/** When the present attempt was begun. Earlier versions stored only when it times out, which is much the same within a spoke. */
const begunAt = ({ since, firstDue, due = 0 }: Call): number => since ?? firstDue ?? due;

/** The attempts that need not be made again. */
class OpenAttempts {
  readonly #options: TakeUpOptions;
  readonly #handOver: ReturnType<WorkerHost["handOver"]> | undefined;
  /** Attempts whose outcomes are in the queue. */
  readonly #reported: ReadonlySet<string>;

  constructor(options: TakeUpOptions, find: (key: string) => Run | undefined) {
    this.#options = options;
    const { goesOn, host, intake } = options;
    this.#handOver = goesOn ? host.handOver() : undefined;
    this.#reported = goesOn ? outcomesIn(intake.values(), (key) => find(key)?.createdAt) : new Set();
  }

  /** Whether the attempt of a call is under way, or its outcome comes by itself. */
  has(call: Call): boolean {
    const { host, suspects } = this.#options;
    const found = this.#handOver?.(call);
    if (found === "under-way") {
      if (call.alone) suspects.begun(call);
      else if (host.isHeld(call)) suspects.holds(call);
    }
    if (found !== undefined) return true;
    return this.#reported.has(`${call.run.key} ${call.number} ${call.attempt}`) || host.adopt(call);
  }

  /** Ends those that go on, and that no call is open for. */
  endOthers(): void {
    this.#handOver?.();
  }
}
