import { createEngine, type Engine } from "@wheelwork/engine";
import { mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { callsOf, flow, newKey, type Flow } from "../flow.ts";
import { drive, inChild, Measured, phase, repeat, rounded, withFolder, type Bench } from "../harness.ts";

const length = 10;
const slices = 8;

interface Size {
  readonly dir: string;
  readonly requests: number;
}

interface Filled {
  readonly empty: object;
  readonly full: object;
}

/** Two engines in one process take turns: one with an empty store, and one with a store full of finished requests. */
const compare = phase(import.meta.url, "compare", async ({ dir, requests }: Size): Promise<Filled> =>
  withFolder(dir, async (folder) => {
    let flows = 0;
    const start = async (name: string): Promise<[Flow, Engine, string]> => {
      const made = flow({ deadlineMs: 30_000, timeoutMs: 10_000 });
      mkdirSync(join(folder, name));
      const file = join(folder, name, "engine.db");
      const engine = createEngine({ hubs: [made.hub], workers: made.workers, store: file });
      await engine.start();
      return [made, engine, file];
    };
    const work = async ([{ hub }, engine]: [Flow, Engine, string]): Promise<void> => {
      const answer = await engine.call(hub, { flowid: `flow-${flows++}`, length }, { key: newKey() });
      if (answer.kind !== "result") throw new Error(`a flow failed: ${JSON.stringify(answer)}`);
    };
    const empty = await start("empty");
    const full = await start("full");
    const began = performance.now();
    await repeat(1000, requests, () => work(full));
    const fill = requests / ((performance.now() - began) / 1000);
    const measured = [new Measured(), new Measured()] as const;
    const lookUp = new Measured();
    for (const side of [empty, full]) await drive(200, 1000, new Measured(), () => work(side));
    for (let slice = 0; slice < slices; slice++) {
      await drive(200, 700, measured[0], () => work(empty));
      await drive(200, 700, measured[1], () => work(full));
    }
    await drive(1, 200, lookUp, () => Promise.resolve(full[1].requests({ limit: 50 })).then(() => undefined));
    for (const [, engine] of [empty, full]) await engine.stop();
    const began2 = performance.now();
    const again = createEngine({ hubs: [full[0].hub], workers: full[0].workers, store: full[2] });
    await again.start();
    const ready = performance.now() - began2;
    await again.stop();
    return {
      empty: { finished: 0, ...measured[0].figures(callsOf(length)) },
      full: {
        finished: requests,
        ...measured[1].figures(callsOf(length)),
        ratio: rounded(measured[1].rate / measured[0].rate),
        list_p50_ms: rounded(lookUp.percentile(0.5)),
        ready_s: rounded(ready / 1000),
        fill_s: Math.round(fill),
        file_mb: Math.round(statSync(full[2]).size / 1e6),
      },
    };
  }),
);

/** How much slower new requests are when the store holds many finished ones. */
export const fullStore: Bench = {
  name: "full-store",
  about:
    "flow-create of 10 at 200 in flight with 100,000 (--full: 1,000,000) finished requests in the store, and with none",
  run: async ({ dir, full, report, note }) => {
    const requests = full ? 1_000_000 : 100_000;
    note(`running ${requests} flows first`);
    const { empty, full: filled } = await inChild(compare, { dir, requests });
    report({ bench: "full-store", inflight: 200, ...empty });
    report({ bench: "full-store", inflight: 200, ...filled });
  },
};
