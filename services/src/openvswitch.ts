import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { isAlive, send, waitUntil } from "./process.ts";

const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };
const run = promisify(execFile);

export const openVSwitchIsInstalled = (): boolean =>
  spawnSync("ovs-vswitchd", ["--version"], { env, stdio: "ignore" }).status === 0;

/** The processes of Open vSwitch in a folder of their own: its database, and the one that all switches are in. They outlive this program. */
export class OpenVSwitch {
  readonly folder: string;
  readonly #namespace: string | undefined;
  #atExit: (() => void) | undefined;

  /** `namespace`: the network namespace that the switches are in. Without it, their datapaths are in memory, and they need no root. */
  constructor(folder: string, namespace?: string) {
    this.folder = folder;
    this.#namespace = namespace;
  }

  /**
   * Switches in memory, in a new folder, for a test: any number run side by side. They end with this program, or by `stop`. Those of a
   * program that was killed end when the next one begins some.
   */
  static temporary(): OpenVSwitch {
    endOrphans();
    const one = new OpenVSwitch(mkdtempSync(join(tmpdir(), temporaryName)));
    writeFileSync(join(one.folder, ownerFile), `${process.pid}`);
    one.#atExit = () => one.stop();
    process.on("exit", one.#atExit);
    one.begin();
    return one;
  }

  /** Makes a new database, and starts both processes. */
  begin(): void {
    const db = join(this.folder, "conf.db");
    execFileSync("ovsdb-tool", ["create", db, "/usr/share/openvswitch/vswitch.ovsschema"], { env });
    this.#daemon("ovsdb-server", [db, `--remote=p${this.#db}`]);
    // Few threads: it is one machine's whole network.
    const threads = ["other_config:n-handler-threads=1", "other_config:n-revalidator-threads=1"];
    execFileSync(
      "ovs-vsctl",
      [`--db=${this.#db}`, "--no-wait", "init", "--", "set", "Open_vSwitch", ".", ...threads],
      {
        env,
      },
    );
    this.start();
  }

  /** Starts the switches, with the same database: their tables are empty. */
  start(): void {
    const memory = this.#namespace === undefined ? ["--enable-dummy", "--disable-system"] : [];
    this.#daemon("ovs-vswitchd", [this.#db, ...memory], this.#namespace);
  }

  get #db(): string {
    return `unix:${this.folder}/db.sock`;
  }

  /** The process of the switches; undefined: it does not run. */
  get pid(): number | undefined {
    const pid = this.#pid("ovs-vswitchd");
    return pid !== undefined && isAlive(pid) ? pid : undefined;
  }

  #daemon(name: string, args: readonly string[], namespace?: string): void {
    const files = [`--pidfile=${this.#file(name, "pid")}`, `--unixctl=${this.#file(name, "ctl")}`];
    const quiet = ["-vconsole:off", "-vsyslog:off", "-vfile:info", `--log-file=${this.#file(name, "log")}`];
    const command = [name, ...args, ...files, ...quiet, "--no-chdir", "--detach"];
    const [program = "", ...rest] =
      namespace === undefined ? command : ["ip", "netns", "exec", namespace, ...command];
    execFileSync(program, rest, { env: this.#env, stdio: "ignore" });
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

  /**
   * Notes each change of the rules of a switch from now on, whoever makes it, also one that is undone at once: `ADDED`, `DELETED` or `MODIFIED`,
   * with the rule. `stop` ends it, and gives what was noted.
   */
  async watch(number: number): Promise<{ stop(): Promise<readonly string[]> }> {
    const bridge = `unix:${this.folder}/s${number}.mgmt`;
    // By lines: otherwise nobody sees when it has begun.
    const command = ["-oL", "ovs-ofctl", "-O", "OpenFlow13", "monitor", bridge, "watch:!initial"];
    const child = spawn("stdbuf", command, { env: this.#env, stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    child.stderr.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    await new Promise<void>((resolve, reject) => {
      // The switch has said that it tells.
      child.stdout.once("data", () => resolve());
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`switch ${number} cannot be watched: ${printed}`)));
    });
    const ended = once(child, "close");
    return {
      stop: async () => {
        child.kill();
        await ended;
        return printed.split("\n").filter((line) => line.includes("event="));
      },
    };
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

  /** Ends both processes, and removes the folder. */
  stop(): void {
    if (this.#atExit !== undefined) process.off("exit", this.#atExit);
    for (const name of ["ovs-vswitchd", "ovsdb-server"]) {
      const pid = this.#pid(name);
      // A pid file may be left of a process that has ended long ago, whose number is another one's by now.
      if (pid !== undefined && commandOf(pid).includes(this.folder)) send(pid, "SIGKILL");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const temporaryName = "wheelwork-ovs-";
/** Says which process the switches of a folder belong to. */
const ownerFile = "owner";

/** Ends the switches whose owner was killed. */
function endOrphans(): void {
  for (const name of readdirSync(tmpdir())) {
    if (!name.startsWith(temporaryName)) continue;
    const folder = join(tmpdir(), name);
    try {
      const owner = Number(readFileSync(join(folder, ownerFile), "utf8"));
      if (owner > 0 && !isAlive(owner)) new OpenVSwitch(folder).stop();
    } catch {
      // It has just been made, or has just ended.
    }
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
