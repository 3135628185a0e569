import { expect, test } from "vitest";
import { seeded } from "../../src/floodlight/faults.ts";
import { startRest, sw } from "./system.ts";

const seed = Number(process.env["WHEELWORK_SEED"] ?? Math.floor(Math.random() * 1e9));
const rounds = process.env["WHEELWORK_LONG"] === undefined ? 6 : 300;

test("to send back what was read of a flow changes nothing of it, in both versions", async () => {
  const { send, store } = await startRest();
  const random = seeded(seed);
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = <T>(all: readonly T[]): T => all[below(all.length)] as T;
  const maybe = (name: string, ...values: readonly unknown[]) =>
    random() < 0.5 ? { [name]: pick(values) } : {};
  const known: string[] = [];
  let kept = 0;
  for (let round = 0; round < rounds; round++) {
    const what = `WHEELWORK_SEED=${seed}, flow f${round}`;
    const end = (number: number) => ({
      switch_id: pick([sw(number), sw(number).toUpperCase()]),
      port_number: 1 + below(20),
      ...maybe("vlan_id", 0, null, 1 + below(4095)),
    });
    const created = await send("POST", "/v2/flows", {
      flow_id: `f${round}`,
      source: end(1),
      destination: end(3),
      ...maybe("maximum_bandwidth", 0, 64, 1_000, null),
      ...pick([{}, { ignore_bandwidth: true }, { strict_bandwidth: true }]),
      ...pick([{}, { pinned: true }, { allocate_protected_path: true }]),
      ...maybe("priority", 0, 7, null),
      ...maybe("description", "", 'it\'s "one" of ü', null),
      ...maybe("path_computation_strategy", "cost", "LATENCY", "max_latency", "cost_and_available_bandwidth"),
      ...pick([{}, { max_latency: 50 }, { max_latency: 50.5, max_latency_tier2: 80 }]),
      ...(known.length > 0 && (round % 2 === 0 || random() < 0.3) ? { diverse_flow_id: pick(known) } : {}),
    });
    // Some ends are taken.
    if (created.status !== 200) continue;
    const flowId = created.json.flow_id as string;
    known.push(flowId);
    const before = await store.flow(flowId);
    if (before?.spec.diverseWith !== null) kept++;
    for (const [version, path] of [
      ["v2", `/v2/flows/${flowId}`],
      ["v1", `/v1/flows/${flowId}`],
    ] as const) {
      const read = await send("GET", path);
      const written = await send("PUT", path, read.json);
      expect(written.status, `${what}: ${written.text}`).toBe(200);
      const after = await store.flow(flowId);
      expect([after?.spec, after?.paths], `${what}, ${version}`).toEqual([before?.spec, before?.paths]);
    }
    // What one names by itself counts more than what was read.
    const read = await send("GET", `/v2/flows/${flowId}`);
    const left = await send("PUT", `/v2/flows/${flowId}`, { ...read.json, diverse_flow_id: "" });
    expect(left.json.diverse_with, what).toEqual([]);
  }
  expect(kept, `WHEELWORK_SEED=${seed}`).toBeGreaterThan(0);
});
