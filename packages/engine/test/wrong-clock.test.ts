import type { ClusterNode } from "@wheelwork/engine/cluster";
import type { Clock } from "@wheelwork/engine";
import { expect, test } from "vitest";
import { correctionOf } from "../src/cluster/host-clock.ts";
import { approved, outside, workersOf } from "./hubs.ts";
import { Nodes } from "./nodes.ts";

const minute = 60_000;
const day = 24 * 60 * minute;

/** A cluster of hosts whose clocks may be wrong. Its store has no clock of its own. */
class Hosts {
  readonly nodes = new Nodes({
    shards: 2,
    hub: approved,
    workers: (process) => workersOf(outside())((ms) => process.sleep(ms)),
  });
  readonly failures: string[] = [];

  /** Starts a node on a host whose clock is wrong by so much. */
  async begin(byMs: number) {
    const host = { byMs };
    const { clock } = this.nodes;
    const wrong: Clock = {
      wallMs: () => clock.wallMs() + host.byMs,
      monotonicMs: () => clock.monotonicMs(),
      after: (ms, task) => clock.after(ms, task),
      soon: (task) => clock.soon(task),
    };
    const onFailure = ({ message }: Error): void => void this.failures.push(message);
    const { node } = await this.nodes.begin(1, undefined, { clock: wrong, onFailure });
    return { node, host };
  }

  async working(...shares: readonly (readonly [ClusterNode, number])[]): Promise<void> {
    await this.nodes.clock.runUntil(
      () => shares.every(([node, shards]) => node.shards.filter(isRunning).length === shards),
      60_000,
    );
  }

  async epochs(): Promise<number[]> {
    return this.nodes.disks.map((disk) => disk.reopen().peek().epoch);
  }

  async run<T>(promise: Promise<T>): Promise<T> {
    await this.nodes.clock.runUntil(promise, 60_000);
    return promise;
  }
}

const isRunning = ({ status }: { readonly status: string }): boolean => status === "running";

test("a node whose clock is 40 days ahead gives the shards to another one, says so, and works once its clock is right", async () => {
  const hosts = new Hosts();
  const { clock } = hosts.nodes;
  const { node: first } = await hosts.begin(0);
  await hosts.working([first, 2]);
  const keys = ["a", "b", "c", "d"];
  for (const key of keys) await hosts.run(first.submit(approved, { n: 1, withinMs: day }, { key }));
  const { node: wrong, host } = await hosts.begin(40 * day);
  // It gets a shard, and gives it back without a claim: whoever works on it is not fenced.
  await clock.runUntil(() => wrong.health().warnings !== undefined, 60_000);
  await hosts.working([first, 2], [wrong, 0]);
  expect(wrong.health().warnings).toEqual([expect.stringMatching(/^shard \d: WW_CLOCK: .* 40 days later/)]);
  expect(hosts.failures).toEqual([expect.stringContaining("WW_CLOCK")]);
  // It has no use for the shards of a node that dies, either; with no other node, it waits, and says so.
  await hosts.run(first.stop());
  const epochs = await hosts.epochs();
  await clock.runUntil(() => wrong.health().warnings?.length === 2, 60_000);
  await clock.advance(5 * minute);
  expect(wrong.shards).toEqual([]);
  expect(await hosts.epochs()).toEqual(epochs);
  // A node with a right clock comes, and takes them all.
  const { node: right } = await hosts.begin(0);
  await hosts.working([right, 2], [wrong, 0]);
  for (const key of keys)
    expect(await hosts.run(right.request(key))).toMatchObject({ status: "running", state: "Waiting" });
  host.byMs = 0;
  await hosts.working([right, 1], [wrong, 1]);
  await clock.runUntil(() => wrong.health().warnings === undefined, 60_000);
  for (const node of [wrong, right]) await hosts.run(node.stop());
});

test("a real downtime of 40 days stops all nodes until somebody confirms it", async () => {
  const hosts = new Hosts();
  const { clock } = hosts.nodes;
  const { node: first } = await hosts.begin(0);
  await hosts.working([first, 2]);
  await hosts.run(first.submit(approved, { n: 1, withinMs: 60 * minute }, { key: "k" }));
  await hosts.run(first.stop());
  clock.jumpWall(40 * day);
  const all = [await hosts.begin(0), await hosts.begin(0)].map(({ node }) => node);
  await clock.runUntil(() => all.flatMap((node) => node.health().warnings ?? []).length >= 2, 60_000);
  await clock.advance(minute);
  expect(all.flatMap(({ shards }) => shards)).toEqual([]);
  for (const node of all) await hosts.run(node.stop());
});

test.each([5 * minute, 2 * day, -5 * minute, -2 * day, -40 * day])(
  "a node whose clock is wrong by %i ms takes over: keys are known, and engine time never runs backward",
  async (byMs) => {
    const hosts = new Hosts();
    const { node: first } = await hosts.begin(0);
    await hosts.working([first, 2]);
    await hosts.run(first.submit(approved, { n: 1, withinMs: 10 * day }, { key: "waits" }));
    await hosts.run(first.submit(approved, { n: 1, withinMs: 1 }, { key: "done" }));
    await hosts.run(first.answer("done", { waitMs: 1000 }));
    await hosts.run(first.stop());
    const before = hosts.nodes.disks.map((disk) => disk.reopen().peek().engineTime);
    const { node: second } = await hosts.begin(byMs);
    await hosts.working([second, 2]);
    const again = await hosts.run(second.submit(approved, { n: 1, withinMs: 1 }, { key: "done" }));
    expect(again).toMatchObject({ known: true });
    expect(await hosts.run(second.request("waits"))).toMatchObject({ state: "Waiting" });
    expect(await hosts.run(second.signal("waits", "note", "still there"))).toBe("accepted");
    await hosts.run(second.stop());
    for (const [shard, disk] of hosts.nodes.disks.entries())
      expect(disk.reopen().peek().engineTime).toBeGreaterThanOrEqual(before[shard] as number);
  },
);

test("of two clocks that differ, the last commit says which one can be right, and it is never believed beyond both", () => {
  const now = 1_800_000_000_000;
  const corrected = (ownMs: number, serverMs: number, committedMs: number): number =>
    ownMs + correctionOf(ownMs, { serverMs, committedMs }) - now;
  const recent = now - 3000;
  // The host is wrong, by days and by minutes; or the server is.
  for (const byMs of [40 * day, 2 * day, 5 * minute]) {
    expect(corrected(now + byMs, now, recent)).toBe(0);
    expect(corrected(now - byMs, now, recent)).toBe(-3000);
    expect(corrected(now, now + byMs, recent)).toBe(0);
    expect(corrected(now, now - byMs, recent)).toBe(-3000);
  }
  // Both are right, or nearly, and the time of the shard is ahead.
  expect(corrected(now, now - 30_000, now + 20 * day)).toBe(0);
  expect(corrected(now, now - 2 * minute, now + 20 * day)).toBe(0);
  // Nothing was committed yet: the earlier one counts.
  expect(corrected(now + day, now, 0)).toBe(0);
});
