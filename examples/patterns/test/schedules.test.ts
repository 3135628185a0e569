import { SimulatedClock, testEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { nightly, statement, write } from "../src/nightly.ts";

const from = (wall: string): SimulatedClock => new SimulatedClock({ wallMs: Date.parse(wall) });

describe("a statement for each night", () => {
  test("is written once, over the change of the clocks in autumn, a crash and a night that takes long", async () => {
    const kit = await testEngine({
      hubs: [statement],
      schedules: [nightly],
      clock: from("2026-10-23T12:00:00+02:00"),
    });
    // The first night has two attempts, since the process dies, and takes longer than a day.
    const hours = (count: number) => ({ ok: { entries: 7 }, afterMs: count * 3_600_000 });
    kit.script(write, [hours(30), hours(10), hours(1), hours(1)]);
    await kit.advance("34 hours");
    // 22:00 on the 24th. Nobody works while the clocks go back, and 2:30 comes for the first time.
    await kit.crash("5 hours");
    const id = (night: string): Promise<string> =>
      kit.engine.requests({ hub: "statement" }).then(({ items }) => {
        const [found] = items.filter((item) => item.id.startsWith(`nightly@${night}`));
        return found?.id ?? "none";
      });
    // The attempt that was under way is made again, and the second night waits for it.
    await kit.advance("1 min");
    expect((await kit.engine.request(await id("2026-10-25"))).status).toBe("pending");
    // 2:30 comes again: it is no other night.
    await kit.advance("30 hours");
    const { items } = await kit.engine.requests({ hub: "statement" });
    expect(items.map(({ id: one }) => one.split("@")[1]).toSorted()).toEqual([
      "2026-10-24T00:30:00.000Z",
      "2026-10-25T00:30:00.000Z",
      "2026-10-26T01:30:00.000Z",
    ]);
    expect(await kit.answer(await id("2026-10-24"))).toEqual({ kind: "result", value: { entries: 7 } });
    await kit.advance("3 hours");
    expect(await kit.answer(await id("2026-10-26"))).toEqual({ kind: "result", value: { entries: 7 } });
    expect(kit.attempts(write).map(({ input }) => input.until)).toEqual([
      // The process died during its first attempt.
      "2026-10-24T00:30:00.000Z",
      "2026-10-24T00:30:00.000Z",
      "2026-10-25T00:30:00.000Z",
      "2026-10-26T01:30:00.000Z",
    ]);
  });

  test("is made up for, and can be asked for", async () => {
    const kit = await testEngine({
      hubs: [statement],
      schedules: [nightly],
      clock: from("2026-03-27T12:00:00+01:00"),
    });
    kit.script(write, { ok: { entries: 0 } });
    // 2:30 does not exist on the 29th: it is when the clocks have changed.
    await kit.crash("3 days");
    await kit.advance("1 s");
    const written = () => kit.attempts(write).map(({ input }) => input.until.slice(0, 16));
    expect(written()).toEqual(["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]);
    await kit.engine.schedule("nightly").backfill({
      from: Date.parse("2026-03-25T00:00:00Z"),
      to: Date.parse("2026-03-28T00:00:00Z"),
    });
    await kit.advance("1 s");
    expect(written().slice(3)).toEqual(["2026-03-25T01:30", "2026-03-26T01:30", "2026-03-27T01:30"]);
  });
});
