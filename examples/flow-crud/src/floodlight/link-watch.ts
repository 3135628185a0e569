import type { Segment } from "../controller/model.ts";
import type { NetworkEvent, StoredPort } from "../controller/store.ts";

// Decides what links there are and what is to be told of the network. It has no clock and no switches: it is told what happens, and when.

/** How patient it is, in milliseconds. */
export interface PatienceOptions {
  /** A link of which nothing was seen for so long has failed. Default 15,000. */
  readonly silenceMs?: number;
  /** A link that is back must be there for so long before it is told. Default 2,000. */
  readonly holdMs?: number;
  /** A failure that comes so soon after the one before doubles that, … Default 10,000. */
  readonly flapMs?: number;
  /** … up to this. Default 30,000. */
  readonly maxHoldMs?: number;
  /** A change of a port must last for so long before it is told. Its link fails at once. Default 1,000. */
  readonly portHoldMs?: number;
}

/** What was known when it began. */
export interface KnownNetwork {
  /** Links that are up as far as is known, one direction of each or both. */
  readonly links?: readonly Segment[];
  /** Switches that are connected as far as is known. */
  readonly switches?: readonly string[];
}

/** A switch that is connected. */
interface Connected {
  readonly address: string;
  readonly description: string;
  readonly ports: Map<number, StoredPort>;
  /** The ports as they were told last. */
  readonly told: Map<number, StoredPort>;
  /** When ports have changed, of which nothing was told since. */
  readonly changedAt: Map<number, number>;
}

/** A link: its two ends in the order of their names. */
interface Watched {
  readonly segment: Segment;
  /** When it was seen last in each direction; undefined: never since it has failed. */
  readonly seenAt: [number | undefined, number | undefined];
  /** undefined: not seen yet in that direction. */
  readonly latencyMs: [number | undefined, number | undefined];
  /** What was told of it last; undefined: nothing. */
  isUp: boolean | undefined;
  /** Since when it has been there; undefined: it is not there. */
  since: number | undefined;
  holdMs: number;
  failedAt: number | undefined;
}

const endOf = (switchId: string, port: number): string => `${switchId}/${port}`;

export class LinkWatch {
  readonly #patience: Required<PatienceOptions>;
  /** Gives what the latency of a link is said to be. */
  readonly #latencyOf: (link: Segment) => number | undefined;
  readonly #switches = new Map<string, Connected>();
  readonly #links = new Map<string, Watched>();
  /** The links of each switch: few need to be looked at when something happens to it. */
  readonly #linksOf = new Map<string, Set<Watched>>();
  /** Switches that were connected before it began and have not come, and since when they are waited for. */
  readonly #awaited = new Map<string, number>();
  #events: NetworkEvent[] = [];

  constructor(
    now: number,
    known: KnownNetwork = {},
    options: PatienceOptions & { readonly latencyOf?: (link: Segment) => number | undefined } = {},
  ) {
    const { silenceMs = 15_000, holdMs = 2_000, flapMs = 10_000, maxHoldMs = 30_000 } = options;
    this.#patience = { silenceMs, holdMs, flapMs, maxHoldMs, portHoldMs: options.portHoldMs ?? 1_000 };
    this.#latencyOf = options.latencyOf ?? (() => undefined);
    this.know(now, known);
  }

  /** Somebody believes this of the network. What nothing was told of yet is watched from now on: if it is not there, that is told. */
  know(now: number, { links = [], switches = [] }: KnownNetwork): void {
    for (const segment of links) {
      const link = this.#linkOf(segment);
      if (link.isUp !== undefined) continue;
      link.isUp = true;
      link.since = now;
      link.seenAt.fill(now);
      if (!this.#hasPorts(link)) this.#fail(now, link);
    }
    for (const switchId of switches)
      if (!this.#switches.has(switchId) && !this.#awaited.has(switchId)) this.#awaited.set(switchId, now);
  }

  /** What it is sure of, as it would be told now: the switches that are connected with their ports, and links that it has seen or that failed. */
  facts(): NetworkEvent[] {
    const switches = Array.from(this.#switches.keys(), (switchId) => this.#switchEvent(switchId));
    const links = [...this.#links.values()].flatMap((link) => {
      const { isUp, latencyMs } = link;
      const isSure = isUp === false || (isUp === true && !latencyMs.includes(undefined));
      return isSure ? [this.#linkEvent(link, isUp)] : [];
    });
    return [...switches, ...links];
  }

  /** What is to be told since the last call, in order. */
  take(): NetworkEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** A switch has connected, perhaps again. */
  connected(
    now: number,
    switchId: string,
    about: { readonly address: string; readonly description: string; readonly ports: readonly StoredPort[] },
  ): void {
    this.#awaited.delete(switchId);
    const { address, description, ports } = about;
    const byNumber = new Map(ports.map((port) => [port.port, port]));
    const told = new Map(byNumber);
    this.#switches.set(switchId, { address, description, ports: byNumber, told, changedAt: new Map() });
    this.#events.push(this.#switchEvent(switchId));
    for (const link of this.#linksOf.get(switchId) ?? []) {
      // What was silent while a switch was away is given its time.
      if (link.isUp === true || link.since !== undefined) link.seenAt.fill(now);
      if (!this.#hasPorts(link)) this.#fail(now, link);
    }
  }

  /** A switch has lost its connection. Its rules stay, and so do its links: only silence that somebody hears is a failure. */
  gone(switchId: string): void {
    const known = this.#switches.get(switchId);
    if (known === undefined) return;
    this.#switches.delete(switchId);
    const { address, description } = known;
    this.#events.push({ kind: "switch", switchId, isConnected: false, address, description });
  }

  /** A port has changed, has come, or is gone (`isUp` is false then). */
  port(now: number, switchId: string, port: StoredPort): void {
    const known = this.#switches.get(switchId);
    if (known === undefined) return;
    known.ports.set(port.port, port);
    // No flow depends on it: a port that flaps is told once it is still.
    if (known.told.has(port.port)) known.changedAt.set(port.port, now);
    else this.#tellPort(switchId, known, port);
    if (port.isUp) return;
    for (const link of this.#linksOf.get(switchId) ?? []) if (!this.#hasPorts(link)) this.#fail(now, link);
  }

  /** A packet of discovery has come from one port to another one. */
  seen(now: number, from: Segment, latencyMs: number): void {
    // A cable from a switch to itself leads nowhere.
    if (from.from === from.to) return;
    if (!this.#isUp(from.from, from.fromPort) || !this.#isUp(from.to, from.toPort)) return;
    const link = this.#linkOf(from);
    // Its port is known to lead elsewhere. One of both is wrong, and the one that lives was there first.
    if (this.#isElsewhere(link)) return;
    const direction = link.segment.from === from.from && link.segment.fromPort === from.fromPort ? 0 : 1;
    link.seenAt[direction] = now;
    link.latencyMs[direction] = latencyMs;
    // There are two directions, and a flow needs both.
    if (link.since === undefined && link.seenAt[0] !== undefined && link.seenAt[1] !== undefined)
      link.since = now;
    this.#tellUp(now, link);
  }

  #tellPort(switchId: string, { told }: Connected, port: StoredPort): void {
    const before = told.get(port.port);
    told.set(port.port, port);
    if (before?.isUp !== port.isUp || before.speedKbps !== port.speedKbps)
      this.#events.push({ kind: "port", switchId, ...port });
  }

  /** Time has passed. */
  tick(now: number): void {
    const { silenceMs, portHoldMs } = this.#patience;
    for (const [switchId, known] of this.#switches)
      for (const [number, changedAt] of known.changedAt) {
        if (now - changedAt < portHoldMs) continue;
        known.changedAt.delete(number);
        this.#tellPort(switchId, known, known.ports.get(number) as StoredPort);
      }
    for (const link of this.#links.values()) {
      const { from, to } = link.segment;
      const isHeard = this.#switches.has(from) && this.#switches.has(to);
      const isSilent = link.seenAt.some((at) => at !== undefined && now - at >= silenceMs);
      if (isHeard && isSilent) this.#fail(now, link);
      else this.#tellUp(now, link);
    }
    for (const [switchId, since] of this.#awaited) {
      if (now - since < silenceMs) continue;
      this.#awaited.delete(switchId);
      this.#events.push({ kind: "switch", switchId, isConnected: false, address: "", description: "" });
    }
  }

  #tellUp(now: number, link: Watched): void {
    const { segment, since, failedAt, holdMs } = link;
    // One that has never failed flaps not.
    const hold = failedAt === undefined ? 0 : holdMs;
    if (since === undefined || link.isUp === true || now - since < hold) return;
    if (!this.#hasPorts(link) || !this.#switches.has(segment.from) || !this.#switches.has(segment.to)) return;
    link.isUp = true;
    this.#events.push(this.#linkEvent(link, true));
  }

  #switchEvent(switchId: string): NetworkEvent {
    const { address, description, ports } = this.#switches.get(switchId) as Connected;
    return { kind: "switch", switchId, isConnected: true, address, description, ports: [...ports.values()] };
  }

  #linkEvent({ segment, latencyMs: [one = 0, other = 0] }: Watched, isUp: boolean): NetworkEvent {
    if (!isUp) return { kind: "link", ...segment, isUp };
    const speeds = [
      this.#switches.get(segment.from)?.ports.get(segment.fromPort)?.speedKbps ?? 0,
      this.#switches.get(segment.to)?.ports.get(segment.toPort)?.speedKbps ?? 0,
    ].filter((speed) => speed > 0);
    const measured = Math.round((one + other) * 5) / 10;
    return {
      kind: "link",
      ...segment,
      isUp,
      latencyMs: this.#latencyOf(segment) ?? measured,
      ...(speeds.length === 0 ? {} : { speedKbps: Math.min(...speeds) }),
    };
  }

  #fail(now: number, link: Watched): void {
    if (link.since === undefined) return void link.seenAt.fill(undefined);
    const { holdMs, flapMs, maxHoldMs } = this.#patience;
    const isFlap = link.failedAt !== undefined && now - link.failedAt <= flapMs;
    link.holdMs = isFlap ? Math.min(link.holdMs * 2, maxHoldMs) : holdMs;
    link.failedAt = now;
    link.since = undefined;
    link.seenAt.fill(undefined);
    if (link.isUp !== true) return;
    link.isUp = false;
    this.#events.push(this.#linkEvent(link, false));
  }

  /** Whether one of its ports belongs to another link that is there. */
  #isElsewhere(link: Watched): boolean {
    const { from, fromPort, to, toPort } = link.segment;
    const ends = [endOf(from, fromPort), endOf(to, toPort)];
    return [...(this.#linksOf.get(from) ?? []), ...(this.#linksOf.get(to) ?? [])].some(
      (other) =>
        other !== link &&
        other.since !== undefined &&
        (ends.includes(endOf(other.segment.from, other.segment.fromPort)) ||
          ends.includes(endOf(other.segment.to, other.segment.toPort))),
    );
  }

  /** Whether no port of a link is known to be down. */
  #hasPorts({ segment: { from, fromPort, to, toPort } }: Watched): boolean {
    const isDown = (switchId: string, port: number): boolean =>
      this.#switches.has(switchId) && !this.#isUp(switchId, port);
    return !isDown(from, fromPort) && !isDown(to, toPort);
  }

  #isUp(switchId: string, port: number): boolean {
    return this.#switches.get(switchId)?.ports.get(port)?.isUp === true;
  }

  #linkOf({ from, fromPort, to, toPort }: Segment): Watched {
    const [one, other] = [endOf(from, fromPort), endOf(to, toPort)];
    const isInOrder = one < other;
    const name = isInOrder ? `${one} ${other}` : `${other} ${one}`;
    const known = this.#links.get(name);
    if (known !== undefined) return known;
    const link: Watched = {
      segment: isInOrder
        ? { from, fromPort, to, toPort }
        : { from: to, fromPort: toPort, to: from, toPort: fromPort },
      seenAt: [undefined, undefined],
      latencyMs: [undefined, undefined],
      isUp: undefined,
      since: undefined,
      holdMs: this.#patience.holdMs,
      failedAt: undefined,
    };
    this.#links.set(name, link);
    for (const switchId of [from, to]) {
      const of = this.#linksOf.get(switchId);
      if (of === undefined) this.#linksOf.set(switchId, new Set([link]));
      else of.add(link);
    }
    return link;
  }
}
