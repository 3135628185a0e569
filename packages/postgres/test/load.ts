import type { Engine } from "@wheelwork/engine";
import { setTimeout as sleep } from "node:timers/promises";
import { vi } from "vitest";
import { flowCreate } from "./flow.ts";

interface Asked {
  readonly key: string;
  readonly flow: string;
  readonly length: number;
  readonly fails: boolean;
}

const asked = (number: number): Asked => ({
  key: `key-${number}`,
  flow: `flow-${number}`,
  length: 1 + (number % 12),
  fails: number % 4 === 3,
});

/** What the answer must be, whatever dies. */
const expected = ({ length, fails }: Asked): string =>
  JSON.stringify(
    fails
      ? { kind: "error", code: "failed", message: "a rule could not be installed" }
      : { kind: "result", value: { installed: length } },
  );

export const until = (what: string, holds: () => boolean): Promise<void> =>
  vi.waitFor(
    () => {
      if (!holds()) throw new Error(`${what} did not come`);
    },
    { timeout: 120_000, interval: 5 },
  );

export type Ask = (request: Asked) => Promise<string>;

/** Clients that send their request again, under its key, until it is answered. */
export class Load {
  readonly answers = new Map<string, string>();
  readonly #clients: Promise<void>[];
  #on = true;
  #sent = 0;

  constructor(clients: number, ask: Ask) {
    this.#clients = Array.from({ length: clients }, async () => {
      while (this.#on) {
        const request = asked(this.#sent++);
        this.answers.set(request.key, await insist(request, ask));
      }
    });
  }

  async grown(by: number): Promise<void> {
    const target = this.answers.size + by;
    await until("answers", () => this.answers.size >= target);
  }

  /** Ends the load, and asks for each answer once more; gives what is not right, or not the same. */
  async wrong(ask: Ask): Promise<unknown[]> {
    this.#on = false;
    await Promise.all(this.#clients);
    const wrong: unknown[] = this.answers.size === this.#sent ? [] : ["not all are answered"];
    for (let number = 0; number < this.#sent; number++) {
      const request = asked(number);
      const answers = new Set([expected(request), this.answers.get(request.key), await insist(request, ask)]);
      if (answers.size !== 1) wrong.push([...answers]);
    }
    return wrong;
  }
}

async function insist(request: Asked, ask: Ask): Promise<string> {
  for (;;) {
    try {
      return await ask(request);
    } catch {
      // Refused, or the node has died: its sender does not know which, and tries again a little later.
      await sleep(10);
    }
  }
}

/** Asks an engine of this process. */
export const asking =
  (engine: Engine): Ask =>
  async ({ key, ...request }) =>
    JSON.stringify(await engine.call(flowCreate, request, { key }));
