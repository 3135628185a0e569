import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Action,
  type FlowMod,
  flowMod,
  type Instruction,
  match,
  meaningOf,
  ports,
} from "../src/index.ts";

const to = (port: number, maxLength?: number): Action =>
  maxLength === undefined ? { type: "output", port } : { type: "output", port, maxLength };
const apply = (...actions: readonly Action[]): Instruction => ({ type: "applyActions", actions });

const rule = flowMod({
  cookie: 5n,
  match: match({ inPort: 1, ethType: 0x0800, ipv4Src: "10.0.0.0/8", metadata: { value: 1n, mask: 3n } }),
  instructions: [{ type: "meter", meterId: 1 }, apply(to(2)), { type: "gotoTable", tableId: 3 }],
});

describe("a rule means the same", () => {
  it("in whatever order its fields and instructions are", () => {
    const orders = fc.tuple(
      fc.shuffledSubarray([...rule.match], { minLength: rule.match.length }),
      fc.shuffledSubarray([...rule.instructions], { minLength: rule.instructions.length }),
    );
    fc.assert(
      fc.property(orders, ([fields, instructions]) => {
        expect(meaningOf({ ...rule, match: fields, instructions })).toBe(meaningOf(rule));
      }),
      { numRuns: 50 },
    );
  });

  it.each<[string, Partial<FlowMod>]>([
    [
      "with an instruction that does nothing",
      { instructions: [...rule.instructions, { type: "writeActions", actions: [] }] },
    ],
    [
      "with another length for a port that is not the controller",
      { instructions: [{ type: "meter", meterId: 1 }, apply(to(2, 128)), { type: "gotoTable", tableId: 3 }] },
    ],
    [
      "with bits of an address that do not count",
      {
        match: match({
          inPort: 1,
          ethType: 0x0800,
          ipv4Src: "10.1.2.3/8",
          metadata: { value: 5n, mask: 3n },
        }),
      },
    ],
    [
      "with a mask of all bits",
      {
        match: [
          ...rule.match.slice(0, -1),
          ...match({ metadata: { value: 1n, mask: 3n }, ipv4Src: "10.0.0.0/8" }).slice(-1),
        ],
      },
    ],
    [
      "with a field of which no bit counts",
      { match: [...rule.match, { field: "ethSrc", value: "01:02:03:04:05:06", mask: "00:00:00:00:00:00" }] },
    ],
    ["with a flag that is about the writing alone", { flags: 2 }],
  ])("%s", (_name, given) => {
    expect(meaningOf({ ...rule, ...given })).toBe(meaningOf(rule));
  });

  it.each<[string, Partial<FlowMod>]>([
    ["another priority", { priority: 1 }],
    ["another cookie", { cookie: 6n }],
    ["another table", { tableId: 1 }],
    ["another timeout", { idleTimeoutS: 1 }],
    [
      "another mask",
      {
        match: match({
          inPort: 1,
          ethType: 0x0800,
          ipv4Src: "10.0.0.0/9",
          metadata: { value: 1n, mask: 3n },
        }),
      },
    ],
    ["one field less", { match: rule.match.slice(1) }],
    ["another order of actions", { instructions: [apply(to(3), to(2))] }],
    ["another length for the controller", { instructions: [apply(to(ports.controller, 5))] }],
  ])("but not with %s", (_name, given) => {
    const before = {
      ...rule,
      ...(given.instructions === undefined ? {} : { instructions: [apply(to(2), to(3))] }),
    };
    expect(meaningOf({ ...before, ...given })).not.toBe(meaningOf(before));
  });
});
