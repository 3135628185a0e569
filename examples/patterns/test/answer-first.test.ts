import { testEngine } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { account } from "../src/account.ts";
import { install, machine, reserve } from "../src/answer-first.ts";

test("a machine is answered when its address is reserved, and installed when that works", async () => {
  const kit = await testEngine({ hubs: [machine] });
  kit.script(reserve, { ok: { address: "10.0.0.7" } });
  kit.script(install, ["hang", "hang", { ok: {}, afterMs: 60_000 }]);
  const id = await kit.submit(machine, { size: 1 });
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { address: "10.0.0.7" } });
  await kit.advance("1 hour");
  await kit.crash();
  await kit.advance("2 hours");
  expect(await kit.engine.request(id)).toMatchObject({ state: "Ready", status: "ended", view: { tries: 2 } });
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { address: "10.0.0.7" } });
});

test("without an address the answer is an error", async () => {
  const kit = await testEngine({ hubs: [machine] });
  kit.script(reserve, { fail: "none-left" });
  expect(await kit.answer(await kit.submit(machine, { size: 1 }))).toMatchObject({ code: "no-address" });
});

test("an account takes deposits over the days, refuses what it does not have, and is closed", async () => {
  const kit = await testEngine({ hubs: [account] });
  const id = await kit.submit(account, { owner: "Ada" });
  expect(await kit.answer(id)).toEqual({ kind: "result", value: { opened: true } });
  await kit.signal(id, "deposit", { cents: 500 });
  await kit.advance("3 days");
  await kit.signal(id, "withdraw", { cents: 200 });
  await kit.crash();
  await kit.signal(id, "withdraw", { cents: 400 });
  const view = { owner: "Ada", cents: 300, refused: 1 };
  expect(await kit.engine.request(id)).toMatchObject({ status: "running", view });
  await kit.cancel(id);
  expect(await kit.engine.request(id)).toMatchObject({ status: "ended", view });
});
