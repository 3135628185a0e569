import { backupStore, type StoreVerdict } from "@wheelwork/engine";
import { command, usageError, type Command } from "./command.ts";
import { count, say } from "./output.ts";
import { ProgressBar } from "./progress.ts";

/** A number of bytes for people. */
export function bytesText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit] ?? ""}`;
}

/** What a store holds, in a few words. */
export const contentsText = ({ runs, answers, batches, bytes }: StoreVerdict): string =>
  [
    count(answers, "answer"),
    `${batches} ${batches === 1 ? "batch" : "batches"}`,
    `${count(runs, "live run")} at its last checkpoint`,
    bytesText(bytes),
  ].join(", ");

/** The command that copies a store. */
export const backupCommand: Command = command({
  name: "backup",
  about:
    "Copies the SQLite store of an engine to a new file, and checks the copy. The engine may run meanwhile.",
  more: `The copy has all that was committed when the command began. FILE is there only once the copy is whole, checked and on the disk.
To restore it: stop the engine, move its file, and those beside it that end in -wal and -shm, to another folder, put the copy
in their place, and start the engine. PostgreSQL has backups of its own.`,
  takes: "FILE",
  options: { store: { type: "string", value: "FILE", about: "the store of the engine (compulsory)" } },
  run: async ({ values: { store }, positionals: [file = ""] }) => {
    if (store === undefined) throw usageError("backup needs --store");
    const bar = new ProgressBar();
    try {
      const verdict = await backupStore(store, file, ({ doing, share }) => bar.show(doing, share));
      bar.end();
      say(`${file} is a whole and checked copy: ${contentsText(verdict)}`);
    } finally {
      bar.end();
    }
  },
});
