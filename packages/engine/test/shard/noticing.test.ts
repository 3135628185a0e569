import type { Store } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { noticing } from "../../src/shard/noticing.ts";

test("a store is asked all that somebody asks, and nothing else", () => {
  const asked = new Map<string | symbol, readonly unknown[]>();
  // What a store gives does not matter here, as long as it may be looked through.
  const recording = new Proxy(new MemoryStore(), {
    get:
      (_, name) =>
      (...given: readonly unknown[]) => {
        asked.set(name, given);
        return name === "dueRuns" ? { runs: [] } : [];
      },
  });
  const noticed = noticing(recording, () => {});
  const question = ["one", "two", "three"];
  const names = Object.keys(noticed) as (keyof Store)[];
  expect(names.length).toBeGreaterThan(15);
  for (const name of names) (noticed[name] as (...given: readonly unknown[]) => unknown)(...question);
  const takesNothing = new Set([
    "peek",
    "hotRuns",
    "laneRuns",
    "close",
    "pin",
    "probe",
    "check",
    "sizeBytes",
  ]);
  for (const name of names) expect(asked.get(name), name).toEqual(takesNothing.has(name) ? [] : question);
});
