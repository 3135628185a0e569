import { Network, networkFault, waitUntil } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listen } from "@wheelwork/openflow";
import type { Layout } from "../../src/controller/model.ts";
import { stepsBetween } from "../../src/controller/rules.ts";
import type { NetworkEvent } from "../../src/controller/store.ts";
import { Discovery } from "../../src/floodlight/discovery.ts";
import { SharedSource } from "../../src/floodlight/switch-source.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { layoutOf, pathOver, tell } from "./lab.ts";

// Hosts that ping each other over flows, on a ring of real switches. `WHEELWORK_FIGURES=1` shows how long things take, `WHEELWORK_PINGS`
// says how many pings there are while a flow moves.

const fault = networkFault();
/** So many pings in a row, one each 2 ms. */
const pings = Number(process.env["WHEELWORK_PINGS"] ?? 400);
const done = { answer: "done", unconfirmed: 0 };

describe.skipIf(fault !== undefined)(
  `flows on a ring of real switches${fault === undefined ? "" : ` (${fault})`}`,
  () => {
    const network = new Network(
      `f${process.pid % 1_000_000}`,
      mkdtempSync(join(tmpdir(), "wheelwork-ring-")),
    );
    const events: NetworkEvent[] = [];
    let source: SharedSource;
    let speaker: SwitchSpeaker;
    let discovery: Discovery;
    let now: Layout | null = null;
    let seq = 0;

    beforeAll(async () => {
      await network.start("ring", 4);
      // The VLAN of host 2 is given by its equipment, host 1 has none.
      await network.host(1, 1, 1);
      await network.host(2, 3, 2, 200);
      source = new SharedSource(await listen({ path: network.controllerPath, requestTimeoutMs: 10_000 }));
      speaker = await SwitchSpeaker.over(() => Promise.resolve(source.share()), {
        path: join(network.folder, "book.db"),
      });
      discovery = new Discovery({
        source: source.share(),
        onEvent: (event) => Promise.resolve(void events.push(event)),
      });
      await waitUntil(() => speaker.connected.length === 4, 120_000);
    });

    afterAll(async () => {
      discovery?.close();
      await source?.close();
      await speaker?.close();
      network.stop();
      rmSync(network.folder, { recursive: true, force: true });
    });

    const layout = (id: number, over: readonly number[], bandwidth = 100_000): Layout =>
      layoutOf([pathOver(id, over, bandwidth === 0 ? { meters: { forward: null, reverse: null } } : {})], {
        from: 1,
        to: 3,
        vlans: [0, 200],
        bandwidth,
      });
    /**
     * Make before break. `drainMs`: how long what is on the old path may take to arrive. A barrier proves that a switch has its rules, and
     * not that its datapath follows them already: removed at once, the old path loses one ping in 30 moves or so.
     */
    const move = async (after: Layout | null, drainMs = 0): Promise<void> => {
      const { inner, entries, removed } = stepsBetween(now, after);
      for (const rules of [inner, entries])
        for (const answer of await tell(speaker, "install", ++seq, rules)) expect(answer).toEqual(done);
      if (drainMs > 0) await setTimeout(drainMs);
      for (const answer of await tell(speaker, "remove", ++seq, removed)) expect(answer).toEqual(done);
      now = after;
    };
    const linkEvents = (): string[] =>
      events.flatMap((event) =>
        event.kind === "link"
          ? [`${Number(`0x${event.from.slice(-2)}`)}-${Number(`0x${event.to.slice(-2)}`)} ${event.isUp}`]
          : [],
      );
    const figure = (text: string): void => {
      if (process.env["WHEELWORK_FIGURES"] !== undefined) process.stdout.write(`${text}\n`);
    };

    test("its links are found", async () => {
      await waitUntil(() => linkEvents().length === 4, 120_000);
      expect(linkEvents().toSorted()).toEqual(["1-2 true", "1-4 true", "2-3 true", "3-4 true"]);
    });

    test("hosts ping over a flow, with VLAN and without, and no ping is lost while it moves", async () => {
      expect(await network.ping(1, 2, 1)).toBe(0);
      await move(layout(1, [1, 2, 3]));
      await expect.poll(() => network.ping(1, 2, 3)).toBe(3);
      // A machine that stands still loses a ping now and then: what counts is that none needs to be lost.
      let lost = Number.POSITIVE_INFINITY;
      for (let attempt = 0; attempt < 3 && lost > 0; attempt++) {
        const state = { hasEnded: false };
        const pinged = network.ping(1, 2, pings, { intervalMs: 2 }).finally(() => (state.hasEnded = true));
        let moves = 0;
        for (; !state.hasEnded; moves++)
          await move(layout(10 + seq, moves % 2 === 0 ? [1, 4, 3] : [1, 2, 3]), 300);
        lost = pings - (await pinged);
        figure(`${lost} of ${pings} pings were lost over ${moves} moves`);
        expect(moves).toBeGreaterThan(1);
      }
      expect(lost).toBe(0);
    });

    test("a link that is cut is told at once, and the flow goes another way", async () => {
      await move(layout(10 + seq, [1, 2, 3]));
      events.length = 0;
      const at = performance.now();
      network.link(1, 2, "down");
      await waitUntil(() => linkEvents().includes("1-2 false"), 120_000);
      const told = performance.now() - at;
      await move(layout(10 + seq, [1, 4, 3]));
      const moved = performance.now() - at;
      await expect.poll(() => network.ping(1, 2, 3)).toBe(3);
      figure(`told after ${told.toFixed(0)} ms, moved after ${moved.toFixed(0)} ms`);
    });

    test("a meter lets through what it may, and nothing is left of a flow", async () => {
      const flood = (): Promise<number> => network.ping(1, 2, 250, { intervalMs: 2, bytes: 1400 });
      // 5.6 Mbit/s are offered.
      await move(layout(10 + seq, [1, 4, 3], 100));
      const limited = await flood();
      await move(layout(10 + seq, [1, 4, 3], 0));
      const free = await flood();
      figure(`${limited} of 250 large pings with a meter of 100 kbit/s, ${free} without`);
      expect(limited).toBeGreaterThan(0);
      expect(limited).toBeLessThan(200);
      expect(free).toBeGreaterThan(225);
      await move(null);
      for (const number of [1, 2, 3, 4]) {
        expect(await network.dump(number)).toEqual([expect.stringContaining("dl_type=0x88cc")]);
        expect(await network.ofctl(number, "dump-meters")).not.toContain("meter=");
      }
      expect(speaker.unconfirmed(1).count).toBe(0);
    });
  },
);
