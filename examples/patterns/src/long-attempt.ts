// An export takes hours. Its worker says after each page that it goes on. If it is silent for half a minute, the attempt fails, and
// the next one goes on from the last page. So nobody waits six hours for a worker that hangs, and no page is exported twice for long.
import { end, hub, spoke, worker } from "wheelwork";
import { z } from "zod";

const hour = 3_600_000;
export const exportTable = spoke("export-table", {
  input: z.object({ table: z.string(), pages: z.number() }),
  output: z.object({ pages: z.number() }),
  timeoutMs: 6 * hour,
  heartbeatMs: 30_000,
  retry: { attempts: 10, backoffMs: 5_000 },
});

/** `writePage` writes one page. Writing a page twice is harmless. */
export const exporter = (writePage: (table: string, page: number, signal: AbortSignal) => Promise<void>) =>
  worker(exportTable, async ({ table, pages }, ctx) => {
    const written = z.object({ page: z.number() }).safeParse(ctx.lastProgress);
    for (let page = written.success ? written.data.page : 0; page < pages; page++) {
      await writePage(table, page, ctx.signal);
      ctx.progress({ page: page + 1 });
    }
    return { pages };
  });

export const nightlyExport = hub(
  "nightly-export",
  {
    request: z.object({ table: z.string(), pages: z.number() }),
    reply: z.object({ pages: z.number() }),
    errors: ["not-exported"],
    deadlineMs: 20 * hour,
    deadline: "TimeRanOut",
    chart: {
      Exporting: { Exported: "Done", Failed: "Failed", TimeRanOut: "Failed" },
      Done: end,
      Failed: end,
    },
    data: (request) => ({ ...request, why: "there was no time left" }),
  },
  {
    Exporting: (s) =>
      s.call(exportTable, {
        input: ({ table, pages }) => ({ table, pages }),
        ok: "Exported",
        failed: (_data, failure) =>
          s.raise("Failed", { why: failure.kind === "error" ? failure.message : "it was late" }),
      }),
    Done: ({ pages }) => ({ pages }),
    Failed: ({ why }, s) => s.fail("not-exported", why),
  },
);
