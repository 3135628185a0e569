import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { System, until } from "../crash/system.ts";
import { FlowLoad } from "./flow-load.ts";
import { FlowNetwork, switchDifferences, type Fault } from "./flow-network.ts";

/** What a campaign does. */
export interface ChaosPlan {
  readonly faults: number;
  readonly seed: number;
  /** The folder of the application. */
  readonly data: string;
  /** Of the network: at most 12 lower-case letters and digits. */
  readonly name: string;
  readonly clients: number;
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface ChaosReport {
  readonly faults: Readonly<Record<string, number>>;
  readonly operations: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** How long it took after the last fault until every flow was UP, in milliseconds. */
  readonly upMs: number;
  readonly problems: readonly string[];
}

/** Longest pause between two faults, in milliseconds. */
const pauseMs = 1_500;
const settledWithinMs = 120_000;

/**
 * Operations on flows of a network of real switches, while links are cut, switches lose their controller or start anew, and the application is
 * killed. In the end all is mended: then every flow must be UP without anybody's help, the switches must have its rules and no others, the
 * books must be balanced, hosts must reach each other, and no flow may be locked. Open vSwitch and pings are asked for that.
 */
export async function chaos(plan: ChaosPlan): Promise<ChaosReport> {
  const { faults: most, seed, name, data, clients, progress } = plan;
  const random = seeded(seed);
  const stage = await FlowNetwork.start(name, join(data, "network"));
  const { network } = stage;
  const args = ["--network", "--openflow", network.controllerPath, "--switches", `${stage.switches}`];
  const system = await System.on(join(data, "app"), args);
  const load = new FlowLoad({ urls: () => [system.url], random, clients });
  const problems: string[] = [];
  const made: Record<string, number> = {};
  const start = async (): Promise<void> => {
    system.launch();
    await system.ready();
    await stage.connect();
  };
  const kinds: Readonly<Record<string, Fault>> = {
    "kill the application": async () => {
      await system.kill("SIGKILL");
      await start();
    },
    "cancel what runs": async () => {
      const { body } = await load.ask("GET", "/requests?status=running&limit=100");
      const { requests } = body as { readonly requests: readonly { id: string; hub: string }[] };
      const operations = requests.filter(({ hub }) =>
        /^(?:create|update|delete|reroute|restore|swap|sync)-flow$/.test(hub),
      );
      const headers = { "content-type": "application/json" };
      for (const { id } of operations)
        // It may have ended by now, or the application may have died.
        await fetch(`${system.url}/requests/${encodeURIComponent(id)}/cancel`, {
          method: "POST",
          headers,
        }).catch(() => {});
    },
    ...stage.faults(random),
  };
  try {
    await start();
    await until("the links", settledWithinMs, async () => {
      const { body } = await load.ask("GET", "/v1/links");
      const up = (body as readonly { state: string }[]).filter(({ state }) => state === "DISCOVERED");
      return up.length === 2 * stage.links.length;
    });
    await load.createKept();
    load.start();
    const names = Object.keys(kinds);
    for (let count = 0; count < most; count++) {
      await sleep(random() * pauseMs);
      const fault = names[count] ?? (names[Math.floor(random() * names.length)] as string);
      await kinds[fault]?.();
      made[fault] = (made[fault] ?? 0) + 1;
      if ((count + 1) % 10 === 0) progress?.(`${count + 1} faults, ${load.operations} operations`);
    }
    await load.stop(settledWithinMs);
    progress?.(`${load.operations} operations; now everything is compared`);
    // What was changed by hand is put right at the next connection.
    await stage.connect();
    const judged = await load.judge(settledWithinMs);
    problems.push(...judged.problems, ...(await stage.pingProblems()));
    for (const path of ["/switches/unconfirmed", "/network/unconfirmed"]) {
      const { count } = (await load.ask("GET", path)).body as { readonly count: number };
      if (count > 0) problems.push(`${path} lists ${count} rules`);
    }
    const code = await system.kill("SIGTERM");
    if (code !== 0) problems.push(`SIGTERM ended the application with ${code}, not with 0`);
    const store = new SqliteFlowStore(join(data, "app", "flows.db"));
    problems.push(
      ...(await store.audit()),
      ...(await switchDifferences(network, await store.flows({ limit: 1000 }))),
    );
    await store.close();
    const { operations, statuses } = load;
    return { faults: made, operations, statuses, upMs: judged.upMs, problems };
  } finally {
    await load.stop(0);
    await system.kill("SIGKILL").catch(() => null);
    stage.stop();
  }
}
