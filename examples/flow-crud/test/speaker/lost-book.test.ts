import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitUntil } from "@wheelwork/services";
import { createEngine, silentLogger, SqliteStore, type Answer, type WheelworkError } from "wheelwork";
import { expect, onTestFinished, test } from "vitest";
import { createController } from "../../src/controller/controller.ts";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { addressOf, hexOf, isMeterOfFlow, switchIdOf } from "../../src/controller/model.ts";
import { rulesOf } from "../../src/controller/rules.ts";
import { beginBook } from "../../src/data-folder.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { addressOfFlow, isOfFlow } from "../../src/floodlight/rule-messages.ts";
import type { SpeakerCommand } from "../../src/controller/speaker.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { portTo } from "../../src/network.ts";

const isLong = process.env["WHEELWORK_LONG"] !== undefined;
const rounds = isLong ? 100 : 7;
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);

const switches = 6;
const sw = (number: number): string => switchIdOf(BigInt(number));
const ids = Array.from({ length: 8 }, (_, index) => `f${index + 1}`);

/** Flows on simulated switches that keep their rules while nobody drives them. The one who drives them can die, and lose its book. */
class World {
  readonly folder = mkdtempSync(join(tmpdir(), "flow-crud-book-"));
  readonly book = join(this.folder, "rules.db");
  readonly network = new SimulatedNetwork({ topology: { shape: "ring", switches }, reconnectMs: 1 });
  readonly store = new SqliteFlowStore(join(this.folder, "flows.db"), { durability: "normal" });
  readonly controller = createController({
    backoffMs: 2,
    switchTimeoutMs: 2_000,
    drainMs: 1,
    attempts: 100,
    deadlineMs: 120_000,
  });
  readonly engine;
  #speaker: SwitchSpeaker | undefined;
  /** The speaker dies when so many more commands have come. */
  #left = Infinity;
  #dead = Promise.withResolvers<void>();
  #driven = Promise.withResolvers<void>();
  /** Commands of which a copy is under way for long. */
  readonly #late: SpeakerCommand[] = [];

  constructor(random: () => number) {
    const execute: SwitchSpeaker["execute"] = async (command) => {
      if (--this.#left === 0) await this.die();
      if (command.command === "install" && random() < 0.1) this.#late.push(command);
      return this.#speaker?.execute(command);
    };
    const commit: SqliteFlowStore["commit"] = async (...step) => {
      // All was installed and confirmed, and the commit comes when the book is another one.
      if (this.#left < Infinity && random() < 0.05) {
        await this.die();
        await this.#driven.promise;
      }
      return this.store.commit(...step);
    };
    const { store } = this;
    const worked = new Proxy(store, {
      get: (_, name) =>
        name === "commit" ? commit : (store[name as keyof typeof store] as () => unknown).bind(store),
    });
    this.engine = createEngine({
      hubs: this.controller.all,
      workers: this.controller.workers(worked, { execute }),
      store: new SqliteStore(join(this.folder, "wheelwork.db"), { durability: "normal" }),
      logger: silentLogger,
    });
  }

  async start(): Promise<void> {
    for (const switchId of this.network.switchIds)
      await this.store.note({ kind: "switch", switchId, isConnected: true, address: "", description: "" });
    for (let from = 1; from <= switches; from++) {
      const to = (from % switches) + 1;
      const ends = { from: sw(from), fromPort: portTo(to), to: sw(to), toPort: portTo(from) };
      await this.store.note({ kind: "link", ...ends, isUp: true, speedKbps: 1_000_000 });
    }
    await this.engine.start();
  }

  /** Drives the switches. @throws What `beginBook` says. */
  async drive(rebuild = false): Promise<void> {
    const speaker = await SwitchSpeaker.over(() => this.network.listen(), {
      path: this.book,
      durability: "normal",
      begin: (book) => beginBook(book, this.store, { command: "rebuild", rebuild }),
    });
    await waitUntil(() => speaker.connected.length === switches - this.away.size, 60_000);
    this.#speaker = speaker;
    this.#driven.resolve();
  }

  /** The late copies of commands come. */
  async comeLate(): Promise<void> {
    for (const command of this.#late.splice(0)) await this.#speaker?.execute(command);
  }

  /** The switches that have no connection. */
  readonly away = new Set<number>();

  async takeAway(number: number): Promise<void> {
    this.network.off(number);
    this.away.add(number);
    await waitUntil(() => this.#speaker?.connected.length === switches - this.away.size, 60_000);
  }

  async bringBack(): Promise<void> {
    for (const number of this.away) this.network.on(number);
    this.away.clear();
    await waitUntil(() => this.#speaker?.connected.length === switches, 60_000);
  }

  /** From now on nobody drives the switches. */
  async die(): Promise<void> {
    const speaker = this.#speaker;
    if (speaker === undefined) return;
    this.#speaker = undefined;
    this.#left = Infinity;
    this.#driven = Promise.withResolvers();
    await speaker.close();
    this.#dead.resolve();
  }

  /** Dies after so many commands. */
  dieAfter(commands: number): Promise<void> {
    this.#dead = Promise.withResolvers<void>();
    this.#left = commands;
    return this.#dead.promise;
  }

  get unconfirmed(): number {
    return this.#speaker?.unconfirmed(1).count ?? 0;
  }

  forget(): void {
    for (const end of ["", "-wal", "-shm"]) rmSync(`${this.book}${end}`, { force: true });
  }

  /** What switches have, against what flows need. */
  async differences(): Promise<string[]> {
    const problems = [...(await this.store.audit())];
    const should = new Set<string>();
    for (const flow of await this.store.flows({ limit: 1000 })) {
      const { inner, entries } = rulesOf(flow);
      for (const rule of [...inner, ...entries])
        should.add(`${rule.switchId} ${addressOf(rule)}${rule.kind === "rule" ? ` ${rule.cookie}` : ""}`);
    }
    const has = new Set<string>();
    for (let number = 1; number <= switches; number++) {
      for (const flow of this.network.flows(number))
        if (isOfFlow(flow.cookie)) has.add(`${sw(number)} ${addressOfFlow(flow)} ${hexOf(flow.cookie)}`);
      for (const { meterId } of this.network.meters(number))
        if (isMeterOfFlow(meterId)) has.add(`${sw(number)} meter/${meterId}`);
    }
    for (const one of should) if (!has.has(one)) problems.push(`missing: ${one}`);
    for (const one of has) if (!should.has(one)) problems.push(`too much: ${one}`);
    return problems;
  }

  async end(): Promise<void> {
    await this.engine.stop();
    await this.die();
    await this.store.close();
    rmSync(this.folder, { recursive: true });
  }
}

async function world(random: () => number): Promise<World> {
  const made = new World(random);
  onTestFinished(() => made.end());
  await made.start();
  await made.drive();
  return made;
}

const end = (number: number, port: number) => ({ switchId: sw(number), port, vlan: 10 });
const specOf = (flowId: string, from: number, to: number, more: object = {}) => {
  const port = 1 + ids.indexOf(flowId);
  return { flowId, source: end(from, port), destination: end(to, port), bandwidth: 1_000, ...more };
};

test(`whenever the book of rules is lost or is of another time, it is refused, and one that is made anew of the flows is right (seed ${seed})`, async () => {
  const random = seeded(seed);
  const int = (below: number): number => Math.floor(random() * below);
  const at = await world(random);
  const { controller, engine } = at;
  const backup = `${at.book}.backup`;
  const counts = { kept: 0, lost: 0, older: 0, refused: 0, answers: 0 };

  const operation = (): Promise<Answer> => {
    const flowId = ids[int(ids.length)] as string;
    const queue = { flowId, queue: true };
    const [from, to] = [1 + int(switches), 1 + int(switches)];
    switch (int(7)) {
      case 0:
        return engine.call(controller.hubs.delete, queue);
      case 1:
        return engine.call(controller.hubs.reroute, queue);
      case 2:
        return engine.call(controller.hubs.sync, queue);
      case 3:
        return engine.call(controller.hubs.update, { ...queue, changes: { bandwidth: 1_000 + int(9) } });
      case 4:
        return engine.call(controller.hubs.swap, queue);
      default:
        return engine.call(controller.hubs.create, {
          spec: specOf(flowId, from, to, { protectedPath: from !== to && random() < 0.4 }),
          queue: true,
        });
    }
  };

  for (let round = 0; round < rounds; round++) {
    if (int(3) === 0) await at.takeAway(1 + int(switches));
    const dead = at.dieAfter(1 + int(60));
    const asked = Array.from({ length: 12 }, operation);
    // There may be too few commands.
    await Promise.race([dead, Promise.all(asked)]);
    await at.die();
    const kind = round === 0 ? "lost" : (["kept", "lost", "older"] as const)[int(3)];
    counts[kind as "kept"]++;
    if (kind === "lost") at.forget();
    const hasBackup = existsSync(backup);
    if (kind === "older" && hasBackup) {
      at.forget();
      copyFileSync(backup, at.book);
    }
    const refused = await at.drive().then(
      () => undefined,
      (error: unknown) => error as WheelworkError,
    );
    // A backup is of an earlier time, if there is one.
    const isOther = kind === "lost" || (kind === "older" && hasBackup);
    expect([round, kind, refused?.code]).toEqual([round, kind, isOther ? "WW_STORE_UNAVAILABLE" : undefined]);
    if (isOther) await at.drive(true);
    if (isOther) counts.refused++;
    await at.comeLate();
    counts.answers += (await Promise.all(asked)).length;
    await at.comeLate();
    if (int(2) === 0) await at.bringBack();
    else if (at.away.size > 0) {
      // What was to be removed there is owed by a book that is lost now.
      await waitUntil(async () => (await engine.lanes()).total === 0, 60_000);
      await at.die();
      at.forget();
      await at.drive(true);
      await at.bringBack();
    }
    await waitUntil(async () => (await engine.lanes()).total === 0, 60_000);
    await waitUntil(() => at.unconfirmed === 0, 60_000);
    expect([round, kind, await at.differences()]).toEqual([round, kind, []]);
    if (int(3) === 0) {
      await at.die();
      copyFileSync(at.book, backup);
      await at.drive();
    }
  }
  if (isLong) process.stdout.write(`${JSON.stringify(counts)}\n`);
  expect(counts.answers).toBe(12 * rounds);
});
