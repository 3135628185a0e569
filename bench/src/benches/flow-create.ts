import { createEngine, type Engine } from "@wheelwork/engine";
import { join } from "node:path";
import { Bound, type BoundKind } from "../bound.ts";
import { callsOf, flow, newKey } from "../flow.ts";
import { drive, inChild, Measured, memoryMb, phase, rounded, withFolder, type Bench } from "../harness.ts";

const length = 10;
const calls = callsOf(length);
const warmUpMs = 1000;
const sliceMs = 1000;
const slices = 4;

interface Figures {
  readonly bounds: Readonly<Record<BoundKind, object>>;
  readonly engine: object;
}

const kinds: readonly BoundKind[] = ["bare", "keyed", "runs"];

/** The bounds and the engine take turns, so other load on the machine affects both. */
const compare = phase(
  import.meta.url,
  "compare",
  async (argument: { inFlight: number; dir: string }): Promise<Figures> =>
    withFolder(argument.dir, async (folder) => {
      const { inFlight } = argument;
      const { hub, workers } = flow();
      const bounds = kinds.map((kind) => ({
        bound: new Bound(folder, length, kind),
        measured: new Measured(),
      }));
      const engine: Engine = createEngine({ hubs: [hub], workers, store: join(folder, "engine.db") });
      await engine.start();
      let flows = 0;
      // With the 500 ms of the example, flows would fail whenever the machine stands still for that long.
      let failed = 0;
      const work = async (): Promise<void> => {
        const answer = await engine.call(hub, { flowid: `flow-${flows++}`, length }, { key: newKey() });
        if (answer.kind !== "result") failed++;
      };
      for (const { bound } of bounds) bound.run(inFlight, warmUpMs / 4, new Measured());
      await drive(inFlight, warmUpMs, new Measured(), work);
      const ofEngine = new Measured();
      for (let slice = 0; slice < slices; slice++) {
        for (const { bound, measured } of bounds) bound.run(inFlight, sliceMs / 2, measured);
        await drive(inFlight, sliceMs, ofEngine, work);
      }
      const rss = memoryMb();
      await engine.stop();
      for (const { bound } of bounds) {
        bound.check();
        bound.close();
      }
      const [bare = Number.NaN, keyed = Number.NaN, runs = Number.NaN] = bounds.map(
        ({ measured }) => measured.rate,
      );
      const figures = {
        ...ofEngine.figures(calls),
        rss_mb: rss,
        ratio: rounded(ofEngine.rate / bare),
        ratio_keyed: rounded(ofEngine.rate / keyed),
        ratio_runs: rounded(ofEngine.rate / runs),
      };
      return {
        bounds: Object.fromEntries(
          bounds.map(({ bound, measured }) => [bound.kind, measured.figures(calls)]),
        ) as Figures["bounds"],
        engine: failed === 0 ? figures : { ...figures, failed },
      };
    }),
);

/** Workflows per second of the engine through its public API, and their ratios to the bounds. */
export const flowCreate: Bench = {
  name: "flow-create-10",
  about: "flow-create of 10 rules (20 durable calls) at 1, 16 and 200 in flight, next to the bounds",
  run: async ({ dir, report, note }) => {
    for (const inFlight of [1, 16, 200]) {
      note(`${inFlight} in flight`);
      const { bounds, engine } = await inChild(compare, { inFlight, dir });
      for (const kind of kinds) report({ bench: `bound-10-${kind}`, inflight: inFlight, ...bounds[kind] });
      report({ bench: "flow-create-10", inflight: inFlight, ...engine });
    }
  },
};
