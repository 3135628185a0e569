import { WheelworkError } from "@wheelwork/core";
import { afterEach, expect } from "vitest";
import { approved, outside, parent, rounds, workersOf } from "./hubs.ts";
import { World, type WorldOptions } from "./world.ts";

const worlds: World[] = [];
afterEach(() => {
  for (const world of worlds.splice(0)) world.close();
});

/** Closes a world when its test is over. */
export function closeLater(world: World): void {
  worlds.push(world);
}

/** A world with a running engine. It is closed when its test is over. */
export async function begin(options: Partial<WorldOptions> = {}): Promise<World> {
  const world = new World({ hubs: [rounds, approved, parent], workers: workersOf(outside()), ...options });
  closeLater(world);
  return world.start();
}

/** The error with which a promise is rejected, once all that is ready has run. */
export async function refusal(world: World, promise: Promise<unknown>): Promise<WheelworkError> {
  let error: unknown;
  promise.then(
    () => (error = new Error("it was not refused")),
    (reason: unknown) => (error = reason),
  );
  await world.clock.settle();
  expect(error).toBeInstanceOf(WheelworkError);
  return error as WheelworkError;
}

/** A request to the hub `rounds`. */
export const steps = (...list: number[]) => ({ steps: list });
