import { createEngine, type Engine } from "@wheelwork/engine";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { Attacker, attacks, honestAnswer, honestAttempts, Witness } from "./attack.ts";
import { handled, handledAttempts, handledPlaces } from "./handled.ts";
import { hubs, places, target, unlikeStored, workersOf } from "./places.ts";

// Whatever the functions of a user give or throw, in whatever place: it is refused where it enters, or stops that run alone, once. Nobody
// else is harmed, what code sees is what the store gives back, and after a restart it is the same.

const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const isLong = Number(process.env["WHEELWORK_LONG"] ?? 0) > 0;

test.each([
  ["by chart", target, places, honestAttempts, 1],
  // Heavy values are the same in both.
  ["by handlers", handled, handledPlaces, handledAttempts, 0.99],
])(
  `what functions of a hub %s give and throw harms their own run alone, and stays so over a restart (seed ${seed})`,
  { timeout: isLong ? 1_200_000 : 120_000 },
  async (_kind, hub, at, attempts, share) => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-hostile-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const witness = new Witness();
    const open = async (): Promise<Engine> => {
      const engine = createEngine({
        hubs: [hub, ...hubs],
        workers: workersOf(witness.attempted),
        store: join(folder, "store.db"),
        durability: "normal",
        drainMs: 0,
        observe: witness.observe,
      });
      await engine.start();
      return engine;
    };
    let engine = await open();
    onTestFinished(() => engine.stop({ drainMs: 0 }));
    const all = attacks(isLong ? share : 0.25, seed, at);
    const attacker = new Attacker(all, hub);
    const honest = async (key: string): Promise<void> => {
      const id = await attacker.honest(engine, key);
      expect(await engine.answer(id, { waitMs: 60_000 })).toEqual(honestAnswer);
      // What it tells is done beside it, and may be done later.
      await expect.poll(() => witness.attemptsOf(id)).toBe(attempts);
    };
    await attacker.attack(engine);
    await honest("honest-1");
    const first = await attacker.settled(engine, isLong ? 600_000 : 60_000);
    await engine.stop({ drainMs: 0 });
    engine = await open();
    await honest("honest-2");
    expect(await attacker.settled(engine)).toEqual(first);
    expect(witness.harms).toEqual([]);
    expect(witness.parkedAgain()).toEqual([]);
    // Not all was refused at the edge.
    expect(witness.parked()).toBeGreaterThan(all.length / 20);
    expect(unlikeStored.splice(0)).toEqual([]);
  },
);
