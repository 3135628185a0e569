import { waitUntil } from "@wheelwork/services";
import { expect, test } from "vitest";
import { flowBody, linkEvent, startRest, sw } from "./system.ts";

/** The short form of all that is tested over REST, with the flows and the runs of their operations in PostgreSQL. */
export function worksOverRest(url: () => string): void {
  test("many at once, a link that fails, and what waits: the answers are true, and the books are exact", async () => {
    const { send, tell, store, switches, engine } = await startRest({
      controller: { againMs: 20 },
      database: { url: url() },
    });
    const ids = Array.from({ length: 4 }, (_, index) => `f${index}`);
    const bodies = ids.map((id, index) => flowBody(id, index + 1, { strict_bandwidth: true }));
    const made = await Promise.all([...bodies, ...bodies].map((body) => send("POST", "/v2/flows", body)));
    expect(made.map(({ status }) => status).toSorted()).toEqual([
      ...ids.map(() => 200),
      ...ids.map(() => 409),
    ]);
    const narrow = `src_switch=${sw(1)}&src_port=104&dst_switch=${sw(4)}&dst_port=101`;
    await send("PATCH", `/v1/links/bandwidth?${narrow}`, { max_bandwidth: 2_000 });
    await tell(linkEvent(1, 2, false));
    expect(await store.counts()).toEqual({ UP: 2, DOWN: 2, DEGRADED: 0 });
    const up = (await send("GET", "/v2/flows?status=UP")).json as readonly { readonly flow_id: string }[];
    const gone = await Promise.all(up.map(({ flow_id: id }) => send("DELETE", `/v2/flows/${id}`)));
    expect(gone.map(({ json }) => json.status_info)).toEqual(up.map(() => "deleted"));
    await waitUntil(async () => (await store.counts()).UP === 2, 20_000);
    await waitUntil(async () => (await engine.lanes()).total === 0, 20_000);
    expect([await store.audit(), await switches.count()]).toEqual([[], 2 * 8]);
    expect((await send("GET", `/v2/flows/${up[0]?.flow_id}/history`)).json[0].action).toBe("Flow deleting");
  });
}
