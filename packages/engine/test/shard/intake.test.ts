import { expect, test } from "vitest";
import { Intake } from "../../src/shard/intake.ts";
import type { InputItem, Item } from "../../src/shard/items.ts";
import { requestOf } from "./world.ts";

function filled(...sizes: number[]): Intake {
  const intake = new Intake(100);
  for (const [index, size] of sizes.entries())
    intake.push(requestOf(`k${index}`, "h", { doc: "x".repeat(size) }));
  return intake;
}

test("a batch takes as many items as it may, in their order", () => {
  const intake = filled(1, 1, 1);
  expect(intake.take(2).map((item) => ("key" in item ? item.key : ""))).toEqual(["k0", "k1"]);
  expect([intake.length, intake.requests]).toEqual([1, 3]);
});

test("a batch takes what it can carry, and one item at least", () => {
  const intake = filled(600, 600, 600, 5000, 1);
  const counts: number[] = [];
  while (intake.length > 0) counts.push(intake.take(100, 1500).length);
  expect(counts).toEqual([2, 1, 1, 1]);
});

test("a failed batch halves the next ones, and each that is committed doubles them again", () => {
  const intake = new Intake(64);
  intake.shrink(10);
  expect(intake.batchInputs).toBe(5);
  for (let batch = 0; batch < 5; batch++) intake.grow();
  expect(intake.batchInputs).toBe(64);
});

test("says how long the first item has waited", () => {
  const intake = new Intake(100);
  const push = (at: number): void => {
    intake.mark(at);
    intake.push(requestOf(`k${at}`, "h", {}));
  };
  expect(intake.waitMs(1000)).toBe(0);
  push(1000);
  push(1003);
  push(1100);
  expect(intake.waitMs(1150)).toBe(150);
  intake.take(1);
  // Times that are close to each other count as one.
  expect(intake.waitMs(1150)).toBe(150);
  intake.take(1);
  expect(intake.waitMs(1150)).toBe(50);
  intake.take(1);
  expect(intake.waitMs(1150)).toBe(0);
  push(2000);
  expect(intake.waitMs(2010)).toBe(10);
});

test("counts what the requests weigh that wait, and forgets what is decided", () => {
  const intake = filled(1000, 2000);
  expect(intake.requestBytes).toBeGreaterThan(3000);
  for (const item of intake.take(1)) intake.requestDone(item);
  expect(intake.requestBytes).toBeGreaterThan(2000);
  expect(intake.requestBytes).toBeLessThan(3000);
  intake.drain();
  expect(intake.requestBytes).toBe(0);
});

test("what waits for large values, or for what is excused, is not late", () => {
  const intake = new Intake(100);
  let at = 1000;
  const push = (size: number): void => {
    intake.mark(at);
    intake.push(requestOf("k", "h", { doc: "x".repeat(size) }));
  };
  push(1_000_000);
  push(1_000_000);
  push(10);
  at += 5000;
  expect(intake.waitMs(at)).toBe(5000);
  intake.excuse(5000);
  expect(intake.turn(at)).toBe(0);
  for (let turn = 0; turn < 2; turn++) {
    intake.take(100, 1_000_000);
    at += 2000;
    expect(intake.waitMs(at)).toBe(0);
    expect(intake.turn(at)).toBe(0);
  }
  // What waits for small ones is.
  push(10);
  intake.take(1, 1_000_000);
  at += 300;
  expect(intake.turn(at)).toBe(300);
});

test("what was taken and put back is the first, and counts again", () => {
  const intake = filled(1000, 2000, 3000);
  const taken = intake.take(2);
  for (const item of taken) intake.requestDone(item);
  intake.putBack(taken.slice(1));
  expect([intake.length, intake.requests]).toEqual([2, 2]);
  expect(intake.requestBytes).toBeGreaterThan(5000);
  expect(intake.take(5).map((item) => ("key" in item ? item.key : ""))).toEqual(["k1", "k2"]);
});

const keysOf = (items: readonly Item[]): string[] => items.map((item) => ("key" in item ? item.key : ""));

const outcome = (key: string): InputItem => ({
  kind: "input",
  key,
  input: { kind: "outcome", call: 0, attempt: 1, epoch: 1, outcome: { kind: "ok", output: null } },
});

test("what is under way does not wait for new requests, nor these for it", () => {
  const intake = new Intake(100);
  intake.push(outcome("a"));
  intake.push({ ...requestOf("owed", "h", {}), isOwed: true });
  for (let number = 0; number < 3; number++) intake.push(requestOf(`new${number}`, "h", {}));
  expect([intake.underWay.length, intake.length]).toEqual([2, 5]);
  expect(keysOf(intake.take(4))).toEqual(["new0", "new1", "new2", "a"]);
  expect(keysOf(intake.take(4))).toEqual(["owed"]);
});

const cancel = (key: string): InputItem => ({ kind: "input", key, input: { kind: "cancel", id: "c" } });

test("what says how an attempt has ended waits behind no request that is sent again", () => {
  const intake = new Intake(100);
  const outcome: InputItem = {
    kind: "input",
    key: "k",
    input: { kind: "outcome", call: 0, attempt: 1, epoch: 1, outcome: { kind: "ok", output: {} } },
  };
  const progress: InputItem = {
    kind: "input",
    key: "k",
    input: { kind: "progress", call: 0, attempt: 1, epoch: 1, value: 1 },
  };
  const reply: Item = {
    kind: "relayReply",
    key: "k",
    spoke: "s",
    correlation: "c",
    outcome: { kind: "timeout" },
  };
  intake.push(requestOf("k", "h", {}));
  for (const item of [outcome, progress, reply]) intake.push(item);
  // Callbacks wait for what is under way, and for nothing else.
  expect(intake.underWay.length).toBe(3);
  expect(intake.take(1)).toHaveLength(1);
  intake.putBack([outcome]);
  expect(intake.underWay.length).toBe(4);
});

test("commands for the key of a new request wait behind it, until that is decided", () => {
  const intake = new Intake(100);
  intake.push(cancel("k"));
  const request = requestOf("k", "h", {});
  intake.push(request);
  intake.push(cancel("k"));
  intake.push(outcome("other"));
  expect(intake.underWay.length).toBe(2);
  const taken = intake.take(2);
  expect(taken.map(({ kind }) => kind)).toEqual(["request", "input"]);
  // What comes while the store is asked follows, too, and all is put back in its order.
  intake.push(cancel("k"));
  for (const item of taken) intake.requestDone(item);
  intake.putBack(taken);
  expect(intake.take(3).map(({ kind }) => kind)).toEqual(["request", "input", "input"]);
  intake.requestDone(request);
  intake.push(cancel("k"));
  expect(intake.underWay.length).toBe(3);
});

test("a loop that has more under way than it can do begins as much as it does", () => {
  const intake = new Intake(5000);
  let [now, begun, decided] = [10_000, 0, 0];
  for (let turn = 0; turn < 1000; turn++) {
    intake.turn((now += 10));
    while (intake.underWay.length < 500) intake.push(outcome("busy"));
    while (intake.length < 600) intake.push(requestOf(`new${turn}`, "h", {}));
    const taken = intake.take(200);
    for (const item of taken) intake.requestDone(item);
    intake.compact();
    const requests = taken.filter(({ kind }) => kind === "request").length;
    if (turn > 500) begun += requests;
    if (turn > 500) decided += taken.length - requests;
  }
  // Each brings about a hundred, as far as anybody knows; what waits for long leaves half of that.
  expect(begun).toBeGreaterThan(0);
  expect(begun).toBeLessThan(decided);
});

test("requests that have waited are begun at a pace, unless nobody waits", () => {
  const begun = (waitedMs: number): number => {
    const intake = new Intake(5000);
    intake.turn(10_000);
    for (let number = 0; number < 1000; number++) intake.push(requestOf(`k${number}`, "h", {}));
    intake.turn(10_000 + waitedMs);
    const { length } = intake.take(5000);
    expect(intake.heldMs > 0).toBe(length < 1000);
    return length;
  };
  expect(begun(0)).toBe(1000);
  expect(begun(50)).toBeLessThan(100);
  expect(begun(50)).toBeGreaterThan(10);
});
