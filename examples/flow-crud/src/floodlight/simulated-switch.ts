import {
  allMeters,
  allTables,
  portState,
  ports,
  vlanPresent,
  type Action,
  type Command,
  type Field,
  type FlowFilter,
  type FlowMod,
  type FlowStats,
  type Match,
  type MeterConfig,
  type PacketOut,
  type PortDescription,
} from "@wheelwork/openflow";

/** A packet in a simulated network: what rules look at, and its bytes without VLAN tags. */
export interface Packet {
  readonly ethType: number;
  /** Its VLAN tags, the outer one first. */
  readonly vlans: readonly number[];
  readonly data: Uint8Array;
  /** How many more switches it may cross: one that goes around in circles ends. */
  readonly hops: number;
}

/** What a switch has refused: the numbers of an error of OpenFlow. */
export interface Fault {
  readonly errorType: number;
  readonly code: number;
}

const faults = {
  tableFull: { errorType: 5, code: 1 },
  badTable: { errorType: 5, code: 2 },
  badPort: { errorType: 2, code: 4 },
  noVlan: { errorType: 2, code: 10 },
  unknownCommand: { errorType: 1, code: 1 },
  noMeter: { errorType: 12, code: 2 },
  meterExists: { errorType: 12, code: 1 },
  unknownMeter: { errorType: 12, code: 3 },
} as const satisfies Record<string, Fault>;

/** Where packets of a switch go. */
export interface Outlets {
  /** A packet leaves by a port. */
  out(port: number, packet: Packet): void;
  /** A packet goes to the controller: where it came in, and the rule that says so. */
  toController(inPort: number, packet: Packet, rule: FlowStats | undefined): void;
}

interface Entry extends FlowStats {
  packets: bigint;
  bytes: bigint;
}

const anyPort = -1;
const anyVlan = -1;

/**
 * The tables, meters and ports of one switch of OpenFlow 1.3, as Open vSwitch has them: an addition replaces a rule of the same match
 * whoever wrote it, a meter takes the rules that use it along, and a rule may lead to a port that is not there.
 */
export class SimulatedSwitch {
  readonly number: number;
  readonly ports = new Map<number, PortDescription>();
  /** How many rules it holds; one more is refused. */
  limit = Number.POSITIVE_INFINITY;
  readonly #entries = new Map<string, Entry>();
  readonly #byCookie = new Map<bigint, Entry[]>();
  /** By the port and the VLAN of what they match: of packets, and of questions, few others need to be looked at. */
  readonly #byPlace = new Map<number, Map<number, Entry[]>>();
  readonly #meters = new Map<number, MeterConfig>();

  constructor(number: number) {
    this.number = number;
  }

  get datapathId(): bigint {
    return BigInt(this.number);
  }

  get flowCount(): number {
    return this.#entries.size;
  }

  /** It is started anew: it has forgotten everything. */
  forget(): void {
    this.#entries.clear();
    this.#byCookie.clear();
    this.#byPlace.clear();
    this.#meters.clear();
  }

  /** Does what it is told. @returns What it refuses */
  take(message: Command, outlets: Outlets): Fault | undefined {
    switch (message.type) {
      case "flowMod":
        return this.#takeFlow(message);
      case "meterMod": {
        const { command, meterId, flags, bands } = message;
        if (command === "delete") return this.#deleteMeter(meterId);
        const isThere = this.#meters.has(meterId);
        if (command === "add" && isThere) return faults.meterExists;
        if (command !== "add" && !isThere) return faults.unknownMeter;
        this.#meters.set(meterId, { meterId, flags, bands });
        return undefined;
      }
      case "packetOut":
        this.#send(message, outlets);
        return undefined;
      default:
        return faults.unknownCommand;
    }
  }

  /** The rules that fit a filter. */
  flows({ tableId = allTables, cookie = 0n, cookieMask = 0n, match = [] }: Partial<FlowFilter>): FlowStats[] {
    return [...this.#candidates(cookie, cookieMask, match)].filter(
      (entry) =>
        (tableId === allTables || entry.tableId === tableId) &&
        (entry.cookie & cookieMask) === (cookie & cookieMask) &&
        match.every((wanted) => entry.match.some((field) => fieldText(field) === fieldText(wanted))),
    );
  }

  meter(meterId: number): MeterConfig | undefined {
    return this.#meters.get(meterId);
  }

  meters(): MeterConfig[] {
    return [...this.#meters.values()];
  }

  /** A packet comes in. */
  receive(inPort: number, packet: Packet, outlets: Outlets): void {
    if (packet.hops <= 0) return;
    const next = { ...packet, hops: packet.hops - 1 };
    let [table, more]: [number, Packet] = [0, next];
    for (;;) {
      const rule = this.#lookup(table, inPort, more);
      if (rule === undefined) return;
      rule.packets += 1n;
      rule.bytes += BigInt(packet.data.length);
      let goto: number | undefined;
      for (const instruction of rule.instructions) {
        if (instruction.type === "applyActions")
          more = this.#act(instruction.actions, inPort, more, outlets, rule);
        if (instruction.type === "gotoTable") goto = instruction.tableId;
      }
      if (goto === undefined || goto <= table) return;
      table = goto;
    }
  }

  /** Sets whether the link at a port is there. @returns The port, if that is news */
  setLink(port: number, isUp: boolean): PortDescription | undefined {
    const known = this.ports.get(port);
    if (known === undefined || ((known.state & portState.linkDown) === 0) === isUp) return undefined;
    const changed = { ...known, state: isUp ? portState.live : portState.linkDown };
    this.ports.set(port, changed);
    return changed;
  }

  isUp(port: number): boolean {
    const known = this.ports.get(port);
    return known !== undefined && (known.state & portState.linkDown) === 0;
  }

  // ---- rules ----

  #takeFlow(message: FlowMod): Fault | undefined {
    switch (message.command) {
      case "add":
        return this.#add(message);
      case "deleteStrict": {
        const entry = this.#entries.get(keyOf(message));
        if (entry !== undefined && hasCookie(entry, message)) this.#drop(entry);
        return undefined;
      }
      case "delete":
        for (const entry of this.flows(message)) this.#drop(entry as Entry);
        return undefined;
      default:
        return { errorType: 5, code: 6 };
    }
  }

  #add(message: FlowMod): Fault | undefined {
    const { tableId, priority, cookie, idleTimeoutS, hardTimeoutS, flags, match, instructions } = message;
    if (tableId > 253) return faults.badTable;
    const fault = this.#faultIn(message);
    if (fault !== undefined) return fault;
    const key = keyOf(message);
    const there = this.#entries.get(key);
    if (there === undefined && this.#entries.size >= this.limit) return faults.tableFull;
    if (there !== undefined) this.#drop(there);
    const entry: Entry = {
      tableId,
      priority,
      cookie,
      idleTimeoutS,
      hardTimeoutS,
      flags,
      match,
      instructions,
      durationS: 0,
      durationNs: 0,
      packets: 0n,
      bytes: 0n,
    };
    this.#entries.set(key, entry);
    const [port, vlan] = placeOf(match);
    let ofPort = this.#byPlace.get(port);
    if (ofPort === undefined) this.#byPlace.set(port, (ofPort = new Map()));
    addTo(ofPort, vlan, entry);
    addTo(this.#byCookie, cookie, entry);
    return undefined;
  }

  #drop(entry: Entry): void {
    this.#entries.delete(keyOf(entry));
    const [port, vlan] = placeOf(entry.match);
    const ofPort = this.#byPlace.get(port);
    if (ofPort !== undefined) {
      dropFrom(ofPort, vlan, entry);
      if (ofPort.size === 0) this.#byPlace.delete(port);
    }
    dropFrom(this.#byCookie, entry.cookie, entry);
  }

  #faultIn({ match, instructions }: FlowMod): Fault | undefined {
    let isTagged = match.some(
      ({ field, value }: { field: string; value?: unknown }) => field === "vlanVid" && value !== 0,
    );
    for (const instruction of instructions) {
      if (instruction.type === "meter" && !this.#meters.has(instruction.meterId)) return faults.noMeter;
      if (instruction.type !== "applyActions") continue;
      for (const action of instruction.actions) {
        if (
          action.type === "output" &&
          (action.port === 0 || (action.port > ports.max && action.port < ports.inPort))
        )
          return faults.badPort;
        if (action.type === "pushVlan") isTagged = true;
        const needsTag =
          action.type === "popVlan" || (action.type === "setField" && action.field.field === "vlanVid");
        if (needsTag && !isTagged) return faults.noVlan;
        if (action.type === "popVlan") isTagged = false;
      }
    }
    return undefined;
  }

  /** All of them go silently that use it. */
  #deleteMeter(meterId: number): undefined {
    const gone =
      meterId === allMeters ? [...this.#meters.keys()] : [meterId].filter((id) => this.#meters.has(id));
    if (gone.length === 0) return;
    const ids = new Set(gone);
    for (const entry of this.#entries.values())
      if (entry.instructions.some((one) => one.type === "meter" && ids.has(one.meterId))) this.#drop(entry);
    for (const id of ids) this.#meters.delete(id);
  }

  /** Rules among which those of a filter are. */
  #candidates(cookie: bigint, mask: bigint, match: Match): Iterable<Entry> {
    if (mask === 0xffff_ffff_ffff_ffffn) return this.#byCookie.get(cookie) ?? [];
    const [port, vlan] = placeOf(match);
    if (port === anyPort) return this.#entries.values();
    const ofPort = this.#byPlace.get(port);
    if (ofPort === undefined) return [];
    return vlan === anyVlan ? [...ofPort.values()].flat() : (ofPort.get(vlan) ?? []);
  }

  // ---- packets ----

  #lookup(table: number, inPort: number, packet: Packet): Entry | undefined {
    const vlanVid = packet.vlans[0] === undefined ? 0 : vlanPresent | packet.vlans[0];
    let best: Entry | undefined;
    for (const port of [inPort, anyPort]) {
      const ofPort = this.#byPlace.get(port);
      for (const vlan of [vlanVid, anyVlan])
        for (const entry of ofPort?.get(vlan) ?? [])
          if (
            entry.tableId === table &&
            (best === undefined || entry.priority > best.priority) &&
            entry.match.every((field) => isIn(field, inPort, vlanVid, packet))
          )
            best = entry;
    }
    return best;
  }

  /** Does actions with a packet. @returns What has become of it */
  #act(
    actions: readonly Action[],
    inPort: number,
    packet: Packet,
    outlets: Outlets,
    rule: FlowStats | undefined,
  ): Packet {
    let now = packet;
    for (const action of actions) {
      switch (action.type) {
        case "pushVlan":
          now = { ...now, vlans: [now.vlans[0] ?? 0, ...now.vlans] };
          break;
        case "popVlan":
          now = { ...now, vlans: now.vlans.slice(1) };
          break;
        case "setField":
          if (action.field.field === "vlanVid" && now.vlans.length > 0)
            now = { ...now, vlans: [action.field.value & 0xfff, ...now.vlans.slice(1)] };
          break;
        case "output":
          this.#output(action.port, inPort, now, outlets, rule);
          break;
        default:
          break;
      }
    }
    return now;
  }

  #output(port: number, inPort: number, packet: Packet, outlets: Outlets, rule: FlowStats | undefined): void {
    if (port === ports.controller) outlets.toController(inPort, packet, rule);
    else if (port === ports.table) this.receive(inPort, packet, outlets);
    else if (port === ports.inPort) outlets.out(inPort, packet);
    else if (port === ports.all || port === ports.flood) {
      for (const each of this.ports.keys()) if (each !== inPort) outlets.out(each, packet);
    }
    // Out of the port of arrival it goes only if it is called so.
    else if (port !== inPort) outlets.out(port, packet);
  }

  #send({ inPort, actions, data }: PacketOut, outlets: Outlets): void {
    this.#act(actions, inPort, packetOf(data), outlets, undefined);
  }
}

/** The most switches that a packet crosses. */
const maxHops = 64;

/** A packet of these bytes. */
export function packetOf(data: Uint8Array): Packet {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const vlans: number[] = [];
  let at = 12;
  for (; at + 4 <= data.length && view.getUint16(at) === 0x8100; at += 4)
    vlans.push(view.getUint16(at + 2) & 0xfff);
  const ethType = at + 2 <= data.length ? view.getUint16(at) : 0;
  const untagged = at === 12 ? data : Uint8Array.from([...data.subarray(0, 12), ...data.subarray(at)]);
  return { ethType, vlans, data: untagged, hops: maxHops };
}

/** The bytes of a packet, with its tags. */
export function bytesOf({ vlans, data }: Packet): Uint8Array {
  if (vlans.length === 0) return data;
  const tags = vlans.flatMap((vlan) => [0x81, 0x00, vlan >> 8, vlan & 0xff]);
  return Uint8Array.from([...data.subarray(0, 12), ...tags, ...data.subarray(12)]);
}

const hasCookie = (entry: FlowStats, { cookie, cookieMask }: FlowMod): boolean =>
  (entry.cookie & cookieMask) === (cookie & cookieMask);

/** The exact port and VLAN that a match asks for. */
function placeOf(match: Match): readonly [number, number] {
  let [port, vlan] = [anyPort, anyVlan];
  for (const one of match) {
    if (one.field === "inPort" && one.mask === undefined) port = one.value;
    if (one.field === "vlanVid" && one.mask === undefined) vlan = one.value;
  }
  return [port, vlan];
}

function keyOf({ tableId, priority, match }: Pick<FlowStats, "tableId" | "priority" | "match">): string {
  const [one, other] = match;
  const fields =
    match.length === 2
      ? pairOf(fieldText(one as Field), fieldText(other as Field))
      : match.map(fieldText).toSorted().join();
  return `${tableId}/${priority}/${fields}`;
}

const pairOf = (one: string, other: string): string => (one < other ? `${one},${other}` : `${other},${one}`);

function fieldText(field: Field): string {
  if (field.field === "other") return `${field.oxmClass}.${field.code}=${field.bytes.join(".")}`;
  const { value, mask } = field;
  return mask === undefined ? `${field.field}=${value}` : `${field.field}=${value}/${mask}`;
}

/** Whether a packet has what a field asks for. What is deeper in a packet than its tags, no packet here has. */
function isIn(field: Field, inPort: number, vlanVid: number, { ethType }: Packet): boolean {
  const compare = (has: number, value: number, mask = 0xffff_ffff): boolean =>
    (has & mask) === (value & mask);
  switch (field.field) {
    case "inPort":
      return compare(inPort, field.value, field.mask);
    case "ethType":
      return compare(ethType, field.value, field.mask);
    case "vlanVid":
      return compare(vlanVid, field.value, field.mask);
    default:
      return false;
  }
}

// Most keys have one entry: an array of it is a fraction of a set.
function addTo<K>(index: Map<K, Entry[]>, key: K, entry: Entry): void {
  const known = index.get(key);
  if (known === undefined) index.set(key, [entry]);
  else known.push(entry);
}

function dropFrom<K>(index: Map<K, Entry[]>, key: K, entry: Entry): void {
  const known = index.get(key);
  if (known === undefined) return;
  const left = known.filter((one) => one !== entry);
  if (left.length === 0) index.delete(key);
  else index.set(key, left);
}
