import { WheelworkError } from "@wheelwork/core";
import { abandonWithin, textOf } from "@wheelwork/core/kernel";
import { createEngine, systemClock, type Engine } from "@wheelwork/engine";
import { clusterTopics, createClient, createNode } from "@wheelwork/engine/cluster";
import { MemoryBroker, MemoryLog, MemoryStore, seededRandom } from "@wheelwork/testing";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Witness } from "./attack.ts";
import { Caller, edgeHubs, edges, edgeSchedules } from "./edges.ts";
import { give, lightNames, names } from "./values.ts";

// Whatever callers of an engine give it, it is taken, or refused at once with an error of ours, and nobody else notices.

const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const isLong = Number(process.env["WHEELWORK_LONG"] ?? 0) > 0;

/** What a call came to. An error that is not ours, or that asks to be sent again, is a problem. */
async function outcomeOf(call: () => Promise<unknown>): Promise<string> {
  try {
    await call();
    return "taken";
  } catch (error) {
    if (!(error instanceof WheelworkError)) return `problem: ${textOf(error)}`;
    // The attack keeps the engine busy.
    if (error.code === "WW_OVERLOADED") return outcomeOf(call);
    if (error.retryable || error.code.startsWith("WW_STORE")) return `problem: ${error.code}`;
    return error.message.length < 50_000 ? error.code : `problem: ${error.message.length} characters`;
  }
}

/** Attacks an engine, and returns what went wrong. */
async function attack(engine: Engine, share: number): Promise<string[]> {
  const random = seededRandom(seed);
  const problems: string[] = [];
  const caller = new Caller(engine, "edge");
  await caller.begin();
  for (const [edge, call] of Object.entries(edges)) {
    for (const name of share === 1 ? names : lightNames) {
      const isDrawn = random() < share;
      // A long text is quick to try, and must be cut wherever an error repeats it.
      if (name.startsWith("throws ") || !(isDrawn || name === "300 kB")) continue;
      const outcome = await outcomeOf(async () => {
        const value = give(name);
        // Whose promises are rejected, is the caller's business.
        abandonWithin(value);
        return call(caller, value as never);
      });
      if (outcome.startsWith("problem")) problems.push(`${edge} ← ${name}: ${outcome}`);
    }
    if (!(await caller.isSound())) problems.push(`${edge}: the engine is harmed`);
  }
  return problems;
}

test(
  `what callers give an engine is taken or refused, and harms nobody (seed ${seed})`,
  { timeout: 1_200_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-edges-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const witness = new Witness();
    const open = async (): Promise<Engine> => {
      const engine = createEngine({
        hubs: edgeHubs,
        workers: [],
        schedules: edgeSchedules(),
        store: join(folder, "store.db"),
        durability: "normal",
        observe: witness.observe,
      });
      await engine.start();
      onTestFinished(() => engine.stop({ drainMs: 0 }));
      return engine;
    };
    const engine = await open();
    expect(await attack(engine, isLong ? 1 : 0.05)).toEqual([]);
    const [live] = (await engine.requests({ hub: "open", order: "oldest", limit: 1 })).items;
    const history = await engine.history(live?.id ?? "");
    await engine.stop({ drainMs: 0 });
    const again = await open();
    expect(await again.history(live?.id ?? "")).toEqual(history);
    expect(witness.harms).toEqual([]);
  },
);

test(
  `what callers give a client of a cluster is taken or refused, and harms no node (seed ${seed})`,
  { timeout: 1_200_000 },
  async () => {
    const shards = 2;
    const broker = new MemoryBroker({ clock: systemClock });
    for (const { name, partitions = shards } of clusterTopics({ shards }))
      broker.createTopic(name, partitions);
    const disks = Array.from({ length: shards }, () => new MemoryStore());
    const witness = new Witness();
    const common = {
      hubs: edgeHubs,
      shards,
      store: (shard: number) => (disks[shard] as MemoryStore).reopen(),
    };
    const node = createNode({
      ...common,
      workers: [],
      schedules: edgeSchedules(),
      log: new MemoryLog(broker, { clock: systemClock }),
      observe: witness.observe,
    });
    await node.start();
    onTestFinished(() => node.stop({ drainMs: 0 }));
    await expect
      .poll(() => node.shards.map(({ status }) => status), { timeout: 20_000 })
      .toEqual(["running", "running"]);
    const client = createClient({ ...common, log: new MemoryLog(broker, { clock: systemClock }) });
    await client.start();
    onTestFinished(() => client.stop());
    expect(await attack(client, isLong ? 1 : 0.01)).toEqual([]);
    expect(witness.harms).toEqual([]);
    expect(witness.claims).toBe(shards);
  },
);
