import { meterFlags, packetOut, ports, type OpenFlowError } from "@wheelwork/openflow";
import { waitUntil } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Layout } from "../../src/controller/model.ts";
import { stepsBetween } from "../../src/controller/rules.ts";
import { OpenFlowSwitches, type OpenFlowOptions } from "../../src/floodlight/openflow-switches.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import { SharedSource, type DrivenSwitch } from "../../src/floodlight/switch-source.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { commandOf, requestA, requestB } from "../switches/lab.ts";
import { idOf, layoutOf, pathOver, ruleAt, tell } from "./lab.ts";

const until = (holds: () => boolean): Promise<void> => waitUntil(holds, 60_000);

/** A simulated network with its speaker. */
async function driven(network: SimulatedNetwork): Promise<SwitchSpeaker> {
  const speaker = await SwitchSpeaker.over(() => network.listen(), { path: ":memory:" });
  onTestFinished(() => speaker.close());
  await until(() => speaker.connected.length === network.switchIds.length);
  return speaker;
}

/** A connection with switch 1 of a network that nobody drives. */
async function connection(network: SimulatedNetwork): Promise<DrivenSwitch> {
  const source = await network.listen();
  const found = Promise.withResolvers<DrivenSwitch>();
  source.on("switch", (one) => void (one.datapathId === 1n && found.resolve(one)));
  onTestFinished(() => source.close());
  return found.promise;
}

describe("a simulated network", () => {
  test("packets follow rules and links, with the tags that rules give them", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 5 } });
    const speaker = await driven(network);
    const main = layoutOf([pathOver(1, [1, 2, 3])], { from: 1, to: 3, vlans: [100, 0] });
    const steps = stepsBetween(null, main);
    const exit = { switchId: idOf(3), port: 2, vlan: 0 };
    await tell(speaker, "install", 1, steps.inner);
    expect(network.trace(idOf(1), 1, 100)).toBeUndefined();
    await tell(speaker, "install", 2, steps.entries);
    expect(network.trace(idOf(1), 1, 100)).toEqual(exit);
    expect(network.trace(idOf(1), 1, 101)).toBeUndefined();
    expect(network.trace(idOf(3), 2, 0)).toEqual({ switchId: idOf(1), port: 1, vlan: 100 });
    // Rules count what they do with packets.
    const [entry] = steps.entries;
    const read = await speaker.execute({
      command: "read",
      switchId: idOf(1),
      rules: entry === undefined ? [] : [entry],
    });
    expect(read).toMatchObject({ packets: 1, bytes: 100 });
    // Another path, make before break.
    network.cut(2, 3);
    expect(network.trace(idOf(1), 1, 100)).toBeUndefined();
    const moved = layoutOf([pathOver(2, [1, 5, 4, 3])], { from: 1, to: 3, vlans: [100, 0] });
    const move = stepsBetween(main, moved);
    await tell(speaker, "install", 3, move.inner);
    await tell(speaker, "install", 4, move.entries);
    expect(network.trace(idOf(1), 1, 100)).toEqual(exit);
    await tell(speaker, "remove", 5, move.removed);
    network.mend(2, 3);
    expect(network.trace(idOf(3), 2, 0)).toEqual({ switchId: idOf(1), port: 1, vlan: 100 });
    network.silence(3, 4, true);
    expect(network.trace(idOf(1), 1, 100)).toBeUndefined();
    await tell(speaker, "remove", 6, stepsBetween(moved, null).removed);
    for (const number of [1, 2, 3, 4, 5]) {
      // The rule for discovery stays.
      expect(network.flows(number)).toHaveLength(1);
      expect(network.meters(number)).toEqual([]);
    }
  });

  test("50 switches have 1,000 flows, each packet arrives, also after all of them were started anew, and nothing is left", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 50 }, reconnectMs: 1 });
    const speaker = await driven(network);
    const flows = Array.from({ length: 1000 }, (_, index) => {
      const from = (index % 50) + 1;
      const over = [from, (from % 50) + 1, ((from + 1) % 50) + 1];
      // VLANs are unique on each switch: the flows of one switch, and of its neighbours, have others.
      const path = pathOver(index + 1, over, { vlan: 2 + index });
      return layoutOf([path], { from, to: over[2] as number, vlans: [index + 1, index + 1] });
    });
    const begin = performance.now();
    const install = async (layout: Layout, index: number): Promise<void> => {
      const { inner, entries } = stepsBetween(null, layout);
      for (const [phase, rules] of [inner, entries].entries())
        for (const answer of await tell(speaker, "install", 1000 * index + phase, rules))
          expect(answer).toEqual({ answer: "done", unconfirmed: 0 });
    };
    await Promise.all(flows.map(install));
    if (process.env["WHEELWORK_FIGURES"] !== undefined)
      process.stdout.write(`${(1e6 / (performance.now() - begin)).toFixed(0)} flows of 8 rules a second\n`);
    const arrive = (): boolean =>
      flows.every(({ spec: { source, destination } }) => {
        const there = network.trace(source.switchId, source.port, source.vlan);
        const back = network.trace(destination.switchId, destination.port, destination.vlan);
        return (
          there?.switchId === destination.switchId && there.vlan === destination.vlan && back?.port === 1
        );
      });
    expect(arrive()).toBe(true);
    for (let number = 1; number <= 50; number++) network.reboot(number);
    expect(arrive()).toBe(false);
    await until(() => speaker.connected.length === 50);
    await until(arrive);
    const removed = flows.flatMap((layout) => stepsBetween(layout, null).removed);
    const answers = await tell(speaker, "remove", 1_000_000, removed);
    expect(answers).toEqual(Array.from({ length: 50 }, () => ({ answer: "done", unconfirmed: 0 })));
    for (let number = 1; number <= 50; number++) {
      expect(network.flows(number)).toHaveLength(1);
      expect(network.meters(number)).toEqual([]);
    }
  });

  test("a switch that has lost more rules than its queue holds at once gets all of them back", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "chain", switches: 2 }, reconnectMs: 1 });
    const speaker = await driven(network);
    const rules = [1, 2, 3].flatMap((inPort) =>
      Array.from({ length: 1800 }, (_, index) => ruleAt(index + 1, index + 1, { inPort })),
    );
    expect(await tell(speaker, "install", 1, rules)).toEqual([{ answer: "done", unconfirmed: 0 }]);
    network.reboot(1);
    expect(network.flows(1)).toEqual([]);
    await until(() => speaker.connected.length === 2);
    await until(() => network.flows(1).length === 5401);
  });

  test("a packet that goes around in circles ends", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 3 } });
    const speaker = await driven(network);
    const around = [1, 2, 3].flatMap((number) => {
      const [before, next] = [((number + 1) % 3) + 1, (number % 3) + 1];
      const output = { type: "output", port: 100 + next } as const;
      return [1, 100 + before].map((inPort) =>
        ruleAt(7, 1, { switchId: idOf(number), inPort, actions: [output] }),
      );
    });
    await tell(speaker, "install", 1, around);
    expect(network.trace(idOf(1), 1, 7)).toBeUndefined();
  });

  test("ports tell of links, and packets of the controller arrive at the other end", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "chain", switches: 2 } });
    const speaker = await driven(network);
    expect(network.links).toMatchObject([
      { name: "1-2", isUp: true, ports: [102, 101], bandwidth: 10_000_000 },
    ]);
    await speaker.close();
    const one = await connection(network);
    const told: unknown[] = [];
    one.on("portStatus", ({ port: { port, state } }) => void told.push([port, state]));
    one.on("packetIn", ({ match, cookie, data }) => void told.push([match, cookie, data.length]));
    expect(network.cut(1, 2)).toBe(true);
    expect(network.mend(2, 1)).toBe(true);
    expect(network.cut(1, 3)).toBe(false);
    // A host sends what looks like discovery: the rule takes it to the controller.
    const lldp = Uint8Array.from({ length: 60 }, (_, at) => (at === 12 ? 0x88 : at === 13 ? 0xcc : 0));
    network.inject(idOf(1), 3, lldp);
    await until(() => told.length === 3);
    expect(told).toEqual([
      [102, 1],
      [102, 4],
      [[{ field: "inPort", value: 3 }], 0x8000_0000_0000_0001n, 60],
    ]);
    // Out of the port to switch 2, where the same rule is: it comes back on the connection of switch 2.
    one.send(packetOut({ data: lldp, inPort: ports.controller, actions: [{ type: "output", port: 102 }] }));
    await until(() => network.flows(2)[0]?.packets === 1n);
  });

  test("a switch that says nothing is given up, and does nothing late once it has another master", async () => {
    const network = new SimulatedNetwork({
      topology: { shape: "chain", switches: 2 },
      requestTimeoutMs: 30,
      silentAfterMs: 60,
      reconnectMs: 1,
    });
    const speaker = await driven(network);
    network.freeze(1);
    const rule = ruleAt(100);
    expect(await tell(speaker, "install", 1, [rule])).toEqual([undefined]);
    // The connection is up still, so nobody knows that the switch is away: what must be done is noted.
    expect(await tell(speaker, "remove", 2, [rule])).toEqual([{ answer: "done", unconfirmed: 1 }]);
    await until(() => !speaker.connected.includes(idOf(1)));
    network.thaw(1);
    await until(() => speaker.connected.includes(idOf(1)));
    await until(() => speaker.unconfirmed(1).count === 0);
    expect(network.flows(1)).toHaveLength(1);
  });

  test("it refuses what Open vSwitch refuses", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "none", switches: 1 } });
    const one = await connection(network);
    const names = async (...messages: Parameters<DrivenSwitch["apply"]>[0]): Promise<string[]> => {
      const error = await one.apply(messages).then(
        () => undefined,
        (error: OpenFlowError) => error,
      );
      return error?.refusals.map(({ name }) => name) ?? [];
    };
    const band = { type: "drop", rate: 1000, burst: 0 } as const;
    const meter = { type: "meterMod", flags: meterFlags.kilobits, meterId: 3, bands: [band] } as const;
    expect(await names({ ...meter, command: "modify" })).toEqual(["METER_MOD_FAILED/UNKNOWN_METER"]);
    expect(await names({ ...meter, command: "add" }, { ...meter, command: "add" })).toEqual([
      "METER_MOD_FAILED/METER_EXISTS",
    ]);
    expect(await names({ ...meter, command: "delete" }, { ...meter, command: "delete" })).toEqual([]);
  });

  test("a topology that cannot be is refused, with all that is wrong with it", () => {
    const links = [
      { between: [1, 1] as const },
      { between: [1, 2] as const, latencyMs: -1 },
      { between: [2, 1] as const },
      { between: [2, 9] as const },
    ];
    expect(() => new SimulatedNetwork({ topology: { switches: 2, links } })).toThrow(
      "1-1 is not between two of the switches; the latencyMs of the link 1-2 is -1; the link 1-2 is there twice; the link 2-9 is not",
    );
  });

  test("the rules of flows and those of the original proof of concept share a connection, and touch each other never", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 3 }, reconnectMs: 1 });
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-shared-"));
    const shared = new SharedSource(await network.listen());
    const speaker = await SwitchSpeaker.over(() => Promise.resolve(shared.share()), { path: ":memory:" });
    await until(() => speaker.connected.length === 3);
    // It begins when the switches are there already, and knows two of them only.
    const original = await OpenFlowSwitches.over(() => Promise.resolve(shared.share()), {
      path: join(folder, "switches.db"),
      switches: 2,
      isShared: true,
    });
    onTestFinished(async () => {
      await original.close();
      await speaker.close();
      await shared.close();
      rmSync(folder, { recursive: true });
    });
    await until(() => original.connected.length === 2);
    expect(await original.execute(commandOf("install", requestA, 0))).toBe("installed");
    expect(await tell(speaker, "install", 1, [ruleAt(100)])).toEqual([{ answer: "done", unconfirmed: 0 }]);
    const cookies = (): string[] =>
      network
        .flows(1)
        .map(({ cookie }) => cookie.toString(16))
        .toSorted();
    const all = ["4000000000000001", "5700000000100000", "8000000000000001"];
    expect(cookies()).toEqual(all);
    network.reboot(1);
    await until(() => cookies().length === 3);
    expect(cookies()).toEqual(all);
    await until(() => speaker.connected.length === 3 && original.connected.length === 2);
    expect(await original.execute(commandOf("remove", requestA, 0))).toBe("removed");
    expect(cookies()).toEqual(["4000000000000001", "8000000000000001"]);
    await original.close();
    expect(await tell(speaker, "remove", 2, [ruleAt(100)])).toEqual([{ answer: "done", unconfirmed: 0 }]);
    expect(cookies()).toEqual(["8000000000000001"]);
  });

  test("a lost book of the original proof of concept is made anew of what requests have, and is compared before a switch connects", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 2 }, reconnectMs: 1 });
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-lost-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const open = async (
      options: Pick<OpenFlowOptions, "adopts" | "begin"> = {},
      name = "switches.db",
    ): Promise<OpenFlowSwitches> => {
      const path = join(folder, name);
      const opened = await OpenFlowSwitches.over(() => network.listen(), { path, switches: 2, ...options });
      onTestFinished(() => opened.close());
      await until(() => opened.connected.length === 2);
      return opened;
    };
    const ours = (): number => [1, 2].flatMap((one) => network.flows(one)).filter(isOriginal).length;
    const first = await open();
    for (const ruleid of [0, 1, 2]) await first.execute(commandOf("install", requestA, ruleid));
    await first.execute(commandOf("install", requestB, 0));
    await first.execute(commandOf("remove", requestB, 0));
    await first.close();
    expect(ours()).toBe(3);
    // Another book, which is new. Nobody has asked for that.
    const refuse = (): void => {
      throw new Error("it is another one");
    };
    await expect(open({ begin: refuse }, "other.db")).rejects.toThrow("another one");
    expect(ours()).toBe(3);
    const adopts = [{ cookie: requestA, flowid: "a", rules: 3 }];
    const counts: number[] = [];
    const again = await open({ adopts, begin: (book) => counts.push(book.countOf(requestA)) }, "other.db");
    for (const ruleid of [0, 1, 2])
      expect(await again.execute(commandOf("validate", requestA, ruleid))).toBe("validated");
    expect([counts, ours()]).toEqual([[3], 3]);
    // It works on, also on what it had from others.
    expect(await again.execute(commandOf("remove", requestA, 1))).toBe("removed");
    expect(await again.execute(commandOf("install", requestB, 0))).toBe("installed");
    await again.close();
    // What was removed stays so, and what belongs to nobody goes.
    const third = await open({ adopts }, "other.db");
    await until(() => ours() === 2);
    expect(third.rules().map(({ ruleid }) => ruleid)).toEqual([0, 2]);
  });
});

const isOriginal = ({ cookie }: { readonly cookie: bigint }): boolean => cookie >> 56n === 0x57n;
