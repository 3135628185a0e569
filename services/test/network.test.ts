import { Network, networkFault, OpenVSwitch, openVSwitchIsInstalled } from "@wheelwork/services";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { linksOf } from "../src/network.ts";

const fault = networkFault();
const cookie = "0x4000000000000001";

describe.skipIf(fault !== undefined)(`a network${fault === undefined ? "" : ` (skipped: ${fault})`}`, () => {
  const network = new Network(`t${process.pid}`);
  beforeAll(async () => {
    await network.start("ring", 4);
    await network.host(1, 1, 1);
    await network.host(2, 3, 1, 200);
  });
  afterAll(() => network.stop());

  const rule = (number: number, text: string) =>
    network.ofctl(number, "add-flow", `cookie=${cookie},${text}`);
  const to = (vlan: number): string => `set_field:${4096 + vlan}->vlan_vid`;

  /** The rules of a path from host 1 to host 2, by way of a switch, in VLAN 2 on the way. */
  async function path(by: number): Promise<void> {
    const link = 100 + by;
    await rule(by, "in_port=101,dl_vlan=2,actions=output:103");
    await rule(by, "in_port=103,dl_vlan=2,actions=output:101");
    await rule(3, `in_port=${link},dl_vlan=2,actions=${to(200)},output:1`);
    await rule(1, `in_port=${link},dl_vlan=2,actions=pop_vlan,output:1`);
    await rule(1, `in_port=1,actions=push_vlan:0x8100,${to(2)},output:${link}`);
    await rule(3, `in_port=1,dl_vlan=200,actions=${to(2)},output:${link}`);
  }

  // A ping may be lost on a busy machine, and a switch may go on for a moment as it did. So each question is asked until it holds.
  test("passes on what its rules say, by links that can be cut", async () => {
    await expect.poll(() => network.ping(1, 2, 1)).toBe(0);
    await path(2);
    await expect.poll(() => network.ping(1, 2, 3)).toBe(3);
    network.link(1, 2, "down");
    await expect.poll(() => network.ping(1, 2, 1)).toBe(0);
    await path(4);
    await expect.poll(() => network.ping(1, 2, 3)).toBe(3);
    network.link(2, 1, "up");
    // A switch that loses its controllers keeps its rules; one that is reset does not.
    await network.switch(4, "off");
    await network.switch(4, "on");
    await expect.poll(() => network.ping(1, 2, 3)).toBe(3);
    await network.switch(4, "reset");
    expect(await network.dump(4)).toEqual([]);
    await expect.poll(() => network.ping(1, 2, 1)).toBe(0);
    await network.crash();
    expect(await network.dump(1)).toEqual([]);
  });

  test("refuses what it does not have", async () => {
    await expect(network.start("chain", 2)).rejects.toThrow(/^WW_STARTED/);
    await expect(network.host(3, 9, 1)).rejects.toThrow(/^WW_NOT_FOUND: there is no switch 9/);
    await expect(network.host(1, 1, 2)).rejects.toThrow(/^WW_CONFIG: host 1/);
    expect(() => network.link(1, 3, "down")).toThrow(/^WW_NOT_FOUND: there is no link between 1 and 3/);
    expect(() => new Network("Not one")).toThrow(/^WW_CONFIG/);
    expect(() => new Network("another").made()).toThrow(/^WW_NOT_FOUND/);
  });

  test("is started and stopped by a command, beside others", () => {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const main = join(import.meta.dirname, "../src/network-main.ts");
    const command = (...args: readonly string[]) =>
      spawnSync(process.execPath, [...flags, main, ...args, "--name", `u${process.pid}`], {
        encoding: "utf8",
      });
    try {
      const started = command("start", "chain", "2", "--hosts", "2");
      expect(started.stderr).toBe("");
      expect(started.stdout).toContain("up, a chain of 2 switches with 1 links");
      const pinged = command("ping", "1", "2", "1");
      expect([pinged.status, pinged.stdout]).toEqual([1, "0 of 1 were answered\n"]);
    } finally {
      command("stop");
    }
    expect(command("status").stderr).toContain("WW_NOT_FOUND");
    expect(existsSync(new Network(`u${process.pid}`).folder)).toBe(false);
  });
});

test.skipIf(!openVSwitchIsInstalled())(
  "switches of a test that was killed end when the next one begins",
  () => {
    const script = `
    const { OpenVSwitch } = await import("@wheelwork/services");
    console.log(OpenVSwitch.temporary().folder);
    process.kill(process.pid, "SIGKILL");
  `;
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const killed = spawnSync(process.execPath, [...flags, "--input-type=module", "--eval", script], {
      cwd: import.meta.dirname,
      encoding: "utf8",
    });
    expect(killed.signal).toBe("SIGKILL");
    const left = new OpenVSwitch(killed.stdout.trim());
    expect(left.pid).toBeGreaterThan(0);
    const next = OpenVSwitch.temporary();
    try {
      expect(next.pid).toBeGreaterThan(0);
      expect(left.pid).toBeUndefined();
      expect(existsSync(left.folder)).toBe(false);
    } finally {
      next.stop();
    }
  },
);

test.each([
  ["chain", 3, "1-2 2-3"],
  ["ring", 2, "1-2"],
  ["ring", 3, "1-2 2-3 1-3"],
  ["mesh", 4, "1-2 1-3 1-4 2-3 2-4 3-4"],
  ["grid", 4, "1-2 1-3 2-4 3-4"],
  ["grid", 5, "1-2 1-3 2-4 3-4 3-5"],
  ["none", 9, ""],
] as const)("a %s of %d switches has the links %s", (shape, switches, links) => {
  expect(
    linksOf(shape, switches)
      .map((link) => link.join("-"))
      .join(" "),
  ).toBe(links);
});
