import type { Labels, RunEvent } from "@wheelwork/core";
import { givenKey } from "@wheelwork/core/kernel";
import type { BulkItem, BulkView } from "@wheelwork/engine";
import { isDeepStrictEqual } from "node:util";
import { plain } from "./model.ts";
import { scheduleHub } from "./schedules.ts";

/** The hub whose runs are the bulks. */
export const bulkHub = "bulk:";

/** What the bulk hub looks like from outside. */
export const bulkChart = {
  Listing: { Page: "Working", Over: "Done", Refused: "Failed", Stopped: "Done" },
  Working: { Next: "Listing", Over: "Done", Stopped: "Done" },
  Done: "end",
  Failed: "end",
} as const;

/** Its spokes. Their workers are the engine's own, and nobody sees their attempts. */
export const bulkSpokes = ["wheelwork.bulk-list", "wheelwork.bulk-command"] as const;

/** What the run of a bulk is asked for. */
interface Asked {
  readonly command: { readonly kind: "cancel" | "signal" | "retry" | "resolve" };
  readonly filter: {
    readonly hub?: string | readonly string[];
    readonly status?: string | readonly string[];
    readonly labels?: Labels;
    readonly createdAt?: { readonly from?: number; readonly to?: number };
  };
  readonly by?: string;
}

/** When something was committed: in simulated time, and in which batch of all. */
interface When {
  readonly at: number;
  readonly batch: number;
}

type Status = "pending" | "running" | "incident" | "ended";

/** What was seen of a request, or of what one has begun. */
interface Subject {
  readonly id: string;
  readonly shard: number;
  hub: string;
  labels: Labels | undefined;
  /** It is no part of one. */
  readonly isRequest: boolean;
  /** In engine time. */
  createdAt: number;
  /** When it has become what, in simulated time. */
  changes: (When & { readonly status: Status; readonly labels: Labels | undefined })[];
  /** Its key was used again: what is said of it may be of either run. */
  isAgain: boolean;
  /** It has answered, cleans up, or was cancelled: a cancel changes nothing more. */
  isBeyondCancel: boolean;
}

/** What a bulk has done to a request. */
interface Deed {
  readonly type: RunEvent["type"];
  readonly givenBy: string | undefined;
}

/** What was seen of a bulk. */
interface Bulk {
  readonly id: string;
  readonly asked: Asked;
  /** In engine time. */
  readonly since: number;
  readonly started: When;
  readonly items: Map<string, BulkItem>;
  matched: number | undefined;
  paused: boolean;
  /** Somebody has cancelled it. */
  cancelled: boolean;
  ended: boolean;
  /** What its commands have done, by the id of the request. */
  readonly deeds: Map<string, Deed>;
  /** The requests whose handlers have thrown at its command. */
  readonly parked: Set<string>;
}

/** What the checks of bulks need to know of their world. */
export interface BulkWorld {
  readonly now: () => number;
  readonly demand: (invariant: string, holds: boolean, message: () => string) => void;
  /** So long may somebody not know yet what a store has done, in milliseconds. */
  readonly lagMs: number;
  /** Whether a request may be forgotten by now. */
  readonly mayBeForgotten: () => boolean;
}

/**
 * Holds bulks against what they are asked for (I39): each request that the filter means has one outcome, which is true; the counts are
 * those of the outcomes; nothing is done that has no outcome, nothing while the bulk is paused, and nothing new once it is cancelled.
 */
export class BulkChecks {
  readonly #world: BulkWorld;
  readonly #subjects = new Map<string, Subject>();
  readonly #bulks = new Map<string, Bulk>();
  /** By the id of their commands. */
  readonly #byCommand = new Map<string, Bulk>();
  #batch = 0;

  constructor(world: BulkWorld) {
    this.#world = world;
  }

  /** A batch is committed. */
  committed(
    shard: number,
    journal: readonly { readonly key: string; readonly events: readonly RunEvent[] }[],
  ): void {
    this.#batch++;
    // What a bulk says in a batch may be of what another run has done in it.
    for (const { key, events } of journal)
      for (const event of events) this.#subject(shard, givenKey(key), event);
    for (const { key, events } of journal) for (const event of events) this.#bulk(givenKey(key), event);
  }

  /** The bulks that go on, and those of them that are paused. */
  get underWay(): readonly { readonly id: string; readonly paused: boolean }[] {
    return [...this.#bulks.values()].filter(({ ended }) => !ended);
  }

  has(id: string): boolean {
    return this.#bulks.has(id);
  }

  /** What a process shows of a bulk in the end. */
  shown(id: string, view: BulkView, items: readonly (BulkItem & { readonly at: number })[]): void {
    const bulk = this.#bulks.get(id);
    if (bulk === undefined) return this.#demand(false, () => `the bulk ${id} is shown, and is not committed`);
    const { matched, done, gone, refused, status } = view;
    const told = { matched, done, gone, refused, isCancelled: view.isCancelled };
    const due = { matched: bulk.matched, ...countsOf(bulk), isCancelled: bulk.cancelled };
    this.#demand(
      isDeepStrictEqual(plain(told), plain(due)),
      () => `the bulk ${id} is shown as ${JSON.stringify(told)}, and it is ${JSON.stringify(due)}`,
    );
    this.#demand(
      status === (bulk.cancelled ? "cancelled" : "done"),
      () => `the bulk ${id} has ended, and is shown as ${status}`,
    );
    const outcomes = items.map(({ at: _at, ...item }) => item);
    this.#demand(
      isDeepStrictEqual(plain(outcomes), [...bulk.items.values()]),
      () => `the outcomes of the bulk ${id} are shown as ${JSON.stringify(outcomes)}`,
    );
  }

  // ---- requests ----

  #subject(shard: number, id: string, event: RunEvent): void {
    const begins = event.type === "started" || event.type === "accepted";
    if (begins && event.hub !== bulkHub) {
      const { hub, labels, at: createdAt } = event;
      const isAgain = this.#subjects.has(id);
      const none = { changes: [], isAgain, isBeyondCancel: false };
      this.#subjects.set(id, { id, shard, hub, labels, createdAt, isRequest: isRequest(event), ...none });
    }
    const subject = this.#subjects.get(id);
    if (subject === undefined) return;
    this.#deed(subject, event);
    if ((event.type === "granted" || event.type === "migrated") && event.labels !== undefined)
      subject.labels = event.labels;
    const status = statusAfter(event);
    if (status !== undefined || event.type === "granted" || event.type === "migrated") {
      const last = subject.changes.at(-1)?.status ?? "running";
      subject.changes.push({ ...this.#now(), status: status ?? last, labels: subject.labels });
    }
    const { type } = event;
    if (type === "cancelling" || type === "answered" || (type === "entered" && event.late === true))
      subject.isBeyondCancel = true;
  }

  /** Something that a command of a bulk has done. */
  #deed({ id }: Subject, event: RunEvent): void {
    const command =
      event.type === "parked" || event.type === "incident"
        ? event.input["id"]
        : (event as { readonly id?: unknown }).id;
    const bulk = this.#byCommand.get(String(command));
    if (bulk === undefined) return;
    if (event.type === "incident") {
      // A handler has thrown in its turn. It is kept, unless an operator ends the run.
      bulk.parked.add(id);
      return;
    }
    const { type, givenBy } = event;
    // One that was parked has come once more.
    if (!bulk.deeds.has(id)) bulk.deeds.set(id, { type, givenBy });
    this.#demand(
      // If its run was parked at it, the event that has kept it says who gave it.
      givenBy === bulk.asked.by || (givenBy === undefined && bulk.parked.has(id)),
      () => `${id} does ${type} for the bulk ${bulk.id} of ${bulk.asked.by}, given by ${givenBy}`,
    );
    this.#demand(
      !bulk.ended || bulk.items.has(id),
      () => `the bulk ${bulk.id} has ended, and has done ${type} to ${id}`,
    );
  }

  // ---- bulks ----

  #bulk(key: string, event: RunEvent): void {
    if (event.type === "started" && event.hub === bulkHub) this.#begin(key, event);
    const bulk = key.startsWith(bulkHub) ? this.#bulks.get(key.slice(bulkHub.length)) : undefined;
    if (bulk === undefined) return;
    const { patch = {} } = event as { readonly patch?: Record<string, unknown> };
    // The commands of a turn that pauses, or goes on, are opened after it.
    if (typeof patch["paused"] === "boolean") bulk.paused = patch["paused"];
    if (event.type === "cancelling") bulk.cancelled = true;
    this.#begins(bulk, event);
    if (bulk.matched === undefined && typeof patch["matched"] === "number")
      this.#match(bulk, patch["matched"]);
    if (event.type === "settled" && patch["last"] !== undefined)
      this.#settle(bulk, patch["last"] as BulkItem, patch);
    if (event.type === "ended") this.#end(bulk, event);
  }

  #begin(key: string, { at: since, request }: RunEvent & { readonly type: "started" }): void {
    const id = key.slice(bulkHub.length);
    const none = { matched: undefined, paused: false, cancelled: false, ended: false };
    const bulk: Bulk = {
      id,
      asked: request as Asked,
      since,
      started: this.#now(),
      items: new Map(),
      deeds: new Map(),
      parked: new Set(),
      ...none,
    };
    this.#bulks.set(id, bulk);
    this.#byCommand.set(`${key}@${since.toString(36)}`, bulk);
  }

  /** Commands that begin. */
  #begins(bulk: Bulk, event: RunEvent): void {
    const groups = (event as { readonly calls?: readonly OpenedGroup[] }).calls ?? [];
    const opened = groups.some(
      ({ callee, inputs, started = inputs.length }) => callee === bulkSpokes[1] && started > 0,
    );
    const isFirst = event.type === "attempt" && event.attempt === 1;
    if (!opened && !isFirst) return;
    this.#demand(!bulk.paused, () => `the bulk ${bulk.id} is paused, and gives commands`);
    this.#demand(!bulk.cancelled, () => `the bulk ${bulk.id} is cancelled, and gives commands`);
  }

  /** It says how many it means. */
  #match(bulk: Bulk, matched: number): void {
    bulk.matched = matched;
    let [least, most] = [0, 0];
    for (const subject of this.#subjects.values()) {
      const meant = this.#isMeant(bulk, subject);
      if (meant === "always" && !this.#world.mayBeForgotten()) least++;
      if (meant !== "never" || subject.isAgain) most++;
    }
    this.#demand(
      least <= matched && matched <= most,
      () => `the bulk ${bulk.id} means ${matched} requests, and it should be ${least} to ${most}`,
    );
  }

  #settle(bulk: Bulk, item: BulkItem, patch: Record<string, unknown>): void {
    const { id, outcome, code } = item;
    this.#demand(!bulk.items.has(id), () => `${id} has two outcomes in the bulk ${bulk.id}`);
    bulk.items.set(id, plain(item));
    for (const [name, count] of Object.entries(countsOf(bulk)))
      this.#demand(
        patch[name] === undefined || isDeepStrictEqual(plain(patch[name]), plain(count)),
        () =>
          `the bulk ${bulk.id} counts ${name} as ${JSON.stringify(patch[name])}: ${JSON.stringify(count)}`,
      );
    this.#demand(
      (outcome === "refused") === (code !== undefined),
      () => `the bulk ${bulk.id} says of ${id}: ${outcome} ${code}`,
    );
    const subject = this.#subjects.get(id);
    if (subject === undefined)
      return this.#demand(false, () => `the bulk ${bulk.id} is for ${id}, which is no request`);
    if (subject.isAgain) return;
    this.#demand(
      this.#isMeant(bulk, subject) !== "never",
      () => `the bulk ${bulk.id} is for ${id}, which its filter did not mean`,
    );
    const deed = bulk.deeds.get(id);
    const isOver = subject.changes.at(-1)?.status === "ended";
    const { kind } = bulk.asked.command;
    if (outcome === "done")
      this.#demand(
        deed !== undefined ||
          bulk.parked.has(id) ||
          (kind === "cancel" && (subject.isBeyondCancel || isOver)),
        () => `the bulk ${bulk.id} says that the ${kind} of ${id} is done, and nothing has happened`,
      );
    if (outcome === "gone")
      this.#demand(isOver, () => `the bulk ${bulk.id} says that ${id} is gone, and it has not ended`);
  }

  #end(bulk: Bulk, { answer }: RunEvent & { readonly type: "ended" }): void {
    bulk.ended = true;
    const counts = countsOf(bulk);
    const { matched, cancelled: isCancelled } = bulk;
    const due = plain({ matched, ...counts, isPaused: bulk.paused, isCancelled });
    const told = answer?.kind === "result" ? answer.value : answer;
    this.#demand(
      isDeepStrictEqual(plain(told), due),
      () => `the bulk ${bulk.id} ends with ${JSON.stringify(told)}: ${JSON.stringify(due)}`,
    );
    for (const [id, { type }] of bulk.deeds)
      this.#demand(
        bulk.items.has(id),
        () => `the bulk ${bulk.id} has done ${type} to ${id}, and does not say so`,
      );
    if (bulk.cancelled || this.#world.mayBeForgotten()) return;
    for (const subject of this.#subjects.values())
      this.#demand(
        subject.isAgain || bulk.items.has(subject.id) || this.#isMeant(bulk, subject) !== "always",
        () => `the bulk ${bulk.id} means ${subject.id}, which has no outcome`,
      );
  }

  /** Whether the filter of a bulk means a request: always since the bulk began, at some time, or never. */
  #isMeant({ asked: { filter }, since, started }: Bulk, subject: Subject): "always" | "sometimes" | "never" {
    const { hub, status = [], labels, createdAt = {} } = filter;
    const { from = 0, to = Number.POSITIVE_INFINITY } = createdAt;
    if (subject.createdAt > since || subject.createdAt < from || subject.createdAt >= to) return "never";
    if (hub !== undefined && ![hub].flat().includes(subject.hub)) return "never";
    const statuses = [status].flat();
    const fits = (one: Subject["changes"][number]): boolean =>
      statuses.includes(one.status) &&
      // What a request has begun is listed while it is parked.
      (subject.isRequest || one.status === "incident") &&
      Object.entries(labels ?? {}).every(([name, value]) => one.labels?.[name] === value);
    const begins = started.at - this.#world.lagMs;
    const before = subject.changes.findLastIndex(({ at, batch }) => at <= begins && batch < started.batch);
    const states = subject.changes.slice(Math.max(0, before));
    if (before >= 0 && states.every(fits)) return "always";
    return states.some(fits) ? "sometimes" : "never";
  }

  #now(): When {
    return { at: this.#world.now(), batch: this.#batch };
  }

  #demand(holds: boolean, message: () => string): void {
    this.#world.demand("I39", holds, message);
  }
}

interface OpenedGroup {
  readonly callee: string;
  readonly inputs: readonly unknown[];
  readonly started?: number;
}

/** Whether a run is a request, by its first event. */
const isRequest = (first: RunEvent & { readonly type: "started" | "accepted" }): boolean =>
  first.parent === undefined &&
  first.caller === undefined &&
  !first.hub.startsWith("tell:") &&
  first.hub !== scheduleHub;

/** What an event makes of the status of a run; undefined: nothing else. */
function statusAfter(event: RunEvent): Status | undefined {
  switch (event.type) {
    case "accepted":
      return "pending";
    case "started":
    case "granted":
      return "running";
    case "incident":
      return "incident";
    case "resumed":
      return event.left === true ? undefined : "running";
    case "redelivered":
      return event.last === true ? "running" : undefined;
    case "ended":
      return "ended";
    default:
      return undefined;
  }
}

function countsOf({ items }: Bulk): Pick<BulkView, "done" | "gone" | "refused"> {
  const refused: Record<string, number> = {};
  let [done, gone] = [0, 0];
  for (const { outcome, code = "" } of items.values())
    if (outcome === "done") done++;
    else if (outcome === "gone") gone++;
    else refused[code] = (refused[code] ?? 0) + 1;
  return { done, gone, refused };
}
