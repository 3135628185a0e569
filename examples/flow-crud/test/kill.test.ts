import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { DatabaseSync } from "node:sqlite";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";

const main = resolve(import.meta.dirname, "../src/main.ts");
const kills = Number(process.env["WHEELWORK_KILLS"] ?? 20);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);

/** Deterministic numbers in [0, 1) (mulberry32), so that a failure can be repeated as far as processes allow. */
function randomFrom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function until(what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`seed ${seed}: ${what} did not come within ${timeoutMs} ms`);
    await sleep(25);
  }
}

/** The whole system in a process of its own, which can be killed and started again on the same data. */
class System {
  readonly url: string;
  readonly #port: number;
  readonly #data: string;
  #child: ChildProcess | undefined;
  #output = "";

  constructor(port: number, data: string) {
    this.#port = port;
    this.#data = data;
    this.url = `http://127.0.0.1:${port}`;
  }

  async start(): Promise<number> {
    const began = performance.now();
    this.launch();
    const child = this.#child as ChildProcess;
    await until("the system", 20_000, async () => {
      if (child.exitCode !== null)
        throw new Error(`seed ${seed}: the system ended by itself:\n${this.#output}`);
      return (await fetch(`${this.url}/ready`).catch(() => undefined))?.status === 200;
    });
    return performance.now() - began;
  }

  /** Starts it, without waiting until it is ready. */
  launch(): void {
    const conditions = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const child = spawn(process.execPath, [
      ...conditions,
      main,
      "--port",
      `${this.#port}`,
      "--data",
      this.#data,
    ]);
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (text) => (this.#output += String(text)));
  }

  async kill(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return null;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
    return child.exitCode;
  }
}

interface Told {
  readonly key: string;
  readonly flowid: string;
  readonly length: number;
  readonly body: string;
  /** Every answer that the client was given: status and text. */
  readonly answers: Set<string>;
  requestId: string;
  status: number;
}

const answerOf = async (response: Response): Promise<string> => `${response.status} ${await response.text()}`;

/** Sends one request until it has its answer, whatever happens on the way, as an honest client does. */
async function insist(url: string, told: Told): Promise<void> {
  for (;;) {
    try {
      const response = await fetch(`${url}/flow`, {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": told.key, prefer: "wait=5" },
        body: told.body,
        signal: AbortSignal.timeout(10_000),
      });
      if (response.status !== 202 && response.status !== 503) {
        const text = await response.text();
        told.answers.add(`${response.status} ${text}`);
        told.status = response.status;
        told.requestId = (JSON.parse(text) as { requestId: string }).requestId;
        return;
      }
      await response.arrayBuffer();
    } catch {
      // The process was killed under the request: the same key is sent again.
    }
    await sleep(20);
  }
}

/** What a file of the stopped system holds. */
function rowsOf(path: string, sql: string): Record<string, unknown>[] {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return db.prepare(sql).all();
  } finally {
    db.close();
  }
}

/** Cancels one of the requests that run, as an operator does. */
async function cancelOne(url: string, random: () => number): Promise<void> {
  if (random() > 0.2) return;
  const running = await fetch(`${url}/requests?status=running&limit=20`);
  const { requests } = (await running.json()) as { requests: { requestId: string }[] };
  const one = requests[Math.floor(random() * requests.length)];
  if (one !== undefined) await fetch(`${url}/requests/${one.requestId}/cancel`, { method: "POST" });
}

test(
  `kill -9 at ${kills} random moments under load: one answer each, and the switches agree`,
  { timeout: 60_000 + kills * 5_000 },
  async () => {
    const random = randomFrom(seed);
    const data = mkdtempSync(join(tmpdir(), "wheelwork-kill-"));
    const system = new System(await freePort(), data);
    onTestFinished(async () => {
      await system.kill("SIGKILL");
      rmSync(data, { recursive: true, force: true });
    });
    await system.start();

    const requests: Told[] = [];
    const load = { on: true };
    const client = async (): Promise<void> => {
      while (load.on) {
        const number = requests.length;
        const draw = random();
        const error = draw < 0.7 ? null : draw < 0.8 ? 0 : draw < 0.9 ? 1 : 2;
        // Mostly short ones, and some that take longer than the time between two kills.
        const length = 1 + Math.floor(random() * (random() < 0.05 ? 400 : 20));
        const flowid = `flow-${number}`;
        const body = JSON.stringify({ flowid, length, error });
        const told: Told = {
          key: `key-${seed}-${number}`,
          flowid,
          length,
          body,
          answers: new Set(),
          requestId: "",
          status: 0,
        };
        requests.push(told);
        await insist(system.url, told);
      }
    };
    const operator = async (): Promise<void> => {
      while (load.on) {
        await sleep(100);
        await cancelOne(system.url, random).catch(() => {
          // The process was killed under it; an operator looks again.
        });
      }
    };
    const clients = Array.from({ length: 12 }, client);
    const operating = operator();
    const readyMs: number[] = [];
    for (let kill = 0; kill < kills; kill++) {
      await sleep(50 + random() * 700);
      await system.kill("SIGKILL");
      // Some die again while they start.
      if (random() < 0.3) {
        system.launch();
        await sleep(random() * 600);
        await system.kill("SIGKILL");
      }
      readyMs.push(await system.start());
    }
    load.on = false;
    await Promise.all([...clients, operating]);

    const wrong: string[] = [];
    for (const told of requests) {
      told.answers.add(await answerOf(await fetch(`${system.url}/requests/${told.requestId}/answer`)));
      await insist(system.url, told);
      if (told.answers.size !== 1) wrong.push(`${told.body}: ${[...told.answers].join(" | ")}`);
    }
    expect(wrong, `seed ${seed}: more than one answer`).toEqual([]);
    expect(requests.length).toBeGreaterThan(kills);
    expect(new Set(requests.map(({ status }) => status))).toContain(200);

    await until("the end of every run", 30_000, async () => {
      const page = (await (await fetch(`${system.url}/requests?status=running&limit=1`)).json()) as {
        requests: unknown[];
      };
      return page.requests.length === 0;
    });
    for (const { flowid, length, status } of requests) {
      const held = (await (await fetch(`${system.url}/switches/rules?flowid=${flowid}`)).json()) as {
        rules: unknown[];
      };
      const expected = status === 200 ? length : 0;
      if (held.rules.length !== expected)
        wrong.push(`${flowid}: ${held.rules.length} rules instead of ${expected}`);
    }
    expect(wrong, `seed ${seed}: the switches disagree`).toEqual([]);
    for (const { requestId } of requests) {
      const { events } = (await (await fetch(`${system.url}/requests/${requestId}/history`)).json()) as {
        events: { type: string; at: number; answer?: object }[];
      };
      const answers = events.filter(({ answer }) => answer !== undefined).length;
      const linear = events.every(({ at }, place) => place === 0 || (events[place - 1]?.at ?? 0) <= at);
      if (events[0]?.type !== "started" || events.at(-1)?.type !== "ended" || answers !== 1 || !linear)
        wrong.push(`${requestId}: ${events.map(({ type }) => type).join(" ")}`);
    }
    expect(wrong, `seed ${seed}: histories with gaps`).toEqual([]);
    expect(await system.kill("SIGTERM"), "SIGTERM drains and exits with 0").toBe(0);

    const up = new Set(requests.filter(({ status }) => status === 200).map(({ requestId }) => requestId));
    for (const name of ["wheelwork.db", "resources.db", "floodlight.db"])
      expect(rowsOf(join(data, name), "PRAGMA integrity_check"), name).toEqual([{ integrity_check: "ok" }]);
    const held = rowsOf(join(data, "resources.db"), "SELECT request FROM allocation");
    expect(new Set(held.map(({ request }) => request)), `seed ${seed}: resources`).toEqual(up);
    const [median = 0, last = 0] = [
      readyMs.toSorted((a, b) => a - b)[readyMs.length >> 1],
      Math.max(...readyMs),
    ];
    console.log(
      `${kills} kills, ${requests.length} requests, ${up.size} flows up; ready again after ${median.toFixed(0)} ms (median), ${last.toFixed(0)} ms (longest)`,
    );
  },
);
