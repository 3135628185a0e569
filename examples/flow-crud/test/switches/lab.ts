import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, OpenVSwitch, waitUntil } from "@wheelwork/services";
import { systemClock } from "wheelwork";
import { portTo } from "../../src/network.ts";
import { OpenFlowSwitches, type OpenFlowOptions } from "../../src/floodlight/openflow-switches.ts";
import { SimulatedSwitches } from "../../src/floodlight/simulated-switches.ts";
import { defaultFenceMs, type Switches } from "../../src/floodlight/switches.ts";
import type { AnswerWord, Command, CommandName } from "../../src/floodlight/wire.ts";

export const requestA = "a".repeat(32);
export const requestB = "b".repeat(32);

/** A command for a rule of a flow. */
export const commandOf = (command: string, cookie: string, ruleid: number, flowid = "test-01"): Command => ({
  key: `${cookie}-${ruleid}`,
  cookie,
  flowid,
  ruleid,
  error: null,
  command,
});

/** Switches of one kind, which the conformance suite drives. */
export interface Driven {
  readonly switches: Switches;
  /** What is really there: request and number of each rule, in order. */
  held(): Promise<string[]>;
  /** The process that drives them has ended, and another one begins. */
  reopen(): Promise<void>;
  /** Lets the switch of rule 0 hold so many rules. */
  limit(rules: number): Promise<void>;
  end(): Promise<void>;
}

/** Gives commands one after the other, and gives the answers. */
export async function ask(
  switches: Switches,
  ...commands: readonly (readonly [CommandName, string, number])[]
): Promise<(AnswerWord | undefined)[]> {
  const answers: (AnswerWord | undefined)[] = [];
  for (const [command, request, ruleid] of commands)
    answers.push(await switches.execute(commandOf(command, request, ruleid)));
  return answers;
}

function newFolder(): string {
  return mkdtempSync(join(tmpdir(), "wheelwork-switches-"));
}

/** Two simulated switches. */
export function simulated(): Promise<Driven> {
  const folder = newFolder();
  let tableSize = Number.POSITIVE_INFINITY;
  const open = (): SimulatedSwitches =>
    new SimulatedSwitches({
      path: join(folder, "switches.db"),
      switches: 2,
      tableSize,
      durability: "full",
      fenceMs: defaultFenceMs,
      soon: (task) => systemClock.soon(task),
      wallMs: () => systemClock.wallMs(),
    });
  let switches = open();
  const driven = {
    get switches() {
      return switches;
    },
    held: () => Promise.resolve(switches.rules().map(({ cookie, ruleid }) => `${cookie[0]}${ruleid}`)),
    reopen: async () => {
      await switches.close();
      switches = open();
    },
    limit: async (rules: number) => {
      tableSize = rules;
      await driven.reopen();
    },
    end: async () => {
      await switches.close();
      rmSync(folder, { recursive: true });
    },
  };
  return Promise.resolve(driven);
}

const patienceMs = 120_000;

/** A ring of real switches, and what drives them. */
export class Ring implements Driven {
  readonly lab = OpenVSwitch.temporary();
  readonly folder = newFolder();
  readonly problems: string[] = [];
  readonly #numbers: readonly number[];
  #switches: OpenFlowSwitches | undefined;
  #port = 0;

  private constructor(size: number) {
    this.#numbers = Array.from({ length: size }, (_, index) => index + 1);
  }

  static async start(size: number): Promise<Ring> {
    const ring = await Ring.prepare(size);
    await ring.open();
    await ring.complete();
    return ring;
  }

  /** Nothing drives it yet. */
  static async prepare(size: number): Promise<Ring> {
    const ring = new Ring(size);
    ring.#port = await freePort();
    await ring.lab.add(ring.#numbers, ring.target);
    const commands = ring.#numbers.flatMap((number) => {
      const next = (number % size) + 1;
      return size === 1 ? [] : [...patch(number, next), ...(size === 2 ? [] : patch(next, number))];
    });
    if (commands.length > 0) await ring.lab.vsctl(...commands.slice(1));
    return ring;
  }

  get switches(): OpenFlowSwitches {
    return this.#switches as OpenFlowSwitches;
  }

  /** Something else drives it now. */
  drivenBy(switches: OpenFlowSwitches | undefined): void {
    this.#switches = switches;
  }

  /** Where its switches connect. */
  get port(): number {
    return this.#port;
  }

  /** What drives it listens elsewhere from now on. Its switches are still to be told. */
  async move(): Promise<void> {
    this.#port = await freePort();
  }

  get target(): string {
    return `tcp:127.0.0.1:${this.#port}`;
  }

  async open(options: Partial<OpenFlowOptions> = {}): Promise<void> {
    this.#switches = await OpenFlowSwitches.open({
      path: join(this.folder, "switches.db"),
      switches: this.#numbers.length,
      listen: { port: this.#port, host: "127.0.0.1" },
      onProblem: (problem) => void this.problems.push(problem),
      ...options,
    });
    this.#port = this.#switches.port;
  }

  /** Waits until all switches are connected, with the ports that they have. */
  async complete(numbers: readonly number[] = this.#numbers): Promise<void> {
    for (const number of numbers)
      if (!this.switches.connected.includes(number)) await this.lab.connect(number, this.target);
    await waitUntil(() => numbers.every((number) => this.switches.connected.includes(number)), patienceMs);
  }

  /** A switch loses its controller, and keeps its rules. */
  async cut(number: number): Promise<void> {
    await this.lab.connect(number, "tcp:127.0.0.1:1");
    await waitUntil(() => !this.switches.connected.includes(number), patienceMs);
  }

  /** The rules of a switch, without the one that finds its links. */
  async rules(number: number): Promise<string[]> {
    return (await this.lab.dump(number)).filter((line) => !line.includes("dl_type=0x88cc"));
  }

  /** How many rules each switch has. */
  counts(): Promise<number[]> {
    return Promise.all(this.#numbers.map(async (number) => (await this.rules(number)).length));
  }

  /** The cookies on a switch, whoever has written them. */
  async cookies(number: number): Promise<bigint[]> {
    const lines = await this.lab.dump(number);
    return lines.map((line) => BigInt(/cookie=(0x[0-9a-f]+)/.exec(line)?.[1] ?? -1)).toSorted(ascending);
  }

  /** The rules that the switches have, by the names that the book has for their cookies. */
  async held(): Promise<string[]> {
    const found = await Promise.all(this.#numbers.map((number) => this.cookies(number)));
    const names = found.flat().map((cookie) => {
      const [owner, ruleid] = [(cookie >> 20n) & 0xf_ffff_ffffn, cookie & 0xf_ffffn];
      return `${owner === 1n ? "a" : "b"}${ruleid}`;
    });
    return names.toSorted();
  }

  async reopen(): Promise<void> {
    await this.switches.close();
    await this.open();
    await this.complete();
  }

  async limit(rules: number): Promise<void> {
    const table = ["--id=@t", "create", "Flow_Table", `flow_limit=${rules}`, "overflow_policy=refuse"];
    await this.lab.vsctl("--", ...table, "--", "set", "Bridge", "s1", "flow_tables:0=@t");
  }

  async end(): Promise<void> {
    await this.#switches?.close();
    this.lab.stop();
    rmSync(this.folder, { recursive: true });
  }
}

const ascending = (one: bigint, other: bigint): number => (one < other ? -1 : Number(one > other));

/** One end of a link, as `npm run network` names its ports. */
function patch(number: number, neighbour: number): string[] {
  const [name, peer] = [`l${number}-${neighbour}`, `l${neighbour}-${number}`];
  const settings = ["type=patch", `options:peer=${peer}`, `ofport_request=${portTo(neighbour)}`];
  return ["--", "add-port", `s${number}`, name, "--", "set", "interface", name, ...settings];
}
