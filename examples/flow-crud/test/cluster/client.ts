import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { kafka, type Kafka } from "@wheelwork/kafka";
import type { LogReading } from "wheelwork/cluster";
import { originalTopics, type FlowTopics } from "../../src/topics.ts";

/** A request, and all that its sender could read of its answers. */
export interface Asked {
  readonly key: string;
  readonly body: string;
  readonly length: number;
  readonly error: number | null;
  /** Each answer on the topic, in its order: its id and its text. */
  readonly answers: { readonly id: string; readonly text: string }[];
  /** How often it was sent. */
  sent: number;
}

/** How long a client waits before it sends its request once more, in milliseconds. */
const insistMs = 5000;

/** Sends requests as Northbound does, and reads every answer that there ever was. */
export class TopicClient {
  readonly asked = new Map<string, Asked>();
  /** Answers under keys that nobody has sent. */
  readonly strange: string[] = [];
  readonly #bus: Kafka;
  readonly #topics: FlowTopics;
  readonly #seed: number;
  readonly #waiting = new Map<string, () => void>();
  #reading: LogReading | undefined = undefined;
  #read = 0;

  constructor(brokers: string, seed: number, topics: FlowTopics = originalTopics) {
    this.#topics = topics;
    this.#bus = kafka({ brokers, clientId: "client" });
    this.#seed = seed;
  }

  /** How many requests have an answer. */
  get answered(): number {
    return [...this.asked.values()].filter(({ answers }) => answers.length > 0).length;
  }

  /** Reads the answers from the topic's beginning on. */
  async listen(): Promise<void> {
    this.#reading = await this.#bus.read(this.#topics.answers, 0, this.#read, {
      records: (records) => {
        for (const { key, value, headers, offset } of records) {
          this.#read = offset + 1;
          const asked = this.asked.get(key);
          if (asked === undefined) this.strange.push(`${key}: ${value}`);
          else asked.answers.push({ id: headers["ce_id"] ?? "", text: value });
          this.#waiting.get(key)?.();
        }
      },
      lost: (error) => this.strange.push(error.message),
    });
  }

  /** Sends a request, now and then twice, until it has its answer. */
  async ask(number: number, length: number, error: number | null, twice: boolean): Promise<Asked> {
    const key = createHash("md5").update(`${this.#seed} ${number}`).digest("hex");
    const body = JSON.stringify({ flowid: `flow-${number}`, length, error });
    const asked: Asked = { key, body, length, error, answers: [], sent: 0 };
    this.asked.set(key, asked);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.set(key, resolve);
    if (twice) await this.send(asked);
    while (asked.answers.length === 0) {
      await this.send(asked);
      const enough = new AbortController();
      await Promise.race([promise, sleep(insistMs, undefined, { signal: enough.signal }).catch(() => {})]);
      enough.abort();
    }
    this.#waiting.delete(key);
    return asked;
  }

  /** Sends a request once more, as soon as the broker takes it. */
  async send(asked: Asked): Promise<void> {
    for (;;) {
      try {
        await this.#bus.publish(this.#topics.requests, { key: asked.key, value: asked.body });
        asked.sent++;
        return;
      } catch {
        await sleep(100);
      }
    }
  }

  async close(): Promise<void> {
    this.#reading?.stop();
    await this.#bus.close();
  }
}

/** What the proof of concept sends to the switches for the flow `test-01` of ten rules, byte for byte. */
export const seedCommands = (command: "install" | "validate"): string[] =>
  Array.from(
    { length: 10 },
    (_, rule) => `{"flowid":"test-01","ruleid":${rule},"error":null,"command":"${command}"}`,
  );
