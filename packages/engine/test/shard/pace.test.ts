import { expect, test } from "vitest";
import { Pace } from "../../src/shard/pace.ts";

/** How many new requests are begun, and when. */

test("requests are begun on credit, which comes back with time while the loop has some, and with what is done", () => {
  const pace = new Pace();
  pace.turn(1000, false, { waitMs: 0, newMs: 0 });
  pace.decided(0, 0, pace.most);
  expect(pace.most).toBe(0);
  const { heldMs } = pace;
  expect(heldMs).toBeGreaterThan(0);
  pace.turn(1000 + heldMs, false, { waitMs: 0, newMs: 0 });
  expect(pace.most).toBeGreaterThan(0);
  pace.decided(0, 0, pace.most);
  pace.turn(2000, true, { waitMs: 0, newMs: 0 });
  expect(pace.most).toBe(0);
  pace.decided(1000, 0, 0);
  expect(pace.most).toBeGreaterThan(0);
});

/** How many requests a loop without a pause has begun in its last second. Each turn of 10 ms decides so many outcomes. */
function begun({ pace, waitMs, outcomes }: { pace: Pace; waitMs: number; outcomes: number }): number {
  let sum = 0;
  for (let turn = 0; turn < 1000; turn++) {
    pace.turn(10 * turn, true, { waitMs, newMs: 0 });
    const { most } = pace;
    if (turn >= 900) sum += most;
    pace.decided(outcomes, outcomes, most);
  }
  return sum;
}

test("a loop without a pause learns what a request costs, and begins as much as is done", () => {
  const steady = (outcomes: number, requests: number): Pace => {
    const pace = new Pace();
    for (let turn = 0; turn < 1000; turn++) {
      pace.turn(10 * turn, true, { waitMs: 0, newMs: 0 });
      pace.decided(outcomes, outcomes, requests);
    }
    return pace;
  };
  expect(steady(10, 1).requestMs).toBeCloseTo(11, 0);
  expect(steady(100, 10).requestMs).toBeCloseTo(1.1, 1);
  // There is a bound: outcomes of others are no sign of what a request costs.
  expect(steady(1000, 0).requestMs).toBeLessThan(15);
});

test("less is begun than is done where what is under way waits for long, and never nothing", () => {
  const [soon, late] = [0, 500].map((waitMs) => begun({ pace: new Pace(), waitMs, outcomes: 100 }));
  expect(late).toBeGreaterThan(0);
  expect(late).toBeLessThan(0.7 * (soon as number));
});

test("a loop that a slow store lets have few turns begins as much in each as it could do meanwhile", () => {
  const perSecond = (everyMs: number): number => {
    const pace = new Pace();
    let sum = 0;
    for (let now = 1000; now < 5000; now += everyMs) {
      pace.turn(now, false, { waitMs: 0, newMs: everyMs });
      const { most } = pace;
      sum += most;
      pace.decided(100 * most, 100 * most, most);
    }
    return sum / 4;
  };
  expect(perSecond(400)).toBeGreaterThan(0.5 * perSecond(20));
});

test("what was put back was not decided", () => {
  const [one, other] = [new Pace(), new Pace()];
  for (const pace of [one, other]) pace.turn(1000, false, { waitMs: 0, newMs: 0 });
  one.decided(100, 100, 10);
  other.decided(400, 400, 15);
  other.decided(-300, -300, -5);
  expect(other.requestMs).toBeCloseTo(one.requestMs, 1);
});

test("a disk that takes its time for each commit, however little it brings, keeps no requests waiting that a commit has room for", () => {
  /** How many requests end in each of the last three seconds, of 64 callers. Each brings two rounds of ten outcomes, and an outcome takes 0.01 ms. */
  const perSecond = (commitMs: number, paced: boolean): number => {
    const pace = new Pace();
    // What was measured while the machine had other things to do.
    for (let turn = 0; turn < 100; turn++) {
      pace.turn(100 * turn, true, { waitMs: 0, newMs: 50 });
      pace.decided(20, 20, 1);
    }
    let [now, waiting, first, second, ended] = [10_000, 64, 0, 0, 0];
    while (now < 15_000) {
      pace.turn(now, false, { waitMs: 0, newMs: 50 });
      const begun = paced ? Math.min(waiting, pace.most) : waiting;
      const outcomes = 10 * (first + second);
      pace.decided(outcomes, outcomes, begun);
      if (now >= 12_000) ended += second;
      [waiting, second, first] = [waiting - begun + second, first, begun];
      now += commitMs + 0.01 * (outcomes + begun);
      pace.stood(commitMs);
    }
    return ended / 3;
  };
  for (const commitMs of [0.2, 1, 10, 40])
    expect(perSecond(commitMs, true), `${commitMs} ms`).toBeGreaterThan(0.9 * perSecond(commitMs, false));
});
