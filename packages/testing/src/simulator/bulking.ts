import { WheelworkError } from "@wheelwork/core";
import type { BulkCommand, BulkItem, Engine, RequestFilter } from "@wheelwork/engine";
import type { SimulatedClock, SimulatedProcess } from "../clock.ts";
import { seededRandom } from "../random.ts";
import type { BulkChecks } from "./checker/bulks.ts";
import type { PlannedBulk } from "./plans.ts";
import type { OpenedSystem } from "./systems.ts";

/** A process that can be asked for bulks. */
interface Bulkable {
  readonly number: number;
  readonly process: Pick<SimulatedProcess, "alive">;
  readonly engine: Engine;
  /** Settles when it dies. */
  readonly death: Promise<void>;
}

/** Those who give bulks. */
export interface BulkingOptions {
  readonly bulks: readonly PlannedBulk[];
  readonly opened: OpenedSystem;
  readonly clock: SimulatedClock;
  readonly scaleMs: number;
  readonly checks: BulkChecks;
  /** A process that can be asked now. */
  readonly any: (who: string) => Bulkable | undefined;
  /** Whether a bulk that was accepted may have been lost: its record was deleted before it was read. */
  readonly mayBeLost: (key: string) => boolean;
  readonly mayBeForgotten: () => boolean;
  readonly demand: (invariant: string, holds: boolean, message: () => string) => void;
  readonly saw: (what: string, details: string) => void;
}

interface Drawn {
  readonly command: BulkCommand;
  readonly filter: RequestFilter;
}

/** What somebody has heard of a bulk. */
type Said<T> = { readonly value: T } | { readonly code: string; readonly retryable: boolean };

/** For how long one waits for what one has asked, in milliseconds. */
const patienceMs = 12_000;

/** Operators who give commands to many requests, pause them, go on with them, and give some up. */
export class Bulking {
  readonly #of: BulkingOptions;
  /** Those that somebody has heard to be accepted. */
  readonly #accepted = new Set<string>();
  readonly #drawn = new Map<string, Drawn>();
  /** How many are being sent. */
  #sending = 0;

  constructor(of: BulkingOptions) {
    this.#of = of;
  }

  /** What is not done yet; empty: nothing. */
  unrest(): string {
    const { checks, mayBeLost } = this.#of;
    if (this.#sending > 0) return `${this.#sending} bulks are being sent`;
    const missing = [...this.#accepted].find((id) => !checks.has(id) && !mayBeLost(`bulk:${id}`));
    if (missing !== undefined) return `the bulk ${missing} was accepted, and is nowhere`;
    return checks.underWay.map(({ id }) => `the bulk ${id} goes on`).join(", ");
  }

  /** What is planned, and when, in milliseconds. */
  *planned(): Iterable<{ readonly at: number; readonly give: () => Promise<void> }> {
    for (const bulk of this.#of.bulks) {
      const { id, at, again, steers } = bulk;
      for (const time of [at, ...again]) yield { at: time, give: () => this.#give(bulk) };
      for (const [place, { at: time, kind }] of steers.entries())
        yield { at: time, give: () => this.#steer(id, kind, `${kind} ${place}`) };
    }
  }

  /** Gives a bulk until a process has accepted it. */
  async #give(bulk: PlannedBulk): Promise<void> {
    const { id, kind } = bulk;
    const { command, filter } = this.#drawn.get(id) ?? this.#draw(bulk);
    // What is given again is the same.
    this.#drawn.set(id, { command, filter });
    const { saw } = this.#of;
    this.#sending++;
    try {
      for (;;) {
        const given = await this.#ask(`bulk ${id}`, (engine) =>
          engine.startBulk(command, filter, { key: id, by: `operator-${id}` }),
        );
        if (given !== undefined && "value" in given) {
          this.#accepted.add(id);
          saw("bulk accepted", `${id} ${JSON.stringify({ command, filter })}`);
          return;
        }
        if (given?.retryable === false) return saw(`bulk ${kind} ${given.code}`, id);
        await this.#wait(Math.max(20, this.#of.scaleMs / 20));
      }
    } finally {
      this.#sending--;
    }
  }

  /** Pauses a bulk, goes on with it, or gives it up, through any process, once. */
  async #steer(id: string, kind: "pause" | "resume" | "cancel", commandId: string): Promise<void> {
    const given = await this.#ask(`bulk ${id} ${kind}`, (engine) => engine.bulk(id)[kind]({ commandId }));
    if (given === undefined) return;
    this.#of.saw(`bulk ${kind} ${"value" in given ? "accepted" : given.code}`, id);
  }

  /** Nothing goes wrong any more: none stays paused. */
  async goOn(): Promise<void> {
    const { checks, clock } = this.#of;
    for (const { id, paused } of checks.underWay)
      if (paused) await this.#steer(id, "resume", `on ${clock.monotonicMs()}`);
  }

  /** What is shown of each of them in the end. */
  async look(): Promise<void> {
    const { checks, mayBeForgotten, demand } = this.#of;
    for (const id of this.#accepted) {
      if (!checks.has(id)) continue;
      // A store that takes its time with each read may take too long for small pages.
      const shown = (await this.#shown(id, 3)) ?? (await this.#shown(id, 1000));
      if (shown !== undefined && "value" in shown) checks.shown(id, shown.value.view, shown.value.items);
      else demand("I39", mayBeForgotten(), () => `the bulk ${id} is not shown: ${JSON.stringify(shown)}`);
    }
  }

  /** What is shown of one, in pages of so many items. undefined: nobody has answered. */
  async #shown(id: string, limit: number) {
    const asked = this.#ask(`bulk ${id} shown`, async (engine) => {
      const bulk = engine.bulk(id);
      const items: (BulkItem & { readonly at: number })[] = [];
      for (let cursor: string | undefined, pages = 0; pages < 1000; pages++) {
        const page = await bulk.items({ limit, ...(cursor === undefined ? {} : { cursor }) });
        items.push(...page.items);
        cursor = page.cursor;
        if (cursor === undefined) break;
      }
      return { view: await bulk.view(), items };
    });
    await this.#of.clock.runUntil(asked, 60_000);
    return asked;
  }

  #draw({ kind: wanted, seed }: PlannedBulk): Drawn {
    const { opened, clock } = this.#of;
    const random = seededRandom(seed);
    const signal = opened.signal?.(random);
    const kind = wanted === "signal" && signal === undefined ? "cancel" : wanted;
    const hubs = opened.hubs.map(({ name }) => name);
    const { request } = opened.request(random);
    const weight = (request as { readonly weight?: unknown } | null)?.weight;
    const now = clock.wallMs();
    const statuses =
      kind === "retry" || kind === "resolve" ? (["incident"] as const) : (["running", "pending"] as const);
    const filter: RequestFilter = {
      ...(random.chance(0.5) ? { hub: random.chance(0.5) ? random.pick(hubs) : hubs } : { status: statuses }),
      ...(random.chance(0.2) ? { status: random.pick(statuses) } : {}),
      ...(random.chance(0.2) ? { createdAt: { to: now - random.int(this.#of.scaleMs) } } : {}),
      ...(random.chance(0.1) ? { createdAt: { from: now - random.int(this.#of.scaleMs) } } : {}),
      ...(random.chance(0.2) && weight !== undefined ? { labels: { weight: String(weight) } } : {}),
    };
    switch (kind) {
      case "signal":
        return { command: { kind, name: signal?.name ?? "", payload: signal?.payload }, filter };
      case "resolve":
        return { command: { kind, message: "as the operator says" }, filter };
      default:
        return { command: { kind }, filter };
    }
  }

  /** Asks any process; undefined: there is none, it has died, or it does not answer for long. */
  async #ask<T>(who: string, question: (engine: Engine) => Promise<T>): Promise<Said<T> | undefined> {
    const asked = this.#of.any(who);
    if (asked === undefined) return undefined;
    const given = question(asked.engine).then(
      (value): Said<T> => ({ value }),
      (error: unknown): Said<T> => {
        if (!(error instanceof WheelworkError)) throw error;
        return { code: error.code, retryable: error.retryable };
      },
    );
    const first = await Promise.race([given, asked.death, this.#wait(patienceMs)]);
    return asked.process.alive ? (first ?? undefined) : undefined;
  }

  #wait(ms: number): Promise<undefined> {
    return new Promise((resolve) => void this.#of.clock.after(ms, () => resolve(undefined)));
  }
}
