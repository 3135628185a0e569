import { pause, retrying, type RetryPolicy } from "@wheelwork/engine/parts";
import { SimulatedClock } from "@wheelwork/testing";
import { expect, test } from "vitest";

const policy: RetryPolicy = { minMs: 100, maxMs: 1000 };

/** A task that fails so often, and notes when it was tried. */
function failing(times: number) {
  const clock = new SimulatedClock();
  const tries: number[] = [];
  const task = async (): Promise<void> => {
    tries.push(clock.monotonicMs());
    if (tries.length <= times) throw new Error(`failure ${tries.length}`);
  };
  return { clock, tries, task };
}

test("a task that succeeds is run once, at once, and leaves no timer behind", async () => {
  const { clock, tries, task } = failing(0);
  const done = retrying(clock, policy, task);
  expect(tries).toEqual([0]);
  expect(await done).toBe(true);
  expect(clock.armed).toBe(0);
});

test("the pause doubles with each failure, up to the maximum", async () => {
  const { clock, tries, task } = failing(6);
  const done = retrying(clock, policy, task);
  await clock.runUntil(done);
  expect(await done).toBe(true);
  expect(tries).toEqual([0, 100, 300, 700, 1500, 2500, 3500]);
  expect(clock.armed).toBe(0);
});

test("each call begins with the shortest pause again", async () => {
  const { clock, tries, task } = failing(3);
  await clock.runUntil(retrying(clock, policy, task));
  const began = clock.monotonicMs();
  tries.length = 0;
  await clock.runUntil(retrying(clock, policy, task));
  expect(tries.slice(0, 3)).toEqual([began, began + 100, began + 300]);
});

test("each failure is told with its number, so that the first can be logged alone", async () => {
  const { clock, task } = failing(3);
  const failures: unknown[] = [];
  const onFailure = (error: unknown, count: number): void => void failures.push([String(error), count]);
  await clock.runUntil(retrying(clock, policy, task, { onFailure }));
  expect(failures).toEqual([
    ["Error: failure 1", 1],
    ["Error: failure 2", 2],
    ["Error: failure 3", 3],
  ]);
});

test("a task that throws before it gives a promise is tried again, too", async () => {
  const { clock } = failing(0);
  let tries = 0;
  const done = retrying(clock, policy, () => {
    if (++tries === 1) throw new Error("at once");
    return Promise.resolve();
  });
  await clock.runUntil(done);
  expect([await done, tries]).toEqual([true, 2]);
});

test("a stop ends the pause at once, without a timer or a listener left behind", async () => {
  const { clock, tries, task } = failing(Number.POSITIVE_INFINITY);
  const stop = new AbortController();
  const done = retrying(clock, policy, task, { signal: stop.signal });
  await clock.advance(150);
  expect(clock.armed).toBe(1);
  stop.abort();
  expect(clock.armed).toBe(0);
  expect(await done).toBe(false);
  await clock.advance(10_000);
  expect(tries).toEqual([0, 100]);
});

test("a stop while the task runs: its success counts, and of its failure nobody is told", async () => {
  const { clock } = failing(0);
  for (const fails of [false, true]) {
    const [stop, end] = [new AbortController(), Promise.withResolvers<void>()];
    const failures: unknown[] = [];
    const onFailure = (error: unknown): void => void failures.push(error);
    const done = retrying(clock, policy, () => end.promise, { signal: stop.signal, onFailure });
    stop.abort();
    if (fails) end.reject(new Error("the connection is closed"));
    else end.resolve();
    expect(await done).toBe(!fails);
    expect(failures).toEqual([]);
    expect(clock.armed).toBe(0);
  }
});

test("nothing begins that was stopped before", async () => {
  const { clock, tries, task } = failing(0);
  expect(await retrying(clock, policy, task, { signal: AbortSignal.abort() })).toBe(false);
  await pause(clock, 1000, AbortSignal.abort());
  expect(tries).toEqual([]);
  expect(clock.armed).toBe(0);
});

test("many tasks share one stop", async () => {
  const { clock, task } = failing(Number.POSITIVE_INFINITY);
  const stop = new AbortController();
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  const all = Array.from({ length: 100 }, () => retrying(clock, policy, task, { signal: stop.signal }));
  await clock.advance(10);
  expect(clock.armed).toBe(100);
  stop.abort();
  expect(await Promise.all(all)).toEqual(all.map(() => false));
  expect(clock.armed).toBe(0);
  process.off("warning", onWarning);
  // Node warns of listeners that seem to leak.
  expect(warnings).toEqual([]);
});
