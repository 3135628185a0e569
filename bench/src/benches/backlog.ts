import { spoke } from "@wheelwork/core";
import { LocalBus, silentLogger, worker } from "@wheelwork/engine";
import { systemClock, WorkerHost, type AttemptRequest } from "@wheelwork/engine/parts";
import * as z from "zod";
import { inChild, percentile, phase, rounded, type Bench } from "../harness.ts";

/** How the attempts that wait are spread over keys and requests. */
const spreads = [
  { name: "one key, one request", keys: 1, requests: 1 },
  { name: "one key, a request each", keys: 1, requests: Number.POSITIVE_INFINITY },
  { name: "1,000 keys, a request each", keys: 1000, requests: Number.POSITIVE_INFINITY },
] as const;

/** Lets so many attempts wait for one place, and then gives it to one after the other: µs to wait, and for a grant. */
async function once(waiting: number, { keys, requests }: (typeof spreads)[number]) {
  const served = spoke("work", {
    input: z.object({ key: z.number() }),
    output: z.object({}),
    timeoutMs: 600_000,
    concurrency: 1,
    limit: { concurrent: 1, by: ({ key }) => key },
  });
  const first = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  let done = 0;
  const host = new WorkerHost({
    workers: [worker(served, () => (done === 0 ? first.promise.then(() => ({})) : {}))],
    ports: { bus: new LocalBus(), replies: { kind: "process" } },
    report: () => {
      if (++done > waiting) all.resolve();
    },
    clock: systemClock,
    logger: silentLogger,
  });
  const asked = Array.from({ length: waiting + 1 }, (_, number): AttemptRequest => ({
    run: { key: `r${number % Math.min(requests, waiting)}`, epoch: 1, createdAt: 1 },
    number,
    callee: "work",
    attempt: 1,
    input: { key: number % keys },
    key: undefined,
    due: 0,
    work: undefined,
  }));
  const began = performance.now();
  for (const request of asked) host.begin(request);
  const queued = performance.now();
  first.resolve();
  await all.promise;
  const ended = performance.now();
  return { waitUs: ((queued - began) * 1000) / waiting, grantUs: ((ended - queued) * 1000) / waiting };
}

const measure = phase(import.meta.url, "measure", async (): Promise<Record<string, number>> => {
  // So that the first sizes are not measured while the code is compiled.
  for (const spread of spreads) for (let round = 0; round < 20; round++) await once(1000, spread);
  const figures: Record<string, number> = {};
  for (const spread of spreads)
    for (const waiting of [1000, 10_000, 100_000]) {
      const samples: { waitUs: number; grantUs: number }[] = [];
      for (let round = 0; round < 12; round++) {
        const sample = await once(waiting, spread);
        if (round >= 4) samples.push(sample);
      }
      const median = (of: (sample: (typeof samples)[number]) => number): number =>
        percentile(samples.map(of), 0);
      figures[`${spread.name}|${waiting}|wait`] = median(({ waitUs }) => waitUs);
      figures[`${spread.name}|${waiting}|grant`] = median(({ grantUs }) => grantUs);
    }
  return figures;
});

/** The cost of a grant must not depend on how many attempts wait. */
export const backlog: Bench = {
  name: "backlog",
  about:
    "attempts that wait under a limit with keys: µs to let one wait, and to give it its place; the fastest of 8 rounds",
  run: async ({ report }) => {
    const figures = await inChild(measure, {});
    for (const { name } of spreads)
      for (const waiting of [1000, 10_000, 100_000])
        report({
          bench: "backlog",
          spread: name,
          waiting,
          us_wait: rounded(figures[`${name}|${waiting}|wait`] ?? Number.NaN),
          us_grant: rounded(figures[`${name}|${waiting}|grant`] ?? Number.NaN),
          ratio: rounded(
            (figures[`${name}|${waiting}|grant`] ?? Number.NaN) /
              (figures[`${name}|1000|grant`] ?? Number.NaN),
          ),
        });
  },
};
