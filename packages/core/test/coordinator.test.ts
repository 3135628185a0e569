import { Callback, Coordinator } from "@wheelwork/core/kernel";
import * as fc from "fast-check";
import { expect, test } from "vitest";

class Named extends Callback {
  readonly name: number;
  constructor(name: number) {
    super();
    this.name = name;
  }
}

const names = (callbacks: readonly Callback[]): number[] =>
  callbacks.map((callback) => (callback as Named).name);

test("thousands of callbacks in one millisecond come out once each, in their order, and not a millisecond early (I7)", () => {
  const coordinator = new Coordinator();
  const many = Array.from({ length: 20_000 }, (_, name) => new Named(name));
  for (const callback of many) coordinator.register(callback, 1_000_000_007);
  expect(coordinator.nextAt()).toBe(1_000_000_007);
  expect(coordinator.take(1_000_000_006)).toEqual([]);
  const first = coordinator.next(1_000_000_007);
  expect(first).toBe(many[0]);
  expect(names(coordinator.take(1_000_000_007))).toEqual(many.slice(1).map(({ name }) => name));
  expect(coordinator.size).toBe(0);
  expect(coordinator.nextAt()).toBeUndefined();
});

test("a cancelled or replaced callback never fires (I8)", () => {
  const coordinator = new Coordinator();
  const [a, b, c] = [new Named(1), new Named(2), new Named(3)];
  for (const callback of [a, b, c]) coordinator.register(callback, 10);
  coordinator.cancel(b);
  coordinator.cancel(b);
  coordinator.register(a, 20);
  coordinator.register(a, 20);
  expect(names(coordinator.take(15))).toEqual([3]);
  coordinator.register(a, 12);
  expect(coordinator.nextAt()).toBe(12);
  expect(names(coordinator.take(100))).toEqual([1]);
  expect(coordinator.take(100)).toEqual([]);
});

test("refuses a time that is not a whole number of milliseconds", () => {
  const coordinator = new Coordinator();
  for (const at of [1.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60]) {
    expect(() => coordinator.register(new Callback(), at)).toThrow(/WW_DEFECT/);
  }
  expect(coordinator.size).toBe(0);
});

test("cancelled callbacks in the far future leave nothing behind", () => {
  const coordinator = new Coordinator();
  const one = new Callback();
  const entries = (): number => coordinator.milliseconds;
  for (let at = 0; at < 300_000; at++) coordinator.register(one, 1_000_000 + ((at * 7919) % 300_007));
  expect(entries()).toBeLessThan(10_000);
  expect(names(coordinator.take(2_000_000))).toHaveLength(1);
  expect(coordinator.take(2_000_000)).toEqual([]);
});

/** The same index as a plain list: the model that the coordinator is compared with. */
class Model {
  entries: { at: number; order: number; name: number }[] = [];
  #order = 0;

  register(name: number, at: number): void {
    if (this.entries.some((entry) => entry.name === name && entry.at === at)) return;
    this.cancel(name);
    this.entries.push({ at, order: this.#order++, name });
  }

  cancel(name: number): void {
    this.entries = this.entries.filter((entry) => entry.name !== name);
  }

  take(now: number, limit: number): number[] {
    const due = this.entries
      .filter(({ at }) => at <= now)
      .toSorted((x, y) => x.at - y.at || x.order - y.order)
      .slice(0, limit);
    for (const { name } of due) this.cancel(name);
    return due.map(({ name }) => name);
  }
}

test("does what a plain list does, for random operations", () => {
  const callback = fc.nat(40);
  const time = fc.nat(30);
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant("register" as const), callback, time }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("cancel" as const), callback, time }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("take" as const), callback, time }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const callbacks = Array.from({ length: 41 }, (_, name) => new Named(name));
      const coordinator = new Coordinator();
      const model = new Model();
      for (const { do: action, callback: name, time: at } of steps) {
        const one = callbacks[name] as Named;
        if (action === "register") {
          coordinator.register(one, at);
          model.register(name, at);
        } else if (action === "cancel") {
          coordinator.cancel(one);
          model.cancel(name);
        }
        const most = action !== "take" ? 0 : name % 2 === 0 ? Number.POSITIVE_INFINITY : 1;
        const first = most === 1 ? coordinator.next(at) : undefined;
        const taken = most > 1 ? coordinator.take(at) : first === undefined ? [] : [first];
        expect(names(taken)).toEqual(model.take(at, most));
        expect(coordinator.size).toBe(model.entries.length);
        expect(coordinator.nextAt()).toBe(
          model.entries.length === 0 ? undefined : Math.min(...model.entries.map((entry) => entry.at)),
        );
      }
    }),
    { numRuns: 300, verbose: 1 },
  );
});
