import { PerformanceObserver, type PerformanceEntry } from "node:perf_hooks";
import { setImmediate } from "node:timers/promises";
import { TurnoverMap } from "../../src/shard/turnover-map.ts";

// A program of a test: it counts the full garbage collections that values bring which come and go, 200 at a time. They show
// how many of the values have outlived their place in the map. It runs in a process of its own, with small young generations.

const values = 100_000;
const atOnce = 200;
const garbage = 1000;
const major = 4;

async function fullCollections(map: Map<string, unknown> | TurnoverMap<unknown>): Promise<number> {
  let count = 0;
  const note = (entry: PerformanceEntry): void => {
    const { kind } = (entry as PerformanceEntry & { readonly detail: { readonly kind: number } }).detail;
    if (kind === major) count++;
  };
  const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));
  observer.observe({ entryTypes: ["gc"] });
  // The table of the map grows old.
  map.set("first", 0);
  for (let index = 0; index < garbage; index++) Array.from({ length: 1000 }, () => ({}));
  map.delete("first");
  for (let index = 0; index < values; index++) {
    map.set(
      `key ${index}`,
      Array.from({ length: 40 }, (_, at) => ({ index, at })),
    );
    map.delete(`key ${index - atOnce}`);
  }
  await setImmediate();
  observer.takeRecords().forEach(note);
  observer.disconnect();
  return count;
}

const map = process.argv[2] === "Map" ? new Map<string, unknown>() : new TurnoverMap<unknown>();
process.stdout.write(String(await fullCollections(map)));
