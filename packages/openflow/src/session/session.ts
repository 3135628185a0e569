import { decode, encodeInto, hello, speaks13, wrongVersion } from "../codec/codec.ts";
import { Writer } from "../codec/bytes.ts";
import type {
  ErrorMessage,
  Features,
  FlowRemoved,
  Message,
  PacketIn,
  PortStatus,
  Received,
} from "../codec/messages.ts";
import { moreParts } from "../codec/multipart.ts";
import { allTables, groups, ports } from "../codec/names.ts";
import { Framer } from "../framer.ts";
import { OpenFlowError, type Refusal } from "../errors.ts";
import * as outcomes from "./outcomes.ts";
import { Xids, type XidRange } from "./xids.ts";

/** How long a session waits, and how much it holds. */
export interface SessionLimits {
  /** The switch gets an echo request if it was silent for so long. */
  readonly echoAfterMs: number;
  /** The session ends if the switch was silent for so long. A message counts when all of it has come. */
  readonly silentAfterMs: number;
  /**
   * The session ends if the switch has not answered something for so long, whatever else it says, and nobody waits for that answer any more.
   * What such a switch has done, only a new connection tells.
   */
  readonly unansweredMs: number;
  /** The session ends if the switch is not ready after so long. */
  readonly handshakeMs: number;
  /** While so many bytes or more are under way, sent and not answered, nothing more is sent. */
  readonly windowBytes: number;
  /** So many bytes wait to be sent at most. */
  readonly maxQueuedBytes: number;
  /** A reply of several parts has so many bytes at most. */
  readonly maxReplyBytes: number;
}

/** What a switch has when it connects. */
export interface AtConnect {
  /**
   * The generation of the master that the switch knew before. Undefined: it knows none, since nobody has been its master since it was
   * started, or it does not tell.
   */
  readonly generation: bigint | undefined;
  /** How many rules its tables have. Undefined: it does not tell. */
  readonly flows: number | undefined;
}

/** What a session tells. */
export type SessionEvent =
  /** The switch has said who it is. The session goes on with `takeMaster`. */
  | { readonly type: "identified"; readonly features: Features }
  /** The role is taken, and the switch can be used. */
  | { readonly type: "ready"; readonly features: Features; readonly atConnect: AtConnect }
  | { readonly type: "message"; readonly message: PacketIn | FlowRemoved | PortStatus }
  /** The switch has refused something that nobody waits for, such as a packet-out. */
  | { readonly type: "refused"; readonly message: Received<ErrorMessage> }
  /** A message could not be read. */
  | { readonly type: "unreadable"; readonly error: OpenFlowError }
  /** The session is over, and its connection is to be closed. */
  | { readonly type: "ended"; readonly error: OpenFlowError };

/** What came of a request: an error, which may be the reason of a cancel, or the messages that replied. */
export type Settle = (error: unknown, replies: readonly Received[]) => void;

/** A message, or what makes one of the transaction id that it will have. */
export type Draft = Message | ((xid: number) => Message);

/** What the switch is asked to do. */
export interface Request {
  readonly drafts: readonly Draft[];
  /** The type of its reply. A barrier's reply stands for a group of any messages, and proves it. Undefined: it has none. */
  readonly expects: Message["type"] | undefined;
  /** Whether it leaves the switch as it is, so that its outcome does not matter once it fails. */
  readonly reads: boolean;
  readonly dueAt: number;
  readonly settle: Settle;
  /** What follows it at once, before anything else is sent. It is asked as soon as this one is settled. */
  readonly follow?: (error: unknown) => Request | undefined;
}

/** A request that was taken. */
export class Pending {
  readonly request: Request;
  readonly first: number;
  readonly last: number;
  readonly size: number;
  /** What is to be sent. Undefined: it was. */
  frames: Uint8Array | undefined;
  /** It is settled: what still comes for it counts no more. */
  isOver = false;
  readonly refusals: Refusal[] = [];
  readonly replies: Received[] = [];
  replyBytes = 0;
  /** What came before it: its errors may come late, as those of a bundle do. */
  readonly before: Pending | undefined;
  /** What has followed it. */
  next: Pending | undefined;
  /** When it was sent; Infinity: it was not. */
  sentAt = Infinity;

  constructor(request: Request, first: number, frames: Uint8Array, before?: Pending) {
    this.request = request;
    this.first = first;
    this.last = first + request.drafts.length - 1;
    this.frames = frames;
    this.size = frames.length;
    this.before = before;
  }

  /** How many messages it has, with those of what came before it. */
  get count(): number {
    return this.last - this.first + 1 + (this.before?.count ?? 0);
  }

  /** Which of its messages has this transaction id; undefined: none. */
  indexOf(xid: number): number | undefined {
    if (xid >= this.first && xid <= this.last) return xid - this.first;
    return this.before?.indexOf(xid);
  }
}

// What encodes is synchronous, so that one writer serves all.
let writer = new Writer();

const allXids: XidRange = { first: 1, last: 0xffff_ffff };

/**
 * One connection with a switch, as a state machine: bytes and the time go in, bytes and events come out. It knows neither sockets nor
 * clocks. All times are in milliseconds of one clock.
 */
export class Session {
  readonly #limits: SessionLimits;
  readonly #tell: (event: SessionEvent) => void;
  readonly #framer = new Framer();
  /** When the switch must be ready. */
  readonly #readyBy: number;
  #state: "hello" | "features" | "role" | "ready" | "ended" = "hello";
  #features: Features | undefined;
  #isMaster = false;
  /** What waits to be sent, from `#head` on. */
  #queue: Pending[] = [];
  #head = 0;
  #queuedBytes = 0;
  /** What was sent, by the last transaction id of each, in the order in which it was sent. */
  readonly #sent = new Map<number, Pending>();
  /** What was taken, by the transaction ids of all its messages. */
  readonly #xids: Xids<Pending>;
  /** Bytes that were sent, and for which nothing has come yet. */
  #openBytes = 0;
  /** Bytes that are to go out, and that the connection has not taken yet. */
  #unflushed = 0;
  /** The one that something follows at once. */
  #blocking: Pending | undefined;
  #out: Uint8Array[] = [];
  #heardAt: number;
  /** When the switch was asked for a sign of life, since it has said nothing; undefined: it was not. */
  #askedAt: number | undefined;
  /** No request is due before this time. */
  #nextDue = Infinity;
  #now: number;

  /** `range`: for tests, in which they are to begin again soon. It has more than can be under way. */
  constructor(
    limits: SessionLimits,
    now: number,
    tell: (event: SessionEvent) => void,
    range: XidRange = allXids,
  ) {
    this.#limits = limits;
    this.#xids = new Xids(range);
    this.#tell = tell;
    this.#now = now;
    this.#heardAt = now;
    this.#readyBy = now + limits.handshakeMs;
    this.#write(hello);
  }

  /** Bytes wait to be sent or to be answered. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#openBytes;
  }

  get hasEnded(): boolean {
    return this.#state === "ended";
  }

  // ---- what comes in ----

  /** Bytes of the switch. */
  received(bytes: Uint8Array, now: number): void {
    if (this.hasEnded) return;
    this.#now = now;
    try {
      this.#framer.push(bytes, (frame) => {
        // Bytes that never become a message are no sign of life: nothing would come of them.
        this.#heardAt = now;
        this.#askedAt = undefined;
        this.#took(frame);
      });
    } catch (error) {
      if (!(error instanceof OpenFlowError)) throw error;
      this.end(error);
    }
    this.#release();
  }

  /** The time is now. Call it at `wakeAt`, or later. */
  tick(now: number): void {
    if (this.hasEnded) return;
    this.#now = now;
    const { silentAfterMs, echoAfterMs, handshakeMs } = this.#limits;
    const silentMs = now - this.#heardAt;
    // The time counts from the question: if this process stood still, nobody has asked the switch.
    if (this.#askedAt !== undefined && now - this.#askedAt >= silentAfterMs - echoAfterMs) {
      return this.end(outcomes.silent(silentMs));
    }
    if (this.#state !== "ready" && now >= this.#readyBy) {
      return this.end(
        outcomes.handshakeFailed(
          `the switch was not ready after ${handshakeMs} ms: it waited in ${this.#state}`,
        ),
      );
    }
    if (silentMs >= echoAfterMs && this.#askedAt === undefined) {
      this.#askedAt = now;
      this.#write({ type: "echoRequest", data: new Uint8Array() });
    }
    if (now >= this.#unansweredAt) return this.end(outcomes.unanswered(this.#limits.unansweredMs));
    // Only after that: if this process stood still, what it has given up on just now may have its answer already.
    if (now >= this.#nextDue) this.#expire();
    this.#release();
  }

  /** When `tick` has something to do. Infinity: never. */
  get wakeAt(): number {
    if (this.hasEnded) return Infinity;
    const { silentAfterMs, echoAfterMs } = this.#limits;
    const echoAt =
      this.#askedAt === undefined ? this.#heardAt + echoAfterMs : this.#askedAt + silentAfterMs - echoAfterMs;
    const readyBy = this.#state === "ready" ? Infinity : this.#readyBy;
    return Math.min(echoAt, readyBy, this.#nextDue, this.#unansweredAt);
  }

  /** When the switch owes the answer to what was sent first for too long. Infinity: somebody waits for it, and that has a deadline. */
  get #unansweredAt(): number {
    const oldest = this.#sent.values().next().value;
    return oldest?.isOver === true ? oldest.sentAt + this.#limits.unansweredMs : Infinity;
  }

  /** The connection has taken so many of the bytes that were given out. */
  flushed(bytes: number): void {
    this.#unflushed -= bytes;
    this.#release();
  }

  /** The session is over. What was sent has an unknown outcome; what was not sent is refused. */
  end(error: OpenFlowError): void {
    if (this.hasEnded) return;
    const isGreeting = this.#state === "hello";
    this.#state = "ended";
    const waiting = this.#queue.slice(this.#head);
    const sent = [...this.#sent.values()];
    this.#queue = [];
    this.#sent.clear();
    this.#xids.clear();
    this.#openBytes = 0;
    // Nothing more of a speaker that was overtaken reaches the switch. A switch of another version is told why, though.
    if (!isGreeting) this.#out = [];
    for (const pending of sent) {
      const { reads } = pending.request;
      this.#settle(
        pending,
        reads ? outcomes.closed(error) : outcomes.unknown("the connection has ended", error),
      );
    }
    for (const pending of waiting) this.#settle(pending, outcomes.closed(error));
    this.#tell({ type: "ended", error });
  }

  /** Becomes the master of the switch, and looks at what it has. Only an identified switch has it called. */
  takeMaster(generation: bigint, now: number): void {
    if (this.#state !== "role") return;
    this.#now = now;
    let known: bigint | undefined;
    this.#ask({ type: "roleRequest", role: "noChange", generation: 0n }, "roleReply", (_error, [reply]) => {
      // A switch that has had no master says so by all ones.
      if (reply?.type === "roleReply" && reply.generation !== 0xffff_ffff_ffff_ffffn)
        known = reply.generation;
    });
    this.#ask({ type: "roleRequest", role: "master", generation }, "roleReply", (error, [reply]) => {
      const why = error instanceof OpenFlowError ? error.refusals[0] : undefined;
      if (why?.errorType === 11 && why.code === 0) {
        return this.end(outcomes.stale(`it has refused generation ${generation}`));
      }
      if (error !== undefined) {
        return this.end(outcomes.handshakeFailed("the switch has refused its master", error));
      }
      this.#isMaster = reply?.type === "roleReply" && reply.role === "master";
    });
    this.#ask(countFlows, "multipartReply", (_error, [reply]) => {
      if (this.#features === undefined || this.hasEnded) return;
      if (!this.#isMaster)
        return this.end(outcomes.handshakeFailed("the switch has given another role than master"));
      const flows =
        reply?.type === "multipartReply" && reply.reply.kind === "aggregate"
          ? reply.reply.entries[0]?.flows
          : undefined;
      this.#state = "ready";
      this.#tell({ type: "ready", features: this.#features, atConnect: { generation: known, flows } });
    });
  }

  /**
   * Takes a request. What is wrong with it is thrown, and nothing is sent.
   * @throws OpenFlowError WW_OF_INVALID, WW_OF_TOO_LARGE, WW_OF_OVERLOADED, WW_OF_CLOSED
   */
  submit(request: Request, now: number): Pending {
    if (this.#state !== "ready") throw outcomes.closed(undefined);
    this.#now = now;
    const pending = this.#take(request);
    this.#release();
    return pending;
  }

  /** Nobody waits for it any more. What was not sent never will be. It fails with the reason if nothing was changed. */
  cancel(pending: Pending, reason: unknown, now: number): void {
    this.#now = now;
    let last = pending;
    while (last.next !== undefined) last = last.next;
    const isHarmless = last.frames !== undefined || last.request.reads;
    this.#settle(last, isHarmless ? reason : outcomes.unknown("nobody waits for it any more", reason));
    this.#release();
  }

  // ---- what goes out ----

  /** Whether there is something to be sent now. */
  get hasBytes(): boolean {
    return this.#out.length > 0;
  }

  /** What is to be sent now, in one piece; undefined: nothing. Tell `flushed` once the connection has taken it. */
  takeBytes(): Uint8Array | undefined {
    const [first, ...others] = this.#out;
    if (first === undefined) return undefined;
    this.#out = [];
    const length = others.reduce((sum, frames) => sum + frames.length, first.length);
    if (others.length === 0) return first;
    const whole = new Uint8Array(length);
    let at = 0;
    for (const frames of [first, ...others]) {
      whole.set(frames, at);
      at += frames.length;
    }
    return whole;
  }

  /** Sends something that is neither counted nor queued. */
  #write(message: Message, xid = this.#xids.take(1)): void {
    const at = writer.at;
    encodeInto(writer, message, xid);
    this.#put(writer.written(at));
    writer.at = at;
  }

  #put(frames: Uint8Array): void {
    this.#out.push(frames);
    this.#unflushed += frames.length;
  }

  #take(request: Request, before?: Pending): Pending {
    const { drafts, dueAt } = request;
    const first = this.#xids.take(drafts.length);
    writer.at = 0;
    for (const [index, draft] of drafts.entries()) {
      const xid = first + index;
      encodeInto(writer, typeof draft === "function" ? draft(xid) : draft, xid);
    }
    const size = writer.at;
    const frames = writer.written();
    // A large group shall not hold its memory for ever.
    if (size > 0x10_0000) writer = new Writer();
    const { maxQueuedBytes } = this.#limits;
    if (size > maxQueuedBytes) throw outcomes.groupTooLarge(size, maxQueuedBytes);
    if (before === undefined && this.#queuedBytes + size > maxQueuedBytes) {
      throw outcomes.overloaded(this.#queuedBytes);
    }
    const pending = new Pending(request, first, frames, before);
    this.#xids.add(pending);
    this.#queuedBytes += size;
    this.#nextDue = Math.min(this.#nextDue, dueAt);
    if (before === undefined) this.#queue.push(pending);
    else this.#send(pending);
    return pending;
  }

  /** Asks something of one's own during the handshake. */
  #ask(message: Message, expects: Message["type"], settle: Settle): void {
    this.#take({ drafts: [message], expects, reads: true, dueAt: this.#readyBy, settle });
    this.#release();
  }

  /** Sends what waits, as long as there is room in the window. */
  #release(): void {
    while (
      this.#blocking === undefined &&
      this.#head < this.#queue.length &&
      this.#openBytes + this.#unflushed < this.#limits.windowBytes
    ) {
      const pending = this.#queue[this.#head++] as Pending;
      if (!pending.isOver) this.#send(pending);
    }
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head > 1000 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  #send(pending: Pending): void {
    const { frames, request, size } = pending;
    if (frames === undefined) return;
    pending.frames = undefined;
    pending.sentAt = this.#now;
    this.#queuedBytes -= size;
    this.#put(frames);
    if (request.expects === undefined) {
      this.#xids.delete(pending);
      return this.#settle(pending, undefined);
    }
    this.#sent.set(pending.last, pending);
    this.#openBytes += size;
    if (request.follow !== undefined) this.#blocking = pending;
  }

  /** Ends those whose time is over, and looks for the next one. */
  #expire(): void {
    let next = Infinity;
    const due = (pending: Pending): boolean => {
      if (pending.isOver) return false;
      if (pending.request.dueAt <= this.#now) return true;
      next = Math.min(next, pending.request.dueAt);
      return false;
    };
    // All are looked at before the first is settled: who is told may send something new.
    const waiting = this.#queue.slice(this.#head).filter(due);
    const sent = [...this.#sent.values()].filter(due);
    this.#nextDue = next;
    for (const pending of sent) {
      const { reads } = pending.request;
      this.#settle(pending, reads ? outcomes.noReply() : outcomes.unknown("no proof has come in time"));
    }
    for (const pending of waiting) this.#settle(pending, outcomes.notSent());
  }

  #settle(pending: Pending, error: unknown): void {
    if (pending.isOver) return;
    pending.isOver = true;
    const { request, replies, size } = pending;
    if (pending.frames !== undefined) {
      pending.frames = undefined;
      this.#queuedBytes -= size;
      this.#xids.delete(pending);
    }
    if (this.#blocking === pending) {
      this.#blocking = undefined;
      const next = this.hasEnded ? undefined : request.follow?.(error);
      if (next !== undefined) pending.next = this.#take(next, pending);
    }
    request.settle(error, replies);
  }

  /** The switch is done with it: its bytes are under way no more. */
  #finish(pending: Pending, error: unknown): void {
    this.#sent.delete(pending.last);
    this.#xids.delete(pending);
    this.#openBytes -= pending.size;
    this.#settle(pending, error);
  }

  // ---- messages of the switch ----

  #took(frame: Uint8Array): void {
    if (this.hasEnded) return;
    let message: Received;
    try {
      message = decode(frame);
    } catch (error) {
      if (!(error instanceof OpenFlowError)) throw error;
      return this.#unreadable(frame, error);
    }
    // The type decides first: the transaction ids of what the switch sends by itself are its own, and may be those of ours.
    switch (message.type) {
      case "hello":
        return this.#greeted(speaks13(message), message.version);
      case "echoRequest":
        // A switch that does not read gets no more to read.
        if (this.#unflushed < this.#limits.windowBytes)
          this.#write({ type: "echoReply", data: message.data }, message.xid);
        return;
      case "packetIn":
      case "flowRemoved":
      case "portStatus":
        if (this.#state === "ready") this.#tell({ type: "message", message });
        return;
      case "error":
        return this.#refused(message);
      default:
        return this.#replied(message, frame.length);
    }
  }

  #greeted(speaks: boolean, version: number): void {
    if (this.#state !== "hello") return;
    if (!speaks) {
      this.#write({
        type: "error",
        errorType: 0,
        code: 0,
        data: new TextEncoder().encode("OpenFlow 1.3 only"),
      });
      return this.end(wrongVersion(version));
    }
    this.#state = "features";
    this.#ask({ type: "featuresRequest" }, "featuresReply", (error, [reply]) => {
      if (this.hasEnded) return;
      if (reply?.type !== "featuresReply") {
        return this.end(outcomes.handshakeFailed("the switch has not said who it is", error));
      }
      if (reply.auxiliaryId !== 0) {
        return this.end(outcomes.handshakeFailed("an auxiliary connection: only main ones are taken"));
      }
      this.#features = reply;
      this.#state = "role";
      this.#tell({ type: "identified", features: reply });
    });
  }

  /** A message that cannot be read. What waits for it has no other answer; anything else goes on without it. */
  #unreadable(frame: Uint8Array, error: OpenFlowError): void {
    const [, type = 0, , , a = 0, b = 0, c = 0, d = 0] = frame;
    const pending = isReply(type) ? this.#find(((a << 24) | (b << 16) | (c << 8) | d) >>> 0) : undefined;
    if (pending === undefined || pending.isOver) return this.#tell({ type: "unreadable", error });
    this.#finish(
      pending,
      pending.request.reads
        ? error
        : outcomes.unknown("what the switch has said of it cannot be read", error),
    );
  }

  /** What was sent and has this transaction id. Errors may have that of any message of a group. */
  #find(xid: number): Pending | undefined {
    const pending = this.#xids.find(xid);
    return pending?.frames === undefined ? pending : undefined;
  }

  #refused(message: Received<ErrorMessage>): void {
    const { errorType, code, xid } = message;
    if (this.#state === "hello") {
      return this.end(outcomes.handshakeFailed(`the switch has refused the hello (${errorType}/${code})`));
    }
    // A master that is refused as a slave has been overtaken: what it sends from now on does harm if anything.
    if (this.#isMaster && errorType === 1 && code === 10)
      return this.end(outcomes.stale("it has made this one a slave"));
    const pending = this.#find(xid);
    if (pending === undefined || pending.isOver) this.#tell({ type: "refused", message });
    else if (pending.refusals.length < pending.count) {
      pending.refusals.push(outcomes.refusalOf(pending.indexOf(xid) ?? -1, errorType, code));
    }
    // The barrier of a group is still to come, and with it the errors of its other messages.
    const last = this.#sent.get(xid);
    if (last !== undefined) this.#finish(last, outcomes.refused(last.refusals));
  }

  #replied(message: Received, length: number): void {
    const pending = this.#sent.get(message.xid);
    if (pending === undefined || pending.request.expects !== message.type) return;
    if (message.type === "barrierReply") {
      this.#forgetBefore(pending);
      const { refusals } = pending;
      return this.#finish(pending, refusals.length > 0 ? outcomes.refused(refusals) : undefined);
    }
    const hasMore = message.type === "multipartReply" && (message.flags & moreParts) !== 0;
    if (!pending.isOver) {
      pending.replies.push(message);
      pending.replyBytes += length;
      if (pending.replyBytes > this.#limits.maxReplyBytes) {
        pending.replies.length = 0;
        // The parts that still come are not for anybody. The last one frees its place.
        this.#settle(pending, outcomes.replyTooLarge(this.#limits.maxReplyBytes));
      }
    }
    if (!hasMore) this.#finish(pending, undefined);
  }

  /** A barrier's reply comes after all that was sent before it: what nobody waits for any more gets no answer now. */
  #forgetBefore(barrier: Pending): void {
    for (const pending of this.#sent.values()) {
      if (pending === barrier) return;
      if (pending.isOver) this.#finish(pending, undefined);
    }
  }
}

/** Whether a message of this type answers another one: errors and replies do. */
const isReply = (type: number): boolean => [1, 3, 4, 6, 8, 19, 21, 25, 27].includes(type);

const countFlows: Message = {
  type: "multipartRequest",
  flags: 0,
  request: {
    kind: "aggregate",
    tableId: allTables,
    outPort: ports.any,
    outGroup: groups.any,
    cookie: 0n,
    cookieMask: 0n,
    match: [],
  },
};
