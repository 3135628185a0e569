import { giveUpBatch } from "@wheelwork/engine";
import { command, usageError, type Command } from "./command.ts";
import { say } from "./output.ts";

/** The command that lets a damaged store go on. */
export const repairCommand: Command = command({
  name: "repair",
  about: "Lets the SQLite store of an engine go on without a damaged batch of its journal.",
  more: `An engine goes on by itself where it knows what is damaged. Where it does not start because nobody knows which runs a batch was about, it
names the batch. A backup loses less: read docs/durability.md before. Once the batch is given up, all runs that were there, and that have not
been written since, are refused (WW_STORE_CORRUPT); answers stay, and new requests are taken. It cannot be taken back: copy the file
before. No engine may work on it. For PostgreSQL see docs/durability.md.`,
  takes: "",
  options: {
    store: { type: "string", value: "FILE", about: "the store of the engine (compulsory)" },
    "give-up": { type: "string", value: "BATCH", about: "the number of the batch (compulsory)" },
  },
  run: async ({ values: { store, "give-up": batch } }) => {
    if (store === undefined || batch === undefined) throw usageError("repair needs --store and --give-up");
    const seq = Number(batch);
    if (!/^[0-9]+$/.test(batch) || !Number.isSafeInteger(seq))
      throw usageError("--give-up takes the number of a batch");
    giveUpBatch(store, seq);
    say(`batch ${seq} is given up: the next start goes on without it`);
  },
});
