/*
 * The server checks some parameters itself, with errors that say more than a pattern does. The document says as exactly what they are,
 * so that clients which are made of it know before they ask. The keyword `documented` of a schema is for the document alone.
 */

/** The keyword. The validator of requests passes over it. */
export const documentedKeyword = "documented";

const millisecondsText = { type: "string", pattern: "^-?\\d{1,15}$" } as const;

/** A time in a query: ISO 8601 with a time zone, or milliseconds since 1970. */
export const timeParameter = {
  type: "string",
  isTime: true,
  documented: { anyOf: [{ type: "string", format: "date-time" }, millisecondsText] },
} as const;

/** The cursor of a page of a list: what the page before gave. */
const cursorParameter = (pattern: string) =>
  ({
    type: "string",
    minLength: 1,
    maxLength: 4000,
    description: "From the previous page.",
    documented: { pattern },
  }) as const;

/** Cursors of lists of requests and bulks, of the audit list, and of items of bulks. */
export const listCursor = cursorParameter("^\\d{1,16}\\.[^\\s]+$");
export const auditCursor = cursorParameter("^\\d{1,16}\\.\\d{1,16}\\.\\d{1,16}\\.[^\\s]+$");
export const itemsCursor = cursorParameter("^\\d{1,15}$");

/** A key in a header: percent-encoded UTF-8 of 1 to 200 characters. */
export const keyParameter = {
  type: "string",
  documented: {
    minLength: 1,
    maxLength: 1800,
    pattern: "^(?:[!-$&-~]|%[2-7][0-9A-Fa-f])(?:[\\t -$&-~]|%[2-7][0-9A-Fa-f]){0,199}$",
  },
} as const;

/** A schema as the document shows it. */
export function asDocumented(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(asDocumented);
  if (typeof schema !== "object" || schema === null) return schema;
  const { documented, isTime: _isTime, ...rest } = schema as Readonly<Record<string, unknown>>;
  const shown = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, asDocumented(value)]));
  if (typeof documented !== "object" || documented === null) return shown;
  const { type, ...others } = shown;
  return "anyOf" in documented ? { ...others, ...documented } : { type, ...others, ...documented };
}
