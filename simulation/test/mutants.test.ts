import { expect, onTestFinished, test } from "vitest";
import { testMutants, broken, mutantsNamed, MutantSandbox } from "../src/mutation-tests.ts";

test("each mutant still applies", () => {
  const list = mutantsNamed();
  expect(list.length).toBeGreaterThanOrEqual(25);
  for (const mutant of list) expect(broken(mutant), mutant.name).toContain(mutant.to);
});

test("mutants are found, each by the checker that all share", { timeout: 600_000 }, async () => {
  const names = ["before their commit", "skip the drain", "use a call number again", "answer twice"];
  const verdicts = await testMutants(names.flatMap(mutantsNamed), 40, () => {});
  expect(verdicts.filter(({ seeds }) => seeds === undefined)).toEqual([]);
  const invariants = new Set(verdicts.flatMap(({ invariants }) => invariants));
  for (const invariant of ["I3", "I5", "I9", "I12"]) expect(invariants).toContain(invariant);
});

test("without a mutant nothing is found", { timeout: 600_000 }, async () => {
  const sandbox = new MutantSandbox();
  onTestFinished(() => sandbox.remove());
  expect(await sandbox.simulate(undefined, 40)).toEqual({ seeds: undefined, invariants: [] });
});

test.skipIf(process.env["WHEELWORK_LONG"] === undefined)(
  "the tests that mutants name run in a copy as well as here",
  { timeout: 600_000 },
  async () => {
    const sandbox = new MutantSandbox();
    onTestFinished(() => sandbox.remove());
    const tests = new Set(mutantsNamed("tests:").flatMap((mutant) => mutant.tests ?? []));
    expect(await sandbox.test(undefined, [...tests])).toEqual({ seeds: undefined, invariants: [] });
  },
);

test(
  "a mutant that no simulation sees is found by the tests that it names",
  { timeout: 600_000 },
  async () => {
    const [verdict] = await testMutants(mutantsNamed("go on when the generation is stale"), 1, () => {});
    expect(verdict?.invariants).toEqual(["session"]);
    // Those before it pass: it is the mutant that fails, and not the copy.
    expect(verdict?.seeds).toBeGreaterThan(1);
  },
);
