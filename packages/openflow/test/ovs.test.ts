// The speaker and real switches: Open vSwitch, started by the test.
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Authority,
  OpenVSwitch,
  openVSwitchIsInstalled,
  opensslIsInstalled,
  pemOf,
} from "@wheelwork/services";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import {
  bucket,
  type Command,
  flowMod,
  flowRemovedReasons,
  type GroupMod,
  listen,
  match,
  type MeterMod,
  OpenFlowError,
  packetOut,
  ports,
  type Speaker,
  type SpeakerOptions,
  type Switch,
} from "../src/index.ts";
import { Proxy } from "./proxy.ts";

const everyBit = 0xffff_ffff_ffff_ffffn;

/** A rule of its own for each number. */
const rule = (index: number, cookie = 5n) =>
  flowMod({
    cookie,
    priority: 100,
    match: match({ inPort: 1, ethType: 0x0800, ipv4Dst: `10.0.${index >> 8}.${index & 255}` }),
    instructions: [{ type: "applyActions", actions: [{ type: "output", port: 2 }] }],
  });
const rules = (count: number, cookie?: bigint) =>
  Array.from({ length: count }, (_, index) => rule(index, cookie));

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "ok",
    (error) => (error as OpenFlowError).code,
  );

const why = openVSwitchIsInstalled() ? "" : " (skipped: it is not installed)";

describe.skipIf(!openVSwitchIsInstalled())(`Open vSwitch${why}`, () => {
  let lab: OpenVSwitch;
  let made = 0;
  beforeAll(() => {
    lab = OpenVSwitch.temporary();
  });
  afterAll(() => lab?.stop());

  async function speaker(options: SpeakerOptions = {}): Promise<Speaker> {
    const one = await listen({ port: 0, host: "127.0.0.1", ...options });
    onTestFinished(() => one.close());
    return one;
  }

  const targetOf = ({ port }: { readonly port: number }): string => `tcp:127.0.0.1:${port}`;

  /** The next switch of a speaker that is connected. */
  async function next(one: Speaker, id?: number): Promise<Switch> {
    for (;;) {
      const [found] = (await once(one, "switch")) as [Switch];
      if (id === undefined || found.datapathId === BigInt(id)) return found;
    }
  }

  /** A new switch that is connected to a new speaker. */
  async function connected(
    options?: SpeakerOptions,
  ): Promise<{ one: Speaker; sw: Switch; id: number; target: string }> {
    const one = await speaker(options);
    const id = ++made;
    const target = targetOf(one);
    const [sw] = await Promise.all([next(one), lab.add([id], target)]);
    return { one, sw, id, target };
  }

  it("has the rules that were proven, and they are read back as they were written", async () => {
    const { sw, id } = await connected();
    const written = [
      flowMod({
        cookie: 6n,
        priority: 7,
        tableId: 1,
        match: match({ inPort: 1, vlan: 100, ethDst: "01:00:00:00:00:00/01:00:00:00:00:00" }),
        instructions: [
          {
            type: "applyActions",
            actions: [
              { type: "setField", field: { field: "vlanVid", value: 0x1000 | 200 } },
              { type: "popVlan" },
              { type: "pushVlan", etherType: 0x8100 },
              { type: "output", port: ports.inPort, maxLength: 0 },
            ],
          },
          { type: "writeMetadata", metadata: 1n, mask: 255n },
          { type: "gotoTable", tableId: 2 },
        ],
      }),
      ...rules(9),
    ];
    expect(sw.atConnect).toEqual({ generation: undefined, flows: 0 });
    await sw.apply(written);
    expect(await lab.dump(id)).toHaveLength(10);
    const [read] = await sw.flows({ cookie: 6n, cookieMask: everyBit });
    expect(read).toMatchObject({
      match: written[0]?.match,
      instructions: written[0]?.instructions,
      priority: 7,
      tableId: 1,
    });
    expect(await sw.aggregate({ cookie: 5n, cookieMask: everyBit })).toMatchObject({ flows: 9 });
    await sw.apply([flowMod({ command: "delete", tableId: 255, cookie: 5n, cookieMask: everyBit })]);
    expect(await lab.dump(id)).toHaveLength(1);
  });

  it("gives all rules of a table that come in several parts", async () => {
    const { sw } = await connected();
    await sw.apply(rules(3000));
    const read = await sw.flows();
    expect(new Set(read.map(({ match }) => JSON.stringify(match))).size).toBe(3000);
  });

  it("says what it is, and what it has", async () => {
    const { sw } = await connected();
    expect(await sw.description()).toMatchObject({
      manufacturer: "Nicira, Inc.",
      hardware: "Open vSwitch",
    });
    expect((await sw.ports()).map(({ port }) => port)).toEqual(expect.arrayContaining([1, 2, ports.local]));
    expect(await sw.portStats(1)).toMatchObject([{ port: 1, receivedPackets: 0n }]);
    expect(await sw.tables()).toHaveLength(254);
    expect(await sw.meterFeatures()).toMatchObject({ maxMeters: 262_144 });
    const meter: MeterMod = {
      type: "meterMod",
      command: "add",
      flags: 1,
      meterId: 3,
      bands: [{ type: "drop", rate: 1000, burst: 0 }],
    };
    await sw.apply([meter]);
    expect(await sw.meters()).toMatchObject([
      { flags: 1, meterId: 3, bands: [{ type: "drop", rate: 1000 }] },
    ]);
    expect(await sw.meterStats(3)).toMatchObject([{ meterId: 3, flows: 0 }]);
    expect(await sw.request({ type: "getConfigRequest" })).toMatchObject({ flags: 0 });
    expect(await sw.request({ type: "echoRequest", data: Uint8Array.of(1, 2) })).toMatchObject({
      data: Uint8Array.of(1, 2),
    });
  });

  it("refuses what has no place in a full table, and says which; what is refused in a bundle changes nothing", async () => {
    const { sw, id } = await connected();
    await lab.vsctl(
      "--",
      "--id=@t",
      "create",
      "Flow_Table",
      "flow_limit=5",
      "overflow_policy=refuse",
      "--",
      "set",
      "bridge",
      `s${id}`,
      "flow_tables:0=@t",
    );
    const failed = sw.apply(rules(8));
    await expect(failed).rejects.toMatchObject({
      code: "WW_OF_REFUSED",
      refusals: [5, 6, 7].map((index) => ({ index, name: "FLOW_MOD_FAILED/TABLE_FULL" })),
    });
    expect(await lab.dump(id)).toHaveLength(5);
    await expect(
      sw.bundle([flowMod({ command: "delete", tableId: 255 }), ...rules(6, 9n)]),
    ).rejects.toMatchObject({
      code: "WW_OF_REFUSED",
      refusals: expect.arrayContaining([expect.objectContaining({ name: "EXPERIMENTER/MSG_FAILED" })]),
    });
    expect((await lab.dump(id)).filter((line) => line.includes("cookie=0x5"))).toHaveLength(5);
    await sw.bundle([flowMod({ command: "delete", tableId: 255 }), ...rules(5, 9n)]);
    expect((await lab.dump(id)).filter((line) => line.includes("cookie=0x9"))).toHaveLength(5);
    const bad = flowMod({
      instructions: [{ type: "applyActions", actions: [{ type: "output", port: 0xffff_ff55 }] }],
    });
    await expect(sw.bundle([rule(0, 7n), bad])).rejects.toMatchObject({
      refusals: [{ index: 1, name: "BAD_ACTION/BAD_OUT_PORT" }],
    });
    expect((await lab.dump(id)).filter((line) => line.includes("cookie=0x9"))).toHaveLength(5);
    expect(sw.pendingBytes).toBe(0);
  });

  it("has groups, which are read back as they were written, and go with the rules that use them", async () => {
    const { sw, id } = await connected();
    const outputTo = (port: number) => ({ type: "output", port, maxLength: 0xffff }) as const;
    const group = (
      command: "add" | "modify" | "delete",
      groupId: number,
      weights: readonly number[],
    ): GroupMod => ({
      type: "groupMod",
      command,
      groupType: "select",
      groupId,
      buckets: weights.map((weight, index) => bucket([outputTo(1 + index)], { weight })),
    });
    const using = flowMod({
      cookie: 3n,
      match: match({ inPort: 1 }),
      instructions: [{ type: "applyActions", actions: [{ type: "group", groupId: 7 }] }],
    });
    const failover: GroupMod = {
      type: "groupMod",
      command: "add",
      groupType: "fastFailover",
      groupId: 8,
      buckets: [bucket([outputTo(2)], { watchPort: 2 }), bucket([], { watchGroup: 7 })],
    };
    await sw.apply([group("add", 7, [2, 3]), failover, using]);
    const read = (await sw.groups()).toSorted((one, other) => one.groupId - other.groupId);
    expect(read.map(({ groupId, groupType }) => [groupId, groupType])).toEqual([
      [7, "select"],
      [8, "fastFailover"],
    ]);
    expect(read.map(({ buckets }) => buckets)).toEqual([group("add", 7, [2, 3]).buckets, failover.buckets]);
    expect(await lab.ofctl(id, "dump-groups")).toMatch(/group_id=7,type=select,bucket=.*weight:2.*weight:3/);
    expect(await sw.groupStats(7)).toMatchObject([{ groupId: 7, packets: 0n, buckets: [{}, {}] }]);
    expect(await sw.groupStats()).toHaveLength(2);
    expect(await sw.groupFeatures()).toMatchObject({
      types: 15,
      maxGroups: [{}, {}, {}, {}].map(() => expect.any(Number)),
    });
    await expect(sw.apply([using, group("add", 7, [1]), group("modify", 9, [1])])).rejects.toMatchObject({
      refusals: [
        { index: 1, name: "GROUP_MOD_FAILED/GROUP_EXISTS" },
        { index: 2, name: "GROUP_MOD_FAILED/UNKNOWN_GROUP" },
      ],
    });
    await sw.apply([group("delete", 7, [])]);
    expect(await lab.dump(id)).toEqual([]);
  });

  it("obeys the speaker of the highest generation, and the others write nothing", async () => {
    const { one, sw, id, target } = await connected({ generation: 5n });
    const other = await speaker({ generation: 6n });
    const [taken] = await Promise.all([
      next(other),
      lab.vsctl("set-controller", `s${id}`, target, targetOf(other)),
    ]);
    expect(taken.atConnect.generation).toBe(5n);
    const ended = once(sw, "end");
    expect(await codeOf(sw.apply(rules(3, 1n)))).toBe("WW_OF_UNKNOWN");
    expect(await ended).toMatchObject([{ code: "WW_OF_STALE" }]);
    await taken.apply(rules(2, 2n));
    expect((await lab.dump(id)).map((line) => /cookie=(\w+)/.exec(line)?.[1])).toEqual(["0x2", "0x2"]);
    // The switch connects again to the former master by itself, and refuses it.
    const [error] = await once(one, "refused");
    expect(error).toMatchObject({ code: "WW_OF_STALE" });
    expect(taken.isConnected).toBe(true);
  });

  it("is known to have some, all or none of the rules when the connection is cut in the middle", async () => {
    const one = await speaker();
    const proxy = new Proxy(one.port);
    onTestFinished(() => proxy.close());
    const port = await proxy.listen();
    const id = ++made;
    const [sw] = await Promise.all([next(one), lab.add([id], targetOf({ port }))]);
    await sw.apply([rule(0, 4n)]);
    proxy.cutAfter(150_000);
    expect(await codeOf(sw.apply(rules(4000)))).toBe("WW_OF_UNKNOWN");
    expect(await codeOf(sw.apply([]))).toBe("WW_OF_CLOSED");
    const [again] = await Promise.all([next(one), lab.connect(id, targetOf(one))]);
    const { flows = 0, generation } = again.atConnect;
    expect(flows).toBe((await lab.dump(id)).length);
    expect(flows).toBeGreaterThan(1);
    expect(flows).toBeLessThan(4000);
    // It knows its master still: it was not started anew.
    expect(generation).toBe(sw.generation);
    await again.apply(rules(4000));
    expect(await again.aggregate()).toMatchObject({ flows: 4000 });
  });

  it("is seen to have been started anew", async () => {
    const { one, sw, target, id } = await connected();
    await sw.apply(rules(3));
    const ended = once(sw, "end");
    const again = next(one, id);
    await lab.crash();
    expect(await ended).toMatchObject([{ code: "WW_OF_CLOSED" }]);
    await lab.connect(id, target);
    expect((await again).atConnect).toEqual({ generation: undefined, flows: 0 });
  });

  it("is given up when it stands still, and has an unknown outcome", async () => {
    const { one, sw, id, target } = await connected({ echoAfterMs: 200, silentAfterMs: 800 });
    await sw.apply([]);
    lab.signal("SIGSTOP");
    onTestFinished(() => lab.signal("SIGCONT"));
    const read = codeOf(sw.flows({}, { timeoutMs: 100 }));
    const written = codeOf(sw.apply(rules(2), { timeoutMs: 100 }));
    const aborted = codeOf(sw.apply(rules(2), { signal: AbortSignal.timeout(50) }));
    const [reason] = await once(sw, "end");
    expect(reason).toMatchObject({ code: "WW_OF_SILENT" });
    expect([await read, await written, await aborted]).toEqual([
      "WW_OF_TIMEOUT",
      "WW_OF_UNKNOWN",
      "WW_OF_UNKNOWN",
    ]);
    lab.signal("SIGCONT");
    const [again] = await Promise.all([next(one, id), lab.connect(id, target)]);
    // The frozen switch has read what was on its way to it.
    expect(again.atConnect.flows).toBe(2);
  });

  it("is not given up when this process itself stood still", async () => {
    const { sw } = await connected({ echoAfterMs: 200, silentAfterMs: 800 });
    const written = sw.apply(rules(2), { timeoutMs: 500 });
    // What the switch has said meanwhile is read before its time is over.
    await new Promise((resolve) => setTimeout(resolve, 20));
    for (const until = performance.now() + 1500; performance.now() < until;);
    await written;
    await sw.apply(rules(2));
    expect(sw.isConnected).toBe(true);
  });

  it("tells of packets, ports and rules, and sends packets", async () => {
    const { sw, id } = await connected();
    const pcap = join(lab.folder, `s${id}.pcap`);
    await lab.vsctl("set", "interface", `s${id}p2`, `options:tx_pcap=${pcap}`);
    await sw.apply([
      flowMod({
        cookie: 3n,
        flags: 1,
        match: match({ inPort: 1 }),
        instructions: [{ type: "applyActions", actions: [{ type: "output", port: ports.controller }] }],
      }),
    ]);
    const came = once(sw, "packetIn");
    await lab.appctl(
      "netdev-dummy/receive",
      `s${id}p1`,
      "in_port(1),eth(src=0a:00:00:00:00:01,dst=0a:00:00:00:00:02),eth_type(0x1234)",
    );
    const [packet] = await came;
    expect(packet).toMatchObject({ reason: "action", cookie: 3n, match: [{ field: "inPort", value: 1 }] });
    sw.send(packetOut({ data: packet.data, actions: [{ type: "output", port: 2 }] }));
    await sw.apply([]);
    expect(
      readFileSync(pcap).includes(Buffer.from("0a00000000020a000000000112", "hex").subarray(0, 12)),
    ).toBe(true);
    const refused = once(sw, "refused");
    sw.send(packetOut({ data: packet.data, actions: [{ type: "output", port: 0xffff_ff55 }] }));
    expect(await refused).toMatchObject([{ errorType: 2, code: 4 }]);
    const removed = once(sw, "flowRemoved");
    await sw.apply([flowMod({ command: "delete", tableId: 255 })]);
    expect(await removed).toMatchObject([
      { cookie: 3n, reason: "delete" satisfies keyof typeof flowRemovedReasons },
    ]);
    const gone = once(sw, "portStatus");
    await lab.vsctl("del-port", `s${id}`, `s${id}p1`);
    expect(await gone).toMatchObject([{ reason: "delete", port: { port: 1, name: `s${id}p1` } }]);
  });

  it("that connects again replaces its former connection, and what that had under way does not land", async () => {
    const one = await speaker();
    const proxy = new Proxy(one.port);
    onTestFinished(() => proxy.close());
    const port = await proxy.listen();
    const id = ++made;
    const [sw] = await Promise.all([next(one), lab.add([id], targetOf({ port }))]);
    proxy.hold();
    const lost = codeOf(sw.apply(rules(3)));
    const ended = once(sw, "end");
    const [again] = await Promise.all([
      next(one, id),
      lab.vsctl("set-controller", `s${id}`, targetOf({ port }), targetOf(one)),
    ]);
    expect(await ended).toMatchObject([{ code: "WW_OF_REPLACED" }]);
    expect(await lost).toBe("WW_OF_UNKNOWN");
    expect(one.switches.get(BigInt(id))).toBe(again);
    expect(await codeOf(sw.apply([]))).toBe("WW_OF_CLOSED");
    proxy.release();
    // The switch has refused what it got late.
    const log = (): string => readFileSync(join(lab.folder, "ovs-vswitchd.log"), "utf8");
    await expect.poll(log).toMatch(new RegExp(`s${id}<->\\S+: sending OFPBRC_IS_S(?:LAVE|ECONDARY)`));
    await again.apply([]);
    expect(await lab.dump(id)).toEqual([]);
  });

  it("is one of 200 that one process speaks with", async () => {
    const one = await speaker();
    const ids = Array.from({ length: 200 }, () => ++made);
    const all = new Promise<void>((resolve) => {
      one.on("switch", () => one.switches.size === 200 && resolve());
    });
    await Promise.all([all, lab.add(ids, targetOf(one))]);
    const switches = [...one.switches.values()];
    await Promise.all(switches.map((sw) => sw.apply(rules(5))));
    const counts = await Promise.all(switches.map((sw) => sw.aggregate()));
    expect(counts.every(({ flows }) => flows === 5)).toBe(true);
    await one.close();
    await lab.vsctl(...ids.flatMap((id) => ["--", "del-br", `s${id}`]).slice(1));
  });

  it.skipIf(!opensslIsInstalled())("speaks TLS, and both sides prove who they are", async () => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-openflow-tls-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const [ours, theirs] = [new Authority(folder, "ours"), new Authority(folder, "theirs")];
    const [server, good, bad] = [
      ours.issue("speaker", ["127.0.0.1"]),
      ours.issue("switch"),
      theirs.issue("stranger"),
    ];
    const peers: unknown[] = [];
    const one = await speaker({
      tls: { ...pemOf(server), ca: readFileSync(ours.ca) },
      generation: ({ datapathId }, { certificate }) => {
        peers.push([datapathId, certificate?.subject.CN]);
        return 1n;
      },
    });
    const id = ++made;
    await lab.vsctl("set-ssl", bad.key, bad.cert, ours.ca);
    const refused = once(one, "refused");
    await lab.add([id], `ssl:127.0.0.1:${one.port}`);
    expect(await refused).toMatchObject([
      { code: "WW_OF_HANDSHAKE", message: expect.stringContaining("TLS") },
      expect.anything(),
    ]);
    expect(one.switches.size).toBe(0);
    expect(peers).toEqual([]);
    const [sw] = await Promise.all([
      next(one),
      lab
        .vsctl("set-ssl", good.key, good.cert, ours.ca)
        .then(() => lab.connect(id, `ssl:127.0.0.1:${one.port}`)),
    ]);
    await sw.apply(rules(2));
    expect(await lab.dump(id)).toHaveLength(2);
    expect(peers).toEqual([[BigInt(id), "switch"]]);
  });

  it("is refused by a speaker that has no generation for it", async () => {
    const generation = (): bigint => {
      throw new Error("not one of ours");
    };
    const one = await speaker({ generation });
    const refused = once(one, "refused");
    await lab.add([++made], targetOf(one));
    expect(await refused).toMatchObject([
      { code: "WW_OF_HANDSHAKE", message: expect.stringContaining("not one of ours") },
      expect.stringContaining("127.0.0.1:"),
    ]);
    await one.close();
    await one.close();
  });

  it("speaks OpenFlow 1.3 if it knows later versions, too, and is refused if it does not know it", async () => {
    const one = await speaker();
    const [both, old] = [++made, ++made];
    await lab.add([both, old]);
    await lab.vsctl("set", "bridge", `s${both}`, "protocols=OpenFlow10,OpenFlow13,OpenFlow15");
    await lab.vsctl("set", "bridge", `s${old}`, "protocols=OpenFlow10");
    const refused = once(one, "refused");
    const came = one.waitFor(BigInt(both));
    for (const number of [both, old]) await lab.vsctl("set-controller", `s${number}`, targetOf(one));
    await (await came).apply(rules(2));
    expect(await refused).toMatchObject([{ code: "WW_OF_VERSION" }, expect.anything()]);
    expect(one.switches.size).toBe(1);
  });

  it("can be waited for", async () => {
    const { one, sw, id, target } = await connected();
    expect(await one.waitFor(BigInt(id))).toBe(sw);
    const absent = BigInt(++made);
    expect(await codeOf(one.waitFor(absent, { timeoutMs: 5 }))).toBe("WW_OF_TIMEOUT");
    await expect(one.waitFor(absent, { signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
    const stop = new AbortController();
    const aborted = one.waitFor(absent, { signal: stop.signal });
    stop.abort("enough");
    await expect(aborted).rejects.toBe("enough");
    const waits = one.waitFor(absent);
    await lab.add([Number(absent)], target);
    expect((await waits).datapathId).toBe(absent);
    const never = codeOf(one.waitFor(absent + 1000n));
    await one.close();
    expect([await never, await codeOf(one.waitFor(absent))]).toEqual(["WW_OF_CLOSED", "WW_OF_CLOSED"]);
    expect(one.listenerCount("switch")).toBe(0);
  });

  it("takes commands alone where commands are meant: a role would undo the mastership", async () => {
    const { sw } = await connected();
    const role = { type: "roleRequest", role: "equal", generation: 0n } as unknown as Command;
    const asBytes: Command = { type: "other", messageType: 24, body: new Uint8Array(16) };
    for (const wrong of [role, asBytes]) {
      expect(await codeOf(sw.apply([wrong]))).toBe("WW_OF_INVALID");
      expect(await codeOf(sw.bundle([wrong]))).toBe("WW_OF_INVALID");
      expect(() => sw.send(wrong)).toThrow("WW_OF_INVALID");
    }
    expect(await codeOf(sw.apply([], { timeoutMs: Number.NaN }))).toBe("WW_OF_INVALID");
    // What this package does not know is sent and read as bytes: a table-mod, and the features of tables.
    await sw.apply([{ type: "other", messageType: 17, body: new Uint8Array(8) }]);
    const [part] = await sw.parts({ kind: "other", code: 12, body: new Uint8Array() });
    // A table has 64 bytes before its properties.
    expect(
      part?.reply.kind === "other" && part.reply.code === 12 ? part.reply.body.length : 0,
    ).toBeGreaterThan(64);
  });
});

it("refuses options that cannot be", async () => {
  await expect(listen({ echoAfterMs: 10, silentAfterMs: 10 })).rejects.toThrow(/^WW_OF_CONFIG: echoAfterMs/);
  await expect(listen({ silentAfterMs: Infinity })).rejects.toThrow(
    /^WW_OF_CONFIG: silentAfterMs is Infinity/,
  );
  await expect(listen({ requestTimeoutMs: -1 })).rejects.toThrow(/^WW_OF_CONFIG: requestTimeoutMs is -1/);
  await expect(listen({ windowBytes: 0 })).rejects.toThrow(/^WW_OF_CONFIG: windowBytes is 0/);
  await expect(listen({ tls: { key: "", cert: "", ca: "" } })).rejects.toThrow(/^WW_OF_CONFIG: TLS needs/);
  await expect(listen({ tls: { key: "x", cert: "y", ca: "z" } })).rejects.toThrow(/^WW_OF_CONFIG: TLS: /);
});
