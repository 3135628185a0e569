import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decode,
  encode,
  flowMod,
  Framer,
  hello,
  type Message,
  OpenFlowError,
  type Received,
} from "../src/index.ts";
import { bundleAdd, bundleControl } from "../src/session/bundles.ts";
import {
  type Pending,
  type Request,
  Session,
  type SessionEvent,
  type SessionLimits,
} from "../src/session/session.ts";
import type { XidRange } from "../src/session/xids.ts";

const limits: SessionLimits = {
  echoAfterMs: 2000,
  silentAfterMs: 6000,
  unansweredMs: 20_000,
  handshakeMs: 10_000,
  windowBytes: 1000,
  maxQueuedBytes: 5000,
  maxReplyBytes: 1000,
};

const features: Message = {
  type: "featuresReply",
  datapathId: 7n,
  buffers: 0,
  tables: 254,
  auxiliaryId: 0,
  capabilities: 0,
  reserved: 0,
};
const role = (generation: bigint, role: "equal" | "master"): Message => ({
  type: "roleReply",
  role,
  generation,
});
const aggregate = (flows: number): Message => ({
  type: "multipartReply",
  flags: 0,
  reply: { kind: "aggregate", entries: [{ packets: 0n, bytes: 0n, flows }] },
});
const refusal = (errorType: number, code: number): Message => ({
  type: "error",
  errorType,
  code,
  data: new Uint8Array(),
});
const barrier: Message = { type: "barrierReply" };
const noData = new Uint8Array();

/** A session, what it has told, and its switch, which says what a test lets it say. */
class Played {
  now = 0;
  readonly events: SessionEvent[] = [];
  readonly session: Session;
  readonly #framer = new Framer();

  constructor(given: Partial<SessionLimits> = {}, range?: XidRange) {
    this.session = new Session({ ...limits, ...given }, this.now, (event) => this.events.push(event), range);
  }

  /** What the session has sent since it was asked last. */
  sent(): Received[] {
    const messages: Received[] = [];
    for (let bytes = this.session.takeBytes(); bytes !== undefined; bytes = this.session.takeBytes()) {
      this.#framer.push(bytes, (frame) => messages.push(decode(frame)));
      this.session.flushed(bytes.length);
    }
    return messages;
  }

  types(): string[] {
    return this.sent().map(({ type }) => type);
  }

  says(message: Message, xid = 0): void {
    this.session.received(encode(message, xid), this.now);
  }

  after(milliseconds: number): void {
    this.now += milliseconds;
    this.session.tick(this.now);
  }

  /** Goes through the handshake. */
  ready(generation = 5n): this {
    this.says(hello);
    const [, asked] = this.sent();
    this.says(features, asked?.xid);
    this.session.takeMaster(generation, this.now);
    const [known, master, count] = this.sent();
    this.says(role(3n, "equal"), known?.xid);
    this.says(role(generation, "master"), master?.xid);
    this.says(aggregate(12), count?.xid);
    return this;
  }

  /** Asks something; the result tells what came of it. */
  ask(given: Partial<Request>): Asked {
    const asked: Asked = { outcomes: [], replies: [], pending: undefined };
    const { dueAt = this.now + 5000, ...others } = given;
    asked.pending = this.session.submit(
      {
        drafts: [],
        expects: "barrierReply",
        reads: false,
        dueAt,
        settle: (error, replies) => {
          asked.outcomes.push(
            error instanceof OpenFlowError ? error.code : error === undefined ? "ok" : error,
          );
          asked.error = error;
          asked.replies.push(...replies);
        },
        ...others,
      },
      this.now,
    );
    return asked;
  }

  group(size: number, given: Partial<Request> = {}): Asked {
    const rules = Array.from({ length: size }, (_, index) => flowMod({ cookie: BigInt(index) }));
    return this.ask({ drafts: [...rules, { type: "barrierRequest" }], ...given });
  }

  flows(given: Partial<Request> = {}): Asked {
    const request = { kind: "table" } as const;
    const drafts: Message[] = [{ type: "multipartRequest", flags: 0, request }];
    return this.ask({ drafts, expects: "multipartReply", reads: true, ...given });
  }

  get end(): string | undefined {
    return this.events.find((event) => event.type === "ended")?.error.code;
  }
}

interface Asked {
  readonly outcomes: unknown[];
  readonly replies: Received[];
  error?: unknown;
  pending: Pending | undefined;
}

const tables = (flags: number, ...ids: number[]): Message => ({
  type: "multipartReply",
  flags,
  reply: {
    kind: "table",
    entries: ids.map((tableId) => ({ tableId, active: 0, lookups: 0n, matched: 0n })),
  },
});

describe("the handshake", () => {
  it("asks who the switch is, then takes its mastership before anything else, and tells what it has", () => {
    const played = new Played();
    expect(played.types()).toEqual(["hello"]);
    played.says(hello);
    const [asked] = played.sent();
    expect(asked).toMatchObject({ type: "featuresRequest" });
    played.says(features, asked?.xid);
    expect(played.events).toMatchObject([{ type: "identified", features: { datapathId: 7n } }]);
    expect(played.sent()).toEqual([]);
    played.session.takeMaster(5n, played.now);
    const [known, master, count] = played.sent();
    expect([known, master, count]).toMatchObject([
      { type: "roleRequest", role: "noChange" },
      { type: "roleRequest", role: "master", generation: 5n },
      { type: "multipartRequest", request: { kind: "aggregate", tableId: 255 } },
    ]);
    played.says(role(3n, "equal"), known?.xid);
    played.says(role(5n, "master"), master?.xid);
    expect(() => played.group(1)).toThrow("WW_OF_CLOSED");
    played.says(aggregate(12), count?.xid);
    expect(played.events.at(-1)).toMatchObject({ type: "ready", atConnect: { generation: 3n, flows: 12 } });
  });

  it("knows no generation of a switch that has had no master", () => {
    const played = new Played();
    played.says(hello);
    played.says(features, played.sent()[1]?.xid);
    played.session.takeMaster(5n, 0);
    const [known, master, count] = played.sent();
    played.says(role(2n ** 64n - 1n, "equal"), known?.xid);
    played.says(role(5n, "master"), master?.xid);
    played.says(refusal(1, 2), count?.xid);
    expect(played.events.at(-1)).toMatchObject({ atConnect: { generation: undefined, flows: undefined } });
  });

  it("ends when the generation is stale, and writes nothing more", () => {
    const played = new Played();
    played.says(hello);
    played.says(features, played.sent()[1]?.xid);
    played.session.takeMaster(5n, 0);
    const [, master] = played.sent();
    played.says({ type: "echoRequest", data: noData }, 1);
    played.says(refusal(11, 0), master?.xid);
    expect(played.end).toBe("WW_OF_STALE");
    expect(played.sent()).toEqual([]);
  });

  it("ends when another role is given than master", () => {
    const played = new Played();
    played.says(hello);
    played.says(features, played.sent()[1]?.xid);
    played.session.takeMaster(5n, 0);
    const [known, master, count] = played.sent();
    played.says(role(3n, "equal"), known?.xid);
    played.says(role(5n, "equal"), master?.xid);
    played.says(aggregate(0), count?.xid);
    expect(played.end).toBe("WW_OF_HANDSHAKE");
  });

  it("tells a switch of another version so", () => {
    const played = new Played();
    played.sent();
    played.says({ ...hello, version: 1, elements: [] });
    expect(played.end).toBe("WW_OF_VERSION");
    expect(played.sent()).toMatchObject([{ type: "error", errorType: 0, code: 0 }]);
  });

  it("refuses auxiliary connections", () => {
    const played = new Played();
    played.says(hello);
    played.says({ ...features, auxiliaryId: 1 } as Message, played.sent()[1]?.xid);
    expect(played.end).toBe("WW_OF_HANDSHAKE");
  });

  it("has a deadline, though the switch goes on to talk", () => {
    const played = new Played();
    for (let time = 0; time < 9; time++) {
      played.after(1000);
      played.says({ type: "echoRequest", data: noData });
    }
    expect(played.end).toBeUndefined();
    expect(played.session.wakeAt).toBe(10_000);
    played.after(1000);
    expect(played.end).toBe("WW_OF_HANDSHAKE");
  });

  it("ends on bytes that are no OpenFlow", () => {
    const played = new Played();
    played.session.received(new Uint8Array(8).fill(255), 0);
    expect(played.end).toBe("WW_OF_VERSION");
  });
});

describe("silence", () => {
  it("is answered by an echo request, and ends the session when that is not answered", () => {
    const played = new Played().ready();
    expect(played.session.wakeAt).toBe(2000);
    played.after(2000);
    expect(played.types()).toEqual(["echoRequest"]);
    expect(played.session.wakeAt).toBe(6000);
    played.after(3999);
    expect([played.types(), played.end]).toEqual([[], undefined]);
    played.after(1);
    expect(played.end).toBe("WW_OF_SILENT");
    expect(played.session.wakeAt).toBe(Infinity);
  });

  it("is not that of the switch if nobody has asked it, since this process stood still", () => {
    const played = new Played().ready();
    played.after(60_000);
    expect([played.types(), played.end]).toEqual([["echoRequest"], undefined]);
    expect(played.session.wakeAt).toBe(64_000);
    played.after(3999);
    expect(played.end).toBeUndefined();
    played.after(1);
    expect(played.end).toBe("WW_OF_SILENT");
  });

  it("ends with anything that the switch says", () => {
    const played = new Played().ready();
    for (let time = 0; time < 10; time++) {
      played.after(2500);
      expect(played.types()).toEqual(["echoRequest"]);
      played.says({ type: "echoReply", data: noData }, 99);
    }
    expect(played.end).toBeUndefined();
  });
});

describe("a switch that says something, and answers nothing,", () => {
  it("is as silent as one that says nothing if no message becomes whole", () => {
    const played = new Played().ready();
    const frame = encode({ type: "echoReply", data: new Uint8Array(100) });
    for (let at = 0; at < 8; at++) {
      played.session.received(frame.subarray(at, at + 1), played.now);
      played.after(1000);
    }
    expect(played.end).toBe("WW_OF_SILENT");
  });

  it("loses its connection once nobody waits any more: only a new one tells what it has done", () => {
    const played = new Played().ready();
    const [short, long] = [played.group(1, { dueAt: 5000 }), played.group(1, { dueAt: 30_000 })];
    const waits = (ms: number): void => {
      for (let time = 0; time < ms; time += 1000) {
        played.says({ type: "echoReply", data: noData });
        played.after(1000);
      }
    };
    const last = played.sent()[3]?.xid;
    waits(19_000);
    expect([short.outcomes, long.outcomes, played.end]).toEqual([["WW_OF_UNKNOWN"], [], undefined]);
    // The proof of the second one tells that the first one is done with, too.
    played.says(barrier, last);
    waits(30_000);
    expect([long.outcomes, played.end]).toEqual([["ok"], undefined]);
    const asked = played.group(1, { dueAt: played.now + 30_000 });
    waits(30_000);
    expect([asked.outcomes, played.end]).toEqual([["WW_OF_UNKNOWN"], undefined]);
    waits(1000);
    expect(played.end).toBe("WW_OF_SILENT");
  });

  it("gets what was given up on while this process stood still: nobody has looked for its answer", () => {
    const played = new Played().ready();
    const asked = played.group(1);
    const xid = played.sent()[1]?.xid;
    played.after(60_000);
    expect([asked.outcomes, played.end]).toEqual([["WW_OF_UNKNOWN"], undefined]);
    played.says(barrier, xid);
    played.after(1000);
    expect([played.end, played.session.pendingBytes]).toEqual([undefined, 0]);
  });
});

describe("transaction ids", () => {
  it("begin again, and leave out those of what is under way", () => {
    const played = new Played({}, { first: 1, last: 20 }).ready();
    const stays = played.group(1);
    const [, proof] = played.sent();
    const seen: number[] = [];
    for (let time = 0; time < 20; time++) {
      const asked = played.group(3);
      const xids = played.sent().map(({ xid }) => xid);
      seen.push(...xids);
      played.says(refusal(5, 1), xids[1]);
      played.says(barrier, xids[3]);
      expect(asked.error).toMatchObject({ refusals: [{ index: 1 }] });
    }
    expect(seen).not.toContain(proof?.xid);
    expect(Math.max(...seen)).toBeLessThanOrEqual(20);
    played.says(barrier, proof?.xid);
    expect([stays.outcomes, played.session.pendingBytes]).toEqual([["ok"], 0]);
  });

  it("of what was not sent yet prove and refuse nothing", () => {
    const played = new Played().ready();
    const [sent, waiting] = [played.group(20), played.group(1)];
    const last = played.sent().at(-1)?.xid ?? 0;
    for (const xid of [last + 1, last + 2]) {
      played.says(refusal(5, 1), xid);
      played.says(barrier, xid);
    }
    expect([sent.outcomes, waiting.outcomes]).toEqual([[], []]);
    played.says(barrier, last);
    expect(played.types()).toEqual(["flowMod", "barrierRequest"]);
    played.says(barrier, last + 2);
    expect([sent.outcomes, waiting.outcomes]).toEqual([["ok"], ["ok"]]);
  });
});

describe("a group", () => {
  it("is proven by the reply of its barrier", () => {
    const played = new Played().ready();
    const asked = played.group(2);
    const sent = played.sent();
    expect(sent.map(({ type }) => type)).toEqual(["flowMod", "flowMod", "barrierRequest"]);
    expect(asked.outcomes).toEqual([]);
    played.says(barrier, sent[2]?.xid);
    played.says(barrier, sent[2]?.xid);
    expect(asked.outcomes).toEqual(["ok"]);
    expect(played.session.pendingBytes).toBe(0);
  });

  it("tells which of its messages were refused", () => {
    const played = new Played().ready();
    const asked = played.group(3);
    const sent = played.sent();
    played.says(refusal(5, 1), sent[2]?.xid);
    played.says(refusal(2, 4), sent[0]?.xid);
    expect(asked.outcomes).toEqual([]);
    played.says(barrier, sent[3]?.xid);
    expect(asked.outcomes).toEqual(["WW_OF_REFUSED"]);
    expect(asked.error).toMatchObject({
      refusals: [
        { index: 2, name: "FLOW_MOD_FAILED/TABLE_FULL" },
        { index: 0, name: "BAD_ACTION/BAD_OUT_PORT" },
      ],
    });
  });

  it("is not confused by messages of the switch that have the same transaction ids", () => {
    const played = new Played().ready();
    const asked = played.group(1);
    const xid = played.sent()[1]?.xid;
    played.says({ type: "echoRequest", data: Uint8Array.of(5) }, xid);
    played.says({ type: "echoReply", data: noData }, xid);
    const packetIn: Message = {
      type: "packetIn",
      bufferId: 0,
      totalLength: 0,
      reason: "action",
      tableId: 0,
      cookie: 0n,
      match: [],
      data: noData,
    };
    played.says(packetIn, xid);
    played.says(tables(0), xid);
    expect(asked.outcomes).toEqual([]);
    expect(played.sent()).toEqual([{ type: "echoReply", data: Uint8Array.of(5), xid }]);
    expect(played.events.at(-1)).toMatchObject({ type: "message", message: { type: "packetIn" } });
    played.says(barrier, xid);
    expect(asked.outcomes).toEqual(["ok"]);
  });

  it("has an unknown outcome when its proof does not come in time, and when the connection ends", () => {
    const played = new Played().ready();
    const late = played.group(1, { dueAt: 1000 });
    const lost = played.group(1);
    const read = played.flows();
    const xids = played.sent().map(({ xid }) => xid);
    played.after(1000);
    expect(late.outcomes).toEqual(["WW_OF_UNKNOWN"]);
    // Its reply is nobody's any more.
    played.says(barrier, xids[1]);
    expect(late.outcomes).toEqual(["WW_OF_UNKNOWN"]);
    played.session.end(new OpenFlowError("WW_OF_CLOSED", "cut"));
    expect([lost.outcomes, read.outcomes]).toEqual([["WW_OF_UNKNOWN"], ["WW_OF_CLOSED"]]);
  });

  it("ends the session if another speaker is the master by now", () => {
    const played = new Played().ready();
    const asked = played.group(1);
    const next = played.group(20);
    const waiting = played.group(1);
    const [rule] = played.sent();
    played.says(refusal(1, 10), rule?.xid);
    expect(played.end).toBe("WW_OF_STALE");
    expect([asked.outcomes, next.outcomes, waiting.outcomes]).toEqual([
      ["WW_OF_UNKNOWN"],
      ["WW_OF_UNKNOWN"],
      ["WW_OF_CLOSED"],
    ]);
    expect(played.sent()).toEqual([]);
  });

  it("that cannot be encoded is refused, and what comes after it is sent", () => {
    const played = new Played().ready();
    expect(() => played.ask({ drafts: [flowMod(), flowMod({ priority: -1 })] })).toThrow(
      "WW_OF_INVALID: priority",
    );
    expect(played.session.pendingBytes).toBe(0);
    const asked = played.group(1);
    played.says(barrier, played.sent()[1]?.xid);
    expect(asked.outcomes).toEqual(["ok"]);
  });
});

describe("back-pressure", () => {
  it("lets no more bytes be under way than the window has, and keeps the order", () => {
    const played = new Played().ready();
    // 20 rules have 1,128 bytes with their barrier.
    const [one, two, three] = [played.group(20), played.group(20), played.group(1)];
    const sent = played.sent();
    expect(sent).toHaveLength(21);
    expect(played.sent()).toEqual([]);
    played.says(barrier, sent[20]?.xid);
    const next = played.sent();
    expect(next).toHaveLength(21);
    expect(next[0]?.xid).toBe((sent[20]?.xid ?? 0) + 1);
    played.says(barrier, next[20]?.xid);
    played.says(barrier, played.sent()[1]?.xid);
    expect([one.outcomes, two.outcomes, three.outcomes]).toEqual([["ok"], ["ok"], ["ok"]]);
  });

  it("refuses what would wait beyond the limit, and what could never be sent", () => {
    const played = new Played().ready();
    for (let count = 0; count < 5; count++) played.group(20);
    expect(() => played.group(20)).toThrow(
      expect.objectContaining({ code: "WW_OF_OVERLOADED", retryable: true }),
    );
    expect(() => played.group(100)).toThrow(/^WW_OF_TOO_LARGE/);
  });

  it("counts messages that nothing answers until the connection has taken them", () => {
    const played = new Played({ windowBytes: 100 }).ready();
    for (let count = 0; count < 10; count++) played.ask({ drafts: [flowMod()], expects: undefined });
    const bytes = played.session.takeBytes();
    expect(bytes?.length).toBe(56 * 2);
    expect(played.session.takeBytes()).toBeUndefined();
    played.session.flushed(56 * 2);
    expect(played.session.takeBytes()?.length).toBe(56 * 2);
  });

  it("does not let a switch that reads nothing collect answers", () => {
    const played = new Played().ready();
    for (let count = 0; count < 1000; count++) played.says({ type: "echoRequest", data: new Uint8Array(92) });
    expect(played.session.takeBytes()?.length).toBeLessThanOrEqual(1100);
  });

  it("forgets what waited for too long, and never sends it", () => {
    const played = new Played().ready();
    played.group(20);
    const waiting = played.group(20, { dueAt: 1000 });
    played.sent();
    played.after(1000);
    expect(waiting.outcomes).toEqual(["WW_OF_TIMEOUT"]);
    expect(played.session.pendingBytes).toBe(1128);
  });

  it("gives the window back once a later barrier tells that nothing more comes", () => {
    const played = new Played().ready();
    const read = played.flows({ dueAt: 1000 });
    const group = played.group(1);
    const sent = played.sent();
    played.after(1000);
    expect(read.outcomes).toEqual(["WW_OF_TIMEOUT"]);
    played.says(barrier, sent[2]?.xid);
    expect([group.outcomes, played.session.pendingBytes]).toEqual([["ok"], 0]);
  });
});

describe("a reply in several parts", () => {
  it("is collected until no more come", () => {
    const played = new Played().ready();
    const asked = played.flows();
    const [{ xid = 0 } = {}] = played.sent();
    played.says(tables(1, 1, 2), xid);
    expect(asked.outcomes).toEqual([]);
    played.says(tables(0, 3), xid);
    expect(asked.outcomes).toEqual(["ok"]);
    expect(asked.replies).toHaveLength(2);
  });

  it("has a bound, and its place is free once its end has come", () => {
    const played = new Played().ready();
    const asked = played.flows();
    const [{ xid = 0 } = {}] = played.sent();
    for (let part = 0; part < 30; part++) played.says(tables(1, 1, 2), xid);
    expect(asked.outcomes).toEqual(["WW_OF_TOO_LARGE"]);
    played.says(tables(0), xid);
    expect([asked.outcomes, played.session.pendingBytes]).toEqual([["WW_OF_TOO_LARGE"], 0]);
  });

  it("that cannot be read fails its question, and the session goes on", () => {
    const played = new Played().ready();
    const asked = played.flows();
    const [{ xid = 0 } = {}] = played.sent();
    const frame = encode(tables(0, 1), xid);
    const cut = frame.slice(0, frame.length - 1);
    cut[3] = cut.length;
    played.session.received(cut, 0);
    expect(asked.outcomes).toEqual(["WW_OF_MALFORMED"]);
    expect([played.end, played.session.pendingBytes]).toEqual([undefined, 0]);
    played.session.received(cut, 0);
    expect(played.events.at(-1)).toMatchObject({ type: "unreadable" });
  });
});

describe("what is cancelled", () => {
  it("is never sent if it waits, and has an unknown outcome if it was sent", () => {
    const played = new Played().ready();
    const [sent, waiting, read] = [played.group(20), played.group(20), played.flows()];
    played.sent();
    for (const { pending } of [sent, waiting, read]) played.session.cancel(pending as Pending, "enough", 0);
    expect([sent.outcomes, waiting.outcomes, read.outcomes]).toEqual([
      ["WW_OF_UNKNOWN"],
      ["enough"],
      ["enough"],
    ]);
    expect(played.sent()).toEqual([]);
  });
});

describe("what follows at once", () => {
  const bundle = (played: Played): { asked: Asked; done: unknown[] } => {
    const done: unknown[] = [];
    const asked = played.ask({
      drafts: [bundleControl(1, "open", {}), bundleAdd(1, flowMod(), {}), { type: "barrierRequest" }],
      reads: true,
      follow: (error) => ({
        drafts: [bundleControl(1, error === undefined ? "commit" : "discard", {})],
        expects: "experimenter",
        reads: error !== undefined,
        dueAt: 5000,
        settle: (failed) => done.push(failed instanceof OpenFlowError ? failed.refusals : failed),
      }),
    });
    return { asked, done };
  };

  it("comes before all that waits", () => {
    const played = new Played().ready();
    const { asked, done } = bundle(played);
    const group = played.group(1);
    const sent = played.sent();
    expect(sent.map(({ type }) => type)).toEqual(["experimenter", "experimenter", "barrierRequest"]);
    played.says(barrier, sent[2]?.xid);
    expect(asked.outcomes).toEqual(["ok"]);
    const [commit, rule, proof] = played.sent();
    expect([commit, rule]).toMatchObject([
      { type: "experimenter", experimenterType: 2300 },
      { type: "flowMod" },
    ]);
    // The reason of a refused commit comes with the transaction id of a message of the bundle.
    played.says(refusal(5, 1), sent[1]?.xid);
    played.says({ ...refusal(65_535, 2313), experimenter: 0x4f4e4600 } as Message, commit?.xid);
    expect(done).toMatchObject([
      [{ index: 1, name: "FLOW_MOD_FAILED/TABLE_FULL" }, { name: "EXPERIMENTER/MSG_FAILED" }],
    ]);
    played.says(barrier, proof?.xid);
    expect([group.outcomes, played.session.pendingBytes]).toEqual([["ok"], 0]);
  });

  it("is another thing if something was refused", () => {
    const played = new Played().ready();
    const { asked } = bundle(played);
    const sent = played.sent();
    played.says(refusal(2, 4), sent[1]?.xid);
    played.says(barrier, sent[2]?.xid);
    expect(asked.outcomes).toEqual(["WW_OF_REFUSED"]);
    expect(Buffer.from((played.sent()[0] as { data: Uint8Array }).data.subarray(4, 6)).readUInt16BE()).toBe(
      6,
    );
  });
});

// Each request has exactly one outcome, whatever the switch says, in whatever order, and whenever the connection ends.
it("settles each request once, and loses no byte of the window", () => {
  const step = fc.oneof(
    fc.record({
      do: fc.constant("group" as const),
      size: fc.nat(12),
      timeout: fc.integer({ min: 1, max: 8000 }),
    }),
    fc.record({ do: fc.constant("read" as const), timeout: fc.integer({ min: 1, max: 8000 }) }),
    fc.record({ do: fc.constant("answer" as const), index: fc.nat(30), error: fc.boolean() }),
    fc.record({ do: fc.constant("cancel" as const), index: fc.nat(30) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.nat(3000) }),
    fc.record({
      do: fc.constant("junk" as const),
      messageType: fc.nat(35),
      body: fc.uint8Array({ maxLength: 20 }),
      xid: fc.nat(60),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.boolean(), (steps, cut) => {
      // So few that they begin again.
      const played = new Played({}, { first: 1, last: 200 }).ready();
      const asked: Asked[] = [];
      const open: Received[] = [];
      for (const one of steps) {
        if (played.end !== undefined) break;
        if (one.do === "group" || one.do === "read") {
          const dueAt = played.now + one.timeout;
          try {
            asked.push(one.do === "group" ? played.group(one.size, { dueAt }) : played.flows({ dueAt }));
          } catch (error) {
            if ((error as OpenFlowError).code !== "WW_OF_OVERLOADED") throw error;
          }
        } else if (one.do === "answer") {
          open.push(...played.sent());
          const [message] = open.splice(one.index % Math.max(1, open.length), 1);
          if (message === undefined) continue;
          if (one.error) played.says(refusal(5, 1), message.xid);
          else if (message.type === "barrierRequest") played.says(barrier, message.xid);
          else if (message.type === "multipartRequest") played.says(tables(0), message.xid);
        } else if (one.do === "cancel") {
          const { pending } = asked[one.index % Math.max(1, asked.length)] ?? {};
          if (pending !== undefined) played.session.cancel(pending, "enough", played.now);
        } else if (one.do === "wait") {
          played.after(one.ms);
        } else {
          // Whatever it says, it says it in frames: bytes that are none end the session.
          played.says({ type: "other", messageType: one.messageType, body: one.body }, one.xid);
        }
      }
      // All that is still open has a deadline. A connection that is cut ends it before.
      if (cut && steps.length % 2 === 0) played.session.end(new OpenFlowError("WW_OF_CLOSED", "cut"));
      for (let time = 0; time < 12; time++) {
        played.says({ type: "echoRequest", data: noData });
        played.after(1000);
      }
      for (const { outcomes } of asked) expect(outcomes).toHaveLength(1);
      // Once all is answered, or the connection has ended, nothing takes up place.
      if (cut) played.session.end(new OpenFlowError("WW_OF_CLOSED", "cut"));
      for (let more = [...open, ...played.sent()]; more.length > 0; more = played.sent()) {
        for (const { type, xid } of more) {
          if (type === "barrierRequest") played.says(barrier, xid);
          else if (type === "multipartRequest") played.says(tables(0), xid);
        }
      }
      expect(played.session.pendingBytes).toBe(0);
    }),
    { numRuns: Number(process.env["WHEELWORK_OPENFLOW_INPUTS"] ?? 1000) / 10 },
  );
});
