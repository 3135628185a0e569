import { execFile, execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { isAlive, waitUntil } from "./process.ts";

const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
const run = promisify(execFile);

export const openVSwitchIsInstalled = (): boolean =>
  spawnSync("ovs-vswitchd", ["--version"], { env, stdio: "ignore" }).status === 0;

/**
 * Real switches: Open vSwitch in a folder of its own, with datapaths in memory. It needs no root, and any number run side by side. All
 * switches are in one process.
 */
export class OpenVSwitch {
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
    await waitUntil(() => !isAlive(pid), 60_000);
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

  /** Runs a command of `ovs-ofctl` on a switch, which goes around its controllers. */
  async ofctl(number: number, command: string, ...args: readonly string[]): Promise<string> {
    const bridge = `unix:${this.folder}/s${number}.mgmt`;
    return (await run("ovs-ofctl", ["-O", "OpenFlow13", command, bridge, ...args], { env: this.#env }))
      .stdout;
  }

  /** The rules of a switch, a line for each. */
  async dump(number: number): Promise<string[]> {
    return (await this.ofctl(number, "dump-flows")).split("\n").filter((line) => line.includes("cookie="));
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
