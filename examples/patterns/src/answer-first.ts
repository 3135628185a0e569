// The client has its answer as soon as the resources are reserved. The hub provisions after that, as often as it takes, for a
// month at most. No deadline runs after the answer.
import { answered, end, hub, spoke } from "wheelwork";
import { z } from "zod";

const size = z.object({ size: z.int() });
export const reserve = spoke("reserve-address", {
  input: size,
  output: z.object({ address: z.string() }),
  errors: ["none-left"],
  timeoutMs: 2_000,
});
export const install = spoke("install-machine", {
  input: z.object({ address: z.string() }),
  output: z.object({}),
  timeoutMs: 600_000,
});

export const machine = hub(
  "machine",
  {
    request: size,
    reply: z.object({ address: z.string() }),
    errors: ["no-address"],
    deadlineMs: 10_000,
    deadline: "TooLate",
    chart: {
      Reserving: { Reserved: "Answering", NoneLeft: "NotReserved", TooLate: "NotReserved" },
      Answering: { Provision: "Installing" },
      Installing: { Installed: "Ready", NotInstalled: "Pausing", GaveUp: "Broken" },
      Pausing: { Again: "Installing" },
      Ready: end,
      Broken: end,
      NotReserved: end,
    },
    data: ({ size: wanted }) => ({ size: wanted, address: "", tries: 0 }),
    view: ({ address, tries }) => ({ address, tries }),
  },
  {
    Reserving: (s) =>
      s.call(reserve, {
        input: ({ size: wanted }) => ({ size: wanted }),
        ok: (_data, { address }) => s.raise("Reserved", { address }),
        failed: "NoneLeft",
      }),
    Answering: (s) => s.answer(({ address }) => ({ address }), { next: "Provision" }),
    Installing: (s) =>
      s.call(install, {
        input: ({ address }) => ({ address }),
        ok: "Installed",
        failed: ({ tries }) => s.raise(tries < 9 ? "NotInstalled" : "GaveUp", { tries: tries + 1 }),
        after: { GaveUp: 30 * 86_400_000 },
      }),
    Pausing: (s) => s.wait({ after: { Again: 3_600_000 } }),
    Ready: answered,
    Broken: answered,
    NotReserved: (_data, s) => s.fail("no-address", "no address is left"),
  },
);
