import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitUntil } from "@wheelwork/services";
import { expect, onTestFinished, test } from "vitest";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { bySwitch, rulesOf } from "../../src/controller/rules.ts";
import type { SpeakerAnswer } from "../../src/controller/speaker.ts";
import { GuardedSpeaker } from "../../src/floodlight/store-age.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { build, Operator, specOf, square } from "../controller/network.ts";

/** A store of flows whose file can be replaced by an older one, while the one who drives the switches runs. */
async function start() {
  const folder = mkdtempSync(join(tmpdir(), "flow-crud-older-"));
  const links = square.map(({ ends }) => ({ between: ends }));
  const network = new SimulatedNetwork({ topology: { switches: 4, links } });
  const file = join(folder, "flows.db");
  const open = (): SqliteFlowStore => new SqliteFlowStore(file, { durability: "normal" });
  let store = open();
  let isAway = false;
  await build(store, 4, square);
  const speaker = await SwitchSpeaker.over(() => network.listen(), {
    path: join(folder, "rules.db"),
    durability: "normal",
  });
  await waitUntil(() => speaker.connected.length === 4, 20_000);
  let now = 0;
  const problems: string[] = [];
  const due: { at: number; readonly task: () => void }[] = [];
  const clock = {
    monotonicMs: () => now,
    after: (delayMs: number, task: () => void) => {
      const one = { at: now + delayMs, task };
      due.push(one);
      return () => void (one.at = Number.POSITIVE_INFINITY);
    },
  };
  const guarded = new GuardedSpeaker({
    speaker,
    age: () => (isAway ? Promise.reject(new Error("it is away")) : store.age()),
    next: "Start again with --rebuild-rules.",
    onProblem: (problem) => problems.push(problem),
    clock,
  });
  onTestFinished(async () => {
    guarded.close();
    await speaker.close();
    await store.close();
    rmSync(folder, { recursive: true });
  });
  let operator = new Operator(store);
  /** Plans a flow. The result tells its switches. */
  async function plan(flowId: string, vlan: number): Promise<() => Promise<(SpeakerAnswer | undefined)[]>> {
    const { version, after } = await operator.create(specOf(flowId, vlan));
    const { inner, entries } = rulesOf(after);
    return () =>
      Promise.all(
        bySwitch([...inner, ...entries]).map(({ switchId, rules }) =>
          guarded.execute({ command: "install", switchId, seq: version + 1, must: false, rules }),
        ),
      );
  }
  const create = async (flowId: string, vlan: number) => (await plan(flowId, vlan))();
  return {
    guarded,
    problems,
    plan,
    create,
    rulesOn: (number: number) => network.flows(number).length,
    away: (away: boolean) => (isAway = away),
    /** Time goes by. */
    pass: (ms: number): void => {
      now += ms;
      for (const one of due) {
        if (one.at > now) continue;
        one.at = Number.POSITIVE_INFINITY;
        one.task();
      }
    },
    backUp: async (): Promise<void> => {
      await store.close();
      copyFileSync(file, join(folder, "backup.db"));
      store = open();
      operator = new Operator(store, 100);
    },
    restore: async (): Promise<void> => {
      await store.close();
      for (const end of ["-wal", "-shm"]) rmSync(`${file}${end}`, { force: true });
      copyFileSync(join(folder, "backup.db"), file);
      store = open();
      operator = new Operator(store, 200);
    },
  };
}

const done = { answer: "done", unconfirmed: 0 };

test("a store of flows that was restored from an older backup is noticed at its next command, and nothing is done for it", async () => {
  const { guarded, problems, create, rulesOn, backUp, restore, pass } = await start();
  expect(await create("a", 10)).toEqual([done, done, done]);
  await backUp();
  for (const [index, flowId] of ["b", "c", "d"].entries())
    expect(await create(flowId, 11 + index)).toEqual([done, done, done]);
  const rules = rulesOn(1);
  await restore();
  pass(1_000);
  const refused = { answer: "halted", reason: expect.stringContaining("--rebuild-rules") };
  expect(await create("e", 20)).toEqual([refused, refused, refused]);
  // An obligation stays with whoever has it. What is read changes nothing.
  const switchId = "00:00:00:00:00:00:00:01";
  expect(await guarded.execute({ command: "remove", switchId, seq: 1_000_000, rules: [] })).toBeUndefined();
  expect(await guarded.execute({ command: "read", switchId, rules: [] })).toMatchObject({ answer: "read" });
  expect([rulesOn(1), problems]).toEqual([rules, [guarded.problem]]);
  // Also when the store has made more plans than before.
  for (let index = 0; index < 5; index++)
    expect(await create(`f${index}`, 30 + index)).toContainEqual(refused);
  expect([rulesOn(1), problems.length]).toEqual([rules, 1]);
});

test("it is noticed without a command, and a store that is away, or is busy, is no older one", async () => {
  const { guarded, problems, plan, create, backUp, restore, pass, away } = await start();
  await backUp();
  expect(await create("a", 10)).toEqual([done, done, done]);
  away(true);
  pass(5_000);
  expect(await create("b", 11).catch(() => "away")).toEqual([done, done, done]);
  away(false);
  // Plans that overtake one another on their way.
  const tells = [];
  for (let index = 0; index < 6; index++) tells.push(await plan(`m${index}`, 20 + index));
  for (const tell of tells.toReversed()) {
    pass(1_000);
    expect(await tell()).toEqual([done, done, done]);
  }
  expect(guarded.problem).toBeUndefined();
  await restore();
  pass(5_000);
  await waitUntil(() => problems.length > 0, 20_000);
  expect(guarded.problem).toContain("older than it was");
});
