// A process with an engine. Values go in and out through every place that takes one. It prints a line for each run that has its
// answer, and a line for each place where code saw something else than it should. It may be killed at any time, and started
// again.
import { postgresStore } from "@wheelwork/postgres";
import { createEngine, end, hub, spoke, worker, type Answer } from "wheelwork";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { refusedAt, seen, soundValue, unsoundValue, type Place } from "./generate.ts";

const [store = "", schema = "", seedText = "", fromText = "", toText = ""] = process.argv.slice(2);
const [seed, from, to] = [Number(seedText), Number(fromText), Number(toText)];
const inFlight = 16;

const print = (...words: unknown[]): void => void process.stdout.write(`${words.join(" ")}\n`);

/** The value of a run at a place. */
const valueAt = (n: number, place: Place): unknown =>
  refusedAt(n) === place ? unsoundValue(Math.floor(n / 72)) : soundValue(seed, n);

function look(n: number, place: string, value: unknown): void {
  const expected = seen(soundValue(seed, n));
  // The order of fields is seen, too.
  if (isDeepStrictEqual(value, expected) && JSON.stringify(value) === JSON.stringify(expected)) return;
  print("problem", n, place, JSON.stringify(value)?.slice(0, 200), JSON.stringify(expected)?.slice(0, 200));
}

const both = z.object({ n: z.number(), value: z.unknown() });

const mirror = spoke("mirror", {
  input: both,
  output: z.object({ value: z.unknown() }),
  errors: ["mirrored"],
  timeoutMs: 20_000,
});
const hear = spoke("hear", { input: both, output: z.object({}), timeoutMs: 20_000 });

interface Data {
  readonly n: number;
  readonly value: unknown;
  readonly output: unknown;
  readonly details: unknown;
}

const echo = hub(
  "echo",
  {
    request: both,
    reply: z.object({ value: z.unknown(), output: z.unknown(), details: z.unknown(), note: z.unknown() }),
    errors: ["bad-output"],
    deadlineMs: 600_000,
    signals: { note: z.object({ value: z.unknown() }) },
    chart: {
      Asking: { Ok: "Failing", Bad: "BadOutput", Late: "BadOutput" },
      Failing: { Ok: "BadOutput", Bad: "Telling", Late: "BadOutput" },
      Telling: { Next: "Waiting" },
      Waiting: { Noted: "Done", Late: "BadOutput" },
      Done: end,
      BadOutput: end,
    },
    data: ({ n, value }): Data & { note: unknown } => {
      look(n, "request", value);
      return { n, value: valueAt(n, "data"), output: null, details: null, note: null };
    },
  },
  {
    Asking: (s) =>
      s.call(mirror, {
        input: ({ n, value }) => {
          look(n, "data", value);
          return { n, value: valueAt(n, "input") };
        },
        ok: ({ n }, { value }) => {
          look(n, "output", value);
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
          look(n, "details", value);
          return s.raise("Bad", { details: value });
        },
        deadline: "Late",
      }),
    Telling: (s) => s.tell(hear, { input: ({ n }) => ({ n, value: valueAt(n, "told") }), next: "Next" }),
    Waiting: (s) =>
      s.wait({
        on: {
          note: ({ n, output, details }, { value }) => {
            look(n, "signal", value);
            look(n, "data of the output", output);
            look(n, "data of the details", details);
            return s.raise("Noted", { note: value });
          },
        },
        deadline: "Late",
      }),
    Done: ({ n, value, output, details, note }) => ({
      value,
      output,
      details,
      note: refusedAt(n) === "reply" ? valueAt(n, "reply") : note,
    }),
    BadOutput: (_data, s) => s.fail("bad-output", "as it should"),
  },
);

const postgres = schema === "" ? undefined : postgresStore({ connectionString: store, schema });
const engine = createEngine({
  hubs: [echo],
  workers: [
    worker(mirror, ({ n, value }, context) => {
      if (n >= 0) {
        look(n, "input", value);
        return { value: valueAt(n, "output") };
      }
      look(-1 - n, "second input", value);
      return context.fail("mirrored", "its details tell", { value: valueAt(-1 - n, "details") });
    }),
    worker(hear, ({ n, value }) => {
      look(n, "told", value);
      return {};
    }),
  ],
  store: postgres ?? store,
  durability: "normal",
  // Runs leave the memory and are read again, and snapshots are made.
  limits: { checkpointEvents: 300 },
});

const answers = { bad: 0, result: 0 };

function check(n: number, answer: Answer): void {
  const place = refusedAt(n);
  const isSound = place === undefined || place === "signal";
  answers[answer.kind === "result" ? "result" : "bad"]++;
  if (answer.kind === "result" && isSound)
    for (const [name, value] of Object.entries(answer.value as object))
      look(n, `${name} of the answer`, value);
  const code = place === "output" || place === "details" ? "bad-output" : "WW_INCIDENT";
  const isExpected = isSound ? answer.kind === "result" : answer.kind === "error" && answer.code === code;
  if (!isExpected) print("problem", n, place ?? "sound", JSON.stringify(answer).slice(0, 300));
}

/** Demands that a value is refused, with its place. */
async function refused(n: number, place: Place, made: Promise<unknown>): Promise<void> {
  const code = await made.then(
    () => "nothing",
    (error: unknown) => String((error as { code?: unknown }).code),
  );
  if (code !== (place === "signal" ? "WW_INVALID_INPUT" : "WW_INVALID_REQUEST"))
    print("problem", n, place, "is refused with", code);
}

async function run(n: number): Promise<void> {
  const id = `v-${n}`;
  const sound = soundValue(seed, n);
  const submitted = engine.submit(echo, { n, value: valueAt(n, "request") }, { key: id });
  if (refusedAt(n) === "request") return refused(n, "request", submitted);
  await submitted;
  if (refusedAt(n) === "signal")
    await refused(n, "signal", engine.signal(id, "note", { value: valueAt(n, "signal") }));
  await engine.signal(id, "note", { value: sound }, { commandId: "note" });
  for (;;) {
    const answer = await engine.answer(id, { waitMs: refusedAt(n) === undefined ? 1000 : 20 });
    if (answer !== undefined) return check(n, answer);
    const { status } = await engine.request(id);
    if (status === "incident") await engine.resolve(id, "as it should", { commandId: "resolve" });
  }
}

await engine.start();
let next = from;
await Promise.all(
  Array.from({ length: inFlight }, async () => {
    while (next < to) {
      const n = next++;
      await run(n);
      print("done", n);
    }
  }),
);
await engine.stop();
await postgres?.close();
print("end", answers.result, answers.bad);
