import { WheelworkError } from "@wheelwork/core";
import { execFile, execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { defaultFolder } from "./folder.ts";
import { OpenVSwitch, openVSwitchIsInstalled } from "./openvswitch.ts";

const run = promisify(execFile);
const env = { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` };

/** How the switches of a network are linked. */
export const shapes = ["chain", "ring", "mesh", "grid", "none"] as const;
export type Shape = (typeof shapes)[number];

/** What a network is made of. It is kept in its folder. */
interface Made {
  readonly shape: Shape;
  readonly switches: number;
  readonly links: readonly (readonly [number, number])[];
  readonly controllers: readonly string[];
  readonly hosts: readonly {
    readonly host: number;
    readonly at: number;
    readonly port: number;
    readonly vlan: number;
  }[];
}

/** The links of a shape, each with the lower number first. */
export function linksOf(shape: Shape, switches: number): (readonly [number, number])[] {
  const numbers = Array.from({ length: switches }, (_, index) => index + 1);
  const chain = numbers.slice(1).map((number) => [number - 1, number] as const);
  const width = Math.floor(Math.sqrt(switches));
  switch (shape) {
    case "chain":
      return chain;
    case "ring":
      return switches > 2 ? [...chain, [1, switches]] : chain;
    case "mesh":
      return numbers.flatMap((one) => numbers.slice(one).map((other) => [one, other] as const));
    case "grid":
      return numbers.flatMap((one) => [
        ...(one % width !== 0 && one < switches ? [[one, one + 1] as const] : []),
        ...(one + width <= switches ? [[one, one + width] as const] : []),
      ]);
    case "none":
      return [];
  }
}

/** Why this machine cannot have a network; undefined: it can. */
export function networkFault(): string | undefined {
  if (!openVSwitchIsInstalled()) return "Open vSwitch is not installed";
  for (const program of ["ping", "ethtool"]) {
    if (spawnSync("which", [program], { env }).status !== 0) return `${program} is not installed`;
  }
  const tried = `ww-try-${process.pid}`;
  const made = spawnSync("ip", ["netns", "add", tried], { env, encoding: "utf8" });
  if (made.status !== 0) return `network namespaces are not allowed: ${(made.stderr ?? "").trim()}`;
  spawnSync("ip", ["netns", "del", tried], { env });
  return undefined;
}

/** Gets what a network needs and this machine lacks. */
export function installNetwork(): void {
  if (process.getuid?.() !== 0 || spawnSync("apt-get", ["--version"], { stdio: "ignore" }).status !== 0)
    return;
  const packages = ["openvswitch-switch", "iputils-ping", "ethtool", "iproute2"];
  execFileSync("apt-get", ["update", "-qq"], { stdio: "ignore" });
  execFileSync("apt-get", ["install", "-yqq", "--no-install-recommends", ...packages], {
    stdio: "ignore",
    env: { ...env, DEBIAN_FRONTEND: "noninteractive" },
  });
}

/**
 * A network of real switches and hosts, in a folder and in network namespaces of its own: several can be side by side. Switch i has the
 * datapath id i. Its port 100 + j is the link to switch j; ports below 100 are for hosts. It outlives this program.
 */
export class Network {
  readonly name: string;
  readonly folder: string;
  /** The namespace of the switches. */
  readonly namespace: string;
  readonly #switches: OpenVSwitch;

  constructor(name = "network", folder = join(defaultFolder, "networks", name)) {
    if (!/^[a-z][a-z\d]{0,11}$/.test(name)) {
      throw new WheelworkError("WW_CONFIG", `a network cannot be named ${JSON.stringify(name)}`, {
        next: "Use 1 to 12 lower-case letters and digits, and begin with a letter.",
      });
    }
    this.name = name;
    this.folder = folder;
    this.namespace = `ww-${name}`;
    this.#switches = new OpenVSwitch(folder, this.namespace);
  }

  /** Where a controller listens that the switches reach: a socket file, since they are in another network namespace. */
  get controllerPath(): string {
    return join(this.folder, "controller.sock");
  }

  get isUp(): boolean {
    return this.#switches.pid !== undefined;
  }

  /** Starts a new network. `controllers`: targets of Open vSwitch. Default: the socket file `controllerPath`. */
  async start(
    shape: Shape,
    switches: number,
    controllers: readonly string[] = [`unix:${this.controllerPath}`],
  ): Promise<void> {
    if (this.isUp) {
      throw new WheelworkError("WW_STARTED", `the network ${this.name} is up already`, {
        next: `Stop it first, or give this one another name.`,
      });
    }
    this.stop();
    mkdirSync(this.folder, { recursive: true });
    this.#ip(`netns add ${this.namespace}`);
    this.#inside("link set lo up");
    this.#switches.begin();
    const links = linksOf(shape, switches);
    this.#inside(
      ...links.flatMap(([one, other]) => [
        `link add l${one}-${other} type veth peer name l${other}-${one}`,
        `link set l${one}-${other} up`,
        `link set l${other}-${one} up`,
      ]),
    );
    const bridges = Array.from({ length: switches }, (_, index) => bridge(index + 1, controllers));
    const ports = links.flatMap(([one, other]) => [link(one, other), link(other, one)]);
    await this.#vsctl([...bridges, ...ports].join(" "));
    this.#save({ shape, switches, links, controllers, hosts: [] });
  }

  /** Adds a host: a namespace with the address 10.99.0.HOST on a port of a switch, in a VLAN if there is one. */
  async host(host: number, at: number, port: number, vlan = 0): Promise<void> {
    const made = this.made();
    this.#demandSwitch(at);
    const isFree = !made.hosts.some((one) => one.host === host || (one.at === at && one.port === port));
    if (!(host >= 1 && host <= 254) || !(port >= 1 && port < 100) || !isFree) {
      throw new WheelworkError("WW_CONFIG", `host ${host} cannot be on port ${port} of switch ${at}`, {
        next: "Use a free number from 1 to 254 for the host, and a free port from 1 to 99.",
      });
    }
    const inside = this.#hostOf(host);
    this.#ip(`netns add ${inside}`);
    this.#inside(`link add h${host} type veth peer name eth0 netns ${inside}`, `link set h${host} up`);
    const address = `02:00:00:01:00:${host.toString(16).padStart(2, "0")}`;
    this.#batch(inside, [
      "link set lo up",
      `link set eth0 address ${address}`,
      "link set eth0 up",
      `addr add 10.99.0.${host}/24 dev eth0`,
    ]);
    // Datapaths of a process pass on checksums that the kernel leaves to hardware: ping would work, and TCP would not.
    execFileSync("ip", ["netns", "exec", inside, "ethtool", "-K", "eth0", "tx", "off"], {
      env,
      stdio: "ignore",
    });
    const straight = `-- add-port s${at} h${host} -- set interface h${host} ofport_request=${port}`;
    // The kernel may have no VLANs: a small bridge of its own tags the packets, as a customer's equipment would.
    const tagged = `-- add-br e${host} -- set bridge e${host} datapath_type=netdev fail_mode=standalone
      -- add-port e${host} h${host} tag=${vlan} -- add-port e${host} eu${host} trunks=${vlan}
      -- set interface eu${host} type=patch options:peer=ed${host} -- add-port s${at} ed${host}
      -- set interface ed${host} type=patch options:peer=eu${host} ofport_request=${port}`;
    await this.#vsctl(vlan === 0 ? straight : tagged);
    this.#save({ ...made, hosts: [...made.hosts, { host, at, port, vlan }] });
  }

  /** Cuts a link, or mends it. Both switches tell it to their controllers. */
  link(one: number, other: number, state: "up" | "down"): void {
    const links = this.made().links.map((link) => link.join("-"));
    if (!links.includes(`${one}-${other}`) && !links.includes(`${other}-${one}`)) {
      throw new WheelworkError("WW_NOT_FOUND", `there is no link between ${one} and ${other}`, {
        next: `The network has the links ${links.join(", ")}.`,
      });
    }
    this.#inside(`link set l${one}-${other} ${state}`);
  }

  /**
   * `off`: a switch loses its controllers, and keeps its rules. `on`: it has them again, at once. `reset`: it loses its rules, too, as if
   * somebody had started it anew.
   */
  async switch(number: number, what: "off" | "on" | "reset"): Promise<void> {
    this.#demandSwitch(number);
    // Another target instead of none: a switch that loses its last controller forgets its rules.
    if (what !== "on") await this.#switches.vsctl("set-controller", `s${number}`, "tcp:127.0.0.1:1");
    if (what === "reset") {
      for (const command of ["del-flows", "del-meters", "del-groups"])
        await this.#switches.ofctl(number, command);
    }
    if (what !== "off")
      await this.#switches.vsctl("set-controller", `s${number}`, ...this.made().controllers);
  }

  /** The switches connect to these controllers from now on. A connection with one that was theirs before stays. */
  async point(...controllers: readonly string[]): Promise<void> {
    const made = this.made();
    for (let number = 1; number <= made.switches; number++)
      await this.#switches.vsctl("set-controller", `s${number}`, ...controllers);
    this.#save({ ...made, controllers });
  }

  /** Sends a signal to the process that all switches are in: SIGSTOP freezes them. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#switches.signal(signal);
  }

  /** The first table of a switch holds so many rules, and refuses more. undefined: as many as come. */
  async limit(number: number, rules: number | undefined): Promise<void> {
    this.#demandSwitch(number);
    if (rules === undefined) await this.#switches.vsctl("clear", "Bridge", `s${number}`, "flow_tables");
    else {
      const table = ["--id=@t", "create", "Flow_Table", `flow_limit=${rules}`, "overflow_policy=refuse"];
      await this.#switches.vsctl("--", ...table, "--", "set", "Bridge", `s${number}`, "flow_tables:0=@t");
    }
  }

  /** All switches are started anew, as after a power cut. */
  crash(): Promise<void> {
    return this.#switches.crash();
  }

  /** Pings from host to host: how many were answered. `bytes`: what each of them carries. */
  async ping(
    from: number,
    to: number,
    count = 3,
    options: { readonly intervalMs?: number; readonly bytes?: number } = {},
  ): Promise<number> {
    const { intervalMs = 50, bytes = 56 } = options;
    const often = ["-i", String(intervalMs / 1000), "-s", String(bytes)];
    const args = [
      "netns",
      "exec",
      this.#hostOf(from),
      "ping",
      "-n",
      ...often,
      "-W",
      "1",
      "-c",
      String(count),
    ];
    // It ends with an error if none is answered.
    const said = await run("ip", [...args, `10.99.0.${to}`], { env }).catch(
      (error: { stdout?: string }) => error,
    );
    return Number(/(\d+) received/.exec(said.stdout ?? "")?.[1] ?? 0);
  }

  /** The rules of a switch, a line for each. */
  async dump(number: number): Promise<string[]> {
    this.#demandSwitch(number);
    return this.#switches.dump(number);
  }

  /** Runs a command of `ovs-ofctl` on a switch. */
  ofctl(number: number, command: string, ...args: readonly string[]): Promise<string> {
    return this.#switches.ofctl(number, command, ...args);
  }

  /** What the network is made of. @throws WheelworkError WW_NOT_FOUND: it is not up */
  made(): Made {
    const file = join(this.folder, "network.json");
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as Made;
    throw new WheelworkError("WW_NOT_FOUND", `the network ${this.name} is not up`, {
      next: "Start it: npm run network -- start ring 4",
    });
  }

  /** Ends all of it, and removes its folder. */
  stop(): void {
    this.#switches.stop();
    const { stdout } = spawnSync("ip", ["netns", "list"], { env, encoding: "utf8" });
    const names = (stdout ?? "").split("\n").map((line) => line.split(" ")[0] ?? "");
    for (const one of names) {
      if (one === this.namespace || one.startsWith(`${this.namespace}-h`)) this.#ip(`netns del ${one}`);
    }
  }

  #demandSwitch(number: number): void {
    const { switches } = this.made();
    if (number >= 1 && number <= switches) return;
    throw new WheelworkError("WW_NOT_FOUND", `there is no switch ${number}`, {
      next: `The network has the switches 1 to ${switches}.`,
    });
  }

  #hostOf(host: number): string {
    return `${this.namespace}-h${host}`;
  }

  #save(made: Made): void {
    writeFileSync(join(this.folder, "network.json"), JSON.stringify(made));
  }

  async #vsctl(commands: string): Promise<void> {
    const words = commands.split(/\s+/).slice(1);
    if (words.length > 0) await this.#switches.vsctl(...words);
  }

  #ip(command: string): void {
    execFileSync("ip", command.split(" "), { env, stdio: ["ignore", "ignore", "pipe"] });
  }

  #inside(...commands: readonly string[]): void {
    this.#batch(this.namespace, commands);
  }

  #batch(namespace: string, commands: readonly string[]): void {
    const input = commands.join("\n");
    execFileSync("ip", ["-n", namespace, "-batch", "-"], { env, input, stdio: ["pipe", "ignore", "pipe"] });
  }
}

function bridge(number: number, controllers: readonly string[]): string {
  const name = `s${number}`;
  const id = number.toString(16).padStart(16, "0");
  const address = `02:00:00:00:${id.slice(12, 14)}:${id.slice(14)}`;
  return `-- add-br ${name} -- set bridge ${name} datapath_type=netdev protocols=OpenFlow13 fail_mode=secure
    other_config:datapath-id=${id} other_config:disable-in-band=true other_config:hwaddr=${address}
    ${controllers.length === 0 ? "" : `-- set-controller ${name} ${controllers.join(" ")}`}`.trim();
}

/** One end of a link: a port of the first switch. */
const link = (one: number, other: number): string =>
  `-- add-port s${one} l${one}-${other} -- set interface l${one}-${other} ofport_request=${100 + other}`;
