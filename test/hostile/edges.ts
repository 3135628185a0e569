// Every place at which a caller of the engine gives something: each argument, and each field of the options.
import { end, hub, stay, type AnyHub } from "@wheelwork/core";
import { schedule, type Engine, type Schedule } from "@wheelwork/engine";
import { z } from "zod";

const anything = z.unknown();

/** Waits, whatever comes. */
const open = hub(
  "open",
  {
    request: z.object({ value: anything }),
    reply: z.object({}),
    deadlineMs: 3_600_000,
    labels: () => ({ kind: "open" }),
    exclusive: { lane: "open", by: () => "one", slots: 1_000_000, whenBusy: "queue" },
    signals: { note: anything, finish: z.object({}) },
    chart: { Waiting: { Noted: stay, Cancelled: stay, Over: "Done" }, Done: end },
    data: () => ({ notes: 0 }),
    cancel: "Cancelled",
    view: ({ notes }) => ({ notes }),
  },
  {
    Waiting: (s) =>
      s.wait({
        on: { note: ({ notes }) => s.raise("Noted", { notes: notes + 1 }), finish: "Over" },
        deadline: "Over",
      }),
    Done: () => ({}),
  },
);

/** Is parked at once. */
const broken = hub(
  "broken",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 3_600_000,
    chart: { Begun: { Next: "Done" }, Done: end },
    data: () => ({}),
  },
  {
    Begun: (s) =>
      s.pick(() => {
        throw new Error("broken on purpose");
      }),
    Done: () => ({}),
  },
);

export const edgeHubs: readonly AnyHub[] = [open, broken];
export const edgeSchedules = (): readonly Schedule[] => [
  schedule("daily", { cron: "0 3 * * *", hub: open, request: () => ({ value: null }) }),
];

/** Others have a turn of the loop: the nodes of a test live in its process. */
const aMoment = (): Promise<void> => new Promise((resolve) => void setTimeout(resolve, 2));

/** What edges are called with. */
export class Caller {
  readonly engine: Engine;
  readonly #prefix: string;
  #made = 0;
  #live = "";

  constructor(engine: Engine, prefix: string) {
    this.engine = engine;
    this.#prefix = prefix;
  }

  async begin(): Promise<void> {
    this.#live = await this.#accepted(open, { value: null }, "live");
  }

  get live(): string {
    return this.#live;
  }

  /** A new run that is parked. */
  async parked(): Promise<string> {
    const id = await this.#accepted(broken, {}, `parked-${this.#made++}`);
    for (;;) {
      if ((await this.engine.request(id)).status === "incident") return id;
      await aMoment();
    }
  }

  /** The live run is there, and takes signals. */
  async isSound(): Promise<boolean> {
    const notes = async (): Promise<number> =>
      ((await this.engine.request(this.#live)).view as { readonly notes: number }).notes;
    const before = await notes();
    await this.engine.signal(this.#live, "note", {});
    for (const until = performance.now() + 20_000; performance.now() < until; await aMoment())
      if ((await notes()) > before) return true;
    return false;
  }

  async #accepted(of: AnyHub, request: object, name: string): Promise<string> {
    return (await this.engine.submit(of, request as never, { key: `${this.#prefix}-${name}` })).id;
  }
}

type Any = never;
type Edge = (caller: Caller, value: Any) => Promise<unknown>;

/** The first of what a stream tells. */
async function firstOf(stream: AsyncIterable<unknown>): Promise<unknown> {
  for await (const one of stream) return one;
  return undefined;
}

/** A function for each field of some options. */
const each = (
  name: string,
  fields: readonly string[],
  call: (caller: Caller, options: Any) => Promise<unknown>,
): Record<string, Edge> =>
  Object.fromEntries(
    fields.map((field) => [
      `${name} { ${field} }`,
      (caller: Caller, value: unknown) => call(caller, optionsOf(field, value) as Any),
    ]),
  );

/** `a.b` is the field b of the field a. */
function optionsOf(path: string, value: unknown): object {
  const [first = "", ...rest] = path.split(".");
  return { [first]: rest.length === 0 ? value : optionsOf(rest.join("."), value) };
}

const filters = [
  "hub",
  "status",
  "state",
  "code",
  "message",
  "labels",
  "labels.kind",
  "createdAt",
  "createdAt.from",
  "createdAt.to",
  "answeredAt",
  "answeredAt.to",
  "durationMs",
  "durationMs.min",
  "attempts",
  "attempts.max",
];
const given = ["commandId", "by"];
const found = { status: "incident", hub: "broken" } as const;

export const edges: Readonly<Record<string, Edge>> = {
  "submit hub": ({ engine }, value) => engine.submit(value, {} as Any),
  "submit request": ({ engine }, value) => engine.submit(open, value),
  "submit value": ({ engine }, value) => engine.submit(open, { value }),
  ...each(
    "submit",
    ["key", "deadlineMs", "startAt", "priority", "beginWithinMs", "traceparent", "tracestate", "by"],
    ({ engine }, options) => engine.submit(open, { value: null }, options),
  ),
  "answer id": ({ engine }, value) => engine.answer(value, { waitMs: 0 }),
  // A huge time is waited for.
  "answer { waitMs }": ({ engine, live }, value) =>
    value === undefined || (typeof value === "number" && value > 1000)
      ? Promise.resolve("waits")
      : engine.answer(live, { waitMs: value }),
  "request id": ({ engine }, value) => engine.request(value),
  "history id": ({ engine }, value) => engine.history(value),
  ...each("history", ["after", "limit"], ({ engine, live }, part) => engine.history(live, part)),
  "historyPage id": ({ engine }, value) => engine.historyPage(value),
  ...each("historyPage", ["order", "from", "limit"], ({ engine, live }, page) =>
    engine.historyPage(live, page),
  ),
  "requestAt id": ({ engine }, value) => engine.requestAt(value, 0),
  "requestAt event": ({ engine, live }, value) => engine.requestAt(live, value),
  "watch id": ({ engine }, value) => firstOf(engine.watch(value)),
  "watch { after }": ({ engine, live }, value) =>
    typeof value === "number" && value > 0
      ? Promise.resolve("waits")
      : firstOf(engine.watch(live, { after: value })),
  "watch { until }": ({ engine, live }, value) => firstOf(engine.watch(live, { until: value })),
  ...each("events", ["after", "hub", "labels", "labels.kind", "types", "ids"], ({ engine }, options) =>
    firstOf(engine.events(options)),
  ),
  ...each("requests", [...filters, "order", "limit", "cursor"], ({ engine }, options) =>
    engine.requests(options),
  ),
  ...each(
    "search",
    [...filters, "text", "values", "values.request", "withinMs", "limit"],
    ({ engine }, options) => engine.search(options),
  ),
  ...each("count", filters, ({ engine }, filter) => engine.count(filter)),
  ...each("facets", filters, ({ engine }, filter) => engine.facets(filter)),
  ...each("incidents", ["hub", "state", "code"], ({ engine }, filter) => engine.incidents(filter)),
  "whatIf id": ({ engine }, value) => engine.whatIf(value, { kind: "cancel" }),
  "whatIf supposition": ({ engine, live }, value) => engine.whatIf(live, value),
  ...each("whatIf", ["kind"], ({ engine, live }, supposition) => engine.whatIf(live, supposition)),
  "whatIf signal name": ({ engine, live }, value) =>
    engine.whatIf(live, { kind: "signal", name: value, payload: {} }),
  "whatIf signal payload": ({ engine, live }, value) =>
    engine.whatIf(live, { kind: "signal", name: "note", payload: value }),
  "whatIf outcome call": ({ engine, live }, value) =>
    engine.whatIf(live, { kind: "outcome", call: value, outcome: { kind: "timeout" } }),
  "whatIf outcome": ({ engine, live }, value) =>
    engine.whatIf(live, { kind: "outcome", call: 0, outcome: value }),
  "whatIf time until": ({ engine, live }, value) => engine.whatIf(live, { kind: "time", until: value }),
  "cancel id": ({ engine }, value) => engine.cancel(value),
  ...each("cancel", given, ({ engine, live }, options) => engine.cancel(live, options)),
  "signal id": ({ engine }, value) => engine.signal(value, "note", {}),
  "signal name": ({ engine, live }, value) => engine.signal(live, value, {}),
  "signal payload": ({ engine, live }, value) => engine.signal(live, "note", value),
  "signal payload value": ({ engine, live }, value) => engine.signal(live, "note", { value }),
  ...each("signal", given, ({ engine, live }, options) => engine.signal(live, "note", {}, options)),
  "retry id": ({ engine }, value) => engine.retry(value),
  ...each("retry", given, async (caller, options) => caller.engine.retry(await caller.parked(), options)),
  "resolve id": ({ engine }, value) => engine.resolve(value, "as it should"),
  "resolve message": async (caller, value) => caller.engine.resolve(await caller.parked(), value),
  ...each("resolve", given, async (caller, options) =>
    caller.engine.resolve(await caller.parked(), "as it should", options),
  ),
  "startBulk command": ({ engine }, value) => engine.startBulk(value, found),
  "startBulk kind": ({ engine }, value) => engine.startBulk({ kind: value }, found),
  "startBulk signal name": ({ engine }, value) =>
    engine.startBulk({ kind: "signal", name: value, payload: {} }, found),
  "startBulk signal payload": ({ engine }, value) =>
    engine.startBulk({ kind: "signal", name: "note", payload: value }, { hub: "open", state: "Nowhere" }),
  "startBulk message": ({ engine }, value) =>
    engine.startBulk({ kind: "resolve", message: value }, { hub: "open", state: "Nowhere" }),
  "startBulk filter": ({ engine }, value) => engine.startBulk({ kind: "retry" }, value),
  // Whatever it means, it is no request.
  ...each("startBulk", filters, ({ engine }, filter) =>
    engine.startBulk({ kind: "retry" }, { hub: "nobody", ...(filter as object) }),
  ),
  ...each("startBulk options", ["key", "by"], ({ engine }, options) =>
    engine.startBulk({ kind: "retry" }, { hub: "open", state: "Nowhere" }, options),
  ),
  ...each("previewBulk", filters, ({ engine }, filter) => engine.previewBulk({ kind: "retry" }, filter)),
  "bulk id": async ({ engine }, value) => engine.bulk(value).view(),
  ...each("bulks", ["limit", "cursor"], ({ engine }, page) => engine.bulks(page)),
  ...each(
    "audit",
    ["limit", "cursor", "by", "command", "id", "hub", "at", "at.from"],
    ({ engine }, options) => engine.audit(options),
  ),
  ...each("lanes", ["name", "limit"], ({ engine }, filter) => engine.lanes(filter)),
  ...each("deadLetters", ["topic", "limit"], ({ engine }, filter) => engine.deadLetters(filter)),
  "replayDeadLetter place": ({ engine }, value) => engine.replayDeadLetter(value),
  "schedule name": async ({ engine }, value) => engine.schedule(value).view(),
  "schedule next": async ({ engine }, value) => engine.schedule("daily").next(value),
  ...each("schedule pause", given, async ({ engine }, options) => engine.schedule("daily").pause(options)),
  ...each("schedule trigger", given, async ({ engine }, options) =>
    engine.schedule("daily").trigger(options),
  ),
  "schedule backfill from": async ({ engine }, value) =>
    engine.schedule("daily").backfill({ from: value, to: 1 }),
  "schedule backfill to": async ({ engine }, value) =>
    engine.schedule("daily").backfill({ from: 1_700_000_000_000, to: value }),
  "run id": async ({ engine }, value) => engine.run(open, value).cancel(),
};
