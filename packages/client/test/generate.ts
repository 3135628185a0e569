// Makes the types of the client, and docs/api.md, from the document of a server: `npm run client`. Tests show that they are fresh.
import { createEngine, silentLogger } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { createToken } from "@wheelwork/northbound/tokens";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { apiPage, apiPageFile } from "./api-page.ts";
import openapiTS, { astToString, COMMENT_HEADER, type OpenAPI3 } from "openapi-typescript";

/** The file with the types. */
export const typesFile = join(import.meta.dirname, "../src/api.ts");

/** The document of a server with all that it may have, and no hubs. */
async function documentOf(folder: string): Promise<OpenAPI3> {
  const tokens = join(folder, "tokens.json");
  const { token } = createToken(tokens, { name: "client", grants: ["reader"] });
  const engine = createEngine({
    hubs: [],
    workers: [],
    store: join(folder, "engine.db"),
    logger: silentLogger,
  });
  await engine.start();
  const app = await northbound({
    engine,
    routes: [],
    metrics: { text: () => Promise.resolve("") },
    access: { tokens },
    logger: silentLogger,
  });
  try {
    const headers = { authorization: `Bearer ${token}` };
    return (await app.inject({ url: "/openapi.json", headers })).json();
  } finally {
    await app.close();
    await engine.stop();
  }
}

/** All errors are problem details: said once for each operation, the types stay short. */
function withShortErrors(document: OpenAPI3): OpenAPI3 {
  const { paths = {} } = document;
  for (const operations of Object.values(paths) as Record<string, { responses?: Record<string, unknown> }>[])
    for (const { responses = {} } of Object.values(operations)) {
      const errors = Object.keys(responses).filter((status) => status >= "400");
      for (const status of errors) delete responses[status];
      if (errors.length > 0)
        responses["default"] = {
          description: "An error.",
          content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
        };
    }
  return document;
}

/** The types, and the page, as they must be. */
export async function generated(): Promise<{ readonly types: string; readonly page: string }> {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-client-"));
  try {
    const document = await documentOf(folder);
    const page = apiPage(document);
    return { types: await typesOf(document), page };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function typesOf(document: OpenAPI3): Promise<string> {
  const types = await openapiTS(withShortErrors(document), {
    // openapi-fetch takes no list that is readonly.
    immutable: false,
    alphabetize: true,
    emptyObjectsUnknown: true,
  });
  // What an operation cannot have need not be said, and what the document does not have.
  const text = astToString(types).replaceAll(
    /^(?:export type (?:webhooks|\$defs) = .*|\s*(?:put|post|get|delete|options|head|patch|trace|query|header|path|cookie|requestBody)\?: never;)\n/gm,
    "",
  );
  return `${COMMENT_HEADER}${text}`;
}

if (process.argv[1] === import.meta.filename) {
  const { types, page } = await generated();
  writeFileSync(typesFile, types);
  writeFileSync(apiPageFile, page);
}
