import { expect, test } from "vitest";
import { biteAll, broken, defectsNamed, Kennel } from "../src/bite.ts";

test("each deliberate defect still applies", () => {
  const defects = defectsNamed();
  expect(defects.length).toBeGreaterThanOrEqual(25);
  for (const defect of defects) expect(broken(defect), defect.name).toContain(defect.to);
});

test("defects are found, each by the checker that all share", { timeout: 120_000 }, async () => {
  const names = ["before their commit", "skip the drain", "use a call number again", "answer twice"];
  const bites = await biteAll(names.flatMap(defectsNamed), 40, () => {});
  expect(bites.filter(({ seeds }) => seeds === undefined)).toEqual([]);
  const invariants = new Set(bites.flatMap(({ invariants }) => invariants));
  for (const invariant of ["I3", "I5", "I9", "I12"]) expect(invariants).toContain(invariant);
});

test("without a defect nothing is found", { timeout: 120_000 }, async () => {
  const kennel = new Kennel();
  expect(await kennel.simulate(undefined, 40)).toEqual({ seeds: undefined, invariants: [] });
  kennel.remove();
});
