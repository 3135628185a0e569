// Run by Node's own test runner: the kit needs none in particular.
import { testEngine } from "@wheelwork/testing";
import assert from "node:assert/strict";
import { test } from "node:test";
import { createFlow, install, remove } from "./hubs.ts";

test("a flow is created", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  kit.script(install, ({ rule }) => ({ ok: { installed: rule } }));
  const id = await kit.submit(createFlow, { length: 3 });
  await kit.signal(id, "approval", { by: "Ada" });
  assert.deepEqual(await kit.answer(id), { kind: "result", value: { installed: 3 } });
});

test("time is skipped", async () => {
  const kit = await testEngine({ hubs: [createFlow] });
  kit.script(remove, { ok: {} });
  const id = await kit.submit(createFlow, { length: 3 });
  await kit.advance("10 min");
  assert.deepEqual(await kit.states(id), ["Installing", "Removing", "Down"]);
});
