import { WheelworkError } from "@wheelwork/core";
import { givenKey } from "../ports/keys.ts";
import type { AuditEntry } from "../ports/ports.ts";
import type { ShardAccess } from "./access.ts";
import type { AuditPage } from "./api.ts";

/** An entry, and its place among all: no two have the same. */
interface Placed {
  readonly entry: AuditEntry;
  /** Time and number of its batch, and which of the entries of the batch it is. */
  readonly at: number;
  readonly seq: number;
  readonly index: number;
}

type Place = Pick<Placed, "at" | "seq" | "index"> & { readonly key: string };

/** So many batches of a shard are read at once. */
const batchesAtOnce = 100;

/** A page of the audit list, made of the lists of all shards, the newest first. */
export async function auditPage(
  shards: readonly Pick<ShardAccess, "audit">[],
  { limit = 50, cursor }: { readonly limit?: number; readonly cursor?: string },
): Promise<AuditPage> {
  if (!Number.isInteger(limit) || limit < 1 || limit > 1000)
    throw invalid("limit", "must be an integer from 1 to 1000");
  const before = cursor === undefined ? undefined : readCursor(cursor);
  // One more than the page holds says that there is another page.
  const lists = await Promise.all(shards.map((shard) => newest(shard, before, limit + 1)));
  const all = lists.flat().toSorted((a, b) => compare(placeOf(b), placeOf(a)));
  const page = all.slice(0, limit);
  const last = page.at(-1);
  return {
    items: page.map(({ entry: { key, ...entry } }) => ({ ...entry, id: givenKey(key) })),
    ...(all.length > limit && last !== undefined ? { cursor: cursorOf(placeOf(last)) } : {}),
  };
}

/** The newest entries of a shard before a place. */
async function newest(
  shard: Pick<ShardAccess, "audit">,
  before: Place | undefined,
  limit: number,
): Promise<readonly Placed[]> {
  const found: Placed[] = [];
  // Batches of other shards may have the same time.
  let place = before === undefined ? { at: latest, seq: latest } : { at: before.at, seq: latest };
  for (;;) {
    const batches = await shard.audit(place, batchesAtOnce);
    for (const { at, seq, entries } of batches)
      for (const [index, entry] of entries.entries()) {
        const placed = { entry, at, seq, index };
        if (before === undefined || compare(placeOf(placed), before) < 0) found.push(placed);
      }
    const end = batches.at(-1);
    if (end === undefined || batches.length < batchesAtOnce || found.length >= limit) return found;
    place = end;
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
  const [, at, seq, index, key] = /^(\d{1,16})\.(\d{1,16})\.(\d{1,16})\.(.+)$/s.exec(cursor) ?? [];
  if (key === undefined) throw invalid("cursor", "is not one that the audit list gave");
  return { at: Number(at), seq: Number(seq), index: Number(index), key };
}

const invalid = (path: string, message: string): WheelworkError =>
  new WheelworkError("WW_INVALID_REQUEST", `${path} is not valid`, { problems: [{ path, message }] });
