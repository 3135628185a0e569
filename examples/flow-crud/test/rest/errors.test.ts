import { expect, test } from "vitest";
import { flowBody, linkEvent, startRest, sw } from "./system.ts";

test("every error has OpenKilda's body, with the name of the request", async () => {
  const { send } = await startRest();
  const named = { correlation_id: "task-1" };
  const missing = await send("GET", "/v2/flows/none", undefined, named);
  expect(missing.status).toBe(404);
  expect(missing.headers.get("content-type")).toContain("application/json");
  expect(missing.json).toEqual({
    correlation_id: "task-1",
    timestamp: expect.any(Number),
    "error-type": "Object was not found",
    "error-message": "Could not get flow",
    "error-description": "Flow none was not found",
  });
  expect(Math.abs(Date.now() - missing.json.timestamp)).toBeLessThan(60_000);
  expect((await send("GET", "/v2/flows/none")).json.correlation_id).not.toBe("");
});

const refusedCalls = [
  ["GET", "/v2/flows/x", 404],
  ["GET", "/v1/flows/x", 404],
  ["GET", "/v2/flows/status/x", 404],
  ["GET", "/v1/flows/x/path", 404],
  ["GET", "/v1/flows/x/validate", 404],
  ["PUT", "/v2/flows/x", 404],
  ["PATCH", "/v2/flows/x", 404],
  ["DELETE", "/v2/flows/x", 404],
  ["DELETE", "/v1/flows/x", 404],
  ["POST", "/v2/flows/x/reroute", 404],
  ["PATCH", "/v1/flows/x/reroute", 404],
  ["PATCH", "/v1/flows/x/reroute/flush", 404],
  ["PATCH", "/v1/flows/x/sync", 404],
  ["PATCH", "/v1/flows/x/swap", 404],
  ["GET", "/v2/operations/x", 404],
  ["GET", "/v1/switches/x", 404],
  ["DELETE", "/v2/flows/not%20an%20id", 404],
  ["GET", "/v2/flows?status=odd", 400],
  ["GET", "/v2/flows?colour=red", 400],
  ["GET", "/v2/flows?limit=0", 400],
  ["GET", "/v2/flows/x/history?max_count=100000", 400],
  ["DELETE", "/v2/flows/x?whenBusy=join", 400],
] as const;

test("what is not there is 404, and a query that is not valid is 400, always in the same form", async () => {
  const { send } = await startRest();
  for (const [method, path, status] of refusedCalls) {
    const isBody = method === "PUT" || (method === "PATCH" && path === "/v2/flows/x");
    const body = method === "PUT" ? flowBody("x", 1) : { priority: 1 };
    const reply = await send(method, path, isBody ? body : undefined);
    expect([method, path, reply.status, Object.keys(reply.json)]).toEqual([
      method,
      path,
      status,
      ["correlation_id", "timestamp", "error-type", "error-message", "error-description"],
    ]);
  }
});

test("all problems of a body are listed", async () => {
  const { send } = await startRest();
  const reply = await send("POST", "/v2/flows", {
    flow_id: "bad id",
    source: { switch_id: "3", port_number: 0, vlan_id: 5000, colour: "red" },
    maximum_bandwidth: 63,
    path_computation_strategy: "luck",
    tags: [],
  });
  expect([reply.status, reply.json["error-type"], reply.json["error-message"]]).toEqual([
    400,
    "Invalid request data",
    "Could not create flow",
  ]);
  const description: string = reply.json["error-description"];
  for (const part of [
    "flow_id: ",
    "source.switch_id: must be a switch id",
    "source.port_number: ",
    "source.vlan_id: ",
    "source.colour: is not known",
    "destination: is missing",
    "maximum_bandwidth: must be 0 (unmetered), or 64 at least",
    "path_computation_strategy: ",
    "tags: is not known",
  ])
    expect(description).toContain(part);
  expect((await send("POST", "/v2/flows")).json["error-description"]).toBe("body: is missing");
  expect((await send("POST", "/v2/flows", [])).status).toBe(400);
});

const refusedBodies = [
  ["pinned and protected", { pinned: true, allocate_protected_path: true }, /^allocate_protected_path: /],
  ["ignore and strict", { ignore_bandwidth: true, strict_bandwidth: true }, /^strict_bandwidth: /],
  [
    "protected on one switch",
    {
      allocate_protected_path: true,
      destination: { switch_id: sw(1), port_number: 11, vlan_id: 1 },
    },
    /^allocate_protected_path: it is on one switch/,
  ],
  [
    "one end twice",
    { destination: { switch_id: sw(1), port_number: 10, vlan_id: 1 } },
    /^destination: both ends have the same port and VLAN/,
  ],
  ["a tier alone", { max_latency_tier2: 10 }, /^max_latency_tier2: .* no first one/],
  ["a tier below", { max_latency: 20, max_latency_tier2: 10 }, /^max_latency_tier2: .* below the first one/],
  ["diverse with itself", { diverse_flow_id: "x" }, /^diverse_flow_id: it cannot be diverse with itself/],
  ["an unknown switch", { source: { switch_id: sw(99), port_number: 10 } }, /99|63/],
  ["a switch that is away", { source: { switch_id: sw(6), port_number: 10 } }, /not connected/],
  ["a port of a link", { source: { switch_id: sw(1), port_number: 102 } }, /port 102/],
  ["VXLAN", { encapsulation_type: "vxlan" }, /^encapsulation_type: .*left out/],
  [
    "QinQ",
    { source: { switch_id: sw(1), port_number: 10, inner_vlan_id: 4 } },
    /^source.inner_vlan_id: .*left out/,
  ],
  ["pings", { periodic_pings: true }, /^periodic_pings: .*left out/],
  ["affinity", { affinity_flow_id: "y" }, /^affinity_flow_id: .*left out/],
  ["statistics", { statistics: { vlans: [1] } }, /^statistics/],
  ["a loop", { loop_switch_id: sw(1) }, /^loop_switch_id: .*left out/],
  [
    "connected devices",
    { source: { switch_id: sw(1), port_number: 10, detect_connected_devices: { lldp: true, arp: false } } },
    /^source.detect_connected_devices/,
  ],
] as const;

test("what cannot be, and what is left out, is 400 with the name of its field", async () => {
  const { send } = await startRest();
  for (const [what, more, description] of refusedBodies) {
    const reply = await send("POST", "/v2/flows", flowBody("x", 1, more));
    expect(reply.json["error-description"], what).toMatch(description);
    expect(reply.status, what).toBe(400);
    expect((await send("GET", "/v2/flows")).json).toEqual([]);
  }
});

test("what a create refuses, a change refuses, too: so each flow can be sent back as it was read", async () => {
  const { send } = await startRest();
  expect((await send("POST", "/v2/flows", flowBody("x", 1))).json).toMatchObject({ status: "Up" });
  for (const [what, more] of refusedBodies) {
    expect([what, (await send("PATCH", "/v2/flows/x", more)).status]).toEqual([what, 400]);
    const { json } = await send("GET", "/v2/flows/x");
    expect([what, (await send("PUT", "/v2/flows/x", json)).status]).toEqual([what, 200]);
  }
});

test("what asks for nothing that is left out is taken", async () => {
  const { send } = await startRest();
  const devices = { lldp: false, arp: false };
  const end = (number: number) => ({
    switch_id: sw(number),
    port_number: 10,
    vlan_id: 1,
    inner_vlan_id: 0,
    detect_connected_devices: devices,
  });
  const reply = await send("POST", "/v2/flows", {
    ...flowBody("x", 1),
    source: end(1),
    destination: end(3),
    encapsulation_type: "TRANSIT_VLAN",
    path_computation_strategy: "COST_AND_AVAILABLE_BANDWIDTH",
    periodic_pings: false,
    statistics: { vlans: [] },
    affinity_flow_id: null,
    diverse_flow_id: "",
    max_latency: null,
  });
  expect([reply.status, reply.json.path_computation_strategy]).toEqual([200, "cost_and_available_bandwidth"]);
});

test("ids that differ, taken ids and endpoints, no path, pinned flows, and flows that are down", async () => {
  const { send, store, switches } = await startRest();
  await send("POST", "/v2/flows", flowBody("a", 1));
  const other = await send("PUT", "/v2/flows/a", flowBody("b", 1));
  expect([other.status, other.json["error-description"]]).toEqual([
    400,
    "flow_id: is not a, which the path names",
  ]);
  const exists = await send("POST", "/v2/flows", flowBody("a", 2));
  expect([exists.status, exists.json["error-message"]]).toEqual([409, "Could not create flow"]);
  expect((await send("POST", "/v2/flows", flowBody("c", 1))).status).toBe(409);
  await send("POST", "/v2/flows", flowBody("d", 2));
  expect((await send("PATCH", "/v2/flows/d", { source: { vlan_id: 1 } })).status).toBe(409);
  // No path with that bandwidth: nothing is left.
  const wide = await send("POST", "/v2/flows", flowBody("e", 3, { maximum_bandwidth: 5_000_000 }));
  expect([wide.status, wide.json["error-type"]]).toEqual([404, "Object was not found"]);
  expect((await send("GET", "/v2/flows/e")).status).toBe(404);
  const alone = { destination: { switch_id: sw(5), port_number: 10 } };
  expect((await send("POST", "/v2/flows", flowBody("e", 3, alone))).status).toBe(404);
  expect((await send("PATCH", "/v2/flows/a", { maximum_bandwidth: 5_000_000 })).status).toBe(404);
  // What fits together only with what is stored is looked at, too.
  await send("POST", "/v2/flows", flowBody("f", 4, { pinned: true }));
  const both = await send("PATCH", "/v2/flows/f", { allocate_protected_path: true });
  expect([both.status, both.json["error-description"]]).toEqual([
    400,
    expect.stringContaining("it is pinned and cannot have a protected path"),
  ]);
  expect((await send("POST", "/v2/flows/f/reroute")).status).toBe(422);
  expect((await send("PATCH", "/v1/flows/a/swap")).status).toBe(400);
  // A switch that is away cannot be read: that is not "all rules are missing".
  await switches.away(2);
  const unread = await send("GET", "/v1/flows/a/validate");
  expect([unread.status, unread.json["error-message"]]).toEqual([500, "Could not validate flow"]);
  await switches.back(2);
  await store.note(linkEvent(1, 2, false));
  expect((await send("GET", "/v1/flows/a/validate")).status).toBe(422);
});

test("what a switch refuses is told, and nothing of it is left", async () => {
  const { send, switches } = await startRest();
  await switches.refuse(1);
  const refused = await send("POST", "/v2/flows", flowBody("r", 1));
  expect([refused.status, refused.json["error-message"]]).toEqual([500, "Could not create flow"]);
  expect(refused.json["error-description"]).toContain(sw(1));
  expect(await switches.count()).toBe(0);
  expect((await send("GET", "/v2/flows/r")).status).toBe(404);
});

test("a time that is over is told as 408", async () => {
  const { send, switches } = await startRest({
    controller: { deadlineMs: 200, switchTimeoutMs: 100, cleanUpMs: 200 },
  });
  switches.hold(2);
  const late = send("POST", "/v2/flows", flowBody("t", 1), { prefer: "wait=20" });
  await switches.reached(2);
  const reply = await late.finally(() => switches.release(2));
  expect([reply.status, reply.json["error-type"]]).toEqual([408, "Operation has timed out"]);
});

test("of twenty creates of one id, one is done", async () => {
  const { send } = await startRest();
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, index) => send("POST", "/v2/flows", flowBody("one", index + 1))),
  );
  expect(replies.map(({ status }) => status).toSorted()).toEqual([200, ...Array(19).fill(409)]);
});

test("a name that cannot be shown is refused, or not shown", async () => {
  const { send } = await startRest();
  for (const name of ["a\tb", "x".repeat(201)]) {
    const refused = await send("POST", "/v2/flows", flowBody("a", 1), { correlation_id: name });
    expect([refused.status, refused.json["error-description"]]).toEqual([
      400,
      expect.stringMatching(
        /correlation_id: must (?:have no control characters|NOT have more than 200 characters)$/,
      ),
    ]);
  }
  const key = { "idempotency-key": "a%0Ab" };
  const made = await send("POST", "/v2/flows", flowBody("a", 1), key);
  expect([made.status, (await send("POST", "/v2/flows", flowBody("a", 1), key)).json]).toEqual([
    200,
    made.json,
  ]);
});

test("no new flow has an id that means something else in a path: each path can name each flow", async () => {
  const { send, document } = await startRest();
  const words = new Set(
    Object.keys(document?.paths ?? {}).flatMap(
      (path) => /^\/v[12]\/flows\/([^{/]+)(?:\/|$)/.exec(path)?.[1] ?? [],
    ),
  );
  expect([...words]).toContain("status");
  for (const word of words) {
    const v2 = await send("POST", "/v2/flows", flowBody(word, 1));
    expect([word, v2.status, v2.json["error-description"]]).toEqual([
      word,
      400,
      `flow_id: must not be ${word}, which means something else in a path`,
    ]);
    const v1 = await send("PUT", "/v1/flows", { flowid: word });
    expect([v1.status, v1.json["error-description"]]).toEqual([
      400,
      expect.stringContaining(`flowid: must not be ${word}, `),
    ]);
  }
});

test("the answer of an operation on a flow that is not UP says why, as the flow does when it is read", async () => {
  const { send, store } = await startRest();
  await send("POST", "/v2/flows", flowBody("pinned", 1, { pinned: true }));
  await send("POST", "/v2/flows", flowBody("spare", 2, { allocate_protected_path: true }));
  const said = ({ json }: { readonly json: { status: string; status_info?: string } }) => [
    json.status,
    json.status_info,
  ];
  // Nobody reroutes here: the flows stay what the links have made of them.
  for (const [flowId, cut, status, why] of [
    ["spare", linkEvent(1, 4, false), "Degraded", "The protected path is broken."],
    ["pinned", linkEvent(1, 2, false), "Down", "Its path is broken, and it is pinned to it."],
  ] as const) {
    await store.note(cut);
    const expected = [status, why];
    expect(said(await send("GET", `/v2/flows/${flowId}`))).toEqual(expected);
    expect(said(await send("PATCH", `/v2/flows/${flowId}`, { description: "x" }))).toEqual(expected);
    const { json } = await send("GET", `/v1/flows/${flowId}`);
    expect(said(await send("PUT", `/v1/flows/${flowId}`, json))).toEqual(expected);
  }
});
