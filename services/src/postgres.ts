import { WheelworkError } from "@wheelwork/core";
import { execFileSync, spawnSync, type ExecFileSyncOptions } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  childrenOf,
  isAlive,
  pidOf,
  send,
  startDaemon,
  stopDaemon,
  waitUntil,
  type Daemon,
} from "./process.ts";

const debianRoot = "/usr/lib/postgresql";

/** The folder of the server's programs; undefined: PostgreSQL is not installed. */
function programs(): string | undefined {
  const debian = existsSync(debianRoot)
    ? readdirSync(debianRoot).map((version) => join(debianRoot, version, "bin"))
    : [];
  return [...debian, ...(process.env["PATH"] ?? "").split(delimiter)].find((folder) =>
    existsSync(join(folder, "initdb")),
  );
}

/** How long the processes of a server that was killed may live on, in milliseconds. */
const lingerMs = 20_000;

export const postgresIsInstalled = (): boolean => programs() !== undefined;

const isRoot = process.getuid?.() === 0;

/** Installs the Debian package where that is possible. @throws WheelworkError WW_CONFIG. */
export function installPostgres(): void {
  if (postgresIsInstalled()) return;
  const apt = isRoot && spawnSync("apt-get", ["--version"], { stdio: "ignore" }).status === 0;
  if (apt) {
    // Without the server that the package would start by itself.
    mkdirSync("/etc/postgresql-common", { recursive: true });
    writeFileSync("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n");
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    const quiet: ExecFileSyncOptions = { stdio: ["ignore", "ignore", "inherit"], env };
    execFileSync("apt-get", ["update", "-qq"], quiet);
    execFileSync("apt-get", ["install", "-yqq", "--no-install-recommends", "postgresql"], quiet);
  }
  if (postgresIsInstalled()) return;
  throw new WheelworkError("WW_CONFIG", "PostgreSQL is not installed", {
    next: "Install it (on Debian: apt-get install postgresql), or set DATABASE_URL to a server that runs already.",
  });
}

/** A PostgreSQL server with its own folder, on loopback, open to the users of this machine. */
export class PostgresServer {
  readonly port: number;
  readonly #data: string;
  readonly #daemon: Daemon;

  constructor(folder: string, port: number) {
    this.port = port;
    this.#data = join(folder, "data");
    this.#daemon = {
      name: "PostgreSQL",
      pidFile: join(this.#data, "postmaster.pid"),
      writesPid: true,
      logFile: join(folder, "postgres.log"),
      port,
      mark: this.#data,
    };
  }

  get url(): string {
    return `postgres://wheelwork@127.0.0.1:${this.port}/wheelwork`;
  }

  get pid(): number | undefined {
    return pidOf(this.#daemon);
  }

  /** Starts it, unless it runs, and waits until it takes connections. */
  async start(): Promise<void> {
    if (this.pid !== undefined) return;
    installPostgres();
    const bin = programs() as string;
    mkdirSync(this.#data, { recursive: true });
    // The server refuses to run as root.
    const user = isRoot ? ownUser() : undefined;
    if (user !== undefined) chownSync(this.#data, user.uid, user.gid);
    chmodSync(this.#data, 0o700);
    if (!existsSync(join(this.#data, "PG_VERSION"))) {
      const flags = ["--username=wheelwork", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"];
      // The server runs as another user, who may not look into the present folder.
      const made = spawnSync(join(bin, "initdb"), ["-D", this.#data, ...flags], {
        encoding: "utf8",
        cwd: "/",
        ...user,
      });
      if (made.status !== 0) {
        throw new WheelworkError(
          "WW_CONFIG",
          `the data of PostgreSQL cannot be made: ${made.stderr.trim()}`,
          {
            next: `Let the user ${user === undefined ? "that this runs as" : "postgres"} reach the folder ${this.#data}.`,
          },
        );
      }
    }
    const settings = [
      `port=${this.port}`,
      "listen_addresses=127.0.0.1",
      `unix_socket_directories=${this.#data}`,
      "max_connections=300",
    ];
    const flags = settings.flatMap((setting) => ["-c", setting]);
    const command = [join(bin, "postgres"), "-D", this.#data, ...flags] as const;
    // After a kill, the server's own processes end a moment later than it does, and it does not start beside them.
    for (const patience = performance.now() + lingerMs; ;) {
      const before = this.#log().length;
      try {
        await startDaemon(this.#daemon, command, { withinMs: 120_000, ...user });
        break;
      } catch (error) {
        const lingers = /still in use|lock file .* already exists/.test(this.#log().slice(before));
        if (!lingers || performance.now() > patience) throw error;
        await sleep(200);
      }
    }
    const server = ["-h", "127.0.0.1", "-p", `${this.port}`, "-U", "wheelwork"];
    await waitUntil(
      () => spawnSync(join(bin, "pg_isready"), server, { stdio: "ignore" }).status === 0,
      60_000,
    );
    const listed = execFileSync(join(bin, "psql"), [
      ...server,
      "-d",
      "postgres",
      "-Atc",
      "SELECT datname FROM pg_database",
    ]);
    if (!String(listed).split("\n").includes("wheelwork"))
      execFileSync(join(bin, "createdb"), [...server, "wheelwork"], { stdio: "ignore" });
  }

  #log(): string {
    const { logFile } = this.#daemon;
    return existsSync(logFile) ? readFileSync(logFile, "utf8") : "";
  }

  /** Stops it at once, with its clients cut off. */
  stop(): Promise<boolean> {
    return stopDaemon(this.#daemon, "SIGINT");
  }

  /**
   * Sends a signal to the server and all its processes; SIGKILL waits for their end. A process that serves a connection would
   * outlive the server otherwise, for as long as it is busy: it might still commit what its client has sent.
   */
  async signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): Promise<void> {
    const { pid } = this;
    if (pid === undefined) return;
    // While it stands still, it starts no process.
    if (signal === "SIGKILL") process.kill(pid, "SIGSTOP");
    const all = [pid, ...childrenOf(pid)];
    for (const one of all) send(one, signal);
    if (signal === "SIGKILL") await waitUntil(() => !all.some(isAlive), lingerMs);
  }
}

function ownUser(): { uid: number; gid: number } {
  const id = (flag: string): number => Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
  return { uid: id("-u"), gid: id("-g") };
}
