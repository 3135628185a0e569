import {
  WheelworkError,
  type Answer,
  type AnyHub,
  type Hub,
  type HistoryEvent,
  type SignalTypes,
  type TraceContext,
} from "@wheelwork/core";
import {
  callersCancel,
  demandOptions,
  knownCommand,
  Run,
  secretsOfHub,
  textOf,
  type HubDefinition,
} from "@wheelwork/core/kernel";
import { outcomeSignal, type RemoteCall, type RemoteOutcome } from "../ports/calls.ts";
import {
  bulkKey,
  givenKey,
  isRunKey,
  keyProblem,
  scheduleHubName,
  scheduleOf,
  storedKey,
} from "../ports/keys.ts";
import { bulkHubName, type BulkCommand } from "../ports/bulks.ts";
import {
  compareInList,
  type FacetCount,
  type RequestFilter,
  type RequestList,
  type StoreFilter,
} from "../ports/filter.ts";
import type { RequestRow } from "../ports/ports.ts";
import { readTraceparent, traceContext, type Tracing } from "../ports/trace.ts";
import {
  askAgain,
  toldOf,
  type Letters,
  type RequestRecord,
  type ShardAccess,
  type Shards,
} from "./access.ts";
import type {
  AuditPage,
  CommandResult,
  DeadLetterPage,
  Engine,
  EngineHealth,
  IncidentGroup,
  LanePage,
  RequestCounts,
  RequestPage,
  RequestsOptions,
  RequestView,
  SearchOptions,
  ShardSummary,
  StopOptions,
  Submitted,
  SubmitOptions,
} from "./api.ts";
import type { OwedSignal } from "./posts.ts";
import { asked } from "./asked.ts";
import { auditPage, type AuditOptions } from "./audit.ts";
import { bulkHub } from "./bulk-hub.ts";
import { bulkRequestOf } from "./bulk-request.ts";
import {
  bulkIdOf,
  bulkView,
  checkSignal,
  EngineBulk,
  withoutBulks,
  type BulkHandle,
  type BulkOptions,
  type BulkPage,
} from "./bulks.ts";
import {
  commandIn,
  commandResult,
  isNotFound,
  noRequest,
  type CommandInput,
  type OwedCommandOptions,
} from "./commands.ts";
import { readEvents, type EventsOptions, type EventsPage } from "./events.ts";
import { rangeOf } from "../ports/history.ts";
import { placesOf, servedBy } from "./hubs.ts";
import { largestFirst } from "./largest.ts";
import { laneOrder, type LongestLanes } from "./lane-list.ts";
import type { OwedOptions } from "./posts.ts";
import { stopOptions } from "./option-tables.ts";
import { checkPageOptions, historyPage, runAt, type HistoryPage, type HistoryPageOptions } from "./past.ts";
import { EngineRun, type RunHandle } from "./run-handle.ts";
import { watchRun, type RunUpdate, type WatchOptions } from "./run-watch.ts";
import { search } from "./search.ts";
import { EngineSchedule, type ScheduleHandle, type ScheduleView } from "./schedules.ts";
import type { EngineStats } from "./stats.ts";
import {
  checkBody,
  checkSubmit,
  commandIdOf,
  giverOf,
  hashedKey,
  placedKey,
  newKey,
  invalidWait,
  mustBeId,
  mustBeMessage,
  mustBeText,
  sentPayload,
  signalHash,
  storedBody,
  validSignal,
  type CheckedBody,
} from "./validate.ts";
import { checkFilter, limitOf, incidentGroups, listOf, pageOf, requestCounts } from "./filters.ts";
import { answeredRequests, asksForStuck, atTime, typicalTimes } from "./stuck.ts";
import { viewOf } from "./views.ts";
import { suppose, type Supposition, type WhatIf } from "./what-if.ts";

/**
 * The engine as callers see it, over its shards: checks what comes in, finds the shard of each request, and makes answers,
 * views and pages of what the shards know. Where a shard is worked on, only its `ShardAccess` knows.
 */
export class RequestService implements Engine {
  readonly #shards: Shards;
  #life: "new" | "started" | "stopped" = "new";

  constructor(shards: Shards) {
    this.#shards = shards;
  }

  get hubs(): ReadonlyMap<string, AnyHub> {
    return this.#shards.hubs;
  }

  async start(): Promise<void> {
    if (this.#life !== "new") throw startedBefore(this.#life);
    this.#life = "started";
    try {
      await this.#shards.start();
    } catch (error) {
      // Nothing stays behind of a start that failed: it may be tried again.
      if (this.#life === "started") this.#life = "new";
      throw error;
    }
  }

  async stop(options: StopOptions = {}): Promise<void> {
    const { drainMs } = demandOptions<StopOptions>(options, stopOptions, "stop");
    this.#life = "stopped";
    return this.#shards.stop(drainMs);
  }

  health(): EngineHealth {
    return this.#shards.health();
  }

  async stats(): Promise<EngineStats> {
    return { shards: (await this.#shards.stats?.()) ?? [] };
  }

  async lanes(options: Parameters<Engine["lanes"]>[0] = {}): Promise<LanePage> {
    const { name, limit } = asked(options);
    mustBeText(name, "name");
    const filter = { name, limit: limitOf(limit) };
    this.#demandOpen();
    const parts: LongestLanes[] = [];
    for (const shard of this.#shards.all()) parts.push(await shard.lanes(filter));
    const longest = parts.flatMap(({ lanes }) => lanes).toSorted(laneOrder);
    const places = placesOf(this.hubs.values());
    return {
      lanes: longest.slice(0, filter.limit).map((lane) => ({
        ...lane,
        ...(places.has(lane.name) ? { places: places.get(lane.name) as number } : {}),
      })),
      total: parts.reduce((sum, { total }) => sum + total, 0),
    };
  }

  async allShards(): Promise<readonly ShardSummary[]> {
    this.#demandOpen();
    return Promise.all(Array.from(this.#shards.all(), (access, shard) => this.#summaryOf(access, shard)));
  }

  async #summaryOf(access: ShardAccess, shard: number): Promise<ShardSummary> {
    try {
      const summary = await access.summary();
      const end = await this.#shards.inboxEnd?.(shard);
      const lag = end === undefined ? {} : { lag: Math.max(0, end - (summary.position ?? 0)) };
      return { shard, ...summary, ...lag };
    } catch (error) {
      return { shard, isHere: false, problem: textOf(error) };
    }
  }

  async deadLetters(options: Parameters<Engine["deadLetters"]>[0] = {}): Promise<DeadLetterPage> {
    const { topic, limit } = asked(options);
    mustBeText(topic, "topic");
    const most = limitOf(limit);
    return this.#letters().list({ ...(topic === undefined ? {} : { topic }), limit: most });
  }

  async replayDeadLetter(
    place: string,
    { topic }: Parameters<Engine["replayDeadLetter"]>[1] = {},
  ): Promise<void> {
    mustBeText(place, "place");
    mustBeText(topic, "topic");
    await this.#letters().replay(place, topic);
  }

  #letters(): Letters {
    this.#demandOpen();
    const { letters } = this.#shards;
    if (letters !== undefined) return letters;
    throw new WheelworkError(
      "WW_NOT_SUPPORTED",
      "an embedded engine reads no topics, and has no dead letters",
      {
        next: "What could not be done is among the requests: list those with the status lost, or incident.",
      },
    );
  }

  submit<I>(hub: Hub<I> | string, request: I, options: SubmitOptions = {}): Promise<Submitted> {
    const trace = causeOf(this.#shards.tracing, options);
    return this.#submit(hub as Hub<never> | string, request, options, trace, false);
  }

  /** Submits what a run has started: it is a part of what was accepted, so that no overload refuses it. */
  async submitOwed(hub: string, request: unknown, options: OwedOptions): Promise<void> {
    await this.#submit(hub, request, options, options.trace, true);
  }

  /**
   * Sends a run what another one has for it. It has been decided when this resolves.
   * @throws WheelworkError WW_NOT_FOUND: there is no such request of the hub, or its run has ended.
   */
  async signalOwed(hub: string, id: string, { name, payload, commandId, post }: OwedSignal): Promise<void> {
    let otherHub: string | undefined;
    const hasEnded = await this.#ask(id, async (shard, key) => {
      const { known } = await shard.lookUp(key);
      if (known.hub !== hub) {
        otherHub ??= known.hub;
        throw noRequest(id);
      }
      const valid = validSignal(hub, this.hubs.get(hub)?.definition, name, payload);
      const hash = signalHash(name, payload, valid);
      const signal = { kind: "signal", id: commandId, signal: name, payload: valid, hash } as const;
      const input = post === undefined ? signal : { ...signal, post };
      let ignored = await this.#accessOf(key).deliver(key, input);
      if (ignored === "ended") ignored = (await this.#taken(key, input)) ?? ignored;
      return commandResult(key, ignored) === "ended";
    }).catch((error: unknown) => {
      if (otherHub === undefined || !isNotFound(error)) throw error;
      throw new WheelworkError(
        "WW_NOT_FOUND",
        `the request ${id} is one of the hub ${otherHub}, not of ${hub}`,
      );
    });
    if (hasEnded) throw new WheelworkError("WW_NOT_FOUND", `the run of the request ${id} has ended`);
  }

  /** Begins a run for a call of another shard: it is a part of what was accepted. The same key is the same run. */
  async callOwed(call: RemoteCall, trace: TraceContext | undefined): Promise<void> {
    const { hub, key, request, transformed, caller } = call;
    await this.#accessOf(key).submit({
      key,
      fresh: false,
      hub,
      given: request,
      body: storedBody(hub, request),
      deadlineMs: undefined,
      priority: undefined,
      startAt: undefined,
      trace,
      isOwed: true,
      caller,
      ...(transformed === true ? { transformed } : {}),
    });
  }

  /** Makes sure that a run which was called in another shard has begun, and is cancelled. What it has answered stays. */
  async withdrawOwed(call: RemoteCall, trace: TraceContext | undefined): Promise<void> {
    await this.callOwed(call, trace);
    await this.#accessOf(call.key).deliver(call.key, { kind: "cancel", id: callersCancel });
  }

  /** Gives the carrier of a call the answer of its callee. If the carrier has ended, nobody waits for it any more. */
  async outcomeOwed({ to, since, answer }: RemoteOutcome, commandId: string): Promise<void> {
    const signal = { kind: "signal", id: commandId, signal: outcomeSignal, hash: "" } as const;
    const give = async (payload: Answer): Promise<void> => {
      const { known } = await this.#accessOf(to).lookUp(to);
      if (!(known instanceof Run) || known.createdAt !== since) return;
      await this.#accessOf(to).deliver(to, { ...signal, payload });
    };
    try {
      await give(answer);
    } catch (error) {
      if (isNotFound(error)) return;
      if (!(error instanceof WheelworkError && error.code === "WW_TOO_LARGE")) throw error;
      await give({ kind: "error", code: error.code, message: error.message });
    }
  }

  async #submit(
    hub: Hub<never> | string,
    request: unknown,
    options: SubmitOptions,
    trace: TraceContext | undefined,
    isOwed: boolean,
  ): Promise<Submitted> {
    const definition = servedBy(this.hubs, hub);
    checkSubmit(definition, options);
    this.#demandOpen();
    const fresh = options.key === undefined;
    const body = checkBody(definition, request);
    if (fresh && body.invalid !== undefined) throw body.invalid;
    const given = options.key ?? newKey(Math.floor(this.#shards.clock.wallMs()));
    const key = placeOf(definition, storedKey(given), body, request);
    const known = await told(
      this.#shards.of(key).submit({
        key,
        fresh,
        hub: definition.name,
        given: request,
        body,
        deadlineMs: options.deadlineMs,
        priority: options.priority,
        beginWithinMs: options.beginWithinMs,
        startAt: options.startAt,
        trace,
        givenBy: options.by,
        isOwed,
      }),
    );
    return { id: givenKey(key), known };
  }

  async answer(
    id: string,
    { waitMs = Number.POSITIVE_INFINITY }: { readonly waitMs?: number } = {},
  ): Promise<Answer | undefined> {
    if (typeof waitMs !== "number" || Number.isNaN(waitMs)) throw invalidWait();
    const { clock } = this.#shards;
    const until = clock.monotonicMs() + waitMs;
    return this.#ask(id, async (shard, key) => {
      for (let [access, leftMs] = [shard, waitMs]; ;) {
        const answer = await access.answer(key, leftMs);
        if (answer !== askAgain) return answer;
        access = this.#accessOf(key);
        leftMs = Math.max(0, until - clock.monotonicMs());
      }
    });
  }

  async call<I, O, E extends string>(
    hub: Hub<I, O, E>,
    request: I,
    options?: SubmitOptions,
  ): Promise<Answer<O, E>> {
    const { id } = await this.submit(hub as Hub<I>, request, options);
    return (await this.answer(id)) as Answer<O, E>;
  }

  run<I, O, E extends string, S>(hub: Hub<I, O, E> & SignalTypes<S>, id: string): RunHandle<O, E, S> {
    return new EngineRun(this, servedBy(this.hubs, hub as Hub<never>).name, id);
  }

  async startBulk(
    command: BulkCommand,
    filter: RequestFilter,
    { key, by }: BulkOptions = {},
  ): Promise<Submitted> {
    const request = bulkRequestOf(command, filter, by);
    checkSignal(request, this.hubs);
    this.#demandOpen();
    const id = bulkIdOf(key) ?? newKey(Math.floor(this.#shards.clock.wallMs()));
    const known = await told(
      this.#accessOf(storedKey(bulkKey(id))).submit({
        key: storedKey(bulkKey(id)),
        fresh: key === undefined,
        hub: bulkHubName,
        given: request,
        body: checkBody(bulkHub, request),
        deadlineMs: undefined,
        priority: undefined,
        startAt: undefined,
        trace: undefined,
        givenBy: by,
        isOwed: false,
      }),
    );
    return { id, known };
  }

  async previewBulk(command: BulkCommand, filter: RequestFilter): Promise<RequestCounts> {
    const request = bulkRequestOf(command, filter, undefined);
    checkSignal(request, this.hubs);
    return requestCounts(withoutBulks(await this.#counts(request.filter)));
  }

  bulk(id: string): BulkHandle {
    mustBeText(id, "id");
    return new EngineBulk(this, id);
  }

  async bulks(options: Parameters<Engine["bulks"]>[0] = {}): Promise<BulkPage> {
    const { limit, cursor } = asked(options);
    const page = await this.requests({
      hub: bulkHubName,
      ...(limit === undefined ? {} : { limit }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const found = await Promise.all(page.items.map(({ id }) => this.request(id).catch(ifUnknown)));
    return {
      items: found.filter((view) => view !== undefined).map(bulkView),
      ...(page.cursor === undefined ? {} : { cursor: page.cursor }),
    };
  }

  schedule(name: string): ScheduleHandle {
    mustBeText(name, "name");
    return new EngineSchedule({ of: (key) => this.#accessOf(key) }, name);
  }

  async schedules(): Promise<readonly ScheduleView[]> {
    const names = [...(this.#shards.schedules?.keys() ?? [])];
    const views = await Promise.all(
      names.map(async (name) => {
        try {
          return await this.schedule(name).view();
        } catch (error) {
          // The engine has just started, and deploys it.
          if (isNotFound(error)) return undefined;
          throw error;
        }
      }),
    );
    return views.filter((view) => view !== undefined);
  }

  request(id: string): Promise<RequestView> {
    return this.#ask(id, async (shard, key) => this.#viewOf(await shard.lookUp(key)));
  }

  whatIf(id: string, supposition: Supposition): Promise<WhatIf> {
    return this.#ask(id, async (shard, key) => {
      const record = await shard.lookUp(key);
      const { known } = record;
      if (!(known instanceof Run)) return { events: [], ignored: "ended", request: this.#viewOf(record) };
      const definition = this.#definition(known.hub) ?? servedBy(this.hubs, known.hub);
      const { run, ...whatIf } = suppose(known, supposition, { definition, now: Math.floor(shard.now()) });
      const { answer, answerBy } = run;
      const request = this.#viewOf({ known: run, answer });
      return { ...whatIf, ...(answer === undefined ? { answerBy } : {}), request };
    });
  }

  async requests(given: RequestsOptions = {}): Promise<RequestPage> {
    const options = asked(given);
    const { order } = options;
    if (order === "duration" || order === "attempts")
      return largestFirst(
        { ...options, order },
        { count: (filter) => this.count(filter), rows: this.#firstRows },
      );
    const list = listOf(options);
    // One more than the page holds says that there is another page.
    return pageOf(await this.#rows({ ...list, limit: list.limit + 1 }), list);
  }

  async search(options: SearchOptions): Promise<RequestPage> {
    return search(asked(options), {
      clock: this.#shards.clock,
      rows: this.#firstRows,
      lookUp: (key) => this.#accessOf(key).lookUp(key),
      definition: (hub) => this.hubs.get(hub)?.definition,
      secrets: (hub) => secretsOfHub(this.hubs, hub),
    });
  }

  /** The first rows of a part of a list of all shards, in its order. */
  readonly #firstRows = async (list: RequestList): Promise<readonly RequestRow[]> => {
    const rows = await this.#rows(list);
    return rows.toSorted((a, b) => compareInList(a, b, list.order)).slice(0, list.limit);
  };

  /** What each shard has of a part of a list. */
  async #rows(list: RequestList): Promise<readonly RequestRow[]> {
    this.#demandOpen();
    const meant = await this.#meaningOf(list);
    const rows: RequestRow[] = [];
    for (const shard of this.#shards.all()) {
      // Their number may be too great for the arguments of a call.
      for (const row of await told(shard.list(meant(shard)))) rows.push(row);
    }
    return rows;
  }

  async count(filter: RequestFilter = {}): Promise<number> {
    return (await this.#counts(asked(filter))).reduce((sum, { count }) => sum + count, 0);
  }

  async facets(filter: RequestFilter = {}): Promise<RequestCounts> {
    return requestCounts(await this.#counts(asked(filter)));
  }

  async incidents(filter: Parameters<Engine["incidents"]>[0] = {}): Promise<readonly IncidentGroup[]> {
    const { hub, state, code } = asked(filter);
    const given = Object.entries({ hub, state, code }).filter(([, value]) => value !== undefined);
    return incidentGroups(
      await this.#counts({ ...Object.fromEntries(given), status: "incident", byMessage: true }),
    );
  }

  async #counts(filter: StoreFilter): Promise<readonly FacetCount[]> {
    checkFilter(filter);
    this.#demandOpen();
    const meant = await this.#meaningOf(filter);
    const counts: FacetCount[] = [];
    for (const shard of this.#shards.all()) counts.push(...(await told(shard.facets(meant(shard)))));
    return counts;
  }

  /** What a filter means in each shard, by the time there. */
  async #meaningOf<F extends RequestFilter>(filter: F): Promise<(shard: ShardAccess) => F & StoreFilter> {
    if (!asksForStuck(filter)) return () => filter;
    const typical = typicalTimes(await this.#counts(answeredRequests));
    return (shard) => atTime(filter, typical, shard.now());
  }

  async audit(options: AuditOptions = {}): Promise<AuditPage> {
    this.#demandOpen();
    return auditPage([...this.#shards.all()], asked(options), this.#shards.clock);
  }

  async history(
    id: string,
    part: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<readonly HistoryEvent[]> {
    const range = rangeOf(part);
    return this.#ask(id, (shard, key) => shard.history(key, range));
  }

  async historyPage(id: string, options: HistoryPageOptions = {}): Promise<HistoryPage> {
    checkPageOptions(options);
    return this.#ask(id, (shard, key) => historyPage(shard, key, options));
  }

  async requestAt(id: string, event: number): Promise<RequestView> {
    const run = await this.#ask(id, (shard, key) => runAt(shard, key, event, this.#shards.clock));
    if (run instanceof WheelworkError) throw run;
    return this.#viewOf({ known: run, answer: run.answer });
  }

  async *watch(id: string, options: WatchOptions = {}): AsyncIterable<RunUpdate> {
    rangeOf(options.after === undefined ? {} : { after: options.after });
    const key = await this.#ask(id, async (shard, stored) => {
      await shard.lookUp(stored);
      return stored;
    });
    const definition = (hub: string): HubDefinition | undefined => this.#definition(hub);
    const access = (): ShardAccess => this.#accessOf(key);
    yield* watchRun({ key, clock: this.#shards.clock, access, definition }, options);
  }

  async *events(options: EventsOptions = {}): AsyncIterable<EventsPage> {
    const shards = (): readonly ShardAccess[] => {
      this.#demandOpen();
      return [...this.#shards.all()];
    };
    const { signal, ...filter } = options;
    const read = { ...asked(filter), ...(signal === undefined ? {} : { signal }) };
    yield* readEvents({ clock: this.#shards.clock, shards, keysOf }, read);
  }

  async cancel(id: string, options?: OwedCommandOptions): Promise<CommandResult> {
    const command = { kind: "cancel", id: commandIdOf(options), ...giverOf(options) } as const;
    mustBeId(id);
    const schedule = scheduleOf(id);
    if (schedule !== undefined) {
      const { known } = await this.#ask(id, (shard, key) => shard.lookUp(key));
      // A run is cancelled once, and a schedule may have come back since.
      if (known instanceof Run && known.hub === scheduleHubName) {
        if (known.state !== "Removed") await this.schedule(schedule).remove(options);
        return "accepted";
      }
    }
    return this.#command(id, command, options);
  }

  async signal(
    id: string,
    name: string,
    payload: unknown,
    options?: OwedCommandOptions,
  ): Promise<CommandResult> {
    const command = { kind: "signal", id: commandIdOf(options), signal: name, ...giverOf(options) } as const;
    mustBeText(name, "the name of the signal");
    const isNamed = options?.commandId !== undefined;
    const sent = sentPayload(payload);
    return this.#ask(id, async (shard, key) => {
      const { known } = await shard.lookUp(key);
      let valid: unknown;
      try {
        valid = validSignal(known.hub, this.#definition(known.hub), name, sent);
      } catch (error) {
        // The schema may have changed since the same signal came first.
        const hash = signalHash(name, sent);
        const before =
          isNamed && known instanceof Run
            ? knownCommand(known, "signal", { id: command.id, hash })
            : undefined;
        if (before === undefined) throw error;
        return commandResult(key, before);
      }
      const input: CommandInput = {
        ...command,
        payload: valid,
        ...(isNamed ? { hash: signalHash(name, sent, valid) } : {}),
      };
      return this.#give(key, input, options);
    });
  }

  async retry(id: string, options?: OwedCommandOptions): Promise<CommandResult> {
    const isNamed = options?.commandId !== undefined;
    // A retry has no body, so that all under one id are the same.
    const retry = { kind: "retry", id: commandIdOf(options), ...(isNamed ? { hash: "" } : {}) } as const;
    return this.#command(id, { ...retry, ...giverOf(options) }, options);
  }

  async resolve(id: string, message: string, options?: OwedCommandOptions): Promise<CommandResult> {
    mustBeMessage(message);
    await this.#ask(id, async (shard, key) => {
      const { known } = await shard.lookUp(key);
      if (known.hub === scheduleHubName) throw isSchedule(id);
    });
    return this.#command(
      id,
      { kind: "resolve", id: commandIdOf(options), message, ...giverOf(options) },
      options,
    );
  }

  #command(id: string, input: CommandInput, options: OwedCommandOptions | undefined): Promise<CommandResult> {
    return this.#ask(id, (_shard, key) => this.#give(key, input, options));
  }

  /** Gives a command to a run. One that is over may have taken it before: its history tells, as long as the request is known. */
  async #give(
    key: string,
    input: CommandInput,
    { commandId, isDecided }: OwedCommandOptions = {},
  ): Promise<CommandResult> {
    // The shard may have moved meanwhile.
    const shard = this.#accessOf(key);
    const ignored = isDecided === true ? await shard.deliver(key, input) : await shard.command(key, input);
    if (ignored !== "ended" || commandId === undefined) return commandResult(key, ignored);
    return commandResult(key, (await this.#taken(key, input)) ?? ignored);
  }

  /** Whether a run that is over has taken a command before. */
  async #taken(key: string, input: CommandInput): Promise<"duplicate" | "reused" | undefined> {
    const range = { after: 0, limit: Number.POSITIVE_INFINITY };
    return commandIn(await this.#accessOf(key).history(key, range), input);
  }

  #viewOf(record: RequestRecord): RequestView {
    return viewOf(record, this.#definition(record.known.hub));
  }

  #definition(hub: string): HubDefinition | undefined {
    return hub === bulkHubName ? bulkHub : this.hubs.get(hub)?.definition;
  }

  /** Asks the shard of a request for what is stored under its id. */
  async #ask<T>(id: string, ask: (shard: ShardAccess, key: string) => Promise<T>): Promise<T> {
    mustBeId(id);
    for (const key of keysOf(id)) {
      try {
        return await ask(this.#accessOf(key), key);
      } catch (error) {
        if (!isNotFound(error)) throw toldOf(error);
      }
    }
    throw noRequest(id);
  }

  #accessOf(key: string): ShardAccess {
    this.#demandOpen();
    return this.#shards.of(key);
  }

  /** A store that is closed, or was never claimed, knows nothing. */
  #demandOpen(): void {
    const { status } = this.#shards;
    if (status !== "stopped" && status !== "starting") return;
    const message = `the engine is ${status === "stopped" ? "stopped" : "not started"}`;
    throw new WheelworkError("WW_STOPPING", message, { next: "Ask again when it runs.", retryable: true });
  }
}

/** What has caused a request: what its sender says, or the active span, which is the later one if both are of one trace. */
function causeOf(tracing: Tracing | undefined, options: SubmitOptions): TraceContext | undefined {
  const given = traceContext(options.traceparent, options.tracestate);
  const active = tracing?.active();
  if (given === undefined || active === undefined) return given ?? active;
  return readTraceparent(given.parent)?.traceId === readTraceparent(active.parent)?.traceId ? active : given;
}

/** A schedule has no end, and its key would never be free again. */
const isSchedule = (id: string): WheelworkError =>
  new WheelworkError("WW_NOT_INCIDENT", `${id} is a schedule, which cannot be resolved`, {
    next: "Correct its `request`, and retry it. Or take it out of the engine's schedules.",
  });

const startedBefore = (life: "started" | "stopped"): WheelworkError =>
  new WheelworkError(
    "WW_STARTED",
    life === "started"
      ? "the engine has been started already"
      : "the engine was stopped, and starts once only",
    {
      next:
        life === "started"
          ? "Call start once, and share the engine."
          : "Make another one (createEngine, createNode, createClient), and start that.",
    },
  );

/**
 * What an id may be stored under, the likeliest first: a request under its key, a run that a request has begun under its
 * own, and the refusal of a request whose key could not be stored under a hash of that.
 */
function keysOf(id: string): readonly string[] {
  const keys = keyProblem(id) === undefined ? [storedKey(id)] : [];
  if (keys[0] === id) return keys;
  if (isRunKey(id)) keys.push(id);
  return [...keys, hashedKey(id)];
}

/**
 * What a request is stored under. A body that the schema refuses may have been accepted under its key before, by another version:
 * its lane is looked for as well as can be.
 */
function placeOf(definition: HubDefinition, key: string, body: CheckedBody, request: unknown): string {
  let place = key;
  // Only a lane needs to look at the body.
  if (definition.exclusive !== undefined) {
    const { valid, invalid } = body;
    try {
      place = placedKey(definition, key, invalid === undefined ? valid : request);
    } catch (error) {
      throw invalid ?? error;
    }
  }
  const problem = keyProblem(givenKey(place));
  if (problem === undefined) return place;
  throw new WheelworkError("WW_INVALID_REQUEST", "the request cannot be accepted", {
    problems: [{ path: "key", message: `${problem}, without the mark of its lane` }],
  });
}

function ifUnknown(error: unknown): undefined {
  if (!isNotFound(error)) throw error;
}

/** Asks a shard. */
async function told<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    throw toldOf(error);
  }
}
