import { expect, onTestFinished, test } from "vitest";
import { approved, outside, rounds, workersOf } from "./hubs.ts";
import { World } from "./world.ts";

/** Whoever lists or counts while requests come, move on and end, is told of the moment when it was asked. */

// Lists and counts take as many turns of the loop as they can; and a store that answers later is not pinned at all.
test.each([{ store: "sqlite", sliceMs: 0 }, { faults: { later: true } }] as const)(
  "no request is missing from a list, or doubled, because it moves on meanwhile: %o",
  async (variant) => {
    const world = new World({
      hubs: [approved, rounds],
      workers: workersOf(outside()),
      limits: { checkpointEvents: 40, checkpointRuns: 7, horizonMs: 10 },
      ...variant,
    });
    onTestFinished(() => world.close());
    await world.start();
    const sent: string[] = [];
    const submit = async (): Promise<void> => {
      const key = `k${sent.length}`;
      const steps = [[1, 2], [100], [60, 7], [7, 17, 27]][sent.length % 4] as number[];
      const submitted = world.engine.submit(rounds, { steps }, { key });
      await world.clock.advance(1);
      await submitted;
      sent.push(key);
    };
    for (let n = 0; n < 12; n++) await submit();
    for (let turn = 0; turn < 25; turn++) {
      const before = [...sent];
      const asked = Promise.all([
        world.engine.requests({ limit: 1000 }),
        world.engine.requests({ hub: "rounds", limit: 1000, order: "oldest" }),
        world.engine.count(),
        world.engine.facets({ labels: { kind: "steps" } }),
      ]);
      for (let n = 0; n < 3; n++) {
        await submit();
        await world.clock.advance(turn % 4);
      }
      await world.clock.advance(50);
      const [newest, oldest, count, facets] = await asked;
      for (const { items } of [newest, oldest]) {
        const ids = items.map(({ id }) => id);
        expect(new Set(ids).size).toBe(ids.length);
        expect(ids).toEqual(expect.arrayContaining(before));
      }
      if ("faults" in variant) continue;
      expect(count).toBe(before.length);
      expect(facets.count).toBe(before.length);
    }
  },
  60_000,
);
