import { createEngine } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { Agent, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { flow, newKey } from "../flow.ts";
import {
  drive,
  inChild,
  Measured,
  percentile,
  phase,
  pinTo,
  rounded,
  withFolder,
  type Bench,
  type Figure,
} from "../harness.ts";

/** A flow is long, so that what has been begun brings work for a long time. */
const length = 200;
const deadlineMs = 1000;
/** How long each load goes on, in milliseconds. */
const loadMs = 10_000;

/** Sends one flow, and tells the status and how long that took. */
type Send = () => Promise<{ readonly status: number; readonly ms: number }>;

function sender(port: number): { readonly send: Send; readonly close: () => void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 20_000 });
  let flows = 0;
  const send: Send = () =>
    new Promise((resolve, reject) => {
      const began = performance.now();
      const body = JSON.stringify({ flowid: `flow-${flows++}`, length });
      const headers = {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        "idempotency-key": newKey(),
        prefer: "wait=30",
      };
      const to = { agent, port, host: "127.0.0.1", method: "POST", path: "/flow", headers };
      const sent = request(to, (response) => {
        response.resume();
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, ms: performance.now() - began }),
        );
      });
      sent.on("error", reject);
      sent.end(body);
    });
  return { send, close: () => agent.destroy() };
}

/** What the engine does at its best: clients that wait for each answer. The result is in flows per second. */
const best = phase(import.meta.url, "best", async ({ port }: { port: number }): Promise<number> => {
  pinTo(1);
  const { send, close } = sender(port);
  const work = async (): Promise<void> => {
    for (;;) {
      const { status } = await send();
      if (status === 200) return;
      // On a machine that others keep busy the loop is late now and then.
      if (status !== 503) throw new Error(`the status was ${status}`);
    }
  };
  await drive(16, 4000, new Measured(), work);
  const measured = new Measured();
  await drive(16, loadMs, measured, work);
  close();
  return measured.rate;
});

interface Load {
  readonly port: number;
  /** Flows per second. */
  readonly rate: number;
}

/** Clients that send at a rate, whatever becomes of the others. */
const openLoop = phase(import.meta.url, "openLoop", async ({ port, rate }: Load): Promise<object> => {
  pinTo(1);
  const { send, close } = sender(port);
  const [done, refused]: [number[], number[]] = [[], []];
  let [others, broken] = [0, 0];
  const one = async (): Promise<void> => {
    try {
      const { status, ms } = await send();
      if (status === 200) done.push(ms);
      else if (status === 503) refused.push(ms);
      else others++;
    } catch {
      broken++;
    }
  };
  const sent: Promise<void>[] = [];
  const began = performance.now();
  for (let now = began; now < began + loadMs; now = performance.now()) {
    while (sent.length < ((now - began) / 1000) * rate) sent.push(one());
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await Promise.all(sent);
  const seconds = (performance.now() - began) / 1000;
  close();
  return {
    workflows_s: rounded(done.length / seconds),
    p50_ms: rounded(percentile(done, 0.5)),
    refused: refused.length,
    refused_p99_ms: rounded(percentile(refused, 0.99)),
    timeouts: others,
    broken,
  };
});

const serve = phase(import.meta.url, "serve", async ({ dir }: { dir: string }): Promise<Figure[]> =>
  withFolder(dir, async (folder) => {
    const pinned = pinTo(0);
    const { hub, workers } = flow({ deadlineMs });
    const engine = createEngine({ hubs: [hub], workers, store: join(folder, "engine.db") });
    await engine.start();
    const app = await northbound({ engine, routes: [{ method: "POST", path: "/flow", hub }] });
    await app.listen({ host: "127.0.0.1", port: 0 });
    const { port } = app.server.address() as AddressInfo;
    const peak = await inChild(best, { port });
    const figures: Figure[] = [
      { bench: "overload", load: "closed", pinned: String(pinned), workflows_s: rounded(peak) },
    ];
    for (const times of [1.5, 3]) {
      const seen = (await inChild(openLoop, { port, rate: times * peak })) as { workflows_s: number };
      const ratio = rounded(seen.workflows_s / peak);
      figures.push({ bench: "overload", load: `${times} x`, ratio, ...seen });
    }
    await app.close();
    await engine.stop();
    return figures;
  }),
);

/** More flows of 200 rules over HTTP than the engine can do, as a share of what it does at its best in the same run. */
export const overload: Bench = {
  name: "overload",
  about:
    "flows of 200 over HTTP at 1.5 and 3 times what the engine does at its best, and how much of that it does",
  run: async ({ dir, report, note }) => {
    note("the best, then 1.5 and 3 times as many");
    for (const figure of await inChild(serve, { dir })) report(figure);
  },
};
