import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const source = join(import.meta.dirname, "faulty-disk.c");
const program = join(import.meta.dirname, "load.ts");

/** Whether the layer can be made here: it needs Linux and a C compiler. */
export const canFail = process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;

/** What a process under load was told. */
export interface Told {
  readonly accepted: Set<string>;
  readonly answers: Map<string, string>;
  /** Why requests were refused, each reason once. */
  readonly refused: Set<string>;
}

/** A folder on a disk that fails on demand, and the processes that write to it. */
export class FaultyDisk {
  readonly folder = mkdtempSync(join(tmpdir(), "wheelwork-disk-"));
  readonly path = join(this.folder, "store.db");
  readonly told: Told = { accepted: new Set(), answers: new Map(), refused: new Set() };
  readonly #library = join(this.folder, "faulty-disk.so");
  readonly #control = join(this.folder, "control");
  #child: ChildProcess | undefined = undefined;
  #processes = 0;

  constructor() {
    const made = spawnSync(
      "cc",
      ["-shared", "-fPIC", "-O2", "-o", this.#library, source, "-ldl", "-lpthread"],
      {
        encoding: "utf8",
      },
    );
    if (made.status !== 0) throw new Error(made.stderr);
    this.fail("");
  }

  /** What writes and syncs do from now on; an empty word: what they should. */
  fail(word: string): void {
    writeFileSync(this.#control, word);
  }

  /** Starts a process that loads an engine on this disk. */
  load(environment: Record<string, string> = {}, durability = "full"): ChildProcess {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const args = [...flags, program, this.path, `p${++this.#processes}`, durability];
    const child = spawn(process.execPath, args, {
      env: {
        ...process.env,
        LD_PRELOAD: this.#library,
        DISK_FOLDER: this.path,
        DISK_CONTROL: this.#control,
        ...environment,
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child = child;
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => this.#take(line));
    return child;
  }

  #take(line: string): void {
    const [word, key = "", rest] = /^(\S+) ?(\S*) ?(.*)$/.exec(line)?.slice(1) ?? [];
    const { accepted, answers, refused } = this.told;
    if (word === "accepted") accepted.add(key);
    if (word === "refused") refused.add(rest ?? "");
    if (word === "told") answers.set(key, rest ?? "");
  }

  /** Loads until the power goes, at so many writes and syncs. */
  async powerLoss(
    at: number,
    seed: number,
    more: Record<string, string> = {},
    durability = "full",
  ): Promise<void> {
    const child = this.load({ DISK_POWER_AT: String(at), DISK_SEED: String(seed), ...more }, durability);
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
