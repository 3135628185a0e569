import { textOf } from "@wheelwork/core/kernel";
import { WheelworkError, type AnyHub } from "@wheelwork/core";
import {
  bulkHubName,
  type BulkCommand,
  type BulkItem,
  type BulkProgress,
  type BulkRequest,
} from "../ports/bulks.ts";
import type { FacetCount, RequestFilter } from "../ports/filter.ts";
import { nextAfter } from "../ports/history.ts";
import { bulkKey, bulkOf, keyProblem } from "../ports/keys.ts";
import type { CommandOptions, Engine, RequestView } from "./api.ts";
import type { BulkOffice } from "./bulk-hub.ts";
import { noRequest } from "./commands.ts";
import { limitOf } from "./filters.ts";
import type { RequestService } from "./service.ts";
import { validSignal } from "./validate.ts";

/** Options of a bulk. */
export interface BulkOptions {
  /** The same key is the same bulk. Default: a new one. */
  readonly key?: string;
  /** Who gives it, such as `token:ci`: kept in the history of the bulk and of each request, and in the audit list. */
  readonly by?: string;
}

/** A bulk, as an operator sees it. */
export interface BulkView extends BulkProgress {
  readonly id: string;
  /** The request that is the bulk: its history has all that has happened to it. */
  readonly requestId: string;
  /** What it does. The payload of a signal is not shown. */
  readonly command: Pick<BulkCommand, "kind"> & { readonly name?: string; readonly message?: string };
  readonly filter: RequestFilter;
  readonly by?: string;
  /**
   * `incident`: it is parked. `failed`: it could not list the requests, or an operator has resolved it. `cancelled`: those that have not
   * got the command get none.
   */
  readonly status: "running" | "paused" | "incident" | "done" | "cancelled" | "failed";
  /** In milliseconds since 1970. Only requests that were accepted until then get the command. */
  readonly createdAt: number;
  readonly endedAt: number | undefined;
}

/** One page of bulks, the newest first. */
export interface BulkPage {
  readonly items: readonly BulkView[];
  /** Give it to the next call to get the next page; absent on the last one. */
  readonly cursor?: string;
}

/** What came of the commands of a bulk, in the order in which they were settled. */
export interface BulkItemPage {
  readonly items: readonly (BulkItem & { readonly at: number })[];
  /** Give it to the next call to get the next page. Absent: there are no more, and the bulk has ended. */
  readonly cursor?: string;
}

/**
 * One bulk. `engine.bulk(id)` makes it. Each method rejects with WW_NOT_FOUND if there is no such bulk: it is known as long as an answer
 * is kept.
 */
export interface BulkHandle {
  readonly id: string;
  view(): Promise<BulkView>;
  /** What came of each command. A page may have few items, or none: as long as it has a cursor, there may be more. */
  items(page?: { readonly limit?: number; readonly cursor?: string }): Promise<BulkItemPage>;
  /** Gives no more commands, until somebody resumes it. Those under way are settled. */
  pause(options?: CommandOptions): Promise<void>;
  resume(options?: CommandOptions): Promise<void>;
  /** Ends it. Commands under way are settled first. What is done stays done. */
  cancel(options?: CommandOptions): Promise<void>;
}

/** The id of a bulk that a key makes; undefined: there is none. @throws WheelworkError WW_INVALID_REQUEST. */
export function bulkIdOf(key: string | undefined): string | undefined {
  if (key === undefined) return undefined;
  const problem = typeof key === "string" && key !== "" ? keyProblem(bulkKey(key)) : "must be a text";
  if (problem === undefined) return key;
  throw new WheelworkError("WW_INVALID_REQUEST", "the bulk cannot be accepted", {
    problems: [{ path: "key", message: problem }],
  });
}

/** A signal to a hub must be one that it takes. @throws WheelworkError WW_SIGNAL_UNKNOWN, WW_INVALID_INPUT. */
export function checkSignal({ command, filter }: BulkRequest, hubs: ReadonlyMap<string, AnyHub>): void {
  if (command.kind !== "signal") return;
  for (const hub of [filter.hub ?? []].flat())
    if (hubs.has(hub)) validSignal(hub, hubs.get(hub)?.definition, command.name, command.payload);
}

/** Counts of requests without the bulks themselves: no bulk means those. */
export const withoutBulks = (counts: readonly FacetCount[]): readonly FacetCount[] =>
  counts.filter(({ hub }) => hub !== bulkHubName);

/** A request that is a bulk, as a bulk. */
export function bulkView({ id, request, view, answer, status, createdAt, endedAt }: RequestView): BulkView {
  const { command, filter, by } = request as BulkRequest;
  const progress = view as BulkProgress;
  const { kind } = command;
  const stands =
    answer !== undefined
      ? answer.kind !== "result"
        ? "failed"
        : progress.isCancelled
          ? "cancelled"
          : "done"
      : status === "incident"
        ? "incident"
        : progress.isPaused
          ? "paused"
          : "running";
  return {
    id: bulkOf(id) ?? id,
    requestId: id,
    command: {
      kind,
      ...(command.kind === "signal" ? { name: command.name } : {}),
      ...(command.kind === "resolve" ? { message: command.message } : {}),
    },
    filter,
    ...(by === undefined ? {} : { by }),
    status: stands,
    createdAt,
    endedAt,
    ...progress,
  };
}

/** A bulk of any engine: its run is asked, and gets signals. */
export class EngineBulk implements BulkHandle {
  readonly id: string;
  readonly #engine: Engine;

  constructor(engine: Engine, id: string) {
    this.#engine = engine;
    this.id = id;
  }

  get #requestId(): string {
    return bulkKey(this.id);
  }

  async #request(): Promise<RequestView> {
    const request = await this.#engine.request(this.#requestId).catch((error: unknown) => {
      throw error instanceof WheelworkError && error.code === "WW_NOT_FOUND" ? noBulk(this.id) : error;
    });
    if (request.hub !== bulkHubName) throw noBulk(this.id);
    return request;
  }

  async view(): Promise<BulkView> {
    return bulkView(await this.#request());
  }

  async items({
    limit,
    cursor,
  }: { readonly limit?: number; readonly cursor?: string } = {}): Promise<BulkItemPage> {
    const most = limitOf(limit);
    const after = cursor === undefined ? 0 : readCursor(cursor);
    // It is asked first: what has led to its end is in its history then.
    const { status } = await this.#request();
    const events = await this.#engine.history(this.#requestId, { after, limit: most });
    const items = events.flatMap((event) => {
      if (event.type !== "settled") return [];
      const { last } = (event.patch ?? {}) as { readonly last?: BulkItem };
      return last === undefined ? [] : [{ ...last, at: event.at }];
    });
    const isLast = status === "ended" && events.length < most;
    return isLast ? { items } : { items, cursor: String(nextAfter(events, after)) };
  }

  async pause(options?: CommandOptions): Promise<void> {
    await this.#signal("pause", options);
  }

  async resume(options?: CommandOptions): Promise<void> {
    await this.#signal("resume", options);
  }

  async cancel(options?: CommandOptions): Promise<void> {
    await this.#request();
    await this.#engine.cancel(this.#requestId, options);
  }

  async #signal(name: string, options: CommandOptions | undefined): Promise<void> {
    await this.#request();
    await this.#engine.signal(this.#requestId, name, {}, options);
  }
}

function readCursor(cursor: string): number {
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor);
  throw new WheelworkError("WW_INVALID_REQUEST", "cursor is not valid", {
    problems: [{ path: "cursor", message: "is not one that the items of a bulk gave" }],
  });
}

const noBulk = (id: string): WheelworkError =>
  new WheelworkError("WW_NOT_FOUND", `there is no bulk ${textOf(id)}`, {
    next: "Check the id; bulks are kept for the retention time only.",
  });

/** Carries bulks out by the engine that callers use, wherever the shards of the requests are worked on. */
export function bulkOffice(engine: () => RequestService): BulkOffice {
  return {
    bulk: async (key) => {
      const { hub, request, createdAt } = await engine().request(key);
      if (hub !== bulkHubName) throw noRequest(key);
      return { ...(request as BulkRequest), since: createdAt };
    },
    matched: async ({ filter }, until) => {
      const { states } = await engine().facets(acceptedUntil(filter, until));
      return states.reduce((sum, { hub, count }) => (hub === bulkHubName ? sum : sum + count), 0);
    },
    page: async ({ filter }, until, part) => {
      const { items, cursor } = await engine().requests({
        ...acceptedUntil(filter, until),
        order: "oldest",
        ...part,
      });
      const ids = items.filter(({ hub }) => hub !== bulkHubName).map(({ id }) => id);
      return { ids, ...(cursor === undefined ? {} : { cursor }) };
    },
    give: async (id, { command, by }, commandId) => {
      const options = { commandId, isDecided: true, ...(by === undefined ? {} : { by }) } as const;
      const result = await (() => {
        switch (command.kind) {
          case "cancel":
            return engine().cancel(id, options);
          case "signal":
            return engine().signal(id, command.name, command.payload, options);
          case "retry":
            return engine().retry(id, options);
          case "resolve":
            return engine().resolve(id, command.message, options);
        }
      })();
      return result === "ended" ? "gone" : "done";
    },
  };
}

/** A filter, and no request that was accepted after a time. */
function acceptedUntil(filter: RequestFilter, until: number): RequestFilter {
  const { createdAt = {} } = filter;
  const to = Math.min(createdAt.to ?? Number.POSITIVE_INFINITY, until + 1);
  return { ...filter, createdAt: { ...createdAt, to } };
}
