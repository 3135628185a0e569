import { WheelworkError } from "@wheelwork/core";
import type { Damaged, DamagedRun, Found } from "./ports.ts";

/*
 * What is damaged in a store harms nobody but those who need that very part. A store gives out a damaged row in its place among the
 * sound ones, as what is left of it, so that no reader can take it for a sound one, and none stops at it.
 *
 *   a run                    is not worked on, and stays as it is. Who asks for it is refused, and gets its answer if there is one. If it
 *                            is the callee of a run that is sound, the call fails.
 *   an answer                is refused to who asks for it. Where it is to be published, a short error is published in its place.
 *   a batch of the journal   after the last checkpoint: it has harmed its runs, and no others (harms.ts). If nobody knows which ones, the
 *                            shard cannot be worked on until an operator gives the batch up. In any case, who reads events from there is
 *                            told so.
 *   a part of a history,     is refused to who asks for it.
 *   commands
 */

/** Whether this is what is left of something that is damaged. */
export const isDamaged = <T extends object>(read: T | (T & Damaged) | Damaged): read is Damaged & T =>
  "damage" in read && read.damage !== undefined;

/** What is told of a damaged part of a store: `place` names it. */
export const damagedPart = (place: string, message: string, cause?: unknown): WheelworkError =>
  new WheelworkError("WW_STORE_CORRUPT", `${place} is damaged in the store: ${message}`, {
    next: "Restore the store from a backup. Check the disk and the memory of the host.",
    ...(cause === undefined ? {} : { cause }),
  });

/** What is damaged, in one line. */
export const placeOf = ({ message }: WheelworkError): string => message.split("\n", 1)[0] ?? "";

/** What is sound. @throws WheelworkError WW_STORE_CORRUPT when it is damaged. */
export function sound<T extends object>(read: T | Damaged): Exclude<T, Damaged> {
  if (isDamaged(read)) throw read.damage;
  return read as Exclude<T, Damaged>;
}

/** Why nobody can say what has become of a request; undefined: it can be said, or there is none. A run that has ended needs no row. */
export function damageOf(found: Found): WheelworkError | undefined {
  const { answer, damagedAnswer, damagedRun = found.missingRun } = found;
  return damagedAnswer?.damage ?? (answer?.endedAt === undefined ? damagedRun?.damage : undefined);
}

/** Whether the run of a damaged row has ended: its answer says all. */
export const hasEnded = ({ createdAt }: DamagedRun, { answer }: Found): boolean =>
  answer?.endedAt !== undefined && answer.createdAt === createdAt;
