import { apply, decide, Run, start, type Input } from "@wheelwork/core/kernel";
import { flow } from "../flow.ts";
import { percentile, type Bench } from "../harness.ts";

const { hub } = flow();
const { definition } = hub;

/** One flow from its request to its answer. Returns how many turns followed the first one. */
function runFlow(request: unknown): number {
  const env = { now: 1_000_000, random: 0.5 };
  const run = new Run("a-request");
  for (const event of start(definition, run, { request, hash: "" }, env)) apply(run, event);
  let turns = 0;
  while (run.status === "running") {
    const { epoch } = run;
    for (const number of Array.from(run.calls.keys())) {
      settle(run, { kind: "outcome", call: number, attempt: 1, epoch, outcome: ok }, env);
      turns++;
    }
  }
  return turns;
}

const ok = { kind: "ok", output: { installed: 1 } } as const;

function settle(run: Run, input: Input, env: { now: number; random: number }): void {
  for (const event of decide(definition, run, input, env).events) apply(run, event);
}

/** The time of one settled outcome in a round of `length` calls that goes on, in nanoseconds. */
function turn(length: number): number {
  const env = { now: 1_000_000, random: 0.5 };
  const runs = Array.from({ length: Math.ceil(200_000 / length) }, () => {
    const run = new Run("a-request");
    const request = { flowid: "bench", length, error: null };
    for (const event of start(definition, run, { request, hash: "" }, env)) apply(run, event);
    return run;
  });
  const began = performance.now();
  let turns = 0;
  for (const run of runs) {
    const { epoch } = run;
    for (let call = 0; call < length - 1; call++) {
      settle(run, { kind: "outcome", call, attempt: 1, epoch, outcome: ok }, env);
      turns++;
    }
  }
  return ((performance.now() - began) * 1e6) / turns;
}

/** The kernel alone, without a store, workers and an engine. */
export const kernel: Bench = {
  name: "kernel",
  about:
    "the kernel alone: ns for a turn (decide and apply an outcome), and µs for a whole flow of 10 with validation",
  run: ({ report }) => {
    for (const length of [10, 1000]) {
      const samples = Array.from({ length: 12 }, () => turn(length)).slice(2);
      report({
        bench: "kernel-turn",
        open_calls: length,
        ns: Math.round(percentile(samples, 0.5)),
        best_ns: Math.round(Math.min(...samples)),
      });
    }
    const request = { flowid: "bench", length: 10, error: null };
    const samples = Array.from({ length: 12 }, () => {
      const began = performance.now();
      let turns = 0;
      for (let flows = 0; flows < 5000; flows++) turns += runFlow(request);
      if (turns !== 100_000) throw new Error(`${turns} turns`);
      return (performance.now() - began) / 5;
    }).slice(2);
    const us = percentile(samples, 0.5);
    report({
      bench: "kernel-flow-10",
      us: Math.round(us * 10) / 10,
      ns_a_call: Math.round((us * 1000) / 20),
    });
    return Promise.resolve();
  },
};
