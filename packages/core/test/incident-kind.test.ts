import { incidentKind } from "@wheelwork/core/kernel";
import { expect, test } from "vitest";

test.each([
  ["order 17 of 'ann' failed after 3.5 s", "order N of '…' failed after N.N s"],
  ['no field "x" in "y z"\nand more', 'no field "…" in "…"'],
  ["flow 018f3c2a-77aa-4b11-9c55-0a1b2c3d4e5f is gone", "flow N is gone"],
  ["cafe c0ffee 0badcafe1 face", "cafe N N face"],
  ["it can't be what it isn't", "it can't be what it isn't"],
  ["", ""],
  ["x".repeat(300), "x".repeat(200)],
  ["y".repeat(199) + "\u{1F600}", `${"y".repeat(199)}\uFFFD`],
])("%j is of the kind %j", (message, kind) => {
  expect(incidentKind({ code: "WW_DEFECT", message })).toEqual({ code: "WW_DEFECT", message: kind });
  expect(incidentKind({ code: "WW_DEFECT", message: kind }).message).toBe(kind);
});
