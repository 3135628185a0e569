import { end, hub, spoke } from "@wheelwork/core";
import { relay, systemClock, type Message } from "@wheelwork/engine";
import { clusterTopics, createNode, type Channel } from "@wheelwork/engine/cluster";
import { inboxMessage } from "@wheelwork/engine/parts";
import { MemoryBroker, MemoryLog, MemoryStore } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { Witness } from "./attack.ts";

// Whatever headers a record has: what it asks for is done, or it is a dead letter, once. No shard stops.

const large = "x".repeat(900_000);
const parent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
/** Bytes that are no UTF-8, as the adapter of Kafka reads them. */
const noUtf8 = "\udc80\udcff";

const headers: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  none: {},
  "empty name": { "": "x" },
  "empty value": { a: "", traceparent: "", "correlation-id": "" },
  NUL: { "a\0": "b\0" },
  "no UTF-8": { [noUtf8]: noUtf8, traceparent: noUtf8, "correlation-id": noUtf8 },
  prototypes: JSON.parse('{"__proto__":"a","constructor":"b","toString":"c","hasOwnProperty":"d"}') as never,
  many: Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`h${n}`, "v"])),
  "large value": { a: large },
  "large name": { [large]: "a" },
  "traceparent of nonsense": { traceparent: "nonsense", tracestate: "a=b" },
  "large traceparent": { traceparent: parent + large },
  "traceparent of zeros": { traceparent: `00-${"0".repeat(32)}-${"0".repeat(16)}-00` },
  "odd tracestate": { traceparent: parent, tracestate: `a=${noUtf8}\0\n` },
  "large tracestate": { traceparent: parent, tracestate: large },
  "another correlation": { "correlation-id": "0.1.1.1.work", attempt: "x", deadline: "NaN" },
  "a large correlation": { "correlation-id": `0.1.1.1.${large}` },
  "a forged dead letter": {
    "dlt-reason": "forged",
    "dlt-topic": "nowhere",
    "dlt-partition": "-1",
    "dlt-offset": "x",
  },
  "a forged short letter": { "dlt-short": "true" },
  "a large forged letter": { "dlt-more": `${large}${"y".repeat(1000)}` },
  "forged replies": {
    "reply-to": "nowhere",
    "reply-partition": "1e9",
    ce_id: "x",
    "idempotency-key": "\ud83d",
  },
};
/** Those that say what the record is. */
const typed: typeof headers = {
  "another type": { ce_type: "wheelwork.response" },
  "an unknown type": { ce_type: large },
  "an empty type": { ce_type: "" },
};

const asked = z.object({ kind: z.string() });
const mail = spoke("mail", { input: asked, output: z.object({}), timeoutMs: 30_000 });
const mailed = hub(
  "mailed",
  {
    request: asked,
    reply: z.object({}),
    errors: ["lost"],
    deadlineMs: 60_000,
    chart: { Mail: { Ok: "Done", Late: "Lost" }, Done: end, Lost: end },
    data: (request: z.infer<typeof asked>) => request,
  },
  {
    Mail: (s) => s.call(mail, { input: (data) => data, ok: "Ok", failed: "Late", deadline: "Late" }),
    Done: () => ({}),
    Lost: (_data, s) => s.fail("lost", "the message back has not come"),
  },
);

test("a record with any headers is done, or a dead letter, once, and stops no shard", async () => {
  const shards = 2;
  const inbox = "wheelwork-inbox";
  const channel: Channel = {
    name: "ch",
    from: "ch-in",
    to: "ch-out",
    hub: "mailed",
    request: ({ value }) => JSON.parse(value) as unknown,
    answer: ({ kind }) => ({ value: kind }),
  };
  const all = { ...headers, ...typed };
  const kinds = Object.keys(all);
  const sent: (readonly [topic: string, message: Message])[] = [];
  /** The keys of the dead letters. */
  const expected: string[] = [];
  for (const [index, kind] of kinds.entries()) {
    const given = all[kind] as Readonly<Record<string, string>>;
    const request = { kind };
    const entry = inboxMessage(`i-${index}`, { type: "request", hub: "mailed", request });
    sent.push(
      ["ch-in", { key: `c ${kind}`, value: JSON.stringify(request), headers: given }],
      ["ch-in", { key: `b ${kind}`, value: "{", headers: given }],
      [inbox, { ...entry, headers: { ...entry.headers, ...given } }],
      [inbox, { key: `n-${index}`, value: "nonsense", headers: given }],
    );
    expected.push(`n-${index}`);
    if (Object.hasOwn(typed, kind)) expected.push(`i-${index}`);
  }
  // A broker that takes the largest of them, and not a byte more: a letter with all that its record has is too large.
  const bytesOf = ({ key, value, headers: of }: Message): number =>
    Buffer.byteLength(JSON.stringify([key, value, of]));
  const maxBytes = Math.max(...sent.map(([, message]) => bytesOf(message)));
  const broker = new MemoryBroker({ clock: systemClock, maxBytes });
  for (const { name, partitions = shards } of clusterTopics({ shards, channels: [channel] }))
    broker.createTopic(name, partitions);
  for (const topic of ["out", "back"]) broker.createTopic(topic, 2);
  const log = new MemoryLog(broker, { clock: systemClock });
  // The message back has the headers that its request asks for.
  log.subscribe("out", ({ key, value }) => {
    const { id, kind } = JSON.parse(value) as { readonly id: string; readonly kind: string };
    void log.publish("back", { key, value: JSON.stringify({ id }), headers: all[kind] ?? {} });
  });
  const witness = new Witness();
  const failures: Error[] = [];
  const disks = Array.from({ length: shards }, () => new MemoryStore());
  const node = createNode({
    hubs: [mailed],
    workers: [
      relay(mail, {
        to: "out",
        from: "back",
        send: ({ kind }, { requestId, idempotencyKey }) => ({
          key: idempotencyKey,
          value: JSON.stringify({ id: requestId, kind }),
        }),
        receive: ({ key }) => ({ correlation: key, outcome: { kind: "ok", output: {} } }),
        request: ({ value }) => (JSON.parse(value) as { readonly id: string }).id,
      }),
    ],
    shards,
    store: (shard) => (disks[shard] as MemoryStore).reopen(),
    log: new MemoryLog(broker, { clock: systemClock }),
    channels: [channel],
    observe: witness.observe,
    onFailure: (error) => void failures.push(error),
  });
  await node.start();
  onTestFinished(() => node.stop({ drainMs: 0 }));
  for (const [topic, message] of sent) await log.append(topic, message);
  // Each record of the channel has one answer.
  const answers = (): string[] => broker.records("ch-out").map(({ key, value }) => `${key}: ${value}`);
  const wanted = kinds.flatMap((kind) => [`c ${kind}: result`, `b ${kind}: error`]).toSorted();
  await expect.poll(() => answers().toSorted(), { timeout: 60_000 }).toEqual(wanted);
  for (const [index, kind] of Object.keys(headers).entries())
    expect(await node.answer(`i-${index}`, { waitMs: 30_000 }), kind).toEqual({ kind: "result", value: {} });
  // All others are dead letters that say what they are, and where they were.
  const buried = (): string[] => broker.records(`${inbox}-dlt`).map(({ key }) => key);
  await expect.poll(() => buried().toSorted(), { timeout: 20_000 }).toEqual(expected.toSorted());
  const listed = (await node.deadLetters({ topic: inbox, limit: 500 })).letters;
  expect(listed.length).toBe(expected.length);
  for (const { reason, origin } of listed) {
    expect(reason).toMatch(/WW_INVALID_REQUEST|an inbox takes|JSON/);
    expect(broker.records(inbox)).toContainEqual(expect.objectContaining(origin));
  }
  expect(witness.harms).toEqual([]);
  expect(witness.claims).toBe(shards);
  expect(failures).toEqual([]);
});
