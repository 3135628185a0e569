import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  array,
  assert,
  asyncProperty,
  constantFrom,
  integer,
  nat,
  oneof,
  property,
  record,
  string,
} from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  FailTuple,
  frame,
  FrameReader,
  runBolt,
  runSpout,
  type Bolt,
  type Context,
  type Output,
  type Spout,
  type Tuple,
  type Wire,
} from "@wheelwork/storm/multilang";

let pidDir: string;
beforeEach(() => void (pidDir = mkdtempSync(join(tmpdir(), "wheelwork-multilang-"))));
afterEach(() => rmSync(pidDir, { recursive: true, force: true }));

/** Storm's side of the two pipes. */
class Storm implements Wire {
  readonly said: Record<string, unknown>[] = [];
  readonly reader = new FrameReader();
  exited: number | undefined = undefined;
  paused = false;
  /** Writes that wait while Storm does not read. */
  held: (() => void)[] | undefined = undefined;
  #take: (chunk: Buffer | undefined) => void = () => {};

  read(take: (chunk: Buffer | undefined) => void): void {
    this.#take = take;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  write(data: Buffer, done: () => void): void {
    const taken = (): void => {
      for (const message of this.reader.feed(data)) this.said.push(message as Record<string, unknown>);
      done();
    };
    if (this.held === undefined) taken();
    else this.held.push(taken);
  }
  after(ms: number, task: () => void): void {
    setTimeout(task, ms).unref();
  }
  exit(code: number): void {
    this.exited ??= code;
  }
  /** Throws where nobody catches it. */
  throws: (error: unknown) => void = () => {};
  uncaught(take: (error: unknown) => void): void {
    this.throws = take;
  }
  send(...messages: object[]): this {
    for (const message of messages) this.#take(Buffer.from(`${JSON.stringify(message)}\nend\n`));
    return this;
  }
  end(): void {
    this.#take(undefined);
  }
  handshake(components: Record<number, string>, taskid: number): this {
    const context = { "task->component": components, taskid, componentid: components[taskid] };
    return this.send({ pidDir, conf: { secret: "of the conf" }, context });
  }
  /** What was said, once `count` messages were. */
  async heard(count: number): Promise<readonly Record<string, unknown>[]> {
    await vi.waitUntil(() => this.said.length >= count, { timeout: 120_000, interval: 2 });
    return this.said;
  }
}

const tuple = (id: string, ...values: unknown[]): object => ({
  id,
  comp: "words",
  stream: "default",
  task: 1,
  tuple: values,
});
const heartbeat = { id: "h", comp: "__system", stream: "__heartbeat", task: -1, tuple: [] };

describe("frames", () => {
  test("survive any split, any Unicode and any size", () => {
    const value = oneof(string({ unit: "binary" }), string({ unit: "grapheme" }), integer());
    assert(
      property(
        array(record({ id: value, text: value }), { minLength: 1, maxLength: 8 }),
        array(nat(400), { maxLength: 40 }),
        (messages, cuts) => {
          const bytes = Buffer.from(messages.map((message) => frame(message)).join(""));
          const reader = new FrameReader();
          const got: unknown[] = [];
          let from = 0;
          for (const cut of cuts) {
            got.push(...reader.feed(bytes.subarray(from, from + cut)));
            from += cut;
          }
          got.push(...reader.feed(bytes.subarray(from)));
          expect(got).toEqual(JSON.parse(JSON.stringify(messages)));
        },
      ),
    );
  });

  test("of 300 kB come through byte by byte chunks, and in one", () => {
    const message = { text: "é\n€end\n𝄞".repeat(30_000) };
    const bytes = Buffer.from(frame(message));
    expect(bytes.length).toBeGreaterThan(300_000);
    for (const size of [bytes.length, 65_536, 4093]) {
      const reader = new FrameReader();
      const got: unknown[] = [];
      for (let from = 0; from < bytes.length; from += size)
        got.push(...reader.feed(bytes.subarray(from, from + size)));
      expect(got).toEqual([message]);
    }
  });

  test("hold no raw U+007F, which Storm's parser refuses", () => {
    expect(frame({ text: "\u007F" })).toBe('{"text":"\\u007f"}\nend\n');
  });
});

const streams = { default: ["word"], long: ["word", "length"] } as const;

describe("a bolt", () => {
  test("shakes hands, answers heartbeats, emits before it acks, and says what went wrong: golden transcript", async () => {
    const storm = new Storm();
    const contexts: Context[] = [];
    const bolt: Bolt<typeof streams> = {
      streams,
      open: (context) => void contexts.push(context),
      execute: (given, output) => {
        const [word] = given.values as [string];
        if (word === "throws") throw new Error("no such word");
        if (word === "again") throw new FailTuple("later");
        output.emit("long", [word, word.length], [given]);
        if (word === "log") output.log("a line", "warn");
        return word === "late" ? new Promise((resolve) => void setImmediate(resolve)) : undefined;
      },
    };
    runBolt(bolt, storm);
    storm
      .handshake({ 7: "count", 3: "words", 5: "count" }, 7)
      .send(heartbeat, tuple("1", "one"), [3, 4], tuple("2", "late"), tuple("3", "log"), tuple("4", "again"))
      .send(tuple("5", "throws"), {
        id: "t",
        comp: "__system",
        stream: "__tick",
        task: -1,
        tuple: [1],
      });
    await storm.heard(13);
    expect(readdirSync(pidDir)).toEqual([String(process.pid)]);
    expect(contexts).toHaveLength(1);
    expect(contexts[0]).toMatchObject({ component: "count", task: 7, index: 1 });
    expect(contexts[0]?.tasksOf("count")).toEqual([5, 7]);
    expect(contexts[0]?.tasksOf("nobody")).toEqual([]);
    const emitted = (word: string, anchor: string): object => ({
      command: "emit",
      tuple: [word, word.length],
      anchors: [anchor],
      stream: "long",
      need_task_ids: false,
    });
    const order = storm.said.filter(({ command }) => command !== "error");
    expect(order).toEqual([
      { pid: process.pid },
      { command: "sync" },
      { command: "ack", id: "t" },
      emitted("one", "1"),
      { command: "ack", id: "1" },
      emitted("late", "2"),
      emitted("log", "3"),
      { command: "log", msg: "a line", level: 3 },
      { command: "ack", id: "3" },
      { command: "fail", id: "4" },
      { command: "fail", id: "5" },
      { command: "ack", id: "2" },
    ]);
    expect(storm.said.filter(({ command }) => command === "error")).toEqual([
      { command: "error", msg: expect.stringContaining("no such word") as string },
    ]);
    expect(JSON.stringify(storm.said)).not.toContain("of the conf");
  });

  test("settles each tuple exactly once, after its emits, whatever its handler does", async () => {
    const what = constantFrom("ack", "throw", "reject", "later", "emit later", "again");
    await assert(
      asyncProperty(array(what, { minLength: 1, maxLength: 30 }), async (plan) => {
        const storm = new Storm();
        const kept: { tuple: Tuple; output: Output<typeof streams> }[] = [];
        runBolt(
          {
            streams,
            execute: (given, output) => {
              const does = given.values[0];
              kept.push({ tuple: given, output });
              output.emit("default", [does ?? null], [given]);
              if (does === "throw") throw new Error("thrown");
              if (does === "again") throw new FailTuple("again");
              if (does === "reject") return Promise.reject(new Error("rejected"));
              if (does === "later" || does === "emit later")
                return new Promise((resolve) => {
                  setImmediate(() => {
                    if (does === "emit later") output.emit("default", ["late"], [given]);
                    resolve();
                  });
                });
              return undefined;
            },
          },
          storm,
        );
        storm.handshake({ 1: "bolt" }, 1).send(...plan.map((does, id) => tuple(String(id), does)));
        const settled = (): Record<string, unknown>[] =>
          storm.said.filter(({ command }) => command === "ack" || command === "fail");
        await expect.poll(() => settled().length, { interval: 1 }).toBe(plan.length);
        // An anchor that is settled already is left out, since it would kill the worker.
        for (const { tuple: late, output } of kept) output.emit("default", ["too late"], [late]);
        await new Promise((resolve) => void setImmediate(() => setImmediate(resolve)));
        expect(settled()).toHaveLength(plan.length);
        const open = new Set(plan.map((_does, id) => String(id)));
        const problems = storm.said.flatMap(({ command, id, anchors }): unknown[] => {
          if (command === "emit") return (anchors as string[]).filter((anchor) => !open.has(anchor));
          if (command !== "ack" && command !== "fail") return [];
          const fails = ["throw", "reject", "again"].includes(plan[Number(id)] ?? "");
          return open.delete(id as string) && (command === "fail") === fails ? [] : [id];
        });
        expect(problems).toEqual([]);
        expect(open.size).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  test("gets no tuple before it is open, and ends when it cannot be opened", async () => {
    const storm = new Storm();
    const opening = Promise.withResolvers<void>();
    const got: unknown[] = [];
    runBolt(
      { streams, open: () => opening.promise, execute: ({ values }) => void got.push(values[0]) },
      storm,
    );
    storm.handshake({ 1: "bolt" }, 1).send(tuple("1", "early"), heartbeat);
    expect(await storm.heard(2)).toEqual([{ pid: process.pid }, { command: "sync" }]);
    expect(got).toEqual([]);
    opening.resolve();
    await storm.heard(3);
    expect(got).toEqual(["early"]);
    const broken = new Storm();
    runBolt({ streams, open: () => Promise.reject(new Error("no database")), execute: () => {} }, broken);
    broken.handshake({ 1: "bolt" }, 1);
    await expect.poll(() => broken.exited).toBe(1);
    expect(JSON.stringify(broken.said)).toContain("no database");
  });

  test("goes on when something is thrown where nobody catches it: what was under way is failed, once", async () => {
    const storm = new Storm();
    const finish: (() => void)[] = [];
    const caught: unknown[] = [];
    runBolt(
      {
        streams,
        execute: () => new Promise<void>((resolve) => void finish.push(resolve)),
        uncaught: (error) => void caught.push(error),
      },
      storm,
    );
    storm.handshake({ 1: "bolt" }, 1).send(tuple("1", "a"), tuple("2", "b"));
    await storm.heard(1);
    finish[0]?.();
    await storm.heard(2);
    const error = new Error("thrown by a timer");
    storm.throws(error);
    finish[1]?.();
    storm.send(tuple("3", "c"), heartbeat);
    finish[2]?.();
    expect(await storm.heard(6)).toEqual([
      { pid: process.pid },
      { command: "ack", id: "1" },
      { command: "error", msg: expect.stringContaining("thrown by a timer") as string },
      { command: "fail", id: "2" },
      { command: "sync" },
      { command: "ack", id: "3" },
    ]);
    expect(caught).toEqual([error]);
    expect(storm.exited).toBeUndefined();
    const hopeless = new Storm();
    const again = (): void => {
      throw new Error("and again");
    };
    runBolt({ streams, execute: () => {}, uncaught: again }, hopeless);
    hopeless.handshake({ 1: "bolt" }, 1).throws(error);
    await expect.poll(() => hopeless.exited).toBe(1);
    expect(JSON.stringify(hopeless.said)).toContain("and again");
  });

  test("reads no more while Storm does not take what it says", async () => {
    const storm = new Storm();
    runBolt({ streams, execute: (_given, output) => output.emit("default", ["x".repeat(100_000)]) }, storm);
    storm.handshake({ 1: "bolt" }, 1);
    await storm.heard(1);
    storm.held = [];
    for (let id = 0; id < 60; id++) storm.send(tuple(String(id), "word"));
    expect(storm.paused).toBe(true);
    const { held } = storm;
    storm.held = undefined;
    await new Promise((resolve) => void setImmediate(resolve));
    for (const taken of held) taken();
    await storm.heard(1 + 120);
    expect(storm.paused).toBe(false);
  });

  test("ends with Storm, after it has closed what it uses", async () => {
    const storm = new Storm();
    let closed = 0;
    runBolt({ streams, execute: () => {}, close: () => void closed++ }, storm);
    storm.handshake({ 1: "bolt" }, 1);
    await storm.heard(1);
    storm.end();
    await expect.poll(() => storm.exited).toBe(0);
    expect(closed).toBe(1);
  });
});

test("a spout answers each command with one sync, after what it emits: golden transcript", async () => {
  const storm = new Storm();
  const happened: string[] = [];
  const spout: Spout<typeof streams> = {
    streams,
    next: async (output) => {
      await new Promise((resolve) => void setImmediate(resolve));
      output.emit("default", ["with id"], "7");
      output.emit("long", ["without", 7]);
    },
    ack: (id) => void happened.push(`ack ${id}`),
    fail: (id) => {
      happened.push(`fail ${id}`);
      throw new Error("cannot be sent again");
    },
    activate: () => void happened.push("activate"),
    deactivate: () => void happened.push("deactivate"),
  };
  runSpout(spout, storm);
  storm
    .handshake({ 1: "spout" }, 1)
    .send({ command: "activate" }, { command: "next" }, { command: "ack", id: "7" })
    .send({ command: "fail", id: "8" }, { command: "deactivate" });
  expect(await storm.heard(9)).toEqual([
    { pid: process.pid },
    { command: "sync" },
    { command: "emit", tuple: ["with id"], stream: "default", need_task_ids: false, id: "7" },
    { command: "emit", tuple: ["without", 7], stream: "long", need_task_ids: false },
    { command: "sync" },
    { command: "sync" },
    { command: "error", msg: expect.stringContaining("cannot be sent again") as string },
    { command: "sync" },
    { command: "sync" },
  ]);
  expect(happened).toEqual(["activate", "ack 7", "fail 8", "deactivate"]);
});

test("a spout whose work was broken off by what nobody caught still answers, and goes on", async () => {
  const storm = new Storm();
  let asked = 0;
  runSpout(
    {
      streams,
      next: (output) => (asked++ === 0 ? new Promise(() => {}) : output.emit("default", ["next"])),
    },
    storm,
  );
  storm.handshake({ 1: "spout" }, 1).send({ command: "next" });
  await storm.heard(1);
  await expect.poll(() => asked).toBe(1);
  storm.throws(new Error("thrown by a timer"));
  storm.send({ command: "next" });
  expect(await storm.heard(5)).toEqual([
    { pid: process.pid },
    { command: "error", msg: expect.stringContaining("thrown by a timer") as string },
    { command: "sync" },
    { command: "emit", tuple: ["next"], stream: "default", need_task_ids: false },
    { command: "sync" },
  ]);
});
