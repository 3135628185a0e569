import {
  end,
  hub,
  spoke,
  stay,
  WheelworkError,
  type Outcome,
  type Schema,
  type Spoke,
} from "@wheelwork/core";
import type { HubDefinition } from "@wheelwork/core/kernel";
import type { Worker } from "../attempts/worker.ts";
import { bulkHubName, type BulkItem, type BulkProgress, type BulkRequest } from "../ports/bulks.ts";
import { bulkProblems } from "./bulk-request.ts";
import { foreverMs } from "./calls.ts";

/** How many requests get their command side by side. */
const atOnce = 20;

/** A page of the requests that a bulk means. */
interface BulkPage {
  readonly ids: readonly string[];
  /** Where the next page begins; absent: this is the last one. */
  readonly cursor?: string;
  /** When the bulk was accepted. */
  readonly since: number;
  /** Only with the first page: how many requests the filter means. */
  readonly matched?: number;
}

/** What the run of a bulk knows. */
interface BulkData {
  readonly since?: number;
  readonly matched?: number;
  /** The requests that it is at. */
  readonly page: readonly string[];
  readonly cursor?: string | undefined;
  readonly done: number;
  readonly gone: number;
  readonly refused: Readonly<Record<string, number>>;
  /** What came of the command that was settled last: so each event says which request it is about. */
  readonly last?: BulkItem;
  readonly paused?: boolean;
  readonly cancelled?: boolean;
  /** Why requests could not be listed. */
  readonly why?: string;
}

/** What the workers of bulks ask of an engine. What it throws says whether another try may help (`retryable`). */
export interface BulkOffice {
  /** The request of a bulk, by the key of its run, and when it was accepted. */
  bulk(key: string): Promise<BulkRequest & { readonly since: number }>;
  /** How many requests a bulk means, of those accepted up to a time. */
  matched(request: BulkRequest, until: number): Promise<number>;
  /** Some of them, from a place on. */
  page(
    request: BulkRequest,
    until: number,
    part: { readonly limit: number; readonly cursor?: string },
  ): Promise<Pick<BulkPage, "ids" | "cursor">>;
  /** Gives a request the command of a bulk. The same command id is the same command. It has been decided when this resolves. */
  give(id: string, request: BulkRequest, commandId: string): Promise<BulkItem["outcome"]>;
}

const anything: Schema = {
  "~standard": { version: 1, vendor: "wheelwork", validate: (value) => ({ value }) },
};

const bulkRequest: Schema<BulkRequest> = {
  "~standard": {
    version: 1,
    vendor: "wheelwork",
    validate: (value) => {
      const problems = bulkProblems(value);
      return problems.length === 0
        ? { value: value as BulkRequest }
        : { issues: problems.map(({ path, message }) => ({ message, path: path.split(".") })) };
    },
  },
};

const away = { attempts: "unlimited", backoffMs: 50, maxBackoffMs: 30_000 } as const;

const listSpoke = spoke("wheelwork.bulk-list", {
  input: anything as Schema<Pick<BulkData, "cursor" | "since">>,
  output: anything as Schema<BulkPage>,
  errors: ["away", "refused"],
  timeoutMs: 60_000,
  retry: { ...away, giveUpOn: ["refused"] },
});

const commandSpoke = spoke("wheelwork.bulk-command", {
  input: anything as Schema<{ readonly id: string; readonly since: number }>,
  output: anything as Schema<BulkItem>,
  // `full`: the request takes no more signals now. It may never take one.
  errors: ["away", "full"],
  timeoutMs: 30_000,
  retry: { ...away, on: { full: { attempts: 8 } } },
});

/** The counts after one more command. */
function counted({ done, gone, refused }: BulkData, item: BulkItem): Partial<BulkData> {
  const last = { last: item };
  if (item.outcome === "done") return { done: done + 1, ...last };
  if (item.outcome === "gone") return { gone: gone + 1, ...last };
  const { code = "" } = item;
  return { refused: { ...refused, [code]: (refused[code] ?? 0) + 1 }, ...last };
}

const progressOf = ({ matched, done, gone, refused, paused, cancelled }: BulkData): BulkProgress => ({
  ...(matched === undefined ? {} : { matched }),
  done,
  gone,
  refused,
  isPaused: paused === true,
  isCancelled: cancelled === true,
});

/** The hub whose runs are the bulks: see ports/bulks.ts. */
export const bulkHub: HubDefinition = {
  ...hub(
    "bulk",
    {
      request: bulkRequest,
      reply: anything as Schema<BulkProgress>,
      errors: ["not-listed"],
      // It goes on until all have their command, or somebody cancels it.
      deadlineMs: foreverMs,
      signals: { pause: anything, resume: anything },
      chart: {
        Listing: { Page: "Working", Over: "Done", Refused: "Failed", Changed: stay, Stopped: "Done" },
        Working: { Next: "Listing", Over: "Done", Settled: stay, Changed: stay, Stopped: "Done" },
        Done: end,
        Failed: end,
      },
      data: (): BulkData => ({ page: [], done: 0, gone: 0, refused: {} }),
      deadline: "Stopped",
      cancel: { raise: "Stopped", patch: () => ({ cancelled: true }) },
      view: progressOf,
    },
    {
      Listing: (s) =>
        s.call(listSpoke, {
          input: ({ cursor, since }) => ({
            ...(cursor === undefined ? {} : { cursor }),
            ...(since === undefined ? {} : { since }),
          }),
          ok: ({ matched }, { ids, cursor, since, matched: first = matched ?? 0 }) =>
            s.raise(ids.length === 0 ? "Over" : "Page", { page: ids, cursor, since, matched: first }),
          failed: (_data, failure) =>
            s.raise("Refused", { why: failure.kind === "timeout" ? "it took too long" : failure.message }),
          on: {
            pause: () => s.raise("Changed", { paused: true }),
            resume: () => s.raise("Changed", { paused: false }),
          },
        }),
      Working: (s) =>
        s.each(commandSpoke, {
          inputs: ({ page, since = 0 }) => page.map((id) => ({ id, since })),
          limit: ({ paused }) => (paused === true ? 0 : atOnce),
          // What is under way has its outcome before the bulk ends.
          drain: true,
          ok: (data, item) => s.raise("Settled", counted(data as BulkData, item as BulkItem)),
          failed: (data, failure, { input: { id } }) => {
            const code =
              failure.kind === "timeout"
                ? "WW_TIMEOUT"
                : failure.code === "full"
                  ? "WW_OVERLOADED"
                  : failure.code;
            return s.raise("Settled", counted(data as BulkData, { id, outcome: "refused", code }));
          },
          done: ({ cursor }) => s.raise(cursor === undefined ? "Over" : "Next", { page: [] }),
          on: {
            pause: () => s.raise("Changed", { paused: true }),
            resume: () => s.raise("Changed", { paused: false }),
          },
        }),
      Done: (data) => progressOf(data as BulkData),
      Failed: ({ why = "" }, s) => s.fail("not-listed", `the requests could not be listed: ${why}`),
    },
  ).definition,
  name: bulkHubName,
};

/** How many bulks are kept whose requests need not be looked up for each command. */
const maxKnown = 16;

/** The workers that carry bulks out, `pageSize` requests at a time. They are the engine's own: no user serves them. */
export function bulkWorkers(office: BulkOffice, pageSize: number): readonly Worker[] {
  // The request of a run never changes, and `since` tells the run from a later one of the same key.
  const known = new Map<string, Promise<BulkRequest>>();
  const requestOf = (run: string, since: number): Promise<BulkRequest> => {
    const name = `${run}@${since}`;
    let request = known.get(name);
    if (request === undefined) {
      request = office.bulk(run);
      request.catch(() => known.delete(name));
      known.set(name, request);
      if (known.size > maxKnown) known.delete(known.keys().next().value as string);
    }
    return request;
  };

  const list = async (
    { cursor: from, since: begun }: Pick<BulkData, "cursor" | "since">,
    run: string,
  ): Promise<BulkPage> => {
    const { since, ...request } = await office.bulk(run);
    const part = { limit: pageSize, ...(from === undefined ? {} : { cursor: from }) };
    const matched = begun === undefined ? { matched: await office.matched(request, since) } : {};
    let page = await office.page(request, since, part);
    while (page.ids.length === 0 && page.cursor !== undefined)
      page = await office.page(request, since, { limit: pageSize, cursor: page.cursor });
    return { ...page, since, ...matched };
  };

  const give = async (
    { id, since }: { readonly id: string; readonly since: number },
    run: string,
  ): Promise<BulkItem> => {
    const request = await requestOf(run, since);
    try {
      return { id, outcome: await office.give(id, request, `${run}@${since.toString(36)}`) };
    } catch (error) {
      if (!(error instanceof WheelworkError) || error.retryable) throw error;
      return error.code === "WW_NOT_FOUND"
        ? { id, outcome: "gone" }
        : { id, outcome: "refused", code: error.code };
    }
  };

  return [made(listSpoke as unknown as Spoke, list), made(commandSpoke as unknown as Spoke, give)];
}

function made<I>(of: Spoke, work: (input: I, run: string) => Promise<unknown>): Worker {
  return {
    spoke: of,
    // It calls nothing of the user's that could end the process.
    otherProcess: true,
    attempt: async (input, { runKey }): Promise<Outcome> => {
      try {
        return { kind: "ok", output: await work(input as I, runKey) };
      } catch (error) {
        return failed(of, error);
      }
    },
  };
}

function failed(of: Spoke, error: unknown): Outcome {
  if (!(error instanceof WheelworkError))
    return { kind: "error", code: "away" as never, message: String(error) };
  const isFull = error.retryable && error.code === "WW_OVERLOADED";
  const code = error.retryable ? (isFull ? "full" : "away") : "refused";
  return { kind: "error", code: (of.errors.includes(code) ? code : "away") as never, message: error.message };
}
