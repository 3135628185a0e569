// Mistakes in what a spoke says of its attempts that must not compile: `tsc -b` checks each line after `@ts-expect-error`.
import { spoke } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { z } from "zod";

const base = {
  input: z.object({ customer: z.string(), count: z.number().default(1) }),
  output: z.object({}),
  errors: ["busy", "broken"],
  timeoutMs: 1000,
} as const;

// What may be said.
const sound = spoke("sound", {
  ...base,
  heartbeatMs: 100,
  abandonAfterMs: 5000,
  concurrency: 8,
  // The key is made of the input as the schema has made it.
  limit: {
    concurrent: 2,
    perSecond: 50,
    burst: 5,
    by: ({ customer, count }) => `${customer} ${count.toFixed()}`,
  },
  retry: {
    attempts: "unlimited",
    backoffMs: 10,
    giveUpOn: ["broken", "WW_TIMEOUT"],
    on: { busy: { attempts: 3 }, WW_NO_HEARTBEAT: { attempts: 2, backoffMs: 0 }, WW_WORKER_FAILED: {} },
  },
});

worker(sound, (_input, ctx) => {
  ctx.progress({ page: 7 });
  ctx.progress();
  // @ts-expect-error a Date is no JSON
  ctx.progress({ at: new Date() });
  // @ts-expect-error what an earlier attempt has said is to be looked at first
  const page: number = ctx.lastProgress;
  return page > 0 ? {} : {};
});

// A rule for an error that the spoke does not declare.
// @ts-expect-error it is called busy
spoke("m1", { ...base, retry: { on: { buzy: { attempts: 3 } } } });

// A number of attempts that is a word, but not this one.
// @ts-expect-error it is called unlimited
spoke("m2", { ...base, retry: { attempts: "forever", backoffMs: 1 } });

// A field of a rule that does not exist.
// @ts-expect-error it is called backoffMs
spoke("m3", { ...base, retry: { on: { busy: { backOffMs: 3 } } } });

// A rule cannot have rules.
// @ts-expect-error only the policy has these
spoke("m4", { ...base, retry: { on: { busy: { giveUpOn: ["broken"] } } } });

// A key of a field that the input does not have.
// @ts-expect-error it is called customer
spoke("m5", { ...base, limit: { concurrent: 1, by: ({ tenant }) => tenant } });

// A key that is no text.
// @ts-expect-error a text or a number
spoke("m6", { ...base, limit: { concurrent: 1, by: (input) => input } });

// A field of a limit that does not exist.
// @ts-expect-error it is called perSecond
spoke("m7", { ...base, limit: { rate: 50 } });
