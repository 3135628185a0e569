import type { HistoryEvent, RunEvent } from "@wheelwork/core";
import { replayDeadLetter } from "@wheelwork/engine/cluster";
import { isDeepStrictEqual } from "node:util";
import { scheduleHub } from "../checker/schedules.ts";
import { isBeginningOf, toldIn } from "../checker/histories.ts";
import { giveCommand, giveScheduleCommand } from "../commands.ts";
import type { PlannedCommand, PlannedScheduleCommand } from "../plans.ts";
import type { Askable, Asking } from "./asking.ts";
import type { Ledger } from "./ledger.ts";
import type { ShardsRead } from "./plan.ts";
import type { Requests } from "./requests.ts";
import type { Stage } from "./stage.ts";

/** Those who give commands to any process, read what it knows, and look after dead letters and incidents. */
export class Operators {
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  readonly #asking: Asking;
  readonly #requests: Requests;

  constructor(stage: Stage, ledger: Ledger, asking: Asking, requests: Requests) {
    this.#stage = stage;
    this.#ledger = ledger;
    this.#asking = asking;
    this.#requests = requests;
  }

  async command(command: PlannedCommand): Promise<void> {
    const { id, kind, request, seed } = command;
    const { chronicle, opened } = this.#stage;
    const wanted = this.#requests.wanted[request];
    const asked = this.#asking.any(`operator ${seed}`);
    if (wanted === undefined || wanted.key === "" || asked === undefined) return;
    const { key } = wanted;
    const shard = this.#stage.shardOf(key);
    const story = this.#ledger.stories.get(key);
    const wasThere = story !== undefined && !story.purged;
    const isOwner = asked.owns(shard);
    const given = await this.#asking.ask(asked, () => giveCommand(asked.engine, command, key, opened));
    if (given === undefined) return;
    const result = "value" in given ? given.value : given.code;
    chronicle.count(`${kind} ${result}${isOwner ? "" : " elsewhere"}`);
    chronicle.say("commanded", asked, `${kind} ${id} to ${key}: ${result}`);
    if (result === "WW_NOT_FOUND")
      this.#ledger.demand("I5", !wasThere || story.purged, () => `${kind} ${id}: ${key} is not found`);
    if (result === "accepted" && isOwner) chronicle.see(shard, { type: "commanded", key, id, kind, result });
    if (result === "accepted" && !isOwner && !this.#ledger.lost.has(key))
      this.#ledger.demand(
        "I9",
        // It may have become the owner meanwhile. A run that is over may have taken the command before.
        this.#ledger.hasCommand(key, id) ||
          asked.hasOwned(shard) ||
          this.#ledger.stories.get(key)?.events.some((event) => "id" in event && event.id === id) === true,
        () => `${kind} ${id} to ${key} is accepted, and is nowhere`,
      );
  }

  async scheduleCommand(command: PlannedScheduleCommand): Promise<void> {
    const { chronicle, opened } = this.#stage;
    const { id, kind, seed } = command;
    const asked = this.#asking.any(`schedules ${seed}`);
    const { wish } = opened;
    if (asked === undefined || wish === undefined) return;
    const given = await this.#asking.ask(asked, () => giveScheduleCommand(asked.engine, command, wish));
    if (given === undefined) return;
    chronicle.count(`schedule ${kind} ${"value" in given ? "accepted" : given.code}`);
    if (!("value" in given)) return chronicle.say("operated", asked, `${kind} ${id}: ${given.code}`);
    const { key } = given.value;
    chronicle.see(this.#stage.shardOf(key), { type: "operated", id, kind, ...given.value });
  }

  /** Sends a dead letter again. */
  async replay(letter: number): Promise<void> {
    const { letters } = this.#ledger;
    const record = letters[letter % Math.max(1, letters.length)];
    if (record === undefined) return;
    const { chronicle, outside } = this.#stage;
    chronicle.count("replay");
    chronicle.say("replay", undefined, `${record.topic} ${record.key} ${record.value}`);
    await replayDeadLetter(outside, record);
  }

  async read({ kind, request, seed }: ShardsRead): Promise<void> {
    const asked = this.#asking.any(`reader ${seed}`);
    const { key } = this.#requests.wanted[request] ?? { key: "" };
    if (asked === undefined || key === "") return;
    if (kind === "list") return this.#readList(asked, 1 + (seed % 4));
    const story = this.#ledger.stories.get(key);
    const before = { starts: story?.starts, events: story?.events.length ?? 0, answer: story?.answer };
    const isOwner = asked.owns(this.#stage.shardOf(key));
    const given = await this.#asking.ask<unknown>(asked, () =>
      kind === "view" ? asked.engine.request(key) : asked.engine.history(key),
    );
    const after = this.#ledger.stories.get(key);
    if (given === undefined || after?.purged === true || before.starts !== after?.starts) return;
    if ("code" in given) {
      if (given.code !== "WW_NOT_FOUND") return;
      const wasUnknown = before.events === 0;
      this.#ledger.demand("reads", wasUnknown, () => `${key} is not found at node ${asked.number}`);
      return;
    }
    this.#stage.chronicle.count(`${kind}${isOwner ? "" : " elsewhere"}`);
    if (kind === "view") {
      const { answer } = given.value as { readonly answer?: unknown };
      // An owner learns a little later what it has committed, and one that was taken over, not at all.
      const fits =
        isDeepStrictEqual(answer, after?.answer) ||
        (answer === undefined && (isOwner || before.answer === undefined));
      this.#ledger.demand("reads", fits, () => `${key} is shown with ${JSON.stringify(answer)}`);
      return;
    }
    const history = JSON.parse(JSON.stringify(given.value)) as readonly HistoryEvent[];
    const told = toldIn(history);
    this.#ledger.demand(
      "reads",
      isBeginningOf(history, after?.events ?? []) && (isOwner || told >= before.events),
      () => `the history of ${key} at node ${asked.number} has ${told} of ${before.events} events`,
    );
  }

  /** A list is the same wherever it is asked for, page by page. */
  async #readList(asked: Askable, limit: number): Promise<void> {
    const { stories } = this.#ledger;
    const { shards } = this.#stage.plan;
    const roots = (): string[] =>
      [...stories.values()]
        .filter(({ events: [first] }) => first !== undefined && isListed(first))
        .map(({ key }) => key);
    // One that is parked is listed.
    const before = roots().filter((key) => !this.#ledger.schedules.has(key));
    const owned = Array.from({ length: shards }, (_, shard) => asked.owns(shard));
    const found: string[] = [];
    for (let cursor: string | undefined; ;) {
      const page = await this.#asking.ask(asked, () =>
        asked.engine.requests({ limit, ...(cursor === undefined ? {} : { cursor }) }),
      );
      if (page === undefined || "code" in page) return;
      found.push(...page.value.items.map(({ id }) => id));
      cursor = page.value.cursor;
      if (cursor === undefined) break;
    }
    this.#stage.chronicle.count("list");
    const [listed, known] = [new Set(found), new Set(roots())];
    this.#ledger.demand(
      "reads",
      found.every((key) => known.has(key)) && listed.size === found.length,
      () => `the list of node ${asked.number} has ${found.join(", ")}`,
    );
    // What an owner has just committed it may not know yet.
    const missing = before.filter((key) => {
      const isForgotten = stories.get(key)?.purged === true;
      return !listed.has(key) && !isForgotten && owned[this.#stage.shardOf(key)] === false;
    });
    this.#ledger.demand(
      "reads",
      missing.length === 0,
      () => `the list of node ${asked.number} lacks ${missing.join(", ")}`,
    );
  }

  /** Parked runs need somebody who looks after them. */
  async lookAfter(): Promise<void> {
    const asked = this.#asking.any("operator");
    if (asked === undefined) return;
    const page = await this.#asking.ask(asked, () =>
      asked.engine.requests({ status: "incident", limit: 1000 }),
    );
    if (page === undefined || "code" in page) return;
    for (const { id } of page.value.items) {
      const commandId = `operator ${this.#stage.clock.monotonicMs()}`;
      await this.#asking.ask(asked, () => asked.engine.retry(id, { commandId }));
    }
  }

  /** Whoever looks then must find nothing under way. */
  async pauseSchedules(): Promise<void> {
    const left = new Set(this.#ledger.schedules.keys);
    while (left.size > 0) {
      for (const key of left) {
        const asked = this.#asking.any("pauses");
        if (asked === undefined) continue;
        const schedule = asked.engine.schedule(key.slice(scheduleHub.length));
        const given = await this.#asking.ask(asked, () => schedule.pause());
        // One that is removed does not tick.
        if (given !== undefined && ("value" in given || given.code === "WW_NOT_FOUND")) left.delete(key);
      }
      await this.#stage.wait(100);
    }
  }

  /** What an observer finds in the end, at each process. */
  async look(): Promise<void> {
    const { chronicle, plan } = this.#stage;
    const { able } = this.#asking;
    this.#ledger.demand("I6", able.length > 0, () => "no node is left");
    for (const asked of able) {
      const page = await this.#asking.insist(asked, () => asked.engine.requests({ limit: 1000 }));
      const all = await this.#asking.insist(asked, () => asked.engine.count());
      const labels = page?.items.find((item) => item.labels !== undefined)?.labels;
      const labelled =
        labels === undefined ? 0 : await this.#asking.insist(asked, () => asked.engine.count({ labels }));
      const again = await this.#asking.insist(asked, () => asked.engine.requests({ limit: 1000 }));
      const such = page?.items.filter((item) =>
        Object.entries(labels ?? {}).every(([name, value]) => item.labels?.[name] === value),
      ).length;
      this.#ledger.demand(
        "reads",
        labels === undefined || labelled === such || !isDeepStrictEqual(again, page),
        () => `node ${asked.number} counts ${labelled} of ${such} with ${JSON.stringify(labels)}`,
      );
      // Some may be purged while somebody counts.
      this.#ledger.demand(
        "reads",
        all === page?.items.length || !isDeepStrictEqual(again, page),
        () => `node ${asked.number} counts ${all} requests, and lists ${page?.items.length}`,
      );
      const { liveRuns, openAttempts } = asked.engine.health();
      const byShard = Map.groupBy(page?.items ?? [], ({ id }) => this.#stage.shardOf(id));
      for (let shard = 0; shard < plan.shards; shard++) {
        const keys = (byShard.get(shard) ?? []).map(({ id }) => id);
        const ever = this.#ledger.schedules.keys.size;
        chronicle.see(shard, {
          type: "listed",
          keys,
          count: keys.length,
          liveRuns: Math.max(0, liveRuns - ever),
          openAttempts,
        });
        for (const { id: key, status } of byShard.get(shard) ?? []) {
          const given = await this.#asking.insist(asked, () => asked.engine.request(key));
          const history = await this.#asking.insist(asked, () => asked.engine.history(key));
          if (given !== undefined && history !== undefined)
            chronicle.see(shard, { type: "view", key, status, answer: given.answer, history });
          else
            this.#ledger.demand(
              "reads",
              this.#ledger.stories.get(key)?.purged === true,
              () => `${key} is not shown`,
            );
        }
      }
    }
  }
}

/** Whether a run is in the lists of requests, by its first event: calls of hubs and tells to spokes are not. */
const isListed = (first: RunEvent): boolean =>
  (first.type === "started" || first.type === "accepted") &&
  first.parent === undefined &&
  first.caller === undefined &&
  !first.hub.startsWith("tell:");
