import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Network } from "@wheelwork/services";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { datapathIdOf, switchIdOf, type Rule } from "../../src/controller/model.ts";
import { rulesOf } from "../../src/controller/rules.ts";
import type { StoredFlow } from "../../src/controller/store.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { System, until } from "../crash/system.ts";

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

const switches = 6;
/** Longest pause between two faults, in milliseconds. */
const pauseMs = 1_500;
/** How long a link, a switch or a process is away at most, in milliseconds. */
const awayMs = 5_000;
const settledWithinMs = 120_000;
const sw = (number: number): string => switchIdOf(BigInt(number));

/** Hosts, and where they are. Host 2 meets host 1, and host 4 meets host 3, whatever happens between them. */
const hosts = [
  { at: 1, vlan: 10 },
  { at: 6, vlan: 20 },
  { at: 3, vlan: 0 },
  { at: 4, vlan: 30 },
] as const;
const pinging = ["ping-12", "ping-34"] as const;
const others = Array.from({ length: 8 }, (_, index) => `f${index + 1}`);

const endOf = (host: number, vlan: number) => ({
  switch_id: sw(hosts[host]?.at ?? 1),
  port_number: 1,
  vlan_id: vlan,
});

/** A grid of real switches in two rows, with hosts, driven by the application in a process of its own. */
class Stage {
  readonly network: Network;
  readonly system: System;

  private constructor(network: Network, system: System) {
    this.network = network;
    this.system = system;
  }

  static async open({ name, data }: ChaosPlan): Promise<Stage> {
    const network = new Network(name, join(data, "network"));
    await network.start("grid", switches);
    for (const [index, { at, vlan }] of hosts.entries()) await network.host(index + 1, at, 1, vlan);
    const args = ["--network", "--openflow", network.controllerPath, "--switches", `${switches}`];
    return new Stage(network, await System.on(join(data, "app"), args));
  }

  async start(): Promise<void> {
    this.system.launch();
    await this.system.ready();
  }

  /** Every switch connects at once: otherwise each waits up to eight seconds. */
  async connect(): Promise<void> {
    for (let number = 1; number <= switches; number++) {
      await this.network.switch(number, "off");
      await this.network.switch(number, "on");
    }
  }

  async end(): Promise<void> {
    await this.system.kill("SIGKILL").catch(() => null);
    this.network.stop();
  }
}

interface Reply {
  readonly status: number;
  readonly body: unknown;
}

/** Sends a request, and again under the same name until it has an answer. */
async function ask(
  url: string,
  method: string,
  path: string,
  body?: object,
  name: string = randomUUID(),
): Promise<Reply> {
  for (;;) {
    try {
      const reply = await fetch(`${url}${path}`, {
        method,
        headers: { "content-type": "application/json", correlation_id: name, prefer: "wait=20" },
        ...(method === "GET" ? {} : { body: JSON.stringify(body ?? {}) }),
      });
      const told = (await reply.json()) as unknown;
      if (reply.status !== 202 && reply.status !== 503 && reply.status !== 429)
        return { status: reply.status, body: told };
    } catch {
      // The application has died, or is about to start.
    }
    await sleep(50);
  }
}

/**
 * Operations on flows of a network of real switches, while links are cut, switches lose their controller or start anew, and the application is
 * killed. In the end all is mended: then every flow must be UP without anybody's help, the switches must have its rules and no others, the
 * books must be balanced, hosts must reach each other, and no flow may be locked. Open vSwitch and pings are asked for that.
 */
export async function chaos(plan: ChaosPlan): Promise<ChaosReport> {
  const { faults: most, seed, progress } = plan;
  const random = seeded(seed);
  const int = (below: number): number => Math.floor(random() * below);
  const pick = <T>(list: readonly T[]): T => list[int(list.length)] as T;
  const stage = await Stage.open(plan);
  const { network, system } = stage;
  const { links } = network.made();
  const problems: string[] = [];
  const made: Record<string, number> = {};
  const statuses: Record<string, number> = {};
  let operations = 0;
  const load = { on: true };

  const during = async (begin: () => unknown, end: () => unknown): Promise<void> => {
    await begin();
    await sleep(random() * awayMs);
    await end();
  };
  const kinds: Readonly<Record<string, () => Promise<void>>> = {
    "cut a link": async () => {
      const [one, other] = pick(links);
      await during(
        () => network.link(one, other, "down"),
        () => network.link(one, other, "up"),
      );
    },
    "kill the application": async () => {
      await system.kill("SIGKILL");
      await stage.start();
      await stage.connect();
    },
    "take the controller of a switch": async () => {
      const number = 1 + int(switches);
      await during(
        () => network.switch(number, "off"),
        () => network.switch(number, "on"),
      );
    },
    "start a switch anew": async () => network.switch(1 + int(switches), "reset"),
    "start all switches anew": async () => {
      await network.crash();
      await stage.connect();
    },
    "cut two links": async () => {
      const [first, second] = [pick(links), pick(links)];
      network.link(...first, "down");
      await sleep(random() * 300);
      await during(
        () => network.link(...second, "down"),
        () => (network.link(...second, "up"), network.link(...first, "up")),
      );
    },
    "delete rules by hand": async () => {
      await network.ofctl(1 + int(switches), "del-flows", `in_port=1`);
    },
  };

  const work = async (): Promise<void> => {
    while (load.on) {
      const flow = pick([...others, ...pinging]);
      const isKept = pinging.includes(flow as never);
      const index = others.indexOf(flow);
      const spec = {
        flow_id: flow,
        source: endOf(index % 4, 100 + index),
        destination: endOf((index + 1 + int(3)) % 4, 100 + index),
        maximum_bandwidth: 1000 * (1 + int(3)),
        allocate_protected_path: random() < 0.3,
      };
      const [method, path, body] = pick<readonly [string, string, object?]>(
        isKept
          ? [
              ["POST", `/v2/flows/${flow}/reroute`],
              ["PATCH", `/v1/flows/${flow}/sync`],
              [
                "PATCH",
                `/v2/flows/${flow}`,
                { description: `${int(100)}`, maximum_bandwidth: 10_000 + int(10) },
              ],
            ]
          : [
              ["POST", "/v2/flows", spec],
              ["POST", "/v2/flows", spec],
              ["PUT", `/v2/flows/${flow}`, spec],
              ["PATCH", `/v2/flows/${flow}`, { maximum_bandwidth: 1000 * (1 + int(5)) }],
              ["DELETE", `/v2/flows/${flow}`],
              ["POST", `/v2/flows/${flow}/reroute`],
              ["PATCH", `/v1/flows/${flow}/swap`],
              ["PATCH", `/v1/flows/${flow}/sync`],
              ["GET", `/v1/flows/${flow}/validate`],
            ],
      );
      const name = randomUUID();
      const first = await ask(system.url, method, path, body, name);
      operations++;
      statuses[`${method} ${first.status}`] = (statuses[`${method} ${first.status}`] ?? 0) + 1;
      // What was done is done once, and has one answer. Who was refused may ask again.
      if (first.status === 200 && method !== "GET" && random() < 0.3) {
        const again = await ask(system.url, method, path, body, name);
        const [one, two] = [first, again].map(
          ({ body: told }) => (told as { flow_id?: string; flowid?: string }) ?? {},
        );
        if (again.status !== 200 || (one?.flow_id ?? one?.flowid) !== (two?.flow_id ?? two?.flowid))
          problems.push(`${method} ${path} under ${name}: first ${first.status}, then ${again.status}`);
      }
      await sleep(random() * 100);
    }
  };

  try {
    await stage.start();
    await stage.connect();
    await until("the links", settledWithinMs, async () => {
      const { body } = await ask(system.url, "GET", "/v1/links");
      const up = (body as readonly { state: string }[]).filter(({ state }) => state === "DISCOVERED");
      return up.length === 2 * links.length;
    });
    for (const [index, flow_id] of pinging.entries()) {
      const { status, body } = await ask(system.url, "POST", "/v2/flows", {
        flow_id,
        source: endOf(2 * index, hosts[2 * index]?.vlan ?? 0),
        destination: endOf(2 * index + 1, hosts[2 * index + 1]?.vlan ?? 0),
        maximum_bandwidth: 10_000,
        allocate_protected_path: index === 1,
      });
      if (status !== 200) throw new Error(`${flow_id} could not be created: ${JSON.stringify(body)}`);
    }
    const working = Promise.all(Array.from({ length: plan.clients }, work));
    working.catch(() => {});
    const names = Object.keys(kinds);
    for (let count = 0; count < most; count++) {
      await sleep(random() * pauseMs);
      const name = names[count] ?? pick(names);
      await kinds[name]?.();
      made[name] = (made[name] ?? 0) + 1;
      if ((count + 1) % 10 === 0) progress?.(`${count + 1} faults, ${operations} operations`);
    }
    load.on = false;
    await working;
    progress?.(`${operations} operations; now everything is compared`);
    // What was changed by hand is put right at the next connection.
    const began = performance.now();
    await stage.connect();
    let waiting: readonly string[] = [];
    await until("all flows are UP", settledWithinMs, async () => {
      const { body } = await ask(system.url, "GET", "/v2/flows");
      waiting = (body as readonly { flow_id: string; status: string; status_info?: string }[])
        .filter(({ status }) => status !== "Up" && status !== "Degraded")
        .map(({ flow_id, status, status_info }) => `${flow_id} is ${status}: ${status_info ?? "no reason"}`);
      return waiting.length === 0;
    }).catch(() => problems.push(...waiting));
    const upMs = Math.round(performance.now() - began);
    // No lock without a run: each flow takes an operation, and what it then has is right.
    const { body: listed } = await ask(system.url, "GET", "/v2/flows");
    for (const { flow_id } of listed as readonly { flow_id: string }[]) {
      const synced = await ask(system.url, "PATCH", `/v1/flows/${flow_id}/sync`);
      if (synced.status !== 200)
        problems.push(`${flow_id} cannot be synchronised: ${JSON.stringify(synced.body)}`);
      const { status, body } = await ask(system.url, "GET", `/v1/flows/${flow_id}/validate`);
      const wrong =
        status === 200 && (body as readonly { as_expected: boolean }[]).some((one) => !one.as_expected);
      if (status !== 200 || wrong) problems.push(`${flow_id} is not valid: ${JSON.stringify(body)}`);
    }
    for (const [one, other] of [
      [1, 2],
      [3, 4],
    ] as const) {
      const answered = await network.ping(one, other, 10);
      if (answered < 10)
        problems.push(`${answered} of 10 pings from host ${one} to host ${other} were answered`);
    }
    const left = (await ask(system.url, "GET", "/switches/unconfirmed")).body as { count: number };
    if (left.count > 0) problems.push(`${left.count} removals of the original flows are not confirmed`);
    const code = await system.kill("SIGTERM");
    if (code !== 0) problems.push(`SIGTERM ended the application with ${code}, not with 0`);
    problems.push(...(await differences(network, join(plan.data, "app", "flows.db"))));
    return { faults: made, operations, statuses, upMs, problems };
  } finally {
    load.on = false;
    await stage.end();
  }
}

/** What Open vSwitch has, against what the flows in the database need. */
async function differences(network: Network, file: string): Promise<string[]> {
  const store = new SqliteFlowStore(file);
  const flows = await store.flows({ limit: 1000 });
  const problems = [...(await store.audit())];
  await store.close();
  return [...problems, ...(await switchDifferences(network, flows))];
}

/** What Open vSwitch has, against what flows need. */
export async function switchDifferences(network: Network, flows: readonly StoredFlow[]): Promise<string[]> {
  const problems: string[] = [];
  for (let number = 1; number <= network.made().switches; number++) {
    const wanted = rulesAt(flows, number);
    const should = new Set(wanted.flatMap((rule) => (rule.kind === "rule" ? [nameOf(rule)] : [])));
    const has = new Set(
      (await network.dump(number)).filter((line) => !line.includes("dl_type=0x88cc")).map(nameOfLine),
    );
    const meters = new Set(wanted.flatMap((rule) => (rule.kind === "meter" ? [String(rule.meter)] : [])));
    const dumped = await network.ofctl(number, "dump-meters");
    const hasMeters = new Set(Array.from(dumped.matchAll(/meter=(\d+)/g), ([, meter]) => meter ?? ""));
    for (const [kind, all, there] of [
      ["the rule", should, has],
      ["the meter", meters, hasMeters],
    ] as const) {
      for (const one of all) if (!there.has(one)) problems.push(`switch ${number} lacks ${kind} ${one}`);
      for (const one of there)
        if (!all.has(one)) problems.push(`switch ${number} has ${kind} ${one} too much`);
    }
  }
  return problems;
}

const rulesAt = (flows: readonly StoredFlow[], number: number): readonly Rule[] =>
  flows
    .flatMap((flow) => {
      const { inner, entries } = rulesOf(flow);
      return [...inner, ...entries];
    })
    .filter(({ switchId }) => Number(datapathIdOf(switchId)) === number);

const nameOf = ({ cookie, priority, inPort, vlan }: Extract<Rule, { kind: "rule" }>): string =>
  `${BigInt(`0x${cookie}`).toString(16)} ${priority} ${inPort} ${vlan ?? "any"}`;

/** The same from a line of `ovs-ofctl dump-flows`. */
function nameOfLine(line: string): string {
  const [cookie, priority, inPort, vlan] = [
    /cookie=0x([0-9a-f]+)/,
    /priority=(\d+)/,
    /in_port="?(?:l\d+-|h|ed)?(\d+)"?/,
    /dl_vlan=(\d+)/,
  ].map((pattern) => pattern.exec(line)?.[1]);
  const isLink = /in_port="?l\d+-/.test(line);
  const isHost = /in_port="?(?:h|ed)/.test(line);
  const port = isLink ? 100 + Number(inPort) : isHost ? 1 : Number(inPort);
  return `${cookie} ${priority} ${port} ${vlan ?? "any"}`;
}
