import { Network, networkFault, OpenVSwitch, openVSwitchIsInstalled, waitUntil } from "@wheelwork/services";
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";

const why = openVSwitchIsInstalled() ? "" : " (skipped: it is not installed)";

describe.skipIf(!openVSwitchIsInstalled())(`on Open vSwitch${why}`, () => {
  let lab: OpenVSwitch;
  beforeAll(() => {
    lab = OpenVSwitch.temporary();
  });
  afterAll(() => lab?.stop());

  /** Runs a program of the examples. */
  async function program(name: string, port: number | string = 0): Promise<Program> {
    const one = new Program(name, port);
    onTestFinished(() => one.kill());
    await one.says("listening on");
    return one;
  }

  it("the learning switch floods, learns, and lets the switch do the rest", async () => {
    const one = await program("learning-switch");
    await lab.add([1], `tcp:127.0.0.1:${one.port}`);
    const sent = (port: number): string => join(lab.folder, `p${port}.pcap`);
    for (const port of [1, 2])
      await lab.vsctl("set", "interface", `s1p${port}`, `options:tx_pcap=${sent(port)}`);
    await one.says("switch 1 is ready");
    const packet = (port: number, from: string, to: string) =>
      lab.appctl(
        "netdev-dummy/receive",
        `s1p${port}`,
        `in_port(${port}),eth(src=${from},dst=${to}),eth_type(0x1234)`,
      );
    const has = (port: number, from: string, to: string) =>
      readFileSync(sent(port)).includes(Buffer.from(`${to}${from}1234`.replaceAll(":", ""), "hex"));
    const [a, b] = ["0a:00:00:00:00:01", "0a:00:00:00:00:02"];

    await packet(1, a, b);
    await expect.poll(() => has(2, a, b)).toBe(true);
    expect(await lab.dump(1)).toHaveLength(1);
    await packet(2, b, a);
    await expect.poll(() => has(1, b, a)).toBe(true);
    expect((await lab.dump(1)).join("\n")).toMatch(
      /in_port=\S*,dl_src=0a:00:00:00:00:02,dl_dst=0a:00:00:00:00:01/,
    );
    await packet(1, a, b);
    await expect.poll(async () => (await lab.dump(1)).length).toBe(3);
    const trace = await lab.appctl("ofproto/trace", "s1", `in_port=1,dl_src=${a},dl_dst=${b}`);
    expect(trace).toContain("output:2");
  });

  it("the installer repairs what it finds, and leaves alone what is not its own", async () => {
    const one = await program("installer");
    await lab.add([2], `tcp:127.0.0.1:${one.port}`);
    await one.says("switch 2: 2 rules are missing, 0 are too many");
    await one.says("switch 2: proven");
    expect(await lab.dump(2)).toHaveLength(2);
    one.kill();
    await lab.ofctl(2, "del-flows", "in_port=1");
    await lab.ofctl(2, "add-flow", "cookie=0x4000000000000001,in_port=9,actions=drop");
    await lab.ofctl(2, "add-flow", "cookie=7,in_port=8,actions=drop");
    const other = await program("installer");
    await lab.connect(2, `tcp:127.0.0.1:${other.port}`);
    await other.says("switch 2: 1 rules are missing, 1 are too many");
    await other.says("switch 2: proven");
    const rules = await lab.dump(2);
    expect(rules).toHaveLength(3);
    expect(rules.filter((rule) => rule.includes("cookie=0x7"))).toHaveLength(1);
    expect(rules.filter((rule) => rule.includes("in_port=9"))).toEqual([]);
  });
});

const fault = networkFault();

it.skipIf(fault !== undefined)(
  `the learning switch lets hosts ping each other over three switches${fault === undefined ? "" : ` (skipped: ${fault})`}`,
  async () => {
    const network = new Network(`e${process.pid}`);
    onTestFinished(() => network.stop());
    await network.start("chain", 3);
    for (const host of [1, 2, 3]) await network.host(host, host, 1);
    const one = new Program("learning-switch", network.controllerPath);
    onTestFinished(() => one.kill());
    for (const number of [1, 2, 3]) await one.says(`switch ${number} is ready`);
    await expect.poll(() => network.ping(1, 3)).toBe(3);
    // Once it has learned, they need it no more.
    one.kill();
    await expect.poll(() => network.ping(1, 3)).toBe(3);
  },
);

class Program {
  readonly #child: ChildProcess;
  #printed = "";

  constructor(name: string, port: number | string) {
    const file = join(import.meta.dirname, `../src/${name}.ts`);
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    this.#child = spawn(process.execPath, [...flags, file, String(port)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    this.#child.stdout?.on("data", (text) => (this.#printed += String(text)));
  }

  get port(): number {
    return Number(/listening on (\d+)/.exec(this.#printed)?.[1]);
  }

  async says(text: string): Promise<void> {
    await waitUntil(() => this.#printed.includes(text), 60_000);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

// The README shows the programs as they are.
it("the README of the package shows both programs", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../packages/openflow/README.md"), "utf8");
  for (const name of ["learning-switch", "installer"]) {
    const text = readFileSync(join(import.meta.dirname, `../src/${name}.ts`), "utf8");
    expect(page).toContain(`\`\`\`ts\n// examples/openflow/src/${name}.ts\n${text}\`\`\``);
    expect(text.split("\n").length).toBeLessThanOrEqual(65);
  }
});
