import { createSecretKey, randomBytes } from "node:crypto";
import {
  OpenFlowError,
  packetOut,
  portConfig,
  ports as reserved,
  portState,
  type PortDescription,
} from "@wheelwork/openflow";
import { systemClock, type Clock } from "wheelwork";
import { switchIdOf, type Segment } from "../controller/model.ts";
import type { NetworkEvent, StoredPort } from "../controller/store.ts";
import { Agreement, knownOf, type BelievedNetwork } from "./agreement.ts";
import { decodeProbe, encodeProbe } from "./lldp.ts";
import { LinkWatch, type KnownNetwork, type PatienceOptions } from "./link-watch.ts";
import { Outbox } from "./outbox.ts";
import type { DrivenSwitch, SwitchSource } from "./switch-source.ts";

/** What discovery is made with. */
export interface DiscoveryOptions extends PatienceOptions {
  /** Brings the connections with the switches: a share of it, if others drive them, too. */
  readonly source: SwitchSource;
  /**
   * Gets what happens, one event after the other, in order, each once. If its promise is rejected, it is called again: of a link, a port or
   * a switch with the newest event.
   */
  readonly onEvent: (event: NetworkEvent) => Promise<void>;
  /** What was known before: what of it is not there any more is told as failed. */
  readonly known?: KnownNetwork;
  /** What the latency of a link is, in milliseconds. Without it, half of the time that two packets take, there and back. */
  readonly latencyOf?: (link: Segment) => number | undefined;
  /** How often a packet leaves each port, in milliseconds. Default 3,000. */
  readonly probeMs?: number;
  /** How often it looks at what time has done, in milliseconds. Default 500. */
  readonly tickMs?: number;
  /** Called for what a person should look at. */
  readonly onProblem?: (problem: string) => void;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "after" | "monotonicMs">;
}

/** A connection with a switch. */
interface Peer {
  readonly switchId: string;
  readonly one: DrivenSwitch;
  readonly ports: Map<number, PortDescription>;
  /** Changes of ports that were told before it was known which ports there are. */
  isKnown: boolean;
}

/** A port from which packets leave. */
interface Sender {
  sequence: number;
  /** When the last packets have left, by their sequence. Only these may come. */
  readonly sentAt: Map<number, number>;
  /** When the next one leaves. */
  dueAt: number;
  /** So many more leave soon one after the other: the rule that brings them back may not be there yet. */
  soon: number;
}

/** So many packets of a port may be under way. */
const underWay = 4;

/**
 * The time for which this process has listened, in milliseconds. While it stands still, since it is stopped or has too much to do, it hears
 * nothing, and that is no silence of others. So of the time between two looks, as much counts as there is between two looks that are in time.
 */
class ListenedTime {
  readonly #monotonicMs: () => number;
  readonly #mostMs: number;
  #lookedAt: number;
  #listenedMs = 0;

  constructor(monotonicMs: () => number, mostMs: number) {
    this.#monotonicMs = monotonicMs;
    this.#mostMs = mostMs;
    this.#lookedAt = monotonicMs();
  }

  now(): number {
    const at = this.#monotonicMs();
    this.#listenedMs += Math.min(at - this.#lookedAt, this.#mostMs);
    this.#lookedAt = at;
    return this.#listenedMs;
  }
}

/**
 * Finds the links between switches: a packet of LLDP leaves each port that is up, and comes back from the switch at the other end. It tells
 * what happens to switches, ports and links.
 */
export class Discovery {
  readonly #options: DiscoveryOptions;
  readonly #clock: Pick<Clock, "after" | "monotonicMs">;
  readonly #listened: ListenedTime;
  readonly #tickMs: number;
  readonly #watch: LinkWatch;
  readonly #outbox: Outbox;
  readonly #agreement = new Agreement();
  readonly #peers = new Map<string, Peer>();
  readonly #senders = new Map<string, Sender>();
  /**
   * Packets of other processes, and of this one in an earlier life, are signed otherwise. It is made once: bytes would become such a key
   * anew for each packet, which takes longer than to sign it.
   */
  readonly #key = createSecretKey(randomBytes(32));
  #cancel: () => void = () => {};
  #isClosed = false;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#tickMs = options.tickMs ?? 500;
    this.#listened = new ListenedTime(() => this.#clock.monotonicMs(), 2 * this.#tickMs);
    this.#watch = new LinkWatch(this.#listened.now(), options.known, options);
    this.#outbox = new Outbox({
      deliver: options.onEvent,
      after: (delayMs, task) => this.#clock.after(delayMs, task),
      ...(options.onProblem === undefined ? {} : { onProblem: options.onProblem }),
    });
    options.source.on("switch", (one) => this.#connected(one));
    this.#plan();
  }

  /** Compares what those who are told believe. What they do not know is told again, and what they believe too much is watched. */
  compare(believed: BelievedNetwork): void {
    if (this.#isClosed) return;
    const now = this.#listened.now();
    this.#watch.know(now, knownOf(believed));
    this.#tell();
    for (const event of this.#agreement.compare(now, this.#watch.facts(), believed)) this.#outbox.add(event);
  }

  /** Tells nothing any more. What was not told yet is found again at the next start. */
  close(): void {
    this.#isClosed = true;
    this.#cancel();
    this.#outbox.close();
  }

  #plan(): void {
    this.#cancel = this.#clock.after(this.#tickMs, () => {
      const now = this.#listened.now();
      for (const peer of this.#peers.values()) this.#probeAll(now, peer);
      this.#watch.tick(now);
      this.#tell();
      this.#plan();
    });
  }

  #tell(): void {
    if (!this.#isClosed) for (const event of this.#watch.take()) this.#outbox.add(event);
  }

  // ---- switches ----

  #connected(one: DrivenSwitch): void {
    const switchId = switchIdOf(one.datapathId);
    const peer: Peer = { switchId, one, ports: new Map(), isKnown: false };
    this.#peers.set(switchId, peer);
    one.on("end", () => {
      if (this.#peers.get(switchId) !== peer) return;
      this.#peers.delete(switchId);
      this.#watch.gone(switchId);
      this.#tell();
    });
    one.on("portStatus", ({ reason, port }) => {
      if (port.port > reserved.max || this.#peers.get(switchId) !== peer) return;
      if (reason === "delete") peer.ports.set(port.port, { ...port, state: portState.linkDown });
      else peer.ports.set(port.port, port);
      if (peer.isKnown) this.#portChanged(peer, peer.ports.get(port.port) as PortDescription);
    });
    one.on("packetIn", ({ match, data }) => {
      const inPort = match.find((field) => field.field === "inPort")?.value;
      if (inPort !== undefined && this.#peers.get(switchId) === peer) this.#received(peer, inPort, data);
    });
    this.#introduce(peer).catch((error: unknown) => {
      // Without its ports nothing can be found. It connects again.
      if (!this.#isClosed)
        this.#options.onProblem?.(`switch ${switchId} does not say what it has: ${String(error)}`);
      one.close();
    });
  }

  async #introduce(peer: Peer): Promise<void> {
    const { one, switchId } = peer;
    const [ports, { manufacturer, hardware, software }] = await Promise.all([one.ports(), one.description()]);
    if (this.#peers.get(switchId) !== peer) return;
    // What was told meanwhile is newer.
    for (const port of ports)
      if (port.port <= reserved.max && !peer.ports.has(port.port)) peer.ports.set(port.port, port);
    peer.isKnown = true;
    const now = this.#listened.now();
    this.#watch.connected(now, switchId, {
      address: one.remote,
      description: [manufacturer, hardware, software].filter((text) => text !== "").join(" "),
      ports: Array.from(peer.ports.values(), storedPort),
    });
    for (const { port } of peer.ports.values()) this.#hurry(switchId, port, now);
    this.#probeAll(now, peer);
    this.#tell();
  }

  #portChanged(peer: Peer, port: PortDescription): void {
    const now = this.#listened.now();
    const stored = storedPort(port);
    this.#watch.port(now, peer.switchId, stored);
    if (stored.isUp) {
      this.#hurry(peer.switchId, port.port, now);
      this.#probeAll(now, peer);
    }
    this.#tell();
  }

  // ---- packets ----

  #senderOf(switchId: string, port: number): Sender {
    const name = `${switchId}/${port}`;
    let sender = this.#senders.get(name);
    if (sender === undefined)
      this.#senders.set(name, (sender = { sequence: 0, sentAt: new Map(), dueAt: 0, soon: 0 }));
    return sender;
  }

  #hurry(switchId: string, port: number, now: number): void {
    const sender = this.#senderOf(switchId, port);
    sender.dueAt = now;
    sender.soon = 3;
  }

  /** Sends a packet out of each port where one is due. */
  #probeAll(now: number, { switchId, one, ports, isKnown }: Peer): void {
    if (!isKnown) return;
    const { probeMs = 3000 } = this.#options;
    const messages = [];
    for (const description of ports.values()) {
      const { port, mac } = description;
      const sender = this.#senderOf(switchId, port);
      if (!storedPort(description).isUp || now < sender.dueAt) continue;
      sender.dueAt = sender.soon > 0 ? now : now + probeMs;
      sender.soon = Math.max(0, sender.soon - 1);
      sender.sequence = (sender.sequence + 1) >>> 0;
      sender.sentAt.set(sender.sequence, this.#clock.monotonicMs());
      for (const [sequence] of sender.sentAt) {
        if (sender.sentAt.size <= underWay) break;
        sender.sentAt.delete(sequence);
      }
      const probe = { datapathId: one.datapathId, port, sequence: sender.sequence };
      const data = encodeProbe(probe, mac, this.#key);
      messages.push(packetOut({ data, inPort: reserved.controller, actions: [{ type: "output", port }] }));
    }
    try {
      if (messages.length > 0) one.send(...messages);
    } catch (error) {
      // The connection ends, or too much waits for the switch. There will be other packets.
      if (!(error instanceof OpenFlowError)) throw error;
    }
  }

  #received({ switchId }: Peer, inPort: number, data: Uint8Array): void {
    const probe = decodeProbe(data, this.#key);
    if (probe === undefined) return;
    const from = switchIdOf(probe.datapathId);
    const sender = this.#senders.get(`${from}/${probe.port}`);
    const sentAt = sender?.sentAt.get(probe.sequence);
    // Somebody has kept it, and sends it again.
    if (sentAt === undefined) return;
    sender?.sentAt.delete(probe.sequence);
    const segment = { from, fromPort: probe.port, to: switchId, toPort: inPort };
    this.#watch.seen(this.#listened.now(), segment, this.#clock.monotonicMs() - sentAt);
    this.#tell();
  }
}

function storedPort({
  port,
  name,
  config,
  state,
  currentSpeedKbps,
  maxSpeedKbps,
}: PortDescription): StoredPort {
  const isUp = (state & portState.linkDown) === 0 && (config & portConfig.down) === 0;
  return { port, name, isUp, speedKbps: currentSpeedKbps > 0 ? currentSpeedKbps : maxSpeedKbps };
}
