import { runPhase } from "./harness.ts";

// A process for one phase of a benchmark: see `inChild`.
const [module = "", name = "", argument = "null"] = process.argv.slice(2);
await runPhase(module, name, argument);
