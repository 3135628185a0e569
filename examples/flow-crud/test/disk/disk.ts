import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** The layer between SQLite and the calls that write: the one of the tests of the engine. */
const source = join(import.meta.dirname, "../../../../packages/engine/test/disk/faulty-disk.c");
const program = join(import.meta.dirname, "main.ts");

/** Whether the layer can be made here: it needs Linux and a C compiler. */
export const canFail = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;

/** A disk that fails on demand, and a process that writes facts to it. */
export class FaultyDisk {
  readonly folder = mkdtempSync(join(tmpdir(), "flow-crud-disk-"));
  readonly path = join(this.folder, "facts.db");
  /** The facts of which a process was told that they are there. */
  readonly told = new Set<string>();
  /** Those of which it was told that they may not be. */
  readonly refused = new Set<string>();
  readonly #library = join(this.folder, "faulty-disk.so");
  readonly #control = join(this.folder, "control");
  #child: ChildProcess | undefined = undefined;
  #processes = 0;

  constructor() {
    const options = ["-shared", "-fPIC", "-O2", "-o", this.#library, source, "-ldl", "-lpthread"];
    const made = spawnSync("cc", options, { encoding: "utf8" });
    if (made.status !== 0) throw new Error(made.stderr);
    // It does what it should, until a word says otherwise.
    writeFileSync(this.#control, "");
  }

  /** Writes until the power goes, at so many writes and syncs. */
  async powerLoss(at: number, seed: number, more: Record<string, string> = {}): Promise<void> {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const child = spawn(process.execPath, [...flags, program, this.path, `p${++this.#processes}`], {
      env: {
        ...process.env,
        LD_PRELOAD: this.#library,
        DISK_FOLDER: this.path,
        DISK_CONTROL: this.#control,
        DISK_POWER_AT: String(at),
        DISK_SEED: String(seed),
        ...more,
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const [word, fact = ""] = line.split(" ");
      (word === "told" ? this.told : this.refused).add(fact);
    });
    await once(child, "close");
    if (child.exitCode !== 137) throw new Error(`the process ended with ${child.exitCode}, not by the power`);
  }

  async remove(): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      child.kill("SIGKILL");
      await once(child, "close");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}
