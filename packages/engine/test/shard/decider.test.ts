import { apply, snapshot, type Run } from "@wheelwork/core/kernel";
import type { Found } from "@wheelwork/engine";
import { describe, expect, test } from "vitest";
import type { Batch } from "../../src/shard/batch.ts";
import type { InputItem, Item } from "../../src/shard/items.ts";
import { parent, rounds } from "../hubs.ts";
import { DecidingWorld, requestOf } from "./world.ts";

// The deciding part is driven without an engine, a store or a promise: inputs and the time go in, a batch comes out.

const attemptsOf = ({ effects }: Batch): string[] =>
  effects.attempts.map(({ call, attempt }) => `${call.run.key}/${call.number} ${call.callee} #${attempt}`);

const journalOf = ({ commit }: Batch): string[] =>
  (commit?.journal ?? []).flatMap(({ key, events }) => events.map(({ type }) => `${key} ${type}`));

/** What came of an attempt of a run in its present state. */
function outcomeOf(
  world: DecidingWorld,
  key: string,
  call: number,
  outcome: object,
  epoch?: number,
): InputItem {
  const run = world.residency.get(key)?.run;
  const input = { kind: "outcome", call, attempt: 1, epoch: epoch ?? run?.epoch ?? 0, outcome };
  return { kind: "input", key, input: input as InputItem["input"] };
}

/** Another owner reads back what the runs of a world have done. */
function readBack(world: DecidingWorld, again: DecidingWorld): DecidingWorld {
  for (const { run, history } of world.residency.values()) {
    const live = again.residency.begin(run.key);
    for (const event of history) apply(live.run, event);
  }
  for (const live of again.residency.values()) again.decider.resume(live);
  return again;
}

const ok = (n: number) => ({ kind: "ok", output: { n } });

describe("the decider", () => {
  test("turns a request into a commit, and what follows from it into data", () => {
    const world = new DecidingWorld([rounds]);
    const item = requestOf("r", "rounds", { steps: [1, 2, 3, 4] });
    const batch = world.decide([item]);
    expect(attemptsOf(batch)).toEqual(["r/0 step #1", "r/1 step #1", "r/2 step #1"]);
    expect(batch.effects.accepted).toEqual([{ item, known: false }]);
    expect(batch.commit).toBeUndefined();
    const commit = world.decider.seal(batch, 0);
    expect(commit).toMatchObject({ epoch: 1, seq: 1, now: 1000, answers: [] });
    expect(journalOf(batch)).toEqual(["r started", "r entered", "r entered"]);
  });

  test("a batch whose time is up leaves the other items to the next one, in their order", () => {
    const world = new DecidingWorld([rounds]);
    world.isTimeUp = () => true;
    const items = Array.from({ length: 40 }, (_, n) => requestOf(`r${n}`, "rounds", { steps: [n] }));
    const counts: number[] = [];
    for (let left: readonly Item[] = items; left.length > 0; left = world.left) {
      world.left = [];
      const batch = world.decide(left);
      expect(batch.items).toEqual(left.slice(0, batch.items.length));
      expect(batch.effects.accepted).toHaveLength(batch.items.length);
      counts.push(batch.items.length);
      world.commit(batch);
    }
    expect(counts).toEqual(Array.from({ length: 40 }, () => 1));
    expect(Array.from({ length: 40 }, (_, n) => world.residency.get(`r${n}`)?.run.status)).not.toContain(
      undefined,
    );
  });

  test("a batch that changes nothing commits nothing", () => {
    const world = new DecidingWorld([rounds]);
    const batch = world.decide([outcomeOf(world, "nobody", 0, ok(1))]);
    expect(world.decider.seal(batch, 0)).toBeUndefined();
    expect(batch.effects.observed).toEqual([{ name: "ignored", key: "nobody", reason: "ended" }]);
    expect(world.decider.seq).toBe(0);
  });

  test("a late response is dropped here: of an epoch that is over, it changes nothing", () => {
    const world = new DecidingWorld([rounds]);
    world.commit(world.decide([requestOf("r", "rounds", { steps: [1] })]));
    const batch = world.decide([outcomeOf(world, "r", 0, ok(1), 1)]);
    expect(world.decider.seal(batch, 1)).toBeUndefined();
    expect(batch.effects.observed).toEqual([{ name: "ignored", key: "r", reason: "stale" }]);
  });

  test("one key is one run: the same body is known, another body is refused", () => {
    const world = new DecidingWorld([rounds]);
    const [first, same, other] = [[1], [1], [2]].map((steps) => requestOf("r", "rounds", { steps }));
    const batch = world.decide([first, same, other] as never);
    expect(batch.effects.accepted).toEqual([
      { item: first, known: false },
      { item: same, known: true },
    ]);
    expect(batch.effects.refused).toMatchObject([{ item: other, error: { code: "WW_KEY_REUSED" } }]);
    expect(batch.touched).toHaveLength(1);
  });

  test("a call that settles is closed, and its place in the round goes to the next", () => {
    const world = new DecidingWorld([rounds]);
    world.commit(world.decide([requestOf("r", "rounds", { steps: [1, 2, 3, 4] })]));
    const batch = world.decide([outcomeOf(world, "r", 0, ok(1))]);
    expect(batch.effects.closed.map(({ number }) => number)).toEqual([0]);
    expect(attemptsOf(batch)).toEqual(["r/3 step #1"]);
  });

  test("what was queued goes before the callbacks that are due", () => {
    const world = new DecidingWorld([rounds]);
    world.commit(world.decide([requestOf("r", "rounds", { steps: [1] })]));
    world.clock.nowMs += 100;
    const batch = world.decide([outcomeOf(world, "r", 0, ok(1))]);
    world.decider.seal(batch, 1);
    expect(journalOf(batch)[0]).toBe("r settled");
    expect(journalOf(batch)).not.toContain("r failed");
  });

  test("a call that is late is decided when its callback is due, and tried again after the pause", () => {
    const world = new DecidingWorld([rounds]);
    world.commit(world.decide([requestOf("r", "rounds", { steps: [1] })]));
    world.clock.nowMs += 100;
    const late = world.decide([]);
    world.commit(late);
    expect(journalOf(late)).toEqual(["r failed"]);
    expect(attemptsOf(late)).toEqual([]);
    world.clock.nowMs += 20;
    const again = world.decide([]);
    expect(attemptsOf(again)).toEqual(["r/0 step #2"]);
  });

  test("hubs that call hubs: a child begins, and its answer is the outcome of its caller's call", () => {
    const world = new DecidingWorld([parent, rounds]);
    const begun = world.decide([requestOf("p", "parent", { children: [[], []] })]);
    world.decider.seal(begun, 0);
    // Children without steps end at once, so that all of it is one batch.
    const journal = journalOf(begun);
    expect(journal).toContain("p/0 started");
    expect(journal).toContain("p/1 started");
    expect(journal.filter((line) => line === "p settled")).toHaveLength(2);
    expect(begun.effects.answered.map(({ run }) => run.key)).toContain("p");
    expect(begun.commit?.answers.map(({ key }) => key)).toContain("p");
  });

  test("a batch carries over what is too much for it, and requests take turns", () => {
    const world = new DecidingWorld([parent, rounds]);
    world.maxCarried = 2;
    const children = (count: number) => ({ children: Array.from({ length: count }, () => [1]) });
    const first = world.decide([requestOf("many", "parent", children(5))]);
    world.commit(first);
    expect(journalOf(first).filter((line) => line.endsWith("started"))).toEqual([
      "many started",
      "many/0 started",
      "many/1 started",
    ]);
    expect(world.decider.carried).toBe(3);
    const second = world.decide([requestOf("few", "parent", children(1))]);
    world.commit(second);
    expect(journalOf(second).filter((line) => line.endsWith("started"))).toEqual([
      "few started",
      "many/2 started",
      "few/0 started",
    ]);
    const rest = world.decide([]);
    expect([rest.inputs, rest.carried, world.decider.carried]).toEqual([0, 2, 0]);
  });

  test("what is carried over follows from the runs that are read back", () => {
    const world = new DecidingWorld([parent, rounds]);
    world.maxCarried = 1;
    world.commit(world.decide([requestOf("p", "parent", { children: [[1], [2], [3]] })]));
    const again = readBack(world, new DecidingWorld([parent, rounds]));
    expect(again.decider.carried).toBe(2);
    const batch = again.decide([]);
    again.decider.seal(batch, 0);
    expect(journalOf(batch).filter((line) => line.endsWith("started"))).toEqual([
      "p/1 started",
      "p/2 started",
    ]);
  });

  test("a long round that is read back opens its next calls, also if none of them is open", () => {
    const world = new DecidingWorld([rounds], 2);
    world.maxCarried = 0;
    world.commit(world.decide([requestOf("r", "rounds", { steps: [1, 2, 3, 4] })]));
    world.commit(world.decide([outcomeOf(world, "r", 0, ok(1)), outcomeOf(world, "r", 1, ok(2))]));
    const again = readBack(world, new DecidingWorld([rounds], 2));
    expect(again.residency.get("r")?.run.calls.size).toBe(0);
    const batch = again.decide([]);
    expect(attemptsOf(batch)).toEqual(["r/2 step #1", "r/3 step #1"]);
    again.decider.seal(batch, 0);
    expect(journalOf(batch)).toEqual(["r opened"]);
    expect(again.decider.carried).toBe(0);
  });

  test("several decisions make one batch, decided on top of what is not committed", () => {
    const world = new DecidingWorld([rounds]);
    const first = world.decide([requestOf("r", "rounds", { steps: [1, 2] })]);
    world.decider.seal(first, 0);
    // The first batch is on its way to the store; the next one goes on from it.
    const second = world.decide([outcomeOf(world, "r", 0, ok(1))]);
    world.decide([outcomeOf(world, "r", 1, ok(2))], second);
    expect(world.decider.seal(second, 0)).toMatchObject({ seq: 2 });
    expect(second.inputs).toBe(2);
    expect(journalOf(second).slice(0, 2)).toEqual(["r settled", "r settled"]);
    world.residency.committed(first);
    expect(world.residency.get("r")?.stagedFrom).toBeGreaterThan(0);
  });

  test("an exception parks that run alone, and is told only with the batch", () => {
    const world = new DecidingWorld([rounds]);
    const bad = requestOf("bad", "rounds", { steps: null });
    const good = requestOf("good", "rounds", { steps: [1] });
    const batch = world.decide([bad, good]);
    expect(batch.effects.parked).toMatchObject([{ key: "bad", hub: "rounds" }]);
    expect(attemptsOf(batch)).toEqual(["good/0 step #1"]);
    expect(world.residency.get("bad")?.run.status).toBe("incident");
  });

  test("a command does not bring a run back that has ended, whose row was read before a checkpoint has deleted it", () => {
    const world = new DecidingWorld([rounds]);
    world.decide([requestOf("r", "rounds", { steps: [1] })]);
    const run = world.residency.get("r")?.run as Run;
    const { hub, version, createdAt } = run;
    const row = { key: "r", hub, version, createdAt, status: "running", snapshot: snapshot(run) };
    const ended = { key: "r", hub, createdAt, endedAt: createdAt + 1, hash: "", answer: { kind: "result" } };
    const late: Item = {
      kind: "input",
      key: "r",
      input: { kind: "cancel", id: "c" },
      done: { resolve: () => {}, reject: () => {} },
    };
    for (const [answer, isThere] of [
      [ended, false],
      [undefined, true],
    ] as const) {
      const later = new DecidingWorld([rounds]);
      const batch = later.decide(
        [late],
        undefined,
        new Map([["r", { run: row, answer } as unknown as Found]]),
      );
      expect(later.residency.get("r") !== undefined).toBe(isThere);
      expect(batch.effects.commanded.map(({ ignored }) => ignored)).toEqual([isThere ? undefined : "ended"]);
    }
  });

  test("equal inputs at equal times give equal batches (I2)", () => {
    const play = () => {
      const world = new DecidingWorld([parent, rounds]);
      const batches = [
        world.decide([requestOf("p", "parent", { children: [[1, 2], [3]] })]),
        world.decide([outcomeOf(world, "p/0", 0, ok(1)), outcomeOf(world, "p/1", 0, ok(3))]),
      ];
      for (const batch of batches) world.decider.seal(batch, 0);
      return JSON.stringify(batches.map(({ commit }) => commit));
    };
    expect(play()).toBe(play());
  });
});
