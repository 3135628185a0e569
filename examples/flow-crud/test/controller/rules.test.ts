import { expect, test } from "vitest";
import {
  addressOf,
  type Endpoint,
  type FlowSpec,
  type Layout,
  type Path,
  type Rule,
} from "../../src/controller/model.ts";
import { FlowSpec as FlowSpecSchema, switchIdOf } from "../../src/controller/model.ts";
import { bySwitch, pathOfCookie, rulesOf, stepsBetween } from "../../src/controller/rules.ts";
import { seeded } from "../../src/floodlight/faults.ts";

// Packets go through the rules of random flows, while the flows move. What a real switch makes of the same rules is in the tests of the
// speaker.

const seeds = Number(process.env["WHEELWORK_SEEDS"] ?? 300);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

const id = (number: number): string => switchIdOf(BigInt(number));
/** The port of a switch to another one. A mesh has all of them. */
const portTo = (neighbour: number): number => 100 + neighbour;

interface Packet {
  readonly switchId: string;
  readonly port: number;
  /** The tags of a packet, the outer one first. */
  readonly vlans: readonly number[];
}

/** The tables of all switches, by switch and address. */
class Tables {
  readonly #rules = new Map<string, Rule>();

  put(rule: Rule): void {
    this.#rules.set(`${rule.switchId} ${addressOf(rule)}`, rule);
  }

  take(rule: Rule): void {
    this.#rules.delete(`${rule.switchId} ${addressOf(rule)}`);
  }

  get all(): string[] {
    return Array.from(this.#rules.values(), (rule) => JSON.stringify(rule)).toSorted();
  }

  /** Where a packet leaves the network; undefined: it is dropped. */
  trace({ switchId, port, vlans }: Packet, hops = 0): Packet | undefined {
    if (hops > 20) return undefined;
    const rule = Array.from(this.#rules.values())
      .filter((one) => one.kind === "rule")
      .filter((one) => one.switchId === switchId && one.inPort === port)
      .filter((one) => one.vlan === null || one.vlan === vlans[0])
      .toSorted((one, other) => other.priority - one.priority)[0];
    if (rule === undefined) return undefined;
    if (rule.meter !== null && !this.#rules.has(`${switchId} meter/${rule.meter}`)) return undefined;
    let tags = [...vlans];
    for (const action of rule.actions) {
      if (action.type === "pushVlan") tags = [0, ...tags];
      else if (action.type === "popVlan") tags = tags.slice(1);
      else if (action.type === "setVlan") tags = [action.vlan, ...tags.slice(1)];
      else {
        const out = action.port === "in" ? port : action.port;
        if (out < 100) return { switchId, port: out, vlans: tags };
        const here = Number(BigInt(`0x${switchId.replaceAll(":", "")}`));
        return this.trace({ switchId: id(out - 100), port: portTo(here), vlans: tags }, hops + 1);
      }
    }
    return undefined;
  }
}

class Draw {
  readonly #random: () => number;
  #path = 0;

  constructor(seed: number) {
    this.#random = seeded(seed);
  }

  int(below: number): number {
    return Math.floor(this.#random() * below);
  }

  endpoint(): Endpoint {
    return {
      switchId: id(1 + this.int(5)),
      port: 1 + this.int(4),
      vlan: this.int(3) === 0 ? 0 : 1 + this.int(50),
    };
  }

  /** A walk without loops from one switch to another one. */
  path(spec: FlowSpec, role: Path["role"]): Path {
    const [start, goal] = [spec.source.switchId, spec.destination.switchId];
    const between = [1, 2, 3, 4, 5].map(id).filter((one) => one !== start && one !== goal);
    const walk =
      start === goal
        ? [start]
        : [start, ...this.shuffled(between).slice(0, this.int(between.length + 1)), goal];
    const number = (one: string): number => Number(BigInt(`0x${one.replaceAll(":", "")}`));
    this.#path++;
    return {
      id: this.#path,
      role,
      segments: walk.slice(1).map((to, index) => {
        const before = walk[index] as string;
        return { from: before, fromPort: portTo(number(to)), to, toPort: portTo(number(before)) };
      }),
      vlan: walk.length === 1 ? null : 100 + this.#path,
      meters:
        spec.bandwidth === 0
          ? { forward: null, reverse: null }
          : { forward: 32 + 2 * this.#path, reverse: 33 + 2 * this.#path },
      bandwidth: spec.bandwidth,
      latencyMs: 0,
    };
  }

  shuffled<T>(list: readonly T[]): T[] {
    const rest = [...list];
    return list.map(() => rest.splice(this.int(rest.length), 1)[0] as T);
  }

  layout(source: Endpoint, destination: Endpoint): Layout {
    const spec = FlowSpecSchema.parse({
      flowId: "f",
      source,
      destination,
      bandwidth: this.int(2) * 1000,
      protectedPath: this.int(2) === 0 && source.switchId !== destination.switchId,
    });
    const roles = spec.protectedPath ? (["main", "protected"] as const) : (["main"] as const);
    return { spec, paths: roles.map((role) => this.path(spec, role)) };
  }
}

/** The packet of a host at an end of a flow: tagged if the flow has a VLAN there, and otherwise with its own tag or none. */
const packetAt = ({ switchId, port, vlan }: Endpoint, own: readonly number[] = []): Packet => ({
  switchId,
  port,
  vlans: vlan === 0 ? own : [vlan, ...own],
});

/** Both directions carry packets. What is inside stays as it is. */
function carries(tables: Tables, { source, destination }: FlowSpec): boolean {
  return ([[], [7]] as const).every(
    (own) =>
      isSame(tables.trace(packetAt(source, own)), packetAt(destination, own)) &&
      isSame(tables.trace(packetAt(destination, own)), packetAt(source, own)),
  );
}

const isSame = (one: Packet | undefined, other: Packet): boolean =>
  JSON.stringify(one) === JSON.stringify(other);

const distinct = (draw: Draw): readonly [Endpoint, Endpoint] => {
  const [source, destination] = [draw.endpoint(), draw.endpoint()];
  return source.switchId === destination.switchId &&
    source.port === destination.port &&
    source.vlan === destination.vlan
    ? distinct(draw)
    : [source, destination];
};

test(`a flow that moves carries its packets all the time, and can go back at any point (${seeds} seeds)`, () => {
  for (let seed = from; seed < from + seeds; seed++) {
    const draw = new Draw(seed);
    const why = `WHEELWORK_SEED=${seed} WHEELWORK_SEEDS=1`;
    const [source, destination] = distinct(draw);
    const before = draw.layout(source, destination);
    const after = draw.layout(source, destination);
    const tables = new Tables();
    const created = stepsBetween(null, before);
    for (const rule of draw.shuffled(created.inner)) tables.put(rule);
    expect(carries(tables, before.spec), why).toBe(false);
    for (const rule of created.entries) tables.put(rule);
    expect(carries(tables, before.spec), why).toBe(true);
    expect(created.removed.length + created.restored.length, why).toBe(0);
    const stood = tables.all;

    const steps = stepsBetween(before, after);
    // It may stop after each of these.
    const todo = [...draw.shuffled(steps.inner), ...draw.shuffled(steps.entries)];
    const stop = draw.int(todo.length + 1);
    for (const rule of todo.slice(0, stop)) {
      tables.put(rule);
      expect(carries(tables, after.spec), why).toBe(true);
    }
    // Back: also what was never sent is withdrawn, since nobody knows.
    for (const rule of steps.restored) {
      tables.put(rule);
      expect(carries(tables, after.spec), why).toBe(true);
    }
    for (const rule of draw.shuffled(steps.withdrawn)) {
      tables.take(rule);
      expect(carries(tables, after.spec), why).toBe(true);
    }
    expect(tables.all, why).toEqual(stood);

    for (const rule of todo) tables.put(rule);
    for (const rule of draw.shuffled(steps.removed)) {
      tables.take(rule);
      expect(carries(tables, after.spec), why).toBe(true);
    }
    const { inner, entries } = rulesOf(after);
    expect(tables.all, why).toEqual([...inner, ...entries].map((rule) => JSON.stringify(rule)).toSorted());
    for (const rule of stepsBetween(after, null).removed) tables.take(rule);
    expect(tables.all, why).toEqual([]);
  }
});

test("a flow that moves to other ends leaves nothing of the old ones, and can go back", () => {
  for (let seed = from; seed < from + seeds; seed++) {
    const draw = new Draw(seed);
    const why = `WHEELWORK_SEED=${seed} WHEELWORK_SEEDS=1`;
    const before = draw.layout(...distinct(draw));
    const after = draw.layout(...distinct(draw));
    const tables = new Tables();
    const first = rulesOf(before);
    for (const rule of [...first.inner, ...first.entries]) tables.put(rule);
    const stood = tables.all;
    const steps = stepsBetween(before, after);
    for (const rule of [...steps.inner, ...steps.entries]) tables.put(rule);
    for (const rule of steps.restored) tables.put(rule);
    for (const rule of steps.withdrawn) tables.take(rule);
    expect(tables.all, why).toEqual(stood);
    for (const rule of [...steps.inner, ...steps.entries]) tables.put(rule);
    for (const rule of steps.removed) tables.take(rule);
    expect(carries(tables, after.spec), why).toBe(true);
    const last = rulesOf(after);
    expect(tables.all, why).toEqual(
      [...last.inner, ...last.entries].map((rule) => JSON.stringify(rule)).toSorted(),
    );
  }
});

test("a swap changes the entries only", () => {
  const draw = new Draw(7);
  const [source, destination] = [
    { switchId: id(1), port: 1, vlan: 10 },
    { switchId: id(3), port: 2, vlan: 0 },
  ];
  const spec = FlowSpecSchema.parse({
    flowId: "f",
    source,
    destination,
    bandwidth: 1000,
    protectedPath: true,
  });
  const [main, spare] = [draw.path(spec, "main"), draw.path(spec, "protected")];
  const steps = stepsBetween(
    { spec, paths: [main, spare] },
    {
      spec,
      paths: [
        { ...main, role: "protected" },
        { ...spare, role: "main" },
      ],
    },
  );
  expect(steps.inner).toEqual([]);
  expect(steps.entries.map(({ switchId }) => switchId)).toEqual([id(1), id(3)]);
  expect(steps.removed).toEqual([]);
  expect(steps.withdrawn).toEqual([]);
  expect(steps.restored).toHaveLength(2);
});

test("what is told again is all of it", () => {
  const layout = new Draw(3).layout(
    { switchId: id(1), port: 1, vlan: 5 },
    { switchId: id(4), port: 1, vlan: 6 },
  );
  expect(stepsBetween(layout, layout)).toMatchObject({ inner: [], entries: [], removed: [], withdrawn: [] });
  const again = stepsBetween(layout, layout, true);
  const { inner, entries } = rulesOf(layout);
  expect([again.inner, again.entries]).toEqual([inner, entries]);
  expect([again.removed, again.withdrawn, again.restored]).toEqual([[], [], []]);
});

test("a cookie names the path and its direction", () => {
  const layout = new Draw(3).layout(
    { switchId: id(1), port: 1, vlan: 5 },
    { switchId: id(4), port: 1, vlan: 6 },
  );
  const { inner, entries } = rulesOf(layout);
  for (const { cookie } of [...inner, ...entries]) {
    const named = pathOfCookie(BigInt(`0x${cookie}`));
    expect(layout.paths.map((path) => path.id)).toContain(named?.pathId);
  }
  expect(pathOfCookie(0x4000_0000_0000_0005n)).toEqual({ pathId: 5, direction: "forward" });
  expect(pathOfCookie(0x2000_0000_0000_0005n)).toEqual({ pathId: 5, direction: "reverse" });
  for (const other of [0n, 5n, 0x6000_0000_0000_0005n, 0xc000_0000_0000_0005n, 0x5700_0000_0010_0000n])
    expect(pathOfCookie(other)).toBeUndefined();
});

test("each switch gets its rules together", () => {
  const { inner, entries } = rulesOf(
    new Draw(3).layout({ switchId: id(1), port: 1, vlan: 5 }, { switchId: id(4), port: 1, vlan: 6 }),
  );
  const all = [...inner, ...entries];
  const grouped = bySwitch(all);
  expect(new Set(grouped.map(({ switchId }) => switchId)).size).toBe(grouped.length);
  expect(grouped.flatMap(({ rules }) => rules)).toHaveLength(all.length);
});
