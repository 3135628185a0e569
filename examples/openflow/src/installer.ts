// An installer: each switch has exactly the rules that it should have, and this program says so once that is proven.
import {
  allTables,
  flowMod,
  type FlowMod,
  listen,
  match,
  meaningOf,
  OpenFlowError,
  type Switch,
} from "@wheelwork/openflow";

/** What is ours has this cookie. Rules of others are left alone. */
const mine = { cookie: 0x4000_0000_0000_0001n, cookieMask: 0xffff_ffff_ffff_ffffn };

/** What a switch should have: what comes in on one of the first two ports goes out of the other one. */
const wanted: readonly FlowMod[] = [1, 2].map((inPort) =>
  flowMod({
    cookie: mine.cookie,
    match: match({ inPort }),
    instructions: [{ type: "applyActions", actions: [{ type: "output", port: 3 - inPort }] }],
  }),
);

/** Makes a switch have these rules under our cookie, and no others. It resolves once they were read back. */
async function ensure(sw: Switch, attempts = 3): Promise<void> {
  const has = await sw.flows({ tableId: allTables, ...mine });
  const should = new Set(wanted.map(meaningOf));
  const there = new Set(has.map(meaningOf));
  const excess = has.filter((rule) => !should.has(meaningOf(rule)));
  const missing = wanted.filter((rule) => !there.has(meaningOf(rule)));
  console.log(`switch ${sw.datapathId}: ${missing.length} rules are missing, ${excess.length} are too many`);
  if (excess.length + missing.length > 0) {
    const removed = excess.map((rule) => flowMod({ ...rule, ...mine, command: "deleteStrict" }));
    await sw.apply([...removed, ...missing]);
    if (attempts === 1) throw new Error("it gives back other rules than it was given");
    return ensure(sw, attempts - 1);
  }
  console.log(`switch ${sw.datapathId}: proven`);
}

const speaker = await listen({ port: Number(process.argv[2] ?? 6653) });
console.log(`listening on ${speaker.port}`);
speaker.on("refused", (error, remote) => console.error(`${remote}: ${error.message}`));
speaker.on("switch", (sw) => {
  ensure(sw).catch((error: unknown) => {
    const code = error instanceof OpenFlowError ? error.code : String(error);
    // Whatever has happened: it is read back when the switch connects again.
    console.error(`switch ${sw.datapathId}: ${code}`);
    sw.close();
  });
});
