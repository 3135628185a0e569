import { statSync } from "node:fs";
import { join } from "node:path";
import { WheelworkError } from "wheelwork";

/** What the files of a data folder say of their past. */
export interface FolderMarks {
  /** The version of the last plan of the store of flows; 0: it has never planned. */
  readonly lastPlan: number;
  /** Whether a flow has a path, and so rules on switches. */
  readonly hasPaths: boolean;
  /** The number of the last command in the book of rules; 0: none is noted. */
  readonly lastCommand: number;
}

const isNew = (path: string): boolean => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0;

/** Commands have numbers that follow the version of their plan, below this: see `Plan.version`. */
const planStep = 1_000;

const apart = (what: string): WheelworkError =>
  new WheelworkError(
    "WW_STORE_UNAVAILABLE",
    `the files of the data folder do not belong together: ${what}, and the others have been used`,
    {
      next: "Put back the file that was there. If it is lost, start with another folder, and create the flows again.",
    },
  );

/**
 * Refuses a folder whose journal is gone, before a new one is made. Flows have seen the places of its runs, and refuse all that are lower:
 * each operation would be refused.
 * @throws WheelworkError WW_STORE_UNAVAILABLE.
 */
export function checkJournal(dataDir: string): void {
  const [journal, ...others] = ["wheelwork.db", "flows.db", "rules.db"].map((name) => join(dataDir, name));
  if (isNew(journal as string) && !others.every(isNew)) throw apart("wheelwork.db is missing or empty");
}

/**
 * Refuses files that do not belong together, before a switch connects. With a new store of flows, cookies and numbers of commands would be
 * given again, and nothing new would reach a switch. With a new book, each switch would lose the rules of all flows.
 * @throws WheelworkError WW_STORE_UNAVAILABLE.
 */
export function checkTogether({ lastPlan, hasPaths, lastCommand }: FolderMarks): void {
  if (lastCommand >= lastPlan + planStep) throw apart("flows.db is new, or older than rules.db");
  if (hasPaths && lastCommand === 0) throw apart("rules.db is new");
}
