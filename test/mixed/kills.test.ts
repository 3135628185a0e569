import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  postgresIsInstalled,
  PostgresServer,
  stormIsInstalled,
} from "@wheelwork/services";
import { afterAll, beforeAll, expect, test } from "vitest";
import { overlaps, playKills, type Done, type Line } from "./kills.ts";
import { withStorm } from "../turns/topology.ts";
import { playOnStorm } from "./storm.ts";

// The mixtures over real kills, and over a deploy of another version. WHEELWORK_KILLS asks for more kills, WHEELWORK_LONG for a cluster
// and for Storm, too.

const asked = Number(process.env["WHEELWORK_KILLS"] ?? 0);
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "wheelwork-mixed-"));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const result = (value: unknown) => ({ kind: "result", value });
const failed = (code: string, message: string) => ({ kind: "error", code, message });

/** What a campaign comes to, in the words of `sound`. */
function whatCame(
  { answers, lost, sweeps, bad, lines }: Done & { readonly lines: readonly Line[] },
  startAt: number,
): Record<keyof ReturnType<typeof sound>, unknown> {
  const isLetter = (name: string): boolean => name.startsWith("letter");
  const letters = Object.keys(answers).filter(isLetter);
  const of = (what: string): string[] => [
    ...new Set(lines.filter((line) => line.what === what).map((line) => line.of)),
  ];
  const sent = lines.filter(({ what }) => what === "send to ada");
  const inOneSecond = sent.map(
    ({ at: from, pid }) =>
      sent.filter((line) => line.pid === pid && line.at >= from && line.at < from + 1_000).length,
  );
  const ticks = sweeps
    .map((id) => Date.parse(id.slice("sweeper@".length, id.lastIndexOf("@"))))
    .toSorted((a, b) => a - b);
  return {
    answers: Object.fromEntries(Object.entries(answers).filter(([name]) => !isLetter(name))),
    letters: letters.length,
    otherLetters: letters.filter((name) => !isDeepStrictEqual(answers[name], mailed)),
    incidents: bad,
    lost,
    overlaps: overlaps(lines),
    undone: of("give back"),
    siteA: of("site a"),
    siteB: of("site b"),
    isEarly: lines.some(({ what, at }) => what === "site b" && at < startAt),
    mostInOneSecond: Math.max(...inOneSecond),
    ticks: ticks.length,
    gaps: [...new Set(ticks.slice(1).map((at, place) => at - (ticks[place] ?? 0)))],
  };
}

const mailed = result({ sent: true, printed: false });

/** What a campaign must come to. */
const sound = (processes: number) => {
  // In a cluster a node of the former version may have been faster than the deploy.
  const was = processes === 1 ? /^was \d+$/ : /^(was )?\d+$/;
  const logged = (name: string, ...others: unknown[]) =>
    result({ log: expect.arrayContaining([name, ...others]) as unknown });
  return {
    answers: {
      conversion: result({ parts: 20, extended: 1 }),
      building: result({ site: "a" }),
      later: result({ site: "b" }),
      past: result({ site: "c" }),
      inspection: result({ site: "a" }),
      sale: failed("withdrawn", "too late"),
      saga: failed("undone", "thing 0,thing 1"),
      "leg-1": result({ ran: 1 }),
      "leg-2": result({ ran: 2 }),
      "leg-3": result({ ran: 3 }),
      "leg-4": result({ ran: 1 }),
      // Its hub has migrated while it waited for a signal.
      a1: logged("a1", expect.stringMatching(was)),
      // It waited in the lane for the other one, and begins under whichever version is there then.
      a2: logged("a2"),
      b1: logged("b1", expect.stringMatching(was)),
      text: result({ words: ["EINS", "ZWEI"], unknown: 1 }),
    },
    letters: 55,
    otherLetters: [],
    incidents: [],
    // The signal to a run that has ended. Each other one has arrived.
    lost: ["leg-4/t0"],
    overlaps: [],
    undone: ["thing 1", "thing 0"],
    siteA: ["building", "inspection"],
    siteB: ["building", "inspection"],
    isEarly: false,
    // In each process. A log has whole milliseconds, so a second may have one more.
    mostInOneSecond: expect.toSatisfy((count: number) => count <= 51) as number,
    ticks: expect.toSatisfy((count: number) => count > 1) as number,
    gaps: [1_000],
  };
};

test(
  `each hub does what it says over kills and a deploy, on SQLite (seed ${seed})`,
  { timeout: 600_000 },
  async () => {
    const place = {
      kind: "sqlite",
      file: join(folder, "mixed.db"),
      workLog: join(folder, "sqlite.log"),
      unitMs: 50,
      version: 1,
      startAt: Date.now() + 1_500,
    } as const;
    const played = await playKills({ place, processes: 1, kills: asked || 1, seed });
    expect(whatCame(played, place.startAt)).toEqual(sound(1));
  },
);

test.skipIf(
  (asked === 0 && process.env["WHEELWORK_LONG"] === undefined) ||
    !kafkaIsInstalled(defaultCache) ||
    !postgresIsInstalled(),
)(
  `each hub does what it says over kills and a deploy, on two nodes with Kafka and PostgreSQL (seed ${seed})`,
  { timeout: 600_000 },
  async () => {
    const database = new PostgresServer(join(folder, "postgres"), await freePort());
    const broker = new KafkaBroker(join(folder, "kafka"), await freePort(), defaultCache);
    try {
      await Promise.all([database.start(), broker.start(await freePort())]);
      const place = {
        kind: "cluster",
        brokers: broker.brokers,
        databaseUrl: database.url,
        schema: "mixed",
        shards: 3,
        workLog: join(folder, "cluster.log"),
        unitMs: 200,
        version: 1,
        startAt: Date.now() + 5_000,
      } as const;
      const played = await playKills({ place, processes: 2, kills: asked || 3, seed });
      expect(whatCame(played, place.startAt)).toEqual(sound(2));
    } finally {
      await broker.signal("SIGKILL");
      await database.signal("SIGKILL");
    }
  },
);

test.skipIf(
  (asked === 0 && process.env["WHEELWORK_LONG"] === undefined) ||
    !stormIsInstalled(defaultCache) ||
    !kafkaIsInstalled(defaultCache) ||
    !postgresIsInstalled(),
)(
  `each hub does what it says over kills and a deploy of a topology on Storm (seed ${seed})`,
  { timeout: 1_800_000 },
  async () => {
    await withStorm(folder, async (servers) => {
      const app = { workLog: join(folder, "storm.log"), unitMs: 200, version: 1 } as const;
      const played = await playOnStorm(servers, app, asked || 4, seed);
      expect(whatCame(played, played.startAt)).toEqual(sound(2));
    });
  },
);
