import { explore, testEngine, type TestEngine } from "@wheelwork/testing";
import { describe, expect, test } from "vitest";
import { bookFlight, bookHotel, cancelBooking, journey, rentCar } from "../src/journey.ts";
import { askNorth, askSouth, race } from "../src/race.ts";
import { addName, openPort, remove, site, takeAddress } from "../src/undo.ts";

describe("a race", () => {
  test("is won by the first price", async () => {
    const kit = await testEngine({ hubs: [race] });
    kit.script(askNorth, { ok: { cents: 100 }, afterMs: 2_000 });
    kit.script(askSouth, { ok: { cents: 120 }, afterMs: 1_000 });
    const id = await kit.submit(race, { sku: "lamp" });
    await kit.advance("1 s");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { from: "south", cents: 120 } });
  });

  test("goes on without the one that fails, and is lost when both do", async () => {
    const kit = await testEngine({ hubs: [race] });
    kit.script(askNorth, { ok: { cents: 100 }, afterMs: 2_000 });
    kit.script(askSouth, { fail: "none-left" });
    const id = await kit.submit(race, { sku: "lamp" });
    await kit.advance("2 s");
    expect(await kit.answer(id)).toEqual({ kind: "result", value: { from: "north", cents: 100 } });
    kit.script(askNorth, "hang");
    const lost = await kit.submit(race, { sku: "desk" });
    await kit.advance("5 s");
    expect(await kit.answer(lost)).toMatchObject({ code: "no-price" });
  });
});

describe("a journey", () => {
  const booking = ({ city }: { readonly city: string }, kind: string) => ({
    ok: { booking: `${kind} to ${city}` },
  });

  test("is booked, with and without a car", async () => {
    const kit = await testEngine({ hubs: [journey] });
    kit.script(bookFlight, (input) => booking(input, "flight"));
    kit.script(bookHotel, (input) => booking(input, "hotel"));
    kit.script(rentCar, (input) => booking(input, "car"));
    const answer = async (car: boolean) => kit.answer(await kit.submit(journey, { city: "Oslo", car }));
    expect(await answer(true)).toEqual({
      kind: "result",
      value: { bookings: ["flight to Oslo", "hotel to Oslo", "car to Oslo"] },
    });
    expect(await answer(false)).toEqual({
      kind: "result",
      value: { bookings: ["flight to Oslo", "hotel to Oslo"] },
    });
  });

  test("waits for the others when one fails, and cancels what was booked", async () => {
    const kit = await testEngine({ hubs: [journey] });
    kit.script(bookFlight, { fail: "full" });
    kit.script(bookHotel, { ok: { booking: "hotel" }, afterMs: 10_000 });
    kit.script(rentCar, { ok: { booking: "car" } });
    const cancelled: string[] = [];
    kit.script(cancelBooking, ({ booking: name }) => {
      cancelled.push(name);
      return { ok: {} };
    });
    const id = await kit.submit(journey, { city: "Oslo", car: true });
    await kit.advance("1 s");
    await kit.crash();
    await kit.advance("15 s");
    expect(await kit.answer(id)).toMatchObject({ code: "not-booked", message: "no flight" });
    expect(new Set(cancelled)).toEqual(new Set(["hotel", "car"]));
  });

  test("takes every way through it without a finding", () => {
    const outputs = {
      "book-flight": [{ booking: "flight" }],
      "book-hotel": [{ booking: "hotel" }],
      "rent-car": [{ booking: "car" }],
      "cancel-booking": [{}],
    };
    const requests = [true, false].map((car) => ({ city: "Oslo", car }));
    const report = explore(journey, { requests, outputs });
    expect(report.findings, String(report)).toEqual([]);
    expect(report).toMatchObject({ complete: true, states: { reached: 4, total: 4 } });
  });
});

describe("a site", () => {
  const takeAll = async (kit: TestEngine) => {
    await kit.openCall(takeAddress).ok({ name: "10.0.0.1" });
    await kit.openCall(addName).ok({ name: "www" });
  };

  test("is made step by step, over a crash", async () => {
    const kit = await testEngine({ hubs: [site] });
    const id = await kit.submit(site, {});
    await takeAll(kit);
    await kit.crash();
    expect(kit.openCall(openPort).input).toEqual({ name: "10.0.0.1" });
    await kit.openCall(openPort).ok({ name: "port 80" });
    expect(await kit.answer(id)).toEqual({
      kind: "result",
      value: { made: ["10.0.0.1", "www", "port 80"] },
    });
  });

  test("that fails is undone, the last step first, and an outage costs none of the time for it", async () => {
    const kit = await testEngine({ hubs: [site] });
    const id = await kit.submit(site, {});
    await takeAll(kit);
    await kit.openCall(openPort).fail("none-left", "no port is left");
    expect(kit.calls(remove).map(({ input }) => input.name)).toEqual(["www"]);
    await kit.openCall(remove).ok({});
    await kit.crash("1 h");
    await kit.openCall(remove).ok({});
    expect(await kit.answer(id)).toMatchObject({ code: "not-made", message: "no port is left" });
  });

  test("names what is left behind", async () => {
    const kit = await testEngine({ hubs: [site] });
    kit.script(remove, ({ name }) => (name === "www" ? { ok: {} } : "hang"));
    const id = await kit.submit(site, {});
    await takeAll(kit);
    await kit.cancel(id);
    await kit.advance("10 min");
    expect(await kit.answer(id)).toMatchObject({
      code: "left-behind",
      message: expect.stringContaining("10.0.0.1 is left behind") as string,
    });
  });

  test("is explored on every path, and nothing is wrong", () => {
    const report = explore(site);
    expect(report.findings, String(report)).toEqual([]);
    expect(report.complete).toBe(true);
  });
});
