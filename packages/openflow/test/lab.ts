import { execFile, execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
const run = promisify(execFile);

/** Why there is no lab; undefined: there can be one. */
export const withoutLab: string | undefined =
  spawnSync("ovs-vswitchd", ["--version"], { env, stdio: "ignore" }).status === 0
    ? undefined
    : "Open vSwitch is not installed: apt-get install --no-install-recommends openvswitch-switch";

/** Real switches: Open vSwitch in a folder of its own, with datapaths in memory. It needs no root, and any number run side by side. */
export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), "wheelwork-ovs-"));
  readonly #db = `unix:${this.folder}/db.sock`;
  readonly #atExit = (): void => this.#kill();

  constructor() {
    process.on("exit", this.#atExit);
    execFileSync(
      "ovsdb-tool",
      ["create", `${this.folder}/conf.db`, "/usr/share/openvswitch/vswitch.ovsschema"],
      { env },
    );
    this.#daemon("ovsdb-server", [`${this.folder}/conf.db`, `--remote=p${this.#db}`]);
    execFileSync("ovs-vsctl", [`--db=${this.#db}`, "--no-wait", "init"], { env });
    this.start();
  }

  /** Starts the switches, with the same database: their tables are empty. */
  start(): void {
    this.#daemon("ovs-vswitchd", [this.#db, "--enable-dummy", "--disable-system"]);
  }

  #daemon(name: string, args: readonly string[]): void {
    const files = [`--pidfile=${this.#file(name, "pid")}`, `--unixctl=${this.#file(name, "ctl")}`];
    const quiet = ["-vconsole:off", "-vsyslog:off", "-vfile:info", `--log-file=${this.#file(name, "log")}`];
    execFileSync(name, [...args, ...files, ...quiet, "--no-chdir", "--detach"], {
      env: this.#env,
      stdio: "ignore",
    });
  }

  #file(name: string, end: string): string {
    return join(this.folder, `${name}.${end}`);
  }

  get #env(): NodeJS.ProcessEnv {
    const { folder } = this;
    return { ...env, OVS_RUNDIR: folder, OVS_LOGDIR: folder, OVS_DBDIR: folder, OVS_SYSCONFDIR: folder };
  }

  #pid(name: string): number | undefined {
    try {
      return Number(readFileSync(this.#file(name, "pid"), "utf8"));
    } catch {
      return undefined;
    }
  }

  /** Sends a signal to the process of all switches. */
  signal(signal: NodeJS.Signals): void {
    process.kill(this.#pid("ovs-vswitchd") as number, signal);
  }

  /** All switches are started anew, as after a power cut. */
  async crash(): Promise<void> {
    const pid = this.#pid("ovs-vswitchd") as number;
    process.kill(pid, "SIGKILL");
    await until(() => !isAlive(pid));
    for (const end of ["pid", "ctl"]) rmSync(this.#file("ovs-vswitchd", end), { force: true });
    this.start();
  }

  async vsctl(...args: readonly string[]): Promise<string> {
    return (await run("ovs-vsctl", [`--db=${this.#db}`, "--timeout=60", ...args], { env: this.#env })).stdout;
  }

  async appctl(...args: readonly string[]): Promise<string> {
    return (await run("ovs-appctl", ["-t", this.#file("ovs-vswitchd", "ctl"), ...args], { env: this.#env }))
      .stdout;
  }

  /** The rules of a switch, as Open vSwitch's own tool reads them. */
  async dump(number: number): Promise<string[]> {
    const bridge = `unix:${this.folder}/s${number}.mgmt`;
    const { stdout } = await run("ovs-ofctl", ["-O", "OpenFlow13", "dump-flows", bridge], { env: this.#env });
    return stdout.split("\n").filter((line) => line.includes("cookie="));
  }

  /** Makes switches, with two ports each, that connect to these targets. The datapath id of a switch is its number. */
  async add(numbers: readonly number[], ...targets: readonly string[]): Promise<void> {
    const commands = numbers.flatMap((number) => {
      const name = `s${number}`;
      const id = number.toString(16).padStart(16, "0");
      const port = (one: number) =>
        `-- add-port ${name} ${name}p${one} -- set interface ${name}p${one} type=dummy ofport_request=${one}`;
      const all = `-- add-br ${name} -- set bridge ${name} datapath_type=dummy protocols=OpenFlow13 fail_mode=secure
        other_config:datapath-id=${id} other_config:disable-in-band=true ${port(1)} ${port(2)}`;
      return [
        ...all.split(/\s+/),
        ...(targets.length === 0 ? [] : ["--", "set-controller", name, ...targets]),
      ];
    });
    await this.vsctl(...commands.slice(1));
  }

  /** Lets a switch connect to these targets at once, without the pause after a broken connection. */
  async connect(number: number, ...targets: readonly string[]): Promise<void> {
    await this.vsctl("set-controller", `s${number}`, "tcp:127.0.0.1:1");
    await this.vsctl("set-controller", `s${number}`, ...targets);
  }

  #kill(): void {
    for (const name of ["ovs-vswitchd", "ovsdb-server"]) {
      const pid = this.#pid(name);
      if (pid === undefined) continue;
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended by itself.
      }
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  stop(): void {
    process.off("exit", this.#atExit);
    this.#kill();
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** What stands between a switch and its speaker: it cuts the connection, or holds what comes. */
export class Proxy {
  /** It cuts the connection after so many bytes to the switch. */
  cutAfter = Infinity;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #passed = 0;
  #held: [Socket, Buffer][] | undefined;

  constructor(port: number) {
    this.#server = createServer((down) => {
      const up = connect(port, "127.0.0.1");
      for (const socket of [down, up]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          if (this.#held !== undefined) return;
          down.destroy();
          up.destroy();
        });
      }
      down.pipe(up);
      up.on("data", (bytes) => {
        if (this.#held !== undefined) return void this.#held.push([down, bytes]);
        const left = this.cutAfter - this.#passed;
        this.#passed += bytes.length;
        if (left < bytes.length) down.end(bytes.subarray(0, left));
        else down.write(bytes);
      });
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  /** Holds what comes for the switch, and goes on to do so when the speaker has closed the connection. */
  hold(): void {
    this.#held = [];
  }

  /** Gives the switch what was held. */
  release(): void {
    for (const [down, bytes] of this.#held ?? []) down.write(bytes);
    this.#held = undefined;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
