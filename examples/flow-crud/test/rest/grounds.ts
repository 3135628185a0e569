import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, OpenVSwitch, waitUntil } from "@wheelwork/services";
import { datapathIdOf, switchIdOf } from "../../src/controller/model.ts";
import { pathOfCookie } from "../../src/controller/rules.ts";
import { addressOfFlow, deletionOf } from "../../src/floodlight/rule-messages.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { portTo } from "../../src/network.ts";

const sw = (number: number): string => switchIdOf(BigInt(number));

/** Where a packet comes out. */
export interface Outlet {
  readonly switchId: string;
  readonly port: number;
  readonly vlan: number;
}

/** The switches of a test of REST, and what drives them. */
export interface Ground {
  readonly speaker: SwitchSpeaker;
  /** How many of its switches are connected at the beginning: 1 to so many. */
  readonly connected: number;
  off(number: number): Promise<void>;
  on(number: number): Promise<void>;
  cut(one: number, other: number): Promise<void>;
  mend(one: number, other: number): Promise<void>;
  /** A switch takes no more rules than so many. */
  limit(number: number, rules: number): Promise<void>;
  /** Where a packet of a VLAN comes out that comes in at a port; undefined: nowhere. */
  trace(switchId: string, port: number, vlan: number): Promise<Outlet | undefined>;
  /** Somebody takes the rules of packets from a port. */
  takeRules(number: number, inPort: number): Promise<void>;
  /** How many rules and meters of flows the switches really have. */
  count(): Promise<number>;
  close(): Promise<void>;
}

/** The links between the switches, and what they cost. */
export const links = [
  { between: [1, 2], cost: 1 },
  { between: [2, 3], cost: 1 },
  { between: [1, 4], cost: 5 },
  { between: [3, 4], cost: 5 },
] as const;

/** Simulated switches. Switch 5 is alone. Switch 6 is away. */
export class SimulatedGround implements Ground {
  readonly connected = 5;
  readonly network = new SimulatedNetwork({ topology: { switches: 6, links }, reconnectMs: 5 });
  readonly #folder = mkdtempSync(join(tmpdir(), "flow-crud-ground-"));
  speaker!: SwitchSpeaker;

  static async start(): Promise<SimulatedGround> {
    const ground = new SimulatedGround();
    ground.network.off(6);
    ground.speaker = await SwitchSpeaker.over(() => ground.network.listen(), {
      path: join(ground.#folder, "book.db"),
      durability: "normal",
    });
    return ground;
  }

  async off(number: number): Promise<void> {
    this.network.off(number);
  }

  async on(number: number): Promise<void> {
    this.network.on(number);
  }

  async cut(one: number, other: number): Promise<void> {
    this.network.cut(one, other);
  }

  async mend(one: number, other: number): Promise<void> {
    this.network.mend(one, other);
  }

  async limit(number: number, rules: number): Promise<void> {
    this.network.limit(number, rules);
  }

  async trace(switchId: string, port: number, vlan: number): Promise<Outlet | undefined> {
    return this.network.trace(switchId, port, vlan);
  }

  async takeRules(number: number, inPort: number): Promise<void> {
    for (const flow of this.network.flows(number))
      if (pathOfCookie(flow.cookie) !== undefined && addressOfFlow(flow)?.split("/")[2] === String(inPort))
        this.network.change(number, deletionOf(flow));
  }

  async count(): Promise<number> {
    return [1, 2, 3, 4, 5, 6].reduce(
      (sum, number) =>
        sum +
        this.network.meters(number).length +
        this.network.flows(number).filter(({ cookie }) => pathOfCookie(cookie) !== undefined).length,
      0,
    );
  }

  async close(): Promise<void> {
    await this.speaker.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The ports of hosts that its tests use. */
const hostPorts = [5, 6, 10];

/** Switches of Open vSwitch in memory, linked in the same way. Open vSwitch itself says where packets go. */
export class RealGround implements Ground {
  readonly connected = 4;
  readonly lab = OpenVSwitch.temporary();
  readonly #folder = mkdtempSync(join(tmpdir(), "flow-crud-ground-"));
  #target = "";
  speaker!: SwitchSpeaker;

  static async start(): Promise<RealGround> {
    const ground = new RealGround();
    const { lab } = ground;
    const port = await freePort();
    ground.#target = `tcp:127.0.0.1:${port}`;
    const numbers = [1, 2, 3, 4];
    await lab.add(numbers, ground.#target);
    const addPort = (number: number, name: string, settings: readonly string[]): string[] => [
      "--",
      "add-port",
      `s${number}`,
      name,
      "--",
      "set",
      "interface",
      name,
      ...settings,
    ];
    const ports = numbers.flatMap((number) =>
      hostPorts.flatMap((one) =>
        addPort(number, `s${number}p${one}`, ["type=dummy", `ofport_request=${one}`]),
      ),
    );
    const ends = links.flatMap(({ between: [one, other] }) => [[one, other] as const, [other, one] as const]);
    const patches = ends.flatMap(([from, to]) =>
      addPort(from, `l${from}-${to}`, [
        "type=patch",
        `options:peer=l${to}-${from}`,
        `ofport_request=${portTo(to)}`,
      ]),
    );
    await lab.vsctl(...[...ports, ...patches].slice(1));
    ground.speaker = await SwitchSpeaker.open({
      path: join(ground.#folder, "book.db"),
      durability: "normal",
      listen: { port, host: "127.0.0.1" },
    });
    for (const number of numbers) await lab.connect(number, ground.#target);
    await waitUntil(() => ground.speaker.connected.length === numbers.length, 60_000);
    return ground;
  }

  async off(number: number): Promise<void> {
    await this.lab.vsctl("set-controller", `s${number}`, "tcp:127.0.0.1:1");
  }

  on(number: number): Promise<void> {
    return this.lab.connect(number, this.#target);
  }

  async cut(one: number, other: number): Promise<void> {
    await this.lab.vsctl("set", "interface", `l${one}-${other}`, "options:peer=nobody");
  }

  async mend(one: number, other: number): Promise<void> {
    await this.lab.vsctl("set", "interface", `l${one}-${other}`, `options:peer=l${other}-${one}`);
  }

  async limit(number: number, rules: number): Promise<void> {
    const table = ["--id=@t", "create", "Flow_Table", `flow_limit=${rules}`, "overflow_policy=refuse"];
    await this.lab.vsctl("--", ...table, "--", "set", "Bridge", `s${number}`, "flow_tables:0=@t");
  }

  async trace(switchId: string, port: number, vlan: number): Promise<Outlet | undefined> {
    const tag = vlan === 0 ? "" : `,dl_vlan=${vlan}`;
    const said = await this.lab.appctl(
      "ofproto/trace",
      `s${datapathIdOf(switchId)}`,
      `in_port=${port}${tag}`,
    );
    let at = { switchId, port };
    let outlet: { switchId: string; port: number } | undefined;
    for (const line of said.split("\n")) {
      const bridge = /bridge\("s(\d+)"\)/.exec(line)?.[1];
      const output = /^\s+(?:output:(\d+)|(IN_PORT))$/.exec(line);
      if (bridge !== undefined) {
        at = { switchId: sw(Number(bridge)), port };
        outlet = undefined;
      } else if (output !== null) outlet = { ...at, port: Number(output[1] ?? at.port) };
    }
    if (outlet === undefined || outlet.port > 100) return undefined;
    let out = vlan;
    for (const [action, vid] of (/Datapath actions: (.*)/.exec(said)?.[1] ?? "").matchAll(
      /push_vlan\(vid=(\d+)|pop_vlan/g,
    ))
      out = action === "pop_vlan" ? 0 : Number(vid);
    return { ...outlet, vlan: out };
  }

  async takeRules(number: number, inPort: number): Promise<void> {
    await this.lab.ofctl(number, "del-flows", `in_port=${inPort}`);
  }

  async count(): Promise<number> {
    let sum = 0;
    for (const number of [1, 2, 3, 4]) {
      const cookies = (await this.lab.dump(number)).map((line) =>
        BigInt(/cookie=(0x[\da-f]+)/.exec(line)?.[1] ?? 0),
      );
      const meters = (await this.lab.ofctl(number, "dump-meters")).match(/meter=\d+/g) ?? [];
      sum += cookies.filter((cookie) => pathOfCookie(cookie) !== undefined).length + meters.length;
    }
    return sum;
  }

  async close(): Promise<void> {
    await this.speaker?.close();
    this.lab.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
