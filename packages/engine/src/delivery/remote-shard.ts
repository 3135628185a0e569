import { WheelworkError, type Answer } from "@wheelwork/core";
import {
  callersCancel,
  decidesCancel,
  knownCommand,
  refusedCancel,
  refusedSignal,
  Run,
  type CommandMemory,
  type Ignored,
  type Input,
} from "@wheelwork/core/kernel";
import { keyReused } from "../ports/keys.ts";
import type { Log } from "../ports/log.ts";
import type { Clock, Store } from "../ports/ports.ts";
import {
  askAgain,
  bodyOf,
  givenAnswer,
  type NewRequest,
  type RequestRecord,
  type RunFeed,
  type ShardAccess,
} from "../requests/access.ts";
import { commandIn, notFound, type CommandInput } from "../requests/commands.ts";
import type { JournalTail } from "../requests/journal-tail.ts";
import { defaultRetentionMs } from "../requests/options.ts";
import type { CheckedBody } from "../requests/validate.ts";
import { postsKnownMs } from "../shard/retention.ts";
import { inboxMessage, type InboxEntry } from "./inbox.ts";
import { answerIn, beginningOf } from "./remote-shard-reader.ts";
import { SentRequests, undecided } from "./sent.ts";
import { StoredShard } from "./stored-shard.ts";

/** How shards are reached that another process may work on. */
export interface RemoteOptions {
  readonly log: Pick<Log, "append">;
  /** The topic of the inboxes. */
  readonly inbox: string;
  /** Opens the store of a shard. It is closed when it is no longer needed. */
  readonly store: (shard: number) => Store;
  /** How long owners keep answers, and so know the ids of commands. Default: as an engine does by itself. */
  readonly retentionMs?: number | undefined;
  /** What this process has sent. Default: nobody else of it needs to know. */
  readonly sent?: SentRequests;
}

/** How long a submit waits for the owner to accept it, in milliseconds. */
const maxAcceptMs = 5000;
/** For how long an answer is watched for before it is looked up again, in milliseconds: this process may own the shard by then. */
const maxWatchMs = 2000;

/**
 * A shard that another process may work on. What is asked of it goes through its inbox, and what it knows is read from its
 * store: no owner has to be reached, and none has to be there.
 */
/** The cancel of a caller comes again until it is known to be decided. One of a client goes to the owner each time. */
const refusedCallersCancel = (run: Run, input: Input): Ignored | undefined =>
  input.kind === "cancel" && input.id === callersCancel ? refusedCancel(run, input) : undefined;

class RemoteShard extends StoredShard {
  readonly #shard: number;
  readonly #log: Pick<Log, "append">;
  readonly #inbox: string;
  readonly #retentionMs: number;
  readonly #sent: SentRequests;

  constructor(
    shard: number,
    { log, store, inbox, retentionMs = defaultRetentionMs }: RemoteOptions,
    sent: SentRequests,
    clock: Clock,
  ) {
    super(store(shard), clock);
    this.#sent = sent;
    this.#retentionMs = retentionMs;
    this.#shard = shard;
    this.#log = log;
    this.#inbox = inbox;
  }

  override async submit({
    key,
    fresh,
    hub,
    given,
    body,
    deadlineMs,
    priority,
    startAt,
    caller,
    transformed,
    trace,
    givenBy,
  }: NewRequest): Promise<boolean> {
    const watched = await this.reader.watch(key);
    try {
      const known = fresh ? undefined : await this.reader.lookUp(key);
      if (known !== undefined) {
        demandSameBody(key, bodyOf(known).hash, body);
        return true;
      }
      if (body.invalid !== undefined) throw body.invalid;
      const bounds = {
        ...(deadlineMs === undefined ? {} : { deadlineMs }),
        ...(priority === undefined ? {} : { priority }),
        ...(startAt === undefined ? {} : { startAt }),
        ...(caller === undefined ? {} : { caller }),
        ...(transformed === true ? { transformed } : {}),
        ...(trace === undefined ? {} : { trace }),
        ...(givenBy === undefined ? {} : { givenBy }),
      };
      await this.#append(key, { type: "request", hub, request: given, ...bounds });
      const started = await this.#within(watched.first(beginningOf), maxAcceptMs);
      // Nobody else can have used a fresh key. It is durable, and will be answered.
      if (fresh) {
        if (started === undefined) this.#sent.add(key);
        return false;
      }
      // Nobody has come to it yet, and what else was sent under its key may go first.
      if (started === undefined) throw undecided(key);
      demandSameBody(key, started.hash, body);
      return false;
    } finally {
      watched.end();
    }
  }

  override async answer(key: string, waitMs: number): Promise<Answer | typeof askAgain | undefined> {
    const watched = await this.reader.watch(key);
    try {
      const answer = await givenAnswer(this.#known(key), () => this.reader.storedAnswer(key));
      if (answer !== undefined || waitMs <= 0) return answer;
      return (await this.#within(watched.first(answerIn), Math.min(waitMs, maxWatchMs))) ?? askAgain;
    } finally {
      watched.end();
    }
  }

  /** What is known of a request. Of one that was sent, and that nobody has come to, there is nothing yet. */
  async #known(key: string): Promise<Pick<RequestRecord, "answer">> {
    const known = await this.reader.lookUp(key);
    if (known !== undefined) this.#sent.found(key);
    else if (!this.#sent.has(key)) throw notFound(key);
    return { answer: known?.answer };
  }

  override async lookUp(key: string): Promise<RequestRecord> {
    const record = await super.lookUp(key);
    this.#sent.found(key);
    return record;
  }

  protected override missing(key: string): WheelworkError {
    return this.#sent.doubt(key) ?? super.missing(key);
  }

  override get tail(): JournalTail {
    return this.reader.tail;
  }

  override async follow(key: string): Promise<RunFeed> {
    const feed = await this.reader.follow(key);
    if (feed === undefined) throw this.missing(key);
    return feed;
  }

  override async command(key: string, input: Input): Promise<Ignored | undefined> {
    const { known } = await this.lookUp(key);
    if (!(known instanceof Run)) return "ended";
    const needsIncident = input.kind === "retry" || input.kind === "resolve";
    if (needsIncident && known.status !== "incident")
      return input.kind === "retry"
        ? (knownCommand(known, "retry", input) ?? "not-incident")
        : "not-incident";
    // What the store knows of need not go to the owner.
    const refused =
      input.kind === "signal"
        ? (refusedSignal(known, input, this.#memory()) ??
          (known.incident?.inputs.hasSignal(input.id) === true ? "duplicate" : undefined))
        : refusedCallersCancel(known, input);
    if (refused !== undefined) return refused;
    await this.#append(key, { type: "command", input });
    return undefined;
  }

  override async deliver(key: string, input: CommandInput): Promise<Ignored | undefined> {
    const watched = await this.reader.watch(key);
    try {
      const ignored = await this.command(key, input);
      if (ignored !== undefined) return ignored;
      const taken = watched.first((event) => {
        const taken = commandIn([event], input);
        // Another one under its id was first.
        if (taken !== undefined) return { ignored: taken === "reused" ? taken : undefined };
        if (input.kind === "cancel" && decidesCancel(event)) return { ignored: undefined };
        return event.type === "ended" ? { ignored: "ended" as const } : undefined;
      });
      const found = await this.#within(taken, maxAcceptMs);
      if (found === undefined) throw undecided(key);
      return found.ignored;
    } finally {
      watched.end();
    }
  }

  /** What the owner may forget, by the clock of this process. */
  #memory(): CommandMemory {
    const now = this.clock.wallMs();
    const commandsSince = now - this.#retentionMs;
    return { commandsSince, postsSince: Math.min(commandsSince, now - postsKnownMs) };
  }

  #append(key: string, entry: InboxEntry): Promise<void> {
    return this.#log.append(this.#inbox, inboxMessage(key, entry), this.#shard);
  }

  /** What a promise gives within some time; undefined: nothing. */
  #within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(ms, () => resolve(undefined));
      promise.then(resolve, reject).finally(cancel);
    });
  }
}

/** The shards of a cluster, as processes see them that do not work on them. A store is opened when it is first needed. */
export class RemoteShards {
  readonly #options: RemoteOptions;
  readonly #clock: Clock;
  readonly #opened = new Map<number, RemoteShard>();
  readonly #sent: SentRequests;

  constructor(options: RemoteOptions, clock: Clock) {
    this.#options = options;
    this.#sent = options.sent ?? new SentRequests();
    this.#clock = clock;
  }

  of(shard: number): ShardAccess {
    let opened = this.#opened.get(shard);
    if (opened === undefined)
      this.#opened.set(shard, (opened = new RemoteShard(shard, this.#options, this.#sent, this.#clock)));
    return opened;
  }

  async close(): Promise<void> {
    await Promise.all(Array.from(this.#opened.values(), (opened) => opened.close()));
    this.#opened.clear();
  }
}

function demandSameBody(key: string, stored: string, { isSame }: CheckedBody): void {
  if (!isSame(stored)) throw keyReused(key);
}
