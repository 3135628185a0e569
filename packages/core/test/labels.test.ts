import { end, hub, WheelworkError } from "@wheelwork/core";
import { labelsOf, pend, restore, snapshot } from "@wheelwork/core/kernel";
import { expect, test } from "vitest";
import { z } from "zod";
import { Player } from "./player.ts";

/** What a hub makes of a request is stored once, when the request is accepted. */

const broken = { isBroken: false };

const labelled = hub(
  "labelled",
  {
    request: z.object({ tenant: z.string().optional(), region: z.string().optional() }),
    reply: z.object({}),
    deadlineMs: 1000,
    exclusive: { lane: "lane", by: () => "key", whenBusy: "queue" },
    labels: ({ region, tenant }) => {
      if (broken.isBroken) throw new Error("no labels today");
      return { tenant, region };
    },
    chart: { Waiting: { Late: "Done" }, Done: end },
    data: () => ({}),
  },
  {
    Waiting: (s) => s.wait({ deadline: "Late" }),
    Done: () => ({}),
  },
);

const acme = { tenant: "acme", region: "eu" };

test("labels are in the first event, in one order, and in a snapshot", () => {
  const player = new Player(labelled, acme);
  expect(player.run.origin.labels).toEqual(acme);
  expect(Object.keys(player.run.origin.labels ?? {})).toEqual(["region", "tenant"]);
  const again = restore("k", JSON.parse(JSON.stringify(snapshot(player.run))) as object as never);
  expect(again.origin.labels).toEqual(acme);
  expect(new Player(labelled, { tenant: "acme" }).run.origin.labels).toEqual({ tenant: "acme" });
  expect(new Player(labelled, {}).run.origin.labels).toBeUndefined();
});

test("a request that waits has its labels, and gets them at its turn if its hub could not give them", () => {
  const options = { request: acme, hash: "h", lane: { name: "lane", key: "key", rank: 1 } };
  expect(pend(labelled.definition, options, { now: 1, random: 0 })).toMatchObject({ labels: acme });
  broken.isBroken = true;
  expect(pend(labelled.definition, options, { now: 1, random: 0 })).not.toHaveProperty("labels");
  broken.isBroken = false;
});

test("a hub that throws parks the run, and a retry labels it", () => {
  broken.isBroken = true;
  const player = new Player(labelled, acme);
  broken.isBroken = false;
  expect(player.run.status).toBe("incident");
  expect(player.run.incident?.error).toMatchObject({ code: "WW_DEFECT" });
  expect(player.run.incident?.error.message).toContain("labels of the hub labelled threw");
  player.input({ kind: "retry", id: "r" });
  expect(player.run).toMatchObject({ status: "running", state: "Waiting", origin: { labels: acme } });
});

const making = (labels: unknown) =>
  hub(
    "making",
    {
      request: z.object({}),
      reply: z.object({}),
      deadlineMs: 1000,
      labels: (() => labels) as never,
      chart: { Done: end },
      data: () => ({}),
    },
    { Done: () => ({}) },
  ).definition;

test.each([
  ["no object", "acme", ["labels"]],
  ["a list", ["acme"], ["labels"]],
  ["nothing", undefined, ["labels"]],
  ["a promise", Promise.resolve({}), []],
  ["a number", { tenant: 7 }, ["labels.tenant"]],
  ["null", { tenant: null }, ["labels.tenant"]],
  ["an empty text", { tenant: "" }, ["labels.tenant"]],
  ["a long text", { tenant: "x".repeat(201) }, ["labels.tenant"]],
  ["a control character", { tenant: "a\u0000b" }, ["labels.tenant"]],
  ["half a character", { tenant: "\uD800" }, ["labels.tenant"]],
  ["bad names", { "a.b": "x", "": "y", ["n".repeat(51)]: "z" }, ["labels.", "labels.a.b", "labels.nnn"]],
  ["too many", Object.fromEntries(Array.from({ length: 9 }, (_, n) => [`l${n}`, "x"])), ["labels"]],
])("%s: every problem is named", (_what, labels, paths) => {
  let thrown: unknown;
  try {
    labelsOf(making(labels), {});
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(WheelworkError);
  const { code, problems } = thrown as WheelworkError;
  expect(code).toBe("WW_DEFECT");
  expect(problems.map(({ path }) => path.slice(0, 10)).toSorted()).toEqual(
    paths.map((path) => path.slice(0, 10)),
  );
});

test.each([
  ["a map", new Map([["tenant", "acme"]])],
  ["a proxy", new Proxy({}, { ownKeys: () => expect.unreachable() })],
  ["a getter", Object.defineProperty({}, "tenant", { get: () => expect.unreachable(), enumerable: true })],
])("%s gives no labels", (_name, given) => {
  const { definition } = labelled;
  const hostile = { ...definition, labels: () => given as never };
  expect(() => labelsOf(hostile, {})).toThrow(
    /WW_DEFECT: what labels of the hub labelled returned is not plain JSON/,
  );
});

test("what a hub may say", () => {
  const longest = { a: "x".repeat(200), "B-_9": 'a "b" = c', none: undefined };
  expect(labelsOf(making(longest), {})).toEqual({ a: longest.a, "B-_9": longest["B-_9"] });
  const plain = { request: z.object({}), reply: z.object({}), deadlineMs: 1, chart: { Done: end } };
  expect(() => hub("h", { ...plain, labels: 7 } as never, { Done: () => ({}) } as never)).toThrow("labels");
});
