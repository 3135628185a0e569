import { cpSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { checkAnswers, checkRequests } from "../crash/checks.ts";
import { Client, type Told } from "../crash/client.ts";
import { System, until } from "../crash/system.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { Ring } from "./lab.ts";

/** What a campaign on real switches does. */
export interface CampaignPlan {
  readonly faults: number;
  readonly seed: number;
  /** The folder of the application. */
  readonly data: string;
  readonly clients: number;
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface CampaignReport {
  readonly faults: Readonly<Record<string, number>>;
  readonly requests: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** How long it took after the last fault until every switch had exactly what it should have, in milliseconds. */
  readonly settledMs: number;
  readonly problems: readonly string[];
}

const switches = 4;
/** Longest pause between two faults, in milliseconds. */
const pauseMs = 600;
/**
 * How long a switch is away, or frozen, at most, in milliseconds: longer than the clean-up of a flow tries, and in long campaigns longer than
 * Open vSwitch may wait before it connects again.
 */
const awayMsOf = (faults: number): number => (faults > 20 ? 9000 : 6000);
const settledWithinMs = 120_000;
/** Flows of clients have fewer rules than this. So a rule with this number or a higher one is of the stale owner, which is asked for it. */
const mostRules = 12;

/**
 * Makes flows on real switches, and meanwhile kills the application and the switches, freezes them, cuts them off, fills their tables, changes
 * their rules by hand, and gives them another owner, while the former one is frozen and wakes up. In the end each request has one answer, flows
 * that are up have all their rules, and nothing else of ours is on any switch. Open vSwitch itself is asked for that, and not the application.
 */
export async function campaign(plan: CampaignPlan): Promise<CampaignReport> {
  const { faults: most, seed, data, progress } = plan;
  const random = seeded(seed);
  const awayMs = awayMsOf(most);
  const int = (below: number): number => Math.floor(random() * below);
  const ring = await Ring.prepare(switches);
  let owners = 0;
  /** Another process for the switches, on a folder of its own. */
  const newOwner = async (): Promise<{ readonly system: System; readonly folder: string }> => {
    const folder = join(data, `${++owners}`);
    const args = ["--network", "--openflow", `127.0.0.1:${ring.port}`, "--switches", `${switches}`];
    return { system: await System.on(folder, args), folder };
  };
  let { system, folder } = await newOwner();
  /** Aborted when clients are to go to another owner. */
  let left = new AbortController();
  const problems: string[] = [];
  const start = async (): Promise<void> => {
    system.launch();
    await system.ready();
  };
  const numbers = Array.from({ length: switches }, (_, index) => index + 1);
  const connect = async (): Promise<void> => {
    for (const number of numbers) await ring.lab.connect(number, ring.target);
  };
  const any = (): number => numbers[int(switches)] as number;
  /** The cookie of some rule of ours on a switch. */
  const someCookie = async (number: number): Promise<string | undefined> => {
    const cookies = (await ring.cookies(number)).filter((cookie) => cookie >> 56n === 0x57n);
    const cookie = cookies[int(Math.max(1, cookies.length))];
    return cookie === undefined ? undefined : `0x${cookie.toString(16)}`;
  };
  const kinds: Readonly<Record<string, () => Promise<void>>> = {
    "kill the application": async () => {
      await system.kill("SIGKILL");
      await start();
      await connect();
    },
    "kill the switches": async () => {
      await ring.lab.crash();
      await connect();
    },
    "freeze the switches": async () => {
      ring.lab.signal("SIGSTOP");
      await sleep(random() * awayMs);
      ring.lab.signal("SIGCONT");
    },
    "cut a switch off": async () => {
      const number = any();
      await ring.lab.connect(number, "tcp:127.0.0.1:1");
      await sleep(random() * awayMs);
      await ring.lab.connect(number, ring.target);
    },
    "break a connection": async () => ring.lab.connect(any(), ring.target),
    "let a stale owner wake up": async () => {
      const stale = { system, folder, target: ring.target };
      stale.system.signal("SIGSTOP");
      await ring.move();
      ({ system, folder } = await newOwner());
      // As they are: it is frozen. Those of shared memory are of no use without its process.
      cpSync(stale.folder, folder, { recursive: true, filter: (file) => !basename(file).endsWith("-shm") });
      left.abort();
      left = new AbortController();
      await start();
      // Half of the time the stale owner has its connections still, and thinks that it is their master.
      const isConnected = random() < 0.5;
      for (const number of numbers)
        if (isConnected) await ring.lab.vsctl("set-controller", `s${number}`, stale.target, ring.target);
        else await ring.lab.connect(number, ring.target);
      const before = told.length;
      await until("a flow of the new owner", settledWithinMs, async () =>
        told.slice(before).some(({ status }) => status === 200),
      );
      const watches = await Promise.all(numbers.map((number) => ring.lab.watch(number)));
      stale.system.signal("SIGCONT");
      const status = await makeFlow(stale.system.url, `stale-${owners}`, 2 * mostRules);
      if (status === 200) problems.push("a stale owner has said that a flow is up");
      const changes = (await Promise.all(watches.map((watch) => watch.stop()))).flat();
      const ofStale = changes.filter((line) => Number(cookieIn(line) & 0xf_ffffn) >= mostRules);
      if (ofStale.length > 0) problems.push(`a stale owner has written: ${ofStale.join(" | ")}`);
      if (changes.length === 0)
        problems.push("nobody has written while a stale owner was awake: this shows nothing");
      await stale.system.kill("SIGKILL");
      await connect();
    },
    "fill a table": async () => {
      await ring.limit(int(10));
      await sleep(random() * pauseMs);
      await ring.lab.vsctl("clear", "Bridge", "s1", "flow_tables");
    },
    "delete a rule by hand": async () => {
      const number = any();
      const cookie = await someCookie(number);
      if (cookie !== undefined) await ring.lab.ofctl(number, "del-flows", `cookie=${cookie}/-1`);
    },
    "change a rule by hand": async () => {
      const number = any();
      const cookie = await someCookie(number);
      if (cookie !== undefined) await ring.lab.ofctl(number, "mod-flows", `cookie=${cookie}/-1,actions=drop`);
    },
    "add a rule by hand": async () => {
      const cookie = `0x57${(0x800000000 + int(1000)).toString(16)}00000`;
      await ring.lab.ofctl(any(), "add-flow", `cookie=${cookie},priority=${int(1000)},arp,actions=drop`);
    },
  };
  const made: Record<string, number> = {};
  const told: Told[] = [];
  let sent = 0;
  const load = { on: true };
  const work = async (): Promise<void> => {
    const client = new Client(() => ({ url: system.url, left: left.signal }));
    while (load.on) {
      const draw = random();
      const number = sent++;
      const wish = {
        key: `key-${seed}-${number}`,
        flowid: `flow-${number}`,
        length: 1 + int(mostRules),
        error: draw < 0.8 ? null : draw < 0.9 ? (1 as const) : (2 as const),
        cancelAfterMs: random() < 0.1 ? random() * 50 : undefined,
      };
      told.push(await client.create(wish));
      // Not all at once: they are to meet the faults.
      await sleep(random() * 50);
    }
  };
  try {
    await start();
    await connect();
    const working = Promise.all(Array.from({ length: plan.clients }, work));
    // It is awaited below; until then it must not end the process.
    working.catch(() => {});
    const names = Object.keys(kinds);
    for (let count = 0; count < most; count++) {
      await sleep(random() * pauseMs);
      // Each of them, and then any.
      const name = names[count] ?? (names[int(names.length)] as string);
      await kinds[name]?.();
      made[name] = (made[name] ?? 0) + 1;
      if ((count + 1) % 20 === 0) progress?.(`${count + 1} faults, ${told.length} requests answered`);
    }
    // The last ones meet switches that work.
    const before = told.length;
    await until("answers after the last fault", settledWithinMs, () =>
      Promise.resolve(told.length > before + 10),
    );
    load.on = false;
    await working;
    progress?.(`${told.length} requests answered; now everything is compared`);
    problems.push(...(await checkAnswers(system.url, told)), ...(await checkRequests(system.url, told)));
    // What was changed by hand is put right at the next connection.
    await connect();
    const began = performance.now();
    const wanted = told.filter(({ status }) => status === 200).map(({ length }) => length);
    let differences: readonly string[] = [];
    await until("what the switches should have", settledWithinMs, async () => {
      differences = await differencesOf(ring, wanted);
      return differences.length === 0;
    }).catch(() => {});
    problems.push(...differences);
    const settledMs = Math.round(performance.now() - began);
    const left = (await (await fetch(`${system.url}/switches/unconfirmed`)).json()) as { count: number };
    if (left.count > 0) problems.push(`${left.count} removals are not confirmed`);
    const code = await system.kill("SIGTERM");
    if (code !== 0) problems.push(`SIGTERM ended the application with ${code}, not with 0`);
    const statuses: Record<string, number> = {};
    for (const { status } of told) statuses[status] = (statuses[status] ?? 0) + 1;
    return { faults: made, requests: told.length, statuses, settledMs, problems };
  } finally {
    load.on = false;
    await system.kill("SIGKILL").catch(() => null);
    await ring.end();
  }
}

const cookieIn = (line: string): bigint => BigInt(/cookie=(0x[0-9a-f]+)/.exec(line)?.[1] ?? -1);

/** Asks a system for a flow; the status of its answer. */
async function makeFlow(url: string, flowid: string, length: number): Promise<number> {
  const response = await fetch(`${url}/flow`, {
    method: "POST",
    headers: { "content-type": "application/json", "idempotency-key": flowid, prefer: "wait=30" },
    body: JSON.stringify({ flowid, length, error: null }),
    signal: AbortSignal.timeout(60_000),
  });
  return response.status;
}

/** How the switches differ from flows of these lengths. */
async function differencesOf(ring: Ring, lengths: readonly number[]): Promise<string[]> {
  const problems: string[] = [];
  const flows = new Map<bigint, number[]>();
  for (let number = 1; number <= switches; number++) {
    for (const line of await ring.rules(number)) {
      const cookie = cookieIn(line);
      const [owner, ruleid] = [cookie >> 20n, Number(cookie & 0xf_ffffn)];
      const isRight =
        line.includes("priority=100,ipv6") &&
        line.includes(`actions=output:${100 + (number % switches) + 1}`);
      if (!isRight || (ruleid % switches) + 1 !== number)
        problems.push(`switch ${number} has ${line.trim()}`);
      flows.set(owner, [...(flows.get(owner) ?? []), ruleid]);
    }
  }
  const found: number[] = [];
  for (const [owner, rules] of flows) {
    const isWhole = rules.toSorted((a, b) => a - b).every((ruleid, index) => ruleid === index);
    if (isWhole) found.push(rules.length);
    else problems.push(`the request ${owner & 0xf_ffff_ffffn} has the rules ${rules.join()}`);
  }
  const text = (list: readonly number[]): string => list.toSorted((a, b) => a - b).join();
  if (text(found) !== text(lengths))
    problems.push(`there are ${found.length} flows on the switches, and ${lengths.length} are up`);
  return problems;
}
