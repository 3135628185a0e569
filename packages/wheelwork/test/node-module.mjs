// What `wheelwork node` and `wheelwork asyncapi` take: a module with the parts of a node.
import { end, hub, spoke, worker } from "wheelwork";

const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
const double = spoke("double", { input: anything, output: anything, timeoutMs: 1000 });
const doubling = hub(
  "doubling",
  {
    request: anything,
    reply: anything,
    errors: ["failed"],
    deadlineMs: 5000,
    chart: { Asking: { Done: "Told", Failed: "Lost" }, Told: end, Lost: end },
    data: ({ n }) => ({ n, doubled: 0 }),
  },
  {
    Asking: (s) =>
      s.call(double, {
        input: ({ n }) => ({ n }),
        ok: (_data, { doubled }) => s.raise("Done", { doubled }),
        failed: "Failed",
        deadline: "Failed",
      }),
    Told: ({ doubled }) => ({ doubled }),
    Lost: (_data, s) => s.fail("failed", "no answer"),
  },
);

export default {
  hubs: [doubling],
  workers: [worker(double, ({ n }) => ({ doubled: 2 * n }))],
  channels: [
    {
      name: "numbers",
      from: "numbers",
      to: "doubles",
      hub: doubling,
      request: ({ value }) => JSON.parse(value),
      answer: (answer) => ({ value: JSON.stringify(answer) }),
    },
  ],
};
