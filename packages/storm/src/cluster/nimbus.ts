import { WheelworkError } from "@wheelwork/core";
import { thriftCall, Thrown, type Fields, type Struct } from "./thrift.ts";

/** A topology as Nimbus lists it. */
export interface TopologySummary {
  readonly id: string;
  readonly name: string;
  /** Such as ACTIVE, INACTIVE, KILLED or REBALANCING. */
  readonly status: string;
  readonly tasks: number;
  readonly executors: number;
  readonly workers: number;
  readonly uptimeMs: number;
}

/** One thread of a topology. */
export interface ExecutorView {
  readonly component: string;
  readonly tasks: readonly [first: number, last: number];
  readonly host: string;
  readonly port: number;
  readonly uptimeMs: number;
  /** Tuples that it has emitted, by stream: Storm counts a sample of them, and is some seconds behind. */
  readonly emitted: ReadonlyMap<string, number>;
}

/** An error that a component has reported. */
export interface ErrorView {
  readonly component: string;
  readonly message: string;
  readonly at: number;
  readonly host: string;
}

/** A topology with its executors and what went wrong. */
export interface TopologyView extends TopologySummary {
  readonly executorViews: readonly ExecutorView[];
  readonly errors: readonly ErrorView[];
}

const second = 1000;

/** The methods of Nimbus that are needed to look after a topology, over Thrift. It has no authentication by default. */
export class Nimbus {
  readonly #host: string;
  readonly #port: number;

  constructor(options: { readonly host?: string; readonly port?: number } = {}) {
    this.#host = options.host ?? "127.0.0.1";
    this.#port = options.port ?? 6627;
  }

  async topologies(): Promise<readonly TopologySummary[]> {
    const list = (await this.#call("getTopologySummaries")) as readonly Struct[];
    return list.map((summary) => ({
      id: String(summary[1]),
      name: String(summary[2]),
      tasks: Number(summary[3]),
      executors: Number(summary[4]),
      workers: Number(summary[5]),
      uptimeMs: Number(summary[6]) * second,
      status: String(summary[7]),
    }));
  }

  /** @throws WheelworkError WW_NOT_FOUND when no topology has that name. */
  async topology(name: string): Promise<TopologyView> {
    const summary = (await this.topologies()).find((one) => one.name === name);
    if (summary === undefined) throw noTopology(name);
    const info = (await this.#call("getTopologyInfoByName", { 1: name })) as Struct;
    const executorViews = ((info[4] ?? []) as readonly Struct[]).map((executor): ExecutorView => {
      const place = executor[1] as Struct;
      return {
        component: String(executor[2]),
        tasks: [Number(place[1]), Number(place[2])],
        host: String(executor[3]),
        port: Number(executor[4]),
        uptimeMs: Number(executor[5]) * second,
        emitted: emittedOf(executor[7]),
      };
    });
    const errors = ((info[6] ?? []) as readonly [string, readonly Struct[]][]).flatMap(([component, list]) =>
      list.map((error): ErrorView => ({
        component,
        message: String(error[1]),
        at: Number(error[2]) * second,
        host: String(error[3] ?? ""),
      })),
    );
    return { ...summary, executorViews, errors };
  }

  /** The configuration that a topology was submitted with. @throws WheelworkError WW_NOT_FOUND when no topology has that name. */
  async configuration(name: string): Promise<Readonly<Record<string, unknown>>> {
    const summary = (await this.topologies()).find((one) => one.name === name);
    if (summary === undefined) throw noTopology(name);
    const text = String(await this.#call("getTopologyConf", { 1: summary.id }));
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  }

  /** Ends a topology; for `waitMs` its spouts are silent and what is under way goes on. */
  kill(name: string, waitMs = 0): Promise<void> {
    return this.#change("killTopologyWithOpts", { 1: name, 2: { 1: Math.round(waitMs / second) } }, name);
  }

  /** Lets the spouts emit again. */
  activate(name: string): Promise<void> {
    return this.#change("activate", { 1: name }, name);
  }

  /** Silences the spouts. */
  deactivate(name: string): Promise<void> {
    return this.#change("deactivate", { 1: name }, name);
  }

  /** Spreads the executors anew, over another number of workers if one is given. */
  rebalance(
    name: string,
    options: { readonly waitMs?: number; readonly workers?: number } = {},
  ): Promise<void> {
    const { waitMs = 0, workers } = options;
    const how: Fields = { 1: Math.round(waitMs / second), ...(workers === undefined ? {} : { 2: workers }) };
    return this.#change("rebalance", { 1: name, 2: how }, name);
  }

  async #change(method: string, fields: Fields, name: string): Promise<void> {
    try {
      await this.#call(method, fields);
    } catch (error) {
      if (error instanceof Thrown && /not alive|not found/i.test(error.message)) throw noTopology(name);
      throw error;
    }
  }

  #call(method: string, fields: Fields = {}): Promise<unknown> {
    return thriftCall({ host: this.#host, port: this.#port }, method, fields);
  }
}

/** What an executor has emitted in all its time. */
function emittedOf(stats: unknown): ReadonlyMap<string, number> {
  const windows = ((stats as Struct | undefined)?.[1] ?? []) as readonly [string, [string, number][]][];
  return new Map(windows.find(([window]) => window === ":all-time")?.[1]);
}

const noTopology = (name: string): WheelworkError =>
  new WheelworkError("WW_NOT_FOUND", `Storm runs no topology ${name}`, {
    next: "`wheelwork storm list` shows those that run.",
  });
