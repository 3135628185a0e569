import { Client } from "./client.ts";
import { command, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { outputOption, printRows, say } from "./output.ts";

/** A hub that takes requests over HTTP. */
export interface HubOperation {
  readonly name: string;
  readonly path: string;
  readonly summary: string;
}

/** The hubs of a server, by its document. */
export async function hubOperations(client: Client): Promise<HubOperation[]> {
  const { body } = await client.get("/openapi.json");
  const { paths = {} } = body as {
    readonly paths?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  return Object.entries(paths).flatMap(([path, { post }]) => {
    const { tags, operationId, summary } = (post ?? {}) as {
      readonly tags?: readonly string[];
      readonly operationId?: string;
      readonly summary?: string;
    };
    const isHub = tags?.includes("hubs") === true && operationId !== undefined;
    return isHub ? [{ name: operationId, path, summary: summary ?? "" }] : [];
  });
}

const list = command({
  name: "hubs list",
  about: "Lists the hubs that take requests over HTTP.",
  takes: "",
  options: { ...outputOption, ...serverOptions },
  run: async ({ values }) => {
    printRows(values.output, await hubOperations(new Client(findServer(values))), {
      columns: [
        ["hub", ({ name }) => name],
        ["path", ({ path }) => path],
        ["what", ({ summary }) => summary],
      ],
      idOf: ({ name }) => name,
      none: "the server has no routes of hubs",
    });
  },
});

const diagram = command({
  name: "requests diagram",
  about: "Prints the chart of a request's hub with the path of the request, as SVG.",
  takes: "ID",
  options: serverOptions,
  run: async ({ values, positionals: [id = ""] }) => {
    const client = new Client(findServer(values));
    const { body } = await client.get(`/requests/${encodeURIComponent(id)}/diagram.svg`, {
      headers: { accept: "image/svg+xml, application/problem+json" },
    });
    say(String(body).trimEnd());
  },
});

/** The commands about hubs. */
export const hubCommands: readonly Command[] = [diagram, list];
