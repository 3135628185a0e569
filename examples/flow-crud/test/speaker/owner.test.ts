// One switch controller drives the switches. What another one says, which has lost them and may not know it, counts no more.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { LocalBus, type Message } from "wheelwork";
import type { SpeakerAnswer, SpeakerCommand } from "../../src/controller/speaker.ts";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import { isSuperseded, type BookMark, type NetworkEvent } from "../../src/controller/store.ts";
import { beginBook, lockFolder } from "../../src/data-folder.ts";
import { AddressBook } from "../../src/floodlight/address-book.ts";
import { RemoteSpeaker, SpeakerService, speakerTopics } from "../../src/floodlight/speaker-wire.ts";
import { build, id, linkEvent, square, switchEvent } from "../controller/network.ts";

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-owner-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Two books on machines with clocks of their own, beside one store. */
function stage() {
  const folder = newFolder();
  const store = new SqliteFlowStore(join(folder, "flows.db"), { durability: "normal" });
  onTestFinished(() => store.close());
  const book = (name: string, wallMs: number): AddressBook => {
    const options = { durability: "normal", fenceMs: 10_000, soon: setImmediate } as const;
    const made = new AddressBook({ ...options, path: join(folder, `${name}.db`), wallMs: () => wallMs });
    onTestFinished(() => made.close());
    return made;
  };
  return { store, book };
}

const begin = { command: "rebuild", rebuild: true };

test("an owner has a higher generation than those before it, also if its clock is behind theirs", async () => {
  const { store, book } = stage();
  const [first, second] = [book("first", 2_000_000), book("second", 1_000_000)];
  const one = await beginBook(first, store, begin);
  // It takes the switches in the next one.
  const used = first.nextGeneration();
  const other = await beginBook(second, store, begin);
  expect(second.nextGeneration()).toBeGreaterThan(used);
  expect(await store.lastBook()).toEqual(other);
  expect([isSuperseded(one, other), isSuperseded(other, other)]).toEqual([true, false]);
  // The same book, opened again: its former process is no owner either.
  const again = await beginBook(second, store, begin);
  expect([isSuperseded(other, again), isSuperseded(again, again)]).toEqual([true, false]);
});

test("an event of one who drives the switches no more changes nothing, and concerns no flow", async () => {
  const { store, book } = stage();
  await build(store, 4, square);
  const one = await beginBook(book("first", 1_000), store, begin);
  const other = await beginBook(book("second", 2_000), store, begin);
  const events: readonly NetworkEvent[] = [
    switchEvent(1, false),
    linkEvent({ ends: [1, 2] }, false),
    { kind: "port", switchId: id(1), port: 5, name: "p5", isUp: true, speedKbps: 1 },
  ];
  const seen = async () => ({ switches: await store.switches(), links: await store.links() });
  const before = await seen();
  for (const event of events) expect(await store.note({ ...event, by: one })).toEqual([]);
  expect(await seen()).toEqual(before);
  for (const event of events) {
    const known = await seen();
    await store.note({ ...event, by: other });
    expect([event.kind, await seen()]).not.toEqual([event.kind, known]);
  }
});

const command: SpeakerCommand = { command: "remove", switchId: id(1), seq: 1, rules: [] };

test("an answer of one who drives the switches no more is not taken for that of the owner, which may come later", async () => {
  const bus = new LocalBus();
  const topics = speakerTopics();
  const [stale, owner]: BookMark[] = [
    { name: "first", generation: 1 },
    { name: "second", generation: 2 },
  ];
  const commands: Message[] = [];
  bus.subscribe(topics.speakerCommands, (message) => void commands.push(message));
  const gate = Promise.withResolvers<SpeakerAnswer>();
  const speaking = (by: BookMark | undefined, answer: SpeakerAnswer | Promise<SpeakerAnswer>) => {
    const speaker = { execute: () => Promise.resolve(answer), unconfirmed: () => ({ count: 0, rules: [] }) };
    const service = new SpeakerService({ bus, topics, speaker, ...(by === undefined ? {} : { by }) });
    onTestFinished(() => service.close());
  };
  speaking(stale, { answer: "done", unconfirmed: 3 });
  speaking(owner, gate.promise);
  const problems: string[] = [];
  let asked = 0;
  const store = { last: (): Promise<BookMark | undefined> => Promise.resolve(owner) };
  const remote = new RemoteSpeaker({
    bus,
    topics,
    timeoutMs: 60_000,
    lastBook: () => {
      asked++;
      return store.last();
    },
    onProblem: (problem) => void problems.push(problem),
  });
  onTestFinished(() => remote.close());
  const told: unknown[] = [];
  const calls = Array.from({ length: 20 }, () => remote.execute(command).then((answer) => told.push(answer)));
  await expect.poll(() => problems.length).toBe(20);
  expect([told, commands.length]).toEqual([[], 20]);
  expect(problems[0]).toMatch(/^an answer of a switch controller that has lost its switches/);
  gate.resolve({ answer: "done", unconfirmed: 0 });
  await Promise.all(calls);
  expect(told).toEqual(Array.from(calls, () => ({ answer: "done", unconfirmed: 0 })));
  // Those that come together are asked about together.
  expect(asked).toBeLessThan(20);

  // If nobody can say whose it is, nobody knows what has come of the command.
  problems.length = 0;
  store.last = () => Promise.reject(new Error("away"));
  const unknown = remote.execute(command);
  await expect.poll(() => problems.length).toBe(2);
  remote.close();
  expect(await unknown).toBeUndefined();
});

test("a folder belongs to one process, until that has ended", () => {
  const folder = newFolder();
  const lock = lockFolder(folder);
  expect(() => lockFolder(folder)).toThrow(/^WW_STORE_LOCKED: .* is in use by another Floodlight/);
  lock.close();
  lockFolder(folder).close();
  expect(() => lockFolder(join(folder, "none"))).toThrow(/^WW_STORE_UNAVAILABLE: .* cannot be locked/);
});
