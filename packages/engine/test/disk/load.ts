// A process with an engine under load on one file; it prints each thing that it is told, as soon as it is.
import { WheelworkError } from "@wheelwork/core";
import { createEngine, type Durability, type Engine } from "@wheelwork/engine";
import { outside, rounds, workersOf } from "../hubs.ts";

const [path = "", prefix = "", durability = "full"] = process.argv.slice(2);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));
const print = (...words: string[]): void => void process.stdout.write(`${words.join(" ")}\n`);

function opened(): Engine {
  try {
    return createEngine({
      hubs: [rounds],
      workers: workersOf(outside())(sleep),
      // A checkpoint now and then, so that the database itself is written, too.
      limits: { checkpointEvents: 200 },
      store: path,
      durability: durability as Durability,
    });
  } catch (error) {
    print("refused", "start", codeOf(error));
    process.exit(1);
  }
}

const codeOf = (error: unknown): string =>
  error instanceof WheelworkError ? `${error.code} ${error.retryable}` : String(error);

const engine = opened();

/** Sends one request after the other, each until it has its answer. */
async function client(name: string): Promise<void> {
  for (let number = 0; ; number++) {
    const key = `${prefix}-${name}-${number}`;
    for (;;) {
      try {
        await engine.submit(rounds, { steps: [1, 2, number % 7 === 0 ? 107 : 3] }, { key });
        print("accepted", key);
        const answer = await engine.answer(key);
        print("told", key, JSON.stringify(answer));
        break;
      } catch (error) {
        print("refused", key, codeOf(error));
        await sleep(5);
      }
    }
  }
}

/** Sends requests without waiting for answers, which come only when the disk is back. */
async function knocker(): Promise<void> {
  for (let number = 0; ; number++) {
    const key = `${prefix}-knock-${number}`;
    await engine.submit(rounds, { steps: [] }, { key }).then(
      () => print("accepted", key),
      (error: unknown) => print("refused", key, codeOf(error)),
    );
    await sleep(10);
  }
}

await engine.start().catch((error: unknown) => {
  print("refused", "start", codeOf(error));
  process.exit(1);
});
void knocker();
for (let number = 0; number < 8; number++) void client(String(number));
