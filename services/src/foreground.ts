/** A program that runs until somebody tells it to end. */
export interface Program {
  /** Starts it. It may be told to end meanwhile. */
  start(): Promise<void>;
  /** Ends it in good order, also while it starts. `why` is for people. */
  close(why: string): Promise<void>;
  /** Ends at once what it has started, when it must not wait for the good order any longer. */
  kill?(): void;
}

/** How a program runs in the foreground. */
export interface ForegroundOptions {
  /** The npm script that starts it. */
  readonly script: string;
  /** How long `close` may take, in milliseconds. Then the process exits with the code 1. */
  readonly stopWithinMs: number;
  /** Prints an error, and exits. */
  readonly fail: (error: unknown) => never;
}

/** Ctrl+C arrives twice, from the terminal and through npm: signals within so many milliseconds are one. */
const sameRequestMs = 500;

/** How often the parent is looked for where nothing tells of its end, in milliseconds. */
const lookEachMs = 500;

/**
 * Runs a program that never outlives its parent. SIGTERM, SIGINT, SIGHUP and the end of its parent make it
 * stop in good order; it exits with the code 0 then. A second signal, and `stopWithinMs`, end it at once.
 */
export async function runForeground(program: Program, options: ForegroundOptions): Promise<void> {
  const { script, stopWithinMs, fail } = options;
  let toldAt: number | undefined;
  const giveUp = (): never => {
    program.kill?.();
    process.exit(1);
  };
  const stop = (why: string): void => {
    const now = performance.now();
    if (toldAt !== undefined) {
      if (now - toldAt > sameRequestMs) giveUp();
      return;
    }
    toldAt = now;
    setTimeout(giveUp, stopWithinMs).unref();
    program.close(why).then(() => process.exit(0), fail);
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => stop(signal));
  // Who reads what it prints may end before it does. That must not end it in the middle of its work.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  whenParentEnds(script, stop);
  try {
    await program.start();
  } catch (error) {
    // What was stopped while it started may say so in any way.
    if (toldAt === undefined) fail(error);
  }
}

/**
 * Calls back when the process that started this one has ended: a program with a channel to this one (`stdio: "ipc"`), or
 * npm, if it runs this very script. A process that is started in any other way may outlive its parent, as daemons do.
 */
export function whenParentEnds(script: string, ended: (why: string) => void): void {
  if (process.connected) {
    process.once("disconnect", () => ended("the program that started this one has ended"));
    return;
  }
  if (process.env["npm_lifecycle_event"] !== script) return;
  // npm has no channel to its scripts, and the system does not tell of its end. The scripts begin with `exec`, so that no
  // shell is in between: npm's signals come here, and its end changes the parent.
  const npm = process.ppid;
  const looking = setInterval(() => {
    if (process.ppid === npm) return;
    clearInterval(looking);
    ended("npm has ended");
  }, lookEachMs);
  looking.unref();
}
