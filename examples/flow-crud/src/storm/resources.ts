import { runPart } from "@wheelwork/storm/parts";
import { flowApp } from "./app.ts";

// The main file of the topology's resources: each bolt and spout is a process that runs it.
runPart(flowApp);
