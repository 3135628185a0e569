import { worker } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { operation, work } from "./lane-hubs.ts";
import { Nodes } from "./nodes.ts";

/** A request without a key is accepted as soon as it is in its inbox. From then on nobody is told that it does not exist. */

const shards = 4;

function setUp() {
  const hub = operation("op", {}, 60_000);
  const nodes = new Nodes({ shards, hub, workers: () => [worker(work, () => ({}))] });
  const soon = async <T>(promise: Promise<T>): Promise<T> => {
    await nodes.clock.runUntil(promise, 60_000);
    return promise;
  };
  const settled = async <T>(promise: Promise<T>): Promise<PromiseSettledResult<T>> => {
    const [result] = await soon(Promise.allSettled([promise]));
    return result;
  };
  return { nodes, soon, settled };
}

const unanswered = { status: "fulfilled", value: undefined };
const undecided = { status: "rejected", reason: { code: "WW_STORE_UNAVAILABLE", retryable: true } };

test("while nobody works on its shard, it has no answer yet, and gets one", async () => {
  const { nodes, soon, settled } = setUp();
  const client = await nodes.client();
  const { id } = await soon(client.submit("op", { flow: "a" }));
  for (const waitMs of [0, 1_000]) expect(await settled(client.answer(id, { waitMs }))).toEqual(unanswered);
  const questions: readonly (() => Promise<unknown>)[] = [
    () => client.request(id),
    () => client.history(id),
    () => client.cancel(id),
  ];
  for (const ask of questions) expect(await settled(ask())).toMatchObject(undecided);
  expect(await settled(client.request("no such id"))).toMatchObject({ reason: { code: "WW_NOT_FOUND" } });
  const answer = client.answer(id);
  await nodes.node(1);
  expect(await soon(answer)).toMatchObject({ kind: "result" });
  expect(await soon(client.request(id))).toMatchObject({ status: "ended" });
  await soon(client.stop());
});

test("while its shard moves to the node that has sent it, it has no answer yet, and gets one", async () => {
  const { nodes, soon, settled } = setUp();
  const first = await nodes.node(1);
  const second = await nodes.node(1);
  await nodes.clock.advance(10_000);
  first.process.kill();
  const names = Array.from({ length: 8 }, (_, index) => `flow-${index}`);
  const sent = await Promise.all(names.map((flow) => soon(second.node.submit("op", { flow }))));
  const early = await Promise.all(sent.map(({ id }) => settled(second.node.answer(id, { waitMs: 10 }))));
  for (const result of early) expect(result.status).toBe("fulfilled");
  const answers = await Promise.all(sent.map(({ id }) => soon(second.node.answer(id))));
  for (const answer of answers) expect(answer).toMatchObject({ kind: "result" });
});
