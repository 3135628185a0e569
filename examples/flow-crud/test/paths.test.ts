import { explore, SimulatedClock, testEngine } from "@wheelwork/testing";
import { expect, onTestFinished, test } from "vitest";
import { LocalBus, type Hub } from "wheelwork";
import { Floodlight } from "../src/floodlight/floodlight.ts";
import { flowCreateHub } from "../src/hub.ts";
import { defaultSwitches } from "../src/network.ts";
import { SqliteResourcePool } from "../src/resources-sqlite.ts";
import { resourceWorkers } from "../src/resources.ts";
import { flowCreateService } from "../src/service.ts";
import { flowSpokes } from "../src/spokes.ts";
import { floodlightWorkers } from "../src/workers.ts";

test("every path of the chart is explored: all states, all edges, and nothing is wrong", () => {
  const report = explore(flowCreateHub());
  expect(report.findings, String(report)).toEqual([]);
  expect(report).toMatchObject({
    complete: true,
    states: { reached: 12, total: 12 },
    edges: { reached: 22, total: 22 },
  });
});

test("every path of the hub by handlers is explored: only the proof of concept's first error switch waits for the deadline", () => {
  const requests = [null, 1, 2].map((error) => ({ flowid: "f", length: 2, error: error as 1 | 2 | null }));
  const outputs = { "compute-rules": [{ rules: [0, 1] }] };
  const report = explore(flowCreateService(), { requests, outputs });
  expect(report.findings, String(report)).toEqual([]);
  expect(report).toMatchObject({ complete: true, states: { reached: 4, total: 4 } });

  // The switch is there to make the hub do nothing; a chart says so by `null` for its inputs.
  const { findings } = explore(flowCreateService(), {
    requests: [{ flowid: "f", length: 1, error: 0 }],
    outputs,
  });
  expect(findings).toMatchObject([{ kind: "stuck", state: "Working" }]);
});

type Definition = Hub["definition"];
type State = Definition["states"] extends ReadonlyMap<string, infer S> ? S : never;

/** flow-create with one state as its author should not have written it. The compiler would not let him. */
function planted(change: (validating: State) => Partial<State>) {
  const hub = flowCreateHub();
  const states = new Map(hub.definition.states);
  const validating = states.get("ValidatingRules") as State;
  states.set("ValidatingRules", { ...validating, ...change(validating) });
  const requests = [{ flowid: "f", length: 1 }];
  return explore({ ...hub, definition: { ...hub.definition, states } }, { requests });
}

test("the proof of concept's dead end is found: a worker's error that ValidatingRules takes no notice of", () => {
  const { findings } = planted(({ logic }) => ({
    logic: {
      ...logic,
      done: () => ({}),
      outcome: (_data, _call, { kind }, open) => (kind === "ok" && open === 0 ? { raise: "Next" } : {}),
    },
  }));
  expect(findings[0]).toMatchObject({
    kind: "stuck",
    state: "ValidatingRules",
    path: [
      'client: request {"flowid":"f","length":1}',
      'compute-path: #0 ok {"path":["a"]}',
      'compute-rules: #1 ok {"rules":[0]}',
      'allocate-resources: #2 ok {"cookie":0,"meter":0}',
      'install-rule: #3 ok {"installed":0}',
      "validate-rule: #4 missing",
    ],
  });
  expect(findings[0]?.diagram).toContain("validate-rule\n");
  expect(findings.map(({ kind, message }) => `${kind}: ${message}`)).toContain(
    "edge-untaken: no run takes its edge WorkerError",
  );
});

test("an edge that was forgotten is found", () => {
  const { findings } = planted(({ row: { WorkerError: _forgotten, ...row } }) => ({ row }));
  expect(findings[0]).toMatchObject({ kind: "incident", state: "ValidatingRules" });
  expect(findings[0]?.message).toContain("no edge for the event WorkerError");
  expect(findings[0]?.path.at(-1)).toBe("validate-rule: #4 missing");
});

test.each(["chart", "handlers"] as const)(
  "the proof of concept's four requests have golden transcripts (%s)",
  async (style) => {
    const clock = new SimulatedClock();
    const bus = new LocalBus();
    const soon = (task: () => void) => clock.soon(task);
    const pool = new SqliteResourcePool(":memory:", { soon, wallMs: () => clock.wallMs() });
    const floodlight = new Floodlight(":memory:", bus, { clock });
    onTestFinished(() => {
      pool.close();
      floodlight.close();
    });
    const spokes = flowSpokes();
    const hub = style === "chart" ? flowCreateHub({}, spokes) : flowCreateService({}, spokes);
    const workers = [...resourceWorkers(spokes, pool, defaultSwitches), ...floodlightWorkers(spokes)];
    const kit = await testEngine({ hubs: [hub], workers, bus, clock });
    const requests = { happy: null, "error-in-hub": 0, "error-in-worker": 1, "error-on-switch": 2 } as const;
    for (const [name, error] of Object.entries(requests)) {
      const id = await kit.submit(hub, { flowid: "test-01", length: 10, error });
      await kit.advance("1 min");
      await expect(await kit.transcript(id)).toMatchFileSnapshot(`golden/${style}-${name}.txt`);
    }
    expect(floodlight.rules()).toHaveLength(10);
  },
);
