import { EventEmitter } from "node:events";
import { OpenFlowError, portState, type FlowStats, type PortDescription } from "@wheelwork/openflow";
import { systemClock, type Clock } from "wheelwork";
import { datapathIdOf, switchIdOf } from "../controller/model.ts";
import { SimulatedConnection } from "./simulated-connection.ts";
import { bytesOf, packetOf, SimulatedSwitch, type Outlets, type Packet } from "./simulated-switch.ts";
import { linkName, linksIn, type Topology, type TopologyLink } from "./topology.ts";
import type { DrivenSwitch, SwitchSource } from "./switch-source.ts";

/** What a simulated network is made with. */
export interface SimulatedNetworkOptions {
  readonly topology: Topology;
  /** Each switch has the ports 1 to this for hosts. Default 20. */
  readonly hostPorts?: number;
  /** Rules that one switch holds. Default: no limit. */
  readonly tableSize?: number;
  /** How long a switch waits before it connects again, in milliseconds. Default 1,000. */
  readonly reconnectMs?: number;
  /** How long a switch may take to answer before nobody waits for it, in milliseconds. Default 2,000. */
  readonly requestTimeoutMs?: number;
  /** After so long a silence the connection with a switch ends, in milliseconds. Default 6,000. */
  readonly silentAfterMs?: number;
  /** Each message to a switch and each reply takes its own time, so that a test can put anything in between. Default: all at once. */
  readonly isFine?: boolean;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "after" | "soon">;
}

/** Where a packet comes out of the network. */
export interface Exit {
  readonly switchId: string;
  readonly port: number;
  /** 0: it has no VLAN. */
  readonly vlan: number;
}

/** A switch with its connection. */
interface Node {
  readonly table: SimulatedSwitch;
  connection: SimulatedConnection | undefined;
  /** It does not look for its controller. */
  isOff: boolean;
  isFrozen: boolean;
  /** Cancels what is planned for it: that it connects, or that its silence is noticed. */
  cancel: () => void;
}

/** A link of the network, as it is now. */
export interface NetworkLink extends TopologyLink {
  readonly name: string;
  readonly isUp: boolean;
}

interface State {
  isUp: boolean;
  /** It loses every packet, and no port tells so. */
  isSilent: boolean;
}

type Events = Record<string, unknown[]>;

/**
 * A network of switches of OpenFlow 1.3 in memory: rules do with packets what they say. Links can be cut; switches can lose their
 * controller, be started anew, say nothing, or be full. The same calls with the same clock give the same.
 *
 * `listen` makes a source of connections, as the one of @wheelwork/openflow. There is one at a time: a new one is a new owner, and what the
 * connections of the former one have under way lands only until a switch knows its new master.
 */
export class SimulatedNetwork {
  readonly #options: SimulatedNetworkOptions;
  readonly #clock: Pick<Clock, "after" | "soon">;
  readonly #nodes = new Map<number, Node>();
  readonly #links = new Map<string, TopologyLink & State>();
  /** By switch and port: the link, and the other end. */
  readonly #ends = new Map<string, { readonly link: State; readonly node: Node; readonly port: number }>();
  /** Who hears what leaves a port, by switch and port. */
  readonly #hosts = new Map<string, (data: Uint8Array) => void>();
  #source: (EventEmitter<Events> & { readonly port: number }) | undefined;

  /** @throws RangeError with all that is wrong with the topology */
  constructor(options: SimulatedNetworkOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const links = linksIn(options.topology);
    for (let number = 1; number <= options.topology.switches; number++) {
      const table = new SimulatedSwitch(number);
      table.limit = options.tableSize ?? Number.POSITIVE_INFINITY;
      for (let port = 1; port <= (options.hostPorts ?? 20); port++)
        table.ports.set(port, portOf(number, port));
      this.#nodes.set(number, {
        table,
        connection: undefined,
        isOff: false,
        isFrozen: false,
        cancel: () => {},
      });
    }
    for (const spec of links) {
      const link = { ...spec, isUp: true, isSilent: false };
      const [one, other] = spec.between.map((number) => this.#node(number)) as [Node, Node];
      const [port, otherPort] = spec.ports;
      this.#links.set(linkName(...spec.between), link);
      for (const [node, at, peer, peerPort] of [
        [one, port, other, otherPort],
        [other, otherPort, one, port],
      ] as const) {
        node.table.ports.set(at, portOf(node.table.number, at, spec.bandwidth));
        this.#ends.set(`${node.table.number}/${at}`, { link, node: peer, port: peerPort });
      }
    }
  }

  /** The switches, by their names. */
  get switchIds(): readonly string[] {
    return Array.from(this.#nodes.keys(), (number) => switchIdOf(BigInt(number)));
  }

  /** The links, as they are now. */
  get links(): readonly NetworkLink[] {
    return Array.from(this.#links, ([name, { between, ports, cost, latencyMs, bandwidth, isUp }]) => ({
      name,
      between,
      ports,
      cost,
      latencyMs,
      bandwidth,
      isUp,
    }));
  }

  /** A source of connections with its switches. It ends the one before. */
  listen(): Promise<SwitchSource> {
    this.#endSource();
    const source: EventEmitter<Events> & { readonly port: number; close(): Promise<void> } = Object.assign(
      new EventEmitter<Events>(),
      {
        port: 0,
        close: (): Promise<void> => Promise.resolve(this.#source === source ? this.#endSource() : undefined),
      },
    );
    this.#source = source;
    for (const node of this.#nodes.values()) this.#connectSoon(node);
    return Promise.resolve(source as unknown as SwitchSource);
  }

  // ---- what happens to links ----

  /** Cuts a link. Both switches tell it. @returns Whether there is such a link */
  cut(one: number, other: number): boolean {
    return this.#setLink(one, other, false);
  }

  /** Mends a link. @returns Whether there is such a link */
  mend(one: number, other: number): boolean {
    return this.#setLink(one, other, true);
  }

  /** A link loses every packet from now on, or no longer. No port tells so. @returns Whether there is such a link */
  silence(one: number, other: number, isSilent: boolean): boolean {
    const link = this.#links.get(linkName(one, other));
    if (link !== undefined) link.isSilent = isSilent;
    return link !== undefined;
  }

  // ---- what happens to switches ----

  /** A switch loses its connection. It keeps its rules, and connects again unless it is off. */
  disconnect(number: number): void {
    const node = this.#node(number);
    node.connection?.lose(unknown("the connection has ended"));
  }

  /** A switch loses its controller, and keeps its rules: until `on`. */
  off(number: number): void {
    const node = this.#node(number);
    node.isOff = true;
    node.cancel();
    this.disconnect(number);
  }

  /** A switch looks for its controller, at once. A former connection ends. */
  on(number: number): void {
    const node = this.#node(number);
    node.isOff = false;
    node.isFrozen = false;
    node.cancel();
    this.#connect(node);
  }

  /** A switch is started anew: it has forgotten everything. */
  reboot(number: number): void {
    const node = this.#node(number);
    node.table.forget();
    this.disconnect(number);
    // What was on its way to it has no receiver any more.
    node.connection = undefined;
  }

  /** A switch says nothing and does nothing, and its connection stays open. */
  freeze(number: number): void {
    const node = this.#node(number);
    if (node.isFrozen) return;
    node.isFrozen = true;
    const { connection } = node;
    connection?.freeze();
    node.cancel = this.#clock.after(this.#options.silentAfterMs ?? 6000, () =>
      connection?.lose(unknown("the switch was silent for too long")),
    );
  }

  /** It goes on where it has stopped: what it was sent meanwhile, it does now, unless it has another master. */
  thaw(number: number): void {
    const node = this.#node(number);
    if (!node.isFrozen) return;
    node.isFrozen = false;
    node.cancel();
    const { connection } = node;
    connection?.thaw();
    if (connection === undefined || connection.isLost) this.#connectLater(node);
  }

  /** How many rules a switch holds from now on. Those that it has stay. */
  limit(number: number, rules: number): void {
    this.#node(number).table.limit = rules;
  }

  // ---- what a test sees ----

  /** The rules that a switch really has. */
  flows(number: number): FlowStats[] {
    return this.#node(number).table.flows({});
  }

  /** The meters that a switch really has. */
  meters(number: number) {
    return this.#node(number).table.meters();
  }

  /** Somebody changes a switch behind the back of its controller. @returns Whether it takes that */
  change(number: number, message: Parameters<SimulatedSwitch["take"]>[0]): boolean {
    const node = this.#node(number);
    return (
      node.table.take(
        message,
        this.#outlets(node, () => {}),
      ) === undefined
    );
  }

  /**
   * Where a packet comes out that enters a switch by a port: it follows rules and links. undefined: it is lost. Rules count it.
   * @param vlan 0: it has no tag
   */
  trace(switchId: string, port: number, vlan: number): Exit | undefined {
    const node = this.#node(Number(datapathIdOf(switchId)));
    const exits: Exit[] = [];
    const packet: Packet = { ...packetOf(testPacket), vlans: vlan === 0 ? [] : [vlan] };
    node.table.receive(
      port,
      packet,
      this.#outlets(node, (exit) => void exits.push(exit)),
    );
    return exits[0];
  }

  /** A host hears the packets that leave a port of a switch. */
  hear(switchId: string, port: number, listener: (data: Uint8Array) => void): void {
    this.#hosts.set(`${Number(datapathIdOf(switchId))}/${port}`, listener);
  }

  /** A host sends a packet into a port of a switch. */
  inject(switchId: string, port: number, data: Uint8Array): void {
    const node = this.#node(Number(datapathIdOf(switchId)));
    node.table.receive(
      port,
      packetOf(data),
      this.#outlets(node, () => {}),
    );
  }

  // ---- within ----

  #node(number: number): Node {
    const node = this.#nodes.get(number);
    if (node !== undefined) return node;
    throw new RangeError(
      `there is no switch ${number}: the network has the switches 1 to ${this.#nodes.size}`,
    );
  }

  #setLink(one: number, other: number, isUp: boolean): boolean {
    const link = this.#links.get(linkName(one, other));
    if (link === undefined) return false;
    link.isUp = isUp;
    for (const [index, number] of link.between.entries()) {
      const node = this.#node(number);
      const port = node.table.setLink(link.ports[index] as number, isUp);
      if (port !== undefined)
        node.connection?.tell("portStatus", { type: "portStatus", reason: "modify", port });
    }
    return true;
  }

  #endSource(): void {
    const source = this.#source;
    this.#source = undefined;
    if (source === undefined) return;
    for (const node of this.#nodes.values()) {
      node.connection?.lose(unknown("the speaker has ended the connection"));
      if (!node.isFrozen) node.cancel();
    }
  }

  #connectSoon(node: Node): void {
    const source = this.#source;
    this.#clock.soon(() => {
      if (this.#source === source) this.#connect(node);
    });
  }

  #connectLater(node: Node): void {
    node.cancel();
    if (!node.isOff && this.#source !== undefined)
      node.cancel = this.#clock.after(this.#options.reconnectMs ?? 1000, () => this.#connect(node));
  }

  #connect(node: Node): void {
    const source = this.#source;
    if (source === undefined || node.isOff || node.isFrozen) return;
    if (node.connection !== undefined && !node.connection.isLost)
      node.connection.lose(unknown("the switch has connected again"));
    node.cancel();
    const connection = new SimulatedConnection({
      table: node.table,
      outlets: this.#outlets(node, () => {}),
      isMaster: () => node.connection === connection,
      isFine: this.#options.isFine ?? false,
      requestTimeoutMs: this.#options.requestTimeoutMs ?? 2000,
      clock: this.#clock,
      ended: () => {
        if (node.connection === connection && !node.isFrozen) this.#connectLater(node);
      },
    });
    node.connection = connection;
    source.emit("switch", connection as unknown as DrivenSwitch);
  }

  /** Where packets of a switch go. `exit`: one has come to a host. */
  #outlets(node: Node, exit: (exit: Exit) => void): Outlets {
    const { number } = node.table;
    return {
      out: (port, packet) => {
        if (!node.table.isUp(port)) return;
        const end = this.#ends.get(`${number}/${port}`);
        this.#hosts.get(`${number}/${port}`)?.(bytesOf(packet));
        if (end === undefined)
          return exit({ switchId: switchIdOf(BigInt(number)), port, vlan: packet.vlans[0] ?? 0 });
        if (end.link.isUp && !end.link.isSilent)
          end.node.table.receive(end.port, packet, this.#outlets(end.node, exit));
      },
      toController: (inPort, packet, rule) => {
        const data = bytesOf(packet);
        node.connection?.tell("packetIn", {
          type: "packetIn",
          bufferId: 0xffff_ffff,
          totalLength: data.length,
          reason: "action",
          tableId: 0,
          cookie: rule?.cookie ?? 0n,
          match: [{ field: "inPort", value: inPort }],
          data,
        });
      },
    };
  }
}

/** A packet of IPv4 from one host to another, of 100 bytes. */
const testPacket = Uint8Array.from({ length: 100 }, (_, index) => (index === 12 ? 0x08 : index < 12 ? 2 : 0));

const unknown = (why: string): OpenFlowError => new OpenFlowError("WW_OF_UNKNOWN", why);

const portOf = (number: number, port: number, speedKbps = 10_000_000): PortDescription => ({
  port,
  mac: `02:00:${[number >> 8, number & 0xff, port >> 8, port & 0xff].map((byte) => byte.toString(16).padStart(2, "0")).join(":")}`,
  name: `s${number}-${port}`,
  config: 0,
  state: portState.live,
  current: 0,
  advertised: 0,
  supported: 0,
  peer: 0,
  currentSpeedKbps: speedKbps,
  maxSpeedKbps: speedKbps,
});
