import {
  decode,
  encode,
  flowMod,
  type FlowMod,
  Framer,
  hello,
  listen,
  match,
  type Switch,
} from "@wheelwork/openflow";
import { OpenVSwitch, openVSwitchIsInstalled } from "@wheelwork/services";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { setTimeout as sleep } from "node:timers/promises";
import { runInNewContext } from "node:vm";
import { percentile, rounded, type Bench } from "../harness.ts";

/** How many rules are in a group: each group has one barrier. */
const groupSize = 100;
const rounds = 5;

/** A rule that no other is like. */
const ruleOf = (index: number): FlowMod =>
  flowMod({
    cookie: 5n,
    match: match({
      inPort: 1,
      ethType: 0x0800,
      ipv4Dst: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
    }),
    instructions: [{ type: "applyActions", actions: [{ type: "output", port: 2 }] }],
  });

const deleteAll = flowMod({ command: "delete", tableId: 255 });

/** Groups of rules: what a switch gets, as messages and as the bytes of them with their barriers. */
interface Load {
  readonly groups: readonly (readonly FlowMod[])[];
  readonly frames: readonly Uint8Array[];
  readonly rules: number;
}

function loadOf(rules: number, size: number): Load {
  const all = Array.from({ length: rules }, (_, index) => ruleOf(index));
  const groups = Array.from({ length: rules / size }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );
  const frames = groups.map((group, index) =>
    Buffer.concat([...group.map((rule) => encode(rule, 1)), encode({ type: "barrierRequest" }, index + 1)]),
  );
  return { groups, frames, rules };
}

/** Who gives a load to a switch: the speaker, or a bare loop of the same bytes. */
interface Giver {
  /** Gives all groups at once, and resolves when the switch has confirmed the last barrier. */
  pipelined(load: Load): Promise<void>;
  /** Gives one group, and resolves when the switch has confirmed its barrier. */
  one(load: Load, index: number): Promise<void>;
  empty(): Promise<void>;
}

class BySpeaker implements Giver {
  readonly #one: Switch;

  constructor(one: Switch) {
    this.#one = one;
  }

  async pipelined({ groups }: Load): Promise<void> {
    await Promise.all(groups.map((group) => this.#one.apply(group)));
  }

  one({ groups }: Load, index: number): Promise<void> {
    return this.#one.apply(groups[index] ?? []);
  }

  async empty(): Promise<void> {
    await this.#one.apply([deleteAll]);
  }
}

/** The bound: it writes bytes that were made before, and counts replies of barriers. It knows neither errors nor deadlines. */
class ByHand implements Giver {
  readonly #socket: Socket;
  #awaited = 0;
  #resolve: () => void = () => {};

  constructor(socket: Socket, framer: Framer) {
    this.#socket = socket;
    socket.removeAllListeners("data");
    socket.on("data", (bytes) =>
      framer.push(bytes, (frame) => {
        if (frame[1] === 2) socket.write(encode({ type: "echoReply", data: new Uint8Array() }));
        if (frame[1] === 21 && --this.#awaited === 0) this.#resolve();
      }),
    );
  }

  #give(frames: readonly Uint8Array[]): Promise<void> {
    return new Promise((resolve) => {
      this.#awaited = frames.length;
      this.#resolve = resolve;
      this.#socket.cork();
      for (const bytes of frames) this.#socket.write(bytes);
      this.#socket.uncork();
    });
  }

  end(): void {
    this.#socket.destroy();
  }

  pipelined({ frames }: Load): Promise<void> {
    return this.#give(frames);
  }

  one({ frames }: Load, index: number): Promise<void> {
    return this.#give(frames.slice(index, index + 1));
  }

  empty(): Promise<void> {
    return this.#give([Buffer.concat([encode(deleteAll), encode({ type: "barrierRequest" })])]);
  }
}

/** Takes the connections of switches, and does no more than it must. */
async function bareServer(count: number, took: (giver: ByHand) => void): Promise<Server> {
  const server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => {});
    const framer = new Framer();
    socket.write(encode(hello));
    socket.once("data", (bytes) => {
      framer.push(bytes, (frame) => {
        if (decode(frame).type === "hello") took(new ByHand(socket, framer));
      });
    });
  });
  server.maxConnections = count;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

interface Measured {
  readonly seconds: number;
  readonly cpuMs: number;
}

async function measured(work: () => Promise<unknown>): Promise<Measured> {
  const [began, cpu] = [performance.now(), process.cpuUsage()];
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - began) / 1000, cpuMs: (user + system) / 1000 };
}

/** What this process holds, without garbage. */
function memoryKb(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 1000;
}

const best = (all: readonly Measured[]): Measured =>
  all.reduce((one, other) => (other.seconds < one.seconds ? other : one));

/** Rules on some switches at once, by the speaker and by hand in turns. */
async function rate(speaker: readonly Giver[], hand: readonly Giver[], load: Load) {
  const of = async (givers: readonly Giver[]): Promise<Measured> => {
    const one = await measured(() => Promise.all(givers.map((giver) => giver.pipelined(load))));
    for (const giver of givers) await giver.empty();
    return one;
  };
  const [ours, bound]: [Measured[], Measured[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    ours.push(await of(speaker));
    bound.push(await of(hand));
  }
  const rules = load.rules * speaker.length;
  const [fast, bare] = [best(ours), best(bound)];
  return {
    switches: speaker.length,
    rules_s: Math.round(rules / fast.seconds),
    bare_rules_s: Math.round(rules / bare.seconds),
    ratio: rounded(bare.seconds / fast.seconds),
    cpu_us_per_rule: rounded((fast.cpuMs * 1000) / rules),
    bare_cpu_us_per_rule: rounded((bare.cpuMs * 1000) / rules),
  };
}

async function latency(speaker: Giver, hand: Giver, load: Load) {
  const [ours, bound]: [number[], number[]] = [[], []];
  const timed = async (giver: Giver, index: number, times: number[]): Promise<void> => {
    const began = performance.now();
    await giver.one(load, index);
    times.push(performance.now() - began);
  };
  for (let round = 0; round < rounds; round++) {
    // In turns, since the machine is now fast and now slow.
    for (let index = 0; index < load.groups.length; index++) {
      await timed(speaker, index, ours);
      await timed(hand, index, bound);
    }
    await speaker.empty();
    await hand.empty();
  }
  const [p50, bare] = [percentile(ours, 0.5), percentile(bound, 0.5)];
  return {
    p50_ms: rounded(p50),
    p99_ms: rounded(percentile(ours, 0.99)),
    bare_p50_ms: rounded(bare),
    bare_p99_ms: rounded(percentile(bound, 0.99)),
    ratio: rounded(bare / p50),
  };
}

/** What switches cost that say nothing but echoes. */
async function idle(count: number) {
  const lab = OpenVSwitch.temporary();
  const speaker = await listen({ port: 0, host: "127.0.0.1" });
  try {
    const before = memoryKb();
    await lab.add(
      Array.from({ length: count }, (_, index) => index + 1),
      `tcp:127.0.0.1:${speaker.port}`,
    );
    while (speaker.switches.size < count) await sleep(20);
    const { cpuMs, seconds } = await measured(() => sleep(5000));
    return {
      idle_switches: count,
      kb_per_switch: rounded((memoryKb() - before) / count),
      cpu_percent: rounded(cpuMs / seconds / 10),
    };
  } finally {
    await speaker.close();
    lab.stop();
  }
}

/** `npm run bench -- openflow`: rules on real switches of Open vSwitch, against a bare loop of the same bytes. */
export const openflow: Bench = {
  name: "openflow",
  about: "rules on switches of Open vSwitch, as a ratio to a bare loop of the same bytes",
  async run({ full, note, report }) {
    if (!openVSwitchIsInstalled()) {
      note("skipped: apt-get install --no-install-recommends openvswitch-switch");
      return;
    }
    const bench = "openflow";
    note("200 switches that say nothing");
    report({ bench, ...(await idle(200)) });
    const lab = OpenVSwitch.temporary();
    const speaker = await listen({ port: 0, host: "127.0.0.1", maxQueuedBytes: 2 ** 26 });
    const hands: ByHand[] = [];
    const server = await bareServer(10, (giver) => hands.push(giver));
    try {
      const ofSpeaker = Array.from({ length: 10 }, (_, index) => index + 1);
      await lab.add(ofSpeaker, `tcp:127.0.0.1:${speaker.port}`);
      await lab.add(
        ofSpeaker.map((number) => number + 10),
        `tcp:127.0.0.1:${(server.address() as AddressInfo).port}`,
      );
      while (speaker.switches.size < 10 || hands.length < 10) await sleep(20);
      const givers = Array.from(speaker.switches.values(), (one) => new BySpeaker(one));
      const [one, hand] = [givers[0] as Giver, hands[0] as Giver];
      const factor = full ? 4 : 1;
      const large = loadOf(10_000 * factor, groupSize);
      note("warming up");
      for (const giver of [one, hand]) {
        await giver.pipelined(large);
        await giver.empty();
      }
      note("one switch");
      report({ bench, ...(await rate([one], [hand], large)) });
      note("ten switches");
      report({ bench, ...(await rate(givers, hands, loadOf(2000 * factor, groupSize))) });
      note("one rule and its barrier, one after the other");
      report({ bench, ...(await latency(one, hand, loadOf(1000 * factor, 1))) });
    } finally {
      await speaker.close();
      server.close();
      lab.stop();
      for (const giver of hands) giver.end();
    }
  },
};
