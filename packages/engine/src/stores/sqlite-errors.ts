import { WheelworkError } from "@wheelwork/core";

// What errors of SQLite mean.

export const fenced = (): WheelworkError =>
  new WheelworkError("WW_STORE_LOCKED", "another owner has taken over the store", {
    next: "Stop this process, or the other one.",
  });

const codeOf = (error: unknown): number => (error as { errcode?: number } | undefined)?.errcode ?? 0;

/** SQLITE_TOOBIG, SQLITE_MISMATCH. */
const contentErrors = new Set([18, 20]);

/** Whether SQLite never takes the values. */
export const isOfContent = (error: unknown): boolean => contentErrors.has(codeOf(error));

/** SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN, also in their extended forms. */
const diskErrors = new Set([5, 6, 10, 13, 14]);

/** Whether it may go better later, or on another disk. */
export const isOfDisk = (error: unknown): boolean => diskErrors.has(codeOf(error) & 0xff);

export const isReadOnly = (error: unknown): boolean => /readonly/i.test(String(error));
