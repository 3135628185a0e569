import { openVSwitchIsInstalled } from "@wheelwork/services";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addressOf, type MeterRule, type Rule } from "../../src/controller/model.ts";
import { stepsBetween } from "../../src/controller/rules.ts";
import type { SpeakerAnswer } from "../../src/controller/speaker.ts";
import { portTo } from "../../src/network.ts";
import { idOf, layoutOf, pathOver, RealPair, ruleAt, SimulatedPair, tell, type Driven } from "./lab.ts";

// What every speaker holds, whatever switches it drives.

const done = (unconfirmed = 0): SpeakerAnswer => ({ answer: "done", unconfirmed });
const fenced: SpeakerAnswer = { answer: "fenced" };
const away: SpeakerAnswer = { answer: "away" };
const held = (...rules: readonly Rule[]): string[] =>
  rules.map((rule) => `${rule.cookie} ${addressOf(rule)}`).toSorted();
const meterAt = (meter: number, rateKbps: number, pathId = 1): MeterRule => ({
  kind: "meter",
  switchId: idOf(1),
  cookie: ruleAt(1, pathId).cookie,
  meter,
  rateKbps,
});

const kinds: readonly (readonly [string, () => Promise<Driven>, boolean])[] = [
  ["simulated switches", () => SimulatedPair.start(), true],
  ["Open vSwitch", () => RealPair.start(), openVSwitchIsInstalled()],
];

for (const [name, start, canRun] of kinds)
  describe.skipIf(!canRun)(`a speaker of ${name}`, () => {
    let driven: Driven;
    let seq = 1000;
    beforeAll(async () => {
      driven = await start();
    });
    afterAll(() => driven?.end());
    beforeEach(() => {
      // Each test begins after those before it.
      seq += 1000;
    });
    const one = async (
      command: "install" | "restore" | "remove",
      at: number,
      ...rules: readonly Rule[]
    ): Promise<SpeakerAnswer | undefined> => (await tell(driven.speaker, command, at, rules))[0];
    const read = (...rules: readonly Rule[]) =>
      driven.speaker.execute({ command: "read", switchId: idOf(1), rules: [...rules] });
    /** Nothing is left of a test. */
    const clear = async (...rules: readonly Rule[]): Promise<void> => {
      if (rules.length > 0) expect(await one("remove", seq + 900, ...rules)).toEqual(done());
      expect(await driven.rules(1)).toEqual([]);
      expect(await driven.meters(1)).toEqual([]);
      expect(driven.speaker.unconfirmed(10)).toEqual({ count: 0, rules: [] });
    };

    test("what is installed is there, what is removed is not, and both may be said twice", async () => {
      const [rule, all] = [ruleAt(100), ruleAt(null, 2, { priority: 24_575 })];
      expect(await one("install", seq, rule, all)).toEqual(done());
      expect(await one("install", seq, rule, all)).toEqual(done());
      expect(await driven.rules(1)).toEqual(held(rule, all));
      expect(await read(rule, all)).toMatchObject({ answer: "read", discrepancies: [], totalRules: 3 });
      expect(await one("remove", seq + 1, rule)).toEqual(done());
      expect(await one("remove", seq + 1, rule)).toEqual(done());
      expect(await driven.rules(1)).toEqual(held(all));
      await clear(all);
    });

    test("what was said later counts, in whatever order it comes", async () => {
      const [old, next] = [ruleAt(100, 1), ruleAt(100, 2)];
      expect(await one("install", seq + 2, next)).toEqual(done());
      expect(await one("install", seq + 1, old)).toEqual(fenced);
      // A removal that is late removes nothing: that is what was asked for since.
      expect(await one("remove", seq + 1, old)).toEqual(done());
      expect(await one("restore", seq + 1, old)).toEqual(done());
      expect(await driven.rules(1)).toEqual(held(next));
      expect(await one("remove", seq + 3, next)).toEqual(done());
      for (const late of [seq + 2, seq + 3]) expect(await one("install", late, next)).toEqual(fenced);
      // Of a rule that was removed before it was ever installed, too.
      expect(await one("remove", seq + 5, ruleAt(101))).toEqual(done());
      expect(await one("install", seq + 4, ruleAt(101), ruleAt(102))).toEqual(fenced);
      expect(await driven.rules(1)).toEqual([]);
      expect(await one("install", seq + 6, ruleAt(101))).toEqual(done());
      await clear(ruleAt(101));
    });

    test("a rule takes the place of an earlier one, and whatever is there is removed", async () => {
      const [old, next] = [ruleAt(100, 1), ruleAt(100, 2, { actions: [{ type: "output", port: "in" }] })];
      expect(await one("install", seq, old)).toEqual(done());
      expect(await one("install", seq + 1, next)).toEqual(done());
      expect(await driven.rules(1)).toEqual(held(next));
      expect(await read(old)).toMatchObject({ discrepancies: [{ rule: old, found: next }] });
      expect(await one("remove", seq + 2, old)).toEqual(done());
      await clear(next);
    });

    test("meters come before the rules that use them, change in place, and go after them", async () => {
      const meter = meterAt(40, 1000);
      const rule = ruleAt(100, 1, { meter: 40 });
      expect(await one("install", seq, rule, meter)).toEqual(done());
      expect(await driven.meters(1)).toEqual([40]);
      expect(await read(rule, meter)).toMatchObject({ discrepancies: [], totalMeters: 1 });
      const faster = meterAt(40, 2000);
      expect(await one("install", seq + 1, faster)).toEqual(done());
      expect(await driven.rules(1)).toEqual(held(rule));
      expect(await read(meter)).toMatchObject({ discrepancies: [{ rule: meter, found: faster }] });
      // A switch deletes the rules of a meter with it, and says nothing. So it stays until no rule needs it.
      expect(await one("remove", seq + 2, meter)).toEqual(done(1));
      expect(await driven.rules(1)).toEqual(held(rule));
      expect(driven.speaker.unconfirmed(10)).toMatchObject({ count: 1, rules: [{ address: "meter/40" }] });
      expect(await one("remove", seq + 3, rule)).toEqual(done());
      expect(await driven.meters(1)).toEqual([]);
      expect(await one("install", seq + 4, ruleAt(100, 1, { meter: 41 }))).toMatchObject({
        answer: "refused",
        isFull: false,
      });
      await clear(rule, meter);
    });

    test("a switch that is away gets nothing late, but what it owes", async () => {
      const [kept, owed, refused] = [ruleAt(100), ruleAt(101), ruleAt(102)];
      expect(await one("install", seq, kept)).toEqual(done());
      await driven.away(1);
      expect(await one("install", seq + 1, refused)).toEqual(away);
      expect(await read(kept)).toEqual(away);
      expect(await one("restore", seq + 1, owed)).toEqual(done(1));
      expect(await one("remove", seq + 1, kept)).toEqual(done(1));
      const open = driven.speaker.unconfirmed(10).rules.map(({ address }) => address);
      expect(open.toSorted()).toEqual([addressOf(kept), addressOf(owed)]);
      expect(driven.speaker.unconfirmed(1)).toMatchObject({ count: 2, rules: [{ switchId: idOf(1) }] });
      await driven.reopen();
      expect(await driven.rules(1)).toEqual(held(owed));
      await expect.poll(() => driven.speaker.unconfirmed(10).count).toBe(0);
      await clear(owed);
    });

    test("a switch that was started anew gets back what it had", async () => {
      const rules = [ruleAt(100, 1, { meter: 40 }), ruleAt(null, 2, { priority: 24_575 }), meterAt(40, 500)];
      expect(await one("install", seq, ...rules)).toEqual(done());
      await driven.crash();
      await expect.poll(() => driven.rules(1)).toEqual(held(...rules.slice(0, 2)));
      expect(await read(...rules)).toMatchObject({ discrepancies: [] });
      await clear(...rules);
    });

    test("a meter that is to go stays for the rule that needs it, whatever happens to its switch", async () => {
      const [rule, meter] = [ruleAt(100, 1, { meter: 40 }), meterAt(40, 500)];
      expect(await one("install", seq, rule, meter)).toEqual(done());
      expect(await one("remove", seq + 1, meter)).toEqual(done(1));
      await driven.away(1);
      await driven.back(1);
      expect(await driven.rules(1)).toEqual(held(rule));
      await driven.crash();
      await expect.poll(() => driven.rules(1)).toEqual(held(rule));
      expect(await driven.meters(1)).toEqual([40]);
      await clear(rule);
    });

    test("rules and meters of others stay, and what would replace them is refused", async () => {
      const mine = ruleAt(100);
      await driven.putByHand(mine, 7n);
      const theirs = [`0000000000000007 ${addressOf(mine)}`];
      const others = ruleAt(101);
      expect(await one("install", seq, others, mine)).toMatchObject({ answer: "refused", isFull: false });
      expect(await driven.rules(1)).toEqual(theirs);
      // It is owed all the same, and given as soon as the place is free and the switch is looked at.
      expect(await one("restore", seq + 1, mine)).toMatchObject({ answer: "refused" });
      expect(driven.speaker.unconfirmed(10).count).toBe(1);
      await driven.away(1);
      await driven.back(1);
      expect(await driven.rules(1)).toEqual(theirs);
      expect(await one("remove", seq + 2, mine, others)).toEqual(done());
      expect(await driven.rules(1)).toEqual(theirs);
      await driven.takeByHand(mine);
      await driven.meterByHand(1, 50, 100);
      expect(await one("install", seq + 3, meterAt(50, 200))).toMatchObject({ answer: "refused" });
      expect(await one("remove", seq + 4, meterAt(50, 200))).toEqual(done());
      expect(await driven.meters(1)).toEqual([50]);
      // One that is as it should be already is taken for ours.
      expect(await one("install", seq + 5, meterAt(50, 100))).toEqual(done());
      await clear(meterAt(50, 100), mine, others);
    });

    test("a rule for a port that the switch does not have is refused", async () => {
      const rule = ruleAt(100, 1, { actions: [{ type: "output", port: portTo(7) }] });
      expect(await one("install", seq, rule, ruleAt(101))).toEqual({
        answer: "refused",
        reason: "the switch has no port 107",
        isFull: false,
      });
      await clear(rule, ruleAt(101));
    });

    test("what a switch has and should not have is removed when it connects, and what was changed is put right", async () => {
      const [rule, excess, deleted] = [ruleAt(100), ruleAt(101, 5), ruleAt(102, 6)];
      expect(await one("install", seq, rule, deleted)).toEqual(done());
      await driven.takeByHand(deleted);
      expect(await read(rule, deleted)).toMatchObject({ discrepancies: [{ rule: deleted, found: null }] });
      await driven.putByHand(excess, BigInt(`0x${excess.cookie}`));
      await driven.putByHand(rule, BigInt(`0x${excess.cookie}`));
      await driven.away(1);
      await driven.back(1);
      expect(await driven.rules(1)).toEqual(held(rule, deleted));
      expect(await read(rule, deleted)).toMatchObject({ discrepancies: [] });
      await clear(rule, deleted);
    });

    test("a protected layout comes and goes by its steps, and nothing is left of it", async () => {
      const main = pathOver(7, [1, 2]);
      const layout = layoutOf([main], { from: 1, to: 2 });
      const steps = stepsBetween(null, layout);
      expect(await tell(driven.speaker, "install", seq, steps.inner)).toEqual([done(), done()]);
      expect(await tell(driven.speaker, "install", seq + 1, steps.entries)).toEqual([done(), done()]);
      expect(await driven.rules(1)).toHaveLength(2);
      const back = stepsBetween(layout, null);
      expect(await tell(driven.speaker, "remove", seq + 2, back.removed)).toEqual([done(), done()]);
      for (const number of [1, 2]) {
        expect(await driven.rules(number)).toEqual([]);
        expect(await driven.meters(number)).toEqual([]);
      }
      await clear();
    });

    test("what a switch refuses leaves what was there, also when it is started anew", async () => {
      const old = ruleAt(100, 1);
      expect(await one("install", seq, old)).toEqual(done());
      // There is no such meter.
      const next = ruleAt(100, 2, { meter: 77 });
      expect(await one("install", seq + 1, next)).toMatchObject({ answer: "refused" });
      expect(await driven.rules(1)).toEqual(held(old));
      await driven.crash();
      await expect.poll(() => driven.rules(1)).toEqual(held(old));
      // What is owed is not proven by a switch that has refused it at its return.
      await driven.away(1);
      expect(await one("restore", seq + 2, next)).toEqual(done(1));
      await driven.back(1);
      await expect.poll(() => driven.problems.some((problem) => problem.includes("has refused"))).toBe(true);
      expect(driven.speaker.unconfirmed(10)).toMatchObject({ count: 1, rules: [{ cookie: next.cookie }] });
      await clear(next);
    });

    test("a full switch refuses, and what it had stands", async () => {
      const old = ruleAt(100, 1);
      expect(await one("install", seq, old)).toEqual(done());
      await driven.limit(1, 2);
      expect(await one("install", seq + 1, ruleAt(101), ruleAt(102))).toMatchObject({
        answer: "refused",
        isFull: true,
      });
      expect(await driven.rules(1)).toEqual(held(old, ruleAt(101)));
      // In its place there is room.
      expect(await one("install", seq + 2, ruleAt(100, 2))).toEqual(done());
      await clear(ruleAt(100, 2), ruleAt(101), ruleAt(102));
    });

    test("commands that cannot be are refused", async () => {
      const strange = driven.speaker.execute({
        command: "install",
        switchId: idOf(2),
        seq,
        must: false,
        rules: [ruleAt(1)],
      });
      expect(await strange).toMatchObject({ answer: "refused" });
      expect(await one("install", seq, ruleAt(1, 1), ruleAt(1, 2))).toMatchObject({ answer: "refused" });
    });
  });
