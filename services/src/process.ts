import { WheelworkError } from "@wheelwork/core";
import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A program that keeps running after its parent has ended. */
export interface Daemon {
  /** What errors call it. */
  readonly name: string;
  readonly pidFile: string;
  /** It writes that file itself. */
  readonly writesPid?: boolean;
  readonly logFile: string;
  /** Where it listens; undefined: nowhere, and what it prints says that it is ready. */
  readonly port: number | undefined;
  /** What it prints when it is ready. */
  readonly sign?: string;
  /** A word of its command line: a pid file may name a process of somebody else's by now. */
  readonly mark: string;
}

/** The process of a daemon; undefined: it does not run. */
export function pidOf({ pidFile, mark }: Daemon): number | undefined {
  if (!existsSync(pidFile)) return undefined;
  const pid = Number(readFileSync(pidFile, "utf8").split("\n")[0]);
  if (!Number.isInteger(pid) || pid < 2) return undefined;
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    return command.includes(mark) ? pid : undefined;
  } catch {
    return isAlive(pid) && !existsSync("/proc/self/cmdline") ? pid : undefined;
  }
}

/** Whether a process is there. One that has ended, and that its parent has not asked for yet, is not. */
export function isAlive(pid: number): boolean {
  return send(pid, 0) && statusOf(pid)?.state !== "Z";
}

/** Sends a signal; false: there is no such process. */
export function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** The processes that a process has started, whatever sessions they have begun. Where there is no /proc: none. */
export function childrenOf(pid: number): number[] {
  if (!existsSync("/proc/self/stat")) return [];
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return all.map(Number).filter((one) => statusOf(one)?.parent === pid);
}

/** What /proc says of a process; undefined: nothing. */
function statusOf(pid: number): { readonly state: string; readonly parent: number } | undefined {
  try {
    // The name of the program comes before, in brackets, and may hold anything.
    const [, rest = ""] = /^\d+ \(.*\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    const [state = "", parent] = rest.split(" ");
    return { state, parent: Number(parent) };
  } catch {
    return undefined;
  }
}

/** Starts a daemon, unless it runs, and waits until its port answers. */
export async function startDaemon(
  daemon: Daemon,
  [command, ...args]: readonly [string, ...string[]],
  options: { readonly uid?: number; readonly gid?: number; readonly withinMs: number },
): Promise<number> {
  const { name, pidFile, logFile, port, sign, writesPid = false } = daemon;
  if (port !== undefined) await demandFree(name, port);
  mkdirSync(dirname(pidFile), { recursive: true });
  const log = openSync(logFile, sign === undefined ? "a" : "w");
  const logged = sign === undefined ? readFileSync(logFile).length : 0;
  const { withinMs, ...user } = options;
  const child = spawn(command, args, { detached: true, stdio: ["ignore", log, log], ...user });
  closeSync(log);
  const failed = new Promise<never>((_resolve, reject) => {
    child.on("error", (error) => reject(error));
    child.on("exit", (code) => reject(new Error(`it ended with the code ${code}`)));
  });
  failed.catch(() => {});
  child.unref();
  if (child.pid !== undefined && !writesPid) writeFileSync(pidFile, `${child.pid}\n`);
  try {
    const ready = async (): Promise<boolean> =>
      (port === undefined || (await answers(port))) &&
      (sign === undefined || readFileSync(logFile, "utf8").includes(sign));
    await Promise.race([failed, waitUntil(ready, withinMs)]);
  } catch (error) {
    child.kill("SIGKILL");
    const said = readFileSync(logFile).subarray(logged).toString().trim().split("\n").slice(-3).join("; ");
    throw new WheelworkError("WW_CONFIG", `${name} did not start: ${(error as Error).message}: ${said}`, {
      next: `Look at the end of its log, ${logFile}.`,
    });
  }
  return child.pid as number;
}

/** Stops a daemon, and waits for its end. */
export async function stopDaemon(daemon: Daemon, signal: NodeJS.Signals = "SIGTERM"): Promise<boolean> {
  const pid = pidOf(daemon);
  if (pid === undefined) return false;
  process.kill(pid, signal);
  try {
    await waitUntil(() => pidOf(daemon) === undefined, 30_000);
  } catch {
    process.kill(pid, "SIGKILL");
    await waitUntil(() => pidOf(daemon) === undefined, 60_000);
  }
  rmSync(daemon.pidFile, { force: true });
  return true;
}

/** Whether something answers on a port of loopback. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

/** How long the port of a process that was killed may be in use, in milliseconds. */
const lingerMs = 3000;

async function demandFree(name: string, port: number): Promise<void> {
  // One that was just killed has it for a moment longer than it has its process.
  for (const end = performance.now() + lingerMs; performance.now() < end; await sleep(50))
    if (await isFree(port)) return;
  throw new WheelworkError("WW_CONFIG", `the port ${port} for ${name} is in use by another program`, {
    next: "Stop that one, or choose another port with KAFKA_PORT or POSTGRES_PORT.",
  });
}

/**
 * A port of loopback that nobody uses, and that nobody else is given while this process lives. Not one of those that the
 * system gives to clients: a client that knocks there may get that very port for itself, and be connected to nobody but
 * itself.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (reserve(port) && (await isFree(port))) return port;
  }
}

/** Notes in a file whose port it is. */
function reserve(port: number): boolean {
  const folder = join(tmpdir(), `wheelwork-ports-${userInfo().username}`);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${port}`);
  try {
    writeFileSync(file, `${process.pid}`, { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    // Somebody else's, or left by a process that has ended: then the next who tries it may have it.
    const owner = Number(existsSync(file) ? readFileSync(file, "utf8") : 0);
    if (owner > 0 && !isAlive(owner)) rmSync(file, { force: true });
    return false;
  }
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    // Whoever knocks meanwhile must not keep it open.
    const server = createServer((socket) => socket.destroy());
    server.on("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });

/** Waits until something holds. */
export async function waitUntil(holds: () => boolean | Promise<boolean>, withinMs: number): Promise<void> {
  for (const end = performance.now() + withinMs; performance.now() < end; await sleep(50))
    if (await holds()) return;
  throw new Error(`it was not ready within ${withinMs / 1000} s`);
}
