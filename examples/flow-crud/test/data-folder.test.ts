import { copyFileSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { waitUntil } from "@wheelwork/services";
import { expect, onTestFinished, test } from "vitest";
import { openFlowCrud, type FlowCrud } from "../src/application.ts";
import { switchIdOf } from "../src/controller/model.ts";

const end = (number: number, vlan: number) => ({ switchId: switchIdOf(BigInt(number)), port: 1, vlan });
const specOf = (flowId: string, vlan: number) => ({
  flowId,
  source: end(1, vlan),
  destination: end(2, vlan),
  bandwidth: 1000,
});

const create = (system: FlowCrud, flowId = "a", vlan = 10) =>
  system.engine.call(system.controller.hubs.create, {
    spec: specOf(flowId, vlan),
    queue: true,
  });

test("a file that is missing beside files that were used is refused at each start, and changes no switch", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-folder-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const open = () => openFlowCrud({ dataDir, durability: "normal" });
  const first = await open();
  expect(await create(first)).toMatchObject({ kind: "result" });
  await first.close();
  const all = ["floodlight.db", "flows.db", "resources.db", "rules.db", "wheelwork.db"];
  // The list is of this version. A folder of an earlier one has none.
  for (const [missing, why] of [
    ...all.map((name) => [[name], `${name} is missing or empty`] as const),
    [["flows.db", "rules.db"], "flows.db and rules.db are missing or empty"],
    [all.slice(0, 4), "floodlight.db and flows.db and resources.db and rules.db are missing"],
    [["files.json", "wheelwork.db"], "wheelwork.db is missing"],
    [["files.json", "flows.db"], "commands of plans that the store of flows has never made"],
    [["files.json", "rules.db"], "the book is another one than before; flow a needs"],
  ] as const) {
    for (const name of missing) renameSync(join(dataDir, name), join(dataDir, `${name}.away`));
    for (let start = 0; start < 2; start++)
      await expect(open()).rejects.toThrow(expect.objectContaining({ code: "WW_STORE_UNAVAILABLE" }));
    await expect(open()).rejects.toThrow(why);
    for (const name of missing) rmSync(join(dataDir, name), { force: true });
    for (const name of missing) renameSync(join(dataDir, `${name}.away`), join(dataDir, name));
  }
  const again = await open();
  expect(await again.flowStore.flow("a")).toMatchObject({ status: "UP" });
  const validated = await again.engine.call(again.controller.hubs.validate, { flowId: "a" });
  expect(validated).toMatchObject({
    value: { directions: [{ asExpected: true }, { asExpected: true }] },
  });
  await again.close();
});

test("a file of an older backup is refused, and a lost book of rules is made anew of the flows", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-folder-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const open = (rebuildRules = false) => openFlowCrud({ dataDir, durability: "normal", rebuildRules });
  const names = ["flows.db", "rules.db"];
  const file = (name: string): string => join(dataDir, name);
  const copy = (from: string, to: string): void =>
    names.forEach((name) => copyFileSync(file(`${name}${from}`), file(`${name}${to}`)));
  const first = await open();
  expect(await create(first)).toMatchObject({ kind: "result" });
  await first.close();
  copy("", ".old");
  const second = await open();
  expect(await second.engine.call(second.controller.hubs.delete, { flowId: "a" })).toMatchObject({
    kind: "result",
  });
  expect(await create(second, "b", 20)).toMatchObject({ kind: "result" });
  await second.close();
  copy("", ".new");
  for (const name of names) {
    copyFileSync(file(`${name}.old`), file(name));
    await expect(open()).rejects.toThrow("not of the same time");
    copy(".new", "");
  }
  rmSync(file("rules.db"));
  await expect(open()).rejects.toThrow("rules.db is missing");
  const system = await open(true);
  const validated = await system.engine.call(system.controller.hubs.validate, { flowId: "b" });
  expect(validated).toMatchObject({
    value: { directions: [{ asExpected: true }, { asExpected: true }] },
  });
  expect(await create(system, "c", 30)).toMatchObject({ kind: "result" });
  await system.close();
  await (await open()).close();
});

test("nothing is told as done that went into a file that was deleted, and work goes on when the file is back", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-folder-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const controller = { storeTimeoutMs: 100, switchTimeoutMs: 100, backoffMs: 1, cleanUpMs: 100 };
  const system = await openFlowCrud({ dataDir, durability: "normal", controller });
  for (const name of ["flows.db", "flows.db-wal", "rules.db", "rules.db-wal"]) {
    const file = join(dataDir, name);
    renameSync(file, `${file}.away`);
    expect([name, await create(system, name)]).toMatchObject([name, { kind: "error" }]);
    renameSync(`${file}.away`, file);
  }
  expect(await create(system, "b", 20)).toMatchObject({ kind: "result" });
  await system.close();
});

test("with a journal from an older backup, an operation changes nothing, and says what is wrong", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-folder-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  const open = () => openFlowCrud({ dataDir, durability: "normal" });
  await (await open()).close();
  const [journal, backup] = [join(dataDir, "wheelwork.db"), join(dataDir, "backup.db")];
  copyFileSync(journal, backup);
  const first = await open();
  expect(await create(first)).toMatchObject({ kind: "result" });
  for (const bandwidth of [2000, 3000])
    await first.engine.call(first.controller.hubs.update, {
      flowId: "a",
      changes: { bandwidth },
      queue: true,
    });
  await first.close();
  copyFileSync(backup, journal);
  const restored = await open();
  const refused = await restored.engine.call(restored.controller.hubs.delete, { flowId: "a", queue: true });
  expect(refused).toMatchObject({
    kind: "error",
    message: expect.stringContaining("restore both from the same backup"),
  });
  expect(await restored.flowStore.flow("a")).toMatchObject({ status: "UP", spec: { bandwidth: 3000 } });
  await restored.close();
});

test("a folder of a version without flows, and one whose first start was cut off, are taken", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-folder-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  await (await openFlowCrud({ dataDir, durability: "normal" })).close();
  for (const name of ["flows.db", "rules.db"]) {
    for (const gone of [name, "files.json"]) rmSync(join(dataDir, gone));
    const system = await openFlowCrud({ dataDir, durability: "normal" });
    await system.close();
  }
  const system = await openFlowCrud({ dataDir, durability: "normal" });
  expect(await create(system)).toMatchObject({ kind: "result" });
  await system.close();
});

test("the book of POST /flow is refused if it is new or older, and made anew of what requests have", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-folder-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  // This is not about time: its flows have half a second otherwise.
  const flow = { workerTimeoutMs: 1500, deadlineMs: 30_000 };
  const open = (rebuildRules = false) => openFlowCrud({ dataDir, durability: "normal", rebuildRules, flow });
  const file = (name: string): string => join(dataDir, name);
  const ask = (system: FlowCrud, flowid: string, error: "IN_FL" | null = null) =>
    system.engine.call(system.hub as never, { flowid, length: 5, error } as never);
  const rulesOf = ({ floodlight }: FlowCrud) =>
    floodlight.rules().map(({ flowid, ruleid, cookie }) => [flowid, ruleid, cookie]);
  const first = await open();
  expect(await ask(first, "a")).toMatchObject({ kind: "result" });
  await first.close();
  copyFileSync(file("floodlight.db"), file("older"));
  const second = await open();
  expect(await ask(second, "b")).toMatchObject({ kind: "result" });
  // What failed has no rules, and gets none.
  expect(await ask(second, "failed", "IN_FL")).toMatchObject({ kind: "error" });
  const should = rulesOf(second);
  expect(should).toHaveLength(10);
  await waitUntil(async () => (await second.flows.get("b"))?.state === "UP", 10_000);
  await second.close();
  for (const lose of [
    () => rmSync(file("floodlight.db")),
    () => copyFileSync(file("older"), file("floodlight.db")),
    // A version that made no list.
    () => ["floodlight.db", "files.json"].forEach((name) => rmSync(file(name))),
  ]) {
    lose();
    await expect(open()).rejects.toThrow(expect.objectContaining({ code: "WW_STORE_UNAVAILABLE" }));
    await expect(open()).rejects.toThrow(/floodlight\.db (?:is missing|lacks rules of \d+ flows)/);
    const again = await open(true);
    expect(rulesOf(again)).toEqual(should);
    expect(await ask(again, "c")).toMatchObject({ kind: "result" });
    should.splice(0, Infinity, ...rulesOf(again));
    await waitUntil(async () => (await again.flows.get("c"))?.state === "UP", 10_000);
    await again.close();
    await (await open()).close();
  }
});
