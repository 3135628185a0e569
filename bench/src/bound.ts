import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { newKey } from "./flow.ts";
import type { Measured } from "./harness.ts";

/**
 * What a bound writes besides rows in the order in which they come.
 * - `keyed`: requests are unique by their key and calls by their number, as an engine needs them: it refuses a key that is
 *   known, and finds what it has written.
 * - `runs`: that, and each commit the state of the runs that it changed, as an engine that keeps rows must (DESIGN,
 *   section 5, whose bound of 17,400 workflows a second this is).
 */
export type BoundKind = "bare" | "keyed" | "runs";

/**
 * The bare bound: what one loop over node:sqlite does that must have on disk what a durable engine must, and nothing else.
 * A row for each request, a row for each outcome of a call, a row for each answer, only inserted, without an index of
 * their own; the settings of the engine's store; as many commits as an engine needs: one that accepts the requests, one
 * that takes the outcomes of the first round, one that takes those of the second and the answer. All requests in flight
 * share each commit. No validation, no history, no key that is looked up, no deadline, no promise.
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

  /** Works for so many milliseconds, and until what began has ended. */
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

  /** Every row that should be there is there. */
  check(): void {
    const { calls } = this.#db.prepare("SELECT count(*) AS calls FROM call").get() as { calls: number };
    if (calls !== this.#requests * 2 * this.#length) throw new Error("the bound has lost rows");
  }

  close(): void {
    this.#db.close();
  }
}
