import { flowMod, match, meterFlags } from "@wheelwork/openflow";
import { freePort, OpenVSwitch, waitUntil } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  hexOf,
  addressOf,
  FlowSpec,
  switchIdOf,
  type FlowRule,
  type Layout,
  type Path,
  type Rule,
} from "../../src/controller/model.ts";
import { bySwitch } from "../../src/controller/rules.ts";
import type { Speaker, SpeakerAnswer } from "../../src/controller/speaker.ts";
import { addressOfFlow } from "../../src/floodlight/rule-messages.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { portTo } from "../../src/network.ts";

/** The name of a switch. */
export const idOf = (number: number): string => switchIdOf(BigInt(number));

/** A path over these switches, each next to the one before. */
export function pathOver(
  id: number,
  switches: readonly number[],
  more: Partial<Pick<Path, "role" | "vlan" | "meters">> = {},
): Path {
  const segments = switches.slice(1).map((to, index) => {
    const from = switches[index] as number;
    return { from: idOf(from), fromPort: portTo(to), to: idOf(to), toPort: portTo(from) };
  });
  return {
    id,
    role: "main",
    segments,
    vlan: segments.length === 0 ? null : 1000 + id,
    meters: { forward: 2 * id + 30, reverse: 2 * id + 31 },
    bandwidth: 1000,
    latencyMs: segments.length,
    ...more,
  };
}

/** A flow from port 1 of the first switch to port 2 of the last one. */
export function layoutOf(
  paths: readonly Path[],
  ends: {
    readonly from: number;
    readonly to: number;
    readonly vlans?: readonly [number, number];
    readonly bandwidth?: number;
  },
): Layout {
  const [vlan, other] = ends.vlans ?? [100, 200];
  const spec = FlowSpec.parse({
    flowId: "flow-1",
    source: { switchId: idOf(ends.from), port: 1, vlan },
    destination: { switchId: idOf(ends.to), port: 2, vlan: other },
    bandwidth: ends.bandwidth ?? 1000,
  });
  return { spec, paths: [...paths] };
}

/** Gives a command for each switch of these rules, and gives the answers. */
export function tell(
  speaker: Speaker,
  command: "install" | "restore" | "remove",
  seq: number,
  rules: readonly Rule[],
): Promise<(SpeakerAnswer | undefined)[]> {
  const all = bySwitch(rules).map((own) =>
    command === "remove"
      ? speaker.execute({ command, seq, ...own })
      : speaker.execute({ command: "install", must: command === "restore", seq, ...own }),
  );
  return Promise.all(all);
}

/** A rule of switch 1, which leads from port 1 to the next switch. */
export const ruleAt = (vlan: number | null, pathId = 1, more: Partial<FlowRule> = {}): FlowRule => ({
  kind: "rule",
  switchId: idOf(1),
  cookie: (0x4000_0000_0000_0000n | BigInt(pathId)).toString(16),
  priority: 24_576,
  inPort: 1,
  vlan,
  meter: null,
  actions: [{ type: "output", port: portTo(2) }],
  ...more,
});

/** Switches of one kind, in a ring of two, and what drives them. */
export interface Driven {
  readonly speaker: SwitchSpeaker;
  readonly problems: readonly string[];
  /** What a switch really has, whoever put it there: cookie and address of each rule, in order. */
  rules(number: number): Promise<string[]>;
  meters(number: number): Promise<number[]>;
  /** A switch loses its controller. */
  away(number: number): Promise<void>;
  back(number: number): Promise<void>;
  /** All switches are started anew. */
  crash(): Promise<void>;
  /** The process that drives them has ended, and another one begins. */
  reopen(): Promise<void>;
  limit(number: number, rules: number): Promise<void>;
  /** Somebody changes a switch by hand: puts a rule with a cookie at the address of another one, takes one, or makes a meter. */
  putByHand(rule: FlowRule, cookie: bigint): Promise<void>;
  takeByHand(rule: FlowRule): Promise<void>;
  meterByHand(number: number, meter: number, rateKbps: number): Promise<void>;
  end(): Promise<void>;
}

const patienceMs = 120_000;
const newFolder = (): string => mkdtempSync(join(tmpdir(), "wheelwork-speaker-"));
const shown = (cookie: bigint, address: string | undefined): string =>
  `${hexOf(cookie)} ${address ?? "elsewhere"}`;

/** The switches that are ready. */
async function areReady(speaker: SwitchSpeaker, numbers: readonly number[]): Promise<void> {
  await waitUntil(() => numbers.every((number) => speaker.connected.includes(idOf(number))), patienceMs);
}

/** Two simulated switches. */
export class SimulatedPair implements Driven {
  readonly network = new SimulatedNetwork({ topology: { shape: "chain", switches: 2 }, reconnectMs: 5 });
  readonly problems: string[] = [];
  readonly #folder = newFolder();
  speaker!: SwitchSpeaker;

  static async start(): Promise<SimulatedPair> {
    const pair = new SimulatedPair();
    await pair.#open();
    return pair;
  }

  async #open(): Promise<void> {
    this.speaker = await SwitchSpeaker.over(() => this.network.listen(), {
      path: join(this.#folder, "book.db"),
      onProblem: (problem) => void this.problems.push(problem),
    });
    await areReady(this.speaker, [1, 2]);
  }

  rules(number: number): Promise<string[]> {
    const flows = this.network.flows(number).filter(({ cookie }) => cookie !== lldpCookie);
    return Promise.resolve(flows.map((flow) => shown(flow.cookie, addressOfFlow(flow))).toSorted());
  }

  meters(number: number): Promise<number[]> {
    return Promise.resolve(this.network.meters(number).map(({ meterId }) => meterId));
  }

  away(number: number): Promise<void> {
    this.network.off(number);
    return Promise.resolve();
  }

  async back(number: number): Promise<void> {
    this.network.on(number);
    await areReady(this.speaker, [number]);
  }

  async crash(): Promise<void> {
    for (const number of [1, 2]) this.network.reboot(number);
    await areReady(this.speaker, [1, 2]);
  }

  async reopen(): Promise<void> {
    await this.speaker.close();
    for (const number of [1, 2]) this.network.on(number);
    await this.#open();
  }

  limit(number: number, rules: number): Promise<void> {
    // The rule for discovery is one of them.
    return Promise.resolve(this.network.limit(number, rules + 1));
  }

  putByHand({ inPort, vlan, priority }: FlowRule, cookie: bigint): Promise<void> {
    const fields = match(vlan === null ? { inPort } : { inPort, vlan });
    this.network.change(1, flowMod({ cookie, priority, match: fields }));
    return Promise.resolve();
  }

  takeByHand({ inPort, vlan, priority }: FlowRule): Promise<void> {
    const fields = match(vlan === null ? { inPort } : { inPort, vlan });
    this.network.change(1, flowMod({ command: "deleteStrict", priority, match: fields }));
    return Promise.resolve();
  }

  meterByHand(number: number, meterId: number, rate: number): Promise<void> {
    const bands = [{ type: "drop", rate, burst: 0 }] as const;
    this.network.change(number, {
      type: "meterMod",
      command: "add",
      flags: meterFlags.kilobits,
      meterId,
      bands,
    });
    return Promise.resolve();
  }

  async end(): Promise<void> {
    await this.speaker.close();
    rmSync(this.#folder, { recursive: true });
  }
}

const lldpCookie = 0x8000_0000_0000_0001n;

/** Two switches of Open vSwitch. */
export class RealPair implements Driven {
  readonly lab = OpenVSwitch.temporary();
  readonly problems: string[] = [];
  readonly #folder = newFolder();
  #port = 0;
  speaker!: SwitchSpeaker;

  static async start(): Promise<RealPair> {
    const pair = new RealPair();
    pair.#port = await freePort();
    await pair.lab.add([1, 2], pair.#target);
    await pair.lab.vsctl(...[...patch(1, 2), ...patch(2, 1)].slice(1));
    await pair.#open();
    return pair;
  }

  get #target(): string {
    return `tcp:127.0.0.1:${this.#port}`;
  }

  async #open(): Promise<void> {
    this.speaker = await SwitchSpeaker.open({
      path: join(this.#folder, "book.db"),
      listen: { port: this.#port, host: "127.0.0.1" },
      onProblem: (problem) => void this.problems.push(problem),
    });
    for (const number of [1, 2]) await this.lab.connect(number, this.#target);
    await areReady(this.speaker, [1, 2]);
  }

  async rules(number: number): Promise<string[]> {
    const lines = await this.lab.dump(number);
    const rules = lines.map((line) => {
      const field = (pattern: RegExp): string | undefined => pattern.exec(line)?.[1];
      const inPort = Number(field(/in_port=(?:"?s\dp)?(\d+)/) ?? field(/in_port="?l\d-(\d)/));
      const vlan = field(/dl_vlan=(\d+)/);
      const address = addressOf(
        ruleAt(vlan === undefined ? null : Number(vlan), 1, {
          priority: Number(field(/priority=(\d+)/) ?? 32_768),
          inPort,
        }),
      );
      return { cookie: BigInt(field(/cookie=(0x[0-9a-f]+)/) ?? 0), address };
    });
    return rules
      .filter(({ cookie }) => cookie !== lldpCookie)
      .map(({ cookie, address }) => shown(cookie, address))
      .toSorted();
  }

  async meters(number: number): Promise<number[]> {
    const said = await this.lab.ofctl(number, "dump-meters");
    return [...said.matchAll(/meter=(\d+)/g)].map(([, meter]) => Number(meter));
  }

  async away(number: number): Promise<void> {
    await this.lab.vsctl("set-controller", `s${number}`, "tcp:127.0.0.1:1");
    await waitUntil(() => !this.speaker.connected.includes(idOf(number)), patienceMs);
  }

  async back(number: number): Promise<void> {
    await this.lab.connect(number, this.#target);
    await areReady(this.speaker, [number]);
  }

  async crash(): Promise<void> {
    await this.lab.crash();
    // Whether they have connected again already or not: this is a new connection.
    for (const number of [1, 2]) {
      await this.away(number);
      await this.back(number);
    }
  }

  async reopen(): Promise<void> {
    await this.speaker.close();
    await this.#open();
  }

  async limit(number: number, rules: number): Promise<void> {
    const table = ["--id=@t", "create", "Flow_Table", `flow_limit=${rules + 1}`, "overflow_policy=refuse"];
    await this.lab.vsctl("--", ...table, "--", "set", "Bridge", `s${number}`, "flow_tables:0=@t");
  }

  async putByHand({ inPort, vlan, priority }: FlowRule, cookie: bigint): Promise<void> {
    const tag = vlan === null ? "" : `,dl_vlan=${vlan}`;
    await this.lab.ofctl(
      1,
      "add-flow",
      `cookie=0x${cookie.toString(16)},priority=${priority},in_port=${inPort}${tag},actions=drop`,
    );
  }

  async takeByHand({ inPort, vlan }: FlowRule): Promise<void> {
    await this.lab.ofctl(1, "del-flows", `in_port=${inPort}${vlan === null ? "" : `,dl_vlan=${vlan}`}`);
  }

  async meterByHand(number: number, meter: number, rateKbps: number): Promise<void> {
    await this.lab.ofctl(number, "add-meter", `meter=${meter},kbps,band=type=drop,rate=${rateKbps}`);
  }

  async end(): Promise<void> {
    await this.speaker?.close();
    this.lab.stop();
    rmSync(this.#folder, { recursive: true });
  }
}

/** One end of the link. */
function patch(number: number, neighbour: number): string[] {
  const [name, peer] = [`l${number}-${neighbour}`, `l${neighbour}-${number}`];
  const settings = ["type=patch", `options:peer=${peer}`, `ofport_request=${portTo(neighbour)}`];
  return ["--", "add-port", `s${number}`, name, "--", "set", "interface", name, ...settings];
}
