import { toSvg } from "@wheelwork/diagram";
import { toDot, toMermaid } from "wheelwork";
import { flowCreateHub } from "./hub.ts";

/** The diagrams of flow-create as the files of docs/: a test fails when those are stale. */
export async function flowCreateDiagrams(): Promise<Readonly<Record<string, string>>> {
  const hub = flowCreateHub();
  return {
    "flow-create.svg": await toSvg(hub),
    "flow-create.dot": toDot(hub),
    "flow-create.mmd": toMermaid(hub),
  };
}
