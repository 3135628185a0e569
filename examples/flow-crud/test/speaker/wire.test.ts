import { northbound } from "@wheelwork/northbound";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { waitUntil } from "@wheelwork/services";
import { describe, expect, onTestFinished, test } from "vitest";
import { LocalBus, type Bus, type Message } from "wheelwork";
import { openFlowCrud } from "../../src/application.ts";
import type { Speaker, SpeakerAnswer, SpeakerCommand } from "../../src/controller/speaker.ts";
import { addressOf } from "../../src/controller/model.ts";
import { networkRoutes } from "../../src/floodlight/network-routes.ts";
import { additionOf, lldpRule, meterMod } from "../../src/floodlight/rule-messages.ts";
import { SimulatedNetwork } from "../../src/floodlight/simulated-network.ts";
import {
  commandMessage,
  readAnswer,
  readEvent,
  RemoteSpeaker,
  SpeakerService,
  speakerTopics,
} from "../../src/floodlight/speaker-wire.ts";
import { SwitchSpeaker } from "../../src/floodlight/switch-speaker.ts";
import { idOf, ruleAt } from "./lab.ts";

const topics = speakerTopics("t-");
const command = (vlan: number, seq = 1): SpeakerCommand => ({
  command: "install",
  switchId: idOf(1),
  seq,
  must: false,
  rules: [ruleAt(vlan)],
});

describe("a speaker on a bus", () => {
  const serve = (speaker: Speaker) => {
    const bus = new LocalBus();
    const [answers, events, problems]: [Message[], Message[], string[]] = [[], [], []];
    bus.subscribe(topics.speakerAnswers, (message) => void answers.push(message));
    bus.subscribe(topics.networkEvents, (message) => void events.push(message));
    const service = new SpeakerService({
      bus,
      speaker,
      topics,
      onProblem: (problem) => void problems.push(problem),
    });
    onTestFinished(() => service.close());
    return { bus, service, answers, events, problems };
  };

  test("answers each command under its key", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "chain", switches: 2 } });
    const speaker = await SwitchSpeaker.over(() => network.listen(), { path: ":memory:" });
    onTestFinished(() => speaker.close());
    await waitUntil(() => speaker.connected.length === 2, 60_000);
    const { bus, answers } = serve(speaker);
    for (const vlan of [100, 101])
      bus.publish(topics.speakerCommands, commandMessage(`call-${vlan}`, command(vlan)));
    await waitUntil(() => answers.length === 2, 60_000);
    expect(answers.map(({ key }) => key).toSorted()).toEqual(["call-100", "call-101"]);
    expect(answers.map(readAnswer)).toEqual([1, 2].map(() => ({ answer: "done", unconfirmed: 0 })));
    expect(network.flows(1)).toHaveLength(3);
  });

  test("executes a command once while it comes again, says nothing where nobody knows, and reports what is none", async () => {
    const asked = [
      Promise.withResolvers<SpeakerAnswer | undefined>(),
      Promise.withResolvers<undefined>(),
    ] as const;
    let count = 0;
    const speaker: Speaker = {
      execute: () => asked[count++ % 2]?.promise ?? Promise.resolve(undefined),
      unconfirmed: () => ({ count: 0, rules: [] }),
    };
    const { bus, answers, problems, service } = serve(speaker);
    const messages = [
      commandMessage("a", command(1)),
      commandMessage("a", command(1)),
      commandMessage("b", command(2)),
    ];
    for (const message of messages) bus.publish(topics.speakerCommands, message);
    for (const value of [
      "",
      "null",
      '{"command":"install"}',
      JSON.stringify({ ...command(1), switchId: "s1" }),
    ])
      bus.publish(topics.speakerCommands, { key: "wrong", value });
    await waitUntil(() => problems.length === 4, 60_000);
    expect(count).toBe(2);
    asked[0].resolve({ answer: "fenced" });
    asked[1].resolve(undefined);
    await service.close();
    await waitUntil(() => answers.length === 1, 60_000);
    expect(answers).toEqual([{ key: "a", value: '{"answer":"fenced"}' }]);
  });

  test("tells the hubs what happens in the network", async () => {
    const { service, events } = serve({
      execute: () => Promise.resolve(undefined),
      unconfirmed: () => ({ count: 0, rules: [] }),
    });
    const link = {
      kind: "link",
      from: idOf(1),
      fromPort: 102,
      to: idOf(2),
      toPort: 101,
      isUp: false,
    } as const;
    await service.tell(link);
    await service.tell({ ...link, isUp: true, latencyMs: 3 });
    await waitUntil(() => events.length === 2, 60_000);
    expect(events.map(readEvent)).toEqual([link, { ...link, isUp: true, latencyMs: 3 }]);
    // Each is a request of its own, although they are about the same.
    expect(new Set(events.map(({ key }) => key)).size).toBe(2);
  });
});

describe("a remote speaker", () => {
  /** A bus, and a clock that only this test moves. */
  const stage = () => {
    const bus = new LocalBus();
    const [commands, problems]: [Message[], string[]] = [[], []];
    bus.subscribe(topics.speakerCommands, (message) => void commands.push(message));
    const timers = new Set<() => void>();
    const clock = {
      after: (_delayMs: number, task: () => void) => {
        timers.add(task);
        return () => void timers.delete(task);
      },
    };
    const open = (over: Bus = bus): RemoteSpeaker => {
      const onProblem = (problem: string): void => void problems.push(problem);
      const speaker = new RemoteSpeaker({ bus: over, topics, clock, onProblem });
      onTestFinished(() => speaker.close());
      return speaker;
    };
    const answer = (key: string | undefined, value: string): void =>
      void bus.publish(topics.speakerAnswers, { key: key ?? "", value });
    return { bus, commands, problems, timers, open, answer };
  };

  test("gives each process the answers to its own commands, and executes what a service executes", async () => {
    const network = new SimulatedNetwork({ topology: { shape: "chain", switches: 2 } });
    const local = await SwitchSpeaker.over(() => network.listen(), { path: ":memory:" });
    await waitUntil(() => local.connected.length === 2, 60_000);
    const { bus, commands, timers, open } = stage();
    const service = new SpeakerService({ bus, speaker: local, topics });
    onTestFinished(async () => {
      await service.close();
      await local.close();
    });
    const nodes = [open(), open()] as const;
    const read: SpeakerCommand = { command: "read", switchId: idOf(1), rules: [ruleAt(100), ruleAt(101)] };
    expect(await Promise.all([nodes[0].execute(command(100)), nodes[1].execute(read)])).toEqual([
      { answer: "done", unconfirmed: 0 },
      expect.objectContaining({ answer: "read", totalRules: expect.any(Number) as number }),
    ]);
    expect(await nodes[1].execute(command(101))).toMatchObject({ answer: "done" });
    expect(await nodes[0].execute(command(100, 0))).toEqual({ answer: "fenced" });
    expect(new Set(commands.map(({ key }) => key)).size).toBe(4);
    expect(timers.size).toBe(0);
  });

  test("knows nothing when no answer comes, and takes none that comes late, twice, or for others", async () => {
    const { commands, timers, problems, open, answer } = stage();
    const [one, other] = [open(), open()];
    const [first, second] = [one.execute(command(1)), other.execute(command(2))];
    await waitUntil(() => commands.length === 2, 60_000);
    answer("somebody-else", '{"answer":"away"}');
    answer(commands[1]?.key, '{"answer":"away"}');
    answer(commands[1]?.key, '{"answer":"fenced"}');
    expect(await second).toEqual({ answer: "away" });
    expect(timers.size).toBe(1);
    for (const time of timers) time();
    expect(await first).toBeUndefined();
    answer(commands[0]?.key, '{"answer":"away"}');
    const third = one.execute(command(3));
    await waitUntil(() => commands.length === 3, 60_000);
    answer(commands[2]?.key, '{"answer":"nonsense"}');
    expect(await third).toBeUndefined();
    expect(problems).toEqual([expect.stringContaining("not an answer")]);
    expect(timers.size).toBe(0);
  });

  test.each([
    ["rejects", () => Promise.reject(new Error("the broker is away"))],
    [
      "throws",
      () => {
        throw new Error("the broker is away");
      },
    ],
  ])("knows nothing when the bus %s", async (_how, publish) => {
    const { bus, timers, problems, open } = stage();
    const speaker = open({ publish, subscribe: (topic, receive) => bus.subscribe(topic, receive) });
    expect(await speaker.execute(command(1))).toBeUndefined();
    expect(problems).toEqual([expect.stringContaining("the broker is away")]);
    expect(timers.size).toBe(0);
  });

  test("waits for nothing once it is closed", async () => {
    const { commands, timers, open, answer } = stage();
    const speaker = open();
    const asked = speaker.execute(command(1));
    await waitUntil(() => commands.length === 1, 60_000);
    speaker.close();
    expect(await asked).toBeUndefined();
    answer(commands[0]?.key, '{"answer":"away"}');
    expect(await speaker.execute(command(2))).toBeUndefined();
    expect(commands).toHaveLength(1);
    expect(timers.size).toBe(0);
  });
});

test("links of the simulated network are cut and mended by a command", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "wheelwork-network-"));
  const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 4 } });
  const system = await openFlowCrud({ dataDir, durability: "normal" });
  const server = await northbound({ engine: system.engine, routes: [], extra: networkRoutes(network) });
  onTestFinished(async () => {
    await server.close();
    await system.close();
    rmSync(dataDir, { recursive: true });
  });
  const url = await server.listen({ port: 0, host: "127.0.0.1" });
  const program = resolve(import.meta.dirname, "../../../../services/src/network-main.ts");
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const run = async (...args: readonly string[]): Promise<string> => {
    const all = [...flags, program, ...args, "--name", "nothing", "--url", url];
    const said = await promisify(execFile)(process.execPath, all).catch((error: { stderr: string }) => ({
      stdout: error.stderr,
    }));
    return said.stdout;
  };
  const downs = (): string[] => network.links.filter(({ isUp }) => !isUp).map(({ name }) => name);
  expect(await run("cut", "3-2")).toBe("3-2 is down\n");
  expect(downs()).toEqual(["2-3"]);
  expect((await server.inject({ url: "/network/links" })).json()).toMatchObject({
    links: [{ link: "1-2", up: true }, { link: "2-3", up: false }, {}, {}],
  });
  expect(await run("mend", "2-3")).toBe("2-3 is up\n");
  expect(downs()).toEqual([]);
  expect(await run("cut", "1-3")).toContain("404 there is no link 1-3: the network has 1-2, 2-3, 3-4, 1-4");
  expect(await run("cut", "x")).toContain("the link is x, and must be as 2-3");
  const setVlan = { type: "setVlan", vlan: 7 } as const;
  const rule = ruleAt(100, 1, { meter: 40, actions: [setVlan, { type: "output", port: 102 }] });
  const meter = {
    kind: "meter",
    switchId: rule.switchId,
    cookie: rule.cookie,
    meter: 40,
    rateKbps: 700,
  } as const;
  network.change(1, meterMod("add", meter));
  network.change(1, additionOf(rule));
  expect((await server.inject({ url: "/network/switches/1/rules" })).json()).toMatchObject({
    rules: [{ cookie: rule.cookie, address: addressOf(rule) }],
    meters: [40],
  });
  network.change(1, lldpRule);
  expect((await run("rules", "1")).split("\n")).toEqual([
    `cookie=0x${rule.cookie}, n_packets=0, priority=24576,in_port=1,dl_vlan=100 actions=meter:40,set_vlan:7,output:102`,
    expect.stringMatching(/^cookie=0x8000000000000001, n_packets=0, priority=\d+, no rule of a flow$/),
    "meter=40 kbps=700",
    "",
  ]);
  expect(await run("rules", "5")).toContain("404 there is no switch 5: the network has the switches 1 to 4");
  expect((await server.inject({ url: "/network/switches/5/rules" })).json()).toMatchObject({
    status: 404,
    detail: "there is no switch 5: the network has the switches 1 to 4",
  });
  expect(
    (await server.inject({ method: "POST", url: "/network/links/2-3", payload: { up: "no" } })).statusCode,
  ).toBe(400);
});
