import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  type Action,
  decode,
  encode,
  errorName,
  flowMod,
  hello,
  match,
  type Message,
  noBuffer,
  packetOut,
  ports,
  speaks13,
} from "../src/index.ts";
import records from "./records/os-ken.json" with { type: "json" };

const bytesOf = (hex: string): Uint8Array => Buffer.from(hex, "hex");
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** All values in a message, as text. */
function leaves(value: unknown): string[] {
  if (value instanceof Uint8Array || value === undefined) return [];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(leaves) : [String(value)];
}

describe("the messages that os-ken has recorded", () => {
  const all = Object.entries(
    records as Record<string, { readonly hex: string; readonly says?: readonly string[] }>,
  );

  it.each(all)("%s is read, and written byte for byte", (_name, { hex, says = [] }) => {
    const message = decode(bytesOf(hex));
    expect(hexOf(encode(message, message.xid))).toBe(hex);
    // os-ken reads the same values from it.
    const ours = Map.groupBy(leaves(message), (leaf) => leaf);
    const missing = says.filter((leaf) => ours.get(leaf)?.pop() === undefined);
    expect(missing).toEqual([]);
  });

  it("are of all types of OpenFlow 1.3, and of all kinds that come in parts", () => {
    const seen = new Set<string>();
    for (const [, { hex }] of all) {
      const bytes = Buffer.from(hex, "hex");
      const type = bytes.readUInt8(1);
      seen.add(type === 18 || type === 19 ? `${type}/${bytes.readUInt16BE(8)}` : `${type}`);
    }
    const types = Array.from({ length: 30 }, (_, type) => type).filter((type) => type !== 18 && type !== 19);
    const kinds = [...Array(14).keys(), 0xffff];
    const needed = [
      ...types.map(String),
      ...[18, 19].flatMap((type) => kinds.map((kind) => `${type}/${kind}`)),
    ];
    expect(needed.filter((name) => !seen.has(name))).toEqual([]);
  });

  it("are of the kinds that this package knows, if os-ken tells their values", () => {
    const kept = all.filter(([, { hex }]) => decode(bytesOf(hex)).type === "other");
    expect(kept.filter(([, { says }]) => says !== undefined)).toEqual([]);
  });
});

const whole = flowMod({
  cookie: 0x4000_0000_0000_0001n,
  priority: 24_576,
  idleTimeoutS: 5,
  flags: 1,
  match: match({ inPort: 1, ethType: 0x0800, vlan: 100, ipv4Src: "10.0.0.0/8", ipProto: 6, tcpDst: 80 }),
  instructions: [
    { type: "meter", meterId: 7 },
    {
      type: "applyActions",
      actions: [
        { type: "pushVlan", etherType: 0x8100 },
        { type: "setField", field: { field: "vlanVid", value: 0x1000 | 200 } },
        { type: "decNwTtl" },
        { type: "group", groupId: 3 },
        { type: "output", port: 2, maxLength: noBuffer },
      ],
    },
    { type: "gotoTable", tableId: 1 },
  ],
});

/** What Open vSwitch understands of a message. */
function printed(message: Message): string {
  const { stdout, stderr } = spawnSync("ovs-ofctl", ["ofp-print", hexOf(encode(message, 7))], {
    encoding: "utf8",
  });
  return stdout + stderr;
}

const withoutOvs = spawnSync("ovs-ofctl", ["--version"], { stdio: "ignore" }).status !== 0;

describe.skipIf(withoutOvs)("Open vSwitch understands", () => {
  it.each<[string, Message, string]>([
    [
      "a rule",
      whole,
      "OFPT_FLOW_MOD (OF1.3) (xid=0x7): ADD priority=24576,tcp,in_port=1,dl_vlan=100,nw_src=10.0.0.0/8,tp_dst=80",
    ],
    [
      "its actions",
      whole,
      "actions=meter:7,push_vlan:0x8100,set_field:4296->vlan_vid,dec_ttl,group:3,output:2,goto_table:1",
    ],
    ["its cookie", whole, "cookie:0x4000000000000001 idle:5 send_flow_rem actions="],
    ["a hello", hello, "version bitmap: 0x04"],
    [
      "a delete by cookie",
      flowMod({ command: "delete", tableId: 0xff, cookie: 5n, cookieMask: 0xffff_ffff_ffff_ffffn }),
      "DEL table:255 cookie:0x5/0xffffffffffffffff",
    ],
    [
      "masks of all kinds of addresses",
      flowMod({
        match: match({
          ethType: 0x86dd,
          ethDst: "01:00:00:00:00:00/01:00:00:00:00:00",
          ipv6Src: "2001:db8::/32",
          metadata: { value: 1n, mask: 0xffn },
        }),
      }),
      "metadata=0x1/0xff,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,ipv6_src=2001:db8::/32",
    ],
    ["a packet without a VLAN", flowMod({ match: match({ vlan: "none" }) }), "vlan_tci=0x0000/0x1fff"],
    ["a packet of any VLAN", flowMod({ match: match({ vlan: "any" }) }), "vlan_tci=0x1000/0x1000"],
    [
      "a packet-out",
      packetOut({ actions: [{ type: "output", port: ports.flood }], data: Uint8Array.of(1, 2, 3, 4) }),
      "in_port=CONTROLLER actions=FLOOD data_len=4",
    ],
    [
      "a role",
      { type: "roleRequest", role: "master", generation: 6n },
      "OFPT_ROLE_REQUEST (OF1.3) (xid=0x7): role=primary generation_id=6",
    ],
    [
      "a meter",
      {
        type: "meterMod",
        command: "add",
        flags: 1,
        meterId: 7,
        bands: [{ type: "drop", rate: 1000, burst: 0 }],
      },
      "ADD meter=7 kbps bands=\ntype=drop rate=1000",
    ],
    [
      "a question for rules",
      {
        type: "multipartRequest",
        flags: 0,
        request: {
          kind: "flow",
          tableId: 0xff,
          outPort: ports.any,
          outGroup: 0xffff_ffff,
          cookie: 5n,
          cookieMask: 5n,
          match: match({ inPort: 3 }),
        },
      },
      "OFPST_FLOW request (OF1.3) (xid=0x7): in_port=3",
    ],
    ["an echo", { type: "echoRequest", data: Uint8Array.of(9) }, "1 bytes of payload"],
  ])("%s", (_name, message, says) => {
    expect(printed(message)).toContain(says);
  });
});

describe("a value that the wire cannot carry is refused, and nothing is written", () => {
  const add = (given: Parameters<typeof flowMod>[0]) => (): unknown => encode(flowMod(given));
  const act = (action: Action) => add({ instructions: [{ type: "applyActions", actions: [action] }] });
  it.each<[string, () => unknown, RegExp]>([
    [
      "the port 2^32",
      act({ type: "output", port: 2 ** 32 }),
      /^WW_OF_INVALID: output.port is 4294967296, and must/,
    ],
    ["a negative port", act({ type: "output", port: -1 }), /output.port is -1/],
    ["half a priority", add({ priority: 0.5 }), /priority is 0.5/],
    ["no number", add({ priority: Number.NaN }), /priority is NaN/],
    ["a table beyond a byte", add({ tableId: 256 }), /tableId is 256/],
    ["a cookie of 65 bits", add({ cookie: 2n ** 64n }), /cookie is 18446744073709551616n/],
    ["a negative cookie", add({ cookie: -1n }), /cookie is -1n/],
    [
      "a cookie that is a number",
      add({ cookie: 5 as unknown as bigint }),
      /cookie is 5, and must be a bigint/,
    ],
    ["a MAC address that is none", add({ match: match({ ethDst: "0a:00" }) }), /ethDst is "0a:00"/],
    ["a MAC address with another letter", add({ match: match({ ethDst: "0a:00:00:00:00:0g" }) }), /ethDst/],
    ["a MAC address with an at sign", add({ match: match({ ethDst: "0a:00:00:00:00:0@" }) }), /ethDst/],
    ["a MAC address with dashes", add({ match: match({ ethDst: "0a-00-00-00-00-01" }) }), /ethDst/],
    ["a MAC address with signs", add({ match: match({ ethDst: "0a:00:00:00:00:+1" }) }), /ethDst/],
    ["an IPv4 address of three parts", add({ match: match({ ipv4Src: "10.0.1" }) }), /ipv4Src/],
    ["an IPv4 address of five parts", add({ match: match({ ipv4Src: "10.0.0.1.2" }) }), /ipv4Src/],
    ["an IPv4 address without a part", add({ match: match({ ipv4Src: "10..0.1" }) }), /ipv4Src/],
    ["an IPv4 address that ends with a point", add({ match: match({ ipv4Src: "10.0.0." }) }), /ipv4Src/],
    ["an IPv4 address with a sign", add({ match: match({ ipv4Src: "10.0.0.-1" }) }), /ipv4Src/],
    ["no IPv4 address", add({ match: match({ ipv4Src: "" }) }), /ipv4Src/],
    ["an IPv4 address of two meanings", add({ match: match({ ipv4Src: "010.0.0.1" }) }), /ipv4Src/],
    ["an IPv4 address beyond a byte", add({ match: match({ ipv4Src: "10.0.0.256" }) }), /ipv4Src/],
    ["an IPv6 address of nine groups", add({ match: match({ ipv6Src: "1:2:3:4:5:6:7:8:9" }) }), /ipv6Src/],
    ["an IPv6 address with two gaps", add({ match: match({ ipv6Src: "1::2::3" }) }), /ipv6Src/],
    ["a prefix that is too long", () => match({ ipv4Src: "10.0.0.0/33" }), /match.ipv4Src is "10.0.0.0\/33"/],
    ["a VLAN beyond 12 bits", () => match({ vlan: 4096 }), /match.vlan is 4096/],
    ["a field that there is not", () => match({ port: 1 } as never), /a name in match is "port"/],
    ["an unknown command", add({ command: "replace" as never }), /command is "replace".*add, modify/],
    ["an unknown action", act({ type: "drop" } as never), /actions.type is "drop"/],
    ["a method of objects as a type", act({ type: "toString" } as never), /actions.type is "toString"/],
    ["an unknown message", () => encode({ type: "toString" } as never), /type is "toString"/],
    ["a xid of 33 bits", () => encode(hello, 2 ** 32), /xid/],
    ["a match that is an object", add({ match: { inPort: 1 } as never }), /match is an object.*use match/],
    [
      "more actions than a message can hold",
      add({
        instructions: [
          {
            type: "applyActions",
            actions: Array.from({ length: 5000 }, (): Action => ({ type: "output", port: 1 })),
          },
        ],
      }),
      /WW_OF_INVALID: the length of instructions/,
    ],
    [
      "more data than a message can hold",
      () => encode(packetOut({ actions: [], data: new Uint8Array(65_536) })),
      /^WW_OF_TOO_LARGE/,
    ],
  ])("%s", (_name, write, says) => {
    expect(write).toThrow(says);
  });
});

it("gives the version that both sides speak", () => {
  const bitmaps = (...bits: number[]) => ({
    ...hello,
    elements: [{ type: "versions" as const, bitmaps: bits }],
  });
  expect(speaks13(hello)).toBe(true);
  expect(speaks13({ ...bitmaps(1 << 1), version: 6 })).toBe(false);
  expect(speaks13({ ...bitmaps((1 << 6) | (1 << 4)), version: 6 })).toBe(true);
  expect(speaks13({ ...hello, version: 1, elements: [] })).toBe(false);
  expect(speaks13({ ...hello, version: 6, elements: [] })).toBe(true);
});

it("names errors as the standard does", () => {
  expect(errorName(5, 1)).toBe("FLOW_MOD_FAILED/TABLE_FULL");
  expect(errorName(1, 10)).toBe("BAD_REQUEST/IS_SLAVE");
  expect(errorName(11, 0)).toBe("ROLE_REQUEST_FAILED/STALE");
  expect(errorName(12, 3)).toBe("METER_MOD_FAILED/UNKNOWN_METER");
  expect(errorName(65_535, 2313)).toBe("EXPERIMENTER/MSG_FAILED");
  expect(errorName(99, 98)).toBe("99/98");
});
