// Steps after one another, each of which needs what the one before has brought. If one fails, if the time is over, or if somebody
// cancels it, the steps that have succeeded are undone, the last one first. The undoing has a time of its own: what is left after
// that, the answer names.
import { end, hub, spoke, stay } from "wheelwork";
import { z } from "zod";

const call = {
  timeoutMs: 30_000,
  retry: { attempts: 3, backoffMs: 1_000, giveUpOn: ["none-left"] },
} as const;
const none = z.object({});
const thing = z.object({ name: z.string() });
export const takeAddress = spoke("take-address", {
  ...call,
  input: none,
  output: thing,
  errors: ["none-left"],
});
export const addName = spoke("add-name", { ...call, input: thing, output: thing, errors: ["none-left"] });
export const openPort = spoke("open-port", { ...call, input: thing, output: thing, errors: ["none-left"] });
export const remove = spoke("remove", {
  input: thing,
  output: none,
  timeoutMs: 30_000,
  retry: { attempts: "unlimited", backoffMs: 1_000, maxBackoffMs: 30_000 },
});

export const site = hub(
  "site",
  {
    request: z.object({}),
    reply: z.object({ made: z.array(z.string()) }),
    errors: ["not-made", "left-behind"],
    deadlineMs: 300_000,
    deadline: "Failed",
    chart: {
      Making: { Made: "Up", Failed: "Removing" },
      Removing: { Removed: stay, AllRemoved: "Down", TookTooLong: "LeftBehind" },
      Up: end,
      Down: end,
      LeftBehind: end,
    },
    data: () => ({ made: [] as string[], why: "there was no time left" }),
  },
  {
    Making: (s) => {
      const made = (data: { readonly made: readonly string[] }, { name }: { readonly name: string }) => ({
        made: [...data.made, name],
      });
      return s.sequence(
        [
          s.step(takeAddress, { input: () => ({}), ok: made }),
          s.step(addName, { input: (data) => ({ name: data.made[0] ?? "" }), ok: made }),
          s.step(openPort, { input: (data) => ({ name: data.made[0] ?? "" }), ok: made }),
        ],
        {
          done: "Made",
          failed: (_data, failure) =>
            s.raise("Failed", { why: failure.kind === "error" ? failure.message : "a step was late" }),
        },
      );
    },
    // `limit: 1` makes one call at a time, in the order of the inputs. Each that is removed leaves the list.
    Removing: (s) =>
      s.each(remove, {
        inputs: (data) => data.made.toReversed().map((name) => ({ name })),
        limit: 1,
        ok: ({ made }, _output, { input }) =>
          s.raise("Removed", { made: made.filter((name) => name !== input.name) }),
        failed: "Removed",
        done: "AllRemoved",
        after: { TookTooLong: 600_000 },
      }),
    Up: ({ made }) => ({ made: [...made] }),
    Down: ({ why }, s) => s.fail("not-made", why),
    LeftBehind: ({ made, why }, s) => s.fail("left-behind", `${made.join(", ")} is left behind: ${why}`),
  },
);
