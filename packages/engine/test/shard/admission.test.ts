import { expect, test } from "vitest";
import { Admission } from "../../src/shard/admission.ts";

/** Who is refused when the loop is late. */

/** How many of 100 requests are admitted while inputs wait so long. */
function admitted(admission: Admission, waitMs: number): number {
  let count = 0;
  for (let request = 0; request < 100; request++) if (admission.admits(waitMs)) count++;
  return count;
}

/** Lets the loop be late for a while, and returns the time. */
function late(admission: Admission, waitMs: number, from: number, forMs: number, commitMs = 0): number {
  let now = from;
  for (; now < from + forMs; now += 20) admission.look(waitMs, commitMs, now);
  return now;
}

test("nobody is refused while the loop is in time, or after a short stop", () => {
  const admission = new Admission(50);
  let now = late(admission, 49, 0, 5000);
  expect(admitted(admission, 49)).toBe(100);
  now = late(admission, 5000, now, 40);
  expect(admitted(admission, 5000)).toBe(100);
  late(admission, 10, now, 1000);
  expect(admitted(admission, 10)).toBe(100);
});

test("the longer the loop is late, the more are refused; once it is in time, nobody is", () => {
  const admission = new Admission(50);
  let now = late(admission, 75, 0, 500);
  const some = admitted(admission, 75);
  expect(some).toBeGreaterThan(0);
  expect(some).toBeLessThan(100);
  now = late(admission, 75, now, 1000);
  expect(admitted(admission, 75)).toBeLessThan(some);
  late(admission, 10, now, 10_000);
  expect(admitted(admission, 10)).toBe(100);
});

test("far beyond the bound all are refused, and an idle loop refuses nobody", () => {
  const admission = new Admission(50);
  late(admission, 400, 0, 500);
  expect(admitted(admission, 400)).toBe(0);
  expect(admitted(admission, 0)).toBe(100);
});

test("a store that takes long for each commit is no overload; one that commits nothing is", () => {
  const slow = new Admission(50);
  slow.committed(300);
  const now = late(slow, 800, 0, 5000);
  expect(admitted(slow, 800)).toBe(100);
  late(slow, 10_000, now, 5000, 10_000);
  expect(admitted(slow, 10_000)).toBe(0);
  // The first commit takes long: how long commits take is seen while it goes on.
  const first = new Admission(50);
  for (let at = 0; at < 400; at += 20) first.look(at, at, at);
  expect(admitted(first, 400)).toBe(100);
});

test.each([1.5, 3, 10])(
  "at %d times the capacity, nearly all that can be done is done, and in time",
  (load) => {
    const admission = new Admission(50);
    // A request is done every 10 ms, and an input waits a millisecond for each request that is being worked on.
    let waiting: number[] = [];
    let [done, credit, longest] = [0, 0, 0];
    for (let now = 1; now < 20_000; now++) {
      for (credit += load * 0.1; credit >= 1; credit--) {
        admission.look(waiting.length, 0, now);
        if (admission.admits(waiting.length)) waiting.push(now);
      }
      const [first, ...others] = waiting;
      if (first === undefined) continue;
      if (now % 10 === 0) {
        done++;
        longest = Math.max(longest, now - first);
        waiting = others;
      }
    }
    expect(done).toBeGreaterThan(0.95 * 1999);
    expect(longest).toBeLessThan(3000);
  },
);
