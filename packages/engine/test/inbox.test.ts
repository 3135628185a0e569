import type { Outcome } from "@wheelwork/core";
import type { LogRecord } from "@wheelwork/engine/cluster";
import { inboxMessage, readInbox, type InboxEntry } from "@wheelwork/engine/parts";
import { expect, test } from "vitest";
import { approved, outside, workersOf } from "./hubs.ts";
import { Nodes } from "./nodes.ts";

const record = (value: string, headers: Record<string, string> = {}): LogRecord => ({
  topic: "wheelwork-inbox",
  partition: 0,
  offset: 0,
  key: "k",
  value,
  headers,
  timestampMs: 0,
});

const outcome: Outcome = { kind: "ok", output: { n: 1 } };
const origin = { topic: "in", partition: 1, offset: 2 };
const entries: readonly InboxEntry[] = [
  { type: "request", hub: "h", request: { n: 1 }, deadlineMs: 5, replyTo: "channel", origin },
  { type: "request", hub: "h", request: null },
  { type: "command", input: { kind: "signal", id: "1", signal: "go", payload: {} } },
  { type: "command", input: { kind: "cancel", id: "2" } },
  { type: "command", input: { kind: "retry", id: "3" } },
  { type: "command", input: { kind: "resolve", id: "4", message: "done by hand" } },
  { type: "relayReply", spoke: "s", correlation: "c", outcome },
];

test.each(entries)("an entry is read as it was written, with headers and without: %j", (entry) => {
  const { key, value, headers = {} } = inboxMessage("k", entry);
  expect(key).toBe("k");
  expect(readInbox(record(value, headers))).toEqual(entry);
  expect(readInbox(record(value))).toEqual(entry);
});

test("a command for a run that a request has begun names the run, under the key of the request", () => {
  const {
    key,
    value,
    headers = {},
  } = inboxMessage("k/7", { type: "command", input: { kind: "cancel", id: "1" } });
  expect(key).toBe("k");
  expect(readInbox(record(value, headers))).toMatchObject({ run: "k/7" });
});

test("the names on the wire stay as they were: records of earlier versions may wait in an inbox", () => {
  const names = entries.map((entry) => inboxMessage("k", entry).headers?.["ce_type"]);
  expect([...new Set(names)]).toEqual(["wheelwork.request", "wheelwork.command", "wheelwork.heard"]);
  const value = '{"type":"heard","spoke":"s","correlation":"c","outcome":{"kind":"ok","output":{"n":1}}}';
  expect(readInbox(record(value))).toEqual(entries.at(-1));
});

test("a response tells an output or an error; an error that is null is none", () => {
  const headers = { ce_type: "wheelwork.response", "correlation-id": "t2/3.4.5.some.spoke" };
  const place = { type: "response", run: "k/t2", spoke: "some.spoke", call: 3, attempt: 4, epoch: 5 };
  for (const value of ['{"output":7}', '{"output":7,"error":null}'])
    expect(readInbox(record(value, headers))).toEqual({ ...place, outcome: { kind: "ok", output: 7 } });
  expect(readInbox(record('{"error":{"code":"refused"}}', headers))).toMatchObject({
    outcome: { kind: "error", code: "refused", message: "" },
  });
});

test("a response names its run by the time at which it was created; those of earlier versions do not", () => {
  const value = '{"output":7}';
  const ofId = (id: string): object =>
    readInbox(record(value, { ce_type: "wheelwork.response", "correlation-id": id }));
  const place = { type: "response", spoke: "some.9.spoke", call: 3, attempt: 4, epoch: 5 };
  const outcome = { kind: "ok", output: 7 };
  expect(ofId("3.4.5.1767225600000.some.9.spoke")).toEqual({ ...place, since: 1_767_225_600_000, outcome });
  expect(ofId("3.4.5.some.9.spoke")).toEqual({ ...place, outcome });
});

/** Records that are no entries, and what their dead letters say. */
const broken = [
  ["no JSON", /no message of the type \(none\)/],
  ["[]", /no message of the type \(none\)/],
  ['{"type":"dance"}', /no message of the type \(none\)/],
  ['{"type":"request","request":{}}', /lacks the name of its hub/],
  ['{"type":"request","hub":"approved","request":{"n":1,"withinMs":9},"deadlineMs":"soon"}', /deadlineMs/],
  ['{"type":"request","hub":"approved","request":{"n":1,"withinMs":9},"deadlineMs":-1}', /deadlineMs/],
  ['{"type":"request","hub":"approved","request":{"n":1,"withinMs":9},"replyTo":7}', /replyTo/],
  ['{"type":"command"}', /lacks what it asks for/],
  ['{"type":"command","input":null}', /lacks what it asks for/],
  ['{"type":"command","input":{"kind":"cancel"}}', /lacks what it asks for/],
  ['{"type":"command","input":{"kind":"signal","id":"1"}}', /lacks what it asks for/],
  ['{"type":"command","input":{"kind":"callDue","call":0,"id":"1"}}', /lacks what it asks for/],
  ['{"type":"command","input":{"kind":"cancel","id":"1"},"run":7}', /run of a command/],
  ['{"type":"heard","outcome":{}}', /spoke or its correlation/],
  ['{"type":"response","output":1}', /lacks the correlation-id/],
] as const;

test.each(broken)("%s is no entry", (value, reason) => {
  expect(() => readInbox(record(value))).toThrow(reason);
});

test.each(["", "a/b", "a b", "x".repeat(201)])("a request cannot have the key '%s' in an inbox", (key) => {
  const value = '{"type":"request","hub":"approved","request":{"n":1,"withinMs":9}}';
  expect(() => readInbox({ ...record(value), key })).toThrow(/key of a request cannot be stored/);
});

test("what is no entry becomes a dead letter, and keeps its shard from nothing", async () => {
  const system = new Nodes({
    shards: 1,
    hub: approved,
    workers: (process) => workersOf(outside())((ms) => process.sleep(ms)),
  });
  const { signals } = await system.node(1);
  await system.ask("k", { n: 1, withinMs: 1_000_000 });
  const values = broken.map(([value]) => value);
  for (const value of values)
    for (const key of ["k", "another"])
      await system.clock.runUntil(system.outside.append("wheelwork-inbox", { key, value }, 0), 1000);
  await system.ask("last", { n: 1, withinMs: 10 });
  expect(await system.answered("last")).toHaveLength(1);
  await system.clock.advance(1000);
  const letters = system.broker.records("wheelwork-inbox-dlt");
  expect(letters.map(({ value }) => value)).toEqual(values.flatMap((value) => [value, value]));
  const kinds = new Set(signals.map(({ name }) => name));
  for (const kind of ["incident", "store-lost"] as const) expect(kinds).not.toContain(kind);
  expect(system.broker.records("out").map(({ key }) => key)).toEqual(["last"]);
});
