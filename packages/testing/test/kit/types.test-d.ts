// Mistakes that must not compile: `tsc -b` checks that each line after `@ts-expect-error` is one.
import { explore, type TestEngine } from "@wheelwork/testing";
import { createFlow, install } from "./hubs.ts";

export async function mistakes(kit: TestEngine): Promise<void> {
  // @ts-expect-error the output of install-rule is a number
  kit.script(install, { ok: { installed: "0" } });
  // @ts-expect-error install-rule does not declare this code
  kit.script(install, { fail: "no-power" });
  // @ts-expect-error a sequence has one answer at least
  kit.script(install, []);
  // @ts-expect-error its input has no such field
  kit.script(install, ({ colour }) => ({ ok: { installed: colour } }));
  // @ts-expect-error the request of create-flow has a length
  await kit.submit(createFlow, {});
  const call = kit.openCall(install);
  // @ts-expect-error the output of install-rule is a number
  await call.ok({ installed: "0" });
  // @ts-expect-error install-rule does not declare this code
  await call.fail("no-power");
  // @ts-expect-error sample requests have the type of the request
  explore(createFlow, { requests: [{}] });
  kit.script(install, { ok: { installed: 0 }, afterMs: 1 });
  kit.script(install, ({ rule }, { attempt }) => (rule === attempt ? "hang" : { fail: "table-full" }));
  await call.fail("table-full");
}
