import type { RunEvent } from "@wheelwork/core";
import { apply, Run } from "@wheelwork/core/kernel";
import { sound } from "@wheelwork/engine/stores";
import type { Fault } from "@wheelwork/testing";
import { ok, strictEqual } from "node:assert/strict";
import { expect, onTestFinished, test } from "vitest";
import { laneWorld, operation, type LaneOptions } from "./lane-hubs.ts";
import type { World } from "./world.ts";

/** A place in a lane is neither lost nor doubled, whatever becomes of a commit. */

/** Looks at all that was committed, batch by batch: what the lanes were after each. */
async function checkLanes(world: World, slots: number): Promise<void> {
  const runs = new Map<string, Run>();
  const queues: string[] = [];
  for await (const batch of world.store.inner.journal(0)) {
    for (const { key, events } of sound(batch).entries) {
      const [first] = events as [RunEvent];
      if (first.type === "started" || first.type === "accepted") {
        strictEqual(runs.get(key)?.status ?? "ended", "ended");
        runs.set(key, new Run(key));
      }
      for (const event of events) {
        const run = runs.get(key) as Run;
        if (event.type === "granted") {
          const { name, key: of, rank = Number.NaN } = run.lane ?? {};
          const others = [...runs.values()].filter(
            ({ lane, status }) => status === "pending" && lane?.name === name && lane?.key === of,
          );
          ok(others.every(({ lane }) => (lane?.rank ?? Infinity) >= rank));
        }
        apply(run, event);
      }
    }
    const lanes = new Map<string, { places: Set<string>; queued: number }>();
    for (const { key, lane, status } of runs.values()) {
      if (lane === undefined || status === "ended") continue;
      const id = `${lane.name} ${lane.key}`;
      const known = lanes.get(id) ?? { places: new Set<string>(), queued: 0 };
      lanes.set(id, known);
      if (status === "pending") known.queued++;
      else known.places.add(lane.shares ?? key);
    }
    for (const [id, { places, queued }] of lanes) {
      expect(places.size).toBeLessThanOrEqual(slots);
      if (queued > 0 && places.size < slots) queues.push(id);
    }
  }
  expect(queues).toEqual([]);
}

const kinds: readonly Fault[] = ["crash-before", "crash-after", "fail", "unseen"];
const modes: readonly LaneOptions[] = [{}, { slots: 2 }, { whenBusy: "latest" }, { whenBusy: "replace" }];
const cold = { checkpointEvents: 3, horizonMs: 1 };

for (const options of modes)
  for (const kind of kinds)
    for (const later of [false, true])
      test(`${JSON.stringify(options)}: ${kind} at any commit${later ? ", beside the loop" : ""}`, async () => {
        for (let at = 1, isReached = true; isReached; at++) {
          isReached = false;
          const { world } = await laneWorld([operation("op", options, 1e6)], {
            limits: cold,
            faults: {
              later,
              faultAt: (number) => {
                if (number !== at || world.crashes > 0) return undefined;
                isReached = true;
                return kind;
              },
            },
          });
          onTestFinished(() => world.close());
          const keys: { key: string; flow: string; id?: string }[] = [];
          for (let n = 0; n < 6; n++) keys.push({ key: `k${n}`, flow: n % 3 === 0 ? "b" : "a" });
          const send = async (one: (typeof keys)[number]): Promise<void> => {
            for (;;) {
              const sent = world.engine.submit("op", { flow: one.flow }, { key: one.key }).then(
                ({ id }) => void (one.id = id),
                () => undefined,
              );
              await world.clock.settle();
              if (world.store.crashed) await world.restart(0, { later });
              else await sent;
              if (one.id !== undefined) return;
              await world.clock.advance(50);
            }
          };
          for (const one of keys) {
            await send(one);
            await world.clock.advance(30);
            if (world.store.crashed) await world.restart(0, { later });
          }
          for (let waits = 0; waits < 40; waits++) {
            await world.clock.advance(100);
            if (world.store.crashed) await world.restart(0, { later });
          }
          for (const { id } of keys) {
            expect(await world.engine.request(id as string)).toMatchObject({ status: "ended" });
            expect(await world.engine.answer(id as string, { waitMs: 0 })).toBeDefined();
          }
          await checkLanes(world, options.slots ?? 1);
          world.close();
        }
      });
