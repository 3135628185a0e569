import { EventEmitter } from "node:events";
import {
  OpenFlowError,
  type FlowFilter,
  type FlowMod,
  type FlowStats,
  type Message,
} from "@wheelwork/openflow";
import { expect, test } from "vitest";
import { OpenFlowSwitches } from "../../src/floodlight/openflow-switches.ts";
import type { DrivenSwitch } from "../../src/floodlight/switch-source.ts";
import type { AnswerWord } from "../../src/floodlight/wire.ts";
import { portTo } from "../../src/network.ts";
import { commandOf, requestA, requestB } from "./lab.ts";
import { Scheduler } from "./scheduler.ts";

// Switches and connections in the worst order that a random generator finds. What real switches do is in the other tests here; this one
// plays what they do seldom: bytes that land late, switches that are started anew in the middle, replies that never come.

const seeds = Number(process.env["WHEELWORK_SEEDS"] ?? 250);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

/** Bytes on their way to a switch: a message, or a question. `done` is undefined if nobody waits for it alone. */
interface Sent {
  readonly message?: FlowMod;
  readonly done?: () => void;
}

/** A switch: its table, and who is its master. */
class Table {
  readonly number: number;
  readonly flows = new Map<string, FlowMod>();
  limit = Number.POSITIVE_INFINITY;
  master: Connection | undefined = undefined;

  constructor(number: number) {
    this.number = number;
  }

  /** Whether it takes a message of its master. */
  take(message: FlowMod): boolean {
    if (message.command === "delete") {
      for (const [key, { cookie }] of this.flows) if (cookie === message.cookie) this.flows.delete(key);
      return true;
    }
    const key = JSON.stringify(message.match);
    if (!this.flows.has(key) && this.flows.size >= this.limit) return false;
    this.flows.set(key, message);
    return true;
  }

  get cookies(): bigint[] {
    return Array.from(this.flows.values(), ({ cookie }) => cookie);
  }
}

type Events = Record<string, unknown[]>;

/** A connection with a switch. Its bytes arrive in their order, some time. Once it is broken they may still land, until there is a new master. */
class Connection extends EventEmitter<Events> {
  readonly datapathId: bigint;
  readonly #table: Table;
  readonly #scheduler: Scheduler;
  readonly #queue: Sent[] = [];
  readonly #open = new Set<(error: OpenFlowError) => void>();
  #isBroken = false;

  constructor(table: Table, scheduler: Scheduler) {
    super();
    this.datapathId = BigInt(table.number);
    this.#table = table;
    this.#scheduler = scheduler;
    table.master = this;
  }

  ports(): Promise<{ port: number }[]> {
    return this.#ask([], () => [{ port: portTo(1) }, { port: portTo(2) }]);
  }

  flows(filter: Partial<FlowFilter> = {}): Promise<FlowStats[]> {
    const { cookie = 0n, cookieMask = 0n } = filter;
    return this.#ask(
      [],
      () =>
        Array.from(this.#table.flows.values()).filter(
          (flow) => (flow.cookie & cookieMask) === (cookie & cookieMask),
        ) as unknown as FlowStats[],
    );
  }

  async apply(messages: readonly Message[]): Promise<void> {
    const refused: number[] = [];
    await this.#ask(messages as readonly FlowMod[], () => {}, refused);
    if (refused.length === 0) return;
    const refusals = refused.map((index) => ({
      index,
      errorType: 5,
      code: 1,
      name: "FLOW_MOD_FAILED/TABLE_FULL",
    }));
    throw new OpenFlowError("WW_OF_REFUSED", "the table is full", { refusals });
  }

  close(): void {
    this.break();
  }

  break(): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    const error = new OpenFlowError("WW_OF_UNKNOWN", "the connection has ended");
    for (const fail of this.#open) fail(error);
    this.emit("end", error);
  }

  #ask<T>(messages: readonly FlowMod[], reply: () => T, refused: number[] = []): Promise<T> {
    if (this.#isBroken) return Promise.reject(new OpenFlowError("WW_OF_CLOSED", "the connection has ended"));
    return new Promise<T>((resolve, reject) => {
      this.#open.add(reject);
      const sent: Sent[] = messages.map((message) => ({ message }));
      const done = (): void => {
        // What the switch says takes its time as well.
        const value = reply();
        this.#scheduler.add(() => {
          if (this.#open.delete(reject)) resolve(value);
        });
      };
      for (const one of [...sent, { done }]) {
        this.#queue.push(one);
        this.#scheduler.add(() => this.#arrive(messages, refused));
      }
    });
  }

  /** The first bytes that have not arrived yet do. */
  #arrive(group: readonly FlowMod[], refused: number[]): void {
    const next = this.#queue.shift();
    // A switch obeys its newest master only.
    if (next === undefined || this.#table.master !== this) return;
    if (next.message !== undefined && !this.#table.take(next.message))
      refused.push(group.indexOf(next.message));
    next.done?.();
  }
}

/** Brings connections. */
class Source extends EventEmitter<Events> {
  readonly port = 0;
  close(): Promise<void> {
    return Promise.resolve();
  }
}

interface Asked {
  readonly key: string;
  readonly command: string;
  word: AnswerWord | undefined | "pending";
}

async function play(
  seed: number,
): Promise<{ readonly problems: string[]; readonly words: ReadonlySet<unknown> }> {
  const scheduler = new Scheduler(seed);
  const tables = [new Table(1), new Table(2)];
  const connections = new Map<Table, Connection>();
  const source = new Source();
  const switches = await OpenFlowSwitches.over(() => Promise.resolve(source as never), {
    path: ":memory:",
    switches: 2,
    durability: "normal",
    clock: { soon: (task) => scheduler.add(task), wallMs: () => 1 },
  });
  const connect = (table: Table): void => {
    connections.get(table)?.break();
    const one = new Connection(table, scheduler);
    connections.set(table, one);
    source.emit("switch", one as unknown as DrivenSwitch);
  };
  const asked: Asked[] = [];
  const problems: string[] = [];
  const cookieOf = new Map<string, bigint>();
  /** Rules that were said to be gone. */
  const gone = new Set<string>();
  const ask = (command: "install" | "validate" | "remove" | "validate-removed"): void => {
    const request = scheduler.random() < 0.5 ? requestA : requestB;
    const one: Asked = { ...commandOf(command, request, scheduler.int(4)), word: "pending" };
    asked.push(one);
    void switches.execute(commandOf(command, request, Number(one.key.slice(33)))).then((word) => {
      one.word = word;
      if (word === "removed" || word === "absent") gone.add(one.key);
    });
  };
  const look = (): void => {
    for (const { flows } of tables)
      for (const { cookie } of flows.values()) {
        const ruleid = Number(cookie & 0xfffffn);
        const owner = cookie >> 20n;
        for (const [key, known] of cookieOf)
          if (known === cookie && gone.has(key)) problems.push(`${key} was gone, and is there`);
        // Requests are numbered in the order in which their first rule was wanted.
        const wanted = switches
          .rules()
          .find((rule) => rule.ruleid === ruleid && numberOf(rule.cookie) === owner);
        if (wanted !== undefined) cookieOf.set(`${wanted.cookie}-${ruleid}`, cookie);
      }
  };
  const numbers = new Map<string, bigint>();
  const numberOf = (request: string): bigint | undefined => numbers.get(request);
  const learn = (): void => {
    for (const { flows } of tables)
      for (const { cookie, match } of flows.values()) {
        const rules = switches.rules().filter(({ ruleid }) => BigInt(ruleid) === (cookie & 0xfffffn));
        if (match.length > 0 && rules.length === 1) numbers.set(rules[0]?.cookie ?? "", cookie >> 20n);
      }
  };
  const faults = [
    (table: Table) => connect(table),
    (table: Table) => connections.get(table)?.break(),
    (table: Table) => {
      table.flows.clear();
      connections.get(table)?.break();
    },
    (table: Table) => (table.limit = scheduler.int(4)),
    (table: Table) => (table.limit = Number.POSITIVE_INFINITY),
  ];
  for (const table of tables) connect(table);
  for (let step = 0; step < 250; step++) {
    const draw = scheduler.random();
    if (draw < 0.15)
      ask(
        (["install", "install", "remove", "validate", "validate-removed"] as const)[scheduler.int(5)] ??
          "install",
      );
    else if (draw < 0.19) faults[scheduler.int(faults.length)]?.(tables[scheduler.int(2)] as Table);
    else await scheduler.step();
    learn();
    look();
    // It is not counted anew each time.
    const { count } = switches.page({ limit: 1 });
    if (count !== switches.rules().length)
      problems.push(`${switches.rules().length} rules are wanted, and ${count} are counted`);
  }
  // Everything is well again.
  for (const table of tables) table.limit = Number.POSITIVE_INFINITY;
  while (!scheduler.isIdle) await scheduler.step();
  for (const table of tables) connect(table);
  while (!scheduler.isIdle) await scheduler.step();
  look();
  const wanted = switches.rules().map(({ cookie, ruleid }) => `${cookie}-${ruleid}`);
  const has = tables.reduce((sum, { flows }) => sum + flows.size, 0);
  if (has !== wanted.length) problems.push(`${wanted.length} rules are wanted, and ${has} are there`);
  if (switches.unconfirmed(10).count > 0) problems.push("removals are not confirmed");
  const removed = new Set(asked.filter(({ command }) => command === "remove").map(({ key }) => key));
  for (const { key, command, word } of asked) {
    if (word === "pending") problems.push(`${command} ${key} was never settled`);
    if (word === "installed" && !removed.has(key) && !wanted.includes(key))
      problems.push(`${key} was installed, and is lost`);
    if (word === "removed" && wanted.includes(key)) problems.push(`${key} was removed, and is wanted`);
  }
  for (const key of removed)
    if (wanted.includes(key)) problems.push(`${key} was to be removed, and is wanted`);
  await switches.close();
  return { problems, words: new Set(asked.map(({ command, word }) => `${command}: ${word}`)) };
}

/** What must come of the commands. */
const words = [
  "install: installed",
  "install: fenced",
  "install: table-full",
  "install: undefined",
  "remove: removed",
  "remove: undefined",
  "validate: validated",
  "validate: missing",
  "validate-removed: absent",
  "validate-removed: unremoved",
];

test(
  `switches have what they should have, in whatever order things happen (${seeds} seeds)`,
  { timeout: 600_000 },
  async () => {
    const seen = new Set<unknown>();
    for (let seed = from; seed < from + seeds; seed++) {
      const { problems, words } = await play(seed);
      expect(problems, `WHEELWORK_SEED=${seed} WHEELWORK_SEEDS=1`).toEqual([]);
      for (const word of words) seen.add(word);
    }
    // A generator that has fallen silent shows here, in all but the shortest runs.
    const missing = words.filter((word) => !seen.has(word));
    expect(seeds < 100 ? [] : missing).toEqual([]);
  },
);
