import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { WheelworkError } from "wheelwork";
import type { BookedFlowStore } from "./controller/booked-flow-store.ts";
import type { BookMark } from "./controller/store.ts";
import type { AddressBook } from "./floodlight/address-book.ts";
import type { HeldRules, Switches } from "./floodlight/switches.ts";
import type { Held } from "./resources.ts";
import { cookieOf } from "./workers.ts";
import { bookOf, differencesOf, leastOf, textOfDifferences } from "./floodlight/book-of-flows.ts";

// The files of a data folder belong together. Who has lost one of them does not begin without it: it would take what others have for excess.

/** Names the files that a folder has had. */
const listName = "files.json";

/** The book of rules. */
export const bookName = "rules.db";

/** The books of the rules of `POST /flow`: of simulated switches, and of real ones. */
export const originalBooks = { simulated: "floodlight.db", real: "switches.db" } as const;

/** What can be made anew of what other files say. */
const rebuildable: readonly string[] = [bookName, ...Object.values(originalBooks)];

const isNew = (path: string): boolean => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0;

const apart = (what: string, next: string): WheelworkError =>
  new WheelworkError("WW_STORE_UNAVAILABLE", `the files of the data folder do not belong together: ${what}`, {
    next,
  });

const putBack =
  "Put back what was there. If it is lost, start with another folder, and create the flows again. If only rules.db, floodlight.db or switches.db is lost, make it anew of the flows that are stored: --rebuild-rules.";

/**
 * Refuses a folder of which a file is gone, before a new one is made in its place. `rebuild`: books of rules are made anew.
 * @throws WheelworkError WW_STORE_UNAVAILABLE.
 */
export function checkFiles(dataDir: string, { rebuild = false }: { readonly rebuild?: boolean } = {}): void {
  const missing = knownFiles(dataDir).filter(
    (name) => isNew(join(dataDir, name)) && !(rebuild && rebuildable.includes(name)),
  );
  if (missing.length > 0) {
    const are = missing.length === 1 ? "is" : "are";
    throw apart(`${missing.join(" and ")} ${are} missing or empty, and the folder has been used`, putBack);
  }
}

/**
 * Refuses a folder whose journal is gone, of a version that made no list. Flows have seen the places of its runs, and refuse all that are
 * lower: each operation would be refused.
 * @throws WheelworkError WW_STORE_UNAVAILABLE.
 */
export function checkJournal(dataDir: string): void {
  const [journal, ...others] = ["wheelwork.db", "flows.db", bookName].map((name) => join(dataDir, name));
  if (isNew(journal as string) && !others.every(isNew))
    throw apart("wheelwork.db is missing or empty, and the others have been used", putBack);
}

function knownFiles(dataDir: string): readonly string[] {
  const path = join(dataDir, listName);
  if (isNew(path)) return [];
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { readonly files: readonly string[] }).files.map(
      String,
    );
  } catch (cause) {
    throw new WheelworkError("WW_STORE_UNAVAILABLE", `${path} is not the list of files that it was`, {
      next: "Put it back. If it is lost, and all other files are there, delete it.",
      cause,
    });
  }
}

/**
 * Keeps other processes from this folder until `close`, also while this one stands still. Two with one book would not notice what the other
 * writes into it.
 * @throws WheelworkError WW_STORE_LOCKED, WW_STORE_UNAVAILABLE.
 */
export function lockFolder(dataDir: string): { close(): void } {
  const path = join(dataDir, "floodlight.lock");
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(path);
    lock.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE");
    return lock;
  } catch (cause) {
    lock?.close();
    const isLocked = /locked|busy/i.test(String(cause));
    const [code, what, next] = isLocked
      ? ([
          "WW_STORE_LOCKED",
          "is in use by another Floodlight",
          "Stop it first. If it hangs, kill it.",
        ] as const)
      : (["WW_STORE_UNAVAILABLE", "cannot be locked", "Check that it may be written to."] as const);
    throw new WheelworkError(code, `${dataDir} ${what}`, { next, cause });
  }
}

/** What a request of `POST /flow` has by the pool of resources, as its book names it. */
const rulesOf = ({ request, flowid, rules }: Held): HeldRules => ({
  flowid,
  rules,
  cookie: cookieOf(request),
});

/** What a book of `POST /flow` is made anew of: all requests that have resources. `name`: its file. */
export function heldRules(
  name: string,
  held: readonly Held[],
  onRebuilt: (what: string) => void,
): readonly HeldRules[] {
  const rules = held.reduce((sum, one) => sum + one.rules, 0);
  onRebuilt(`${name} was made anew: ${held.length} requests have ${rules} rules`);
  return held.map(rulesOf);
}

/**
 * Compares a book of `POST /flow` with requests that have come up: each has all of its rules.
 * @throws WheelworkError WW_STORE_UNAVAILABLE if the book is new, or of an older time.
 */
export function checkOriginalBook(
  name: string,
  book: Pick<Switches, "countOf">,
  up: readonly Held[],
  command: string,
): void {
  const lacking = up.map(rulesOf).filter(({ cookie, rules }) => book.countOf(cookie) < rules);
  const [first] = lacking;
  if (first === undefined) return;
  throw apart(
    `${name} lacks rules of ${lacking.length} flows that are up, such as ${first.flowid}: it is new, or older than resources.db`,
    `Put back the file of that time. If it is lost, make it anew: ${command}`,
  );
}

/** Notes which files there are, for `checkFiles` at the next start. All of them have been made. */
export function noteFiles(dataDir: string): void {
  const files = readdirSync(dataDir).filter((name) => name.endsWith(".db"));
  const all = [...new Set([...knownFiles(dataDir), ...files])].toSorted();
  const path = join(dataDir, listName);
  const draft = openSync(`${path}.new`, "w");
  writeFileSync(draft, `${JSON.stringify({ files: all })}\n`);
  fsyncSync(draft);
  closeSync(draft);
  renameSync(`${path}.new`, path);
  const folder = openSync(dataDir, "r");
  fsyncSync(folder);
  closeSync(folder);
}

/** How the book of rules begins. */
export interface BeginOptions {
  /** What people do who want it to be made anew. */
  readonly command: string;
  /** Makes it anew of the flows, whatever it says. */
  readonly rebuild?: boolean;
  /** Called with what was done. */
  readonly onRebuilt?: (what: string) => void;
}

/**
 * Compares the book of rules with the store of flows, before a switch connects. With a new or an older book, switches would lose rules of flows
 * that are UP, or get those of flows that are gone. With an older store, cookies and numbers of commands would be given again.
 * @returns What the store knows it by from now on: see `isSuperseded`.
 * @throws WheelworkError WW_STORE_UNAVAILABLE if they are not of the same time.
 */
export async function beginBook(
  book: AddressBook,
  store: Pick<BookedFlowStore, "marks" | "rebase" | "switches" | "lastBook" | "noteBook">,
  { command, rebuild = false, onRebuilt }: BeginOptions,
): Promise<BookMark> {
  const said = { lastCommand: book.lastCommand(), places: book.places() };
  if (rebuild) {
    const marks = await store.rebase(leastOf(said.lastCommand, said.places));
    const switches = (await store.switches()).map(({ switchId }) => switchId);
    const fresh = bookOf(marks, switches);
    await book.replace(fresh);
    const mark = await noteOpened(book, store);
    onRebuilt?.(
      `the book of rules was made anew: ${marks.flows.length} flows need ${fresh.places.length} rules`,
    );
    return mark;
  }
  const marks = await store.marks();
  const differences = [
    // Before the first plan there is nothing to lose.
    ...(marks.lastPlan === 0 ? [] : otherBook(book.mark(), await store.lastBook())),
    ...differencesOf(said, marks),
  ];
  if (differences.length === 0) return noteOpened(book, store);
  throw apart(
    `rules.db and the store of flows are not of the same time, or one of them is new: ${textOfDifferences(differences)}`,
    `Put back the file or the database of that time. If rules.db is lost, make it anew of the flows that are stored: ${command}`,
  );
}

/**
 * The next book that is opened beside this store is this one, and has been opened since. Its generation is higher than that of the one before,
 * also if that was on a machine whose clock is ahead: switches obey the owner with the highest.
 */
async function noteOpened(
  book: AddressBook,
  store: Pick<BookedFlowStore, "lastBook" | "noteBook">,
): Promise<BookMark> {
  book.nextGeneration((await store.lastBook())?.generation);
  const mark = book.mark();
  await store.noteBook(mark);
  return mark;
}

/** What shows that a book is not the one that was opened last, as it was then. */
function otherBook(mark: BookMark, last: BookMark | undefined): string[] {
  if (last === undefined) return [];
  if (mark.name !== last.name) return ["the book is another one than before"];
  return mark.generation < last.generation ? ["the book is older than when it was opened last"] : [];
}
