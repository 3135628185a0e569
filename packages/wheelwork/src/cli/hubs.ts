import { Client } from "./client.ts";
import { command, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { outputOption, printRows, say, shown } from "./output.ts";

/** A hub of a server. */
export interface ServedHub {
  readonly name: string;
  readonly version: number;
  /** By when it answers, in one sentence. */
  readonly answerBy: string;
  /** Where requests for it go. Absent: it takes none over HTTP. */
  readonly path?: string;
  readonly summary?: string;
}

/** The hubs of a server. */
export async function servedHubs(client: Client): Promise<readonly ServedHub[]> {
  const { body } = await client.get("/hubs");
  return (body as { readonly hubs: readonly ServedHub[] }).hubs;
}

const svg = { type: "boolean", about: "as SVG" } as const;
const pictureHeaders = { accept: "image/svg+xml, application/problem+json, text/plain;q=0.9" };

/** A picture of text, line by line, as a terminal may show it. */
const textOf = (body: unknown): string => String(body).trimEnd().split("\n").map(shown).join("\n");

const list = command({
  name: "hubs list",
  about: "Lists the hubs of the server.",
  takes: "",
  options: { ...outputOption, ...serverOptions },
  run: async ({ values }) => {
    printRows(values.output, await servedHubs(new Client(findServer(values))), {
      columns: [
        ["hub", ({ name }) => name],
        ["version", ({ version }) => `${version}`],
        ["path", ({ path }) => path ?? "(not over HTTP)"],
        ["what", ({ summary, answerBy }) => summary ?? answerBy],
      ],
      idOf: ({ name }) => name,
      none: "the server has no hubs",
    });
  },
});

const ofHub = command({
  name: "hubs diagram",
  about: "Prints the chart of a hub as boxes of text, or as JSON.",
  takes: "HUB",
  options: { json: { type: "boolean", about: "as JSON: states, edges" }, ...serverOptions },
  run: async ({ values, positionals: [hub = ""] }) => {
    const client = new Client(findServer(values));
    const path = `/hubs/${encodeURIComponent(hub)}`;
    if (values.json === true) return say(JSON.stringify((await client.get(path)).body, undefined, 2));
    const { body } = await client.get(`${path}/diagram.txt`, { headers: pictureHeaders });
    say(textOf(body));
  },
});

const ofRequest = command({
  name: "requests diagram",
  about: "Prints the chart of a request's hub with the path of the request, as boxes of text.",
  takes: "ID",
  options: { svg, ...serverOptions },
  run: async ({ values, positionals: [id = ""] }) => {
    const client = new Client(findServer(values));
    const form = values.svg === true ? "svg" : "txt";
    const { body } = await client.get(`/requests/${encodeURIComponent(id)}/diagram.${form}`, {
      headers: pictureHeaders,
    });
    say(values.svg === true ? String(body).trimEnd() : textOf(body));
  },
});

/** The commands about hubs. */
export const hubCommands: readonly Command[] = [ofRequest, list, ofHub];
