import { expect, test } from "vitest";
import { keepLooks } from "../../src/controller/kept-looks.ts";

/** Keeps looks on a clock that a test moves. `promised`: what the store says when it is asked. */
function kept(counts: () => Promise<never>, submit: () => Promise<never>, promised: readonly boolean[]) {
  const told: string[] = [];
  const due: (() => void)[] = [];
  const answers = [...promised];
  const end = keepLooks({
    store: {
      counts: () => (told.push("read"), counts()),
      promiseLook: () => answers.shift() === true,
    },
    engine: { submit: (hub: unknown) => (told.push(String(hub)), submit()) },
    hub: { name: "look" },
    clock: {
      after: (_delayMs, task) => {
        due.push(task);
        return () => void due.splice(due.indexOf(task), 1);
      },
    },
  });
  /** The time comes at which it looks again. */
  const next = async (): Promise<void> => {
    await expect.poll(() => due.length).toBe(1);
    due.pop()?.();
    await expect.poll(() => due.length).toBe(1);
  };
  return { told, due, next, end };
}

const fine = () => Promise.resolve(undefined as never);
const fails = () => Promise.reject(new Error("not now"));

test("a look that is owed is started at the beginning, and then whenever one is owed; others are not", async () => {
  const { told, due, next, end } = kept(fine, fine, [true, false, true]);
  await next();
  await next();
  expect(told).toEqual(["read", "look", "read", "read", "look"]);
  end();
  expect(due).toEqual([]);
});

test("it goes on if the store or the engine does not answer", async () => {
  const without = kept(fails, fine, [true]);
  await without.next();
  expect(without.told).toEqual(["read", "read"]);
  const refused = kept(fine, fails, [true, true]);
  await refused.next();
  expect(refused.told).toEqual(["read", "look", "read", "look"]);
});
