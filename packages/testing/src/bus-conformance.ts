import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import type { Bus, Message } from "@wheelwork/engine";
import type { TestRunner } from "./store-fixtures.ts";

/** A bus under test. */
export interface OpenedBus {
  readonly bus: Bus;
  /** The same bus as another process has it. If the bus lives in one process: the bus itself. */
  readonly other: Bus;
  /** The name of a topic that no other test uses. */
  readonly topic: string;
  readonly close: () => void | Promise<void>;
}

/** How long the suite waits for a message, in milliseconds. */
const maxMs = 15_000;

/** Collects the messages of a topic, and waits for them. */
class Received {
  readonly messages: Message[] = [];
  readonly end: () => void;
  #wanted: { readonly count: number; readonly resolve: () => void } | undefined;

  constructor(bus: Bus, topic: string) {
    this.end = bus.subscribe(topic, (message) => {
      this.messages.push(message);
      if (this.#wanted !== undefined && this.messages.length >= this.#wanted.count) this.#wanted.resolve();
    });
  }

  async atLeast(count: number): Promise<readonly Message[]> {
    if (this.messages.length < count) {
      await new Promise<void>((resolve, reject) => {
        const late = (): void => reject(new Error(`${this.messages.length} of ${count} messages came`));
        const timer = setTimeout(late, maxMs);
        const came = (): void => {
          clearTimeout(timer);
          resolve();
        };
        this.#wanted = { count, resolve: came };
      });
    }
    return this.messages;
  }
}

const message = (key: string, value: string, headers?: Readonly<Record<string, string>>): Message =>
  headers === undefined ? { key, value } : { key, value, headers };

/** The messages without repetitions: a durable bus may deliver a message twice. */
function once(messages: readonly Message[]): Message[] {
  const seen = new Set<string>();
  return messages.filter(({ key, value }) => !seen.has(`${key}\n${value}`) && seen.add(`${key}\n${value}`));
}

/**
 * The conformance suite of the Bus port. Every bus must pass it, in one process or over a network.
 * @param runner Your test runner, such as vitest.
 * @param name Names the bus in the titles of the tests.
 * @param open Opens a bus for one test.
 * @param breakIt Makes all later calls of `publish` fail, as if the broker were gone. Default: the bus cannot fail.
 */
export function busConformance<B extends OpenedBus>(
  runner: TestRunner,
  name: string,
  open: () => B | Promise<B>,
  breakIt?: (opened: B) => void | Promise<void>,
): void {
  const { describe } = runner;
  const test = (title: string, body: (opened: B) => Promise<void>): void =>
    runner.test(title, async () => {
      const opened = await open();
      try {
        await body(opened);
      } finally {
        await opened.close();
      }
    });

  describe(`${name} conforms to the Bus port`, () => {
    test("delivers each message of a topic to each of its subscribers, and to no other", async ({
      bus,
      other,
      topic,
    }) => {
      const [first, second] = [new Received(bus, topic), new Received(other, topic)];
      const stranger = new Received(bus, `${topic}-other`);
      await bus.publish(topic, message("k", "one"));
      await other.publish(topic, message("k", "two"));
      for (const received of [first, second]) {
        const values = once(await received.atLeast(2)).map(({ value }) => value);
        deepStrictEqual(values.toSorted(), ["one", "two"]);
      }
      await other.publish(`${topic}-other`, message("k", "three"));
      deepStrictEqual(
        once(await stranger.atLeast(1)).map(({ value }) => value),
        ["three"],
      );
    });

    test("delivers the messages of one key in their order", async ({ bus, other, topic }) => {
      const received = new Received(other, topic);
      const count = 300;
      for (let number = 0; number < count; number++)
        await bus.publish(topic, message(`k${number % 3}`, String(number)));
      const messages = once(await received.atLeast(count));
      for (let key = 0; key < 3; key++) {
        const numbers = messages.filter((one) => one.key === `k${key}`).map(({ value }) => Number(value));
        deepStrictEqual(
          numbers,
          Array.from({ length: count / 3 }, (_, place) => place * 3 + key),
        );
      }
    });

    test("takes many messages at once", async ({ bus, other, topic }) => {
      const received = new Received(bus, topic);
      const values = Array.from({ length: 200 }, (_, number) => String(number));
      await Promise.all(
        values.map((value, place) => (place % 2 === 0 ? bus : other).publish(topic, message(value, value))),
      );
      const came = once(await received.atLeast(values.length)).map(({ value }) => Number(value));
      deepStrictEqual(
        came.toSorted((a, b) => a - b),
        values.map(Number),
      );
    });

    test("delivers messages unchanged: headers, empty and long values, any characters", async ({
      bus,
      other,
      topic,
    }) => {
      const received = new Received(other, topic);
      const sent = [
        message("plain", "value", { "ce-id": "1", reason: "größer \u{1F600}" }),
        message("empty", ""),
        message('"quoted" \u{1F600} key', "line\nline\u0000 – \u{1F600}"),
        message("long", "x".repeat(500_000)),
      ];
      for (const one of sent) await bus.publish(topic, one);
      const came = new Map(once(await received.atLeast(sent.length)).map((one) => [one.key, one]));
      for (const one of sent) {
        const { value, headers = {} } = came.get(one.key) ?? { value: undefined };
        strictEqual(value, one.value);
        for (const [name, text] of Object.entries(one.headers ?? {})) strictEqual(headers[name], text);
      }
    });

    test("delivers nothing after a subscription has ended, and goes on with the others", async ({
      bus,
      topic,
    }) => {
      const [leaving, staying] = [new Received(bus, topic), new Received(bus, topic)];
      await bus.publish(topic, message("k", "one"));
      await Promise.all([leaving.atLeast(1), staying.atLeast(1)]);
      leaving.end();
      leaving.end();
      await bus.publish(topic, message("k", "two"));
      await staying.atLeast(2);
      deepStrictEqual(
        once(leaving.messages).map(({ value }) => value),
        ["one"],
      );
    });

    test("goes on when a subscriber throws: the others get that message, and all get the next one", async ({
      bus,
      topic,
    }) => {
      let thrown = 0;
      bus.subscribe(topic, () => {
        thrown++;
        throw new Error("a subscriber that throws, as planned");
      });
      const received = new Received(bus, topic);
      await bus.publish(topic, message("k", "one"));
      await received.atLeast(1);
      await bus.publish(topic, message("k", "two"));
      await received.atLeast(2);
      ok(thrown >= 2);
    });

    test("does not call subscribers before publish has returned", async ({ bus, topic }) => {
      const received = new Received(bus, topic);
      const published = bus.publish(topic, message("k", "one"));
      strictEqual(received.messages.length, 0);
      await published;
      await received.atLeast(1);
    });

    if (breakIt === undefined) return;
    test("rejects when a message cannot be published", async (opened) => {
      await breakIt(opened);
      await rejects(async () => opened.bus.publish(opened.topic, message("k", "lost")));
    });
  });
}
