import { usageError } from "./command.ts";

/** Which requests a command is about, in words of `GET /requests`. */
export const whereOption = {
  where: {
    type: "string",
    value: "FILTER",
    about:
      'all requests that this means, such as "hub=flow-create status=running createdTo=2026-11-27T00:00:00Z": see docs/http.md',
  },
} as const;

/** A filter as the parameters of a query: several values of one name are a list. Values with blanks stand in quotation marks. */
export function whereOf(given: string): Readonly<Record<string, readonly string[]>> {
  const values: Record<string, string[]> = {};
  let rest = given.trim();
  while (rest !== "") {
    const [all, name = "", value = ""] = /^([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s"]+)(?:\s+|$)/.exec(rest) ?? [];
    if (all === undefined)
      throw usageError(`--where takes NAME=VALUE, several of them with blanks between, and not ${rest}`);
    (values[name] ??= []).push(value.startsWith('"') ? (JSON.parse(value) as string) : value);
    rest = rest.slice(all.length);
  }
  if (Object.keys(values).length === 0) throw usageError("--where says nothing");
  return values;
}
