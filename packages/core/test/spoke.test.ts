import { spoke, WheelworkError, type RetryPolicy } from "@wheelwork/core";
import { maxCallMs } from "@wheelwork/core/kernel";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { backoffOf } from "../src/retry.ts";

/** Spokes, and the arithmetic of their retries. */

const made = (timeoutMs: number, retry: RetryPolicy<never>) =>
  spoke("s", { input: z.unknown(), output: z.unknown(), timeoutMs, retry });

describe("the longest time of a call (I17)", () => {
  test.each<RetryPolicy<never>>([
    {},
    { attempts: 1, backoffMs: 100 },
    { attempts: 7, backoffMs: 0 },
    { attempts: 7, backoffMs: 100, factor: 1 },
    { attempts: 7, backoffMs: 100_000 },
    { attempts: 40, backoffMs: 100 },
    { attempts: 40, backoffMs: 3, factor: 1.1 },
    { attempts: 1000, backoffMs: 1, factor: 1.000_000_1, maxBackoffMs: 50 },
    { attempts: 30, backoffMs: 0.4, factor: 1.5, maxBackoffMs: 20 },
  ])("bounds the sum of its attempts closely: %o", (retry) => {
    const { timeoutMs, retry: full } = made(1000, retry);
    let sum = timeoutMs * full.attempts;
    for (let attempt = 1; attempt < full.attempts; attempt++) sum += backoffOf(full, attempt, 0);
    const bound = maxCallMs({ timeoutMs, retry: full });
    expect(bound).toBeGreaterThanOrEqual(sum);
    expect(bound).toBeLessThanOrEqual(sum + full.attempts + full.maxBackoffMs);
  });

  test.each<[number, RetryPolicy<never>]>([
    [1000, { attempts: Number.MAX_SAFE_INTEGER, backoffMs: 100 }],
    [1000, { attempts: Number.MAX_SAFE_INTEGER, backoffMs: 1, factor: 1 + Number.EPSILON }],
    [86_400_000, { attempts: 1_000_000, backoffMs: 1, factor: Number.MAX_VALUE }],
    [10_000_000_000_000, { attempts: 3 }],
  ])("is a duration at once, however many attempts of %i ms there may be: %o", (timeoutMs, retry) => {
    const bound = maxCallMs(made(timeoutMs, retry));
    expect(bound).toBeGreaterThan(0);
    expect(bound).toBeLessThan(10_000_000_000_000);
  });
});

test("the backoff stays within its bounds for any attempt", () => {
  const { retry } = made(1, { attempts: 2, backoffMs: 1000, factor: 10 });
  for (const attempt of [1, 2, 65, 309, 1024, 1e6, Number.MAX_SAFE_INTEGER]) {
    const backoff = backoffOf(retry, attempt, 0.5);
    expect(backoff).toBeGreaterThan(0);
    expect(backoff).toBeLessThanOrEqual(60_000);
  }
});

// A text would be compared as a number, and added as a text: "60000" + 5 is 600005.
test.each<[string, object]>([
  ["timeoutMs", { timeoutMs: "1000" }],
  ["heartbeatMs", { heartbeatMs: "30" }],
  ["abandonAfterMs", { abandonAfterMs: "60000" }],
  ["concurrency", { concurrency: "4" }],
  ["limit.perSecond", { limit: { perSecond: "50" } }],
  ["limit.concurrent", { limit: { concurrent: "2" } }],
  ["limit.burst", { limit: { perSecond: 50, burst: "2" } }],
  ["retry.attempts", { retry: { attempts: "3" } }],
  ["retry.backoffMs", { retry: { backoffMs: "10" } }],
  ["retry.factor", { retry: { factor: "2" } }],
  ["retry.maxBackoffMs", { retry: { maxBackoffMs: "50" } }],
  ["retry.jitter", { retry: { jitter: "0.5" } }],
  ['retry.on["WW_TIMEOUT"].maxBackoffMs', { retry: { on: { WW_TIMEOUT: { maxBackoffMs: "50" } } } }],
])("a text is no number: %s", (path, options) => {
  const declared = { input: z.unknown(), output: z.unknown(), timeoutMs: 1000, ...options };
  expect(() => spoke("s", declared as never)).toThrow(
    expect.objectContaining({
      code: "WW_BAD_SPOKE",
      problems: [expect.objectContaining({ path }) as unknown],
    }) as Error,
  );
});

test("a spoke that cannot be used is named, with every problem", () => {
  expect(() => made(0, { attempts: 0 })).toThrow(WheelworkError);
  expect(() => made(0, { attempts: 0 })).toThrow(/the spoke "s"[^]*timeoutMs[^]*retry\.attempts/);
});
