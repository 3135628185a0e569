import { openVSwitchIsInstalled } from "@wheelwork/services";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { ask, commandOf, requestA, requestB, Ring, simulated, type Driven } from "./lab.ts";

/** What both kinds of switches do. */
const kinds = [
  { kind: "simulated switches", canRun: true, start: simulated },
  { kind: "Open vSwitch", canRun: openVSwitchIsInstalled(), start: () => Ring.start(2) },
] as const;

describe.each(kinds)("$kind", ({ canRun, start }) => {
  describe.skipIf(!canRun)("conform", () => {
    let driven: Driven;
    beforeEach(async () => {
      driven = await start();
      onTestFinished(() => driven.end());
    });
    const does = (...commands: Parameters<typeof ask>[1][]): ReturnType<typeof ask> =>
      ask(driven.switches, ...commands);

    test("they install, validate, remove and validate the removal; what comes again changes nothing", async () => {
      expect(
        await does(
          ["validate", requestA, 8],
          ["install", requestA, 8],
          ["install", requestA, 8],
          ["validate", requestA, 8],
        ),
      ).toEqual(["missing", "installed", "installed", "validated"]);
      expect(await driven.held()).toEqual(["a8"]);
      const rule = { switch: "sw-1", flowid: "test-01", ruleid: 8, cookie: requestA };
      expect(driven.switches.rules("test-01")).toEqual([rule]);
      expect(driven.switches.rules("test-02")).toEqual([]);
      expect(driven.switches.page({ limit: 10 })).toEqual({ count: 1, rules: [rule] });
      expect(
        await does(
          ["validate-removed", requestA, 8],
          ["remove", requestA, 8],
          ["remove", requestA, 8],
          ["validate-removed", requestA, 8],
        ),
      ).toEqual(["unremoved", "removed", "removed", "absent"]);
      expect(await driven.held()).toEqual([]);
      expect(driven.switches.page({ limit: 10 })).toEqual({ count: 0, rules: [] });
      expect(driven.switches.unconfirmed(10)).toEqual({ count: 0, rules: [] });
      expect(await driven.switches.execute(commandOf("dance", requestA, 8))).toBe("");
    });

    test("a removal touches its own request only, and keeps its rule away, also if it comes first", async () => {
      await does(["install", requestA, 1], ["install", requestB, 1], ["remove", requestA, 1]);
      expect(await driven.held()).toEqual(["b1"]);
      expect(
        await does(
          ["install", requestA, 1],
          ["validate", requestA, 1],
          ["remove", requestA, 3],
          ["install", requestA, 3],
        ),
      ).toEqual(["fenced", "missing", "removed", "fenced"]);
      await driven.reopen();
      expect(await does(["install", requestA, 3], ["validate", requestB, 1])).toEqual([
        "fenced",
        "validated",
      ]);
      expect(await driven.held()).toEqual(["b1"]);
    });

    test("commands that come at once are done in their order", async () => {
      const commands = (["install", "remove", "install"] as const).flatMap((command) =>
        Array.from({ length: 20 }, (_, ruleid) => commandOf(command, requestA, ruleid)),
      );
      const answers = await Promise.all(commands.map((command) => driven.switches.execute(command)));
      expect(new Set(answers.slice(20, 40))).toEqual(new Set(["removed"]));
      expect(new Set(answers.slice(40))).toEqual(new Set(["fenced"]));
      expect(await driven.held()).toEqual([]);
    });

    test("a full table refuses, and takes again what it has", async () => {
      await driven.limit(1);
      expect(
        await does(
          ["install", requestA, 0],
          ["install", requestA, 2],
          ["install", requestA, 0],
          ["remove", requestA, 2],
          ["validate-removed", requestA, 2],
          ["remove", requestA, 0],
          ["install", requestA, 4],
        ),
      ).toEqual(["installed", "table-full", "installed", "removed", "absent", "removed", "installed"]);
      expect(await driven.held()).toEqual(["a4"]);
    });
  });
});

describe.skipIf(!openVSwitchIsInstalled())("a ring of three real switches", () => {
  let ring: Ring;
  beforeAll(async () => {
    ring = await Ring.start(3);
  });
  afterAll(() => ring?.end());

  /** A request of its own for each test. */
  let requests = 0;
  let request: string;
  beforeEach(async () => {
    request = (++requests).toString(16).padStart(32, "0");
    await ring.complete();
  });
  const does = (...commands: Parameters<typeof ask>[1][]): ReturnType<typeof ask> =>
    ask(ring.switches, ...commands);
  const count = async (number: number): Promise<number> => (await ring.lab.dump(number)).length;

  test("a removal whose switch is away is not answered, is named, and is done when the switch is back", async () => {
    await does(["install", request, 0], ["install", request, 1]);
    await ring.cut(1);
    expect(await does(["remove", request, 0], ["validate-removed", request, 0])).toEqual([
      undefined,
      "unremoved",
    ]);
    expect(ring.switches.unconfirmed(10)).toMatchObject({ count: 1, rules: [{ switch: "sw-1", ruleid: 0 }] });
    expect(await count(1)).toBe(1);
    // It outlives the process, too.
    await ring.switches.close();
    await ring.open();
    expect(ring.switches.unconfirmed(10).count).toBe(1);
    await ring.complete();
    expect(await count(1)).toBe(0);
    await expect.poll(() => ring.switches.unconfirmed(10).count).toBe(0);
    expect(await does(["validate-removed", request, 0], ["validate", request, 1])).toEqual([
      "absent",
      "validated",
    ]);
    await does(["remove", request, 1]);
  });

  test("switches that were started anew get back what they should have, and nothing else", async () => {
    await does(["install", request, 0], ["install", request, 1], ["install", request, 3]);
    await does(["remove", request, 1]);
    await ring.lab.crash();
    expect(await ring.counts()).toEqual([0, 0, 0]);
    for (const number of [1, 2, 3]) await ring.lab.connect(number, ring.target);
    await expect.poll(() => ring.counts()).toEqual([2, 0, 0]);
    await ring.complete();
    expect(await does(["validate", request, 0], ["validate", request, 3])).toEqual([
      "validated",
      "validated",
    ]);
    await does(["remove", request, 0], ["remove", request, 3]);
  });

  test("what somebody else has written over, deleted or added under our mark is put right at the next connection", async () => {
    await does(["install", request, 0], ["install", request, 3], ["install", request, 6]);
    const [first = 0n, second = 0n] = await ring.cookies(1);
    const hex = (cookie: bigint): string => `cookie=0x${cookie.toString(16)}`;
    await ring.lab.ofctl(1, "del-flows", `${hex(first)}/-1`);
    await ring.lab.ofctl(1, "mod-flows", `${hex(second)}/-1,actions=drop`);
    await ring.lab.ofctl(1, "add-flow", "cookie=0x5700ffffffffffff,priority=7,tcp,actions=drop");
    await ring.lab.ofctl(1, "add-flow", "cookie=0x9900000000000001,priority=7,udp,actions=drop");
    expect(await does(["validate", request, 0], ["validate", request, 3], ["validate", request, 6])).toEqual([
      "missing",
      "missing",
      "validated",
    ]);
    await ring.cut(1);
    await ring.complete();
    expect(await does(["validate", request, 0], ["validate", request, 3], ["validate", request, 6])).toEqual([
      "validated",
      "validated",
      "validated",
    ]);
    // Rules of others are left alone.
    expect((await ring.cookies(1)).filter((cookie) => cookie >> 56n !== 0x57n)).toEqual([
      0x9900000000000001n,
    ]);
    expect(await count(1)).toBe(4);
    await ring.lab.ofctl(1, "del-flows", "cookie=0x9900000000000001/-1");
    await does(["remove", request, 0], ["remove", request, 3], ["remove", request, 6]);
    expect(await count(1)).toBe(0);
  });

  test("a switch that is away is told nothing, and nothing is said of it; an install comes again when it is back", async () => {
    await ring.cut(2);
    expect(await does(["install", request, 1], ["validate", request, 1])).toEqual([undefined, "missing"]);
    expect(ring.switches.rules()).toEqual([]);
    await ring.complete();
    expect(await count(2)).toBe(0);
    expect(await does(["install", request, 1], ["validate", request, 1], ["remove", request, 1])).toEqual([
      "installed",
      "validated",
      "removed",
    ]);
  });

  test("an owner that is overtaken writes nothing more", async () => {
    await does(["install", request, 0]);
    const former = ring.switches;
    // Another process has opened the same book: it has the next generation.
    await ring.open({ listen: { port: 0, host: "127.0.0.1" } });
    const [target, later] = [`tcp:127.0.0.1:${former.port}`, `tcp:127.0.0.1:${ring.switches.port}`];
    await ring.lab.connect(1, target, later);
    await expect.poll(() => ring.switches.connected).toContain(1);
    const late = await former.execute(commandOf("install", request, 3));
    expect(["refused", undefined]).toContain(late);
    expect(await count(1)).toBe(1);
    await former.close();
    await ring.complete();
    await does(["remove", request, 0], ["remove", request, 3]);
  });

  test("a rule for a port that is not there is refused", async () => {
    await ring.lab.vsctl("del-port", "l3-1");
    await expect.poll(() => does(["install", request, 2])).toEqual(["refused"]);
    expect(await count(3)).toBe(0);
  });

  test("a switch with a number that is none of the network is told so, and left alone", async () => {
    await ring.lab.add([9], ring.target);
    await expect.poll(() => ring.problems.join()).toContain("datapath id 9");
    expect(await count(9)).toBe(0);
    await ring.lab.vsctl("del-br", "s9");
  });
});
