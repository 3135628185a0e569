import { WheelworkError, type Problem } from "@wheelwork/core";
import { Secrets, type HubDefinition, type SecretPath } from "@wheelwork/core/kernel";
import { nextTurn, readMs } from "../ports/clock.ts";
import type { RequestList } from "../ports/filter.ts";
import type { Clock, RequestRow } from "../ports/ports.ts";
import { bodyOf, type RequestRecord } from "./access.ts";
import type { RequestPage, SearchOptions } from "./api.ts";
import { isObject, mustBeObject } from "./asked.ts";
import { listOf, pageOf } from "./filters.ts";
import { ownView } from "./views.ts";

/** Rows that are listed at once, and requests that are read at once. */
const [listedAtOnce, readAtOnce] = [200, 20];
/** How long a search takes, in milliseconds, and how long it may take at most. */
const [defaultMs, maxMs] = [500, 10_000];

/** What a search works with. */
export interface Searched {
  readonly clock: Clock;
  /** The first rows of a part of a list of all shards, in its order. */
  rows(list: RequestList): Promise<readonly RequestRow[]>;
  /** @throws WheelworkError WW_NOT_FOUND. */
  lookUp(key: string): Promise<RequestRecord>;
  definition(hub: string): HubDefinition | undefined;
  /** What is secret in the runs of a hub, a built-in one, too. */
  secrets(hub: string): readonly SecretPath[];
}

/**
 * Looks through the requests that a filter means, in the order of the list, for a text or for values. No index has what is inside of
 * requests, so each is read: some in each turn of the loop, and for so long at most. The cursor says where to go on.
 */
export async function search(options: SearchOptions, searched: Searched): Promise<RequestPage> {
  const { text, values = {}, withinMs = defaultMs, ...listed } = options;
  const list = listOf(listed);
  check(options);
  const { clock } = searched;
  const until = clock.monotonicMs() + withinMs;
  const matches = matcher(text, values);
  const found: RequestRow[] = [];
  // A page without a row behind it has no cursor.
  const page = (last: RequestRow | undefined): RequestPage => {
    const { items } = pageOf(found, { ...list, limit: Math.max(1, found.length) });
    return last === undefined ? { items } : { items, cursor: `${last.createdAt}.${last.key}` };
  };
  let { after } = list;
  let turnEnds = clock.monotonicMs() + readMs;
  for (;;) {
    const rows = await searched.rows({
      ...list,
      limit: listedAtOnce,
      ...(after === undefined ? {} : { after }),
    });
    for (let from = 0; from < rows.length;) {
      // A store may read at once: then the turn is over after some of them.
      const reads: Promise<RequestRecord | undefined>[] = [];
      for (const { key } of rows.slice(from, from + readAtOnce)) {
        reads.push(searched.lookUp(key).catch(ifGone));
        if (clock.monotonicMs() >= turnEnds) break;
      }
      const some = rows.slice(from, from + reads.length);
      const records = await Promise.all(reads);
      for (const [index, row] of some.entries()) {
        const record = records[index];
        if (record !== undefined && matches(record, searched.definition(row.hub), searched.secrets(row.hub)))
          found.push(row);
        const isLast = rows.length < listedAtOnce && from + index === rows.length - 1;
        if (isLast) return page(undefined);
        if (found.length === list.limit) return page(row);
        if (clock.monotonicMs() < turnEnds) continue;
        await nextTurn(clock);
        turnEnds = clock.monotonicMs() + readMs;
      }
      if (clock.monotonicMs() >= until) return page(some.at(-1));
      from += some.length;
    }
    const last = rows.at(-1);
    if (last === undefined) return page(undefined);
    after = { createdAt: last.createdAt, key: last.key };
  }
}

/** It was purged since it was listed. */
function ifGone(error: unknown): undefined {
  if (error instanceof WheelworkError && error.code === "WW_NOT_FOUND") return undefined;
  throw error;
}

function check({ text, values, withinMs }: SearchOptions): void {
  const problems: Problem[] = [];
  if (text !== undefined && (typeof text !== "string" || text === ""))
    problems.push({ path: "text", message: "must be a text that is not empty" });
  if (values !== undefined && !isObject(values)) problems.push({ path: "values", message: mustBeObject });
  for (const path of Object.keys(isObject(values) ? values : {}))
    if (!/^(request|view)(\..+)?$/.test(path))
      problems.push({ path: `values.${path}`, message: "must begin with request. or view." });
  if (withinMs !== undefined && !(typeof withinMs === "number" && withinMs >= 0 && withinMs <= maxMs))
    problems.push({ path: "withinMs", message: `must be a number from 0 to ${maxMs}` });
  if (problems.length === 0) return;
  throw new WheelworkError("WW_INVALID_REQUEST", "the search is not valid", { problems });
}

function matcher(
  text: string | undefined,
  values: NonNullable<SearchOptions["values"]>,
): (record: RequestRecord, definition: HubDefinition | undefined, secrets: readonly SecretPath[]) => boolean {
  const sought = text?.toLowerCase();
  const paths = Object.entries(values).map(([path, value]) => [path.split("."), value] as const);
  const usesView = sought !== undefined || paths.some(([[first]]) => first === "view");
  return ({ known }, definition, secrets) => {
    const { view } = usesView ? ownView(definition, known.data) : {};
    const whole = shown({ request: bodyOf(known).request, view }, known.data, secrets);
    return (
      paths.every(([path, value]) => hasValue(whole, path, value)) &&
      (sought === undefined || hasText(whole.request, sought) || hasText(whole.view, sought))
    );
  };
}

/** What may be found: nothing that is secret in the run, or whoever searches could guess it. */
function shown(
  whole: { readonly request: unknown; readonly view: unknown },
  data: unknown,
  paths: readonly SecretPath[],
): { readonly request: unknown; readonly view: unknown } {
  if (paths.length === 0) return whole;
  const secrets = new Secrets(paths, [whole.request, data]);
  return { request: secrets.hide(whole.request), view: secrets.hide(whole.view) };
}

/** Whether a field or a value has a text in it, in upper or lower case. */
function hasText(value: unknown, sought: string): boolean {
  const left: unknown[] = [value];
  while (left.length > 0) {
    const one = left.pop();
    if (typeof one === "object" && one !== null) {
      for (const [name, inner] of Object.entries(one)) {
        if (!Array.isArray(one) && name.toLowerCase().includes(sought)) return true;
        left.push(inner);
      }
    } else if (one !== undefined && String(one).toLowerCase().includes(sought)) return true;
  }
  return false;
}

/** Whether a value is at a path. In a list, a name that is no position means any of its entries. */
function hasValue(whole: unknown, [name, ...rest]: readonly string[], value: unknown): boolean {
  if (name === undefined) return whole === value;
  if (typeof whole !== "object" || whole === null) return false;
  if (Array.isArray(whole) && !/^\d+$/.test(name))
    return whole.some((one) => hasValue(one, [name, ...rest], value));
  return Object.hasOwn(whole, name) && hasValue((whole as Record<string, unknown>)[name], rest, value);
}
