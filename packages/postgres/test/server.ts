import { freePort, waitUntil, type Certificate } from "@wheelwork/services";
import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
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

const isRoot = process.getuid?.() === 0;

const ownUser = (flag: string): number =>
  Number(execFileSync("id", [flag, "postgres"], { encoding: "utf8" }));

/** A folder that the server's own user may write to. */
function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-postgres-"));
  if (isRoot) chownSync(folder, ownUser("-u"), ownUser("-g"));
  return folder;
}

/** A server's certificate, and the authority of the certificates that its clients have. */
interface ServerTls extends Certificate {
  readonly ca: string;
}

/** A PostgreSQL server of its own, on loopback, with its data in a temporary folder, which can be killed and frozen. */
export class Server {
  readonly url: string;
  readonly port: number;
  readonly #folder: string;
  #settings: readonly string[] = [];
  #schemas = 0;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.port = port;
    this.url = `postgres://wheelwork@127.0.0.1:${port}/postgres`;
  }

  /** `access`: the lines of pg_hba.conf; default: everybody is trusted. */
  static async start({ tls, access }: { tls?: ServerTls; access?: readonly string[] } = {}): Promise<Server> {
    const server = new Server(makeFolder(), await freePort());
    const options = [
      "--username=wheelwork",
      "--auth=trust",
      "--encoding=UTF8",
      "--locale=C.UTF-8",
      "--no-sync",
    ];
    await server.#run("initdb", "-D", server.#data, ...options);
    if (tls !== undefined) {
      const files = { ssl_cert_file: tls.cert, ssl_key_file: tls.key, ssl_ca_file: tls.ca };
      const given = Object.entries(files).map(([name, file]) => `${name}=${server.#own(name, file)}`);
      server.#settings = ["ssl=on", ...given];
    }
    if (access !== undefined) writeFileSync(join(server.#data, "pg_hba.conf"), `${access.join("\n")}\n`);
    await server.resume();
    return server;
  }

  /** A copy of the server as it is now that follows it, under a name for `synchronous_standby_names`. */
  async standby(name: string): Promise<Server> {
    const standby = new Server(makeFolder(), await freePort());
    const from = `host=127.0.0.1 port=${this.port} user=wheelwork application_name=${name}`;
    const options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"];
    await standby.#run("pg_basebackup", "-D", standby.#data, "-d", from, ...options);
    await standby.resume();
    const follows = async (): Promise<boolean> =>
      (await this.query("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'")).length > 0;
    await waitUntil(follows, 120_000);
    return standby;
  }

  /** Sets something while it runs. */
  async set(name: string, value: string): Promise<void> {
    await this.query(`ALTER SYSTEM SET ${name} = '${value}'`);
    await this.query("SELECT pg_reload_conf()");
    const isSet = async (): Promise<boolean> => (await this.query(`SHOW ${name}`))[0]?.[name] === value;
    await waitUntil(isSet, 120_000);
  }

  /** A standby takes writes from now on. */
  async promote(): Promise<void> {
    await this.#run("pg_ctl", "-D", this.#data, "-w", "promote");
  }

  /** A copy of a file that is the server's own, as it demands of keys. */
  #own(name: string, file: string): string {
    const copy = join(this.#folder, name);
    copyFileSync(file, copy);
    chmodSync(copy, 0o600);
    if (isRoot) chownSync(copy, ownUser("-u"), ownUser("-g"));
    return copy;
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
    const more = this.#settings.map((setting) => ` -c ${setting}`).join("");
    const settings = `-p ${this.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''${more}`;
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

  /** All its processes end at once. */
  async crash(): Promise<void> {
    const all = this.#processes();
    for (const pid of all) process.kill(pid, "SIGKILL");
    await waitUntil(() => all.every((pid) => !existsSync(`/proc/${pid}`)), 120_000);
  }

  /** Stops all its processes where they are; the result lets them go on. */
  freeze(): () => void {
    const all = this.#processes();
    for (const pid of all) process.kill(pid, "SIGSTOP");
    return () => {
      for (const pid of all) if (existsSync(`/proc/${pid}`)) process.kill(pid, "SIGCONT");
    };
  }

  /** The first one is stopped before the others are listed: it begins no more. */
  #processes(): number[] {
    const first = Number(readFileSync(join(this.#data, "postmaster.pid"), "utf8").split("\n")[0]);
    process.kill(first, "SIGSTOP");
    const children = execFileSync("ps", ["-o", "pid=", "--ppid", String(first)], { encoding: "utf8" });
    return [first, ...children.trim().split(/\s+/).map(Number)];
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
    // It may have crashed already.
    await this.kill().catch(() => {});
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
