import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "@wheelwork/services";

const main = resolve(import.meta.dirname, "../../src/main.ts");

/** The whole system in a process of its own, which can be killed and started again on the same data. */
export class System {
  readonly url: string;
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #output = "";

  private constructor(port: number, data: string, args: readonly string[]) {
    this.url = `http://127.0.0.1:${port}`;
    this.#args = ["--port", `${port}`, "--data", data, ...args];
  }

  /** A system on a free port that is not started yet. `args`: options of the application. */
  static async on(data: string, args: readonly string[] = []): Promise<System> {
    return new System(await freePort(), data, args);
  }

  /** Starts the process without waiting for it. */
  launch(): void {
    const node = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    // With a channel, so that it ends when the tests do, in whatever way.
    const child = spawn(process.execPath, [...node, main, ...this.#args], {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.#child = child;
    this.#output = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (text) => (this.#output += String(text)));
  }

  /** Waits until the process takes requests. @throws Error if it ends by itself. */
  async ready(): Promise<void> {
    await until("the system", 120_000, async () => {
      this.#demandAlive();
      return (await fetch(`${this.url}/ready`).catch(() => undefined))?.status === 200;
    });
  }

  /** Freezes the process, or lets it go on. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child?.kill(signal);
  }

  /** Ends the process; its exit code, null if it died of the signal. @throws Error if it had ended by itself before. */
  async kill(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    this.#demandAlive();
    this.#child = undefined;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
    return child.exitCode;
  }

  #demandAlive(): void {
    const { exitCode, signalCode } = this.#child ?? { exitCode: null, signalCode: null };
    if (exitCode === null && signalCode === null) return;
    throw new Error(`the system ended by itself (${exitCode ?? signalCode}):\n${this.#output}`);
  }
}

/** Waits until something holds. */
export async function until(what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms`);
    await sleep(10);
  }
}
