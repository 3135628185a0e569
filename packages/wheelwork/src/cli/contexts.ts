import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { CommandError, usageError } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";
import { usesFiles, type TlsFiles } from "./secure-fetch.ts";

/** A server that somebody has given a name. */
export interface Context extends TlsFiles {
  readonly url: string;
  /** Sent as a bearer token. */
  readonly token?: string;
}

interface ContextFile {
  readonly current?: string;
  readonly contexts: Readonly<Record<string, Context>>;
}

/** Where the server is, and who decided that. */
export interface ServerPlace extends Context {
  readonly looked: string;
}

const defaultUrl = "http://127.0.0.1:8088";

/** Options of all commands that ask a server. */
export const serverOptions = {
  url: { type: "string", value: "URL", about: `of the server (WHEELWORK_URL, the context, ${defaultUrl})` },
  context: {
    type: "string",
    value: "NAME",
    about: "the context to use (WHEELWORK_CONTEXT, the current one)",
  },
  // Not --key: that is the key of a request.
  "tls-cert": {
    type: "string",
    value: "FILE",
    about: "a certificate that shows who the client is, as PEM (WHEELWORK_TLS_CERT, the context)",
  },
  "tls-key": {
    type: "string",
    value: "FILE",
    about: "its private key, as PEM (WHEELWORK_TLS_KEY, the context)",
  },
  "tls-ca": {
    type: "string",
    value: "FILE",
    about: "the authority of the server's certificate, as PEM (WHEELWORK_TLS_CA, the context)",
  },
} as const;

/** The file of the contexts. */
function contextFile(env: NodeJS.ProcessEnv = process.env): string {
  const folder = env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config");
  return env["WHEELWORK_CONTEXTS"] ?? join(folder, "wheelwork", "contexts.json");
}

/** @throws CommandError when the file cannot be read. */
export function readContexts(): ContextFile {
  const file = contextFile();
  if (!existsSync(file)) return { contexts: {} };
  try {
    const { current, contexts } = JSON.parse(readFileSync(file, "utf8")) as Partial<ContextFile>;
    if (typeof contexts !== "object") throw new TypeError("it has no contexts");
    return { contexts, ...(current === undefined ? {} : { current }) };
  } catch (cause) {
    throw new CommandError(
      `the contexts in ${file} cannot be read: ${String(cause)}\n  Correct the file, or remove it.`,
      exitCodes.failed,
      cause,
    );
  }
}

/** Writes the file at once and whole, readable for its owner only: it may hold tokens. */
export function writeContexts(contexts: ContextFile): void {
  const file = contextFile();
  mkdirSync(dirname(file), { recursive: true });
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(contexts, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(draft, 0o600);
  renameSync(draft, file);
}

/** What the options say of the server. */
export type ServerValues = { readonly [Name in keyof typeof serverOptions]?: string };

const filesIn = (values: ServerValues): TlsFiles => fromNames((name) => values[`tls-${name}`]);

/** The files that somebody names, by their whole paths. */
function fromNames(fileOf: (name: keyof TlsFiles) => string | undefined): TlsFiles {
  const named = (["cert", "key", "ca"] as const).flatMap((name) => {
    const file = fileOf(name);
    return file === undefined ? [] : [[name, resolve(file)]];
  });
  return Object.fromEntries(named) as TlsFiles;
}

/** The certificate goes with its key: both are from the same place. */
const over = (files: TlsFiles, { cert, key, ca }: TlsFiles): TlsFiles => ({
  ...(ca === undefined ? {} : { ca }),
  ...(files.cert !== undefined || files.key !== undefined || cert === undefined ? {} : { cert }),
  ...(files.cert !== undefined || files.key !== undefined || key === undefined ? {} : { key }),
  ...files,
});

/** The files of TLS that options or the environment name. */
export const tlsFilesOf = (values: ServerValues, env: NodeJS.ProcessEnv = process.env): TlsFiles =>
  over(
    filesIn(values),
    fromNames((name) => env[`WHEELWORK_TLS_${name.toUpperCase()}`]),
  );

/**
 * Finds the server: an option goes first, then the environment, then the current context. The token and the certificate of a context go
 * only to the server of that context.
 */
export function findServer(values: ServerValues, env: NodeJS.ProcessEnv = process.env): ServerPlace {
  const { cert, key, ca, ...place } = placeOf(values, env);
  const known = Object.fromEntries(
    Object.entries({ cert, key, ca }).filter(([, file]) => file !== undefined),
  );
  if (place.url.startsWith("https:")) return { ...place, ...over(tlsFilesOf(values, env), known) };
  if (!usesFiles(filesIn(values))) return place;
  throw usageError(
    `--tls-cert, --tls-key and --tls-ca are for https, and the address is ${place.url}\n  Why there: ${place.looked}.`,
  );
}

function placeOf({ url, context }: ServerValues, env: NodeJS.ProcessEnv): ServerPlace {
  const token = env["WHEELWORK_TOKEN"];
  const own = token === undefined ? {} : { token };
  if (url !== undefined) return { url: checked(url, "--url"), ...own, looked: "--url says so" };
  if (context !== undefined) return { ...named(context), ...own, looked: `the context ${context} says so` };
  const set = env["WHEELWORK_URL"];
  if (set !== undefined)
    return { url: checked(set, "WHEELWORK_URL"), ...own, looked: "WHEELWORK_URL says so" };
  const current = env["WHEELWORK_CONTEXT"] ?? readContexts().current;
  if (current !== undefined) return { ...named(current), ...own, looked: `the context ${current} says so` };
  const looked = "this is the default: there is no --url, no WHEELWORK_URL and no context";
  return { url: defaultUrl, ...own, looked };
}

/** The context of a name. @throws CommandError when there is none. */
export function named(name: string, { contexts }: ContextFile = readContexts()): Context {
  const context = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (context !== undefined) return context;
  const names = Object.keys(contexts);
  const known = names.length === 0 ? "There are none" : `There are: ${names.join(", ")}`;
  throw new CommandError(
    `there is no context ${name}\n  ${known}. See: wheelwork context list`,
    exitCodes.notFound,
  );
}

/** The address of a server, without a slash at its end. @throws CommandError when it is none. */
export function checked(url: string, what: string): string {
  const parsed = URL.parse(url);
  if (parsed !== null && /^https?:$/.test(parsed.protocol) && parsed.search === "" && parsed.hash === "")
    return parsed.href.replace(/\/$/, "");
  throw usageError(`${what} must be an address such as ${defaultUrl}, not ${url}`);
}
