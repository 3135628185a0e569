import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  defaultCache,
  kafkaIsInstalled,
  networkFault,
  postgresIsInstalled,
  waitUntil,
} from "@wheelwork/services";
import { expect, onTestFinished, test } from "vitest";
import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
import { FlowLoad } from "../controller/flow-load.ts";
import { FlowNetwork, switchDifferences } from "../controller/flow-network.ts";
import { Cluster } from "./processes.ts";

const canRun = (): boolean =>
  kafkaIsInstalled(defaultCache) && postgresIsInstalled() && networkFault() === undefined;
const patienceMs = 120_000;

// test/switches/campaign has a stale owner in the short form, too: there it is asked to write.
test.skipIf(process.env["WHEELWORK_LONG"] === undefined || !canRun()).each([true, false])(
  "a switch controller that has lost its switches while it was frozen says nothing of them, and ends (connected still: %s)",
  { timeout: 300_000 },
  async (isConnected) => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-stale-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    // The database server runs as a user of its own, who must reach its data.
    chmodSync(folder, 0o755);
    const stage = await FlowNetwork.start(`s${process.pid}`.slice(0, 12), join(folder, "network"));
    onTestFinished(() => stage.stop());
    const { controllerPath } = stage.network;
    const flags = ["--log", "warn", "--api-port", "0", "--network", "--openflow", controllerPath];
    const cluster = await Cluster.start(folder, 2, flags);
    onTestFinished(() => cluster.stop());
    const stale = cluster.floodlight;
    await cluster.addNode().start();
    await stale.start();
    await stage.connect();
    const store = new PostgresFlowStore(cluster.postgres.url);
    onTestFinished(() => store.close());
    const ringIsUp = async (): Promise<boolean> =>
      (await store.links()).filter(({ isUp }) => isUp).length === 2 * stage.links.length;
    await waitUntil(ringIsUp, patienceMs);
    const load = new FlowLoad({
      urls: () => cluster.nodes.flatMap(({ url }) => url ?? []),
      random: Math.random,
      clients: 0,
    });
    await load.createKept();

    stale.signal("SIGSTOP");
    const path = join(stage.network.folder, "next.sock");
    const next = cluster.part("floodlight", "--data", join(folder, "next"), "--openflow", path);
    cluster.floodlight = next;
    await next.start("--rebuild-rules");
    await stage.point(...(isConnected ? [controllerPath] : []), path);
    const areSound = async (): Promise<string[]> => [
      ...(await store.switches()).flatMap((one) => (one.isConnected ? [] : [`${one.switchId} is away`])),
      ...(await store.links()).flatMap((link) =>
        link.isUp ? [] : [`${link.from} ${link.fromPort} is down`],
      ),
      ...(await store.flows({ limit: 10 })).flatMap(({ spec, status }) =>
        status === "UP" ? [] : [`${spec.flowId} is ${status}`],
      ),
    ];
    // The new owner has the switches once it has found all links itself.
    await waitUntil(async () => (await areSound()).length === 0, patienceMs);

    stale.signal("SIGCONT");
    const woke = performance.now();
    const wrong = new Set<string>();
    await waitUntil(async () => {
      for (const one of await areSound()) wrong.add(one);
      return performance.now() - woke > 8000;
    }, 30_000);
    expect([...wrong]).toEqual([]);
    await waitUntil(() => !stale.runs, patienceMs);
    expect(await stage.pingProblems()).toEqual([]);
    expect(await switchDifferences(stage.network, await store.flows({ limit: 10 }))).toEqual([]);
    // It does not come back either.
    await expect(stale.start()).rejects.toThrow(/the book is another one than before/);
  },
);
