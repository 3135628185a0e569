import type { EndedRequest, OpenedSystem, Outside, SimulatedSystem } from "@wheelwork/testing";
import { Floodlight } from "./floodlight/floodlight.ts";
import { flowCreateHub, type FlowRequest } from "./hub.ts";
import { numbersOf, type Ranges } from "./ranges.ts";
import { SqliteResourcePool } from "./resources-sqlite.ts";
import { resourceWorkers } from "./resources.ts";
import { flowCreateService } from "./service.ts";
import { flowSpokes } from "./spokes.ts";
import { cookieOf, floodlightWorkers } from "./workers.ts";

export { flowLifeSimulation } from "./controller/simulation.ts";

/**
 * The application for the simulator: its own hubs and workers; the switches and the pool of resources outlive the
 * processes; between the workers and the switches is the simulator's network.
 */
export const flowCrudSimulation: SimulatedSystem = {
  name: "flow-crud",
  scaleMs: 2_000,
  // The pool never says that it has nothing after it has given something.
  honest: true,
  open: openSimulation,
};

function openSimulation({ clock, bus, random }: Outside): OpenedSystem {
  const { soon, wallMs } = {
    soon: (task: () => void): void => clock.soon(task),
    wallMs: (): number => clock.wallMs(),
  };
  const floodlight = new Floodlight(":memory:", bus, { clock, durability: "normal" });
  // Sometimes there is not enough for all.
  const meters = random.chance(0.3) ? 1 + random.int(3) : 1_000;
  const pool = new SqliteResourcePool(":memory:", { soon, wallMs, meters, durability: "normal" });
  const spokes = flowSpokes();
  // Sometimes the clean-up has less time than its attempts would take.
  const options = { cleanUpMs: random.pick([700, 30_000]) };
  const chart = flowCreateHub(options, spokes);
  const service = flowCreateService(options, spokes);
  return {
    hubs: [chart, service],
    key: cookieOf,
    workers: () => [...resourceWorkers(spokes, pool), ...floodlightWorkers(spokes)],
    request: (random) => ({
      hub: random.chance(0.7) ? chart : service,
      request: {
        flowid: `flow-${random.int(3)}`,
        length: 1 + random.int(8),
        error: random.pick([null, null, null, "IN_HUB", "IN_WORKER", "IN_FL"]),
      },
    }),
    check: (requests) => {
      const problems = requests.flatMap((request) => problemsOf(request, floodlight, pool));
      floodlight.close();
      pool.close();
      return problems;
    },
  };
}

/** What a flow has on the switches and in the pool must be what its request was told. */
function problemsOf(ended: EndedRequest, floodlight: Floodlight, pool: SqliteResourcePool): string[] {
  const { key, answer, history } = ended;
  const { flowid, length } = ended.request as FlowRequest;
  const rules = floodlight.rules(flowid).filter(({ cookie }) => cookie === cookieOf(key));
  const allocated = pool.allocationsOf(flowid).some(({ request }) => request === key);
  if (answer.kind === "result") {
    const missing = rules.length === length && allocated ? [] : [`${rules.length} of ${length} rules`];
    return missing.map((what) => `${key} is up, and has ${what}; resources: ${allocated}`);
  }
  // An operator has ended it by hand: nothing was cleaned up.
  if (answer.kind === "error" && answer.code === "WW_INCIDENT") return [];
  // The hub by handlers says itself that it has not cleaned up in its time.
  if (history.some((event) => event.type === "entered" && event.state === "GivenUp")) return [];
  const { zombies = [], leaked = false } = Object.assign(
    {},
    ...history.map((event) => ("patch" in event ? event.patch : {})),
  ) as { readonly zombies?: Ranges; readonly leaked?: boolean };
  const recorded = new Set(numbersOf(zombies));
  const problems = rules
    .filter(({ ruleid }) => !recorded.has(ruleid))
    .map(({ ruleid }) => `${key} has failed, and its rule ${ruleid} is on a switch, unrecorded`);
  if (allocated && !leaked) problems.push(`${key} has failed, and has its resources`);
  return problems;
}
