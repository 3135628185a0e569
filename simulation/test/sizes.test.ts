import { describeFailure, simulate } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { simulatedIn } from "../src/worlds.ts";

const seeds = Number(process.env["WHEELWORK_SIZES_SEEDS"] ?? 6);
const from = Number(process.env["WHEELWORK_SEED"] ?? 1);

test("values of up to 3 MB beside small ones break no promise", { timeout: 600_000 }, async () => {
  const report = await simulate({ ...(await simulatedIn("sizes")), seeds, from });
  const told = report.failures.map(
    (failure) =>
      `${describeFailure(failure).slice(0, 100_000)}\nnpm run simulate -- --sizes --seed ${failure.seed} repeats it`,
  );
  expect(told.join("\n")).toBe("");
  expect(report.exercised.get("weight")).toBeGreaterThan(15);
});
