import { command, usageError, type Command } from "./command.ts";
import { Client } from "./client.ts";
import {
  checked,
  findServer,
  named,
  readContexts,
  serverOptions,
  tlsFilesOf,
  writeContexts,
  type Context,
} from "./contexts.ts";
import { outputOption, printRows, say } from "./output.ts";
import { secureFetch, usesFiles } from "./secure-fetch.ts";

const contexts: readonly Command[] = [
  command({
    name: "context list",
    about: "Lists the servers that have a name. The current one has a star.",
    takes: "",
    options: outputOption,
    run: async ({ values }) => {
      const { current, contexts: known } = readContexts();
      const rows = Object.entries(known).map(([name, { url, token, cert }]) => ({
        name,
        url,
        hasToken: token !== undefined,
        ...(cert === undefined ? {} : { cert }),
        isCurrent: name === current,
      }));
      printRows(values.output, rows, {
        columns: [
          ["", ({ isCurrent }) => (isCurrent ? "*" : "")],
          ["context", ({ name }) => name],
          ["url", ({ url }) => url],
          ["token", ({ hasToken }) => (hasToken ? "yes" : "no")],
          ["certificate", ({ cert }) => cert ?? ""],
        ],
        idOf: ({ name }) => name,
        none: "there are no contexts",
      });
    },
  }),
  command({
    name: "context set",
    about: "Gives a server a name. The first one becomes the current one.",
    more: `A token is read from the environment, so that it is not in the history of the shell:
WHEELWORK_TOKEN=... wheelwork context set prod --url https://flows.example.com

Of a certificate it keeps the paths of the files, not what is in them:
wheelwork context set prod --url https://flows.example.com --tls-cert me.crt --tls-key me.key --tls-ca ca.crt`,
    takes: "NAME",
    options: {
      url: { ...serverOptions.url, about: "of the server (compulsory)" },
      "tls-cert": serverOptions["tls-cert"],
      "tls-key": serverOptions["tls-key"],
      "tls-ca": serverOptions["tls-ca"],
    },
    run: async ({ values, positionals: [name = ""] }) => {
      if (values.url === undefined) throw usageError("context set needs --url");
      const { current = name, contexts: known } = readContexts();
      const token = process.env["WHEELWORK_TOKEN"];
      const context: Context = {
        url: checked(values.url, "--url"),
        ...(token === undefined ? {} : { token }),
        ...tlsFilesOf(values),
      };
      // What is wrong is said now, and not with the first command.
      if (usesFiles(context)) {
        if (!context.url.startsWith("https:"))
          throw usageError("--tls-cert, --tls-key and --tls-ca are for https");
        secureFetch(context);
      }
      writeContexts({ current, contexts: { ...known, [name]: context } });
      say(`${name} is ${context.url}${current === name ? ", and the current context" : ""}`);
    },
  }),
  command({
    name: "context use",
    about: "Makes a context the current one.",
    takes: "NAME",
    options: {},
    run: async ({ positionals: [name = ""] }) => {
      const file = readContexts();
      named(name, file);
      writeContexts({ ...file, current: name });
      say(`${name} is the current context`);
    },
  }),
  command({
    name: "context remove",
    about: "Forgets a context.",
    takes: "NAME",
    options: {},
    run: async ({ positionals: [name = ""] }) => {
      const file = readContexts();
      named(name, file);
      const { current, contexts: known } = file;
      const { [name]: _removed, ...left } = known;
      writeContexts({ contexts: left, ...(current === undefined || current === name ? {} : { current }) });
      say(`${name} is removed`);
    },
  }),
];

const health = command({
  name: "health",
  about: "Tells whether the server takes requests.",
  takes: "",
  options: serverOptions,
  run: async ({ values }) => {
    const client = new Client(findServer(values));
    const { body } = await client.get("/health");
    say(JSON.stringify(body, undefined, 2));
    await client.get("/ready");
  },
});

/** The commands about the server itself. */
export const settingCommands: readonly Command[] = [health, ...contexts];
