import { execFile, execFileSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { Client } from "pg";

const run = promisify(execFile);

/** Where the server's programs are: Debian's place, or that of the path; undefined: PostgreSQL is not installed. */
export const binaries: string | undefined = [
  ...ofDebian(),
  ...(process.env["PATH"] ?? "").split(delimiter),
].find((folder) => existsSync(join(folder, "initdb")));

function ofDebian(): string[] {
  const root = "/usr/lib/postgresql";
  return existsSync(root) ? readdirSync(root).map((version) => join(root, version, "bin")) : [];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const isRoot = process.getuid?.() === 0;

/** A PostgreSQL server of its own, on loopback, with its data in a temporary folder, which can be killed and frozen. */
export class Server {
  readonly url: string;
  readonly port: number;
  readonly #folder: string;
  #schemas = 0;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
    this.url = `postgres://wheelwork@127.0.0.1:${port}/postgres`;
  }

  static async start(): Promise<Server> {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-postgres-"));
    if (isRoot) {
      const id = (flag: string): number =>
        Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));
      chownSync(folder, id("-u"), id("-g"));
    }
    const server = new Server(folder, await freePort());
    const options = [
      "--username=wheelwork",
      "--auth=trust",
      "--encoding=UTF8",
      "--locale=C.UTF-8",
      "--no-sync",
    ];
    await server.#run("initdb", "-D", server.#data, ...options);
    await server.resume();
    return server;
  }

  /** The server refuses root, and then runs as its own user. */
  async #run(program: string, ...options: string[]): Promise<void> {
    const command = join(binaries as string, program);
    const [file, ...before] = isRoot ? ["runuser", "-u", "postgres", "--", command] : [command];
    await run(file as string, [...before, ...options], { cwd: this.#folder });
  }

  get #data(): string {
    return join(this.#folder, "data");
  }

  /** Starts it again on its data, and waits until it takes connections. */
  async resume(): Promise<void> {
    const settings = `-p ${this.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''`;
    await this.#run(
      "pg_ctl",
      "-D",
      this.#data,
      "-w",
      "-o",
      settings,
      "-l",
      join(this.#folder, "log"),
      "start",
    );
  }

  /** As a crash of the server: nothing is written that has not been. */
  async kill(): Promise<void> {
    await this.#run("pg_ctl", "-D", this.#data, "-m", "immediate", "stop");
  }

  /** Stops all its processes where they are; the result lets them go on. */
  freeze(): () => void {
    const first = Number(readFileSync(join(this.#data, "postmaster.pid"), "utf8").split("\n")[0]);
    process.kill(first, "SIGSTOP");
    const children = execFileSync("ps", ["-o", "pid=", "--ppid", String(first)], { encoding: "utf8" });
    const all = [first, ...children.trim().split(/\s+/).map(Number)];
    for (const pid of all) process.kill(pid, "SIGSTOP");
    return () => {
      for (const pid of all) process.kill(pid, "SIGCONT");
    };
  }

  /** A schema that no other test has. */
  schema(): string {
    return `test_${++this.#schemas}`;
  }

  /** Runs one statement, as an operator does. */
  async query(sql: string, ...values: unknown[]): Promise<Record<string, unknown>[]> {
    const client = new Client(this.url);
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(sql, values)).rows;
    } finally {
      await client.end();
    }
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
