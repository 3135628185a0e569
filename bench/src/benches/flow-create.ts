import { createEngine, type Engine } from "@wheelwork/engine";
import { join } from "node:path";
import { Bound } from "../bound.ts";
import { callsOf, flow, newKey } from "../flow.ts";
import { drive, inChild, Measured, memoryMb, phase, rounded, withFolder, type Bench } from "../harness.ts";

const length = 10;
const calls = callsOf(length);
const warmUpMs = 1000;
const sliceMs = 1000;
const slices = 4;

interface Figures {
  readonly bound: object;
  readonly keyed: object;
  readonly engine: object;
}

/** The bound and the engine take turns, so that what else the machine does hits both. */
const compare = phase(
  import.meta.url,
  "compare",
  async (argument: { inFlight: number; dir: string }): Promise<Figures> =>
    withFolder(argument.dir, async (folder) => {
      const { inFlight } = argument;
      const { hub, workers } = flow();
      const bound = new Bound(folder, length, false);
      const keyed = new Bound(folder, length, true);
      const engine: Engine = createEngine({ hubs: [hub], workers, store: join(folder, "engine.db") });
      await engine.start();
      let flows = 0;
      // With the deadline of npm start, 500 ms, a machine that stands still for that long fails flows.
      let failed = 0;
      const work = async (): Promise<void> => {
        const answer = await engine.call(hub, { flowid: `flow-${flows++}`, length }, { key: newKey() });
        if (answer.kind !== "result") failed++;
      };
      for (const each of [bound, keyed]) each.run(inFlight, warmUpMs / 4, new Measured());
      await drive(inFlight, warmUpMs, new Measured(), work);
      const ofBound = new Measured();
      const ofKeyed = new Measured();
      const ofEngine = new Measured();
      for (let slice = 0; slice < slices; slice++) {
        bound.run(inFlight, sliceMs / 2, ofBound);
        keyed.run(inFlight, sliceMs / 2, ofKeyed);
        await drive(inFlight, sliceMs, ofEngine, work);
      }
      const rss = memoryMb();
      await engine.stop();
      for (const each of [bound, keyed]) {
        each.check();
        each.close();
      }
      const figures = {
        ...ofEngine.figures(calls),
        rss_mb: rss,
        ratio: rounded(ofEngine.rate / ofBound.rate),
        ratio_keyed: rounded(ofEngine.rate / ofKeyed.rate),
      };
      return {
        bound: ofBound.figures(calls),
        keyed: ofKeyed.figures(calls),
        engine: failed === 0 ? figures : { ...figures, failed },
      };
    }),
);

/** (a) and (b): workflows a second of the engine through its public API, and their share of the bare bound. */
export const flowCreate: Bench = {
  name: "flow-create-10",
  about: "flow-create of 10 rules (20 durable calls) at 1, 16 and 200 in flight, next to the bare bounds",
  run: async ({ dir, report, note }) => {
    for (const inFlight of [1, 16, 200]) {
      note(`${inFlight} in flight`);
      const { bound, keyed, engine } = await inChild(compare, { inFlight, dir });
      report({ bench: "bound-10", inflight: inFlight, ...bound });
      report({ bench: "bound-10-keyed", inflight: inFlight, ...keyed });
      report({ bench: "flow-create-10", inflight: inFlight, ...engine });
    }
  },
};
