import { WheelworkError } from "@wheelwork/core";
import { isDamaged } from "../ports/damage.ts";
import type { AuditBatch, Found, Store } from "../ports/ports.ts";
import { after, each, passing } from "./passing.ts";

/**
 * A store that tells what it finds damaged, whoever reads it: those who need it are told so themselves, and those who look after the
 * store must hear of it, too. What is told may be told again.
 */
export function noticing(store: Store, tell: (damage: WheelworkError) => void): Store {
  const note = <T extends object>(read: T): T => {
    if (isDamaged(read)) tell(read.damage);
    return read;
  };
  const noteFound = (all: readonly Found[]): readonly Found[] => {
    for (const { damagedAnswer, damagedRun, missingRun } of all)
      for (const damaged of [damagedAnswer, damagedRun, missingRun])
        if (damaged !== undefined) tell(damaged.damage);
    return all;
  };
  const noteBatches = (batches: readonly AuditBatch[]): readonly AuditBatch[] => {
    for (const { damage } of batches) if (damage !== undefined) tell(damage);
    return batches;
  };
  const thrown = (error: unknown): never => {
    if (isCorrupt(error)) tell(error);
    throw error;
  };
  return {
    ...passing(store),
    journal: (...asked) => each(store.journal(...asked), note, thrown),
    hotRuns: () => each(store.hotRuns(), note, thrown),
    laneRuns: () => each(store.laneRuns(), note, thrown),
    dueRuns: (...asked) =>
      after(store.dueRuns(...asked), (due) => {
        due.runs.forEach(note);
        return due;
      }),
    find: (...asked) => after(store.find(...asked), noteFound),
    history: (...asked) => each(store.history(...asked), (part) => part, thrown),
    audit: (...asked) => after(store.audit(...asked), noteBatches),
  };
}

const isCorrupt = (error: unknown): error is WheelworkError =>
  error instanceof WheelworkError && error.code === "WW_STORE_CORRUPT";
