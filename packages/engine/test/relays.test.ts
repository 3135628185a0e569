import { end, hub, spoke } from "@wheelwork/core";
import { relay, type Message, type RelaySpec } from "@wheelwork/engine";
import type { LogRecord } from "@wheelwork/engine/cluster";
import type { FaultPlan } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Nodes, type Member } from "./nodes.ts";

/** Relays in a cluster: messages back are shared out, and count though the node that asked has died. */

const work = spoke("work", {
  input: z.number(),
  output: z.number(),
  errors: ["refused"],
  timeoutMs: 20_000,
  retry: { attempts: 2, backoffMs: 10, giveUpOn: ["refused"] },
});
const asking = hub(
  "asking",
  {
    request: z.object({ n: z.number() }),
    reply: z.string(),
    deadlineMs: 60_000,
    chart: { Working: { Next: "Done", Late: "Done" }, Done: end },
    data: ({ n }) => ({ n, came: "nothing" }),
  },
  {
    Working: (s) =>
      s.call(work, {
        input: ({ n }) => n,
        ok: (_data, came) => s.raise("Next", { came: `${came}` }),
        failed: (_data, failure) =>
          s.raise("Late", { came: failure.kind === "timeout" ? "timeout" : failure.code }),
        deadline: "Late",
      }),
    Done: ({ came }) => came,
  },
);

const spec: RelaySpec<number, number, "refused"> = {
  to: "questions",
  from: "answers",
  send: (n, { requestId }) => ({ key: `${requestId}-0`, value: `${n}` }),
  receive: ({ key, value }: Message) => {
    if (value === "refused")
      return { correlation: key, outcome: { kind: "error", code: "refused", message: "as asked" } };
    return { correlation: key, outcome: { kind: "ok", output: Number(value) } };
  },
  request: ({ key }) => (key.includes("-") ? key.slice(0, key.lastIndexOf("-")) : undefined),
};

class RelayNodes extends Nodes {
  constructor(shards: number, given = spec) {
    super({
      shards,
      hub: asking,
      workers: () => [relay(work, given)],
      topics: { questions: 1, answers: 2 },
    });
  }

  /** The messages out under the key of a request. */
  questions(request: string): readonly LogRecord[] {
    return this.broker.records("questions").filter(({ key }) => key === `${request}-0`);
  }

  async asked(request: string, times = 1): Promise<void> {
    await this.clock.runUntil(() => this.questions(request).length >= times, 60_000);
  }

  override async node(commitMs: number, faultAt?: FaultPlan["faultAt"]): Promise<Member> {
    const member = await super.node(commitMs, faultAt);
    // By then it has noted where it has begun to read.
    await this.clock.advance(100);
    return member;
  }

  async reply(request: string, value: string): Promise<void> {
    await this.clock.runUntil(this.outside.append("answers", { key: `${request}-0`, value }));
  }

  async result(request: string): Promise<string> {
    const [answer = ""] = await this.answered(request);
    const { value } = JSON.parse(answer.slice(answer.indexOf(" ") + 1)) as { value: string };
    return value;
  }
}

const attempts = ({ signals }: Member): number => signals.filter(({ name }) => name === "attempt").length;

describe("the messages back of a relay that can tell their requests", () => {
  test("go at once to a shard of the node that reads them, and through the inbox to others", async () => {
    const system = new RelayNodes(2);
    await system.node(1);
    await system.node(1);
    await system.clock.advance(10_000);
    const keys = Array.from({ length: 20 }, (_, index) => `key${index}`);
    for (const [n, key] of keys.entries()) {
      await system.ask(key, { n });
      await system.asked(key);
      await system.reply(key, n % 5 === 0 ? "refused" : `${n}`);
    }
    for (const [n, key] of keys.entries())
      expect(await system.result(key)).toBe(n % 5 === 0 ? "refused" : `${n}`);
    const heard = system.broker
      .records("wheelwork-inbox")
      .filter(({ headers }) => headers["ce_type"] === "wheelwork.heard");
    expect(heard.length).toBeGreaterThan(0);
    expect(heard.length).toBeLessThan(keys.length);
    expect(system.keys("questions")).toHaveLength(keys.length);
    await system.clock.advance(1000);
    expect((system.noted("answers", 0) ?? 0) + (system.noted("answers", 1) ?? 0)).toBe(keys.length);
  });

  test("count for a new owner, which does not make the attempt again", async () => {
    const system = new RelayNodes(1);
    const first = await system.node(5);
    await system.ask("a", { n: 1 });
    await system.asked("a");
    first.process.kill();
    await system.reply("a", "42");
    const second = await system.node(5);
    expect(await system.result("a")).toBe("42");
    await system.clock.advance(60_000);
    expect(system.questions("a")).toHaveLength(1);
    expect(attempts(second)).toBe(0);
  });

  test("count though the attempt has come due meanwhile", async () => {
    const system = new RelayNodes(1);
    const first = await system.node(5);
    await system.ask("a", { n: 1 });
    await system.asked("a");
    first.process.kill();
    await system.reply("a", "42");
    await system.clock.advance(25_000);
    await system.node(5);
    expect(await system.result("a")).toBe("42");
    expect(system.questions("a")).toHaveLength(1);
  });

  test("an attempt of an earlier owner that was not answered, is made again soon", async () => {
    const system = new RelayNodes(1);
    const first = await system.node(5);
    await system.ask("a", { n: 1 });
    await system.asked("a");
    first.process.kill();
    const second = await system.node(5);
    await system.clock.advance(1000);
    expect(system.questions("a")).toHaveLength(2);
    expect(attempts(second)).toBe(1);
    await system.reply("a", "42");
    expect(await system.result("a")).toBe("42");
  });

  test("are taken again when their batch was not committed", async () => {
    const system = new RelayNodes(1);
    let faults = 2;
    await system.node(5, (_number, { journal }) =>
      journal.some(({ events }) => events.some(({ type }) => type === "settled")) && faults-- > 0
        ? "fail"
        : undefined,
    );
    await system.ask("a", { n: 1 });
    await system.asked("a");
    await system.reply("a", "42");
    expect(await system.result("a")).toBe("42");
    expect(faults).toBeLessThan(1);
  });

  test("mean nothing to anybody when nobody waits for them, or they tell no request", async () => {
    const system = new RelayNodes(1);
    const { node } = await system.node(5);
    await system.reply("stranger", "1");
    await system.clock.runUntil(system.outside.append("answers", { key: "nobody", value: "1" }));
    await system.ask("a", { n: 1 });
    await system.asked("a");
    await system.reply("a", "42");
    await system.reply("a", "43");
    expect(await system.result("a")).toBe("42");
    await system.clock.advance(1000);
    expect((system.noted("answers", 0) ?? 0) + (system.noted("answers", 1) ?? 0)).toBe(4);
    expect(node.shards).toMatchObject([{ status: "running", queued: 0, liveRuns: 0 }]);
  });

  test("are read on though the topic was cut, or is read for the first time", async () => {
    const system = new RelayNodes(1);
    for (let count = 0; count < 5; count++) await system.reply("stranger", "1");
    const first = await system.node(5);
    await system.ask("a", { n: 1 });
    await system.asked("a");
    await system.reply("a", "1");
    expect(await system.result("a")).toBe("1");
    await system.clock.advance(1000);
    first.process.kill();
    for (const partition of [0, 1]) {
      const { end: all = 0 } = system.broker.bounds("answers", partition) ?? {};
      await system.reply("stranger", "1");
      system.broker.trim("answers", partition, all + 1);
    }
    await system.node(5);
    await system.ask("b", { n: 1 });
    await system.asked("b");
    await system.reply("b", "2");
    expect(await system.result("b")).toBe("2");
  });
});

test("a relay that cannot tell the requests hears all messages at every node, while it runs", async () => {
  const { request: _request, ...heardByAll } = spec;
  const system = new RelayNodes(1, heardByAll);
  const first = await system.node(5);
  await system.ask("a", { n: 1 });
  await system.asked("a");
  await system.reply("a", "1");
  expect(await system.result("a")).toBe("1");
  await system.ask("b", { n: 1 });
  await system.asked("b");
  first.process.kill();
  await system.reply("b", "2");
  await system.node(5);
  // What came while nobody was there is missed.
  await system.asked("b", 2);
  await system.reply("b", "3");
  expect(await system.result("b")).toBe("3");
});

test("a channel and a relay cannot read the same topic", async () => {
  const system = new RelayNodes(1, { ...spec, from: "in" });
  await expect(system.node(5)).rejects.toThrow(/both read in/);
});
