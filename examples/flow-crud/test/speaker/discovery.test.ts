import { waitUntil } from "@wheelwork/services";
import { createSecretKey } from "node:crypto";
import { systemClock } from "wheelwork";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Segment } from "../../src/controller/model.ts";
import type { NetworkEvent, StoredLink, StoredPort } from "../../src/controller/store.ts";
import { Agreement, type BelievedNetwork } from "../../src/floodlight/agreement.ts";
import { Discovery, type DiscoveryOptions } from "../../src/floodlight/discovery.ts";
import { LinkWatch } from "../../src/floodlight/link-watch.ts";
import { decodeProbe, encodeProbe } from "../../src/floodlight/lldp.ts";
import { Outbox } from "../../src/floodlight/outbox.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import { SharedSource } from "../../src/floodlight/switch-source.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { idOf } from "./lab.ts";

const portOf = (port: number, isUp = true): StoredPort => ({ port, name: `p${port}`, isUp, speedKbps: 1000 });
const segment = (from: number, to: number): Segment => ({
  from: idOf(from),
  fromPort: 100 + to,
  to: idOf(to),
  toPort: 100 + from,
});
const back = ({ from, fromPort, to, toPort }: Segment): Segment => ({
  from: to,
  fromPort: toPort,
  to: from,
  toPort: fromPort,
});
/** What happens, in short. */
const shown = (event: NetworkEvent): string => {
  const number = (switchId: string): number => Number.parseInt(switchId.slice(-2), 16);
  switch (event.kind) {
    case "switch":
      return `switch ${number(event.switchId)} ${event.isConnected ? "up" : "down"}`;
    case "port":
      return `port ${number(event.switchId)}/${event.port} ${event.isUp ? "up" : "down"}`;
    case "link":
      return `link ${number(event.from)}-${number(event.to)} ${event.isUp ? "up" : "down"}`;
  }
};

/** A watch with the switches 1 to 3, in a ring, in simulated time. */
class Watched {
  now = 0;
  readonly watch: LinkWatch;

  constructor(known: ConstructorParameters<typeof LinkWatch>[1] = {}) {
    this.watch = new LinkWatch(0, known);
  }

  connect(...numbers: readonly number[]): void {
    for (const number of numbers)
      this.watch.connected(this.now, idOf(number), {
        address: "here",
        description: "",
        ports: [
          portOf(1),
          ...[1, 2, 3].filter((other) => other !== number).map((other) => portOf(100 + other)),
        ],
      });
  }

  /** Packets go both ways. */
  see(from: number, to: number): void {
    for (const one of [segment(from, to), back(segment(from, to))]) this.watch.seen(this.now, one, 3);
  }

  port(number: number, port: number, isUp: boolean): void {
    this.watch.port(this.now, idOf(number), portOf(port, isUp));
  }

  /** Time passes, and the links that are there are seen each 3 s. */
  pass(ms: number, ...links: readonly (readonly [number, number])[]): string[] {
    for (const end = this.now + ms; this.now < end;) {
      this.now += 500;
      if (this.now % 3000 === 0) for (const [from, to] of links) this.see(from, to);
      this.watch.tick(this.now);
    }
    return this.told();
  }

  told(): string[] {
    return this.watch.take().map(shown);
  }
}

describe("what is told of a network", () => {
  test("a link is found when both directions were seen, and is told once", () => {
    const one = new Watched();
    one.connect(1, 2);
    expect(one.told()).toEqual(["switch 1 up", "switch 2 up"]);
    one.watch.seen(one.now, segment(1, 2), 2);
    expect(one.told()).toEqual([]);
    one.watch.seen(one.now, back(segment(1, 2)), 4);
    expect(one.watch.take()).toEqual([
      { kind: "link", ...segment(1, 2), isUp: true, latencyMs: 3, speedKbps: 1000 },
    ]);
    expect(one.pass(60_000, [1, 2])).toEqual([]);
  });

  test("a link fails at once when a port is down, and after 15 s of silence in one direction", () => {
    const one = new Watched();
    one.connect(1, 2, 3);
    one.see(1, 2);
    one.see(2, 3);
    one.told();
    one.port(2, 103, false);
    expect(one.told()).toEqual(["link 2-3 down"]);
    one.port(3, 102, false);
    expect(one.told()).toEqual([]);
    for (let at = 500; at <= 14_500; at += 500) {
      one.now += 500;
      one.watch.seen(one.now, segment(1, 2), 3);
      one.watch.tick(one.now);
      expect(one.told()).toEqual(at === 1000 ? ["port 2/103 down", "port 3/102 down"] : []);
    }
    one.now += 500;
    one.watch.tick(one.now);
    expect(one.told()).toEqual(["link 1-2 down"]);
  });

  test("a change of a port is told once it has lasted for a second, and not at all if it has not", () => {
    const one = new Watched();
    one.connect(1);
    one.told();
    // Of one that was never told, a flow may be waiting.
    one.port(1, 7, true);
    expect(one.told()).toEqual(["port 1/7 up"]);
    for (let times = 0; times < 20; times++) {
      one.port(1, 7, false);
      expect(one.pass(500)).toEqual([]);
      one.port(1, 7, true);
      expect(one.pass(500)).toEqual([]);
    }
    // It is as it was told.
    expect(one.pass(5_000)).toEqual([]);
    one.port(1, 7, false);
    one.port(1, 1, false);
    expect(one.pass(500)).toEqual([]);
    expect(one.pass(500)).toEqual(["port 1/7 down", "port 1/1 down"]);
    one.port(1, 7, false);
    expect(one.pass(5_000)).toEqual([]);
    // What it knows is newer than what was told, and what is told with the switch counts.
    one.port(1, 7, true);
    one.watch.gone(idOf(1));
    one.connect(1);
    expect(one.pass(5_000)).toEqual(["switch 1 down", "switch 1 up"]);
  });

  test("a link is told as up again when it has been there for 2 s, and for longer if it flaps", () => {
    const one = new Watched();
    one.connect(1, 2);
    one.see(1, 2);
    one.told();
    const flap = (): void => {
      one.port(1, 102, false);
      one.port(1, 102, true);
      one.see(1, 2);
    };
    flap();
    expect(one.told()).toEqual(["link 1-2 down"]);
    expect(one.pass(1500)).toEqual([]);
    expect(one.pass(500)).toEqual(["link 1-2 up"]);
    // Each of these comes soon after the one before: 4, 8, 16, 30 and again 30 s.
    for (const seconds of [4, 8, 16, 30, 30]) {
      flap();
      const told = one.told();
      expect(told.filter((text) => text.startsWith("link"))).toEqual(seconds === 4 ? ["link 1-2 down"] : []);
      one.pass(500, [1, 2]);
    }
    expect(one.pass(29_000, [1, 2])).toEqual([]);
    expect(one.pass(1000, [1, 2])).toEqual(["link 1-2 up"]);
    // It was quiet for long: it begins anew.
    flap();
    one.told();
    expect(one.pass(2000, [1, 2])).toEqual(["link 1-2 up"]);
  });

  test("a switch that is away takes no link down by its silence, and has its time when it is back", () => {
    const one = new Watched();
    one.connect(1, 2);
    one.see(1, 2);
    one.told();
    one.watch.gone(idOf(2));
    one.watch.gone(idOf(2));
    const gone = { kind: "switch", switchId: idOf(2), isConnected: false, address: "here", description: "" };
    expect(one.watch.take()).toEqual([gone]);
    expect(one.pass(60_000)).toEqual([]);
    one.connect(2);
    expect(one.pass(14_500)).toEqual(["switch 2 up"]);
    expect(one.pass(500)).toEqual(["link 1-2 down"]);
    // Its port may have gone down meanwhile: that is told at once.
    const other = new Watched({ links: [segment(1, 2)] });
    other.connect(1);
    other.watch.connected(0, idOf(2), { address: "", description: "", ports: [portOf(101, false)] });
    expect(other.told()).toEqual(["switch 1 up", "switch 2 up", "link 1-2 down"]);
  });

  test("what was known before and is not found again is told as failed", () => {
    const one = new Watched({ links: [segment(2, 1), segment(2, 3)], switches: [idOf(1), idOf(4)] });
    one.connect(1, 2, 3);
    one.told();
    expect(one.pass(14_500, [1, 2])).toEqual([]);
    expect(one.pass(3000, [1, 2])).toEqual(["link 2-3 down", "switch 4 down"]);
  });

  test("a port leads to one place, and a switch not to itself", () => {
    const one = new Watched();
    one.connect(1, 2, 3);
    one.see(1, 2);
    one.told();
    const elsewhere: Segment = { from: idOf(1), fromPort: 102, to: idOf(3), toPort: 1 };
    const loop: Segment = { from: idOf(1), fromPort: 1, to: idOf(1), toPort: 103 };
    const itself: Segment = { from: idOf(1), fromPort: 1, to: idOf(1), toPort: 1 };
    for (const wrong of [elsewhere, back(elsewhere), loop, back(loop), itself])
      one.watch.seen(one.now, wrong, 1);
    expect(one.told()).toEqual([]);
    // The cable was plugged elsewhere: as soon as the old link has failed, the new one is there.
    one.port(2, 101, false);
    for (const right of [elsewhere, back(elsewhere)]) one.watch.seen(one.now, right, 1);
    expect(one.told()).toEqual(["link 1-2 down", "link 1-3 up"]);
  });
});

describe("packets of discovery", () => {
  const key = createSecretKey(new Uint8Array(32).fill(7));
  const probe = { datapathId: 0x0123_4567_89ab_cdefn, port: 0x1_0002, sequence: 0xffff_fffe };
  const frame = encodeProbe(probe, "02:00:00:00:00:01", key);

  test("say what they were given, to those who know the key", () => {
    expect(decodeProbe(frame, key)).toEqual(probe);
    expect(decodeProbe(frame, createSecretKey(new Uint8Array(32)))).toBeUndefined();
  });

  test("are none if they are cut, changed or somebody else's", () => {
    for (let length = 0; length < frame.length - 2; length++)
      expect(decodeProbe(frame.slice(0, length), key)).toBeUndefined();
    // Its addresses before, its lifetime, and what follows its last part say nothing.
    const lifetime = 14 + 11 + 7 + 2;
    const counts = Array.from(frame.keys()).filter(
      (at) => at >= 12 && at < frame.length - 2 && at !== lifetime && at !== lifetime + 1,
    );
    for (const at of counts) {
      const changed = frame.with(at, (frame[at] as number) ^ 1);
      expect(decodeProbe(changed, key), String(at)).toBeUndefined();
    }
    const text = new TextEncoder().encode("a host that sends anything at all, and more than is needed");
    expect(decodeProbe(text, key)).toBeUndefined();
  });
});

describe("an outbox", () => {
  const port = (isUp: boolean): NetworkEvent => ({ kind: "port", switchId: idOf(1), ...portOf(1, isUp) });
  const link = (isUp: boolean): NetworkEvent => ({ kind: "link", ...segment(1, 2), isUp });
  const made = (failing: () => boolean) => {
    const told: string[] = [];
    const pauses: (() => void)[] = [];
    const outbox = new Outbox({
      deliver: (event) => {
        told.push(`${shown(event)}${failing() ? " failed" : ""}`);
        return failing() ? Promise.reject(new Error("no")) : Promise.resolve();
      },
      after: (_delayMs, task) => {
        pauses.push(task);
        return () => {};
      },
    });
    const pass = async (): Promise<void> => {
      await new Promise((resolve) => void setImmediate(resolve));
      for (const task of pauses.splice(0)) task();
      await new Promise((resolve) => void setImmediate(resolve));
    };
    return { outbox, told, pass };
  };

  test("delivers in order, again until it succeeds, and the newest of what has failed", async () => {
    let isFailing = true;
    const { outbox, told, pass } = made(() => isFailing);
    outbox.add(link(false));
    outbox.add(port(false));
    await pass();
    expect(told).toEqual(["link 1-2 down failed", "link 1-2 down failed"]);
    outbox.add(link(true));
    outbox.add(port(true));
    isFailing = false;
    await pass();
    expect(told.slice(2)).toEqual(["link 1-2 up", "port 1/1 up"]);
    await pass();
    expect(told).toHaveLength(4);
  });

  test("knows the ports of a switch that was there and has gone before anybody was told", async () => {
    const told: NetworkEvent[] = [];
    let fail = true;
    const outbox = new Outbox({
      deliver: (event) => {
        if (!fail) told.push(event);
        return fail ? Promise.reject(new Error("no")) : Promise.resolve();
      },
      after: (_delayMs, task) => {
        void setImmediate(task);
        return () => {};
      },
    });
    const about = { kind: "switch", switchId: idOf(1), address: "", description: "" } as const;
    outbox.add(link(true));
    outbox.add(port(true));
    outbox.add({ ...about, isConnected: true, ports: [portOf(1)] });
    outbox.add({ ...about, isConnected: false });
    fail = false;
    await waitUntil(() => told.length === 2, 10_000);
    expect(told[1]).toEqual({ ...about, isConnected: false, ports: [portOf(1)] });
  });
});

describe("discovery on a simulated network", () => {
  const start = async (
    network: SimulatedNetwork,
    options: Partial<DiscoveryOptions> = {},
  ): Promise<{ readonly told: string[]; readonly events: NetworkEvent[] }> => {
    const source = new SharedSource(await network.listen());
    const speaker = await SwitchSpeaker.over(() => Promise.resolve(source.share()), { path: ":memory:" });
    const [told, events]: [string[], NetworkEvent[]] = [[], []];
    const discovery = new Discovery({
      source: source.share(),
      onEvent: (event) => {
        told.push(shown(event));
        events.push(event);
        return Promise.resolve();
      },
      probeMs: 30,
      tickMs: 5,
      silenceMs: 300,
      holdMs: 20,
      portHoldMs: 20,
      ...options,
    });
    onTestFinished(async () => {
      discovery.close();
      await source.close();
      await speaker.close();
    });
    return { told, events };
  };

  test("finds all links, and tells what fails and comes back", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 6 }, reconnectMs: 20 });
    const latencies = new Map(network.links.map(({ name }, index) => [name, index + 5]));
    const { told, events } = await start(network, {
      latencyOf: ({ from, to }) =>
        latencies.get(`${Number(`0x${from.slice(-2)}`)}-${Number(`0x${to.slice(-2)}`)}`),
    });
    const links = (): string[] => told.filter((text) => text.startsWith("link"));
    await waitUntil(() => links().length === 6, 60_000);
    expect(links().toSorted()).toEqual(
      [1, 2, 3, 4, 5].map((one) => `link ${one}-${one + 1} up`).toSpliced(1, 0, "link 1-6 up"),
    );
    expect(events.find((event) => event.kind === "link" && event.latencyMs === 7)).toBeDefined();
    told.length = 0;
    network.cut(2, 3);
    await waitUntil(() => told.length === 3, 60_000);
    expect(told.toSorted()).toEqual(["link 2-3 down", "port 2/103 down", "port 3/102 down"]);
    network.mend(2, 3);
    const up = ["link 2-3 up", "port 2/103 up", "port 3/102 up"];
    await waitUntil(() => up.every((text) => told.includes(text)), 60_000);
    told.length = 0;
    network.silence(4, 5, true);
    await waitUntil(() => told.length === 1, 60_000);
    expect(told).toEqual(["link 4-5 down"]);
    network.silence(4, 5, false);
    network.disconnect(1);
    await waitUntil(() => told.includes("switch 1 up") && links().includes("link 4-5 up"), 60_000);
    expect(told).toContain("switch 1 down");
    expect(links().filter((text) => text.includes("1-"))).toEqual([]);
  });

  test("a process that stood still has heard nothing, and that is no silence of links", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 3 } });
    let stoodMs = 0;
    const clock = { ...systemClock, monotonicMs: () => systemClock.monotonicMs() + stoodMs };
    const { told } = await start(network, { clock });
    const links = (): string[] => told.filter((text) => text.startsWith("link"));
    await waitUntil(() => links().length === 3, 60_000);
    told.length = 0;
    for (let times = 0; times < 5; times++) {
      stoodMs += 60_000;
      let packets = 0;
      network.hear(idOf(1), 5, () => void packets++);
      await waitUntil(() => packets > 2, 60_000);
    }
    expect(told).toEqual([]);
    // What is silent afterwards is noticed.
    network.silence(1, 2, true);
    await waitUntil(() => told.length > 0, 60_000);
    expect(told).toEqual(["link 1-2 down"]);
  });

  test("what hosts send makes no link, also if they send what was sent before", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "chain", switches: 2 } });
    // Two hosts that would make their ports a link: each sends what the other one has heard.
    const heard: [Uint8Array[], Uint8Array[]] = [[], []];
    for (const [index, list] of heard.entries())
      network.hear(idOf(index + 1), 5, (data) => void list.push(data));
    const { told } = await start(network);
    await waitUntil(() => told.includes("link 1-2 up") && heard.every((list) => list.length > 10), 60_000);
    network.inject(idOf(2), 5, heard[0][0] as Uint8Array);
    network.inject(idOf(1), 5, heard[1][0] as Uint8Array);
    const probe = { datapathId: 1n, port: 5, sequence: 1 };
    network.inject(idOf(2), 6, encodeProbe(probe, "02:00:00:00:00:05", createSecretKey(new Uint8Array(32))));
    network.inject(idOf(2), 6, new Uint8Array(3));
    // This is told after all of that was looked at.
    network.cut(1, 2);
    await waitUntil(() => told.includes("link 1-2 down"), 60_000);
    expect(told.filter((text) => text.startsWith("link"))).toEqual(["link 1-2 up", "link 1-2 down"]);
  });
});

describe("what is believed of a network", () => {
  const linkOf = (one: Segment, isUp: boolean): StoredLink => ({
    ...one,
    isUp,
    cost: 700,
    latencyMs: 1,
    bandwidth: 1000,
    used: 0,
  });
  const switchOf = (number: number, isConnected: boolean, ports: readonly StoredPort[] = []) => ({
    switchId: idOf(number),
    isConnected,
    address: "here",
    description: "",
    ports,
  });
  /** A pair of switches with a link that was seen, and what is told again from now on. */
  const pair = () => {
    const one = new Watched();
    one.connect(1, 2);
    one.see(1, 2);
    one.told();
    const agreement = new Agreement();
    const ports = (number: number) => [
      portOf(1),
      ...[1, 2, 3].filter((other) => other !== number).map((other) => portOf(100 + other)),
    ];
    const truth: BelievedNetwork = {
      switches: [switchOf(1, true, ports(1)), switchOf(2, true, ports(2))],
      links: [linkOf(segment(1, 2), true), linkOf(back(segment(1, 2)), true)],
    };
    const compare = (believed: BelievedNetwork): string[] =>
      agreement.compare(one.now, one.watch.facts(), believed).map(shown);
    return { one, truth, compare };
  };

  test("what agrees is not told again", () => {
    const { one, truth, compare } = pair();
    for (let round = 0; round < 10; round++) {
      one.pass(3000, [1, 2]);
      expect(compare(truth)).toEqual([]);
    }
  });

  test.each<[what: string, change: (truth: BelievedNetwork) => BelievedNetwork, told: string]>([
    [
      "a link that is up and believed to have failed",
      ({ switches, links }) => ({ switches, links: links.map((link) => ({ ...link, isUp: false })) }),
      "link 1-2 up",
    ],
    ["a link that nobody knows", ({ switches }) => ({ switches, links: [] }), "link 1-2 up"],
    [
      "a link whose port is believed to lead elsewhere",
      ({ switches, links: [first] }) => ({
        switches,
        links: [{ ...(first as StoredLink), to: idOf(3), toPort: 101 }],
      }),
      "link 1-2 up",
    ],
    [
      "a switch that is connected and believed to be away",
      ({ switches, links }) => ({
        links,
        switches: switches.map((one, index) => ({ ...one, isConnected: index > 0 })),
      }),
      "switch 1 up",
    ],
    [
      "a port that is up and believed to be down",
      ({ switches, links }) => ({
        links,
        switches: switches.map((one, index) =>
          index > 0 ? one : { ...one, ports: one.ports.map((port) => ({ ...port, isUp: port.port === 1 })) },
        ),
      }),
      "switch 1 up",
    ],
  ])("%s is told again: not at once, and then ever more seldom", (_what, change, told) => {
    const { one, truth, compare } = pair();
    const wrong = change(truth);
    expect(compare(wrong)).toEqual([]);
    const at: number[] = [];
    for (const end = one.now + 100_000; one.now < end;) {
      one.pass(3000, [1, 2]);
      const again = compare(wrong);
      if (again.length > 0) at.push(one.now / 1000);
      expect([[], [told]]).toContainEqual(again);
    }
    expect(at).toEqual([3, 9, 21, 45, 93]);
    // Once it is known, the next difference is a new one.
    expect(compare(truth)).toEqual([]);
    expect(compare(wrong)).toEqual([]);
    one.pass(3000, [1, 2]);
    expect(compare(wrong)).toEqual([told]);
  });

  test("a link that has failed and is believed to be up is told again", () => {
    const { one, truth, compare } = pair();
    one.port(1, 102, false);
    one.told();
    one.pass(3000);
    expect(compare(truth)).toEqual([]);
    one.pass(3000);
    expect(compare(truth)).toEqual(["switch 1 up", "link 1-2 down"]);
  });

  test("what is believed and nobody has seen is waited for, and then told as failed", () => {
    const one = new Watched();
    one.connect(1, 2);
    one.told();
    one.watch.know(one.now, { links: [segment(1, 2)], switches: [idOf(1), idOf(3)] });
    // Nothing is sure yet: it must not be told as being there.
    expect(one.watch.facts().map(shown)).toEqual(["switch 1 up", "switch 2 up"]);
    expect(one.pass(14_500)).toEqual([]);
    expect(one.pass(500)).toEqual(["link 1-2 down", "switch 3 down"]);
    // It is known to be down now, whatever is believed.
    one.watch.know(one.now, { links: [segment(1, 2)], switches: [] });
    expect(one.watch.facts().map(shown)).toContain("link 1-2 down");
    expect(one.told()).toEqual([]);
  });

  test("a link on a port that is down is told as failed at once", () => {
    const one = new Watched();
    one.connect(1, 2);
    one.port(1, 102, false);
    one.told();
    one.watch.know(one.now, { links: [segment(1, 2)] });
    expect(one.told()).toEqual(["link 1-2 down"]);
  });
});
