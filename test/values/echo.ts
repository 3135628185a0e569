// A hub that values go through, with all that serves it, and what code must see of them. For every engine.
import { end, hub, spoke, worker, type Answer, type Engine, type Worker } from "wheelwork";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { refusedAt, seen, soundValue, unsoundValue, type Place } from "./generate.ts";

const both = z.object({ n: z.number(), value: z.unknown() });

const mirror = spoke("mirror", {
  input: both,
  output: z.object({ value: z.unknown() }),
  errors: ["mirrored"],
  timeoutMs: 20_000,
});
const hear = spoke("hear", { input: both, output: z.object({}), timeoutMs: 20_000 });
/** What is served by whatever is outside: a relay, in a cluster. */
export const bounce = spoke("bounce", {
  input: both,
  output: z.object({ value: z.unknown() }),
  timeoutMs: 20_000,
  // Whoever sends a message back may be killed before it does.
  retry: { attempts: 50, backoffMs: 100 },
});

interface Data {
  readonly n: number;
  readonly value: unknown;
  readonly output: unknown;
  readonly details: unknown;
  readonly note: unknown;
}

/** The key of a run. */
export const keyOf = (n: number): string => `v-${n}`;

export const numberOf = (key: string): number => Number(key.slice(keyOf(0).length - 1));

/** Values of a seed on their way. `problem` is told of each place where code saw something else than it should. */
export class Values {
  readonly counts = { bad: 0, result: 0 };
  readonly #seed: number;
  readonly #problem: (...words: readonly unknown[]) => void;

  constructor(seed: number, problem: (...words: readonly unknown[]) => void) {
    this.#seed = seed;
    this.#problem = problem;
  }

  /** The value of a run at a place. */
  at(n: number, place: Place): unknown {
    return refusedAt(n) === place ? unsoundValue(Math.floor(n / 72)) : soundValue(this.#seed, n);
  }

  look(n: number, place: string, value: unknown): void {
    const expected = seen(soundValue(this.#seed, n));
    // The order of fields is seen, too.
    if (isDeepStrictEqual(value, expected) && JSON.stringify(value) === JSON.stringify(expected)) return;
    this.#problem(n, place, JSON.stringify(value)?.slice(0, 200), JSON.stringify(expected)?.slice(0, 200));
  }

  /** The same of one that was published: a broker takes records of a megabyte, and in place of a longer one comes a short error. */
  checkPublished(n: number, answer: Answer): void {
    const isTooLarge = answer.kind === "error" && answer.code === "WW_TOO_LARGE";
    const bytes = Buffer.byteLength(JSON.stringify(soundValue(this.#seed, n)) ?? "");
    // An answer has the value four times.
    if (!isTooLarge || 4 * bytes < 900_000) this.check(n, answer);
  }

  /** Demands of an answer that it is what must come of the run. */
  check(n: number, answer: Answer): void {
    const place = refusedAt(n);
    const isSound = place === undefined || place === "signal";
    if (answer.kind === "result" && isSound)
      for (const [name, value] of Object.entries(answer.value as object))
        this.look(n, `${name} of the answer`, value);
    const code = place === "output" || place === "details" ? "bad-output" : "WW_INCIDENT";
    const isExpected = isSound ? answer.kind === "result" : answer.kind === "error" && answer.code === code;
    if (!isExpected) this.#problem(n, place ?? "sound", JSON.stringify(answer).slice(0, 300));
  }

  readonly echo = hub(
    "echo",
    {
      request: both,
      reply: z.object({ value: z.unknown(), output: z.unknown(), details: z.unknown(), note: z.unknown() }),
      errors: ["bad-output"],
      deadlineMs: 3_600_000,
      signals: { note: z.object({ value: z.unknown() }) },
      chart: {
        Asking: { Ok: "Failing", Bad: "BadOutput", Late: "BadOutput" },
        Failing: { Ok: "BadOutput", Bad: "Telling", Late: "BadOutput" },
        Telling: { Next: "Bouncing" },
        Bouncing: { Ok: "Waiting", Bad: "BadOutput", Late: "BadOutput" },
        Waiting: { Noted: "Done", Late: "BadOutput" },
        Done: end,
        BadOutput: end,
      },
      data: ({ n, value }): Data => {
        this.look(n, "request", value);
        return { n, value: this.at(n, "data"), output: null, details: null, note: null };
      },
    },
    {
      Asking: (s) =>
        s.call(mirror, {
          input: ({ n, value }) => {
            this.look(n, "data", value);
            return { n, value: this.at(n, "input") };
          },
          ok: ({ n }, { value }) => {
            this.look(n, "output", value);
            return s.raise("Ok", { output: value });
          },
          failed: "Bad",
          deadline: "Late",
        }),
      Failing: (s) =>
        s.call(mirror, {
          input: ({ n, value }) => ({ n: -1 - n, value }),
          ok: "Ok",
          failed: ({ n }, failure) => {
            if (failure.kind !== "error" || failure.code !== "mirrored") return s.raise("Late");
            const { value } = failure.details as { value: unknown };
            this.look(n, "details", value);
            return s.raise("Bad", { details: value });
          },
          deadline: "Late",
        }),
      Telling: (s) => s.tell(hear, { input: ({ n }) => ({ n, value: this.at(n, "told") }), next: "Next" }),
      Bouncing: (s) =>
        s.call(bounce, {
          input: ({ n, value }) => ({ n, value }),
          ok: ({ n }, { value }) => {
            this.look(n, "what came back", value);
            return s.raise("Ok");
          },
          failed: "Bad",
          deadline: "Late",
        }),
      Waiting: (s) =>
        s.wait({
          on: {
            note: ({ n, output, details }, { value }) => {
              this.look(n, "signal", value);
              this.look(n, "data of the output", output);
              this.look(n, "data of the details", details);
              return s.raise("Noted", { note: value });
            },
          },
          deadline: "Late",
        }),
      Done: ({ n, value, output, details, note }) => ({
        value,
        output,
        details,
        note: refusedAt(n) === "reply" ? this.at(n, "reply") : note,
      }),
      BadOutput: (_data, s) => s.fail("bad-output", "as it should"),
    },
  );

  /** All but that of `bounce`. */
  readonly workers: readonly Worker[] = [
    worker(mirror, ({ n, value }, context) => {
      if (n >= 0) {
        this.look(n, "input", value);
        return { value: this.at(n, "output") };
      }
      this.look(-1 - n, "second input", value);
      return context.fail("mirrored", "its details tell", { value: this.at(-1 - n, "details") });
    }),
    worker(hear, ({ n, value }) => {
      this.look(n, "told", value);
      return {};
    }),
  ];

  /** Serves `bounce` within the process. */
  readonly inProcess: Worker = worker(bounce, ({ n, value }) => {
    this.look(n, "bounced", value);
    return { value };
  });

  /**
   * Sends a value on its way, and waits for what becomes of it. `send`: sends a request that nobody refuses in another way than
   * through the engine.
   */
  async run(
    engine: Engine,
    n: number,
    send?: (key: string, request: object) => Promise<void>,
  ): Promise<void> {
    const id = keyOf(n);
    const request = { n, value: this.at(n, "request") };
    const isRefused = refusedAt(n) === "request";
    if (isRefused) return this.#refused(n, "request", () => engine.submit(this.echo, request, { key: id }));
    if (send !== undefined) await send(id, request);
    else await again(() => engine.submit(this.echo, request, { key: id }));
    const signal = (value: unknown, commandId?: string): Promise<unknown> =>
      engine.signal(id, "note", { value }, commandId === undefined ? {} : { commandId });
    if (refusedAt(n) === "signal") await this.#refused(n, "signal", () => signal(this.at(n, "signal")));
    await again(() => signal(soundValue(this.#seed, n), "note"), send !== undefined);
    for (;;) {
      const answer = await again(() => engine.answer(id, { waitMs: refusedAt(n) === undefined ? 1000 : 20 }));
      if (answer !== undefined) {
        this.counts[answer.kind === "result" ? "result" : "bad"]++;
        return this.check(n, answer);
      }
      const { status } = await again(() => engine.request(id));
      if (status === "incident")
        await again(() => engine.resolve(id, "as it should", { commandId: "resolve" }));
    }
  }

  /** Demands that a value is refused, with its place. */
  async #refused(n: number, place: Place, make: () => Promise<unknown>): Promise<void> {
    const code = await again(make).then(
      () => "nothing",
      (error: unknown) => codeOf(error),
    );
    if (code !== (place === "signal" ? "WW_INVALID_INPUT" : "WW_INVALID_REQUEST"))
      this.#problem(n, place, "is refused with", code);
  }
}

const codeOf = (error: unknown): string => String((error as { code?: unknown }).code);

/** Asks until there is an answer that is for good: owners of shards change. `isOnItsWay`: it may not be known yet. */
async function again<T>(ask: () => Promise<T>, isOnItsWay = false): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const isLater = (error as { retryable?: unknown }).retryable === true;
      if (!isLater && !(isOnItsWay && codeOf(error) === "WW_NOT_FOUND")) throw error;
      await new Promise((resolve) => void setTimeout(resolve, 50));
    }
  }
}
