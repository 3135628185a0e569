import { openVSwitchIsInstalled, postgresIsInstalled } from "@wheelwork/services";
import { describe, expect, test } from "vitest";
import { postgresForTests } from "../postgres.ts";
import { flowBody, linkEvent, startRest, sw, type SystemOptions } from "./system.ts";

// What OpenKilda's own functional tests demand of flows, played over REST: the names are those of its specifications.

const isLong = process.env["WHEELWORK_LONG"] !== undefined;
/** In the long form, the same sentences on real switches, with the flows in PostgreSQL. */
const grounds = [
  { name: "simulated switches and SQLite", isReal: false },
  ...(isLong && openVSwitchIsInstalled() && postgresIsInstalled()
    ? [{ name: "Open vSwitch and PostgreSQL", isReal: true }]
    : []),
];

type System = Awaited<ReturnType<typeof startRest>>;

/** Whether packets of a flow come through in both directions. */
async function pings(
  { network }: System,
  vlan: number,
  [from, to]: readonly [number, number] = [1, 3],
): Promise<boolean> {
  const there = await network.trace(sw(from), 10, vlan);
  const back = await network.trace(sw(to), 10, vlan);
  return there?.switchId === sw(to) && there.port === 10 && back?.switchId === sw(from) && back.port === 10;
}

const statusOf = async ({ send }: System, id: string): Promise<string> =>
  (await send("GET", `/v2/flows/${id}`)).json.status;

/** Over which switch a flow goes from switch 1 to switch 3. */
const overOf = async ({ send }: System, id: string): Promise<string | undefined> =>
  (await send("GET", `/v1/flows/${id}/path`)).json.flowpath_forward[1]?.switch_id;

const isValid = async ({ send }: System, id: string): Promise<boolean> =>
  (await send("GET", `/v1/flows/${id}/validate`)).json.every(
    (entry: { as_expected: boolean }) => entry.as_expected,
  );

/** Rules and meters of a metered flow over three switches. */
const ofOne = 8;

describe.each(grounds)("on $name:", ({ isReal }) => {
  const database = isReal ? postgresForTests() : undefined;
  const start = (options: SystemOptions = {}): Promise<System> =>
    startRest({
      ...options,
      isReal,
      ...(database && { database: { url: database.server().url } }),
    });

  test("FlowCrud: a flow is up only when every rule is there, and gone only when none is left", async () => {
    const system = await start();
    const { send, switches } = system;
    const idsNow = async () =>
      (await send("GET", "/v2/flows")).json.map((flow: { flow_id: string }) => flow.flow_id);
    switches.hold(3);
    const creating = send("POST", "/v2/flows", flowBody("a", 1));
    await switches.reached(3);
    expect(await statusOf(system, "a")).toBe("In progress");
    expect(await idsNow()).toEqual(["a"]);
    switches.release(3);
    expect((await creating).json.status).toBe("Up");
    expect([await switches.count(), await pings(system, 1), await isValid(system, "a")]).toEqual([
      ofOne,
      true,
      true,
    ]);
    switches.hold(3);
    const deleting = send("DELETE", "/v2/flows/a");
    await switches.reached(3);
    expect(await switches.count()).toBeGreaterThan(0);
    expect(await statusOf(system, "a")).toBe("In progress");
    expect(await idsNow()).toEqual(["a"]);
    expect((await send("GET", "/v2/flows?status=IN_PROGRESS")).json).toMatchObject([{ flow_id: "a" }]);
    switches.release(3);
    expect((await deleting).json.status_info).toBe("deleted");
    expect([await switches.count(), await idsNow()]).toEqual([0, []]);
  });

  test("FlowCrud: delete while creating is refused, and the flow comes up", async () => {
    const system = await start();
    const { send, switches } = system;
    switches.hold(2);
    const creating = send("POST", "/v2/flows", flowBody("a", 1));
    await switches.reached(2);
    expect((await send("DELETE", "/v2/flows/a")).status).toBe(400);
    switches.release(2);
    expect((await creating).json.status).toBe("Up");
    expect(await pings(system, 1)).toBe(true);
  });

  test("FlowCrud: paths are symmetric, one switch is enough, and one port takes several VLANs", async () => {
    const system = await start();
    const { send, network } = system;
    await send("POST", "/v2/flows", flowBody("a", 1));
    const { json } = await send("GET", "/v1/flows/a/path");
    expect(json.flowpath_reverse).toEqual(
      json.flowpath_forward
        .toReversed()
        .map(({ switch_id, input_port, output_port }: Record<string, unknown>) => ({
          switch_id,
          input_port: output_port,
          output_port: input_port,
        })),
    );
    const end = (port: number, vlan: number, number = 1) => ({
      switch_id: sw(number),
      port_number: port,
      vlan_id: vlan,
    });
    const one = await send(
      "POST",
      "/v2/flows",
      flowBody("one", 0, { source: end(5, 7), destination: end(5, 8) }),
    );
    expect(one.json.status).toBe("Up");
    expect(await network.trace(sw(1), 5, 7)).toEqual({ switchId: sw(1), port: 5, vlan: 8 });
    expect(await network.trace(sw(1), 5, 8)).toEqual({ switchId: sw(1), port: 5, vlan: 7 });
    // It becomes one over several switches, and one over one switch again.
    await send("PATCH", "/v2/flows/one", { destination: end(6, 9, 3) });
    expect(await network.trace(sw(1), 5, 7)).toEqual({ switchId: sw(3), port: 6, vlan: 9 });
    await send("PATCH", "/v2/flows/one", { destination: end(6, 9, 1) });
    expect(await network.trace(sw(1), 5, 7)).toEqual({ switchId: sw(1), port: 6, vlan: 9 });
    expect(await isValid(system, "one")).toBe(true);
  });

  test("Contention: after twenty creates and deletes at once, the books are exact", async () => {
    const system = await start();
    const { send, store, switches } = system;
    const ids = Array.from({ length: 20 }, (_, index) => `f${index}`);
    const made = await Promise.all(
      ids.map((id, index) => send("POST", "/v2/flows", flowBody(id, index + 1))),
    );
    expect(made.every(({ status }) => status === 200)).toBe(true);
    expect((await send("GET", "/v1/links")).json[0].available_bandwidth).toBe(980_000);
    const odd = ids.filter((_, index) => index % 2 === 1);
    await Promise.all([
      ...odd.map((id) => send("DELETE", `/v2/flows/${id}`)),
      ...odd.map((id, index) => send("POST", "/v2/flows", flowBody(`g-${id}`, 100 + index))),
    ]);
    expect((await send("GET", "/v1/links")).json[0].available_bandwidth).toBe(980_000);
    expect([await store.audit(), await switches.count()]).toEqual([[], 20 * ofOne]);
  });

  test("Reroute: a link fails, flows move; no other path: down; a link is back: up again", async () => {
    const system = await start();
    const { send, tell, network, switches, store } = system;
    for (const number of [1, 2, 3]) await send("POST", "/v2/flows", flowBody(`f${number}`, number));
    await network.cut(1, 2);
    await tell(linkEvent(1, 2, false));
    for (const number of [1, 2, 3]) {
      expect(await statusOf(system, `f${number}`)).toBe("Up");
      expect(await pings(system, number)).toBe(true);
    }
    expect([await overOf(system, "f1"), await switches.count()]).toEqual([sw(4), 3 * ofOne]);
    await network.cut(1, 4);
    await tell(linkEvent(1, 4, false));
    expect(await statusOf(system, "f1")).toBe("Down");
    expect((await send("GET", "/v2/flows?status=DOWN")).json).toHaveLength(3);
    await network.mend(1, 4);
    await tell(linkEvent(1, 4, true));
    expect([await statusOf(system, "f1"), await pings(system, 1)]).toEqual(["Up", true]);
    // One that is up is not moved by a better link.
    await network.mend(1, 2);
    await tell(linkEvent(1, 2, true));
    expect(await overOf(system, "f1")).toBe(sw(4));
    // On request it is.
    expect((await send("POST", "/v2/flows/f1/reroute")).json.rerouted).toBe(true);
    expect([await overOf(system, "f1"), await pings(system, 1), await switches.count()]).toEqual([
      sw(2),
      true,
      3 * ofOne,
    ]);
    expect(await store.audit()).toEqual([]);
  });

  test("Reroute: the new path breaks while the flow moves to it; a delete comes while it waits", async () => {
    const system = await start();
    const { send, tell, switches, network, engine, hubs } = system;
    await send("POST", "/v2/flows", flowBody("a", 1));
    switches.hold(4);
    await network.cut(1, 2);
    await engine.call(hubs.handleEvent, { event: linkEvent(1, 2, false) });
    await switches.reached(4);
    await network.cut(3, 4);
    await engine.call(hubs.handleEvent, { event: linkEvent(3, 4, false) });
    switches.release(4);
    await network.mend(1, 2);
    await tell(linkEvent(1, 2, true));
    expect([await statusOf(system, "a"), await pings(system, 1), await overOf(system, "a")]).toEqual([
      "Up",
      true,
      sw(2),
    ]);
    // A delete waits for its turn behind a reroute, and the flow is gone for good.
    switches.hold(2);
    const rerouting = send("PATCH", "/v1/flows/a/sync");
    await switches.reached(2);
    const { id } = await engine.submit(hubs.restore, { flowId: "a", reason: "a link has failed" });
    const deleting = send("DELETE", "/v2/flows/a?whenBusy=queue");
    switches.release(2);
    await rerouting;
    expect((await deleting).json.status).toBe("Deleted");
    expect(await engine.answer(id)).toBeDefined();
    expect([await switches.count(), (await send("GET", "/v2/flows/a")).status]).toEqual([0, 404]);
  });

  test("Reroute: what has too little bandwidth is not moved, and a link is never over-booked", async () => {
    const system = await start();
    const { send, tell, network, store } = system;
    const narrow = `src_switch=${sw(1)}&src_port=104&dst_switch=${sw(4)}&dst_port=101`;
    await send("PATCH", `/v1/links/bandwidth?${narrow}`, { max_bandwidth: 3500 });
    const strict = { strict_bandwidth: true };
    for (let number = 1; number <= 6; number++)
      await send("POST", "/v2/flows", flowBody(`f${number}`, number, { ...strict, priority: number }));
    await network.cut(1, 2);
    await tell(linkEvent(1, 2, false));
    const { json: flows } = await send("GET", "/v2/flows");
    expect(flows.filter(({ status }: { status: string }) => status === "Up")).toHaveLength(3);
    expect((await send("GET", `/v1/links?${narrow}`)).json[0].available_bandwidth).toBe(500);
    expect(await store.audit()).toEqual([]);
  });

  test("Protected: the spare takes over; without a new one the flow is degraded; a broken spare moves nothing", async () => {
    const system = await start();
    const { send, tell, network } = system;
    const body = flowBody("p", 1, { allocate_protected_path: true });
    expect((await send("POST", "/v2/flows", body)).json.status_details).toEqual({
      main_path: "Up",
      protected_path: "Up",
    });
    await network.cut(1, 2);
    await tell(linkEvent(1, 2, false));
    const degraded = (await send("GET", "/v2/flows/p")).json;
    expect(degraded).toMatchObject({
      status: "Degraded",
      status_details: { main_path: "Up", protected_path: "Down" },
    });
    expect([await overOf(system, "p"), await pings(system, 1)]).toEqual([sw(4), true]);
    await network.mend(1, 2);
    await tell(linkEvent(1, 2, true));
    expect([await statusOf(system, "p"), await overOf(system, "p")]).toEqual(["Up", sw(4)]);
    // Now the spare is over switch 2.
    await network.cut(2, 3);
    await tell(linkEvent(2, 3, false));
    expect([await statusOf(system, "p"), await overOf(system, "p"), await pings(system, 1)]).toEqual([
      "Degraded",
      sw(4),
      true,
    ]);
    const another = await send("POST", "/v2/flows", flowBody("q", 2, { allocate_protected_path: true }));
    expect(another.status).toBe(404);
    expect((await send("GET", "/v2/flows/q")).status).toBe(404);
  });

  test("Retries: a switch on the preferred path refuses or is away: another path is taken", async () => {
    const system = await start();
    const { send, switches, network } = system;
    await switches.refuse(2);
    await network.limit(2, 0);
    expect((await send("POST", "/v2/flows", flowBody("a", 1))).json.status).toBe("Up");
    expect([await overOf(system, "a"), await pings(system, 1)]).toEqual([sw(4), true]);
    await switches.refuse(2, false);
    await switches.away(2);
    expect((await send("POST", "/v2/flows", flowBody("b", 2))).json.status).toBe("Up");
    expect([await overOf(system, "b"), await pings(system, 2)]).toEqual([sw(4), true]);
    // What was told to a switch that is away is right when it is back.
    await switches.back(2);
    expect(await switches.count()).toBe(2 * ofOne);
  });

  test("Retries: a delete with a switch that is away ends, and its rules go when the switch is back", async () => {
    const system = await start();
    const { send, switches } = system;
    await send("POST", "/v2/flows", flowBody("a", 1));
    await switches.away(3);
    const deleted = await send("DELETE", "/v2/flows/a");
    expect(deleted.json.status_info).toMatch(
      /^deleted, \d rules unconfirmed on switch 00:00:00:00:00:00:00:03$/,
    );
    expect((await send("GET", "/v2/flows/a/history")).json[0]).toMatchObject({
      action: "Flow deleting",
      details: "Done",
    });
    expect(await switches.count()).toBeGreaterThan(0);
    await switches.back(3);
    expect(await switches.count()).toBe(0);
  });

  test("Retries: an end that refuses fails the update, and what was stands", async () => {
    const system = await start();
    const { send, switches } = system;
    await send("POST", "/v2/flows", flowBody("a", 1));
    await switches.refuse(1);
    const failed = await send("PATCH", "/v2/flows/a", { source: { vlan_id: 9 } });
    expect(failed.status).toBe(500);
    await switches.refuse(1, false);
    expect((await send("GET", "/v2/flows/a")).json).toMatchObject({ status: "Up", source: { vlan_id: 1 } });
    expect([await pings(system, 1), await switches.count(), await isValid(system, "a")]).toEqual([
      true,
      ofOne,
      true,
    ]);
  });
});
