import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { LocalBus, systemClock, type Message } from "wheelwork";
import { passagesOf, seeded, type Faults } from "../src/floodlight/faults.ts";
import { Floodlight, type FloodlightOptions } from "../src/floodlight/floodlight.ts";
import { commandMessage, type CommandName } from "../src/floodlight/wire.ts";
import { originalTopics } from "../src/topics.ts";

const floodlightModule = resolve(import.meta.dirname, "../src/floodlight/floodlight.ts");
const requestA = "a".repeat(32);
const requestB = "b".repeat(32);

/** A controller on a bus of its own, and what it answers. */
class Bench {
  readonly bus = new LocalBus();
  readonly answers: Message[] = [];
  readonly problems: string[] = [];
  readonly path: string;
  floodlight: Floodlight;
  readonly #options: FloodlightOptions;

  constructor(options: FloodlightOptions = {}) {
    const folder = mkdtempSync(join(tmpdir(), "floodlight-"));
    this.path = join(folder, "floodlight.db");
    this.#options = { onProblem: (problem) => void this.problems.push(problem), ...options };
    this.bus.subscribe(originalTopics.commandReplies, (message) => void this.answers.push(message));
    this.floodlight = this.#open();
    onTestFinished(() => {
      this.floodlight.close();
      rmSync(folder, { recursive: true });
    });
  }

  send(command: CommandName, request: string, ruleid: number, error: "IN_FL" | null = null): void {
    const body = { flowid: "test-01", ruleid, error, command };
    this.bus.publish(originalTopics.commands, commandMessage(`${request}-${ruleid}`, body));
  }

  /** Sends commands one after the other, and gives the answers. */
  async ask(...commands: Parameters<Bench["send"]>[]): Promise<string[]> {
    const from = this.answers.length;
    for (const command of commands) {
      this.send(...command);
      await this.quiet();
    }
    return this.answers.slice(from).map(({ value }) => value);
  }

  /** Until what was sent is answered, where there are no faults. */
  async quiet(): Promise<void> {
    // Each step on the way takes a turn of the event loop; there are fewer than ten.
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  reopen(): void {
    this.floodlight.close();
    this.floodlight = this.#open();
  }

  held(): string[] {
    return this.floodlight.rules().map(({ cookie, ruleid }) => `${cookie[0]}${ruleid}`);
  }

  #open(): Floodlight {
    return new Floodlight(this.path, this.bus, this.#options);
  }
}

test("the messages are the proof of concept's, byte for byte", () => {
  const message = commandMessage(`${requestA}-8`, {
    command: "install",
    error: null,
    ruleid: 8,
    flowid: "test-01",
  });
  expect(message).toEqual({
    key: `${requestA}-8`,
    value: '{"flowid":"test-01","ruleid":8,"error":null,"command":"install"}',
  });
});

test("it installs, validates, removes and validates the removal", async () => {
  const bench = new Bench();
  expect(
    await bench.ask(["validate", requestA, 8], ["install", requestA, 8], ["validate", requestA, 8]),
  ).toEqual(["missing 8", "installed 8", "validated 8"]);
  expect(bench.answers[0]?.key).toBe(`${requestA}-8`);
  expect(bench.floodlight.rules("test-01")).toEqual([
    { switch: "sw-1", flowid: "test-01", ruleid: 8, cookie: requestA },
  ]);
  expect(bench.floodlight.rules("test-02")).toEqual([]);
  expect(
    await bench.ask(
      ["validate-removed", requestA, 8],
      ["remove", requestA, 8],
      ["validate-removed", requestA, 8],
    ),
  ).toEqual(["unremoved 8", "removed 8", "absent 8"]);
  expect(bench.held()).toEqual([]);
});

test("commands that come again change nothing", async () => {
  const bench = new Bench();
  expect(await bench.ask(["install", requestA, 1], ["install", requestA, 1])).toEqual([
    "installed 1",
    "installed 1",
  ]);
  expect(bench.held()).toEqual(["a1"]);
  expect(await bench.ask(["remove", requestA, 1], ["remove", requestA, 1])).toEqual([
    "removed 1",
    "removed 1",
  ]);
  expect(bench.held()).toEqual([]);
});

test("a removal removes and fences only the installs of its own request", async () => {
  const bench = new Bench();
  await bench.ask(["install", requestA, 1], ["install", requestB, 1], ["remove", requestA, 1]);
  expect(bench.held()).toEqual(["b1"]);
  expect(await bench.ask(["install", requestA, 1], ["validate", requestA, 1])).toEqual([
    "fenced 1",
    "missing 1",
  ]);
  expect(await bench.ask(["install", requestA, 2], ["install", requestB, 2])).toEqual([
    "installed 2",
    "installed 2",
  ]);
  expect(bench.held()).toEqual(["a2", "b1", "b2"]);
});

test("a removal that overtakes its install fences it all the same", async () => {
  const bench = new Bench();
  expect(await bench.ask(["remove", requestA, 3], ["install", requestA, 3])).toEqual([
    "removed 3",
    "fenced 3",
  ]);
  expect(bench.held()).toEqual([]);
});

test("what it has answered is still there when its process was killed", async () => {
  const bench = new Bench();
  const script = `
    const { LocalBus } = await import("wheelwork");
    const { Floodlight } = await import(${JSON.stringify(floodlightModule)});
    const bus = new LocalBus();
    new Floodlight(${JSON.stringify(bench.path)}, bus);
    const send = (ruleid, command) => bus.publish("worker-to-fl", {
      key: "${requestA}-" + ruleid,
      value: JSON.stringify({ flowid: "test-01", ruleid, error: null, command }),
    });
    let answers = 0;
    bus.subscribe("fl-to-worker", () => {
      answers++;
      if (answers === 1000) for (let rule = 0; rule < 500; rule++) send(rule, "remove");
      if (answers === 1500) process.kill(process.pid, "SIGKILL");
    });
    for (let rule = 0; rule < 1000; rule++) send(rule, "install");
    setInterval(() => {}, 1000);
  `;
  bench.floodlight.close();
  const child = spawnSync(process.execPath, [...process.execArgv, "--input-type=module", "--eval", script], {
    cwd: import.meta.dirname,
    encoding: "utf8",
    timeout: 15_000,
  });
  expect({ signal: child.signal, stderr: child.stderr }).toEqual({ signal: "SIGKILL", stderr: "" });
  bench.reopen();
  expect(bench.floodlight.rules().map(({ ruleid }) => ruleid)).toEqual(
    Array.from({ length: 500 }, (_, index) => 500 + index),
  );
  expect(await bench.ask(["install", requestA, 2], ["install", requestA, 500])).toEqual([
    "fenced 2",
    "installed 500",
  ]);
});

test("what is answered is stored: commands that were not stored when it closed have no answer", async () => {
  const bench = new Bench();
  bench.send("install", requestA, 1);
  await Promise.resolve();
  bench.floodlight.close();
  await bench.quiet();
  expect(bench.answers).toEqual([]);
  bench.reopen();
  expect(bench.held()).toEqual([]);
});

test("a full table refuses, and takes again what it has", async () => {
  const bench = new Bench({ switches: 2, tableSize: 1 });
  expect(
    await bench.ask(
      ["install", requestA, 0],
      ["install", requestA, 1],
      ["install", requestA, 2],
      ["install", requestA, 0],
    ),
  ).toEqual(["installed 0", "installed 1", "table-full 2", "installed 0"]);
  bench.reopen();
  expect(
    await bench.ask(["install", requestA, 3], ["remove", requestA, 1], ["install", requestA, 3]),
  ).toEqual(["table-full 3", "removed 1", "installed 3"]);
});

test("the proof of concept's error switch: a command marked IN_FL is neither done nor answered", async () => {
  const bench = new Bench();
  expect(await bench.ask(["install", requestA, 1, "IN_FL"])).toEqual([]);
  expect(bench.held()).toEqual([]);
});

test("messages that are no commands do no harm; unknown commands get the proof of concept's empty word", async () => {
  const bench = new Bench();
  const key = `${requestA}-8`;
  for (const message of [
    { key: "abc", value: "{}" },
    { key, value: "{" },
    { key, value: "null" },
    { key, value: '{"flowid":"f","ruleid":-1,"error":null,"command":"install"}' },
    { key, value: '{"flowid":"f","ruleid":1,"error":7,"command":"install"}' },
    { key, value: '{"flowid":1,"ruleid":1,"error":null,"command":"install"}' },
    { key, value: '{"flowid":"f","ruleid":8,"error":null,"command":"dance"}' },
  ]) {
    bench.bus.publish(originalTopics.commands, message);
  }
  await bench.quiet();
  expect(bench.problems).toHaveLength(6);
  expect(bench.answers).toEqual([{ key, value: " 8" }]);
});

test("many commands at once share a commit", async () => {
  let commits = 0;
  const soon = (task: () => void): void => {
    commits++;
    setImmediate(task);
  };
  const bench = new Bench({ clock: { ...systemClock, soon } });
  for (let ruleid = 0; ruleid < 10_000; ruleid++) bench.send("install", requestA, ruleid);
  while (bench.answers.length < 10_000) await bench.quiet();
  expect(commits).toBeLessThan(100);
  expect(bench.floodlight.rules()).toHaveLength(10_000);
});

test("fences are forgotten after their time, and not before", async () => {
  let now = 0;
  const bench = new Bench({ clock: { ...systemClock, wallMs: () => now }, fenceMs: 100_000 });
  await bench.ask(["remove", requestA, 1]);
  now = 90_000;
  expect(await bench.ask(["remove", requestA, 2], ["install", requestA, 1])).toEqual([
    "removed 2",
    "fenced 1",
  ]);
  now = 170_000;
  expect(
    await bench.ask(["remove", requestA, 3], ["install", requestA, 1], ["install", requestA, 2]),
  ).toEqual(["removed 3", "installed 1", "fenced 2"]);
});

test("faults come from the seed: the same seed, the same faults", () => {
  const faults: Faults = {
    latencyMs: { from: 5, to: 15 },
    loss: 0.2,
    duplicates: 0.3,
    reorder: 0.25,
    reorderMs: 40,
  };
  const draw = (seed: number) => {
    const random = seeded(seed);
    return Array.from({ length: 2000 }, () => passagesOf(faults, random));
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
  const drawn = draw(7);
  const passages = drawn.flat();
  const share = (count: number, of: number) => Math.round((count / of) * 20) / 20;
  expect(share(drawn.filter((copies) => copies.length === 2).length, drawn.length)).toBe(0.3);
  expect(share(passages.filter(({ there }) => there === undefined).length, passages.length)).toBe(0.2);
  const ways = passages.flatMap(({ there, back }) => [there, back]).filter((way) => way !== undefined);
  expect(share(ways.filter((way) => way >= 40).length, ways.length)).toBe(0.25);
  expect(ways.every((way) => way >= 2.5 && way <= 47.5)).toBe(true);
});

test("under loss, duplicates and reordering it answers what it does, and does it once", async () => {
  const faults = { latencyMs: 2, loss: 0.3, duplicates: 0.5, reorder: 0.5, reorderMs: 6 };
  const bench = new Bench({ faults, random: seeded(3) });
  const wanted = Array.from({ length: 40 }, (_, ruleid) => ruleid);
  const missing = () =>
    wanted.filter((ruleid) => !bench.answers.some(({ value }) => value === `installed ${ruleid}`));
  for (let attempt = 0; attempt < 30 && missing().length > 0; attempt++) {
    for (const ruleid of missing()) bench.send("install", requestA, ruleid);
    await sleep(20);
  }
  expect(missing()).toEqual([]);
  expect(bench.held()).toEqual(wanted.map((ruleid) => `a${ruleid}`));
});
