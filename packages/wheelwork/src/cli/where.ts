import { statusFilters } from "@wheelwork/engine";
import { usageError } from "./command.ts";

/** Which requests a command is about, each condition as an option. */
export const filterOptions = {
  status: {
    type: "string",
    choices: statusFilters,
    multiple: true,
    about: "only those with this status, or one of several",
  },
  hub: { type: "string", value: "NAME", about: "only those of this hub" },
  label: {
    type: "string",
    value: "NAME=VALUE",
    multiple: true,
    about: "only those with this label. Of several values of one name, one must be; of several names, all",
  },
} as const;

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
    const [all, name = "", value = ""] =
      /^([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s"]\S*)(?:\s+|$)/.exec(rest) ?? [];
    if (all === undefined)
      throw usageError(`--where takes NAME=VALUE, several of them with blanks between, and not ${rest}`);
    (values[name] ??= []).push(value.startsWith('"') ? (JSON.parse(value) as string) : value);
    rest = rest.slice(all.length);
  }
  if (Object.keys(values).length === 0) throw usageError("--where says nothing");
  return values;
}

interface FilterValues {
  readonly status?: readonly string[];
  readonly hub?: string;
  readonly label?: readonly string[];
  readonly where?: string;
}

/** Parameters of `GET /requests` and `GET /counts`: those that have an option of their own, and others. */
interface FilterQuery {
  readonly [parameter: string]: string | readonly string[] | undefined;
  readonly status?: readonly string[];
  readonly hub?: string;
  readonly label?: readonly string[];
}

/** What the options of a filter say together. @throws CommandError when two of them say the same. */
export function filterOf({ status, hub, label = [], where }: FilterValues): FilterQuery {
  const wrong = label.find((one) => !/^[^=]+=./.test(one));
  if (wrong !== undefined) throw usageError(`--label must be NAME=VALUE, not ${wrong}`);
  const named: FilterQuery = {
    ...(status === undefined ? {} : { status }),
    ...(hub === undefined ? {} : { hub }),
    ...(label.length === 0 ? {} : { label }),
  };
  const others = where === undefined ? {} : whereOf(where);
  const twice = Object.keys(others).find((name) => name in named);
  if (twice !== undefined) throw usageError(`--${twice} and --where both say ${twice}: give one of them`);
  return { ...named, ...others } as FilterQuery;
}
