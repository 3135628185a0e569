import { command, usageError, type Command } from "./command.ts";
import { outputOption, printRows, say } from "./output.ts";
import { needed } from "./place.ts";

/** The part of `@wheelwork/northbound` that knows the file of tokens: it brings no server along. */
const library = () => needed("@wheelwork/northbound", () => import("@wheelwork/northbound/tokens"));

const fileOption = {
  file: { type: "string", value: "FILE", about: "of the tokens (WHEELWORK_TOKENS)" },
} as const;

/** @throws CommandError when nobody says where the file is. */
function fileOf({ file = process.env["WHEELWORK_TOKENS"] }: { readonly file?: string }): string {
  if (file === undefined || file === "")
    throw usageError("there is no file of tokens: say --file FILE, or set WHEELWORK_TOKENS");
  return file;
}

const dayMs = 86_400_000;
const unitsMs: Readonly<Record<string, number>> = { h: 3_600_000, d: dayMs, w: 7 * dayMs };

function validMs(text: string): number {
  const [, count, unit = ""] = /^([1-9]\d{0,4})([hdw])$/.exec(text) ?? [];
  const unitMs = unitsMs[unit];
  if (count === undefined || unitMs === undefined)
    throw usageError(`--expires must be a time such as 12h, 90d or 4w, not ${text}`);
  return Number(count) * unitMs;
}

/** The commands about the tokens that a server takes. They change its file, and ask no server. */
export const tokenCommands: readonly Command[] = [
  command({
    name: "token create",
    about: "Makes a token for a server, and prints it. Nobody can print it again: its file has a hash of it.",
    more: `The file is the one that the server has in its option access. The server takes the token within a second. It needs no restart.
Roles: reader, operator, admin, operator:HUB, submitter:HUB. The scope payloads lets a role that reads see requests, data and answers.
wheelwork token create ci --role operator,payloads --expires 90d --file tokens.json`,
    takes: "NAME",
    options: {
      role: {
        type: "string",
        value: "ROLES",
        about: "what it may do, with commas between roles (compulsory)",
      },
      expires: {
        type: "string",
        value: "TIME",
        about: "for how long it is taken, such as 12h, 90d or 4w (for ever)",
      },
      ...fileOption,
    },
    run: async ({ values, positionals: [name = ""] }) => {
      if (values.role === undefined) throw usageError("token create needs --role");
      const file = fileOf(values);
      const expiry = values.expires === undefined ? {} : { validMs: validMs(values.expires) };
      const { createToken, grantsIn } = await library();
      const { token, stored } = createToken(file, { name, grants: grantsIn(values.role), ...expiry });
      // The token alone is on standard output, so that a script can keep it.
      say(token);
      const until = stored.expiresAt === undefined ? "" : ` until ${stored.expiresAt}`;
      process.stderr.write(
        `${name} may be ${stored.grants.join(", ")}${until}. Keep the token: it is shown this once.\n`,
      );
    },
  }),
  command({
    name: "token list",
    about: "Lists the tokens that a server takes, without their secrets.",
    takes: "",
    options: { ...outputOption, ...fileOption },
    run: async ({ values }) => {
      const { readTokens } = await library();
      const rows = readTokens(fileOf(values)).tokens.map(({ hash: _hash, ...row }) => row);
      printRows(values.output, rows, {
        columns: [
          ["token", ({ name }) => name],
          ["id", ({ id }) => id],
          ["roles", ({ grants }) => grants.join(",")],
          ["created", ({ createdAt }) => createdAt],
          ["expires", ({ expiresAt }) => expiresAt ?? "never"],
        ],
        idOf: ({ id }) => id,
        none: "there are no tokens",
      });
    },
  }),
  command({
    name: "token revoke",
    about: "Removes a token, by its name or its id. The server refuses it within a second.",
    takes: "NAME",
    options: fileOption,
    run: async ({ values, positionals: [name = ""] }) => {
      const { revokeToken } = await library();
      revokeToken(fileOf(values), name);
      say(`${name} is revoked`);
    },
  }),
];
