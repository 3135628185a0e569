// Writes facts in groups, and says which of them it was told: until the power goes.
import { writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { GroupCommit, openDatabase } from "../../src/database.ts";

const [path = "", name = ""] = process.argv.slice(2);
const db = openDatabase(
  path,
  "CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID",
);
// So small that the log is copied into the file, and begins anew, again and again.
db.exec("PRAGMA wal_autocheckpoint = 16");
const group = new GroupCommit(db, { soon: (task) => void setImmediate(task), disk: "aside" });
const add = db.prepare("INSERT INTO fact VALUES (?, ?)");

/** After so many facts, syncs fail until somebody was told so. */
const failAfter = Number(process.env["FACTS_FAIL_AFTER"] ?? Infinity);
const fail = (word: string): void => writeFileSync(process.env["DISK_CONTROL"] ?? "", word);
let told = 0;

async function write(writer: number): Promise<never> {
  for (let number = 0; ; number++) {
    const fact = `${name}-${writer}-${number}`;
    try {
      await group.run(() => void add.run(fact, "x".repeat((number * 37) % 3_000)));
      process.stdout.write(`told ${fact} is there\n`);
      if (++told === failAfter) fail("eio-sync");
    } catch (error) {
      fail("");
      process.stdout.write(`refused ${fact} ${String(error)}\n`);
      await sleep(10);
    }
  }
}

await Promise.all([1, 2, 3, 4, 5].map(write));
