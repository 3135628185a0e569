import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { waitUntil } from "@wheelwork/services";
import { askHttp, type Reply } from "../ask.ts";
import { until } from "../crash/system.ts";
import { endOf, hosts } from "./flow-network.ts";

/** Flows that are there all the time: hosts ping each other over them. */
const kept = ["ping-12", "ping-34"] as const;
/** Flows that come and go. All clients share them. */
const others = Array.from({ length: 8 }, (_, index) => `f${index + 1}`);
/** Within so long the kept flows are to be created, in milliseconds. */
const keptWithinMs = 60_000;
/** So many answers are asked for once more in the end. */
const askedAgain = 200;

/** What a load is made with. */
export interface FlowLoadOptions {
  /** The servers, as they are now. */
  readonly urls: () => readonly string[];
  readonly random: () => number;
  readonly clients: number;
  /** Operations that begin in a second, if enough clients are free. Default: each client pauses for up to 100 ms. */
  readonly perSecond?: number;
}

/** A request, and what its sender was told. */
interface Told {
  readonly method: string;
  readonly path: string;
  readonly body: object | undefined;
  readonly name: string;
  readonly reply: Reply;
}

/** What a refusal says that is no answer of an operation: nothing was begun, and the same request may be sent anew. */
const isBusy = ({ status, body }: Reply): boolean =>
  [400, 409, 422].includes(status) &&
  /is in progress now|is being rerouted now|already exists, or an operation on it/.test(JSON.stringify(body));

/** What an answer is recognised by. The flow itself may have changed since. */
const gist = ({ status, body }: Reply): string => {
  const all = body as Readonly<Record<string, unknown>>;
  return `${status} ${status === 200 ? String(all["flow_id"] ?? all["flowid"]) : String(all["error-description"])}`;
};

/** Operations of many clients on the same flows, over HTTP, each insisted on until it has its answer. */
export class FlowLoad {
  readonly statuses: Record<string, number> = {};
  /** Why operations were refused, or failed. */
  readonly reasons: Record<string, number> = {};
  /** What clients were told that cannot be. */
  readonly problems: string[] = [];
  operations = 0;
  /** How many of them were done. */
  done = 0;
  readonly #options: FlowLoadOptions;
  readonly #told: Told[] = [];
  #isOn = false;
  #working: Promise<unknown> = Promise.resolve();
  #next = 0;

  constructor(options: FlowLoadOptions) {
    this.#options = options;
  }

  ask(method: string, path: string, body?: object, name?: string): Promise<Reply> {
    const { urls, random } = this.#options;
    const first = Math.floor(random() * 100);
    const rotated = (): readonly string[] => {
      const all = urls();
      return all.map((_, index) => all[(first + index) % all.length] as string);
    };
    return askHttp(rotated, method, path, body, name);
  }

  /**
   * Creates the flows that are there all the time. On a busy machine a switch may be away for a moment, so that it asks again for a while.
   * @throws Error if one cannot be.
   */
  async createKept(): Promise<void> {
    for (const [index, flow_id] of kept.entries()) {
      const flow = {
        flow_id,
        source: endOf(2 * index, hosts[2 * index]?.vlan ?? 0),
        destination: endOf(2 * index + 1, hosts[2 * index + 1]?.vlan ?? 0),
        maximum_bandwidth: 10_000,
        allocate_protected_path: index === 1,
      };
      let last: unknown;
      await until(`the flow ${flow_id}`, keptWithinMs, async () => {
        const { status, body } = await this.ask("POST", "/v2/flows", flow);
        last = body;
        return status === 200 || status === 409;
      }).catch((error: unknown) => {
        throw new Error(`${flow_id} could not be created: ${JSON.stringify(last)}`, { cause: error });
      });
    }
  }

  start(): void {
    this.#isOn = true;
    this.#next = performance.now();
    this.#working = Promise.all(Array.from({ length: this.#options.clients }, () => this.#work()));
    this.#working.catch(() => {});
  }

  /** Ends when each request has its answer; not for ever. */
  async stop(withinMs: number): Promise<void> {
    this.#isOn = false;
    const late = new AbortController();
    await Promise.race([
      this.#working,
      sleep(withinMs, undefined, { signal: late.signal }).then(
        () => void this.problems.push(`some requests have no answer after ${withinMs / 1000} s`),
        () => {},
      ),
    ]);
    late.abort();
  }

  async #work(): Promise<void> {
    const { random } = this.#options;
    while (this.#isOn) {
      await this.#turn();
      const [method, path, body] = this.#draw();
      const name = randomUUID();
      const reply = await this.ask(method, path, body, name);
      this.operations++;
      if (reply.status === 200) this.done++;
      this.#count(this.statuses, `${method} ${reply.status}`);
      if (reply.status !== 200)
        this.#count(this.reasons, gist(reply).replace(/\b(?:[\da-f]{2}:){7}[\da-f]{2}\b|\bf\d\b|\d+ /g, "…"));
      if (method === "GET" || isBusy(reply)) continue;
      const told = { method, path, body, name, reply };
      if (random() < 0.3) await this.#again(told);
      if (this.#told.length < askedAgain) this.#told.push(told);
      else this.#told[Math.floor(random() * askedAgain)] = told;
    }
  }

  #count(counts: Record<string, number>, name: string): void {
    counts[name] = (counts[name] ?? 0) + 1;
  }

  /** Waits until the next operation may begin. */
  async #turn(): Promise<void> {
    const { perSecond, random } = this.#options;
    if (perSecond === undefined) return sleep(random() * 100);
    const now = performance.now();
    // What could not begin while all clients waited is not made up for.
    this.#next = Math.max(now, this.#next + 1000 / perSecond);
    await sleep(this.#next - now);
  }

  /** The same request has the same answer. */
  async #again({ method, path, body, name, reply }: Told): Promise<void> {
    const again = await this.ask(method, path, body, name);
    if (gist(again) !== gist(reply))
      this.problems.push(`${method} ${path} under ${name}: first ${gist(reply)}, then ${gist(again)}`);
  }

  #draw(): readonly [string, string, object?] {
    const { random } = this.#options;
    const int = (below: number): number => Math.floor(random() * below);
    const pick = <T>(list: readonly T[]): T => list[int(list.length)] as T;
    const flow = pick([...others, ...kept]);
    if (kept.includes(flow as never))
      return pick<readonly [string, string, object?]>([
        ["POST", `/v2/flows/${flow}/reroute`],
        ["PATCH", `/v1/flows/${flow}/sync`],
        ["PATCH", `/v2/flows/${flow}`, { description: `${int(100)}`, maximum_bandwidth: 10_000 + int(10) }],
      ]);
    const index = others.indexOf(flow);
    const spec = {
      flow_id: flow,
      source: endOf(index % 4, 100 + index),
      destination: endOf((index + 1 + int(3)) % 4, 100 + index),
      maximum_bandwidth: 1000 * (1 + int(3)),
      allocate_protected_path: random() < 0.3,
    };
    return pick<readonly [string, string, object?]>([
      ["POST", "/v2/flows", spec],
      ["POST", "/v2/flows", spec],
      ["PUT", `/v2/flows/${flow}`, spec],
      ["PATCH", `/v2/flows/${flow}`, { maximum_bandwidth: 1000 * (1 + int(5)) }],
      ["DELETE", `/v2/flows/${flow}`],
      ["POST", `/v2/flows/${flow}/reroute`],
      ["PATCH", `/v1/flows/${flow}/swap`],
      ["PATCH", `/v1/flows/${flow}/sync`],
      ["GET", `/v1/flows/${flow}/validate`],
    ]);
  }

  /**
   * Judges what is left when the network is whole again. Every flow must be UP without anybody's help. No request may run any more, and none
   * may hold a place in a lane. Each flow takes an operation, and then has what it should have. Whoever asks again has the same answer.
   */
  async judge(withinMs: number): Promise<{ readonly upMs: number; readonly problems: string[] }> {
    const problems: string[] = [];
    const began = performance.now();
    type Shown = { flow_id: string; status: string; status_info?: string };
    let waiting: readonly string[] = [];
    const isOver = async (): Promise<boolean> => {
      const flows = (await this.ask("GET", "/v2/flows")).body as readonly Shown[];
      waiting = flows
        .filter(({ status }) => status !== "Up" && status !== "Degraded")
        .map(({ flow_id, status, status_info }) => `${flow_id} is ${status}: ${status_info ?? "no reason"}`);
      return waiting.length === 0;
    };
    await waitUntil(isOver, withinMs).catch(() => problems.push(...waiting));
    const upMs = Math.round(performance.now() - began);
    let left: readonly string[] = [];
    const isAtRest = async (): Promise<boolean> => {
      const open = "/requests?status=running&status=pending&status=incident&limit=100";
      const { requests } = (await this.ask("GET", open)).body as {
        readonly requests: readonly { readonly id: string; readonly hub: string; readonly status: string }[];
      };
      left = requests.map(({ id, hub, status }) => `${hub} ${id} is ${status}`);
      const { lanes } = (await this.ask("GET", "/lanes")).body as { readonly lanes: readonly object[] };
      left = [...left, ...lanes.map((lane) => `a lane is taken: ${JSON.stringify(lane)}`)];
      return left.length === 0;
    };
    await waitUntil(isAtRest, withinMs).catch((error: unknown) => problems.push(String(error), ...left));
    const flows = (await this.ask("GET", "/v2/flows")).body as readonly Shown[];
    for (const { flow_id } of flows) {
      const synced = await this.ask("PATCH", `/v1/flows/${flow_id}/sync`);
      if (synced.status !== 200)
        problems.push(`${flow_id} cannot be synchronised: ${JSON.stringify(synced.body)}`);
      const { status, body } = await this.ask("GET", `/v1/flows/${flow_id}/validate`);
      const wrong =
        status === 200 && (body as readonly { as_expected: boolean }[]).some((one) => !one.as_expected);
      if (status !== 200 || wrong) problems.push(`${flow_id} is not valid: ${JSON.stringify(body)}`);
    }
    for (const told of this.#told) await this.#again(told);
    return { upMs, problems: [...problems, ...this.problems] };
  }
}
