import { connect } from "node:net";
import { expect, test } from "vitest";
import { flowBody, linkEvent, startRest, sw } from "./system.ts";

test("a flow is created, read, changed and deleted, and each answer tells the end", async () => {
  const { send, switches } = await startRest();
  const created = await send("POST", "/v2/flows", flowBody("a", 10, { description: "first" }));
  expect(created.status).toBe(200);
  expect(created.json).toMatchObject({
    flow_id: "a",
    source: { switch_id: sw(1), port_number: 10, vlan_id: 10, inner_vlan_id: 0 },
    destination: { switch_id: sw(3), port_number: 10, vlan_id: 10 },
    status: "Up",
    maximum_bandwidth: 1000,
    description: "first",
    encapsulation_type: "transit_vlan",
    path_computation_strategy: "cost",
    diverse_with: [],
    pinned: false,
    forward_path_latency_ns: 4_000_000,
  });
  expect(created.json.created).toMatch(/^\d{4}-.*Z$/);
  // Two directions over three switches, and a meter for each.
  expect(await switches.count()).toBe(8);
  expect((await send("GET", "/v2/flows/a")).json).toEqual(created.json);
  expect((await send("GET", "/v2/flows/status/a")).json).toEqual({ flowid: "a", status: "Up" });
  expect((await send("GET", "/v2/flows")).json).toEqual([created.json]);

  const patched = await send("PATCH", "/v2/flows/a", { maximum_bandwidth: 2000 });
  expect(patched.json).toMatchObject({ status: "Up", maximum_bandwidth: 2000, description: "first" });
  const moved = await send("PATCH", "/v2/flows/a", { source: { vlan_id: 11 } });
  expect(moved.json.source).toMatchObject({ switch_id: sw(1), port_number: 10, vlan_id: 11 });
  // What a whole update does not say becomes the default.
  const { flow_id: _, ...whole } = flowBody("a", 12);
  const updated = await send("PUT", "/v2/flows/a", whole);
  expect(updated.json).toMatchObject({ maximum_bandwidth: 1000, description: "", source: { vlan_id: 12 } });
  expect(updated.json.created).toBe(created.json.created);
  // What a client has read it may send back.
  const same = await send("PUT", "/v2/flows/a", updated.json);
  expect([same.status, same.json.status]).toEqual([200, "Up"]);
  expect(await switches.count()).toBe(8);

  const deleted = await send("DELETE", "/v2/flows/a");
  expect(deleted.json).toMatchObject({ flow_id: "a", status: "Deleted", status_info: "deleted" });
  expect(await switches.count()).toBe(0);
  expect((await send("GET", "/v2/flows/a")).status).toBe(404);
  expect((await send("GET", "/v2/flows")).json).toEqual([]);
});

test("v1 has the same flows in its own form", async () => {
  const { send } = await startRest();
  const end = (number: number) => ({ "switch-id": sw(number), "port-id": 11, "vlan-id": 7 });
  const body = { flowid: "b", source: end(1), destination: end(3), "maximum-bandwidth": 500 };
  const created = await send("PUT", "/v1/flows", body);
  expect(created.json).toMatchObject({
    flowid: "b",
    source: { ...end(1), "inner-vlan-id": 0 },
    "maximum-bandwidth": 500,
    status: "Up",
    "encapsulation-type": "transit_vlan",
  });
  expect((await send("GET", "/v1/flows/b")).json).toEqual(created.json);
  expect((await send("GET", "/v1/flows")).json).toEqual([created.json]);
  expect((await send("GET", "/v1/flows/status/b")).json).toEqual({ flowid: "b", status: "Up" });
  expect((await send("PATCH", "/v1/flows/b", { priority: 3, "max-latency": 50 })).json).toMatchObject({
    priority: 3,
    "max-latency": 50,
    "maximum-bandwidth": 500,
  });
  const changed = { ...body, "maximum-bandwidth": 600, description: "x" };
  expect((await send("PUT", "/v1/flows/b", changed)).json).toMatchObject({
    "maximum-bandwidth": 600,
    description: "x",
    priority: null,
  });
  expect((await send("GET", "/v2/flows/b")).json).toMatchObject({ flow_id: "b", maximum_bandwidth: 600 });
  expect((await send("DELETE", "/v1/flows/b")).json).toMatchObject({ flowid: "b", status: "Deleted" });
});

test("a protected flow shows both of its paths, is swapped, rerouted, synchronised and validated", async () => {
  const { send, store, switches } = await startRest();
  const created = await send("POST", "/v2/flows", flowBody("p", 20, { allocate_protected_path: true }));
  expect(created.json).toMatchObject({
    status: "Up",
    status_details: { main_path: "Up", protected_path: "Up" },
  });
  const paths = (await send("GET", "/v1/flows/p/path")).json;
  expect(paths.flowpath_forward).toEqual([
    { switch_id: sw(1), input_port: 10, output_port: 102 },
    { switch_id: sw(2), input_port: 101, output_port: 103 },
    { switch_id: sw(3), input_port: 102, output_port: 10 },
  ]);
  expect(paths.flowpath_reverse.map((hop: { switch_id: string }) => hop.switch_id)).toEqual([
    sw(3),
    sw(2),
    sw(1),
  ]);
  expect(paths.protected_path.flowpath_forward[1].switch_id).toBe(sw(4));

  const swapped = await send("PATCH", "/v1/flows/p/swap");
  expect([swapped.status, swapped.json.flowid, swapped.json.status]).toEqual([200, "p", "Up"]);
  expect((await send("GET", "/v1/flows/p/path")).json.flowpath_forward[1].switch_id).toBe(sw(4));

  const moved = await send("POST", "/v2/flows/p/reroute");
  expect(moved.json).toEqual({
    flow_id: "p",
    path: {
      latency: 4_000_000,
      nodes: [
        { switch_id: sw(1), port_no: 102, segment_latency: 2_000_000 },
        { switch_id: sw(2), port_no: 101 },
        { switch_id: sw(2), port_no: 103, segment_latency: 2_000_000 },
        { switch_id: sw(3), port_no: 102 },
      ],
    },
    rerouted: true,
  });
  expect((await send("PATCH", "/v1/flows/p/reroute")).json).toMatchObject({ flowid: "p", rerouted: false });

  const fine = await send("GET", "/v1/flows/p/validate");
  expect(fine.json.map((entry: { direction: string }) => entry.direction)).toEqual([
    "forward",
    "reverse",
    "protected_forward",
    "protected_reverse",
  ]);
  expect(fine.json[0]).toMatchObject({ flow_id: "p", as_expected: true, discrepancies: [] });
  // Somebody takes a rule from a switch: the direction that it belongs to shows it, and no other one.
  await switches.takeRules(2, 101);
  const broken = (await send("GET", "/v1/flows/p/validate")).json;
  expect(broken.map((entry: { as_expected: boolean }) => entry.as_expected)).toEqual([
    false,
    true,
    true,
    true,
  ]);
  expect(broken[0].discrepancies).toMatchObject([{ field: "all", actual_value: "" }]);
  expect((await send("PATCH", "/v1/flows/p/sync")).json).toMatchObject({ flowid: "p", rerouted: false });
  expect((await send("GET", "/v1/flows/p/validate")).json[0].as_expected).toBe(true);

  // A link of the main path fails: shown at once, by what is stored.
  await store.note(linkEvent(1, 2, false));
  expect((await send("GET", "/v2/flows/p")).json).toMatchObject({
    status: "Down",
    status_details: { main_path: "Down", protected_path: "Up" },
  });
});

test("a list is filtered by status and comes in pages", async () => {
  const { send, store, switches } = await startRest();
  for (const [index, id] of ["a", "b", "c", "d"].entries())
    await send("POST", "/v2/flows", flowBody(id, index + 1));
  const ids = async (query: string) =>
    (await send("GET", `/v2/flows${query}`)).json.map((flow: { flow_id: string }) => flow.flow_id);
  expect(await ids("?status=UP")).toEqual(["a", "b", "c", "d"]);
  expect(await ids("?status=down")).toEqual([]);
  const page = await send("GET", "/v2/flows?limit=3&status=up");
  expect(page.json).toHaveLength(3);
  const [, next] = /<([^>]+)>; rel="next"/.exec(page.headers.get("link") ?? "") ?? [];
  expect((await send("GET", next ?? "")).json).toMatchObject([{ flow_id: "d" }]);
  switches.hold(2);
  const change = send("PATCH", "/v2/flows/b", { maximum_bandwidth: 5000 });
  await switches.reached(2);
  expect(await ids("?status=IN_PROGRESS")).toEqual(["b"]);
  expect(await ids("?status=In%20progress")).toEqual(["b"]);
  expect(await ids("?status=UP")).toEqual(["a", "c", "d"]);
  expect((await send("GET", "/v2/flows/b")).json.status).toBe("In progress");
  switches.release(2);
  expect((await change).json.status).toBe("Up");
  await store.note(linkEvent(1, 2, false));
  expect(await ids("?status=DOWN")).toEqual(["a", "b", "c", "d"]);
});

test("lists that many clients ask for at once are made one after the other, and too many are refused", async () => {
  const { send, store } = await startRest();
  await send("POST", "/v2/flows", flowBody("a", 1));
  // The first list takes as long as the test wants.
  const [begun, held] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const switches = store.switches.bind(store);
  store.switches = async () => {
    begun.resolve();
    await held.promise;
    return switches();
  };
  const first = send("GET", "/v1/switches");
  await begun.promise;
  const paths = ["/v2/flows", "/v1/flows", "/v1/links", "/v2/flows?status=odd", "/network.json"];
  let refused = 0;
  const others = Array.from({ length: 60 }, async (_, index) => {
    const answer = await send("GET", paths[index % paths.length] as string);
    if (answer.status === 503) refused++;
    return { index, ...answer };
  });
  await expect.poll(() => refused).toBe(10);
  // What is not large waits for nobody.
  expect((await send("GET", "/v2/flows/a")).status).toBe(200);
  held.resolve();
  expect((await first).status).toBe(200);
  const answers = await Promise.all(others);
  expect(
    answers.filter(({ status }) => status !== 503).map(({ index, status }) => [index % 5, status]),
  ).toEqual(
    answers.flatMap(({ index, status }) =>
      status === 503 ? [] : [[index % 5, index % 5 === 3 ? 400 : 200]],
    ),
  );
  const tooMany = answers.filter(({ status }) => status === 503);
  expect(tooMany.map(({ headers }) => headers.get("retry-after"))).toEqual(Array(10).fill("1"));
  expect(tooMany[0]?.json["error-type"]).toBe("Operation can't be processed at this moment");
  // One that has failed is in nobody's way.
  expect((await send("GET", "/v2/flows")).json).toHaveLength(1);
});

test("a client that leaves while it waits for a list is in nobody's way", async () => {
  const { url, send } = await startRest();
  const clients = Array.from({ length: 20 }, () => connect(Number(new URL(url).port), "127.0.0.1"));
  for (const client of clients) client.write("GET /v1/links HTTP/1.1\r\nHost: localhost\r\n\r\n");
  for (const client of clients) client.destroy();
  expect((await send("GET", "/v1/links")).status).toBe(200);
});

test("while an operation works on a flow, another one is refused or waits for its turn", async () => {
  const { send, switches } = await startRest();
  switches.hold(2);
  const creating = send("POST", "/v2/flows", flowBody("f", 1));
  await switches.reached(2);
  // The flow that is being created is there, and says so.
  expect((await send("GET", "/v2/flows/f")).json).toMatchObject({ flow_id: "f", status: "In progress" });
  expect((await send("GET", "/v2/flows/status/f")).json.status).toBe("In progress");
  for (const [method, path, body] of [
    ["DELETE", "/v2/flows/f", undefined],
    ["PUT", "/v2/flows/f", flowBody("f", 2)],
    ["POST", "/v2/flows/f/reroute", undefined],
    ["PATCH", "/v1/flows/f/sync", undefined],
    ["PATCH", "/v1/flows/f/swap", undefined],
    ["DELETE", "/v1/flows/f", undefined],
  ] as const) {
    const refused = await send(method, path, body);
    expect([refused.status, refused.json["error-description"]]).toEqual([400, "Flow f is in progress now"]);
  }
  const twice = await send("POST", "/v2/flows", flowBody("f", 3));
  expect([twice.status, twice.json["error-type"]]).toEqual([409, "Object already exists"]);
  const deleting = send("DELETE", "/v2/flows/f?whenBusy=queue");
  switches.release(2);
  expect((await creating).json.status).toBe("Up");
  expect((await deleting).json.status_info).toBe("deleted");
  expect(await switches.count()).toBe(0);
});

test("while a flow is being rerouted, a second reroute is told so, and other operations that it is in progress", async () => {
  const { send, switches, engine, hubs } = await startRest();
  await send("POST", "/v2/flows", flowBody("f", 1));
  switches.hold(4);
  await engine.call(hubs.handleEvent, { event: linkEvent(1, 2, false) });
  await switches.reached(4);
  const again = await send("POST", "/v2/flows/f/reroute");
  expect([again.status, again.json["error-description"]]).toEqual([422, "Flow f is being rerouted now"]);
  expect((await send("PATCH", "/v2/flows/f", { maximum_bandwidth: 2000 })).status).toBe(400);
  const queued = send("POST", "/v2/flows/f/reroute?whenBusy=queue");
  switches.release(4);
  expect((await queued).json).toMatchObject({ flow_id: "f", rerouted: false });
});

test("a client that does not wait for the end is told where the answer is", async () => {
  const { send, switches } = await startRest();
  switches.hold(2);
  const pending = await send("POST", "/v2/flows", flowBody("w", 1), { prefer: "wait=0" });
  expect(pending.status).toBe(202);
  expect(pending.json).toMatchObject({ flow_id: "w", status: "In progress" });
  expect(pending.headers.get("preference-applied")).toBe("wait=0");
  const location = pending.headers.get("location") ?? "";
  expect((await send("GET", location)).status).toBe(202);
  switches.release(2);
  const answer = await send("GET", location, undefined, { prefer: "wait=20" });
  expect([answer.status, answer.json.status]).toEqual([200, "Up"]);
  expect((await send("GET", location.replace("/v2/", "/v1/"))).json).toMatchObject({ flowid: "w" });
});

test("`Prefer: respond-async` answers as soon as all is taken, with the flow in progress", async () => {
  const { send, switches } = await startRest();
  const early = { prefer: "respond-async" };
  switches.hold(2);
  const created = await send("POST", "/v2/flows", flowBody("e", 1), early);
  expect([created.status, created.json.flow_id, created.json.status]).toEqual([200, "e", "In progress"]);
  expect(created.headers.get("preference-applied")).toBe("respond-async");
  switches.release(2);
  const end = await send("GET", created.headers.get("content-location") ?? "", undefined, {
    prefer: "wait=20",
  });
  expect(end.json.status).toBe("Up");

  switches.hold(2);
  const rerouted = await send("POST", "/v2/flows/e/reroute", undefined, early);
  expect(rerouted.json).toMatchObject({ flow_id: "e", rerouted: false, path: { latency: 4_000_000 } });
  switches.release(2);
  switches.hold(2);
  const deleted = await send("DELETE", "/v2/flows/e?whenBusy=queue", undefined, early);
  expect([deleted.status, deleted.json.flow_id, deleted.json.status]).toEqual([200, "e", "In progress"]);
  switches.release(2);
  const gone = await send("GET", deleted.headers.get("content-location") ?? "", undefined, {
    prefer: "wait=20",
  });
  expect(gone.json.status).toBe("Deleted");

  // What fails before all is taken is an error at once.
  const refused = await send(
    "POST",
    "/v2/flows",
    flowBody("n", 2, { maximum_bandwidth: 900_000_000 }),
    early,
  );
  expect(refused.status).toBe(404);
  expect((await send("GET", "/v2/flows/n")).status).toBe(404);
  // What fails later leaves the flow: its client was told that there is one.
  await switches.refuse(1);
  await send("POST", "/v2/flows", flowBody("k", 3), early);
  const kept = await send("GET", "/v2/flows/k");
  expect(["In progress", "Down"]).toContain(kept.json.status);
});

test("a name makes one operation of several requests", async () => {
  const { send, engine, url } = await startRest();
  for (const header of ["correlation_id", "idempotency-key"]) {
    const id = `flow-of-${header.slice(0, 5)}`;
    const named = { [header]: `name of ${header}` };
    const body = flowBody(id, header.length);
    const [one, other] = await Promise.all([
      send("POST", "/v2/flows", body, named),
      send("POST", "/v2/flows", body, named),
    ]);
    expect([one.status, other.status]).toEqual([200, 200]);
    expect(other.json).toEqual(one.json);
    const again = await send("POST", "/v2/flows", body, named);
    expect(again.json).toEqual(one.json);
    expect(await engine.count({ labels: { flow: id } })).toBe(1);
    const different = await send("POST", "/v2/flows", { ...body, description: "other" }, named);
    expect(different.status).toBe(422);
    expect(different.json["error-description"]).toMatch(
      new RegExp(
        `^The ${header} "name of ${header}" was used before .* on flow ${id} .* Send this one with another`,
        "i",
      ),
    );
    // The same name for another flow is another operation.
    expect((await send("POST", "/v2/flows", flowBody(`${id}-2`, header.length + 50), named)).status).toBe(
      200,
    );
  }
  // A request with a name needs no content type: OpenKilda's clients send none without a body.
  const bare = await fetch(`${url}/v2/flows/flow-of-corre/reroute`, {
    method: "POST",
    headers: { correlation_id: "bare" },
  });
  expect([bare.status, ((await bare.json()) as { flow_id: string }).flow_id]).toEqual([200, "flow-of-corre"]);
  // To validate is to read: the same name reads again.
  const named = { correlation_id: "reads" };
  const path = "/v1/flows/flow-of-corre/validate";
  expect((await send("GET", path, undefined, named)).json[0].as_expected).toBe(true);
  await send("DELETE", "/v2/flows/flow-of-corre", undefined, { correlation_id: "d", "idempotency-key": "k" });
  const gone = await send("GET", path, undefined, named);
  expect([gone.status, gone.json.correlation_id]).toEqual([404, "reads"]);
  // An answer is the same, also when the flow is gone.
  await send("POST", "/v2/flows", flowBody("gone", 99));
  const change = () => send("PATCH", "/v2/flows/gone", { priority: 1 }, { correlation_id: "change" });
  expect((await change()).json).toMatchObject({ flow_id: "gone", status: "Up", priority: 1 });
  await send("DELETE", "/v2/flows/gone");
  expect((await change()).json).toMatchObject({ flow_id: "gone", priority: 1 });
  expect((await send("GET", "/v2/flows/gone")).status).toBe(404);
  const again = await send("DELETE", "/v2/flows/flow-of-corre", undefined, {
    correlation_id: "e",
    "idempotency-key": "k",
  });
  expect(again.json).toMatchObject({ flow_id: "flow-of-corre", status_info: "deleted" });
});

test("all flows are deleted together, and the answer says what has become of each", async () => {
  const { send, switches, store, engine } = await startRest();
  const ids = ["a", "b", "c", "d"];
  for (const [index, id] of ids.entries()) await send("POST", "/v2/flows", flowBody(id, index + 1));
  // One that waits for its turn, and then for a switch that is away.
  switches.hold(3);
  const updating = send("PATCH", "/v2/flows/b", { maximum_bandwidth: 5000 });
  await switches.reached(3);
  const named = { correlation_id: "all" };
  const early = await send("DELETE", "/v1/flows", undefined, { ...named, prefer: "respond-async" });
  expect([early.status, early.json.map(({ status }: { status: string }) => status)]).toEqual([
    202,
    ids.map(() => "In progress"),
  ]);
  switches.release(3);
  expect((await updating).status).toBe(200);
  const all = await send("DELETE", "/v1/flows", undefined, named);
  expect([all.status, (await store.flows({ limit: 9 })).length, await switches.count()]).toEqual([200, 0, 0]);
  // What is gone already is not listed any more.
  for (const { flowid, status } of all.json)
    expect([ids.includes(flowid), status]).toEqual([true, "Deleted"]);
  expect(await engine.count({ hub: "delete-flow" })).toBe(ids.length);
  await send("POST", "/v2/flows", flowBody("e", 1));
  await switches.away(2);
  expect((await send("DELETE", "/v1/flows")).json).toMatchObject([
    { flowid: "e", status: "Deleted", status_info: `deleted, 2 rules unconfirmed on switch ${sw(2)}` },
  ]);
  expect((await send("DELETE", "/v1/flows")).json).toEqual([]);
});

test("a delete says which rules are unconfirmed", async () => {
  const { send, switches } = await startRest();
  await send("POST", "/v2/flows", flowBody("u", 1));
  await switches.away(2);
  const deleted = await send("DELETE", "/v2/flows/u");
  expect(deleted.json).toMatchObject({
    status: "Deleted",
    status_info: `deleted, 2 rules unconfirmed on switch ${sw(2)}`,
    unconfirmed: [{ switch_id: sw(2), rules: 2 }],
  });
});
