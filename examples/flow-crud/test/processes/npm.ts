import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";

const root = resolve(import.meta.dirname, "../../../..");

/** Whether the processes of this machine can be listed as these tests do. */
export const listsProcesses = existsSync("/proc/self/cmdline");

/** The processes that have a word in their command line, npm's own ones left out; by their ids. */
export function processesWith(word: string): Map<number, readonly string[]> {
  const found = new Map<number, readonly string[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0");
      if (command.includes(word)) found.set(Number(name), command);
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** `npm run SCRIPT`, as somebody starts it in a terminal that is not ours: a signal to it reaches nobody else. */
export class Npm {
  readonly #child: ChildProcess;
  #output = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (chunk) => (this.#output += String(chunk)));
  }

  static #spawn(script: string, args: readonly string[], env: Readonly<Record<string, string>>): Npm {
    return new Npm(
      spawn("npm", ["run", script, "--", ...args], {
        cwd: root,
        detached: true,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...env },
      }),
    );
  }

  /** Runs a script to its end; gives what it has printed. @throws Error with that if it fails. */
  static async output(
    script: string,
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<string> {
    const npm = Npm.#spawn(script, args, env);
    const [code] = (await once(npm.#child, "close")) as [number | null];
    if (code !== 0) throw new Error(`npm run ${script} has ended with ${code}: ${npm.#output}`);
    return npm.#output;
  }

  /** Starts a script, and waits until it prints a text. @throws Error with what it has printed if it ends before. */
  static async run(
    script: string,
    args: readonly string[],
    ready: string,
    env: Readonly<Record<string, string>> = {},
  ): Promise<Npm> {
    const npm = Npm.#spawn(script, args, env);
    const child = npm.#child;
    await new Promise<void>((begun, failed) => {
      child.once("exit", () => failed(new Error(`npm run ${script} has ended: ${npm.#output}`)));
      child.stdout?.on("data", () => {
        if (npm.#output.includes(ready)) begun();
      });
    });
    return npm;
  }

  /** What it and those that it started have printed. */
  get output(): string {
    return this.#output;
  }

  /** Sends a signal to npm alone, and waits for its end. */
  end(signal: NodeJS.Signals): Promise<void> {
    return this.#end(() => void this.#child.kill(signal));
  }

  /** Does what Ctrl+C does in a terminal: npm and all that it has started get the signal. Waits for npm's end. */
  interrupt(): Promise<void> {
    return this.#end((pid) => process.kill(-pid, "SIGINT"));
  }

  async #end(send: (pid: number) => void): Promise<void> {
    const { pid, exitCode, signalCode } = this.#child;
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    const gone = once(this.#child, "exit");
    send(pid);
    await gone;
  }
}
