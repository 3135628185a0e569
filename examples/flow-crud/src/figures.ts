// How quick the life of flows is, on a simulated network of 50 switches: npm run figures. The bound is the same work without hubs: the
// database and the switches are asked directly, one step after the other, by as many callers.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "wheelwork";
import { openFlowCrud, type FlowCrud } from "./application.ts";
import { FlowSpec, switchIdOf } from "./controller/model.ts";
import { bySwitch, stepsBetween } from "./controller/rules.ts";
import type { Guard, Plan } from "./controller/store.ts";

const switches = 50;
const sw = (number: number): string => switchIdOf(BigInt(number));
const hostPorts = 20;

let made = 0;
/** A flow that no other is like, between two switches that change from one to the next. */
function nextSpec(bandwidth = 100): FlowSpec {
  const number = made++;
  const from = 1 + (number % switches);
  const to = 1 + ((number * 7 + 13) % switches);
  const end = (at: number) => ({
    switchId: sw(at),
    port: 1 + (number % hostPorts),
    vlan: 1 + (Math.floor(number / hostPorts) % 4000),
  });
  const source = end(from);
  return FlowSpec.parse({
    flowId: `flow-${number}`,
    source,
    destination: end(to === from ? (to % switches) + 1 : to),
    bandwidth,
  });
}

/** Does something so many times, so many at once: how many a second, and how long each took. */
async function timed(count: number, atOnce: number, what: (index: number) => Promise<void>) {
  let next = 0;
  const times: number[] = [];
  const began = performance.now();
  const one = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) {
      const from = performance.now();
      await what(index);
      times.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, one));
  const ms = performance.now() - began;
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor(share * (times.length - 1))] ?? 0).toFixed(1);
  return { perSecond: Math.round((count / ms) * 1000), p50: at(0.5), p99: at(0.99), ms: Math.round(ms) };
}

const show = (what: string, { perSecond, p50, p99 }: Awaited<ReturnType<typeof timed>>, more = ""): void =>
  void process.stdout.write(`${what.padEnd(44)} ${perSecond}/s, p50 ${p50} ms, p99 ${p99} ms${more}\n`);

type HubName = keyof FlowCrud["controller"]["hubs"];

async function ask(system: FlowCrud, hub: HubName, request: object): Promise<void> {
  const { id } = await system.engine.submit(system.controller.hubs[hub].name, request);
  const answer = await system.engine.answer(id, { waitMs: 120_000 });
  if (answer?.kind !== "result") throw new Error(`${hub}: ${JSON.stringify(answer)}`);
}

/** A create without a hub. */
async function createDirectly({ flowStore, speaker }: FlowCrud, spec: FlowSpec): Promise<void> {
  const guard = (step: number): Guard => ({ fence: 1, step });
  const { flowId } = spec;
  const plan = (await flowStore.plan(flowId, guard(1), { kind: "create", spec }, { switches: [] })) as Plan;
  const { inner, entries } = stepsBetween(plan.before, plan.after);
  for (const rules of [inner, entries])
    await Promise.all(
      bySwitch(rules).map(({ switchId, rules: own }) =>
        speaker.execute({ command: "install", switchId, seq: plan.version + 1, must: false, rules: own }),
      ),
    );
  await flowStore.commit(flowId, guard(2), { info: null });
}

async function main(): Promise<void> {
  const dataDir = mkdtempSync(join(tmpdir(), "wheelwork-figures-"));
  const system = await openFlowCrud({
    dataDir,
    topology: { shape: "grid", switches },
    engine: { logger: silentLogger },
  });
  try {
    await timed(500, 50, () => ask(system, "create", { spec: nextSpec(0) }));
    for (const atOnce of [1, 16, 100]) {
      const count = atOnce === 1 ? 200 : 1_500;
      const bound = await timed(count, atOnce, () => createDirectly(system, nextSpec(0)));
      const hubs = await timed(count, atOnce, () => ask(system, "create", { spec: nextSpec(0) }));
      const share = (hubs.perSecond / bound.perSecond).toFixed(2);
      show(`create, ${atOnce} at once`, hubs, `; without hubs ${bound.perSecond}/s (${share})`);
    }
    const shared = Array.from({ length: 200 }, (_, index) => `flow-${index}`);
    const isOther = (index: number): boolean => index % 5 === 4;
    const mixed = await timed(1_500, 100, (index) =>
      isOther(index)
        ? ask(system, "update", {
            flowId: shared[index % shared.length],
            changes: { description: `${index}` },
            queue: true,
          })
        : ask(system, "create", { spec: nextSpec(0) }),
    );
    show("create, and 20 % updates of 200 flows, 100 at once", mixed);
    const thousand = Array.from({ length: 1_000 }, (_, index) => `flow-${index}`);
    show(
      "validate 1,000 flows, 50 at once",
      await timed(1_000, 50, (index) => ask(system, "validate", { flowId: thousand[index] })),
    );
    const rerouted = await timed(200, 200, (index) => ask(system, "reroute", { flowId: thousand[index] }));
    show("reroute 200 flows at once", rerouted, `; all ${rerouted.ms} ms`);
    const audit = await system.flowStore.audit();
    process.stdout.write(`books: ${audit.length === 0 ? "balanced" : audit.join("; ")}\n`);
  } finally {
    await system.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

await main();
