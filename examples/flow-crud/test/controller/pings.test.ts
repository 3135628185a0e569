import { Network, networkFault, waitUntil } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { silentLogger, type Answer } from "wheelwork";
import { openFlowCrud, type FlowCrud } from "../../src/application.ts";
import { FlowSpec, switchIdOf } from "../../src/controller/model.ts";
import { until } from "../crash/system.ts";

// Two hosts ping each other over a flow of the application, on a ring of real switches, while the flow moves. `WHEELWORK_PINGS` says how many
// pings there are, and `WHEELWORK_FIGURES=1` shows how long things take.

const fault = networkFault();
const pings = Number(process.env["WHEELWORK_PINGS"] ?? 400);
const shows = process.env["WHEELWORK_FIGURES"] === "1";
const sw = (number: number): string => switchIdOf(BigInt(number));

describe.skipIf(fault !== undefined)(
  `hosts on real switches${fault === undefined ? "" : ` (${fault})`}`,
  () => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-pings-"));
    const network = new Network(`p${process.pid % 1_000_000}`, join(folder, "network"));
    let system: FlowCrud;

    const status = async (): Promise<string | undefined> => (await system.flowStore.flow("f"))?.status;
    const over = async (): Promise<number[]> =>
      (await system.flowStore.flow("f"))?.paths[0]?.segments.map(({ to }) => Number(`0x${to.slice(-2)}`)) ??
      [];
    const call = async (
      hub: keyof FlowCrud["controller"]["hubs"],
      request: object,
    ): Promise<Answer | undefined> => {
      const { id } = await system.engine.submit(system.controller.hubs[hub].name, request);
      return system.engine.answer(id, { waitMs: 60_000 });
    };

    beforeAll(async () => {
      await network.start("ring", 4);
      await network.host(1, 1, 1);
      await network.host(2, 3, 2, 200);
      system = await openFlowCrud({
        dataDir: join(folder, "app"),
        network: { switches: 4, listen: { path: network.controllerPath } },
        engine: { logger: silentLogger },
      });
      await waitUntil(() => system.speaker.connected.length === 4, 120_000);
      const isFound = async (): Promise<boolean> =>
        (await system.flowStore.links()).filter(({ isUp }) => isUp).length === 8;
      await until("the links", 60_000, isFound);
      const spec = FlowSpec.parse({
        flowId: "f",
        source: { switchId: sw(1), port: 1, vlan: 0 },
        destination: { switchId: sw(3), port: 2, vlan: 200 },
        bandwidth: 100_000,
      });
      const created = await call("create", { spec });
      if (created?.kind !== "result") throw new Error(`there is no flow: ${JSON.stringify(created)}`);
      if ((await network.ping(1, 2, 5)) < 5) throw new Error("the hosts do not reach each other");
    });

    afterAll(async () => {
      await system?.close();
      network.stop();
      rmSync(folder, { recursive: true, force: true });
    });

    test("a flow that is moved on purpose loses no ping", async () => {
      const pinging = network.ping(1, 2, pings, { intervalMs: 2 });
      const load = { isOn: true };
      let moves = 0;
      const answered = pinging.finally(() => (load.isOn = false));
      while (load.isOn) {
        // The other way round the ring gets cheaper.
        const [, last] = await over();
        const middle = (await over())[0] as number;
        expect(last).toBe(3);
        for (const [one, other] of [
          [1, middle],
          [middle, 3],
        ] as const) {
          const link = { from: sw(one), fromPort: 100 + other, to: sw(other), toPort: 100 + one };
          await system.flowStore.changeLink(link, { cost: 1000 + 100 * (moves + 1) });
        }
        expect(await call("reroute", { flowId: "f" })).toMatchObject({
          kind: "result",
          value: { isMoved: true },
        });
        moves++;
      }
      if (shows) process.stdout.write(`${moves} moves under ${pings} pings: ${await answered} answered\n`);
      expect(moves).toBeGreaterThan(0);
      expect(await answered).toBe(pings);
    });

    test("when a link fails, hosts reach each other again on the other side", async () => {
      const [middle] = await over();
      const began = performance.now();
      network.link(1, middle as number, "down");
      await expect
        .poll(async () => (await over())[0], { interval: 5, timeout: 60_000 })
        .toBe(middle === 2 ? 4 : 2);
      await expect.poll(() => network.ping(1, 2, 1), { interval: 5, timeout: 60_000 }).toBe(1);
      if (shows)
        process.stdout.write(`a link failed: traffic after ${Math.round(performance.now() - began)} ms\n`);
      expect(await status()).toBe("UP");
      // The other side fails, too: there is no path. It is back when a link is back.
      network.link(1, middle === 2 ? 4 : 2, "down");
      await expect.poll(status, { timeout: 60_000 }).toBe("DOWN");
      network.link(1, middle as number, "up");
      await expect.poll(status, { timeout: 60_000 }).toBe("UP");
      await expect.poll(() => network.ping(1, 2, 3), { timeout: 60_000 }).toBe(3);
    });

    test("a rule that is deleted by hand shows in that direction only, and a sync puts it back", async () => {
      await network.ofctl(1, "del-flows", "cookie=0x4000000000000000/0x4000000000000000");
      const answer = await call("validate", { flowId: "f" });
      expect(answer).toMatchObject({
        value: {
          directions: [
            { direction: "forward", asExpected: false },
            { direction: "reverse", asExpected: true },
          ],
        },
      });
      expect(await call("sync", { flowId: "f" })).toMatchObject({
        kind: "result",
        value: { isMoved: false },
      });
      expect(await network.ping(1, 2, 3)).toBe(3);
    });

    test("a flow that is deleted leaves nothing", async () => {
      expect(await call("delete", { flowId: "f" })).toMatchObject({
        kind: "result",
        value: { unconfirmed: [] },
      });
      for (const number of [1, 2, 3, 4]) {
        const rules = (await network.dump(number)).filter((line) => !line.includes("dl_type=0x88cc"));
        expect(rules).toEqual([]);
        expect(await network.ofctl(number, "dump-meters")).not.toContain("meter=");
      }
      expect(await system.flowStore.audit()).toEqual([]);
    });
  },
);
