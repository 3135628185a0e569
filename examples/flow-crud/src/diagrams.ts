import { mkdirSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { hubDiagrams } from "./diagram-files.ts";

const folder = resolve(import.meta.dirname, "../../../docs");
mkdirSync(folder, { recursive: true });
for (const [name, content] of Object.entries(await hubDiagrams())) {
  const file = join(folder, name);
  writeFileSync(file, content);
  process.stdout.write(`wrote ${relative(process.cwd(), file)}\n`);
}
