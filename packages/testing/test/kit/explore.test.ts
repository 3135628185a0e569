import { end, hub, hubByHandlers, spoke, stay } from "@wheelwork/core";
import { explore, type Exploration, type Finding } from "@wheelwork/testing";
import { type } from "arktype";
import * as v from "valibot";
import { expect, test } from "vitest";
import * as z from "zod";
import { createFlow, install, parent, standing } from "./hubs.ts";

const ask = spoke("ask", { input: z.object({}), output: z.object({ ready: z.boolean() }), timeoutMs: 10 });
const spec = { request: z.object({}), reply: z.object({}), deadlineMs: 100 };

/** What was found, without the ways to it. */
const found = ({ findings }: Exploration): string[] => findings.map(({ kind, state }) => `${kind} ${state}`);

function only({ findings }: Exploration): Finding {
  expect(findings).toHaveLength(1);
  return findings[0] as Finding;
}

test("a hub without faults: every state and every edge is reached, and nothing is found", () => {
  const report = explore(createFlow);
  expect(report.findings, String(report)).toEqual([]);
  expect(report).toMatchObject({
    hub: "create-flow",
    complete: true,
    states: { reached: 6, total: 6 },
    edges: { reached: 9, total: 9 },
  });
  // Late, stale and repeated inputs were tried all the way (I3, I4).
  expect(report.ignored).toBeGreaterThan(report.configurations);
  expect(String(explore(createFlow))).toBe(String(report));
  expect(String(report)).toMatch(
    /^create-flow: 6 of 6 states, 9 of 9 edges, \d+ configurations, .*\nnothing found\n$/,
  );
});

test("a hub that is called is an outcome: each reply, each error, cancelled, timeout", () => {
  expect(explore(parent).findings).toEqual([]);
});

test("to start a run and to signal one are steps on the way, and nobody answers them", () => {
  const report = explore(standing);
  expect(report.findings, String(report)).toEqual([]);
  expect(report).toMatchObject({ complete: true, states: { reached: 3, total: 3 } });
});

test("what a run has for others is on the way to a finding", () => {
  const careless = hub(
    "careless",
    {
      ...spec,
      chart: { A: { Started: "B" }, B: { Signalled: "C" }, C: { Late: "Done" }, Done: end },
      data: () => ({}),
    },
    {
      A: (s) => s.start(createFlow, { input: () => ({ length: 1 }), key: () => "flow-7", next: "Started" }),
      B: (s) =>
        s.signalRun(createFlow, {
          id: () => "flow-7",
          signal: "approval",
          payload: () => ({ by: "nobody" }),
          next: "Signalled",
        }),
      C: (s) => s.wait({ deadline: "Late" }),
      Done: () => ({}),
    },
  );
  expect(only(explore(careless)).diagram).toMatchInlineSnapshot(`
    "sequenceDiagram
      participant p0 as client
      participant p1 as hub careless
      participant p2 as create-flow
      p0->>p1: request {}
      Note over p1: A
      p1-)p2: start {"length":1}
      Note over p1: Started → B
      p1-)p2: signal approval to flow-7 {"by":"nobody"}
      Note over p1: Signalled → C
      Note over p1: stuck: no call is open and no signal is taken: only the deadline moves the run
    "
  `);
});

test("a start with an input that is not valid is an incident, and so is a signal", () => {
  const wrong = (what: "start" | "signal") =>
    hub(
      "wrong",
      { ...spec, chart: { A: { Next: "Done" }, Done: end }, data: () => ({}) },
      {
        A: (s) =>
          what === "start"
            ? s.start(createFlow, { input: () => ({ length: 11 }), next: "Next" })
            : s.signalRun(createFlow, {
                id: () => "",
                signal: "approval",
                payload: () => ({ by: "" }),
                next: "Next",
              }),
        Done: () => ({}),
      },
    );
  const messages = (["start", "signal"] as const).map((what) => explore(wrong(what)).findings[0]?.message);
  expect(messages).toMatchInlineSnapshot(`
    [
      "WW_INVALID_INPUT: the request to create-flow is not valid",
      "WW_DEFECT: the id of the request to create-flow must be 1 to 400 characters",
    ]
  `);
});

test("what cannot happen is found: states that no run enters, edges that none takes", () => {
  const pick = hub(
    "pick",
    { ...spec, chart: { A: { Left: "B", Right: "C" }, B: end, C: { Next: "B" } }, data: () => ({}) },
    { A: (s) => s.pick(() => "Left"), B: () => ({}), C: "Next" },
  );
  const report = explore(pick);
  expect(found(report)).toEqual(["state-unreached C", "edge-untaken A"]);
  expect(report).toMatchObject({ states: { reached: 2, total: 3 }, edges: { reached: 1, total: 3 } });
  expect(report.findings[1]).toMatchObject({ message: "no run takes its edge Right", path: [], diagram: "" });
});

test("a timeout that the deadline always overtakes is an edge that none takes", () => {
  const slow = (timeoutMs: number) => {
    const called = spoke("slow", {
      input: z.object({}),
      output: z.object({}),
      timeoutMs,
      retry: { attempts: 2 },
    });
    return hub(
      "impatient",
      { ...spec, chart: { A: { Ok: "B", Error: "B", Timeout: "B", Late: "B" }, B: end }, data: () => ({}) },
      {
        A: (s) =>
          s.call(called, {
            input: () => ({}),
            ok: "Ok",
            error: "Error",
            timeout: "Timeout",
            deadline: "Late",
          }),
        B: () => ({}),
      },
    );
  };
  expect(explore(slow(50)).findings).toEqual([]);
  expect(only(explore(slow(51)))).toMatchObject({
    kind: "edge-untaken",
    message: "no run takes its edge Timeout",
  });
});

test("the proof of concept's dead end: an error that nobody handles, so that only the deadline moves the run", () => {
  const forgetful = hubByHandlers(
    "forgetful",
    { ...spec, cleanUpMs: 10, calls: [install], data: () => ({}) },
    {
      request: (s) => s.call(install, { rule: 0 }),
      response: (s, _call, outcome) => {
        if (outcome.kind === "ok") s.reply({});
      },
      timeout: (s) => s.reply({}),
    },
  );
  const finding = explore(forgetful).findings[0] as Finding;
  expect(finding).toMatchObject({
    kind: "stuck",
    state: "Working",
    path: ["client: request {}", "install-rule: #0 table-full"],
  });
  expect(finding.diagram).toMatchInlineSnapshot(`
    "sequenceDiagram
      participant p0 as client
      participant p1 as hub forgetful
      participant p2 as install-rule
      p0->>p1: request {}
      Note over p1: Working
      p1->>p2: #35;0 {"rule":0}
      p2-->>p1: #35;0 table-full
      Note over p1: stuck: no call is open and no signal is taken: only the deadline moves the run
    "
  `);
});

test("what handlers have no use for is no mistake: they answer first, and never otherwise", () => {
  const first = hubByHandlers(
    "first",
    { ...spec, cleanUpMs: 10, calls: [install, createFlow], data: () => ({}) },
    {
      request: (s) => s.answer({}),
      answered: (s) => {
        s.start(createFlow, { length: 1 }, { startAt: 1000 });
        s.call(install, { rule: 0 });
      },
      response: (s) => s.end(),
      timeout: (s) => s.reply({}),
    },
  );
  const report = explore(first);
  expect(report.findings, String(report)).toEqual([]);
});

test("a wait for the deadline that is declared is no dead end; a wait for nothing is", () => {
  const waits = (wait: "go" | "nothing" | undefined) =>
    hub(
      "waits",
      {
        ...spec,
        signals: { go: z.object({}) },
        chart: { A: { Next: "B", Late: "B" }, B: end },
        data: () => ({}),
      },
      {
        A: (s) =>
          wait !== undefined
            ? s.wait({ on: wait === "go" ? { go: "Next" } : {}, deadline: "Late" })
            : s.each(ask, { inputs: () => null, settled: "Next", done: "Next", deadline: "Late" }),
        B: () => ({}),
      },
    );
  expect(found(explore(waits("go")))).toEqual([]);
  expect(found(explore(waits(undefined)))).toEqual(["edge-untaken A"]);
  expect(found(explore(waits("nothing")))).toEqual(["stuck A", "edge-untaken A"]);
});

test("a round in which nothing changes never ends", () => {
  const poll = hub(
    "poll",
    {
      ...spec,
      chart: { Asking: { No: "Pausing", Yes: "Done" }, Pausing: { Next: "Asking" }, Done: end },
      data: () => ({}),
    },
    {
      Asking: (s) =>
        s.call(ask, {
          input: () => ({}),
          ok: (_data, { ready }) => (ready ? "Yes" : "No"),
          failed: "Yes",
          deadline: "Yes",
        }),
      Pausing: "Next",
      Done: () => ({}),
    },
  );
  expect(only(explore(poll))).toMatchObject({
    kind: "never-ends",
    state: "Asking",
    path: ["client: request {}", `ask: #0 ok {"ready":false}`],
  });
});

/** Asks again and again, with what `next` makes of the data; it gives up where `next` gives nothing. */
const counting = <D extends object>(first: D, next: (data: D) => D | undefined) =>
  hub(
    "counting",
    {
      ...spec,
      chart: {
        Asking: { Again: "Looking", Yes: "Done" },
        Looking: { Go: "Asking", Stop: "Done" },
        Done: end,
      },
      data: (): object => first,
    },
    {
      Asking: (s) => s.call(ask, { input: () => ({}), ok: "Again", failed: "Yes", deadline: "Yes" }),
      Looking: (s) =>
        s.pick((data) => {
          const patch = next(data as D);
          return patch === undefined ? "Stop" : s.raise("Go", patch as never);
        }),
      Done: () => ({}),
    },
  );

test("a count without a bound never ends; one with a bound does", () => {
  const count = (most: number) => counting({ n: 0 }, ({ n }) => (n < most ? { n: n + 1 } : undefined));
  expect(found(explore(count(20), { maxRounds: 30 }))).toEqual([]);
  const report = explore(count(1000));
  expect(found(report)).toEqual(["never-ends Asking", "edge-untaken Looking"]);
  expect(report.findings[0]?.message).toContain("8 times");
});

test("data that grows with each round is found", () => {
  const grows = counting({ seen: [] as string[] }, ({ seen }) => ({ seen: [...seen, "once more"] }));
  const [finding] = explore(grows, { maxRounds: 3 }).findings;
  expect(finding).toMatchObject({ kind: "growing-data", state: "Asking" });
  expect(finding?.message).toBe("the data grows with each round, from 11 to 46 characters in 3 rounds");
  expect(finding?.path).toHaveLength(4);
});

test("signals that come without end are their senders' affair, unless they make the data grow", () => {
  const voting = <D extends object>(first: D, count: (data: D) => D) =>
    hub(
      "voting",
      {
        ...spec,
        signals: { vote: z.object({}) },
        chart: { Voting: { Counted: stay, Closed: "Done" }, Done: end },
        data: (): object => first,
      },
      {
        Voting: (s) =>
          s.wait({
            on: { vote: (data) => s.raise("Counted", count(data as D) as never) as never },
            deadline: "Closed",
          }),
        Done: () => ({}),
      },
    );
  expect(found(explore(voting({ votes: 0 }, ({ votes }) => ({ votes: votes + 1 }))))).toEqual([]);
  const list = voting({ votes: [] as number[] }, ({ votes }) => ({ votes: [...votes, 1] }));
  expect(found(explore(list))).toEqual(["growing-data Voting"]);
});

test("a handler that throws, a reply that is not valid, and data that is changed in place are found", () => {
  const bad = hub(
    "bad",
    {
      ...spec,
      reply: z.object({ text: z.string().min(1) }),
      chart: { A: { Ok: "B", Failed: "B", Late: "B" }, B: end },
      data: () => ({ text: "" }),
    },
    {
      A: (s) =>
        s.call(ask, {
          input: () => ({}),
          ok: (data, { ready }) => {
            if (ready) (data as { text: string }).text = "changed";
            return s.raise("Ok", { text: "good" });
          },
          error: () => {
            throw new Error("not thought of\nat all");
          },
          timeout: () => s.raise("Failed", { text: "late" }),
          deadline: "Late",
        }),
      B: ({ text }) => ({ text }),
    },
  );
  const report = explore(bad);
  expect(found(report)).toEqual(["incident A", "incident A", "bad-reply A", "edge-untaken A"]);
  expect(report.findings.map(({ path }) => path[1]).slice(0, 3)).toEqual([
    `ask: #0 ok {"ready":true}`,
    "ask: #0 WW_WORKER_FAILED",
    "client: cancel",
  ]);
  expect(report.findings[1]?.message).toBe("not thought of");
  expect(report.findings[2]?.message).toContain("WW_INVALID_REPLY");
  expect(String(report)).toContain(
    "\n2. incident in A: not thought of\n     client: request {}\n     ask: #0 WW_WORKER_FAILED\n",
  );
});

test("an event that a state does not have is found where it is raised", () => {
  const cast = hub(
    "cast",
    { ...spec, chart: { A: { Ok: "B", Late: "B" }, B: end }, data: () => ({}) },
    {
      A: (s) =>
        s.call(ask, { input: () => ({}), ok: "Ok", failed: () => "WorkerError" as "Ok", deadline: "Late" }),
      B: () => ({}),
    },
  );
  const report = explore(cast);
  expect(found(report)).toEqual(["incident A"]);
  expect(report.findings[0]?.message).toContain("no edge for the event WorkerError");
});

test("a first turn that throws is found", () => {
  const first = hub(
    "first",
    {
      ...spec,
      chart: { A: { Next: "B" }, B: end },
      data: (): object => {
        throw new Error("no data");
      },
    },
    { A: "Next", B: () => ({}) },
  );
  expect(explore(first).findings[0]).toMatchObject({
    kind: "incident",
    state: "A",
    path: ["client: request {}"],
  });
});

test("a handler that is no function of its arguments is found", () => {
  let calls = 0;
  const impure = hub(
    "impure",
    { ...spec, chart: { A: { Ok: "B" }, B: end }, data: () => ({ n: 0 }) },
    {
      A: (s) =>
        s.call(ask, { input: () => ({}), settled: () => s.raise("Ok", { n: calls++ }), deadline: "Ok" }),
      B: () => ({}),
    },
  );
  expect(only(explore(impure))).toMatchObject({ kind: "impure", state: "A" });
  const random = hub(
    "random",
    { ...spec, chart: { A: { Ok: "B" }, B: end }, data: () => ({ id: Math.random() }) },
    { A: "Ok", B: () => ({}) },
  );
  expect(only(explore(random))).toMatchObject({ kind: "impure", state: "A", path: ["client: request {}"] });
});

test("signals are sent when they are waited for, and before; a cancel comes in each place", () => {
  const { findings } = explore(createFlow, {
    requests: [{ length: 1 }],
    signals: { approval: [{ by: "Ada" }] },
  });
  expect(findings).toEqual([]);
  const impatient = hub(
    "impatient",
    {
      ...spec,
      signals: { go: z.object({}) },
      cancel: "Stop",
      chart: { A: { Next: "B" }, B: { Go: "C", Stop: "C" }, C: end },
      data: () => ({ early: true }),
    },
    {
      A: (s) => s.call(ask, { input: () => ({}), settled: "Next", deadline: "Next" }),
      B: (s) =>
        s.wait({
          on: {
            go: () => {
              throw new Error("go");
            },
          },
          after: { Stop: 10 },
        }),
      C: () => ({}),
    },
  );
  const [waiting, early] = explore(impatient).findings;
  expect(waiting?.path).toEqual(["client: request {}", `ask: #0 ok {"ready":true}`, "client: signal go {}"]);
  expect(early?.path).toEqual(["client: request {}", "client: signal go {}", `ask: #0 ok {"ready":true}`]);
  expect(waiting).toMatchObject({ kind: "incident", message: "go" });
});

test("samples are made from schemas that tell their form; others must be given, and be valid", () => {
  const picky = (request: z.ZodType<object> | v.GenericSchema<object>) =>
    hub(
      "picky",
      { ...spec, request, chart: { A: { Next: "B" }, B: end }, data: (given) => ({ given }) },
      { A: "Next", B: () => ({}) },
    );
  const requests = (report: Exploration): number => report.configurations;
  const Node = z.object({
    name: z.string(),
    get next() {
      return Node.optional();
    },
  });
  expect(explore(picky(Node)).findings).toEqual([]);
  const rich = z.object({
    mail: z.email(),
    at: z.iso.datetime(),
    id: z.uuid(),
    count: z.int().min(3).multipleOf(5),
    kind: z.enum(["a", "b", "c"]),
    tags: z.array(z.string()).max(2),
    pair: z.tuple([z.literal("x"), z.boolean()]),
    either: z.union([z.object({ left: z.null() }), z.object({ right: z.number().lt(0) })]),
    names: z.record(z.string(), z.number()),
    both: z.intersection(z.object({ p: z.string() }), z.object({ q: z.string().min(3) })),
    maybe: z.string().optional(),
  });
  // The plain one, and one for each other value: count, two kinds, two tags, either, names, maybe.
  expect(requests(explore(picky(rich)))).toBe(9);
  const ark = type({ kind: "'a' | 'b'", "size?": "number.integer > 3" });
  expect(
    requests(
      explore(
        hub(
          "ark",
          { ...spec, request: ark, chart: { A: { Next: "B" }, B: end }, data: (given) => ({ given }) },
          { A: "Next", B: () => ({}) },
        ),
      ),
    ),
  ).toBe(4);

  const silent = picky(v.object({ a: v.string() }));
  expect(() => explore(silent)).toThrow(/WW_CONFIG: no sample of the request to picky.*\n.*requests/);
  expect(explore(silent, { requests: [{ a: "x" }] }).findings).toEqual([]);
  expect(() => explore(silent, { requests: [{ a: 1 }] })).toThrow(
    /a sample of the request to picky is not valid/,
  );
  expect(() => explore(picky(z.object({ a: z.string().regex(/^x+$/) })))).toThrow("no sample of the request");
  expect(() => explore(createFlow, { outputs: { "install-rule": [{}] } })).toThrow(
    "the output of install-rule",
  );
  expect(() => explore(createFlow, { signals: { approval: [1] } })).toThrow("the signal approval");
  const outputs = { "install-rule": ({ rule }: { rule: number }) => [{ installed: rule }] };
  expect(explore(createFlow, { outputs }).findings).toEqual([]);
});

test("a bound that was reached is told", () => {
  const report = explore(createFlow, { maxConfigurations: 3 });
  expect(report).toMatchObject({ complete: false, configurations: 3 });
  expect(String(report)).toContain("the bound was reached");
  expect(report.findings.map(({ message }) => message)).toContain("no run enters it within the bound");
});
