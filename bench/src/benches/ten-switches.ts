import { flowMod, listen, match, type Switch } from "@wheelwork/openflow";
import { freePort, OpenVSwitch, openVSwitchIsInstalled } from "@wheelwork/services";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { newKey } from "../flow.ts";
import { Measured, rounded, withFolder, type Bench } from "../harness.ts";

const switches = 10;
const everyBit = 0xffff_ffff_ffff_ffffn;
const main = join(import.meta.dirname, "../../../examples/flow-crud/src/main.ts");

/** Switches in memory, of which each has the port that leads to the next one. `first`: the number of the first of them. */
async function ringOf(lab: OpenVSwitch, first: number, port: number): Promise<void> {
  const numbers = Array.from({ length: switches }, (_, index) => first + index);
  await lab.add(numbers, `tcp:127.0.0.1:${port}`);
  const commands = numbers.flatMap((number, index) => {
    const [name, next] = [`s${number}n`, ((index + 1) % switches) + 1];
    const settings = ["type=dummy", `ofport_request=${100 + next}`];
    return ["--", "add-port", `s${number}`, name, "--", "set", "interface", name, ...settings];
  });
  await lab.vsctl(...commands.slice(1));
}

/** What makes a flow of ten rules, one on each switch. The result is whether it is proven that they are there. */
type MakeFlow = () => Promise<boolean>;

/** The bound: the speaker alone. Each switch gets its rule and a barrier, and is asked then whether it has it. */
function bySpeaker(all: readonly Switch[]): MakeFlow {
  let made = 0;
  return async () => {
    const number = ++made;
    await Promise.all(
      all.map(async (one, index) => {
        const cookie = (0x57n << 56n) | (BigInt(number) << 20n) | BigInt(index);
        const digits = cookie
          .toString(16)
          .padStart(16, "0")
          .replaceAll(/(.{4})(?!$)/g, "$1:");
        const next = 100 + ((index + 1) % switches) + 1;
        const rule = flowMod({
          cookie,
          priority: 100,
          match: match({ ethType: 0x86dd, ipv6Dst: `fd57::${digits}` }),
          instructions: [{ type: "applyActions", actions: [{ type: "output", port: next }] }],
        });
        await one.apply([rule]);
        const found = await one.flows({ cookie, cookieMask: everyBit });
        if (found.length !== 1) throw new Error(`${found.length} rules with one cookie`);
      }),
    );
    return true;
  };
}

/** A flow over HTTP, from the request to its answer. It gives the status. */
function byHttp(port: number, inFlight: number): (() => Promise<number>) & { end(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: inFlight });
  const post = (): Promise<number> =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify({ flowid: `flow-${newKey()}`, length: switches });
      const headers = {
        "content-type": "application/json",
        "content-length": Buffer.byteLength(body),
        "idempotency-key": newKey(),
        prefer: "wait=30",
      };
      const sent = request(
        { agent, port, host: "127.0.0.1", method: "POST", path: "/flow", headers },
        (response) => {
          response.resume();
          response.on("end", () => {
            resolve(response.statusCode ?? 0);
          });
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  return Object.assign(post, { end: () => agent.destroy() });
}

/** flow-crud in a process of its own. It resolves when all switches are connected and a flow is up. */
async function startFlowCrud(dir: string, openflow: number): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort();
  const options = ["--network", "--openflow", `127.0.0.1:${openflow}`, "--switches", `${switches}`];
  const child = spawn(
    process.execPath,
    [...process.execArgv, main, "--port", `${port}`, "--data", dir, "--log", "error", ...options],
    // With a channel, so that it ends with this process.
    { stdio: ["ignore", "ignore", "inherit", "ipc"] },
  );
  const make = byHttp(port, 1);
  for (let isUp = false; !isUp;) {
    if (child.exitCode !== null) throw new Error(`flow-crud has ended with ${child.exitCode}`);
    isUp = await make().then(
      (status) => status === 200,
      () => false,
    );
    if (!isUp) await sleep(100);
  }
  make.end();
  return { port, child };
}

/** Those that are up, and how many failed, which a busy machine causes: each attempt has a tenth of a second. */
async function measured(make: MakeFlow, inFlight: number, milliseconds: number) {
  const all = new Measured();
  let failed = 0;
  const client = async (until: number, counts: boolean): Promise<void> => {
    for (let began = performance.now(); began < until;) {
      const isUp = await make();
      const ended = performance.now();
      if (counts && isUp) all.add(ended - began);
      else if (counts) failed++;
      began = ended;
    }
  };
  const clients = (ms: number, counts: boolean): Promise<unknown> => {
    const until = performance.now() + ms;
    return Promise.all(Array.from({ length: inFlight }, () => client(until, counts)));
  };
  await clients(milliseconds / 4, false);
  const began = performance.now();
  await clients(milliseconds, true);
  all.elapsed(performance.now() - began);
  return { all, failed };
}

/** `npm run bench -- ten-switches`: flow-crud on ten real switches, against the speaker alone. */
export const tenSwitches: Bench = {
  name: "ten-switches",
  about:
    "flow-crud of ten rules on ten switches of Open vSwitch, from POST to answer; the bound is the speaker alone",
  async run({ dir, full, note, report }) {
    if (!openVSwitchIsInstalled()) {
      note("skipped: apt-get install --no-install-recommends openvswitch-switch");
      return;
    }
    const lab = OpenVSwitch.temporary();
    const speaker = await listen({ port: 0, host: "127.0.0.1" });
    let child: ChildProcess | undefined;
    try {
      await withFolder(dir, async (folder) => {
        const openflow = await freePort();
        await ringOf(lab, 1, openflow);
        await ringOf(lab, switches + 1, speaker.port);
        const started = await startFlowCrud(join(folder, "data"), openflow);
        child = started.child;
        while (speaker.switches.size < switches) await sleep(20);
        const bare = bySpeaker(Array.from(speaker.switches.values()));
        let flows = 1;
        for (const inFlight of [1, 16]) {
          note(`${inFlight} in flight`);
          const make = byHttp(started.port, inFlight);
          const milliseconds = full ? 20_000 : 5000;
          const { all: bound } = await measured(bare, inFlight, milliseconds);
          const { all: ours, failed } = await measured(
            async () => {
              const isUp = (await make()) === 200;
              if (isUp) flows++;
              return isUp;
            },
            inFlight,
            milliseconds,
          );
          make.end();
          report({
            bench: "ten-switches",
            inflight: inFlight,
            flows_s: Math.round(ours.rate),
            p50_ms: rounded(ours.percentile(0.5)),
            p99_ms: rounded(ours.percentile(0.99)),
            failed,
            speaker_flows_s: Math.round(bound.rate),
            speaker_p50_ms: rounded(bound.percentile(0.5)),
            speaker_p99_ms: rounded(bound.percentile(0.99)),
            ratio: rounded(ours.rate / bound.rate),
          });
        }
        // Open vSwitch says whether the flows that are up have their rules, and those that failed none. What failed last may be cleaned up still.
        for (let number = 1, tries = 0; number <= switches;) {
          const found = (await lab.dump(number)).filter((line) => line.includes("cookie=0x57")).length;
          if (found === flows) number++;
          else if (++tries > 1000) throw new Error(`switch ${number} has ${found} rules of ${flows} flows`);
          else await sleep(20);
        }
        child.kill("SIGTERM");
        await once(child, "exit");
      });
    } finally {
      child?.kill("SIGKILL");
      await speaker.close();
      lab.stop();
    }
  },
};
