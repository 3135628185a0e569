import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { WheelworkError, type Answer, type Engine } from "wheelwork";
import { Flows } from "../src/flows.ts";
import { ResourcePool, type Allocation, type ResourcePoolOptions } from "../src/resources.ts";

class Bench {
  readonly #folder = mkdtempSync(join(tmpdir(), "resources-"));
  readonly #options: ResourcePoolOptions;
  pool: ResourcePool;

  constructor(options: ResourcePoolOptions = {}) {
    this.#options = options;
    this.pool = this.#open();
    onTestFinished(() => {
      this.pool.close();
      rmSync(this.#folder, { recursive: true });
    });
  }

  allocate(request: string, key = `${request}/2`): ReturnType<ResourcePool["allocate"]> {
    return this.pool.allocate(key, { request, flowid: "f", path: ["sw-1"], rules: 3 });
  }

  async meterOf(request: string): Promise<number> {
    return ((await this.allocate(request)) as Allocation).meter;
  }

  reopen(): void {
    this.pool.close();
    this.pool = this.#open();
  }

  #open(): ResourcePool {
    return new ResourcePool(join(this.#folder, "resources.db"), this.#options);
  }
}

test("the same key gets the same resources, also after a restart; another request gets others", async () => {
  const bench = new Bench();
  const [first, again, other] = await Promise.all([
    bench.allocate("a"),
    bench.allocate("a"),
    bench.allocate("b"),
  ]);
  expect(first).toEqual({
    request: "a",
    flowid: "f",
    cookie: 1,
    meter: 1,
    path: ["sw-1"],
    rules: 3,
    up: false,
  });
  expect(again).toEqual(first);
  expect(other).toMatchObject({ cookie: 2, meter: 2 });
  bench.reopen();
  expect(await bench.allocate("a")).toEqual(first);
});

test("whoever was told that there is no meter gets none later: an attempt may still be under way", async () => {
  const bench = new Bench({ meters: 1 });
  await bench.allocate("a");
  expect(await bench.allocate("b")).toBe("exhausted");
  await bench.pool.release("a", "f");
  expect(await bench.allocate("b")).toBe("released");
  expect(await bench.allocate("c")).toMatchObject({ meter: 1 });
});

test("a meter that is released is given again, a cookie never", async () => {
  const bench = new Bench({ meters: 3 });
  for (const request of ["a", "b", "c"]) await bench.allocate(request);
  expect(await bench.allocate("d")).toBe("exhausted");
  expect(await bench.pool.release("b", "f")).toBe(true);
  expect(await bench.allocate("e")).toMatchObject({ meter: 2, cookie: 4 });
  expect(await bench.allocate("g")).toBe("exhausted");
  await bench.pool.release("c", "f");
  await bench.pool.release("a", "f");
  expect([await bench.meterOf("h"), await bench.meterOf("i")]).toEqual([1, 3]);
  expect(await bench.allocate("j")).toBe("exhausted");
});

test("a release can come twice, and an allocation that comes after it is refused", async () => {
  const bench = new Bench();
  await bench.allocate("a");
  expect([await bench.pool.release("a", "f"), await bench.pool.release("a", "f")]).toEqual([true, false]);
  expect(await bench.allocate("a")).toBe("released");
  expect(await bench.pool.release("late", "f")).toBe(false);
  bench.reopen();
  expect(await bench.allocate("late")).toBe("released");
});

test("whether a flow is up is what its request was answered", async () => {
  const bench = new Bench();
  const answers = new Map<string, Answer>();
  const known = new Set(["a", "b"]);
  let asked = 0;
  const engine = {
    answer: (id: string) => {
      asked++;
      if (known.has(id)) return Promise.resolve(answers.get(id));
      return Promise.reject(new WheelworkError("WW_NOT_FOUND", `there is no request ${id}`));
    },
  } as unknown as Engine;
  const flows = new Flows(engine, bench.pool);
  const stateOf = async () => (await flows.get("f"))?.state;

  expect(await stateOf()).toBeUndefined();
  await bench.allocate("a");
  expect(await stateOf()).toBe("IN_PROGRESS");
  answers.set("a", { kind: "error", code: "worker-error", message: "not released" });
  expect(await stateOf()).toBe("DOWN");
  await bench.allocate("b");
  expect(await flows.get("f")).toMatchObject({ state: "IN_PROGRESS", requestId: "b" });
  answers.set("b", { kind: "result", value: {} });
  await flows.catchUp();
  asked = 0;
  known.clear();
  // The engine has forgotten both: the one that was up is still known to be.
  expect(await flows.get("f")).toMatchObject({ state: "UP", requestId: "b" });
  await bench.pool.release("b", "f");
  expect(await flows.get("f")).toMatchObject({ state: "DOWN", requestId: "a" });
  await bench.pool.release("a", "f");
  expect(await stateOf()).toBe("DOWN");
  expect(asked).toBe(2);
});
