import { SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { silentLogger } from "../src/index.ts";
import { EngineTime } from "../src/shard/engine-time.ts";
import { LogTracker } from "../src/shard/log-progress.ts";

test("a position is before the first record that waits, in whatever order records are decided", async () => {
  const clock = new SimulatedClock();
  const time = new EngineTime(clock);
  time.begin(0);
  const feed = {
    log: "log",
    begin: async () => ({ from: 3, end: 7, later: undefined }),
    publish: async () => {},
    end: () => {},
  };
  const loop = { isWorking: () => false, readBack: async () => [], wake: () => {} };
  const tracker = new LogTracker(feed as never, clock, time, silentLogger, loop);
  await tracker.begin(
    { log: "log", position: 3, published: 0 },
    () => false,
    () => {},
  );
  const position = (): number => {
    expect(tracker.position).toBe(tracker.next(0).position);
    return tracker.next(0).position;
  };
  for (const offset of [3, 4, 6]) tracker.queued({ offset });
  tracker.queued({});
  expect(position()).toBe(3);
  // The first one waits behind a request of its key, and others overtake it.
  tracker.advance(4);
  expect(position()).toBe(3);
  tracker.advance(6);
  expect(position()).toBe(3);
  expect(tracker.catchesUp(time.now())).toBe(true);
  tracker.advance(3);
  expect(position()).toBe(7);
  expect(tracker.catchesUp(time.now())).toBe(false);
});
