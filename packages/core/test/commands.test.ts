import { answered, end, hub, stay } from "@wheelwork/core";
import { apply, decide, restore, Run, snapshot, start, type Env, type Input } from "@wheelwork/core/kernel";
import { describe, expect, test } from "vitest";
import { z } from "zod";

/** Which commands a run knows, so that each counts once: for as long as they may come again, and a run takes signals for ever. */

const entity = hub(
  "entity",
  {
    request: z.object({}),
    reply: z.object({}),
    deadlineMs: 1000,
    cancel: "Close",
    signals: { add: z.object({ n: z.number() }), fail: z.object({ n: z.number() }) },
    chart: { Opening: { Opened: "Open" }, Open: { Added: stay, Close: "Closed" }, Closed: end },
    data: () => ({ sum: 0 }),
  },
  {
    Opening: (s) => s.answer(() => ({}), { next: "Opened" }),
    Open: (s) =>
      s.wait({
        idle: true,
        on: {
          add: ({ sum }, { n }) => s.raise("Added", { sum: sum + n }),
          fail: ({ sum }, { n }) => {
            if (failing) throw new Error("as planned");
            return s.raise("Added", { sum: sum + n });
          },
        },
      }),
    Closed: answered,
  },
);
let failing = false;

/** An entity whose engine keeps ids for 100 ms, and those of posts for 200 ms. */
class Entity {
  now = 0;
  run = new Run("r");

  constructor() {
    this.#take(start(entity.definition, this.run, { request: {}, hash: "h" }, this.#env()));
  }

  signal(id: string, n = 1, post?: { from: string; number: number }, signal = "add"): string | undefined {
    const input = { kind: "signal", id, signal, payload: { n }, hash: `${signal} ${n}` } as const;
    return this.input(post === undefined ? input : { ...input, post });
  }

  post(from: string, number: number, n = 1, signal = "add"): string | undefined {
    return this.signal(`${from}/t${number}`, n, { from, number }, signal);
  }

  input(input: Input): string | undefined {
    const { events, ignored, redeliver = [] } = decide(entity.definition, this.run, input, this.#env());
    this.#take(events);
    for (const again of redeliver) this.input(again);
    return ignored;
  }

  /** As the next process finds it. */
  restart(): void {
    this.run = restore("r", JSON.parse(JSON.stringify(snapshot(this.run))) as never);
  }

  get sum(): number {
    return (this.run.data as { readonly sum: number }).sum;
  }

  #env(): Env {
    return {
      now: this.now,
      random: 0,
      memory: { commandsSince: this.now - 100, postsSince: this.now - 200 },
    };
  }

  #take(events: readonly Parameters<typeof apply>[1][]): void {
    for (const event of events) apply(this.run, event);
  }
}

describe("ids of commands", () => {
  test("are known for as long as answers are kept, over restarts, and forgotten then", () => {
    const run = new Entity();
    run.signal("a");
    run.now = 50;
    run.signal("b");
    run.now = 100;
    run.restart();
    expect(run.signal("a")).toBe("duplicate");
    expect(run.signal("a", 2)).toBe("reused");
    run.now = 101;
    run.signal("c");
    expect([...(run.run.received.named ?? new Map()).keys()]).toEqual(["signal b", "signal c"]);
    expect(run.signal("a")).toBeUndefined();
    expect(run.signal("b")).toBe("duplicate");
    expect(run.sum).toBe(4);
  });

  test("are known for long enough, and never too many, whatever a run takes in its life", () => {
    const run = new Entity();
    for (let n = 0; n < 100_000; n++) run.signal(`${n}`);
    expect(run.signal("one more")).toBe("spent");
    expect(run.signal("5")).toBe("duplicate");
    run.now = 101;
    // From now on each signal makes room for some.
    for (let n = 0; n < 3000; n++) {
      run.now++;
      expect(run.signal(`later ${n}`)).toBeUndefined();
    }
    expect(run.run.received.named?.size).toBeLessThan(200);
    expect(run.sum).toBe(103_000);
  });

  test("of an earlier version have come when the run was stored last, at the latest", () => {
    const run = new Entity();
    run.now = 30;
    run.signal("a");
    run.run = restore("r", { ...snapshot(run.run), named: { "signal a": "add 1" } });
    run.now = 130;
    run.signal("b");
    expect(run.signal("a")).toBe("duplicate");
    run.now = 131;
    run.signal("c");
    expect(run.signal("a")).toBeUndefined();
  });
});

describe("posts", () => {
  test("of one sender cost one id, however many they are", () => {
    const run = new Entity();
    for (let n = 0; n < 20_000; n++) expect(run.post("sender", n)).toBeUndefined();
    expect(run.run.received.named?.size).toBe(1);
    run.restart();
    expect(run.post("sender", 19_999)).toBe("duplicate");
    expect(run.sum).toBe(20_000);
    // It may come once more from an inbox; nobody waits for it any more.
    expect(run.post("sender", 7)).toBe("reused");
    // Its sender has lost what it had committed.
    expect(run.post("sender", 19_999, 5)).toBe("reused");
    expect(run.sum).toBe(20_000);
    run.now = 201;
    run.post("another", 3);
    expect([...(run.run.received.named ?? new Map()).keys()]).toEqual(["post another"]);
  });

  test("that are kept with an incident count once it goes on, whatever came meanwhile", () => {
    const run = new Entity();
    failing = true;
    run.post("sender", 1, 10, "fail");
    failing = false;
    expect(run.run.status).toBe("incident");
    expect(run.post("sender", 2, 100)).toBeUndefined();
    expect(run.post("sender", 1, 10, "fail")).not.toBeUndefined();
    run.restart();
    run.input({ kind: "retry", id: "retry" });
    expect(run.sum).toBe(110);
    expect(run.post("sender", 2, 100)).toBe("duplicate");
    expect(run.post("sender", 3, 1000)).toBeUndefined();
    expect(run.sum).toBe(1110);
  });

  test("of an earlier version, which came under an id alone, are no others", () => {
    const run = new Entity();
    run.signal("sender/t1");
    expect(run.post("sender", 1)).toBe("duplicate");
    expect(run.post("sender", 2)).toBeUndefined();
  });
});
