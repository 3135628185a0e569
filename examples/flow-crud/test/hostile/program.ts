import { northbound } from "@wheelwork/northbound";
import { createEngine, worker } from "wheelwork";
import { behave, double, honest, hostile, snare, vicious } from "./misbehave.ts";

/** Programs that do what they must not, beside an honest one, in one engine: `program.ts PORT DATABASE`. */

const [port = "0", store = ""] = process.argv.slice(2);

/** The exit code of a worker that ends its process. */
const exitCode = 86;

const engine = createEngine({
  store,
  durability: "normal",
  logger: { debug: snare, info: snare, warn: snare, error: snare },
  observe: async () => snare(),
  hubs: [honest, hostile],
  workers: [
    worker(double, async ({ n }) => ({ n: 2 * n })),
    worker(vicious, async ({ how }) => {
      if (how === "exit") process.exit(exitCode);
      if (how === "schema") return { how };
      return how === "nothing" ? null : behave(how);
    }),
  ],
});
await engine.start();
const app = await northbound({
  engine,
  routes: [
    { method: "POST", path: "/honest", hub: honest },
    { method: "POST", path: "/hostile", hub: hostile },
  ],
});
await app.listen({ port: Number(port), host: "127.0.0.1" });
process.stdout.write("ready\n");
// Without the one who has started it, it is of no use.
process.on("disconnect", () => process.exit());
