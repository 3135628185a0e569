// What a call says of its outcome is true, whatever happens to the connection: Open vSwitch's own tool says which rules there are.
// WHEELWORK_OPENFLOW_FAULTS sets how many rounds there are, and WHEELWORK_SEED the seed of a round that has failed.
import { OpenVSwitch, openVSwitchIsInstalled } from "@wheelwork/services";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { flowMod, type FlowMod, listen, match, OpenFlowError, type Switch } from "../src/index.ts";
import { Proxy } from "./proxy.ts";

const rounds = Number(process.env["WHEELWORK_OPENFLOW_FAULTS"] ?? 10);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const why = openVSwitchIsInstalled() ? "" : " (skipped: it is not installed)";

/** Numbers that look random, and are the same for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b_3c6d) + 0x6d2b_79f5) | 0;
    const mixed = Math.imul(state ^ (state >>> 13), 0x297a_2d39);
    return ((mixed ^ (mixed >>> 16)) >>> 0) % below;
  };
}

const rule = (group: number, index: number, port: number): FlowMod =>
  flowMod({
    cookie: BigInt(group),
    match: match({ ethType: 0x0800, ipv4Dst: `10.${group}.${index >> 8}.${index & 255}` }),
    instructions: [{ type: "applyActions", actions: [{ type: "output", port }] }],
  });

/** What came of a group: how many of its rules there may be. */
interface Outcome {
  readonly group: number;
  readonly says: string;
  readonly least: number;
  readonly most: number;
}

async function outcomeOf(
  group: number,
  size: number,
  isBundle: boolean,
  work: Promise<void>,
): Promise<Outcome> {
  try {
    await work;
    return { group, says: "ok", least: size, most: size };
  } catch (error) {
    if (!(error instanceof OpenFlowError)) return { group, says: String(error), least: 0, most: 0 };
    // A bundle that is refused has changed nothing.
    const done = isBundle ? 0 : size - error.refusals.length;
    if (error.code === "WW_OF_REFUSED") return { group, says: error.code, least: done, most: done };
    return { group, says: error.code, least: 0, most: error.code === "WW_OF_UNKNOWN" ? size : 0 };
  }
}

describe.skipIf(!openVSwitchIsInstalled())(`on Open vSwitch${why}`, () => {
  let lab: OpenVSwitch;
  beforeAll(() => {
    lab = OpenVSwitch.temporary();
  });
  afterAll(() => lab?.stop());

  it(`outcomes are true over ${rounds} rounds of faults`, async () => {
    const speaker = await listen({ port: 0, host: "127.0.0.1", windowBytes: 20_000 });
    const proxy = new Proxy(speaker.port);
    onTestFinished(() => {
      proxy.close();
      return speaker.close();
    });
    const target = `tcp:127.0.0.1:${await proxy.listen()}`;
    const next = async (): Promise<Switch> => ((await once(speaker, "switch")) as [Switch])[0];
    let [sw] = await Promise.all([next(), lab.add([1], target)]);
    const seen = new Set<string>();

    for (let round = 0; round < rounds; round++) {
      const random = randomOf(seed + round);
      const groups = Array.from({ length: 1 + random(5) }, (_, group) => {
        const bad = random(4) === 0 ? random(50) : -1;
        return Array.from({ length: 1 + random(400) }, (_, index) =>
          rule(group + 1, index, index === bad ? 0xffff_ff55 : 2),
        );
      });
      const size = groups.reduce((sum, { length }) => sum + length, 0);
      const fault = ["none", "cut", "close", "abort", "late"][random(5)];
      if (fault === "cut") proxy.cutAfter(random(size * 100));
      const works = groups.map((rules, index) => {
        const signal = fault === "abort" ? AbortSignal.timeout(1 + random(8)) : undefined;
        const options = { timeoutMs: fault === "late" ? 1 + random(8) : 10_000, ...(signal && { signal }) };
        const isBundle = random(4) === 0;
        const work = isBundle ? sw.bundle(rules, options) : sw.apply(rules, options);
        return outcomeOf(index + 1, rules.length, isBundle, work);
      });
      if (fault === "close") setImmediate(() => sw.close());
      const outcomes = await Promise.all(works);
      proxy.cutAfter(Infinity);
      await sw.apply([]).catch(() => {});
      if (!sw.isConnected) [sw] = await Promise.all([next(), lab.connect(1, target)]);
      await sw.apply([]);
      const there = Map.groupBy(await lab.dump(1), (line) => Number(/cookie=(0x[\da-f]+)/.exec(line)?.[1]));
      for (const { group, says, least, most } of outcomes) {
        const count = there.get(group)?.length ?? 0;
        const what = `seed ${seed + round}, ${fault}: group ${group} says ${says}, and has ${count} rules`;
        expect(count, what).toBeGreaterThanOrEqual(least);
        expect(count, what).toBeLessThanOrEqual(most);
        seen.add(says);
      }
      await sw.apply([flowMod({ command: "delete", tableId: 255 })]);
      expect(sw.pendingBytes).toBe(0);
    }
    expect(seen.has("ok")).toBe(true);
  });
});
