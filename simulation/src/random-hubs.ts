import { answered, end, hub, spoke, type AnyHub, type Spoke, type SpokeSpec } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import {
  seededRandom,
  type OpenedSystem,
  type Outside,
  type SeededRandom,
  type SimulatedSystem,
} from "@wheelwork/testing";
import { z } from "zod";

const anything = z.looseObject({});

interface Spokes {
  readonly work: Spoke<{ n: number }, object, "bad" | "worse">;
  readonly narrow: Spoke<{ n: number }, object>;
}

interface HubData {
  readonly seen: number;
  readonly rounds: number;
  readonly open: number;
  /** The version that has last made it, where hubs migrate. */
  readonly since?: number;
}

type Behaviour = (s: Record<string, (...args: unknown[]) => unknown>) => unknown;

/** Systems of random hubs, another one for each seed, whose work takes about so long. */
export function randomHubs(name: string, scaleMs: number): SimulatedSystem {
  return { name, scaleMs, open: (outside) => openRandom(outside, scaleMs / 400) };
}

function openRandom(outside: Outside, factor: number): OpenedSystem {
  const { random } = outside;
  const ms = (given: number): number => Math.max(1, Math.ceil(given * factor));
  const work = spoke("work", {
    input: z.object({ n: z.number() }),
    output: z.object({}),
    errors: ["bad", "worse"],
    timeoutMs: ms(60),
    ...(random.chance(0.5) ? { heartbeatMs: ms(15) } : {}),
    retry: random.pick([
      { attempts: 3, backoffMs: ms(15), giveUpOn: ["worse"] },
      {
        attempts: 2,
        backoffMs: ms(5),
        giveUpOn: ["worse", "WW_TIMEOUT"],
        on: {
          bad: { attempts: 4, backoffMs: ms(2) },
          WW_WORKER_FAILED: { attempts: "unlimited", factor: 1.5 },
        },
      },
    ]),
  });
  const narrow = spoke("narrow", {
    input: anything,
    output: anything,
    timeoutMs: ms(40),
    ...random.pick(narrowness(ms)),
  });
  const spokes = { work, narrow } as unknown as Spokes;
  const seed = random.int(2 ** 31);
  const undone: string[] = [];
  const starts = seededRandom(seed + 1);
  const startsAt = starts.chance(0.4) ? outside.clock.wallMs() + ms(starts.int(2_000)) : undefined;
  const made = (version: number): readonly AnyHub[] => {
    // The same charts in each version.
    const draw = seededRandom(seed);
    const wrong = (what: string): void => {
      if (!undone.includes(what)) undone.push(what);
    };
    const make = (name: string, children: readonly AnyHub[]): AnyHub =>
      randomHub({ ...outside, random: draw }, { name, version }, spokes, children, { ms, wrong, startsAt });
    const inner = make("inner", []);
    return [inner, make("one", [inner]), make("two", [inner])];
  };
  const hubs = made(1);
  const done = new Set<string>();
  return {
    hubs,
    upgraded: made,
    workers: () => [
      worker(work, (_input, { idempotencyKey }) => {
        done.add(idempotencyKey);
        return {};
      }),
      worker(narrow, () => ({})),
    ],
    request: (draw) => ({ hub: draw.pick(hubs), request: { weight: draw.int(3) } }),
    signal: (draw) => ({ name: draw.pick(["go", "hold"]), payload: draw.int(10) }),
    check: () => undone,
  };
}

type Limits = Pick<SpokeSpec<typeof anything, typeof anything, never>, "concurrency" | "limit">;

/** How little of a spoke may be under way at once, or in a time. */
function narrowness(ms: (given: number) => number): readonly Limits[] {
  const by = ({ n }: { readonly n?: unknown }): string => `${Number(n) % 2}`;
  const perSecond = 1000 / ms(1);
  return [
    { concurrency: 2 },
    { limit: { concurrent: 1, by } },
    { concurrency: 3, limit: { concurrent: 2, by } },
    { limit: { perSecond, burst: 2 } },
    { concurrency: 2, limit: { perSecond, burst: 1, by } },
  ];
}

/**
 * A random small chart. Work goes forward from state to state, may go back a few times, and ends up in clean-up states,
 * which only go forward: every declaration of this shape is sound.
 */
function randomHub(
  { random, defective }: Outside,
  { name, version }: { readonly name: string; readonly version: number },
  spokes: Spokes,
  children: readonly AnyHub[],
  { ms, ...times }: Omit<Timing, "deadlineMs">,
): AnyHub {
  const migrates = random.chance(0.5);
  const since = migrates ? { since: version } : {};
  const migrate = Object.fromEntries(
    Array.from({ length: migrates ? version - 1 : 0 }, (_, place) => [
      place + 1,
      ({ state, data }: { readonly state: string; readonly data: { readonly since?: number } }) => {
        if (data.since !== place + 1) throw new Error(`version ${place + 1} has data of ${data.since}`);
        return { state, data: { ...data, since: place + 2 } };
      },
    ]),
  );
  const migrated = (data: HubData): void => {
    if (migrates && data.since !== version) throw new Error(`version ${version} has data of ${data.since}`);
  };
  const works = 1 + random.int(4);
  const cleanups = random.int(3);
  const timing = { ms, ...times, deadlineMs: ms(100 + random.int(500)) };
  const chart: Record<string, string | Record<string, string>> = {};
  const behaviours: Record<string, unknown> = {};
  // Some answer when their work is done, or when it has failed, and go on.
  const answersFirst = random.chance(0.3);
  const failed = answersFirst ? "Refusing" : "Failed";
  const cleanUp = (index: number): string => (index < cleanups ? `Clean${index}` : failed);
  const flaw = <T>(value: T): T => {
    if (defective()) throw new Error("the handler is defective, as planned");
    return value;
  };
  const last = answersFirst ? "Answering" : "Done";
  for (let index = 0; index < works; index++) {
    chart[`Work${index}`] = {
      Stay: "(stay)",
      Next: index + 1 < works ? `Work${index + 1}` : last,
      Back: `Work${random.int(index + 1)}`,
      Failed: cleanUp(0),
      Late: cleanUp(0),
      ...(random.chance(0.5) ? { Cancel: cleanUp(0) } : {}),
    };
    behaviours[`Work${index}`] = workState(random, index, spokes, children, timing, flaw);
  }
  for (let index = 0; index < cleanups; index++) {
    chart[cleanUp(index)] = { Stay: "(stay)", Next: cleanUp(index + 1), Late: cleanUp(index + 1) };
    const inputs = random.int(4);
    const state: Behaviour = (s) =>
      s["each"]?.(spokes.narrow, {
        inputs: () => Array.from({ length: inputs }, (_, n) => ({ n })),
        settled: "Stay",
        done: "Next",
        after: { Late: ms(100) },
      });
    behaviours[cleanUp(index)] = state;
  }
  const reply = (data: HubData): object => {
    migrated(data);
    return { seen: data.seen };
  };
  const ends = {
    Done: reply,
    Failed: (data: HubData, s: { fail(code: string, message: string): unknown }) => {
      migrated(data);
      return s.fail("failed", "as it happens");
    },
  };
  if (answersFirst) afterAnswer(random, chart, behaviours, spokes, ms, reply);
  else {
    Object.assign(chart, { Done: end, Failed: end });
    Object.assign(behaviours, ends);
  }
  const cancels = Object.values(chart).some((row) => typeof row === "object" && "Cancel" in row);
  const declare = hub as unknown as (...args: unknown[]) => AnyHub;
  return declare(
    name,
    {
      request: anything,
      reply: anything,
      errors: ["failed"],
      deadlineMs: timing.deadlineMs,
      deadline: "Late",
      ...(cleanups > 0 ? { cleanUp: [cleanUp(0)] } : {}),
      signals: { go: z.number(), hold: z.number() },
      ...(random.chance(0.3) ? { dropSignals: ["hold"] } : {}),
      chart,
      version,
      migrate,
      labels: ({ weight }: { readonly weight?: number }) => ({ weight: weight?.toString() }),
      data: (): HubData => flaw({ seen: 0, rounds: 0, open: 0, ...since }),
      view: (data: HubData) => data,
      ...(cancels && random.chance(0.7) ? { cancel: "Cancel" } : {}),
    },
    behaviours,
  );
}

/** What a hub does after its answer: it works on, waits for a signal, perhaps again and again, and ends. */
function afterAnswer(
  random: SeededRandom,
  chart: Record<string, unknown>,
  behaviours: Record<string, unknown>,
  { work }: Spokes,
  ms: (given: number) => number,
  reply: (data: HubData) => object,
): void {
  const again = random.chance(0.5);
  Object.assign(chart, {
    Answering: { Next: "Serving" },
    Serving: { Next: "Idle" },
    Idle: { Stay: "(stay)", Next: again ? "Serving" : "Served", Late: "Served" },
    Served: end,
    // The clean-up may answer, too, and go on.
    Refusing: { Next: "Undoing" },
    Undoing: { Next: "Undone" },
    Undone: end,
  });
  const after = { Next: ms(200) };
  const working: Behaviour = (s) =>
    s["call"]?.(work, { input: ({ seen }: HubData) => ({ n: seen }), ok: "Next", failed: "Next", after });
  Object.assign(behaviours, {
    Answering: ((s) => s["answer"]?.(reply, { next: "Next" })) satisfies Behaviour,
    Serving: working,
    Idle: ((s) =>
      s["wait"]?.({
        on: { go: "Next", hold: ({ seen }: HubData) => ({ raise: "Stay", patch: { seen: seen + 1 } }) },
        after: { Late: ms(500) },
      })) satisfies Behaviour,
    Served: answered,
    Refusing: ((s) =>
      s["answer"]?.(
        (_data: HubData, e: { fail(code: string, message: string): unknown }) => e.fail("failed", "first"),
        {
          next: "Next",
        },
      )) satisfies Behaviour,
    Undoing: working,
    Undone: answered,
  });
}

/** What the timers of a hub need to know. */
interface Timing {
  readonly ms: (given: number) => number;
  readonly deadlineMs: number;
  /** Tells that a timer did what it must not. */
  readonly wrong: (what: string) => void;
  /** When the runs begin that others start. Absent: at once. */
  readonly startsAt: number | undefined;
}

/** Random timers: constant ones, some that are due with the hub's deadline, and some that the data moves or disarms. */
function timers(
  random: SeededRandom,
  { ms, deadlineMs, wrong }: Timing,
  patience: number,
  flaw: <T>(value: T) => T,
): object {
  const step = ms(10 + random.int(60));
  const moves = random.chance(0.5);
  const moving = ({ seen }: HubData): number | null =>
    flaw(moves ? (seen % 3 === 2 ? null : step * (seen + 1)) : step);
  const idle = (_data: HubData, { enteredAt, now }: { enteredAt: number; now: number }): number =>
    now - enteredAt + step;
  const all: [string, unknown][] = [
    ["Failed", random.chance(0.3) ? deadlineMs : ms(20 + random.int(200))],
    ["Next", random.chance(0.5) ? idle : step],
    [
      "Stay",
      {
        ms: moving,
        patch: (data: HubData) => {
          if (moving(data) === null) wrong("a timer fires that is disarmed");
          return flaw({ seen: data.seen + 1 });
        },
      },
    ],
    [
      "Back",
      {
        ms: ({ rounds }: HubData) => (rounds < patience ? step : null),
        patch: ({ rounds }: HubData) => ({ rounds: rounds + 1 }),
      },
    ],
  ];
  return Object.fromEntries(all.filter(() => random.chance(0.5)));
}

function workState(
  random: SeededRandom,
  index: number,
  { work, narrow }: Spokes,
  children: readonly AnyHub[],
  timing: Timing,
  flaw: <T>(value: T) => T,
): Behaviour {
  const { startsAt } = timing;
  const kind = random.int(8);
  const posts = random.int(4);
  const [started] = children;
  const kid = (): string => `kid${index}`;
  const shared = random.chance(0.5) ? { key: kid } : {};
  const later = startsAt === undefined ? {} : { startAt: () => startsAt };
  const inputs = random.int(6);
  // Which way a state goes depends on the data only, so that it goes the same way when it is decided again.
  const patience = random.int(3);
  const done = ({ rounds }: HubData): object =>
    flaw(rounds < patience ? { raise: "Back", patch: { rounds: rounds + 1 } } : { raise: "Next" });
  const callee = random.pick<unknown>([work, work, narrow, ...children]);
  const inputOf = (n: number): object => (callee === work || callee === narrow ? { n } : {});
  const closes = random.chance(0.4);
  const hold = ({ seen }: HubData): object => flaw({ raise: "Stay", patch: { seen: seen + 1 } });
  const wait = {
    ...(random.chance(0.5)
      ? {}
      : {
          deadline: {
            raise: "Late",
            patch: (_data: HubData, open: readonly object[]) => ({ open: open.length }),
          },
        }),
    ...(random.chance(0.5) ? { after: timers(random, timing, patience, flaw) } : {}),
    ...(random.chance(0.4) ? { on: { go: "Next", hold } } : {}),
  };
  const pauses = random.int(4);
  const drains = random.chance(0.5) ? { drain: true } : {};
  const each = {
    ...wait,
    inputs: ({ rounds }: HubData) => flaw(Array.from({ length: inputs }, (_, n) => inputOf(n + rounds))),
    ...(random.chance(0.5)
      ? { settled: ({ seen }: HubData) => flaw({ raise: "Stay", patch: { seen: seen + 1 } }) }
      : { ok: "Stay", failed: "Failed" }),
    done,
    ...(random.chance(0.5)
      ? { limit: random.chance(0.5) ? 1 + random.int(3) : ({ seen }: HubData) => flaw((seen + pauses) % 4) }
      : {}),
    ...drains,
  };
  const steps = 1 + random.int(3);
  const races = random.chance(0.3);
  return (s) => {
    switch (kind) {
      case 0:
        return s["call"]?.(callee, {
          ...wait,
          ...drains,
          input: () => flaw(inputOf(index)),
          ok: "Next",
          failed: "Failed",
        });
      case 1:
        return s["pick"]?.(done);
      case 2:
        return s["wait"]?.({
          ...wait,
          on: { go: "Next", hold },
        });
      case 3:
        // Runs of several requests start one under the same key, and send it signals.
        if (started !== undefined && posts === 1)
          return s["start"]?.(started, {
            input: () => ({ weight: index % 2 }),
            ...shared,
            ...later,
            next: "Next",
          });
        if (started !== undefined && posts > 1)
          return s["signalRun"]?.(started, {
            id: kid,
            signal: posts === 2 ? "go" : "hold",
            payload: ({ seen }: HubData) => flaw(seen),
            next: "Next",
          });
        return s["tell"]?.(work, { input: () => ({ n: index }), next: "Next" });
      case 4: {
        const step = s["step"]?.(work, {
          input: () => ({ n: index }),
          ok: ({ seen }: HubData) => ({ seen: seen + 1 }),
        });
        return s["sequence"]?.(
          Array.from({ length: steps }, () => step),
          { ...wait, ...drains, failed: "Failed", done: "Next" },
        );
      }
      case 5: {
        // Which part comes first depends on the time, and what is closed does not count.
        const closing = (): object => flaw({ raise: "Stay", close: ["one", "three"] });
        const part = (other: unknown, moves: boolean): unknown =>
          s["part"]?.(other, {
            input: ({ seen }: HubData) => flaw(seen % 4 === 3 ? null : other === work ? { n: index } : {}),
            ok: moves ? "Next" : closes ? closing : races ? "Stay" : hold,
          });
        return s["all"]?.(
          { one: part(callee, races), two: part(work, false), three: part(narrow, races) },
          { ...wait, ...drains, failed: "Failed", done },
        );
      }
      default:
        return s["each"]?.(callee, each);
    }
  };
}
