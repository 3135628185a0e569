// The newest reroute wins. It does not wait until the one before it is done: that one is cancelled, gives back the path that it
// has taken, and only then the newest one begins.
import { end, hub, spoke } from "wheelwork";
import { z } from "zod";

const path = z.object({ flow: z.string(), path: z.string() });
export const install = spoke("install", { input: path, output: z.object({}), timeoutMs: 60_000 });
export const release = spoke("release", {
  input: path,
  output: z.object({}),
  timeoutMs: 5_000,
  retry: { attempts: 5, backoffMs: 1_000 },
});

export const reroute = hub(
  "reroute",
  {
    request: path,
    reply: path,
    errors: ["given-up"],
    deadlineMs: 120_000,
    deadline: "GaveUp",
    exclusive: { lane: "reroute", by: ({ flow }) => flow, whenBusy: "replace" },
    chart: {
      Installing: { Installed: "Done", Failed: "Releasing", GaveUp: "Releasing" },
      Releasing: { Released: "GivenUp" },
      Done: end,
      GivenUp: end,
    },
    data: (request) => request,
  },
  {
    Installing: (s) => s.call(install, { input: (data) => data, ok: "Installed", failed: "Failed" }),
    // A cancel raises the event of the deadline: the clean-up is the same.
    Releasing: (s) =>
      s.call(release, {
        input: (data) => data,
        ok: "Released",
        failed: "Released",
        after: { Released: 60_000 },
      }),
    Done: (data) => data,
    GivenUp: (_data, s) => s.fail("given-up", "the path was given back"),
  },
);
