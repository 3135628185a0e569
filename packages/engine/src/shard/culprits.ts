import type { WheelworkError } from "@wheelwork/core";
import type { Checkpoint, Commit, MaybePromise } from "../ports/ports.ts";
import type { Culprit } from "./batch.ts";

/**
 * Finds the runs that are at fault when a store refuses a batch for its content: it is asked for halves of the batch until
 * each is one run. None: only the whole is too much.
 */
export async function culpritsOf(
  commit: Commit,
  error: WheelworkError,
  takes: (commit: Commit) => MaybePromise<boolean>,
): Promise<Culprit[]> {
  const { answers, journal, checkpoint, ...rest } = commit;
  const events = await halve(new Set([...journal, ...answers].map(({ key }) => key)), (keys) =>
    takes({ ...rest, journal: only(journal, keys), answers: only(answers, keys) }),
  );
  const culprits = events.map((key) => ({ key, isRow: false, error }));
  if (checkpoint === undefined) return culprits;
  const rows = await halve(new Set(checkpoint.runs.map(({ key }) => key)), (keys) =>
    takes({ ...rest, journal: [], answers: [], checkpoint: partOf(checkpoint, keys) }),
  );
  return [...culprits, ...rows.map((key) => ({ key, isRow: true, error }))];
}

async function halve(
  all: ReadonlySet<string>,
  takes: (keys: ReadonlySet<string>) => MaybePromise<boolean>,
): Promise<string[]> {
  const found: string[] = [];
  const left = [[...all]];
  for (let keys = left.pop(); keys !== undefined; keys = left.pop()) {
    if (keys.length === 0 || (await takes(new Set(keys)))) continue;
    const half = Math.ceil(keys.length / 2);
    if (keys.length === 1) found.push(...keys);
    else left.push(keys.slice(0, half), keys.slice(half));
  }
  return found;
}

const only = <T extends { readonly key: string }>(list: readonly T[], keys: ReadonlySet<string>): T[] =>
  list.filter(({ key }) => keys.has(key));

const partOf = ({ runs, histories }: Checkpoint, keys: ReadonlySet<string>): Checkpoint => ({
  runs: only(runs, keys),
  histories: only(histories, keys),
  ended: [],
  covers: 0,
});
