import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import type { Answer } from "wheelwork";
import { openFlowCrud, type FlowCrud, type FlowCrudOptions } from "../src/application.ts";
import { seeded } from "../src/floodlight/faults.ts";
import { defaultDeadlineMs, FlowRequest } from "../src/hub.ts";

type Options = Omit<FlowCrudOptions, "dataDir">;

/** The application in a folder of its own, which can be stopped and opened again. */
class Bench {
  readonly #dataDir = mkdtempSync(join(tmpdir(), "flow-crud-"));
  #system: FlowCrud | undefined;

  static async open(options: Options = {}): Promise<Bench> {
    const bench = new Bench();
    onTestFinished(async () => {
      await bench.close();
      rmSync(bench.#dataDir, { recursive: true });
    });
    await bench.open(options);
    return bench;
  }

  get system(): FlowCrud {
    if (this.#system === undefined) throw new Error("the system is closed");
    return this.#system;
  }

  async open(options: Options = {}): Promise<void> {
    const engine = { strict: true, ...options.engine };
    this.#system = await openFlowCrud({ durability: "normal", ...options, engine, dataDir: this.#dataDir });
  }

  async close(): Promise<void> {
    await this.#system?.close();
    this.#system = undefined;
  }

  /** Creates a flow; a request is told by its answer, in words. */
  async create(request: object): Promise<{ id: string; answer: Answer }> {
    const { engine, hub } = this.system;
    const { id } = await engine.submit(hub.name, request);
    const answer = await engine.answer(id);
    if (answer === undefined) throw new Error("no answer");
    return { id, answer };
  }

  /** The numbers of the rules that a request has on the switches. */
  rulesOf(id: string): number[] {
    const rules = this.system.floodlight.rules().filter(({ cookie }) => cookie === id);
    return rules.map(({ ruleid }) => ruleid);
  }

  statesOf(id: string): string[] {
    const events = this.system.engine.history(id);
    return events.flatMap((event) => (event.type === "entered" ? [event.state] : []));
  }
}

const upTo = (length: number): number[] => Array.from({ length }, (_, ruleid) => ruleid);
const cleanUp = [
  "RemovingRules",
  "AllRulesRemoved",
  "ValidatingRemovedRules",
  "AllRulesRemoveValidated",
  "DeallocateResources",
  "FinishedWithError",
];
const clean = { zombies: [], resourcesReleased: true };

test("the seed's four requests, in its order and with one flowid, leave exactly the happy one's ten rules", async () => {
  const bench = await Bench.open();
  const flow = { flowid: "test-01", length: 10 };
  const happy = await bench.create(flow);
  const inHub = await bench.create({ ...flow, error: 0 });
  const inWorker = await bench.create({ ...flow, error: 1 });
  const inFloodlight = await bench.create({ ...flow, error: 2 });

  expect(happy.answer).toEqual({
    kind: "result",
    value: { flowid: "test-01", message: "all operation is successful" },
  });
  expect(inHub.answer).toEqual({
    kind: "error",
    code: "hub-timeout",
    message: "error in hub by timeout",
    details: clean,
  });
  for (const { answer } of [inWorker, inFloodlight]) {
    expect(answer).toEqual({
      kind: "error",
      code: "worker-error",
      message: "error in worker on rule install",
      details: clean,
    });
  }
  expect(bench.system.floodlight.rules()).toHaveLength(10);
  expect(bench.rulesOf(happy.id)).toEqual(upTo(10));

  expect(bench.statesOf(happy.id)).toEqual([
    "Initialized",
    "ResourceAllocated",
    "InstallingRules",
    "AllRulesInstalled",
    "ValidatingRules",
    "Finished",
  ]);
  for (const { id } of [inHub, inWorker, inFloodlight]) {
    expect(bench.statesOf(id)).toEqual(["Initialized", "ResourceAllocated", "InstallingRules", ...cleanUp]);
  }
});

test("the names of the error switches are accepted too", async () => {
  const parsed = (error: unknown) => FlowRequest.parse({ flowid: "f", length: 1, error }).error;
  expect([0, 1, 2, "IN_HUB", "IN_WORKER", "IN_FL", null, undefined].map(parsed)).toEqual([
    "IN_HUB",
    "IN_WORKER",
    "IN_FL",
    "IN_HUB",
    "IN_WORKER",
    "IN_FL",
    null,
    null,
  ]);
});

test("bad requests are refused with every problem, unknown fields by name", async () => {
  const bench = await Bench.open();
  const refused = bench.create({ flowid: "", length: 10_001, error: 3, colour: "red", size: 1 });
  await expect(refused).rejects.toMatchObject({ code: "WW_INVALID_REQUEST" });
  const { problems } = (await refused.catch((error: unknown) => error)) as {
    problems: { path: string; message: string }[];
  };
  expect(problems.map(({ path }) => path)).toEqual(expect.arrayContaining(["flowid", "length", "error"]));
  const all = problems.map(({ message }) => message).join("\n");
  expect(all).toContain("colour");
  expect(all).toContain("size");
  for (const request of [{}, null, [], "flow", { flowid: "f", length: 0 }, { flowid: "f", length: 1.5 }]) {
    await expect(bench.system.engine.submit("flow-create", request)).rejects.toMatchObject({
      code: "WW_INVALID_REQUEST",
    });
  }
});

test("a switch that refuses a rule fails the flow, and the rules that were installed are removed", async () => {
  const bench = await Bench.open({ floodlight: { switches: 2, tableSize: 3 } });
  const first = await bench.create({ flowid: "small", length: 4 });
  expect(first.answer.kind).toBe("result");
  const second = await bench.create({ flowid: "big", length: 4 });
  expect(second.answer).toMatchObject({ code: "worker-error", message: "error in worker on rule install" });
  expect(bench.rulesOf(first.id)).toEqual(upTo(4));
  expect(bench.rulesOf(second.id)).toEqual([]);
  expect((await bench.create({ flowid: "fits", length: 2 })).answer.kind).toBe("result");
});

test("without a free meter nothing is begun; the meter of a failed flow is given back", async () => {
  const bench = await Bench.open({ meters: 1 });
  const failed = await bench.create({ flowid: "f", length: 3, error: 2 });
  expect(failed.answer).toMatchObject({ code: "worker-error", details: clean });
  const happy = await bench.create({ flowid: "g", length: 3 });
  expect(happy.answer.kind).toBe("result");
  const refused = await bench.create({ flowid: "h", length: 3 });
  expect(refused.answer).toMatchObject({
    code: "resource-error",
    message: "error on resource allocation: no meter is left",
  });
  expect(bench.statesOf(refused.id)).toEqual(["Initialized", "ResourceAllocated", "FinishedWithError"]);
});

test("a cancel compensates: rules are removed and resources released", async () => {
  const bench = await Bench.open({ meters: 1, flow: { deadlineMs: 20_000, workerTimeoutMs: 5_000 } });
  const { engine } = bench.system;
  const { id } = await engine.submit("flow-create", { flowid: "f", length: 10, error: 0 });
  while (engine.request(id).state !== "InstallingRules") await sleep(1);
  expect(await engine.cancel(id)).toBe("accepted");
  expect(await engine.answer(id)).toEqual({
    kind: "error",
    code: "cancelled",
    message: "cancelled on request",
    details: clean,
  });
  expect(bench.statesOf(id)).toEqual(["Initialized", "ResourceAllocated", "InstallingRules", ...cleanUp]);
  expect(await engine.cancel(id)).toBe("ended");
  expect((await bench.create({ flowid: "g", length: 1 })).answer.kind).toBe("result");
});

test("rules whose removal cannot be confirmed are named as zombies", async () => {
  let silent = false;
  const bench = await Bench.open({
    flow: { cleanUpAttempts: 2 },
    // Once silent, every message is lost: each number drawn is below the loss.
    floodlight: { faults: { loss: 0.5 }, random: () => (silent ? 0 : 0.99) },
  });
  const { engine } = bench.system;
  const { id } = await engine.submit("flow-create", { flowid: "f", length: 3, error: 2 });
  while (engine.request(id).state !== "InstallingRules") await sleep(1);
  silent = true;
  expect(await engine.answer(id)).toEqual({
    kind: "error",
    code: "worker-error",
    message: "error in worker on rule install",
    details: { zombies: [0, 1, 2], resourcesReleased: true },
  });
});

test("a removal that takes too long is left at its deadline, and what is open then is a zombie", async () => {
  const bench = await Bench.open({
    flow: { cleanUpMs: 120, cleanUpAttempts: 1000, concurrentRules: 2 },
    floodlight: { faults: { loss: 0.5 }, random: () => 0 },
  });
  const { answer } = await bench.create({ flowid: "f", length: 5 });
  expect(answer).toMatchObject({ code: "worker-error", details: { zombies: [0, 1, 2, 3, 4] } });
});

test("a rule that was not removed in its time is removed when its removal is validated", async () => {
  let lost = false;
  const bench = await Bench.open({
    // The removals are lost until the time for them is over.
    flow: { cleanUpMs: 400, cleanUpAttempts: 1000, deadlineMs: 1000 },
    floodlight: { switches: 1, tableSize: 4, faults: { loss: 0.5 }, random: () => (lost ? 0 : 0.99) },
  });
  const { engine } = bench.system;
  const { id } = await engine.submit("flow-create", { flowid: "f", length: 5 });
  const reach = async (state: string): Promise<void> => {
    const deadline = performance.now() + 5000;
    while (!bench.statesOf(id).includes(state)) {
      if (performance.now() > deadline) throw new Error(`${state} was not reached`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await reach("InstallingRules");
  // Rules reach the switch until its table is full; from the first refusal on, nothing comes through.
  const { unsubscribe } = { unsubscribe: () => {} };
  unsubscribe();
  await reach("RemovingRules");
  lost = true;
  await reach("ValidatingRemovedRules");
  lost = false;
  expect(await engine.answer(id)).toMatchObject({ code: "worker-error", details: clean });
  expect(bench.rulesOf(id)).toEqual([]);
});

test("loss, duplicates and reordering on the way to the switches: one answer each, and the switches agree", async () => {
  const faults = { latencyMs: { from: 0, to: 4 }, loss: 0.05, duplicates: 0.1, reorder: 0.2, reorderMs: 15 };
  const bench = await Bench.open({
    flow: { workerTimeoutMs: 40, cleanUpAttempts: 12 },
    floodlight: { faults, random: seeded(11) },
  });
  const requests = Array.from({ length: 60 }, async (_, index) => {
    return bench.create({ flowid: `flow-${index}`, length: 1 + (index % 7) });
  });
  const ended = await Promise.all(requests);
  // Late copies of installs may still be under way; their rules are fenced.
  await sleep(60);
  for (const [index, { id, answer }] of ended.entries()) {
    const length = 1 + (index % 7);
    expect(bench.rulesOf(id)).toEqual(answer.kind === "result" ? upTo(length) : []);
    if (answer.kind === "error") expect(answer.details).toEqual(clean);
  }
  const kinds = new Set(ended.map(({ answer }) => answer.kind));
  expect(kinds).toContain("result");
});

test("a flow of ten thousand rules", { timeout: 60_000 }, async () => {
  expect(defaultDeadlineMs({ length: 10_000 })).toBe(20_300);
  const bench = await Bench.open({ engine: { strict: false } });
  const { id, answer } = await bench.create({ flowid: "long", length: 10_000 });
  expect(answer.kind).toBe("result");
  expect(bench.rulesOf(id)).toHaveLength(10_000);
});

test("what a flow is: in progress, up or down, also after a restart", async () => {
  const bench = await Bench.open();
  const get = (flowid: string) => bench.system.flows.get(flowid);
  expect(await get("f")).toBeUndefined();
  const { engine } = bench.system;
  const { id } = await engine.submit("flow-create", { flowid: "f", length: 12, error: 0 });
  while (engine.request(id).state !== "InstallingRules") await sleep(1);
  expect(await get("f")).toEqual({
    flowid: "f",
    state: "IN_PROGRESS",
    requestId: id,
    resources: { cookie: 1, meter: 1, path: upTo(8).map((hop) => `sw-${hop + 1}`) },
    rules: 12,
  });
  await engine.answer(id);
  expect(await get("f")).toEqual({ flowid: "f", state: "DOWN", requestId: id });
  const happy = await bench.create({ flowid: "f", length: 2 });
  const up = {
    flowid: "f",
    state: "UP",
    requestId: happy.id,
    resources: { cookie: 2, meter: 1, path: ["sw-1", "sw-2"] },
    rules: 2,
  };
  expect(await get("f")).toEqual(up);
  await bench.create({ flowid: "f", length: 2, error: 2 });
  expect(await get("f")).toEqual(up);
  await bench.close();
  await bench.open();
  expect(await get("f")).toEqual(up);
});

test("a second process on the same folder is refused before it touches anything", async () => {
  const bench = await Bench.open();
  const again = new (class extends Bench {})();
  void again;
  await expect(bench.open()).rejects.toMatchObject({ code: "WW_STORE_LOCKED" });
});
