import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";

/** What the processes of a program report. */
export interface ChildrenOptions {
  /** How long they may take to stop, in milliseconds. Those that are left then are killed. */
  readonly stopWithinMs: number;
  /** One has ended with an exit code that says that it cannot go on: it is not started again. */
  readonly onFailure: (name: string, code: number) => void;
}

/**
 * Processes of this program that it starts again when they die. Each has a channel to this process: it notices at once when
 * this process has ended, in whatever way, and stops in good order (see `runForeground`).
 */
export class Children {
  readonly #options: ChildrenOptions;
  readonly #running = new Set<ChildProcess>();
  #stopping = false;

  constructor(options: ChildrenOptions) {
    this.#options = options;
  }

  /**
   * Starts one; resolves with what it prints behind `ready: `.
   * @throws Error when all are stopped before it is ready.
   */
  start(name: string, command: readonly [string, ...string[]]): Promise<string> {
    return new Promise((ready, failed) => this.#spawn(name, command, ready, failed));
  }

  #spawn(
    name: string,
    command: readonly [string, ...string[]],
    ready: (line: string) => void,
    failed: (error: Error) => void,
  ): void {
    if (this.#stopping) return failed(new Error(`${name} is not started: the others are stopped`));
    const [program, ...args] = command;
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit", "ipc"] });
    this.#running.add(child);
    let printed = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-10_000);
      const line = /^ready: (.*)\n/m.exec(printed)?.[1];
      if (line !== undefined) ready(line);
    });
    child.on("error", failed);
    child.on("exit", (code) => {
      this.#running.delete(child);
      if (this.#stopping) return failed(new Error(`${name} was stopped`));
      if (code !== null && code !== 0) return this.#options.onFailure(name, code);
      process.stdout.write(`  ${name} has died, and is started again\n`);
      this.#spawn(name, command, ready, failed);
    });
  }

  /** Stops all of them, and waits for their end. */
  async close(): Promise<void> {
    this.#stopping = true;
    const late = setTimeout(() => this.kill(), this.#options.stopWithinMs);
    const ended = Array.from(this.#running, (child) => once(child, "exit"));
    for (const child of this.#running) child.kill("SIGTERM");
    await Promise.all(ended);
    clearTimeout(late);
  }

  /** Ends all of them at once. */
  kill(): void {
    this.#stopping = true;
    for (const child of this.#running) child.kill("SIGKILL");
  }
}
