// A person decides. After a day without an answer the hub reminds the manager, three times at most. Then it asks the
// director, who has two days.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const day = 86_400_000;
const none = z.object({});
export const mail = spoke("mail", {
  input: z.object({ to: z.enum(["manager", "director"]), text: z.string() }),
  output: none,
  timeoutMs: 10_000,
  retry: { attempts: 5, backoffMs: 1_000 },
});

export const approval = hub(
  "approval",
  {
    request: z.object({ what: z.string() }),
    reply: z.object({ by: z.string() }),
    errors: ["refused", "nobody-answered"],
    deadlineMs: 30 * day,
    deadline: "GaveUp",
    signals: { decision: z.object({ by: z.string(), approved: z.boolean() }) },
    chart: {
      Asking: { Asked: "Waiting" },
      Waiting: {
        Approved: "Approved",
        Refused: "Refused",
        Remind: "Asking",
        Escalate: "Escalating",
        GaveUp: "Nobody",
      },
      Escalating: { Asked: "WaitingForDirector" },
      WaitingForDirector: { Approved: "Approved", Refused: "Refused", GaveUp: "Nobody" },
      Approved: end,
      Refused: end,
      Nobody: end,
    },
    data: ({ what }) => ({ what, asked: 0, by: "" }),
  },
  {
    Asking: (s) =>
      s.tell(mail, {
        input: ({ what }) => ({ to: "manager" as const, text: `Please decide: ${what}` }),
        next: "Asked",
      }),
    Waiting: (s) =>
      s.wait({
        on: { decision: (_data, { by, approved }) => s.raise(approved ? "Approved" : "Refused", { by }) },
        after: {
          Remind: {
            ms: ({ asked }) => (asked < 3 ? day : null),
            patch: ({ asked }) => ({ asked: asked + 1 }),
          },
          Escalate: ({ asked }) => (asked < 3 ? null : day),
        },
      }),
    Escalating: (s) =>
      s.tell(mail, {
        input: ({ what }) => ({ to: "director" as const, text: `Nobody decides: ${what}` }),
        next: "Asked",
      }),
    WaitingForDirector: (s) =>
      s.wait({
        on: { decision: (_data, { by, approved }) => s.raise(approved ? "Approved" : "Refused", { by }) },
        after: { GaveUp: 2 * day },
      }),
    Approved: ({ by }) => ({ by }),
    Refused: ({ by }, s) => s.fail("refused", `${by} refused it`),
    Nobody: (_data, s) => s.fail("nobody-answered", "nobody has decided"),
  },
);
