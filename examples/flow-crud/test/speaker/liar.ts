import {
  decode,
  encode,
  flowMod,
  Framer,
  hello,
  type FlowMod,
  type FlowStats,
  type Match,
  type Message,
  type MultipartRequest,
  type Received,
} from "@wheelwork/openflow";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";

/** What a liar does with a message instead of what a switch does. The result is whether it has done something. */
type Lie = (message: Received, liar: Liar) => boolean;

const gone = { durationS: 0, durationNs: 0, packets: 0n, bytes: 0n };

/** A switch of OpenFlow 1.3 in this process, which does what it is told, unless a test has it lie. */
export class Liar {
  datapathId: bigint;
  rules: FlowStats[] = [];
  lie: Lie = () => false;
  readonly #port: number;
  #socket: Socket | undefined;
  #framer = new Framer();
  /** A switch starts with none, and says so by all ones. */
  #generation = 0xffff_ffff_ffff_ffffn;

  /** `port`: of its controller. */
  constructor(datapathId: bigint, port: number) {
    this.datapathId = datapathId;
    this.#port = port;
  }

  async connect(): Promise<void> {
    const socket = connect(this.#port, "127.0.0.1");
    this.#socket = socket;
    this.#framer = new Framer();
    socket.on("error", () => {});
    socket.on("data", (bytes) =>
      this.#framer.push(bytes, (frame) => {
        const message = decode(frame);
        if (!this.lie(message, this)) this.does(message);
      }),
    );
    await once(socket, "connect");
    this.say(hello);
  }

  /** Its connection ends. */
  async leave(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined || socket.closed) return;
    socket.destroy();
    await once(socket, "close");
  }

  say(message: Message, xid = 0): void {
    this.sayBytes(encode(message, xid));
  }

  sayBytes(bytes: Uint8Array): void {
    this.#socket?.write(bytes);
  }

  /** Does what an honest switch does with a message. */
  does(message: Received): void {
    const { xid } = message;
    switch (message.type) {
      case "echoRequest":
        return this.say({ type: "echoReply", data: message.data }, xid);
      case "featuresRequest":
        return this.say({ ...features, datapathId: this.datapathId }, xid);
      case "roleRequest":
        if (message.role !== "noChange") this.#generation = message.generation;
        return this.say({ ...message, type: "roleReply", generation: this.#generation }, xid);
      case "barrierRequest":
        return this.say({ type: "barrierReply" }, xid);
      case "flowMod":
        return this.change(message);
      case "multipartRequest":
        return this.say(this.reply(message), xid);
      default:
    }
  }

  change(change: FlowMod): void {
    const { command, cookie, cookieMask, priority, match } = change;
    const isSame = (one: FlowStats): boolean =>
      one.priority === priority && isDeepStrictEqual(one.match, match);
    const isMeant = (one: FlowStats): boolean => (one.cookie & cookieMask) === (cookie & cookieMask);
    if (command === "add") this.rules = [...this.rules.filter((one) => !isSame(one)), { ...gone, ...change }];
    else if (command === "deleteStrict")
      this.rules = this.rules.filter((one) => !isSame(one) || !isMeant(one));
    else this.rules = this.rules.filter((one) => !isMeant(one) || !has(one.match, match));
  }

  reply({ request }: MultipartRequest): Message & { type: "multipartReply" } {
    const of = (reply: object): Message => ({ type: "multipartReply", flags: 0, reply }) as Message;
    const made = (): Message => {
      switch (request.kind) {
        case "flow":
        case "aggregate": {
          const { cookie, cookieMask, match } = request;
          const found = this.rules.filter(
            (one) => (one.cookie & cookieMask) === (cookie & cookieMask) && has(one.match, match),
          );
          return request.kind === "flow"
            ? of({ kind: "flow", entries: found })
            : of({ kind: "aggregate", entries: [{ packets: 0n, bytes: 0n, flows: found.length }] });
        }
        case "portDescription":
          return of({ kind: "portDescription", entries: [1, 2, 102].map(portOf) });
        default:
          return of({ kind: request.kind, entries: [] });
      }
    };
    return made() as Message & { type: "multipartReply" };
  }

  /** The rules of flows that it has. */
  get cookies(): bigint[] {
    return this.rules.map(({ cookie }) => cookie).filter((cookie) => cookie >> 63n === 0n);
  }
}

const has = (match: Match, asked: Match): boolean =>
  asked.every((field) => match.some((one) => isDeepStrictEqual(one, field)));

const features: Message & { type: "featuresReply" } = {
  type: "featuresReply",
  datapathId: 0n,
  buffers: 0,
  tables: 1,
  auxiliaryId: 0,
  capabilities: 0,
  reserved: 0,
};

const portOf = (port: number) => ({
  port,
  mac: "02:00:00:00:00:01",
  name: `p${port}`,
  config: 0,
  state: 4,
  current: 0,
  advertised: 0,
  supported: 0,
  peer: 0,
  currentSpeedKbps: 0,
  maxSpeedKbps: 0,
});

/** A packet of no use. */
export const packetIn: Message = {
  type: "packetIn",
  bufferId: 0xffff_ffff,
  totalLength: 64,
  reason: "action",
  tableId: 0,
  cookie: 0n,
  match: [{ field: "inPort", value: 1 }],
  data: new Uint8Array(64),
};

/** An error about something that nobody has sent, with as much of it as switches send. */
export const strayError: Message = { type: "error", errorType: 5, code: 1, data: encode(flowMod()) };
