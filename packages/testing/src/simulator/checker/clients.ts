import type { Answer, RunEvent } from "@wheelwork/core";
import { isDeepStrictEqual } from "node:util";
import type { TraceEntry } from "../trace.ts";
import type { Evidence } from "./evidence.ts";
import { archivedIn, isBeginningOf, toldIn } from "./histories.ts";
import { plain } from "./model.ts";
import { scheduleHub } from "./schedules.ts";
import type { Ownership } from "./ownership.ts";

/** The first event of a run. */
type Begun = RunEvent & { readonly type: "started" | "accepted" };

/** What clients, operators and observers are told: one answer each (I5), and only what is committed (I9). */
export class ClientChecks {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  readonly #accepted = new Set<string>();
  readonly #told = new Map<string, Answer>();
  /** How often each request was sent, without what was refused for good at that moment: nothing of it is left. */
  readonly #sent = new Map<string, number>();

  constructor(evidence: Evidence, ownership: Ownership) {
    this.#evidence = evidence;
    this.#ownership = ownership;
  }

  /** A key is a new request: it may have been purged, and sent again. */
  started(key: string): void {
    this.#told.delete(key);
    const sent = this.#sent.get(key);
    if (sent === undefined) return;
    this.#demand("admission", sent > 0, () => `${key} begins, though it was refused and not sent again`);
  }

  take(entry: TraceEntry): void {
    const { runs } = this.#evidence;
    switch (entry.type) {
      case "submitted":
        return void this.#sent.set(entry.key, (this.#sent.get(entry.key) ?? 0) + 1);
      case "accepted":
        this.#accepted.add(entry.key);
        return this.#demand(
          "I9",
          runs.has(entry.key),
          () => `${entry.key} is accepted before it is committed`,
        );
      case "told":
        return this.#tell(entry.key, entry.answer);
      case "refused":
        if (entry.code === "WW_OVERLOADED") this.#overloaded(entry.key);
        return this.#demand(
          "I5",
          entry.retryable ||
            (entry.code === "WW_STORE_REFUSED" && this.#evidence.refused.has(entry.key)) ||
            (entry.code === "WW_NOT_FOUND" && this.#evidence.isPurged(entry.key)),
          () => `${entry.key} is refused with ${entry.code}, though it was sent as it should be`,
        );
      case "gave-up": {
        const run = runs.get(entry.key);
        const { owner } = this.#ownership;
        const waits =
          entry.node === owner && run?.answer !== undefined && this.#ownership.hadTime(run.answeredAt);
        return this.#demand(
          "I5",
          !waits,
          () => `${entry.key} has its answer, and who waits for it is not told`,
        );
      }
      case "commanded":
        if (entry.kind !== "signal" || entry.result !== "accepted") return;
        return this.#demand(
          "I9",
          this.#hasSignal(entry.key, entry.id),
          () => `the signal ${entry.id} to ${entry.key} is accepted, and is not there`,
        );
      case "view":
        return this.#view(entry);
      case "listed":
        return this.#list(entry);
      case "outside":
        return this.#demand("outside", false, () => entry.problem);
      default:
    }
  }

  /** Nothing will happen any more. */
  end(problem: string | undefined): void {
    this.#demand("I6", problem === undefined, () => `it never comes to rest: ${problem}`);
    if (problem !== undefined) return;
    for (const run of this.#evidence.runs.values())
      if (run.hub !== scheduleHub)
        this.#demand(
          "I12",
          run.status === "ended",
          () => `${run.key} is still ${run.status} in ${run.state}`,
        );
    for (const key of this.#accepted)
      this.#demand(
        "I5",
        this.#told.has(key) || this.#evidence.isPurged(key),
        () => `${key} was accepted, and has no answer`,
      );
  }

  #demand(invariant: string, holds: boolean, message: () => string): void {
    this.#evidence.demand(invariant, holds, message);
  }

  /** An engine that takes no new requests goes on with those that it has. */
  #overloaded(key: string): void {
    this.#sent.set(key, (this.#sent.get(key) ?? 0) - 1);
    const run = this.#evidence.runs.get(key);
    this.#demand(
      "admission",
      run === undefined || run.status === "ended",
      () => `${key} is refused as too much, though it is under way`,
    );
  }

  /** Whether a signal has come to a run, or is kept by it. A run forgets ids with time, and its history does not. */
  #hasSignal(key: string, id: string): boolean {
    const run = this.#evidence.runs.get(key);
    if (run?.commands.has(`signal ${id}`) === true) return true;
    return run?.events.some((event) => event.type === "signalled" && event.id === id) === true;
  }

  #tell(key: string, answer: Answer): void {
    const committed = this.#evidence.runs.get(key)?.answer;
    this.#demand(
      "I9",
      isDeepStrictEqual(plain(answer), committed),
      () => `${key} is told ${JSON.stringify(answer)}; committed is ${JSON.stringify(committed)}`,
    );
    const first = this.#told.get(key) ?? answer;
    this.#demand("I5", isDeepStrictEqual(first, answer), () => `${key} is told two answers`);
    this.#told.set(key, first);
  }

  #view({ key, status, answer, history }: TraceEntry & { type: "view" }): void {
    const run = this.#evidence.runs.get(key);
    this.#demand(
      "I5",
      status === "ended" && isDeepStrictEqual(answer, run?.answer),
      () => `${key} is shown as ${status} with another answer than was committed`,
    );
    this.#demand(
      "I9",
      isBeginningOf(plain(history), run?.events ?? []) && toldIn(history) === run?.events.length,
      () => `the history of ${key} is not what was committed`,
    );
    const archived = archivedIn(history);
    if (archived === undefined) return;
    const { at, aheadMs, system } = this.#evidence;
    const ageMs = at + aheadMs - archived.at;
    this.#demand(
      "I9",
      this.#ownership.hasJumped || ageMs + system.lagMs >= system.historyRetentionMs,
      () => `events of ${key} are archived ${ageMs} ms after they happened`,
    );
  }

  #list({ keys, count, liveRuns, openAttempts }: TraceEntry & { type: "listed" }): void {
    // A run of a hub that was told something is listed, too.
    const isCall = ({ parent, caller }: Begun): boolean => parent !== undefined || caller !== undefined;
    const roots = [...this.#evidence.runs.values()]
      .filter(
        ({ events, hub }) => !hub.startsWith("tell:") && hub !== scheduleHub && !isCall(events[0] as Begun),
      )
      .map(({ key }) => key);
    const listed = new Set(keys);
    this.#demand(
      "I5",
      listed.size === keys.length &&
        keys.every((key) => roots.includes(key)) &&
        roots.every((key) => listed.has(key) || this.#evidence.isPurged(key)),
      () => `the list has ${keys.join(", ")}, and not ${roots.join(", ")}`,
    );
    this.#demand(
      "I5",
      count === keys.length,
      () => `${count} requests are counted, and ${keys.length} listed`,
    );
    this.#demand(
      "I12",
      liveRuns === 0 && openAttempts === 0,
      () => `in the end ${liveRuns} runs and ${openAttempts} attempts are in memory`,
    );
  }
}
