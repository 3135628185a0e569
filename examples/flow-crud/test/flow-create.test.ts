import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { LocalBus, type Answer, type Message } from "wheelwork";
import { openFlowCrud, type FlowCrud, type FlowCrudOptions } from "../src/application.ts";
import { seeded } from "../src/floodlight/faults.ts";
import { defaultDeadlineMs, FlowRequest } from "../src/hub.ts";

type Options = Omit<FlowCrudOptions, "dataDir">;

/** A bus that notes what passes, and drops commands on request. */
class TestBus extends LocalBus {
  readonly log: string[] = [];
  readonly #drop: (message: Message) => boolean;

  constructor(drop: (message: Message) => boolean = () => false) {
    super();
    this.#drop = drop;
  }

  override publish(topic: string, message: Message): void {
    if (topic === "worker-to-fl" && this.#drop(message)) return;
    this.log.push(`${message.key} ${message.value}`);
    super.publish(topic, message);
  }
}

/** A machine that stands still for a moment makes nothing late. */
const patient = { workerTimeoutMs: 500, deadlineMs: 2500 };

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
    const engine = { ...options.engine };
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

  async statesOf(id: string): Promise<string[]> {
    const events = await this.system.engine.history(id);
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

test("the proof of concept's four requests, in its order and with one flowid, leave exactly the happy one's ten rules", async () => {
  const bench = await Bench.open({ flow: patient });
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

  expect(await bench.statesOf(happy.id)).toEqual([
    "Initialized",
    "ResourceAllocated",
    "InstallingRules",
    "AllRulesInstalled",
    "ValidatingRules",
    "Finished",
  ]);
  for (const { id } of [inHub, inWorker, inFloodlight]) {
    expect(await bench.statesOf(id)).toEqual([
      "Initialized",
      "ResourceAllocated",
      "InstallingRules",
      ...cleanUp,
    ]);
  }
});

test("the hub by handlers gives the same answers, and leaves the same rules", async () => {
  const bench = await Bench.open({ style: "handlers", flow: patient });
  const flow = { flowid: "test-01", length: 10 };
  const told: (string | undefined)[] = [];
  for (const error of [null, 0, 1, 2]) {
    const { answer } = await bench.create({ ...flow, error });
    const reply = answer.kind === "result" ? (answer.value as { message: string }) : answer;
    told.push(reply.message);
  }
  expect(told).toEqual([
    "all operation is successful",
    "error in hub by timeout",
    "error in worker on rule install",
    "error in worker on rule install",
  ]);
  expect(bench.system.floodlight.rules()).toHaveLength(10);
});

test.each(["chart", "handlers"] as const)(
  "stopped in the middle and opened again, it goes on (%s)",
  async (style) => {
    const options: Options = {
      style,
      flow: { deadlineMs: 10_000, attempts: 8 },
      floodlight: { faults: { latencyMs: 40 } },
    };
    const bench = await Bench.open(options);
    const started = ["happy", "failing"].map(async (flowid) => {
      const { hub, engine } = bench.system;
      return engine.submit(hub.name, { flowid, length: 10, error: flowid === "happy" ? null : 2 });
    });
    const [happy, failing] = (await Promise.all(started)).map(({ id }) => id) as [string, string];
    // Where each stop finds the runs differs: installing, validating, removing.
    for (let stops = 0; stops < 6; stops++) {
      await sleep(45);
      await bench.close();
      await bench.open(options);
    }
    expect(await bench.system.engine.answer(happy)).toMatchObject({ kind: "result" });
    expect(await bench.system.engine.answer(failing)).toMatchObject({
      code: "worker-error",
      details: clean,
    });
    expect(bench.rulesOf(happy)).toEqual(upTo(10));
    expect(bench.rulesOf(failing)).toEqual([]);
  },
);

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
  const bench = await Bench.open({ flow: patient });
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
  const bench = await Bench.open({ flow: patient, floodlight: { switches: 2, tableSize: 3 } });
  const first = await bench.create({ flowid: "small", length: 4 });
  expect(first.answer.kind).toBe("result");
  const second = await bench.create({ flowid: "big", length: 4 });
  expect(second.answer).toMatchObject({ code: "worker-error", message: "error in worker on rule install" });
  expect(bench.rulesOf(first.id)).toEqual(upTo(4));
  expect(bench.rulesOf(second.id)).toEqual([]);
  expect((await bench.create({ flowid: "fits", length: 2 })).answer.kind).toBe("result");
});

test("without a free meter nothing is begun; the meter of a failed flow is given back", async () => {
  const bench = await Bench.open({ meters: 1, flow: patient });
  const failed = await bench.create({ flowid: "f", length: 3, error: 2 });
  expect(failed.answer).toMatchObject({ code: "worker-error", details: clean });
  const happy = await bench.create({ flowid: "g", length: 3 });
  expect(happy.answer.kind).toBe("result");
  const refused = await bench.create({ flowid: "h", length: 3 });
  expect(refused.answer).toMatchObject({
    code: "resource-error",
    message: "error on resource allocation: no meter is left",
  });
  expect(await bench.statesOf(refused.id)).toEqual(["Initialized", "ResourceAllocated", "FinishedWithError"]);
});

test("a cancel compensates: rules are removed and resources released", async () => {
  const bench = await Bench.open({ meters: 1, flow: { deadlineMs: 20_000, workerTimeoutMs: 5_000 } });
  const { engine } = bench.system;
  const { id } = await engine.submit("flow-create", { flowid: "f", length: 10, error: 0 });
  while ((await engine.request(id)).state !== "InstallingRules") await sleep(1);
  expect(await engine.cancel(id)).toBe("accepted");
  expect(await engine.answer(id)).toEqual({
    kind: "error",
    code: "cancelled",
    message: "cancelled on request",
    details: clean,
  });
  expect(await bench.statesOf(id)).toEqual([
    "Initialized",
    "ResourceAllocated",
    "InstallingRules",
    ...cleanUp,
  ]);
  expect(await engine.cancel(id)).toBe("ended");
  expect((await bench.create({ flowid: "g", length: 1 })).answer.kind).toBe("result");
});

test("rules whose removal cannot be confirmed are named as zombies", async () => {
  const bus = new TestBus(({ value }) => value.includes('"remove"') || value.includes('"validate-removed"'));
  const bench = await Bench.open({
    bus,
    flow: { cleanUpAttempts: 2 },
    floodlight: { switches: 1, tableSize: 2 },
  });
  const { id, answer } = await bench.create({ flowid: "f", length: 3 });
  expect(answer).toEqual({
    kind: "error",
    code: "worker-error",
    message: "error in worker on rule install",
    details: { zombies: [0, 1, 2], resourcesReleased: true },
  });
  expect(bench.rulesOf(id)).toEqual([0, 1]);
});

test("only the rules whose removal is not confirmed are zombies", async () => {
  const bus = new TestBus(({ value }) => value.includes('"ruleid":1,') && value.includes("remove"));
  const bench = await Bench.open({
    bus,
    flow: { cleanUpAttempts: 2 },
    floodlight: { switches: 1, tableSize: 3 },
  });
  const { id, answer } = await bench.create({ flowid: "f", length: 4 });
  expect(answer).toMatchObject({ details: { zombies: [1], resourcesReleased: true } });
  expect(bench.rulesOf(id)).toEqual([1]);
});

test("a clean-up that takes too long is left at its deadline, and what is open then is a zombie", async () => {
  const bus = new TestBus(({ value }) => value.includes("remove"));
  const bench = await Bench.open({
    bus,
    flow: { cleanUpMs: 120, cleanUpAttempts: 1000, concurrentRules: 2 },
    floodlight: { switches: 1, tableSize: 4 },
  });
  const { id, answer } = await bench.create({ flowid: "f", length: 5 });
  expect(answer).toMatchObject({ code: "worker-error", details: { zombies: [0, 1, 2, 3, 4] } });
  expect(bench.rulesOf(id)).toEqual([0, 1, 2, 3]);
});

test("a rule that was not removed in the time for it is removed when its removal is validated", async () => {
  let validating = false;
  const bus = new TestBus(({ value }) => {
    validating ||= value.includes('"validate-removed"');
    return value.includes('"remove"') && !validating;
  });
  const bench = await Bench.open({
    bus,
    flow: { cleanUpAttempts: 2 },
    floodlight: { switches: 1, tableSize: 2 },
  });
  const { id, answer } = await bench.create({ flowid: "f", length: 3 });
  expect(answer).toMatchObject({ code: "worker-error", details: clean });
  expect(bench.rulesOf(id)).toEqual([]);
});

test("no removal goes out while an install may still land", async () => {
  // The install of the last rule is lost, so its time must run out; the one before is refused at once.
  const bus = new TestBus(({ value }) => value.includes('"ruleid":2,') && value.includes('"install"'));
  const bench = await Bench.open({ bus, floodlight: { switches: 1, tableSize: 1 } });
  const { id, answer } = await bench.create({ flowid: "f", length: 3 });
  expect(answer).toMatchObject({ code: "worker-error", details: clean });
  const events = await bench.system.engine.history(id);
  const removing = events.findIndex((event) => event.type === "entered" && event.state === "RemovingRules");
  const installing = events.findIndex(
    (event) => event.type === "entered" && event.state === "InstallingRules",
  );
  const settled = events.slice(installing, removing).filter(({ type }) => type === "settled");
  expect(settled).toHaveLength(3);
});

test("an install that lands after its removal is not done", async () => {
  let held: Message | undefined;
  const bus = new TestBus((message) => {
    if (held !== undefined || !message.value.includes('"ruleid":0,"error":null,"command":"install"'))
      return false;
    held = message;
    return true;
  });
  const bench = await Bench.open({ bus, flow: { attempts: 1 } });
  const { id, answer } = await bench.create({ flowid: "f", length: 3 });
  expect(answer).toMatchObject({ code: "worker-error", details: clean });
  bus.publish("worker-to-fl", held as unknown as Message);
  await sleep(20);
  expect(bus.log.at(-1)).toBe(`${id}-0 fenced 0`);
  expect(bench.rulesOf(id)).toEqual([]);
});

test("the messages to the switches are the proof of concept's", async () => {
  const bus = new TestBus();
  // Without jitter the second attempts come in order too.
  const bench = await Bench.open({ bus, engine: { random: () => 0 } });
  const sent = async (error: number | null) => {
    bus.log.length = 0;
    const { id } = await bench.create({ flowid: "test-01", length: 2, error });
    return bus.log.map((line) => line.replace(id, "ID"));
  };
  const command = (ruleid: number, name: string, error = "null") =>
    `ID-${ruleid} {"flowid":"test-01","ruleid":${ruleid},"error":${error},"command":"${name}"}`;
  expect(await sent(null)).toEqual([
    command(0, "install"),
    command(1, "install"),
    "ID-0 installed 0",
    "ID-1 installed 1",
    command(0, "validate"),
    command(1, "validate"),
    "ID-0 validated 0",
    "ID-1 validated 1",
  ]);
  expect(await sent(0)).toEqual([]);
  const removal = [
    command(0, "remove"),
    command(1, "remove"),
    "ID-0 removed 0",
    "ID-1 removed 1",
    command(0, "validate-removed"),
    command(1, "validate-removed"),
    "ID-0 absent 0",
    "ID-1 absent 1",
  ];
  expect(await sent(1)).toEqual(removal);
  const marked = [command(0, "install", '"IN_FL"'), command(1, "install", '"IN_FL"')];
  expect(await sent(2)).toEqual([...marked, ...marked, ...removal]);
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
    expect(answer.kind === "error" ? answer.details : clean).toEqual(clean);
  }
  const kinds = new Set(ended.map(({ answer }) => answer.kind));
  expect(kinds).toContain("result");
});

test("a flow of ten thousand rules", async () => {
  expect(defaultDeadlineMs({ length: 10_000 })).toBe(20_300);
  const bench = await Bench.open({ engine: {} });
  const { id, answer } = await bench.create({ flowid: "long", length: 10_000 });
  expect(answer.kind).toBe("result");
  expect(bench.rulesOf(id)).toHaveLength(10_000);
});

test("what a flow is: in progress, up or down, also after a restart", async () => {
  const bench = await Bench.open({ flow: patient });
  const get = (flowid: string) => bench.system.flows.get(flowid);
  expect(await get("f")).toBeUndefined();
  const { engine } = bench.system;
  const { id } = await engine.submit("flow-create", { flowid: "f", length: 12, error: 0 });
  while ((await engine.request(id)).state !== "InstallingRules") await sleep(1);
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
  await expect(bench.open()).rejects.toMatchObject({ code: "WW_STORE_LOCKED" });
});

test.each(["floodlight.db", "resources.db"])(
  "a damaged %s is told by name, and left as it is",
  async (file) => {
    const dataDir = mkdtempSync(join(tmpdir(), "flow-crud-"));
    onTestFinished(() => rmSync(dataDir, { recursive: true }));
    writeFileSync(join(dataDir, file), "no database ".repeat(500));
    const opened = openFlowCrud({ dataDir });
    await expect(opened).rejects.toMatchObject({ code: "WW_STORE_UNAVAILABLE" });
    await expect(opened).rejects.toThrow(file);
    expect(readFileSync(join(dataDir, file), "utf8")).toBe("no database ".repeat(500));
  },
);
