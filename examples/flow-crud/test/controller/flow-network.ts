import { setTimeout as sleep } from "node:timers/promises";
import { Network } from "@wheelwork/services";
import { datapathIdOf, switchIdOf, type Rule } from "../../src/controller/model.ts";
import { rulesOf } from "../../src/controller/rules.ts";
import type { StoredFlow } from "../../src/controller/store.ts";

const switches = 6;
/** How long a link or a switch is away at most, in milliseconds. */
const awayMs = 5_000;

const sw = (number: number): string => switchIdOf(BigInt(number));

/** Hosts, and where they are. Host 2 meets host 1, and host 4 meets host 3, whatever happens between them. */
export const hosts = [
  { at: 1, vlan: 10 },
  { at: 6, vlan: 20 },
  { at: 3, vlan: 0 },
  { at: 4, vlan: 30 },
] as const;

/** An end of a flow at the port of a host, counted from 0. */
export const endOf = (host: number, vlan: number) => ({
  switch_id: sw(hosts[host]?.at ?? 1),
  port_number: 1,
  vlan_id: vlan,
});

/** A fault, from its beginning to where it is mended. */
export type Fault = () => Promise<void>;

/** A grid of real switches in two rows, with hosts. Several may do something to it at the same time. */
export class FlowNetwork {
  readonly network: Network;
  /** What is under way: one thing after the other is done to Open vSwitch. */
  #busy: Promise<unknown> = Promise.resolve();

  private constructor(network: Network) {
    this.network = network;
  }

  /** @param name At most 12 lower-case letters and digits. */
  static async start(name: string, folder: string): Promise<FlowNetwork> {
    const network = new Network(name, folder);
    await network.start("grid", switches);
    for (const [index, { at, vlan }] of hosts.entries()) await network.host(index + 1, at, 1, vlan);
    return new FlowNetwork(network);
  }

  get switches(): number {
    return switches;
  }

  get links(): readonly (readonly [number, number])[] {
    return this.network.made().links;
  }

  #alone<T>(task: () => T | Promise<T>): Promise<T> {
    const done = this.#busy.then(task);
    this.#busy = done.catch(() => {});
    return done;
  }

  /** Every switch connects at once: otherwise each waits up to eight seconds. */
  connect(): Promise<void> {
    return this.#alone(async () => {
      for (let number = 1; number <= switches; number++) {
        await this.network.switch(number, "off");
        await this.network.switch(number, "on");
      }
    });
  }

  /** The switches connect to controllers at these socket files from now on. */
  point(...paths: readonly string[]): Promise<void> {
    return this.#alone(() => this.network.point(...paths.map((path) => `unix:${path}`)));
  }

  /** Everything is as before the first fault. */
  async mend(): Promise<void> {
    for (const [one, other] of this.links) this.network.link(one, other, "up");
    await this.connect();
  }

  /** What can happen to a network. Each fault is mended when its promise resolves, but for rules that were changed by hand. */
  faults(random: () => number): Readonly<Record<string, Fault>> {
    const int = (below: number): number => Math.floor(random() * below);
    const aLink = (): readonly [number, number] =>
      this.links[int(this.links.length)] as readonly [number, number];
    const aSwitch = (): number => 1 + int(switches);
    const link = ([one, other]: readonly [number, number], state: "up" | "down"): void =>
      this.network.link(one, other, state);
    const pause = (): Promise<void> => sleep(random() * awayMs);
    return {
      "cut a link": async () => {
        const cut = aLink();
        link(cut, "down");
        await pause();
        link(cut, "up");
      },
      "take the controller of a switch": async () => {
        const number = aSwitch();
        await this.#alone(() => this.network.switch(number, "off"));
        await pause();
        await this.#alone(() => this.network.switch(number, "on"));
      },
      "start a switch anew": () => this.#alone(() => this.network.switch(aSwitch(), "reset")),
      "start all switches anew": async () => {
        await this.#alone(() => this.network.crash());
        await this.connect();
      },
      "cut two links": async () => {
        const [first, second] = [aLink(), aLink()];
        link(first, "down");
        await sleep(random() * 300);
        link(second, "down");
        await pause();
        link(second, "up");
        link(first, "up");
      },
      "delete rules by hand": async () => {
        await this.#alone(() => this.network.ofctl(aSwitch(), "del-flows", "in_port=1"));
      },
      "freeze all switches": () =>
        this.#alone(async () => {
          this.network.signal("SIGSTOP");
          await pause();
          this.network.signal("SIGCONT");
        }),
      "fill a table": async () => {
        const number = aSwitch();
        await this.#alone(() => this.network.limit(number, int(8)));
        await pause();
        await this.#alone(() => this.network.limit(number, undefined));
      },
      "add rules by hand": async () => {
        // Of a path that is none.
        const cookie = `0x40000000000${(0xf0000 + int(0xffff)).toString(16)}`;
        const rule = `cookie=${cookie},priority=24576,in_port=1,dl_vlan=${4000 + int(90)},actions=drop`;
        await this.#alone(() => this.network.ofctl(aSwitch(), "add-flow", rule));
      },
      "change rules by hand": async () => {
        await this.#alone(() => this.network.ofctl(aSwitch(), "mod-flows", "in_port=1,actions=drop"));
      },
    };
  }

  /** What pings between hosts that have a flow say against it. */
  async pingProblems(): Promise<string[]> {
    const problems: string[] = [];
    for (const [one, other] of [
      [1, 2],
      [3, 4],
    ] as const) {
      const answered = await this.network.ping(one, other, 10);
      if (answered < 10)
        problems.push(`${answered} of 10 pings from host ${one} to host ${other} were answered`);
    }
    return problems;
  }

  stop(): void {
    this.network.stop();
  }
}

/** What Open vSwitch has, against what flows need. */
export async function switchDifferences(network: Network, flows: readonly StoredFlow[]): Promise<string[]> {
  const problems: string[] = [];
  for (let number = 1; number <= network.made().switches; number++) {
    const wanted = rulesAt(flows, number);
    const should = new Set(wanted.flatMap((rule) => (rule.kind === "rule" ? [nameOf(rule)] : [])));
    const has = new Set(
      (await network.dump(number)).filter((line) => !line.includes("dl_type=0x88cc")).map(nameOfLine),
    );
    const meters = new Set(wanted.flatMap((rule) => (rule.kind === "meter" ? [String(rule.meter)] : [])));
    const dumped = await network.ofctl(number, "dump-meters");
    const hasMeters = new Set(Array.from(dumped.matchAll(/meter=(\d+)/g), ([, meter]) => meter ?? ""));
    for (const [kind, all, there] of [
      ["the rule", should, has],
      ["the meter", meters, hasMeters],
    ] as const) {
      for (const one of all) if (!there.has(one)) problems.push(`switch ${number} lacks ${kind} ${one}`);
      for (const one of there)
        if (!all.has(one)) problems.push(`switch ${number} has ${kind} ${one} too much`);
    }
  }
  return problems;
}

const rulesAt = (flows: readonly StoredFlow[], number: number): readonly Rule[] =>
  flows
    .flatMap((flow) => {
      const { inner, entries } = rulesOf(flow);
      return [...inner, ...entries];
    })
    .filter(({ switchId }) => Number(datapathIdOf(switchId)) === number);

const nameOf = ({ cookie, priority, inPort, vlan }: Extract<Rule, { kind: "rule" }>): string =>
  `${BigInt(`0x${cookie}`).toString(16)} ${priority} ${inPort} ${vlan ?? "any"}`;

/** The same from a line of `ovs-ofctl dump-flows`. */
function nameOfLine(line: string): string {
  const [cookie, priority, inPort, vlan] = [
    /cookie=0x([0-9a-f]+)/,
    /priority=(\d+)/,
    /in_port="?(?:l\d+-|h|ed)?(\d+)"?/,
    /dl_vlan=(\d+)/,
  ].map((pattern) => pattern.exec(line)?.[1]);
  const isLink = /in_port="?l\d+-/.test(line);
  const isHost = /in_port="?(?:h|ed)/.test(line);
  const port = isLink ? 100 + Number(inPort) : isHost ? 1 : Number(inPort);
  return `${cookie} ${priority} ${port} ${vlan ?? "any"}`;
}
