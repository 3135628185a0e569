// Each tenant may have so many reports made at the same time. The places belong to the tenant, so that one who orders a thousand
// reports holds up nobody else. Within a tenant, what is urgent goes first, and nothing waits for ever.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const order = z.object({ tenant: z.string(), report: z.string() });
export const render = spoke("render", {
  input: order,
  output: z.object({ pages: z.number() }),
  timeoutMs: 60_000,
});

export const report = hub(
  "report",
  {
    request: order,
    reply: z.object({ pages: z.number() }),
    errors: ["not-made"],
    deadlineMs: 120_000,
    deadline: "NotMade",
    exclusive: {
      lane: "reports",
      by: ({ tenant }) => tenant,
      slots: 2,
      whenBusy: "queue",
      queueMs: 3_600_000,
      queueLimit: 1_000,
    },
    chart: { Rendering: { Made: "Done", NotMade: "NotMade" }, Done: end, NotMade: end },
    data: (request) => ({ ...request, pages: 0 }),
  },
  {
    Rendering: (s) =>
      s.call(render, {
        input: ({ tenant, report: name }) => ({ tenant, report: name }),
        ok: (_data, { pages }) => s.raise("Made", { pages }),
        failed: "NotMade",
      }),
    Done: ({ pages }) => ({ pages }),
    NotMade: (_data, s) => s.fail("not-made", "the report was not made"),
  },
);
