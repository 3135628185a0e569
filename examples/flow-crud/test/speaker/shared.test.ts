import { listen } from "@wheelwork/openflow";
import { freePort, OpenVSwitch, openVSwitchIsInstalled } from "@wheelwork/services";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { OpenFlowSwitches } from "../../src/floodlight/openflow-switches.ts";
import { SharedSource } from "../../src/floodlight/switch-source.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { commandOf, requestA } from "../switches/lab.ts";
import { idOf, ruleAt, tell } from "./lab.ts";

test.skipIf(!openVSwitchIsInstalled())(
  "a real switch has the rules of flows and those of the original proof of concept, also after a crash",
  async () => {
    const folder = mkdtempSync(join(tmpdir(), "wheelwork-shared-"));
    const lab = OpenVSwitch.temporary();
    const port = await freePort();
    const target = `tcp:127.0.0.1:${port}`;
    // The book of the flows numbers the generations of both.
    let shared: SharedSource | undefined;
    const speaker = await SwitchSpeaker.over(
      async (generation) => {
        shared = new SharedSource(await listen({ port, host: "127.0.0.1", generation }));
        return shared.share();
      },
      { path: join(folder, "book.db") },
    );
    const original = await OpenFlowSwitches.over(() => Promise.resolve((shared as SharedSource).share()), {
      path: join(folder, "switches.db"),
      switches: 1,
      isShared: true,
    });
    onTestFinished(async () => {
      await shared?.close();
      await original.close();
      await speaker.close();
      lab.stop();
      rmSync(folder, { recursive: true });
    });
    const areReady = (): boolean => speaker.connected.includes(idOf(1)) && original.connected.includes(1);
    await lab.add([1], target);
    await expect.poll(areReady).toBe(true);
    const rule = ruleAt(100, 1, { actions: [{ type: "output", port: 2 }] });
    expect(await original.execute(commandOf("install", requestA, 0))).toBe("installed");
    expect(await tell(speaker, "install", 1, [rule])).toEqual([{ answer: "done", unconfirmed: 0 }]);
    const cookies = async (): Promise<string[]> => {
      const lines = await lab.dump(1);
      return lines.map((line) => /cookie=0x([0-9a-f]+)/.exec(line)?.[1] ?? "").toSorted();
    };
    const all = ["4000000000000001", "5700000000100000", "8000000000000001"];
    expect(await cookies()).toEqual(all);
    await lab.crash();
    await lab.connect(1, target);
    await expect.poll(cookies).toEqual(all);
    await expect.poll(areReady).toBe(true);
    // A connection that ends in the middle leaves it open: the command is given again.
    await expect.poll(() => original.execute(commandOf("remove", requestA, 0))).toBe("removed");
    await expect.poll(() => tell(speaker, "remove", 2, [rule])).toEqual([{ answer: "done", unconfirmed: 0 }]);
    expect(await cookies()).toEqual(["8000000000000001"]);
  },
);
