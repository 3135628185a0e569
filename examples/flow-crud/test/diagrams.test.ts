import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { hubDiagrams } from "../src/diagram-files.ts";

test("the diagrams in docs/ are those of the hub; `npm run diagram` writes them", async () => {
  for (const [name, content] of Object.entries(await hubDiagrams())) {
    expect(readFileSync(resolve(import.meta.dirname, "../../../docs", name), "utf8"), name).toBe(content);
  }
});
