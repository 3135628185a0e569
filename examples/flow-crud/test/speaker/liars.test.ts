// Switches that lie, make noise, or are not what they were: what a switch says about a rule is believed only as far as it can be true, and the
// others are driven all the same. Each of them speaks OpenFlow over TCP.
import { encode, listen } from "@wheelwork/openflow";
import { waitUntil } from "@wheelwork/services";
import { expect, onTestFinished, test } from "vitest";
import type { SpeakerCommand } from "../../src/controller/speaker.ts";
import { SharedSource } from "../../src/floodlight/switch-source.ts";
import { SwitchSpeaker, type SwitchSpeakerOptions } from "../../src/floodlight/switch-speaker.ts";
import { idOf, ruleAt } from "./lab.ts";
import { Liar, packetIn, strayError } from "./liar.ts";

const patienceMs = 60_000;

/** A speaker, and liars with these datapath ids that are connected to it. */
async function stage(ids: readonly number[], options: Partial<SwitchSpeakerOptions> = {}) {
  const problems: string[] = [];
  const speaker = await SwitchSpeaker.open({
    path: ":memory:",
    listen: { port: 0, host: "127.0.0.1", requestTimeoutMs: 300 },
    onProblem: (problem) => void problems.push(problem),
    ...options,
  });
  onTestFinished(() => speaker.close());
  const liars = ids.map((id) => new Liar(BigInt(id), speaker.port));
  for (const liar of liars) {
    await liar.connect();
    onTestFinished(() => liar.leave());
  }
  const connected = (...numbers: readonly number[]): Promise<void> =>
    waitUntil(() => numbers.every((number) => speaker.connected.includes(idOf(number))), patienceMs);
  await connected(...ids);
  return { speaker, problems, liars, liar: liars[0] as Liar, connected };
}

const install = (seq: number, vlan: number, number = 1, must = false): SpeakerCommand => ({
  command: "install",
  switchId: idOf(number),
  seq,
  must,
  rules: [ruleAt(vlan, seq, { switchId: idOf(number) })],
});
const remove = (seq: number, vlan: number, pathId: number): SpeakerCommand => ({
  command: "remove",
  switchId: idOf(1),
  seq,
  rules: [ruleAt(vlan, pathId)],
});
const done = { answer: "done", unconfirmed: 0 };

test("a switch that answers the barrier and has no rule is not believed, and gets what it must have when it takes it", async () => {
  const { speaker, liar } = await stage([1], { compareMs: 50 });
  liar.lie = ({ type }) => type === "flowMod";
  expect(await speaker.execute(install(1, 10))).toMatchObject({
    answer: "refused",
    reason: expect.stringContaining("has taken the rule at"),
  });
  expect(await speaker.execute(install(2, 11, 1, true))).toMatchObject({ answer: "refused" });
  expect(liar.cookies).toEqual([]);
  liar.lie = () => false;
  // The one that had to be is due, the other one is not.
  await waitUntil(() => liar.cookies.length === 1, patienceMs);
  expect(liar.cookies).toEqual([0x4000_0000_0000_0002n]);
});

test("a rule that a switch puts in after its removal, which it has confirmed, does not stay", async () => {
  const { speaker, liar } = await stage([1], { compareMs: 50 });
  const late: (() => void)[] = [];
  liar.lie = (message) => {
    if (message.type !== "flowMod" || message.command !== "add") return false;
    liar.change(message);
    late.push(() => liar.change(message));
    return true;
  };
  expect(await speaker.execute(install(1, 10))).toEqual(done);
  expect(await speaker.execute(remove(2, 10, 1))).toEqual(done);
  expect(liar.cookies).toEqual([]);
  for (const change of late) change();
  expect(liar.cookies).toHaveLength(1);
  await waitUntil(() => liar.cookies.length === 0, patienceMs);
});

test("errors about nothing, and packets without end, keep neither this switch nor another one from its rules", async () => {
  const { speaker, liars } = await stage([1, 2]);
  const [noisy, quiet] = liars as [Liar, Liar];
  const noise = Buffer.concat(
    Array.from({ length: 500 }, () => [encode(packetIn), encode(strayError, 0xffff_fff0)]).flat(),
  );
  noisy.lie = () => {
    noisy.sayBytes(noise);
    return false;
  };
  const commands = Array.from({ length: 40 }, (_, index) => install(index + 1, 1 + index, 1 + (index % 2)));
  // Those that come too late for their time have no answer, and are given again.
  const persist = async (command: SpeakerCommand): Promise<unknown> => {
    for (;;) {
      const answer = await speaker.execute(command);
      if (answer !== undefined) return answer;
    }
  };
  expect(await Promise.all(commands.map(persist))).toEqual(commands.map(() => done));
  expect([noisy.cookies.length, quiet.cookies.length]).toEqual([20, 20]);
});

test("of half an answer nobody knows what has come, and the switch is put right when it connects again", async () => {
  const { speaker, liar, connected } = await stage([1]);
  liar.lie = (message) => {
    if (message.type !== "multipartRequest" || message.request.kind !== "flow" || liar.cookies.length === 0)
      return false;
    const frame = encode(liar.reply(message), message.xid);
    liar.sayBytes(frame.subarray(0, frame.length >> 1));
    void liar.leave();
    return true;
  };
  expect(await speaker.execute(install(1, 10))).toBeUndefined();
  await waitUntil(() => speaker.connected.length === 0, patienceMs);
  liar.lie = () => false;
  // It is an obligation: it outlives that the switch is away.
  expect(await speaker.execute(remove(2, 10, 1))).toEqual({ answer: "done", unconfirmed: 1 });
  expect(liar.cookies).toHaveLength(1);
  await liar.connect();
  await connected(1);
  // What is to be repaired is on its way then.
  await waitUntil(() => speaker.unconfirmed(9).count === 0, patienceMs);
  expect(liar.cookies).toEqual([]);
});

test("an answer that never ends is given up, and what comes after it is done", async () => {
  const { speaker, liar } = await stage([1]);
  let isEndless = true;
  liar.lie = (message) => {
    if (message.type !== "multipartRequest" || message.request.kind !== "flow") return false;
    const part = encode({ ...liar.reply(message), flags: 1 }, message.xid);
    const go = (): void => {
      if (!isEndless) return;
      liar.sayBytes(part);
      setImmediate(go);
    };
    go();
    return true;
  };
  expect(await speaker.execute(install(1, 10))).toBeUndefined();
  isEndless = false;
  liar.lie = () => false;
  expect(await speaker.execute(install(1, 10))).toEqual(done);
});

test("a switch that comes back under another datapath id keeps nothing of ours, and what was due under the old one is shown", async () => {
  const { speaker, liar, connected } = await stage([1]);
  expect(await speaker.execute(install(1, 10))).toEqual(done);
  await liar.leave();
  await waitUntil(() => speaker.connected.length === 0, patienceMs);
  expect(await speaker.execute(remove(2, 10, 1))).toEqual({ answer: "done", unconfirmed: 1 });
  liar.datapathId = 7n;
  await liar.connect();
  await connected(7);
  await waitUntil(() => liar.cookies.length === 0, patienceMs);
  expect(speaker.unconfirmed(9).rules.map(({ switchId }) => switchId)).toEqual([idOf(1)]);
});

test("two switches with one datapath id are shown to a person, and each of them that is asked has what is due", async () => {
  const problems: string[] = [];
  const source = await listen({ port: 0, host: "127.0.0.1", requestTimeoutMs: 300 });
  const shared = new SharedSource(source, (problem) => void problems.push(problem));
  onTestFinished(() => shared.close());
  const speaker = await SwitchSpeaker.over(() => Promise.resolve(shared.share()), { path: ":memory:" });
  onTestFinished(() => speaker.close());
  const [one, other] = [new Liar(1n, source.port), new Liar(1n, source.port)];
  for (const liar of [one, other]) onTestFinished(() => liar.leave());
  await one.connect();
  await waitUntil(() => speaker.connected.length === 1, patienceMs);
  expect(await speaker.execute(install(1, 10))).toEqual(done);
  await other.connect();
  await waitUntil(() => other.cookies.length === 1, patienceMs);
  expect(problems).toEqual([
    expect.stringMatching(/^switch 1: WW_OF_REPLACED: .*two switches have one datapath id/s),
  ]);
  // Whichever connects last is the switch.
  expect(await speaker.execute(remove(2, 10, 1))).toEqual(done);
  expect([one.cookies.length, other.cookies.length]).toEqual([1, 0]);
  await one.connect();
  await waitUntil(() => one.cookies.length === 0, patienceMs);
});
