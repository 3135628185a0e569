import type { Logger } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { EngineTime } from "../../src/shard/engine-time.ts";
import type { Feed } from "../../src/shard/feed.ts";
import { LogTracker } from "../../src/shard/log-progress.ts";
import { HandClock } from "./world.ts";

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/** A tracker over a log that ends at an offset, and gets more from elsewhere until `later` resolves. */
function opened(end: number, later?: Promise<number>) {
  const clock = new HandClock();
  const time = new EngineTime(clock);
  time.begin(0);
  const begun: (number | undefined)[] = [];
  const feed: Feed = {
    log: "inbox/1",
    begin: async (position) => {
      begun.push(position);
      return { from: position ?? 0, end, ...(later === undefined ? {} : { later }) };
    },
    end: () => {},
    publish: async () => {},
  };
  const loop = {
    working: false,
    woken: 0,
    readBack: async () => [],
    isWorking: () => loop.working,
    wake: () => void loop.woken++,
  };
  const tracker = new LogTracker(feed, clock, time, silent, loop);
  const begin = (position: number, log = "inbox/1", wake = () => {}) =>
    tracker.begin({ log, position, published: 0 }, () => false, wake);
  return { tracker, begin, begun, time, clock, loop };
}

test("the position is what is decided, and pinned records hold it back", async () => {
  const { tracker, begin } = opened(10);
  await begin(4);
  expect(tracker.next(7)).toEqual({ log: "inbox/1", position: 4, published: 7 });
  for (const offset of [4, 5, 6]) tracker.advance(offset);
  const unpin = tracker.pin(5);
  expect(tracker.next(7).position).toBe(5);
  unpin();
  expect(tracker.next(7).position).toBe(7);
});

test("whether there is something to commit is told by what was staged last", async () => {
  const { tracker, begin } = opened(10);
  await begin(4);
  expect(tracker.hasMoved(tracker.next(0))).toEqual({ position: false, published: false });
  tracker.advance(4);
  expect(tracker.hasMoved(tracker.next(3))).toEqual({ position: true, published: true });
  tracker.stage(tracker.next(3));
  expect(tracker.hasMoved(tracker.next(3))).toEqual({ position: false, published: false });
});

test("what is published is worth a batch of its own only when the shard is at rest", async () => {
  const { tracker, begin, clock, loop } = opened(10);
  await begin(4);
  const answer = { kind: "result", value: 1 } as const;
  for (const key of ["a", "b"]) tracker.outbox.send(3, [{ key, replyTo: "nb", id: key, answer }]);
  await expect.poll(() => tracker.outbox.size).toBe(0);
  expect(tracker.next(3).published).toBe(3);
  expect(tracker.isDue(tracker.next(3))).toBe(false);
  // One timer, however many answers there were. While the loop works, it is asked again later.
  const later = (): void => clock.timers.splice(0).forEach(({ task }) => task());
  expect(clock.timers).toHaveLength(1);
  loop.working = true;
  later();
  expect([loop.woken, clock.timers.length]).toEqual([0, 1]);
  loop.working = false;
  later();
  expect([loop.woken, clock.timers.length]).toEqual([1, 0]);
  expect(tracker.isDue(tracker.next(3))).toBe(true);
  tracker.stage(tracker.next(3));
  expect(tracker.isDue(tracker.next(4))).toBe(false);
});

test("callbacks wait until what was in the log at the claim is decided, but not for ever", async () => {
  const { tracker, begin, time } = opened(6);
  await begin(4);
  expect(tracker.catchesUp(time.now())).toBe(true);
  expect(tracker.catchesUp(tracker.catchesUpBefore)).toBe(false);
  tracker.advance(4);
  expect(tracker.catchesUp(time.now())).toBe(true);
  tracker.advance(5);
  expect(tracker.catchesUp(time.now())).toBe(false);
});

test("what is still on its way to the log is waited for, too", async () => {
  const later = Promise.withResolvers<number>();
  const { tracker, begin, time } = opened(4, later.promise);
  let woken = false;
  await begin(4, "inbox/1", () => (woken = true));
  expect(tracker.catchesUp(time.now())).toBe(true);
  later.resolve(5);
  await later.promise;
  expect(woken).toBe(true);
  expect(tracker.catchesUp(time.now())).toBe(true);
  tracker.advance(4);
  expect(tracker.catchesUp(time.now())).toBe(false);
});

test("a log that an operator lets begin anew is read from its beginning", async () => {
  const { begin, begun } = opened(10);
  await begin(4, "");
  expect(begun).toEqual([undefined]);
});
