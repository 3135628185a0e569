import { end, hub, hubByHandlers, stay } from "@wheelwork/core";
import { createEngine } from "@wheelwork/engine";
import { mkdtempSync } from "node:fs";
import * as v from "valibot";
import { expect, it } from "vitest";
let broken = true;
const obj = v.any();
const h = hubByHandlers("h", { request: obj, reply: obj, deadlineMs: 3000, cleanUpMs: 500, calls: [], data: () => ({ got: [] as string[] }), signals: { a: v.string() } }, {
  request: () => {}, response: () => {}, timeout: (s) => s.reply(s.data.got),
  signal: (s, { payload }) => { if (broken) throw new Error("x"); s.patch({ got: [...s.data.got, payload] }); if (s.data.got.length === 2) s.reply(s.data.got); },
});
const c = hub("c", { request: obj, reply: obj, deadlineMs: 3000, data: () => ({ got: [] as string[] }), signals: { a: v.string() },
  chart: { W: { Got: stay, Done: "E", Late: "E" }, E: end } }, {
  W: (s) => s.wait({ on: { a: (d, p) => { if (broken) throw new Error("x"); const got = [...d.got, p]; return s.raise(got.length === 2 ? "Done" : "Got", { got }); } }, deadline: "Late" }),
  E: (d) => d.got,
});
const c2 = hub("c2", { request: obj, reply: obj, deadlineMs: 500, data: () => ({ got: [] as string[] }), signals: { a: v.string(), go: v.any() },
  chart: { First: { Go: "W", Late: "E" }, W: { Got: stay, Done: "E", Late: "E" }, E: end } }, {
  First: (s) => s.wait({ on: { go: "Go" }, deadline: "Late" }),
  W: (s) => s.wait({ on: { a: (d, p) => { const got = [...d.got, p]; return s.raise(got.length === 2 ? "Done" : "Got", { got }); } }, deadline: "Late" }),
  E: (d) => d.got,
});
it.each([h, c])("signals during an incident", async (hb) => {
  broken = true;
  const engine = createEngine({ hubs: [hb], workers: [], store: mkdtempSync("/tmp/scr/x") + "/a.db", strict: true });
  await engine.start();
  const { id } = await engine.submit(hb.name, {});
  await engine.signal(id, "a", "one");
  await engine.signal(id, "a", "two");
  expect(engine.request(id).status).toBe("incident");
  broken = false;
  await engine.retry(id);
  console.log(hb.name, JSON.stringify(await engine.answer(id)), JSON.stringify(engine.history(id).map((e) => e.type)));
  await engine.stop();
});
it("buffered that stay", async () => {
  const engine = createEngine({ hubs: [c2], workers: [], store: mkdtempSync("/tmp/scr/x") + "/a.db", strict: true });
  await engine.start();
  const { id } = await engine.submit(c2, {});
  await engine.signal(id, "a", "one");
  await engine.signal(id, "a", "two");
  await engine.signal(id, "go", {});
  console.log("c2", JSON.stringify(await engine.answer(id)), JSON.stringify(engine.history(id).map((e) => e.type)));
  await engine.stop();
});
