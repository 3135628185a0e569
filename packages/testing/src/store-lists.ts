import { strictEqual } from "node:assert/strict";
import type { StoreFilter, RequestList, Store, StoredAnswer, StoredRun } from "@wheelwork/engine";
import { compareInList, isListedAfter, isMeant } from "@wheelwork/engine/stores";
import { seededRandom } from "./random.ts";
import { answer, nothingBegun, Owner, run, same, type StoreTest } from "./store-fixtures.ts";

const keysOf = async (store: Store, list: RequestList): Promise<string[]> =>
  (await store.list(list)).map(({ key }) => key);

/** Lists and counts of requests: a part of the conformance suite of the Store port. */
export function listConformance(test: StoreTest): void {
  test("lists requests newest first, each once, in pages", async ({ store }, owner) => {
    await owner.checkpoint({
      runs: [run("a", { createdAt: 1 }), run("b", { createdAt: 3 }), run("child", { root: false })],
    });
    const done = [
      answer("c", { createdAt: 2 }),
      answer("d", { createdAt: 3 }),
      answer("child2", { root: false }),
    ];
    const answeredOnly = answer("b", { createdAt: 3, endedAt: undefined, status: "incident" });
    await owner.commit({ answers: [...done, answeredOnly] });
    const keys = async (filter: Partial<Parameters<Store["list"]>[0]>): Promise<string[]> =>
      (await store.list({ limit: 10, ...filter })).map(({ key }) => key);
    same(await keys({}), ["d", "b", "c", "a"]);
    same(await keys({ limit: 2 }), ["d", "b"]);
    same(await keys({ after: { createdAt: 3, key: "b" } }), ["c", "a"]);
    same(await keys({ status: "ended" }), ["d", "c"]);
    same(await keys({ status: "incident" }), [], "the row of the run counts, not the row of its answer");
    await owner.checkpoint({ runs: [run("child", { root: false, status: "incident" })] });
    same(await keys({ status: "incident" }), ["child"], "incidents of children are listed too");
    same(await keys({ hub: "none" }), []);
    await owner.commit({ answers: [answer("told", { root: false, status: "lost" })] });
    same(
      await keys({ status: "lost" }),
      ["told"],
      "tells that have failed for good are listed under their status",
    );
    same(await keys({ status: "ended" }), ["d", "c"]);
  });

  const acme = { region: "eu", tenant: "acme" };
  const quoted = { region: 'it\'s a "region" = \\ %_ \u{1F600}', tenant: "acme" };
  const broken = { code: "WW_DEFECT", message: 'the "…" is \\ broken\u0000 \uD800 \u{1F600}' };
  const nothing = { createdAt: 1, answeredAt: 1, endedAt: 1 };
  const mixed: readonly [kind: "run" | "answer", row: StoredRun | StoredAnswer][] = [
    ["run", run("r1", { createdAt: 1_000, activity: "calling", labels: acme, attempts: 1 })],
    ["run", run("r2", { createdAt: 2_000, state: "B", activity: "waiting", labels: { tenant: "globex" } })],
    [
      "run",
      run("r3", {
        createdAt: 90_000,
        state: "B",
        activity: "retrying",
        hub: "other",
        labels: quoted,
        attempts: 7,
      }),
    ],
    ["run", run("r4", { createdAt: 5_000_000, status: "pending", state: "" })],
    ["run", run("r5", { createdAt: 5_000_001, status: "incident", incident: broken, labels: acme })],
    ["run", run("r5/1", { createdAt: 5_000_002, status: "incident", root: false, incident: broken })],
    ["run", run("r5/2", { createdAt: 5_000_002, status: "incident", root: false })],
    [
      "run",
      run("r6", { createdAt: 5_000_003, answeredAt: 5_000_050, activity: "waiting", labels: acme, due: 400 }),
    ],
    ["run", run("r1/1", { createdAt: 1_001, root: false, activity: "calling" })],
    ["answer", answer("a1", { createdAt: 1_000, answeredAt: 1_005, endedAt: 1_005, labels: acme })],
    [
      "answer",
      answer("a2", {
        createdAt: 1_023,
        answeredAt: 9_000_000,
        endedAt: 9_000_000,
        labels: { tenant: "acme" },
      }),
    ],
    ["answer", answer("a3", { createdAt: 1_024, answeredAt: 1_024, endedAt: 1_030 })],
    [
      "answer",
      answer("a4", {
        createdAt: 70_000,
        answeredAt: 70_900,
        endedAt: 70_900,
        state: "Bad",
        labels: { tenant: "globex", region: "eu" },
        answer: { kind: "error", code: "NoPort", message: 'a "message"' },
      }),
    ],
    [
      "answer",
      answer("a5", {
        createdAt: 5_000_000,
        answeredAt: 5_001_000,
        endedAt: 5_001_000,
        hub: "other",
        answer: { kind: "error", code: "WW_CANCELLED", message: "cancelled" },
      }),
    ],
    ["answer", answer("a6", { ...nothing, answer: { kind: "timeout" } as StoredAnswer["answer"] })],
    ["answer", answer("a1/1", { ...nothing, root: false })],
    ["answer", answer("a1/t2", { ...nothing, root: false, status: "lost", hub: "tell:s" })],
    [
      "answer",
      answer("r6", {
        createdAt: 5_000_003,
        answeredAt: 5_000_050,
        endedAt: undefined,
        status: "running",
        labels: acme,
      }),
    ],
  ];
  const writeMixed = async (owner: Owner): Promise<void> => {
    await owner.checkpoint({
      runs: mixed.flatMap(([kind, row]) => (kind === "run" ? [row as StoredRun] : [])),
    });
    const answers = mixed.flatMap(([kind, row]) => (kind === "answer" ? [row as StoredAnswer] : []));
    await owner.commit({ answers: answers.toSorted((a, b) => a.answeredAt - b.answeredAt) });
  };
  const stuck = { dueBefore: 400, acceptedBefore: { h: 5_000_004 } };
  const filters: readonly [filter: StoreFilter, keys: string][] = [
    [{}, "r6 r5 r4 a5 r3 a4 r2 a3 a2 r1 a1 a6"],
    [{ hub: "h" }, "r6 r5 r4 a4 r2 a3 a2 r1 a1 a6"],
    [{ hub: ["other", "none"] }, "a5 r3"],
    [{ status: "pending" }, "r4"],
    [{ status: "running" }, "r6 r3 r2 r1"],
    [{ status: "calling" }, "r1"],
    [{ status: "waiting" }, "r6 r2"],
    [{ status: ["retrying", "incident"] }, "r5/2 r5/1 r5 r3"],
    [{ status: "incident", code: "WW_DEFECT" }, "r5/1 r5"],
    [{ status: "incident", message: broken.message }, "r5/1 r5"],
    [{ message: ["none", broken.message] }, "r5"],
    [{ status: "incident", message: broken.message, labels: acme }, "r5"],
    [{ status: "incident", message: "none" }, ""],
    [{ attempts: { min: 2 } }, "r3"],
    [{ attempts: { min: 8 } }, ""],
    [{ attempts: { min: 1, max: 7 } }, "r3 r1"],
    [{ attempts: { max: 1 }, status: "running" }, "r6 r2 r1"],
    [{ attempts: { min: 7 }, labels: { tenant: "acme" } }, "r3"],
    [{ attempts: { min: 1 }, labels: { tenant: "acme" }, status: ["calling", "ended"] }, "r1"],
    [{ status: "stuck" }, "r3"],
    [{ status: "stuck", stuck }, "r3 r2 r1"],
    [{ status: "stuck", stuck: { ...stuck, acceptedBefore: { h: 1_500 } } }, "r3 r1"],
    [{ status: "stuck", stuck: { dueBefore: 401, acceptedBefore: {} } }, "r6 r3"],
    [{ status: ["stuck", "waiting", "pending"], stuck: { ...stuck, acceptedBefore: {} } }, "r6 r4 r3 r2"],
    [{ status: "stuck", stuck, labels: { tenant: ["acme", "globex"] }, hub: "h" }, "r2 r1"],
    [{ status: "stuck", stuck: { dueBefore: 401, acceptedBefore: {} }, labels: acme }, "r6"],
    [{ status: "stuck", stuck, createdAt: { from: 1_001 } }, "r3 r2"],
    [{ status: "ended" }, "a5 a4 a3 a2 a1 a6"],
    [{ status: "result" }, "a3 a2 a1"],
    [{ status: "error" }, "a5 a4"],
    [{ status: "timeout" }, "a6"],
    [{ status: "cancelled" }, "a5"],
    [{ status: "lost" }, "a1/t2"],
    [{ status: [] }, ""],
    [{ state: "B" }, "r3 r2"],
    [{ state: ["B", "Bad"], hub: "h" }, "a4 r2"],
    [{ code: "NoPort" }, "a4"],
    [{ code: ["NoPort", "WW_CANCELLED"], status: "error" }, "a5 a4"],
    [{ createdAt: { from: 1_023, to: 70_000 } }, "r2 a3 a2"],
    [{ createdAt: { from: 5_000_001 } }, "r6 r5"],
    [{ createdAt: { to: 1_000 } }, "a6"],
    [{ createdAt: { from: 9, to: 9 } }, ""],
    [{ answeredAt: { from: 1_005, to: 70_901 } }, "a4 a3 a1"],
    [{ answeredAt: { from: 5_000_050 } }, "r6 a5 a2"],
    [{ answeredAt: { to: 2 }, status: "timeout" }, "a6"],
    [{ durationMs: { min: 1 } }, "r6 a5 a4 a2 a1"],
    [{ durationMs: { min: 5, max: 900 } }, "r6 a1"],
    [{ durationMs: { min: 900, max: 1_001 }, hub: "h" }, "a4"],
    [{ durationMs: { max: 1 } }, "a3 a6"],
    [
      { createdAt: { from: 1_000, to: 5_000_001 }, answeredAt: { from: 1_006 }, status: "ended" },
      "a5 a4 a3 a2",
    ],
    [{ labels: { tenant: "acme" } }, "r6 r5 r3 a2 r1 a1"],
    [{ labels: { tenant: ["globex", "none", "globex"] } }, "a4 r2"],
    [{ labels: { tenant: ["acme", "globex"], region: "eu" } }, "r6 r5 a4 r1 a1"],
    [{ labels: { tenant: "acme", region: [quoted.region, "us"] } }, "r3"],
    [{ labels: { tenant: "acme", region: "eu", none: "x" } }, ""],
    [{ labels: { tenant: "acme", region: 'eu","tenant":"acme' } }, ""],
    [{ labels: { tenant: "acme", region: [] } }, ""],
    [{ labels: { tenant: [] } }, ""],
    [{ labels: { tenant: "acme" }, status: "running", hub: "h" }, "r6 r1"],
    [{ labels: { tenant: "acme" }, createdAt: { from: 1_000, to: 1_023 } }, "r1 a1"],
    [{ labels: { tenant: "acme", region: "eu" }, answeredAt: { from: 1_005, to: 5_000_051 } }, "r6 a1"],
    [{ labels: { tenant: "acme" }, answeredAt: { to: 5_000_051 }, status: "ended" }, "a1"],
    [{ labels: { tenant: "acme" }, durationMs: { min: 6 } }, "r6 a2"],
  ];

  for (const [filter, keys] of filters) {
    test(`lists, pages and counts requests with ${JSON.stringify(filter)}`, async ({ store }, owner) => {
      await writeMixed(owner);
      const wanted = keys.split(" ").filter((key) => key !== "");
      same(await keysOf(store, { ...filter, limit: 100 }), wanted);
      same(await keysOf(store, { ...filter, limit: 100, order: "oldest" }), wanted.toReversed());
      for (const order of ["newest", "oldest"] as const) {
        const paged: string[] = [];
        for (let after: RequestList["after"]; ;) {
          const rows = await store.list({
            ...filter,
            limit: 2,
            order,
            ...(after === undefined ? {} : { after }),
          });
          paged.push(...rows.map(({ key }) => key));
          const last = rows.at(-1);
          if (last === undefined) break;
          after = { createdAt: last.createdAt, key: last.key };
        }
        same(paged, order === "newest" ? wanted : wanted.toReversed());
      }
      const counts = await store.facets(filter);
      strictEqual(
        counts.reduce((sum, { count }) => sum + count, 0),
        wanted.length,
      );
    });
  }

  test("lists and counts what the rows say, for many rows and filters that nobody has chosen", async ({
    store,
  }, owner) => {
    const seed = 1 + Math.floor(1e6 * Math.random());
    const random = seededRandom(seed);
    // Short labels, and some that are too long for an index.
    const texts = ["a", "b", "\u{1F600}".repeat(200)];
    const times = [0, 900, 1_024, 65_000, 65_536, 70_000, 4_194_304, 4_200_000, 268_500_000];
    const time = (): number => random.pick(times) + random.int(40);
    const took = (): number => random.pick([0, 1, 4, 5, 7, 60, 999, 1_000, 5_000]) + random.int(3);
    const rowsOf = <T>(count: number, make: (n: number) => T): T[] =>
      Array.from({ length: count }, (_, n) => make(n));
    const common = () => {
      const labels: Record<string, string> = {};
      for (const name of ["x", "y", "z"]) if (random.chance(0.5)) labels[name] = random.pick(texts);
      const hub = random.pick(["h", "other"]);
      return { hub, createdAt: time(), ...(random.chance(0.3) ? {} : { labels }) };
    };
    const runs = rowsOf(60, (n) => {
      const of = common();
      const isOver = random.chance(0.3);
      return run(`r${n}`, {
        ...of,
        activity: random.pick(["calling", "waiting", "retrying"] as const),
        attempts: random.int(4),
        ...(isOver ? { answeredAt: of.createdAt + took() } : {}),
        ...(random.chance(0.5) ? { due: time() } : {}),
      });
    });
    const answers = rowsOf(120, (n) => {
      const of = common();
      const answeredAt = of.createdAt + took();
      return answer(`a${n}`, { ...of, answeredAt, endedAt: answeredAt });
    }).toSorted((a, b) => a.answeredAt - b.answeredAt);
    await owner.checkpoint({ runs });
    await owner.commit({ answers });
    const rows: (StoredRun | StoredAnswer)[] = [...runs, ...answers];
    /** One request comes, and a run moves on or ends. */
    const moveOn = async (round: number): Promise<void> => {
      const of = common();
      const answeredAt = of.createdAt + took();
      const came = answer(`m${round}`, { ...of, answeredAt, endedAt: answeredAt });
      rows.push(came);
      const { key, hub, createdAt } = random.pick(runs);
      const index = rows.findIndex((row) => row.key === key);
      const moved = run(key, { hub, createdAt, activity: "waiting", attempts: random.int(4) });
      const isOver = index >= 0 && random.chance(0.2);
      if (isOver) rows.splice(index, 1);
      else if (index >= 0) rows[index] = moved;
      const runsNow = index < 0 || isOver ? [] : [moved];
      const checkpoint = { runs: runsNow, ended: isOver ? [key] : [], histories: [] };
      await owner.commit({ answers: [came], checkpoint });
    };
    const perhaps = <T extends object>(likely: number, part: () => T): T | undefined =>
      random.chance(likely) ? part() : undefined;
    const between = (value: () => number) => {
      const [from = 0, to = 0] = [value(), value() + 1].toSorted((a, b) => a - b);
      return random.pick([{ from }, { to }, { from, to }]);
    };
    const filterOf = (): StoreFilter => ({
      ...perhaps(0.3, () => ({ hub: random.pick(["h", "other"]) })),
      ...perhaps(0.4, () => ({ status: random.pick(["stuck", "running", "ended", "waiting"] as const) })),
      ...perhaps(0.4, () => ({ createdAt: between(time) })),
      ...perhaps(0.2, () => ({ answeredAt: between(time) })),
      ...perhaps(0.4, () => {
        const { from: min, to: max } = between(took) as { from?: number; to?: number };
        return {
          durationMs: { ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) },
        };
      }),
      ...perhaps(0.2, () => ({ attempts: { min: random.int(3) } })),
      ...perhaps(0.5, () => ({
        labels: { x: random.pick(texts), ...perhaps(0.5, () => ({ y: random.pick(texts) })) },
      })),
      stuck: { dueBefore: time(), acceptedBefore: { h: time(), ...perhaps(0.5, () => ({ other: time() })) } },
    });
    for (let round = 0; round < 60; round++) {
      const filter = filterOf();
      const order = random.pick(["newest", "oldest"] as const);
      const why = `seed ${seed}: ${JSON.stringify(filter).replaceAll(texts[2] as string, "long")}`;
      const meant = rows.filter((row) => isMeant(row, filter)).toSorted((a, b) => compareInList(a, b, order));
      const limit = 1 + random.int(2 * meant.length + 1);
      const after = random.chance(0.3) ? random.pick(rows) : undefined;
      const place = after && { createdAt: after.createdAt, key: after.key };
      const list = { ...filter, order, limit, ...(place === undefined ? {} : { after: place }) };
      const wanted = meant.filter((row) => isListedAfter(row, list)).slice(0, limit);
      const pinned = store.pin?.();
      const listed = (pinned ?? store).list(list);
      const counted = (pinned ?? store).facets(filter);
      // What comes meanwhile is for those who look later.
      if (pinned !== undefined) await moveOn(round);
      same(
        (await listed).map(({ key }) => key),
        wanted.map(({ key }) => key),
        why,
      );
      strictEqual(
        (await counted).reduce((sum, { count }) => sum + count, 0),
        meant.length,
        why,
      );
      pinned?.end();
    }
  });

  test("lists and counts what was committed when it was pinned, whatever comes then", async ({
    store,
    reopen,
  }, owner) => {
    await writeMixed(owner);
    const first = store.pin?.();
    // A store that reads at once, or beside the loop, need not.
    if (first === undefined) return;
    const before = { rows: await store.list({ limit: 100 }), counts: await store.facets({}) };
    await owner.commit({ answers: [answer("b1", { createdAt: 6_000_000, hub: "a new facet" })] });
    const second = store.pin?.();
    await owner.checkpoint({ runs: [run("r1", { createdAt: 1_000, state: "B" })], ended: ["r5"] });
    for (const one of [first, second]) {
      same(
        (await one?.list({ limit: 100, status: "running" }))?.map(({ key, state }) => `${key} ${state}`),
        ["r6 A", "r3 B", "r2 B", "r1 A"],
      );
      same((await one?.list({ limit: 100, status: "incident" }))?.length, 3);
    }
    same(await first.list({ limit: 100 }), before.rows);
    same(await first.facets({}), before.counts);
    same((await second?.list({ limit: 1 }))?.[0]?.key, "b1");
    first.end();
    second?.end();
    same(await keysOf(store, { limit: 100, state: "B" }), ["r3", "r2", "r1"]);
    // One that nobody has ended does not keep the store open.
    store.pin?.();
    return reopen();
  });

  test("counts incidents by their messages, also once they go on", async ({ store }, owner) => {
    await writeMixed(owner);
    const groups = async (): Promise<unknown[]> =>
      (await store.facets({ status: "incident", byMessage: true }))
        .map(({ hub, state, code, message, root, count }) => [hub, state, root, code, message, count])
        .toSorted();
    same(await groups(), [
      ["h", "A", false, undefined, undefined, 1],
      ["h", "A", false, "WW_DEFECT", broken.message, 1],
      ["h", "A", true, "WW_DEFECT", broken.message, 1],
    ]);
    same((await store.find(["r5"]))[0]?.run?.incident, broken);
    const other = { code: "WW_DEFECT", message: "another" };
    await owner.checkpoint({
      runs: [
        run("r5", { createdAt: 5_000_001, activity: "calling" }),
        run("r5/2", { createdAt: 5_000_002, status: "incident", root: false, incident: other }),
      ],
      ended: ["r5/1"],
    });
    same(await groups(), [["h", "A", false, "WW_DEFECT", "another", 1]]);
  });

  test("gives back the labels of requests", async ({ store }, owner) => {
    await writeMixed(owner);
    const rows = await store.list({ labels: { region: quoted.region }, limit: 9 });
    same(
      rows.map(({ key, labels }) => [key, labels]),
      [["r3", quoted]],
    );
    const [found, ended] = await store.find(["r3", "a1"]);
    same(found?.run?.labels, quoted);
    same(ended?.answer?.labels, acme);
  });

  test("tells what listed requests have in common, and counts them by that", async ({ store }, owner) => {
    await writeMixed(owner);
    const [cancelled] = await store.list({ code: "WW_CANCELLED", limit: 9 });
    same(cancelled, {
      key: "a5",
      hub: "other",
      version: 1,
      status: "ended",
      state: "Done",
      createdAt: 5_000_000,
      answeredAt: 5_001_000,
      outcome: "error",
      code: "WW_CANCELLED",
    });
    const [retrying] = await store.list({ status: "retrying", limit: 9 });
    strictEqual(retrying?.activity, "retrying");
    const counts = await store.facets({ hub: "other" });
    same(
      counts
        .map(({ status, activity, outcome, code, count }) => [status, activity, outcome, code, count])
        .toSorted(),
      [
        ["ended", null, "error", "WW_CANCELLED", 1],
        ["running", "retrying", null, null, 1],
      ],
    );
  });

  test("counts what is there: runs that move on, end, and are purged, over a restart", async ({
    store,
    reopen,
  }, owner) => {
    await writeMixed(owner);
    const count = async (of: Store, filter: StoreFilter): Promise<number> =>
      (await of.facets(filter)).reduce((sum, facet) => sum + facet.count, 0);
    await owner.checkpoint({
      runs: [run("r1", { createdAt: 1_000, state: "B", activity: "waiting" })],
      ended: ["r3", "none"],
    });
    strictEqual(await count(store, { status: "running" }), 3);
    strictEqual(await count(store, { state: "B" }), 2);
    strictEqual(await count(store, { labels: { tenant: "acme" } }), 4, "r1 has no labels any more");
    await owner.commit({
      answers: [
        answer("r6", { createdAt: 5_000_003, answeredAt: 5_000_050, endedAt: 5_000_060, labels: acme }),
      ],
    });
    strictEqual(await count(store, { status: "result" }), 4);
    strictEqual(await count(store, { status: "running" }), 3, "the row of the run is still there");
    const again = await reopen();
    const next = await new Owner(again.store).claim();
    await next.checkpoint({ ended: ["r6"] });
    strictEqual(await count(again.store, { status: "running" }), 2);
    strictEqual(await count(again.store, { status: "result", createdAt: { from: 1_024 } }), 2);
    let purged = 0;
    for (let some = -1; some !== 0; purged += some) some = await again.store.purge(80_000, 2, nothingBegun);
    strictEqual(purged > 0, true);
    strictEqual(await count(again.store, { status: "result" }), 2);
    strictEqual(await count(again.store, { status: "result", createdAt: { to: 1_024 } }), 1);
    strictEqual(await count(again.store, { status: "timeout" }), 0);
    strictEqual(await count(again.store, { status: "lost" }), 0);
    strictEqual(await count(again.store, { labels: { tenant: "acme" } }), 3);
    same(await keysOf(again.store, { labels: { tenant: "acme" }, limit: 9 }), ["r6", "r5", "a2"]);
    strictEqual(await count(again.store, { labels: { region: "eu" } }), 2);
    return again;
  });
}
