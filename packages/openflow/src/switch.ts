import { EventEmitter } from "node:events";
import type {
  Config,
  Echo,
  ErrorMessage,
  Experimenter,
  Features,
  FlowRemoved,
  Message,
  MultipartReply,
  PacketIn,
  PortStatus,
  Received,
} from "./codec/messages.ts";
import type {
  AggregateStats,
  Description,
  FlowFilter,
  FlowStats,
  GroupDescription,
  GroupFeatures,
  GroupStats,
  MeterConfig,
  MeterFeatures,
  MeterStats,
  MultipartEntries,
  MultipartKind,
  MultipartQuestion,
  MultipartRequestBody,
  PortDescription,
  PortStats,
  TableStats,
} from "./codec/multipart.ts";
import { allMeters, allTables, groups, ports } from "./codec/names.ts";
import { type Command, commands } from "./commands.ts";
import { invalid, malformed, OpenFlowError } from "./errors.ts";
import { bundleAdd, bundleControl, type BundleFlags } from "./session/bundles.ts";
import * as outcomes from "./session/outcomes.ts";
import type { AtConnect, Request } from "./session/session.ts";

/** How long to wait, and when to wait no more. */
export interface RequestOptions {
  /** The request fails after so long, which counts from the call. Default: `requestTimeoutMs` of the speaker. */
  readonly timeoutMs?: number;
  /**
   * Waits no longer once it is aborted. The call fails with the signal's reason if nothing was changed, and with WW_OF_UNKNOWN if the
   * messages were sent already.
   */
  readonly signal?: AbortSignal;
}

/** What a switch tells by itself. */
export interface SwitchEvents {
  readonly packetIn: [message: Received<PacketIn>];
  readonly flowRemoved: [message: Received<FlowRemoved>];
  readonly portStatus: [message: Received<PortStatus>];
  /** The switch has refused something that nobody waits for, such as a message of `send`. */
  readonly refused: [message: Received<ErrorMessage>];
  /** A message of the switch that cannot be read, and that nobody waits for. */
  readonly unreadable: [error: OpenFlowError];
  /** The connection has ended, and why. The switch has another object when it connects again. */
  readonly end: [error: OpenFlowError];
}

/** Questions with one reply, and their replies. */
interface Replies {
  readonly featuresRequest: Features;
  readonly getConfigRequest: Config;
  readonly echoRequest: Echo;
  readonly experimenter: Experimenter;
}

type Question =
  | { readonly type: "featuresRequest" | "getConfigRequest" }
  | (Echo & { readonly type: "echoRequest" })
  | Experimenter;

const replyTypes: Readonly<Record<keyof Replies, Message["type"]>> = {
  featuresRequest: "featuresReply",
  getConfigRequest: "getConfigReply",
  echoRequest: "echoReply",
  experimenter: "experimenter",
};

/** What a switch needs of its connection. */
export interface Wire {
  readonly requestTimeoutMs: number;
  now(): number;
  /** Takes a request, or throws what is wrong with it. The result cancels it. */
  submit(request: Request): (reason: unknown) => void;
  end(error: OpenFlowError): void;
  readonly hasEnded: boolean;
  readonly pendingBytes: number;
}

const never: readonly Received[] = [];

/**
 * One connection with a switch, of which this speaker is the master. All that you ask goes into one queue: the switch gets it in the order
 * of your calls.
 */
export class Switch extends EventEmitter<SwitchEvents> {
  readonly datapathId: bigint;
  readonly features: Features;
  /** The address of the other end. */
  readonly remote: string;
  /** What the switch had when it connected: with it you see that it was started anew. */
  readonly atConnect: AtConnect;
  /** The generation in which this speaker is its master. */
  readonly generation: bigint;
  readonly #wire: Wire;
  #bundles = 0;

  /** Speakers make them. */
  constructor(
    about: {
      readonly features: Features;
      readonly remote: string;
      readonly atConnect: AtConnect;
      readonly generation: bigint;
    },
    wire: Wire,
  ) {
    super();
    this.features = about.features;
    this.datapathId = about.features.datapathId;
    this.remote = about.remote;
    this.atConnect = about.atConnect;
    this.generation = about.generation;
    this.#wire = wire;
  }

  /** Whether the connection lives, as far as is known. */
  get isConnected(): boolean {
    return !this.#wire.hasEnded;
  }

  /** How many bytes wait to be sent, or to be answered. */
  get pendingBytes(): number {
    return this.#wire.pendingBytes;
  }

  /**
   * Sends messages, and a barrier behind them. It resolves when the switch has done all of them, which the barrier's reply proves.
   *
   * A group is not atomic: if one is refused, the others are done all the same. See `bundle`.
   * @throws OpenFlowError WW_OF_REFUSED says which were refused; WW_OF_UNKNOWN: they were sent, and no proof came; all other codes: nothing
   * was changed.
   */
  async apply(messages: readonly Command[], options: RequestOptions = {}): Promise<void> {
    const drafts: Message[] = [...commands(messages), { type: "barrierRequest" }];
    await this.#ask({ drafts, expects: "barrierReply", reads: false }, options, () => {});
  }

  /**
   * Sends messages that nobody waits for, such as packet-outs. Nothing proves that they were done. The event `refused` tells what was not.
   * @throws OpenFlowError WW_OF_INVALID, WW_OF_OVERLOADED, WW_OF_CLOSED
   */
  send(...messages: readonly Command[]): void {
    const { requestTimeoutMs } = this.#wire;
    this.#wire.submit({
      drafts: commands(messages),
      expects: undefined,
      reads: false,
      dueAt: this.#wire.now() + requestTimeoutMs,
      settle: () => {},
    });
  }

  /**
   * Does all messages or none of them: an extension that Open vSwitch has. The bundle is committed once the switch has taken each message.
   * @throws OpenFlowError WW_OF_REFUSED, and nothing was changed; WW_OF_UNKNOWN: the commit was sent, and no proof came
   */
  async bundle(messages: readonly Command[], options: RequestOptions & BundleFlags = {}): Promise<void> {
    const id = (this.#bundles = (this.#bundles + 1) >>> 0);
    const control = (what: "open" | "commit" | "discard") => bundleControl(id, what, options);
    const { dueAt, until } = this.#waits(options);
    await until((settle) => {
      const end = (reads: boolean, what: "commit" | "discard", tell: Request["settle"]): Request => ({
        drafts: [control(what)],
        expects: "experimenter",
        reads,
        dueAt,
        settle: tell,
      });
      return {
        drafts: [
          control("open"),
          ...commands(messages).map((message) => bundleAdd(id, message, options)),
          { type: "barrierRequest" },
        ],
        expects: "barrierReply",
        // Nothing is done before the commit.
        reads: true,
        dueAt,
        settle: (error) => (error === undefined ? undefined : settle(ofBundle(error), never)),
        follow: (error) =>
          error === undefined
            ? end(false, "commit", (failed) => settle(ofBundle(failed), never))
            : end(true, "discard", () => {}),
      };
    });
  }

  /** Asks something in several parts, and gives all entries of the reply. */
  read<K extends MultipartKind>(
    request: MultipartQuestion<K>,
    options: RequestOptions = {},
  ): Promise<MultipartEntries[K][]> {
    return this.parts(request as MultipartRequestBody, options).then((parts) => {
      const entries: MultipartEntries[K][] = [];
      for (const { reply } of parts) {
        if (reply.kind === "other" || reply.kind !== request.kind) {
          throw malformed("multipart", `a reply of another kind than ${request.kind}`);
        }
        for (const entry of reply.entries) entries.push(entry as MultipartEntries[K]);
      }
      return entries;
    });
  }

  /** Asks something in several parts, and gives the parts as they came: for kinds that this package keeps as bytes. */
  parts(request: MultipartRequestBody, options: RequestOptions = {}): Promise<MultipartReply[]> {
    const drafts: Message[] = [{ type: "multipartRequest", flags: 0, request }];
    return this.#ask({ drafts, expects: "multipartReply", reads: true }, options, (replies) =>
      replies.filter((reply) => reply.type === "multipartReply"),
    );
  }

  /** The rules that fit: of all tables, unless you say less. */
  flows(filter: Partial<FlowFilter> = {}, options?: RequestOptions): Promise<FlowStats[]> {
    return this.read({ ...anyFlow, ...filter, kind: "flow" }, options);
  }

  /** How many rules fit, and the sums of their counters. */
  aggregate(filter: Partial<FlowFilter> = {}, options?: RequestOptions): Promise<AggregateStats> {
    return this.#one({ ...anyFlow, ...filter, kind: "aggregate" }, options);
  }

  /** All tables, with the number of their rules. */
  tables(options?: RequestOptions): Promise<TableStats[]> {
    return this.read({ kind: "table" }, options);
  }

  /** What the switch says of itself. */
  description(options?: RequestOptions): Promise<Description> {
    return this.#one({ kind: "description" }, options);
  }

  /** All ports, as they are now. */
  ports(options?: RequestOptions): Promise<PortDescription[]> {
    return this.read({ kind: "portDescription" }, options);
  }

  /** The counters of a port, or of all. */
  portStats(port: number = ports.any, options?: RequestOptions): Promise<PortStats[]> {
    return this.read({ kind: "portStats", port }, options);
  }

  /** All groups. */
  groups(options?: RequestOptions): Promise<GroupDescription[]> {
    return this.read({ kind: "groupDescription" }, options);
  }

  /** The counters of a group, or of all. */
  groupStats(groupId: number = groups.all, options?: RequestOptions): Promise<GroupStats[]> {
    return this.read({ kind: "group", groupId }, options);
  }

  /** What groups the switch can have. */
  groupFeatures(options?: RequestOptions): Promise<GroupFeatures> {
    return this.#one({ kind: "groupFeatures" }, options);
  }

  /** The counters of a meter, or of all. */
  meterStats(meterId: number = allMeters, options?: RequestOptions): Promise<MeterStats[]> {
    return this.read({ kind: "meter", meterId }, options);
  }

  /** A meter, or all of them. */
  meters(meterId: number = allMeters, options?: RequestOptions): Promise<MeterConfig[]> {
    return this.read({ kind: "meterConfig", meterId }, options);
  }

  /** What meters the switch can have. */
  meterFeatures(options?: RequestOptions): Promise<MeterFeatures> {
    return this.#one({ kind: "meterFeatures" }, options);
  }

  /** Asks something that has one reply. A question of an experimenter may change something: without a reply, its outcome is unknown. */
  request<Q extends Question>(
    question: Q,
    options: RequestOptions = {},
  ): Promise<Received<Replies[Q["type"]]>> {
    const expects = replyTypes[question.type];
    const reads = question.type !== "experimenter";
    return this.#ask({ drafts: [question], expects, reads }, options, ([reply]) => reply as never);
  }

  /** Ends the connection. What was sent and not proven has an unknown outcome. The switch connects again by itself. */
  close(): void {
    this.#wire.end(outcomes.closedHere());
  }

  async #one<K extends MultipartKind>(
    request: MultipartQuestion<K>,
    options?: RequestOptions,
  ): Promise<MultipartEntries[K]> {
    const [entry] = await this.read<K>(request, options);
    return entry as MultipartEntries[K];
  }

  #ask<T>(
    what: Pick<Request, "drafts" | "expects" | "reads">,
    options: RequestOptions,
    result: (replies: readonly Received[]) => T,
  ): Promise<T> {
    const { dueAt, until } = this.#waits(options);
    return until((settle) => ({ ...what, dueAt, settle })).then(result);
  }

  /** When a call fails, and what submits a request and waits for it. */
  #waits({ timeoutMs = this.#wire.requestTimeoutMs, signal }: RequestOptions) {
    const dueAt = this.#wire.now() + timeoutMs;
    const until = (make: (settle: Request["settle"]) => Request): Promise<readonly Received[]> =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted();
        if (!(timeoutMs > 0 && Number.isFinite(timeoutMs)))
          throw invalid("timeoutMs", timeoutMs, "a number above 0");
        let abort = (): void => {};
        const request = make((error, replies) => {
          signal?.removeEventListener("abort", abort);
          if (error === undefined) resolve(replies);
          else reject(error as Error);
        });
        const cancel = this.#wire.submit(request);
        abort = () => cancel(signal?.reason);
        signal?.addEventListener("abort", abort);
      });
    return { dueAt, until };
  }
}

/** The places of messages in a bundle: its first message opens it. Errors of the opening and of the commit belong to the whole. */
function ofBundle(error: unknown): unknown {
  if (!(error instanceof OpenFlowError) || error.code !== "WW_OF_REFUSED") return error;
  return outcomes.bundleRefused(error.refusals.map((refusal) => ({ ...refusal, index: refusal.index - 1 })));
}

const anyFlow: FlowFilter = {
  tableId: allTables,
  outPort: ports.any,
  outGroup: groups.any,
  cookie: 0n,
  cookieMask: 0n,
  match: [],
};
