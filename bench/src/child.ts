import { runPhase } from "./harness.ts";

// A process of its own for one phase of a bench; see `inChild`.
const [module = "", name = "", argument = "null"] = process.argv.slice(2);
await runPhase(module, name, argument);
