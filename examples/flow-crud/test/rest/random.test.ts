import { waitUntil } from "@wheelwork/services";
import { expect, test } from "vitest";
import { rulesOf } from "../../src/controller/rules.ts";
import { seeded } from "../../src/floodlight/faults.ts";
import { flowBody, linkEvent, startRest, sw } from "./system.ts";

// Strangers over REST, at once: random operations on a few flows that compete for bandwidth, while links fail and return and switches refuse.
// What must hold is looked at in the end. WHEELWORK_LONG=1: more rounds. WHEELWORK_SEED: the same again.

const isLong = process.env["WHEELWORK_LONG"] !== undefined;
const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const [rounds, operations] = isLong ? [30, 60] : [2, 20];

/** What an operation may be answered, whatever the others do. Anything else is a defect. */
const mayBe: readonly number[] = [200, 202, 400, 404, 409, 422, 500];
const cuts: readonly (readonly [number, number])[] = [
  [1, 2],
  [2, 3],
  [1, 4],
  [3, 4],
];

test(
  `strangers at once: in the end the books are exact, and nobody waits for what is free (seed ${seed})`,
  { timeout: 600_000 },
  async () => {
    const random = seeded(seed);
    const int = (below: number): number => Math.floor(random() * below);
    const pick = <T>(all: readonly T[]): T => all[int(all.length)] as T;
    const system = await startRest({
      controller: { againMs: 20, maxAgainMs: 200, drainMs: 1, deadlineMs: 20_000 },
    });
    const { send, switches, engine, hubs, store, network } = system;
    const ids = ["a", "b", "c", "d", "e", "f"];
    for (const [one, other] of cuts) {
      const link = `src_switch=${sw(one)}&src_port=${100 + other}&dst_switch=${sw(other)}&dst_port=${100 + one}`;
      await send("PATCH", `/v1/links/bandwidth?${link}`, { max_bandwidth: 3_000 });
    }
    const optionsOf = (): object => ({
      maximum_bandwidth: pick([0, 500, 1_000, 2_000]),
      strict_bandwidth: random() < 0.5,
      allocate_protected_path: random() < 0.3,
      max_latency: pick([null, null, 4, 3]),
      priority: int(3),
    });
    /** Mostly its own. */
    const vlanOf = (id: string): number => 1 + (random() < 0.9 ? ids.indexOf(id) : int(ids.length));
    const operation = (): Promise<{ readonly status: number; readonly text: string }> => {
      const id = pick(ids);
      const queue = pick(["", "?whenBusy=queue"]);
      const headers = pick([{}, {}, { prefer: "wait=0" }, { prefer: "respond-async" }]);
      switch (int(12)) {
        case 0:
          return send("DELETE", `/v2/flows/${id}${queue}`, undefined, headers);
        case 1:
          return send("PATCH", `/v2/flows/${id}${queue}`, optionsOf(), headers);
        case 2:
          return send("PATCH", `/v2/flows/${id}${queue}`, { ignore_bandwidth: random() < 0.5 }, headers);
        case 3:
          return send("PUT", `/v2/flows/${id}${queue}`, flowBody(id, vlanOf(id), optionsOf()), headers);
        case 4:
          return send("POST", `/v2/flows/${id}/reroute${queue}`, undefined, headers);
        case 5:
          return pick([
            () => send("PATCH", `/v1/flows/${id}/swap${queue}`, undefined, headers),
            () => send("PATCH", `/v1/flows/${id}/sync${queue}`, undefined, headers),
          ])();
        default:
          return send("POST", `/v2/flows${queue}`, flowBody(id, vlanOf(id), optionsOf()), headers);
      }
    };
    const isQuiet = async (): Promise<boolean> =>
      (await engine.lanes()).total === 0 && (await engine.count({ status: ["running", "pending"] })) === 0;

    const counts = { notUp: 0, freed: 0 };
    const isAway = new Set<readonly [number, number]>();
    /** A link fails, or is back. */
    async function turn(link: readonly [number, number]): Promise<void> {
      const isBack = isAway.delete(link);
      if (!isBack) isAway.add(link);
      await (isBack ? network.mend(...link) : network.cut(...link));
      await engine.submit(hubs.handleEvent, { event: linkEvent(...link, isBack) });
    }
    for (let round = 0; round < rounds; round++) {
      const at = `round ${round}`;
      const asked = [];
      for (let index = 0; index < operations; index++) {
        asked.push(operation());
        if (random() < 0.1) await Promise.all(asked.slice(-3));
      }
      // At most two links are away, so that some flows find a way, and others wait.
      const away = cuts.filter((cut) => isAway.has(cut));
      const link = away.length > 1 ? pick(away) : pick(cuts);
      if (random() < 0.7) await turn(link);
      const full = 1 + int(4);
      const isFull = random() < 0.4;
      if (isFull) await switches.refuse(full);
      for (const { status, text } of await Promise.all(asked))
        expect(mayBe.includes(status) ? "" : `${status} ${text}`, at).toBe("");
      if (isFull) await switches.refuse(full, false);
      await waitUntil(isQuiet, 60_000);
      // Whoever has given something back has seen to it that somebody looks. That may be about to begin.
      expect([at, store.promiseLook("a test")]).toEqual([at, false]);
      await engine.call(hubs.lookAfterFlows, {});
      await waitUntil(isQuiet, 60_000);
      expect(await engine.count({ status: "incident" }), at).toBe(0);
      expect(await store.audit(), at).toEqual([]);
      const flows = await store.flows({ limit: 100 });
      const wanted = flows
        .map(rulesOf)
        .reduce((sum, { inner, entries }) => sum + inner.length + entries.length, 0);
      expect(await switches.count(), at).toBe(wanted);
      for (const { spec, status } of flows) {
        if (status === "DOWN") continue;
        const { json } = await send("GET", `/v1/flows/${spec.flowId}/validate`);
        expect(json.map((entry: { discrepancies: unknown }) => entry.discrepancies).flat(), at).toEqual([]);
      }
      // Nobody who is not UP could be better: an operator who asks for it gets nothing.
      for (const { spec, status } of flows.filter((flow) => flow.status !== "UP")) {
        counts.notUp++;
        await engine.call(hubs.restore, { flowId: spec.flowId, reason: "an operator asks" });
        expect([at, spec.flowId, (await store.flow(spec.flowId))?.status]).toEqual([at, spec.flowId, status]);
      }
    }
    const reason = "others have given back what it lacks";
    counts.freed = await engine.count({ hub: hubs.restore.name, labels: { correlation: reason } });
    if (isLong) process.stdout.write(`seed ${seed}: ${JSON.stringify(counts)}\n`);
  },
);
