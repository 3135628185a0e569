import { end, hub, spoke } from "@wheelwork/core";
import { schedule, worker, type Schedule } from "@wheelwork/engine";
import { seededRandom, type OpenedSystem, type SeededRandom, type SimulatedSystem } from "@wheelwork/testing";
import { z } from "zod";

const tick = z.object({ at: z.number() });

/** How often schedules tick, in milliseconds. */
export interface Rates {
  readonly minMs: number;
  readonly maxMs: number;
  /** All tick at local times, some minutes or hours from each other; default: some do. */
  readonly isSeldom?: boolean;
}

/** What a version of the program says of a schedule. */
type Declared = Pick<
  Parameters<typeof schedule>[1],
  "catchUp" | "jitterMs" | "version" | "cron" | "everyMs" | "timeZone"
>;

const hourMs = 3_600_000;

/** When clocks change in four time zones: by an hour, by half an hour, and where minutes differ from those of UTC. */
const changes = {
  "Europe/Berlin": ["2026-03-29T01:00Z", "2026-10-25T01:00Z"],
  "America/New_York": ["2026-03-08T07:00Z", "2026-11-01T06:00Z"],
  "Australia/Lord_Howe": ["2026-04-04T15:00Z", "2026-10-03T15:30Z"],
  "Pacific/Chatham": ["2026-04-04T14:00Z", "2026-09-26T14:00Z"],
} as const;
type Zone = keyof typeof changes;
const zones = Object.keys(changes) as Zone[];

/** Some name their hours, and others follow the clock. */
const patterns = {
  often: ["*/5 * * * * *", "*/10 * 0-4 * * *", "0,20,40 * * * * *", "4,34 * 1-3 * * *", "30 */2 1,2,3 * * *"],
  seldom: ["30 2 * * *", "0,30 1-3 * * *", "45 */6 * * *", "*/30 * * * *", "*/10 0-4 * * *"],
} as const;

/**
 * Requests at certain times, beside those of clients: ticks that are missed are made up for in all ways, and some are of local times
 * while clocks change. The next version of the program may lack a schedule, have one more, or have other times for it. Operators pause
 * schedules, remove them, and ask for ticks.
 */
export const schedules = (
  name: string,
  scaleMs: number,
  { minMs, maxMs, isSeldom: isAlwaysSeldom = false }: Rates,
): SimulatedSystem => ({
  name,
  scaleMs,
  beginsAt: (random) => {
    const change = Date.parse(random.pick(changes[random.pick(zones)]));
    return random.chance(isAlwaysSeldom ? 0.05 : 0.3)
      ? Date.UTC(2026, 0, 1)
      : change - random.int(scaleMs * 4);
  },
  open: ({ random, defective, clock }): OpenedSystem => {
    const work = spoke("work", { input: tick, output: z.object({}), timeoutMs: scaleMs / 2 });
    const job = hub(
      "job",
      {
        request: tick,
        reply: z.object({}),
        deadlineMs: scaleMs,
        deadline: "Over",
        chart: { Working: { Over: "Done" }, Done: end },
        data: (request) => request,
      },
      {
        Working: (s) => s.call(work, { input: (data) => data, ok: "Over", failed: "Over" }),
        Done: () => ({}),
      },
    );
    const beginsAt = clock.wallMs();
    const changing = zones.filter((zone) =>
      changes[zone].some((at) => Math.abs(Date.parse(at) - beginsAt) < 24 * hourMs),
    );
    const drawnTimes = (draw: SeededRandom, isSeldom: boolean): Partial<Declared> => {
      const follows = isSeldom || draw.chance(0.5);
      if (!follows) return { everyMs: minMs + draw.int(maxMs - minMs) };
      const timeZone = draw.pick(changing.length > 0 && draw.chance(0.8) ? changing : zones);
      return { cron: draw.pick(patterns[isSeldom ? "seldom" : "often"]), timeZone };
    };
    const drawn = (draw: SeededRandom, version: number, isSeldom: boolean): Declared => ({
      ...drawnTimes(draw, isSeldom),
      catchUp: draw.pick(["all", "last", "none"] as const),
      ...(draw.chance(0.3) ? { jitterMs: 1 + draw.int(scaleMs) } : {}),
      version,
    });
    const isSeldom = (seed: number): boolean => isAlwaysSeldom || seed % 4 === 0;
    /** What each version of the program says of one schedule is what the one before has said, or something else. */
    const declaredIn = (seed: number, version: number): Declared | undefined => {
      const draw = seededRandom(seed);
      let isThere = draw.chance(0.8);
      let declared = drawn(draw, 1, isSeldom(seed));
      for (let next = 2; next <= version; next++) {
        if (draw.chance(0.3)) isThere = !isThere;
        const { cron, everyMs, timeZone } = declared;
        const former = everyMs === undefined ? { cron, timeZone } : { everyMs };
        if (!draw.chance(0.4)) continue;
        const other = drawn(draw, next, isSeldom(seed));
        const { catchUp, jitterMs = 0 } = other;
        declared = draw.chance(0.3) ? ({ ...former, catchUp, jitterMs, version: next } as Declared) : other;
      }
      return isThere ? declared : undefined;
    };
    const seeds = Array.from({ length: 1 + random.int(3) }, () => random.int(2 ** 31));
    const schedulesIn = (version: number): Schedule[] =>
      seeds.flatMap((seed, place) => {
        const declared = declaredIn(seed, version);
        if (declared === undefined) return [];
        const request = ({ at }: { readonly at: number }): z.infer<typeof tick> => {
          if (defective()) throw new Error("the request of a tick is defective, as planned");
          return { at };
        };
        return [schedule(`s${place}`, { ...declared, hub: job, request })];
      });
    const hubs = [job];
    return {
      hubs,
      upgraded: () => hubs,
      schedules: schedulesIn,
      wish: (draw) => {
        const place = draw.int(seeds.length);
        // Around the beginning, where the clocks change. What is seldom has few ticks in a day.
        const longMs = isSeldom(seeds[place] as number) ? 24 * hourMs : 90_000;
        const from = beginsAt - draw.int(longMs);
        return { schedule: `s${place}`, range: { from, to: from + draw.int(longMs) } };
      },
      workers: () => [worker(work, () => ({}))],
      request: (draw) => ({ hub: job, request: { at: draw.int(1000) } }),
    };
  },
});
