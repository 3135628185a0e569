import { seededRandom } from "@wheelwork/testing";
import { expect, test } from "vitest";
import { EventReader, eventsIn, type ServerSentEvent } from "../src/sse.ts";

/** Streams, and the events that the HTML standard makes of them. */
const streams: readonly (readonly [title: string, text: string, events: readonly ServerSentEvent[]])[] = [
  [
    "what our server sends",
    'id: 7.1\ndata: {"n":1}\n\nid: 7.2\n\n',
    [{ id: "7.1", data: '{"n":1}' }, { id: "7.2" }],
  ],
  ["several lines of data", "data: a\ndata:\ndata: b\n\n", [{ data: "a\n\nb" }]],
  ["one blank belongs to the colon", "data:a\ndata:  b\n\n", [{ data: "a\n b" }]],
  ["a field without a colon is empty", "data\n\n", [{ data: "" }]],
  ["comments, and what is not known", ": beat\nretry: 5\nother: x\ndata: a\n\n:\n\n", [{ data: "a" }]],
  ["a colon in the value", "data: a: b\n\n", [{ data: "a: b" }]],
  ["names", "event: problem\ndata: {}\n\ndata: x\n\n", [{ event: "problem", data: "{}" }, { data: "x" }]],
  [
    "lines that end with CR LF",
    "id: 1\r\ndata: a\r\n\r\ndata: b\r\n\r\n",
    [{ id: "1", data: "a" }, { data: "b" }],
  ],
  ["lines that end with CR", "id: 1\rdata: a\r\rdata: b\r\r", [{ id: "1", data: "a" }, { data: "b" }]],
  ["all three ends", "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\r", [{ data: "a\nb\nc" }, { data: "d" }]],
  ["a mark of the byte order", "\uFEFFdata: a\n\ndata: \uFEFF\n\n", [{ data: "a" }, { data: "\uFEFF" }]],
  ["characters of several bytes", "data: ü€\u{1F600}\nid: ÿ\n\n", [{ id: "ÿ", data: "ü€\u{1F600}" }]],
  ["an id with a NUL is none", "id: a\0\ndata: x\n\n", [{ data: "x" }]],
  ["an event that the end cuts off", "data: a\n\ndata: b\n", [{ data: "a" }]],
  ["nothing", "", []],
  ["empty lines", "\n\n\r\n", []],
];

/** The bytes in parts. */
const bodyOf = (parts: readonly Uint8Array[]): Pick<Response, "body"> =>
  new Response(
    new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        for (const part of parts) controller.enqueue(new Uint8Array(part));
        controller.close();
      },
    }),
  );

async function read(parts: readonly Uint8Array[]): Promise<ServerSentEvent[]> {
  const events: ServerSentEvent[] = [];
  for await (const event of eventsIn(bodyOf(parts))) events.push(event);
  return events;
}

test.each(streams)("%s: the same events, wherever the stream is cut", async (_title, text, events) => {
  const bytes = new TextEncoder().encode(text);
  expect(await read([bytes])).toEqual(events);
  // Each byte alone, and each pair of parts.
  expect(await read(Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)))).toEqual(events);
  for (let cut = 0; cut <= bytes.length; cut++)
    expect(await read([bytes.subarray(0, cut), bytes.subarray(cut)]), `cut at ${cut}`).toEqual(events);
});

test("many events, cut at random", () => {
  const seed = 1 + Math.floor(1e6 * Math.random());
  const random = seededRandom(seed);
  const ends = ["\n", "\r\n", "\r"];
  const events: ServerSentEvent[] = [];
  let text = "";
  for (let n = 0; n < 500; n++) {
    const end = random.pick(ends);
    const lines = Array.from({ length: 1 + random.int(3) }, () => "x: ".repeat(random.int(40)));
    text += `id: ${n}${end}${lines.map((line) => `data: ${line}${end}`).join("")}${end}`;
    // CR and LF of two lines would be one end.
    if (end === "\r") text += `:${end}`;
    events.push({ id: `${n}`, data: lines.join("\n") });
  }
  const reader = new EventReader();
  const found: ServerSentEvent[] = [];
  for (let from = 0; from < text.length;) {
    const length = random.int(60);
    found.push(...reader.read(text.slice(from, from + length)));
    from += length;
  }
  expect(found, `seed ${seed}`).toEqual(events);
});

test("a stream whose lines never end is refused, before it fills the memory", () => {
  const reader = new EventReader();
  const part = "x".repeat(8 * 1024 * 1024);
  expect(() => {
    for (let n = 0; n < 9; n++) reader.read(part);
  }).toThrow(/more than 67108864 characters/);
});

test("who leaves the loop ends the stream", async () => {
  let isCancelled = false;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull: (controller) => controller.enqueue(new TextEncoder().encode("data: a\n\n")),
    cancel: () => {
      isCancelled = true;
    },
  });
  for await (const { data } of eventsIn(new Response(body))) {
    expect(data).toBe("a");
    break;
  }
  expect(isCancelled).toBe(true);
});
