import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { newKey } from "./flow.ts";
import type { Measured } from "./harness.ts";

/**
 * How much a bound does.
 * - `bare`: it only inserts rows.
 * - `keyed`: also, requests are unique by their key, and calls by their number. An engine needs this to refuse a known
 *   key and to find what it has written.
 * - `runs`: also, each commit writes the state of the runs that it changed, as an engine must that keeps rows instead
 *   of a journal (ARCHITECTURE.md, decisions that are not obvious).
 */
export type BoundKind = "bare" | "keyed" | "runs";

/**
 * The bound for an engine on SQLite: a loop over node:sqlite that writes what a durable engine must have on disk, and
 * does nothing else.
 *
 * It inserts a row for each request, each outcome of a call, and each answer. It has the settings of the engine's
 * store. It commits as often as an engine must: when it accepts the requests, when it takes the outcomes of the first
 * round, and when it takes those of the second round and answers. All requests in flight share each commit. There is no
 * validation, no history, no deadline, and, if it is `bare`, no lookup by a key.
 */
export class Bound {
  readonly kind: BoundKind;
  readonly #db: DatabaseSync;
  readonly #length: number;
  readonly #steps: readonly ((requests: readonly number[]) => void)[];
  #requests = 0;

  constructor(folder: string, length: number, kind: BoundKind) {
    this.kind = kind;
    this.#length = length;
    const keyed = kind !== "bare";
    const db = new DatabaseSync(join(folder, `bound-${kind}.db`));
    db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000;
      PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;
      CREATE TABLE request (id INTEGER PRIMARY KEY, key TEXT NOT NULL${keyed ? " UNIQUE" : ""}, body TEXT NOT NULL);
      CREATE TABLE call (request INTEGER NOT NULL, call INTEGER NOT NULL, output TEXT NOT NULL
        ${keyed ? ", PRIMARY KEY (request, call)) WITHOUT ROWID" : ")"};
      CREATE TABLE answer (request INTEGER PRIMARY KEY, body TEXT NOT NULL);
      CREATE TABLE run (request INTEGER PRIMARY KEY, data TEXT NOT NULL);`);
    this.#db = db;
    const insertRequest = db.prepare("INSERT INTO request (id, key, body) VALUES (?, ?, ?)");
    const insertCall = db.prepare("INSERT INTO call (request, call, output) VALUES (?, ?, ?)");
    const insertAnswer = db.prepare("INSERT INTO answer (request, body) VALUES (?, ?)");
    const writeRun = db.prepare("INSERT OR REPLACE INTO run (request, data) VALUES (?, ?)");
    const rules = Array.from({ length }, (_, index) => index);
    const saveRuns = (requests: readonly number[], state: string, open: number): void => {
      if (kind !== "runs") return;
      for (const id of requests) {
        const data = { flowid: `flow-${id}`, length, error: null, rules, errors: [] };
        writeRun.run(id, JSON.stringify({ state, open, deadline: performance.timeOrigin + 500, data }));
      }
    };
    this.#steps = [
      (requests) => {
        for (const id of requests) {
          insertRequest.run(id, newKey(), JSON.stringify({ flowid: `flow-${id}`, length, error: null }));
        }
        saveRuns(requests, "InstallingRules", length);
      },
      (requests) => {
        for (const id of requests) {
          for (let call = 0; call < length; call++)
            insertCall.run(id, call, JSON.stringify({ installed: call }));
        }
        saveRuns(requests, "ValidatingRules", length);
      },
      (requests) => {
        for (const id of requests) {
          for (let call = 0; call < length; call++)
            insertCall.run(id, length + call, JSON.stringify({ validated: call }));
          insertAnswer.run(
            id,
            JSON.stringify({ flowid: `flow-${id}`, message: "all operation is successful" }),
          );
        }
        saveRuns(requests, "Finished", 0);
      },
    ];
  }

  /** Works for so many milliseconds, and until the last flows have ended. */
  run(inFlight: number, milliseconds: number, measured: Measured): void {
    const began = performance.now();
    for (let start = began; start < began + milliseconds;) {
      const requests = Array.from({ length: inFlight }, () => ++this.#requests);
      for (const step of this.#steps) {
        this.#db.exec("BEGIN IMMEDIATE");
        step(requests);
        this.#db.exec("COMMIT");
      }
      const end = performance.now();
      for (let request = 0; request < inFlight; request++) measured.add(end - start);
      start = end;
    }
    measured.elapsed(performance.now() - began);
  }

  /** @throws Error when rows are missing. */
  check(): void {
    const { calls } = this.#db.prepare("SELECT count(*) AS calls FROM call").get() as { calls: number };
    if (calls !== this.#requests * 2 * this.#length)
      throw new Error("rows of the bound are missing: its figures are not valid");
  }

  close(): void {
    this.#db.close();
  }
}
