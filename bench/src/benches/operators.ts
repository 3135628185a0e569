import { createEngine, silentLogger, type Store } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { postgresIsInstalled } from "@wheelwork/services";
import { Agent, request } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { flow, newKey } from "../flow.ts";
import { inChild, percentile, phase, rounded, withFolder, type Bench, type Figure } from "../harness.ts";
import { dayMs, spanMs, storedHubs, withStored, type Stored } from "../stored.ts";

interface Size extends Stored {
  readonly dir: string;
  readonly store: "sqlite" | "postgres";
  /** How often the load goes on without operators, and then with them. */
  readonly slices: number;
}

const operators = 10;
/** Each operator asks for something so often, in milliseconds, as a page that refreshes itself does. */
const everyMs = 1000;
/** Flows of ten rules, for each second. */
const rate = 100;
const sliceMs = 6000;
/** What is not counted, at the begin of a slice. */
const warmUpMs = 1000;

/** What operators look at: each of them asks for one after the other. */
const pollsOf = (from: number): Readonly<Record<string, string>> => {
  const at = (days: number): number => Math.floor(from + days * dayMs) + 12_345;
  const of = (filter: Readonly<Record<string, string | number>>): string =>
    Object.entries(filter)
      .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
      .join("&");
  const filters = {
    all: "",
    running: of({ status: "running" }),
    "errors of a hub": of({ hub: "refund", status: "error" }),
    "accepted in 90 min": of({ createdFrom: at(1), createdTo: at(1) + 5_400_000 }),
    "answered in 3 days": of({ answeredFrom: at(1), answeredTo: at(4) }),
    "slower than 1.5 s": of({ minDurationMs: 1500 }),
    stuck: of({ status: "stuck" }),
    "a label": of({ label: "tenant=t7" }),
    "two labels": `${of({ label: "tenant=t7" })}&${of({ label: "region=eu" })}`,
  };
  return {
    ...Object.fromEntries(
      Object.entries(filters).flatMap(([name, query]) => [
        [`list: ${name}`, `/requests?${query}`],
        [`counts: ${name}`, `/counts?${query}`],
      ]),
    ),
    "list: the longest": "/requests?order=duration",
    "list: the longest of a range": "/requests?order=duration&maxDurationMs=1900",
    incidents: "/incidents",
    hubs: "/hubs",
    shards: "/shards",
    "search: a text": "/requests?text=no-such-text",
  };
};

interface Clients {
  readonly port: number;
  readonly from: number;
  readonly milliseconds: number;
}

interface Pollers extends Clients {
  /** What is asked for, by its name. */
  readonly polls: Readonly<Record<string, string>>;
}

/** Asks for something, and tells how long that took, in milliseconds; undefined: it was refused, since there is too much to do. */
function ask(
  agent: Agent,
  port: number,
  path: string,
  body?: { readonly key: string; readonly text: string },
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const sent = request(
      {
        agent,
        port,
        host: "127.0.0.1",
        path,
        method: body === undefined ? "GET" : "POST",
        ...(body === undefined
          ? {}
          : {
              headers: {
                "content-type": "application/json",
                "content-length": Buffer.byteLength(body.text),
                "idempotency-key": body.key,
              },
            }),
      },
      (response) => {
        response.resume();
        response.on("end", () => {
          if (response.statusCode === 200) resolve(performance.now() - began);
          else if (response.statusCode === 503) resolve(undefined);
          else reject(new Error(`${path}: the status was ${response.statusCode}`));
        });
      },
    );
    sent.on("error", reject);
    sent.end(body?.text);
  });
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.max(0, ms)));

/** The load: flows at a rate, whatever becomes of the others. The result is the latency of each, in milliseconds; null: it was refused. */
const load = phase(
  import.meta.url,
  "load",
  async ({ port, milliseconds }: Clients): Promise<(number | null)[]> => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1000 });
    const sent: Promise<number | undefined>[] = [];
    const began = performance.now();
    for (let now = began; now < began + milliseconds; now = performance.now()) {
      while (sent.length < ((now - began) / 1000) * rate) {
        const text = JSON.stringify({ flowid: `flow-${sent.length}`, length: 10 });
        sent.push(ask(agent, port, "/flow", { key: newKey(), text }));
      }
      await pause(2);
    }
    const latencies = await Promise.all(sent);
    agent.destroy();
    return latencies.map((ms) => ms ?? null);
  },
);

/** The operators. The result is the latencies of each of their requests, in milliseconds. */
const poll = phase(
  import.meta.url,
  "poll",
  async ({ port, polls: asked, milliseconds }: Pollers): Promise<Record<string, number[]>> => {
    const agent = new Agent({ keepAlive: true, maxSockets: operators });
    const polls = Object.entries(asked);
    const latencies: Record<string, number[]> = Object.fromEntries(polls.map(([name]) => [name, []]));
    const until = performance.now() + milliseconds;
    const operator = async (number: number): Promise<void> => {
      await pause((number / operators) * everyMs);
      for (let at = Math.floor((number / operators) * polls.length); performance.now() < until; at++) {
        const [name, path] = polls[at % polls.length] as [string, string];
        const began = performance.now();
        const took = await ask(agent, port, path);
        if (took !== undefined) latencies[name]?.push(took);
        await pause(everyMs - (performance.now() - began));
      }
    };
    await Promise.all(Array.from({ length: operators }, (_, number) => operator(number)));
    agent.destroy();
    return latencies;
  },
);

/** Keeps a processor busy, and asks for nothing: no change of the engine takes less than this does. */
const spin = phase(import.meta.url, "spin", async ({ milliseconds }: Clients): Promise<void> => {
  const until = performance.now() + milliseconds;
  while (performance.now() < until);
});

/** What was measured of the load, without operators or with them. */
class Side {
  /** How late the loop was, in each slice. */
  readonly #delays: ReturnType<typeof monitorEventLoopDelay>[] = [];
  readonly latencies: number[] = [];
  refused = 0;
  cpuMs = 0;

  add(latencies: readonly (number | null)[]): void {
    for (const ms of latencies)
      if (ms === null) this.refused++;
      else this.latencies.push(ms);
  }

  /** The median of the slices, in milliseconds. */
  delayMs(percentile: number): number {
    const all = this.#delays.map((delays) => delays.percentile(percentile)).toSorted((a, b) => a - b);
    return (all[all.length >> 1] ?? 0) / 1e6;
  }

  get longestDelayMs(): number {
    return Math.max(...this.#delays.map(({ max }) => max)) / 1e6;
  }

  /** Measures while the clients do their part, but for the begin of it. */
  async during<T>(clients: () => Promise<T>): Promise<T> {
    const before = process.cpuUsage();
    const done = clients();
    await pause(warmUpMs);
    // One for each slice: a monitor that is enabled again takes the time between for a delay.
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    await pause(sliceMs - warmUpMs);
    delays.disable();
    this.#delays.push(delays);
    const result = await done;
    const { user, system } = process.cpuUsage(before);
    this.cpuMs += (user + system) / 1000;
    return result;
  }
}

async function measure(store: Store, size: Size, from: number): Promise<Figure[]> {
  const { hub, workers } = flow({ deadlineMs: 30_000, timeoutMs: 10_000 });
  const engine = createEngine({ hubs: [...storedHubs, hub], workers, store, logger: silentLogger });
  await engine.start();
  const app = await northbound({ engine, routes: [{ method: "POST", path: "/flow", hub }] });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;
  const clients = { port, from, milliseconds: sliceMs };
  const polls = pollsOf(from);
  const [alone, busy, idle, together] = [new Side(), new Side(), new Side(), new Side()];
  const polled = new Map<string, number[]>();
  // What the first ones pay is the compiler's.
  await inChild(load, { ...clients, milliseconds: 2000 });
  await inChild(poll, { ...clients, polls, milliseconds: 2000 });
  for (let slice = 0; slice < size.slices; slice++) {
    alone.add(await alone.during(() => inChild(load, clients)));
    const [besideSpin] = await busy.during(() =>
      Promise.all([inChild(load, clients), inChild(spin, clients)]),
    );
    busy.add(besideSpin);
    const nothing = { ...clients, polls: { health: "/health" } };
    const [besideIdle] = await idle.during(() =>
      Promise.all([inChild(load, clients), inChild(poll, nothing)]),
    );
    idle.add(besideIdle);
    const [latencies, ofOperators] = await together.during(() =>
      Promise.all([inChild(load, clients), inChild(poll, { ...clients, polls })]),
    );
    together.add(latencies);
    for (const [name, times] of Object.entries(ofOperators)) {
      const known = polled.get(name);
      if (known === undefined) polled.set(name, times);
      else known.push(...times);
    }
  }
  await app.close();
  await engine.stop();
  await store.close();
  const sides = [
    ["alone", alone],
    ["with a busy processor", busy],
    ["with operators of /health", idle],
    ["with operators", together],
  ] as const;
  const figures: Figure[] = sides.map(([name, side]) => ({
    bench: "operators",
    store: size.store,
    load: name,
    loop_p50_ms: rounded(side.delayMs(50)),
    loop_p99_ms: rounded(side.delayMs(99)),
    loop_max_ms: rounded(side.longestDelayMs),
    p99_moved_by: rounded(side.delayMs(99) / alone.delayMs(99) - 1),
    flows: side.latencies.length,
    refused: side.refused,
    flow_p50_ms: rounded(percentile(side.latencies, 0.5)),
    flow_p99_ms: rounded(percentile(side.latencies, 0.99)),
    cpu_share: rounded(side.cpuMs / (size.slices * sliceMs)),
  }));
  for (const [name, times] of polled)
    figures.push({
      bench: "operators",
      store: size.store,
      asks: name,
      times: times.length,
      p50_ms: rounded(percentile(times, 0.5)),
      p99_ms: rounded(percentile(times, 0.99)),
    });
  return figures;
}

const serve = phase(import.meta.url, "serve", async (size: Size): Promise<Figure[]> =>
  withFolder(size.dir, async (folder) => {
    const from = Date.now() - spanMs;
    return withStored(size, folder, from, (store) => measure(store, size, from));
  }),
);

/** How much ten operators who look at many requests hold up those who make new ones. */
export const operatorsPoll: Bench = {
  name: "operators",
  about:
    "flows of 10 over HTTP, 100 a second, while ten operators list, count and search 100,000 (--full: 2,000,000) requests, once a second each",
  run: async ({ dir, full, report, note }) => {
    const size = full
      ? { requests: 2_000_000, live: 200_000, slices: 10 }
      : { requests: 100_000, live: 20_000, slices: 3 };
    for (const store of ["sqlite", "postgres"] as const) {
      if (store === "postgres" && !postgresIsInstalled()) {
        note("PostgreSQL is not installed: left out");
        continue;
      }
      note(`fills a store on ${store}, and looks at it`);
      for (const figure of await inChild(serve, { ...size, dir, store })) report(figure);
    }
  },
};
