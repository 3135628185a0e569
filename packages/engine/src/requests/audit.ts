import { WheelworkError } from "@wheelwork/core";
import { isAbout } from "../ports/audit.ts";
import { givenKey } from "../ports/keys.ts";
import { nextTurn } from "../ports/clock.ts";
import type { TimeRange } from "../ports/filter.ts";
import type { AuditAbout, AuditEntry, AuditPlace, Clock } from "../ports/ports.ts";
import type { ShardAccess } from "./access.ts";
import type { AuditPage } from "./api.ts";
import { areTexts, isObject, mustBeObject, mustBeTexts } from "./asked.ts";

/** An entry, and its place among all: no two have the same. */
interface Placed {
  readonly entry: AuditEntry;
  /** Time and number of its batch, and which of the entries of the batch it is. */
  readonly at: number;
  readonly seq: number;
  readonly index: number;
}

type Place = Pick<Placed, "at" | "seq" | "index"> & { readonly key: string };

/** So many batches of a shard are read at once, and for one page at most. */
const [batchesAtOnce, batchesOfPage] = [100, 20_000];
/** A batch is decided in less, in milliseconds: commands of one time are in batches of that time, or of so much later. */
const batchMs = 60_000;

/** Which commands are meant. All that is given must hold. */
export interface AuditFilter extends AuditAbout {
  /** When it was given: from one time on and before another, in milliseconds since 1970. */
  readonly at?: TimeRange;
}

/** Options of `audit`. */
export interface AuditOptions extends AuditFilter {
  /** 1,000 at most. Default: 50. */
  readonly limit?: number;
  readonly cursor?: string;
}

/**
 * A page of the audit list, made of the lists of all shards, the newest first. Stores have an index of what a filter says. Only commands
 * that an earlier version has kept, and those to one request if more is asked of them, are looked at for nothing: then a page may have few
 * commands.
 */
export async function auditPage(
  shards: readonly Pick<ShardAccess, "audit">[],
  { limit = 50, cursor, ...filter }: AuditOptions,
  clock: Clock,
): Promise<AuditPage> {
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000)
    throw invalid("limit", "must be an integer from 1 to 1000");
  const before = cursor === undefined ? undefined : readCursor(cursor);
  const { at: range = {}, ...about } = filter;
  for (const [path, given] of Object.entries(about))
    if (given !== undefined && !areTexts(given)) throw invalid(path, mustBeTexts);
  if (!isObject(range)) throw invalid("at", mustBeObject);
  for (const [end, given] of Object.entries(range))
    if (given !== undefined && typeof given !== "number")
      throw invalid(`at.${end}`, "must be a time in milliseconds");
  // One more than the page holds says that there is another page.
  const wanted = { before, limit: limit + 1, about, at: range, clock };
  const lists = await Promise.all(shards.map((shard) => newest(shard, wanted)));
  // Where one shard was not read any further, no other one may be ahead of it.
  const left = Math.max(...lists.map(({ stoppedAt }) => stoppedAt ?? Number.NEGATIVE_INFINITY));
  const all = lists
    .flatMap(({ found }) => found)
    .filter(({ at }) => at > left)
    .toSorted((a, b) => compare(placeOf(b), placeOf(a)));
  const page = all.slice(0, limit);
  const last = page.at(-1);
  const next =
    all.length > limit && last !== undefined
      ? placeOf(last)
      : left === Number.NEGATIVE_INFINITY
        ? undefined
        : { at: left, seq: latest, index: latest, key: "~" };
  return {
    items: page.map(({ entry: { key, ...entry } }) => ({ ...entry, id: givenKey(key) })),
    ...(next === undefined ? {} : { cursor: cursorOf(next) }),
  };
}

interface Wanted {
  readonly before: Place | undefined;
  readonly limit: number;
  readonly about: AuditAbout;
  readonly at: TimeRange;
  readonly clock: Clock;
}

/** The newest entries of a shard before a place. `stoppedAt`: batches of this time and earlier ones were not read to the end. */
async function newest(
  shard: Pick<ShardAccess, "audit">,
  { before, limit, about, at: { from = 0, to = Number.POSITIVE_INFINITY }, clock }: Wanted,
): Promise<{ readonly found: readonly Placed[]; readonly stoppedAt?: number }> {
  const found: Placed[] = [];
  // Batches of other shards may have the same time.
  const begin = Math.min(before?.at ?? latest, to + batchMs, latest);
  let place: AuditPlace = { at: begin, seq: latest };
  for (let read = 0; ; read += batchesAtOnce) {
    const batches = await shard.audit(place, batchesAtOnce, about);
    for (const { at, seq, entries } of batches)
      for (const [index, entry] of entries.entries()) {
        if (!isAbout(entry, about) || entry.at < from || entry.at >= to) continue;
        const placed = { entry, at, seq, index };
        if (before === undefined || compare(placeOf(placed), before) < 0) found.push(placed);
      }
    const end = batches.at(-1);
    if (end === undefined || batches.length < batchesAtOnce || found.length >= limit || end.at < from)
      return { found };
    // A page must come further than the one before.
    if (read >= batchesOfPage && end.at < begin) return { found, stoppedAt: end.at };
    place = end;
    await nextTurn(clock);
  }
}

const latest = Number.MAX_SAFE_INTEGER;

const placeOf = ({ entry, at, seq, index }: Placed): Place => ({ at, key: entry.key, seq, index });

/** A request is in one shard, so its key tells entries of different shards apart. */
function compare(a: Place, b: Place): number {
  if (a.at !== b.at) return a.at - b.at;
  if (a.seq !== b.seq) return a.seq - b.seq;
  if (a.index !== b.index) return a.index - b.index;
  return a.key === b.key ? 0 : a.key < b.key ? -1 : 1;
}

const cursorOf = ({ at, seq, index, key }: Place): string => `${at}.${seq}.${index}.${key}`;

function readCursor(cursor: string): Place {
  const [, at, seq, index, key] =
    /^(\d{1,16})\.(\d{1,16})\.(\d{1,16})\.(.+)$/s.exec(typeof cursor === "string" ? cursor : "") ?? [];
  if (key === undefined) throw invalid("cursor", "is not one that the audit list gave");
  return { at: Number(at), seq: Number(seq), index: Number(index), key };
}

const invalid = (path: string, message: string): WheelworkError =>
  new WheelworkError("WW_INVALID_REQUEST", `${path} is not valid`, { problems: [{ path, message }] });
