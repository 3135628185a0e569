import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  defaultCache,
  kafkaIsInstalled,
  Network,
  networkFault,
  postgresIsInstalled,
  waitUntil,
} from "@wheelwork/services";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { postgresStore } from "@wheelwork/postgres";
import { Client } from "pg";
import { deadLetterTopic, readDeadLetter, shardOf, type DeadLetter, type LogRecord } from "wheelwork/cluster";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { originalTopics } from "../../src/topics.ts";
import { askHttp, type Reply } from "../ask.ts";
import { backUp } from "../older-backup.ts";
import { switchDifferences } from "../controller/flow-network.ts";
import { seedCommands } from "./client.ts";
import { breakCluster } from "./faults.ts";
import { FlowStage, flowBody, network, sw } from "./flows.ts";
import { Cluster, Process } from "./processes.ts";

const { requests: requestTopic, answers: replyTopic } = originalTopics;

/** These need a broker and a database server: `npm run services -- install` gets them. */
const suite = kafkaIsInstalled(defaultCache) && postgresIsInstalled() ? describe : describe.skip;

/** The long form: WHEELWORK_LONG=1. */
const isLong = process.env["WHEELWORK_LONG"] !== undefined;
/** How often nodes and Floodlight are killed under the life of flows. */
const rounds = Array.from({ length: isLong ? 10 : 1 }, (_, index) => index + 1);

const newFolder = (): string => {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-cluster-"));
  chmodSync(folder, 0o755);
  return folder;
};

suite("the proof of concept's wire", () => {
  let folder: string;
  let cluster: Cluster;
  let bus: Kafka;
  let northbound: Process;
  let url: string;
  const seen: LogRecord[] = [];

  beforeAll(async () => {
    folder = newFolder();
    // Patient: whether a broker that has just started is quick, is not what is tested.
    const patient = ["--worker-timeout", "2000", "--deadline", "8000"];
    const servers = ["--api-port", "0", "--network-port", "0", "--session-timeout", "3000"];
    cluster = await Cluster.start(folder, 4, ["--log", "error", ...patient, ...servers]);
    await cluster.addNode().start();
    northbound = cluster.part("northbound", "--port", "0");
    await Promise.all([cluster.addNode().start(), cluster.floodlight.start(), northbound.start()]);
    url = /^ready: northbound (.*)$/m.exec(northbound.output)?.[1] ?? "";
    bus = kafka({ brokers: cluster.kafka.brokers });
    const topics = ["worker-to-fl", "fl-to-worker", replyTopic, requestTopic, "wheelwork-inbox"];
    for (const topic of [...topics, deadLetterTopic(requestTopic), deadLetterTopic("wheelwork-inbox")]) {
      const { partitions } = await bus.topic(topic);
      for (let partition = 0; partition < partitions; partition++)
        await bus.read(topic, partition, undefined, {
          records: (records) => void seen.push(...records),
          lost: () => {},
        });
    }
  });

  afterAll(async () => {
    await bus?.close();
    await northbound?.end("SIGTERM");
    await cluster?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const of = (topic: string, key: string): LogRecord[] =>
    seen.filter((record) => record.topic === topic && record.key.startsWith(key));
  const letters = (): DeadLetter[] => seen.filter(({ topic }) => topic.endsWith("-dlt")).map(readDeadLetter);
  const eventually = { timeout: 120_000, interval: 20 };
  let keys = 0;
  const newKey = (): string => (++keys).toString(16).padStart(32, "0");
  /** Sends a request as the proof of concept's Northbound does, and waits for its answer. */
  const ask = async (key: string, value: string): Promise<string> => {
    const before = of(replyTopic, key).length;
    await bus.publish(requestTopic, { key, value });
    await expect.poll(() => of(replyTopic, key).length, eventually).toBeGreaterThan(before);
    return of(replyTopic, key).at(-1)?.value ?? "";
  };

  test("the happy request: the proof of concept's messages, byte for byte, and its text", async () => {
    const key = newKey();
    expect(await ask(key, '{"flowid": "test-01", "length": 10, "error": null}')).toBe(
      "all operation is successful",
    );
    const commands = of("worker-to-fl", key);
    // An attempt that is made again sends the same again.
    const values = [...new Set(commands.map(({ value }) => value))];
    expect(values.slice(0, 10).toSorted()).toEqual(seedCommands("install"));
    expect(values.slice(10).toSorted()).toEqual(seedCommands("validate"));
    expect(new Set(commands.map((record) => record.key))).toEqual(
      new Set(Array.from({ length: 10 }, (_, rule) => `${key}-${rule}`)),
    );
    for (const { headers } of commands) expect(headers).toEqual({});
  });

  test.each([
    [0, "error in hub by timeout"],
    [1, "error in worker on rule install"],
    [2, "error in worker on rule install"],
    ["IN_FL", "error in worker on rule install"],
  ])("the request with error %j: the proof of concept's text", async (error, text) => {
    expect(await ask(newKey(), JSON.stringify({ flowid: "test-01", length: 10, error }))).toBe(text);
  });

  // Each text is tested above.
  test.skipIf(!isLong)("`npm run requests` prints the four texts here, too", () => {
    const script = fileURLToPath(new URL("../../src/requests.ts", import.meta.url));
    const { stdout } = spawnSync(process.execPath, [script, "--url", url], { encoding: "utf8" });
    expect(stdout).toMatch(/happy +200 +all operation is successful/);
    expect(stdout).toMatch(/error in the hub +200 +error in hub by timeout/);
    expect(stdout).toMatch(/error in a worker +200 +error in worker on rule install/);
    expect(stdout).toMatch(/error on the switch +200 +error in worker on rule install/);
    expect(stdout).toContain("The switches hold 10 rules of the first request, 0 of the others.");
  });

  test("ours in place of the proof of concept's Northbound: POST /flow", async () => {
    const key = newKey();
    const post = (body: string): Promise<Response> =>
      fetch(`${url}/flow`, { method: "POST", body, headers: { "idempotency-key": key } });
    const body = '{"flowid": "test-02", "length": 3}';
    for (let time = 0; time < 2; time++) {
      const response = await post(body);
      expect([response.status, await response.text()]).toEqual([200, "all operation is successful"]);
    }
    expect(new Set(of("worker-to-fl", key).map(({ value }) => value)).size).toBe(6);
    const rules = await fetch(`${url}/switches/rules?flowid=test-02`);
    expect([rules.status, await rules.json()]).toEqual([
      200,
      {
        count: 3,
        rules: [0, 1, 2].map((ruleid) => ({
          switch: `sw-${ruleid + 1}`,
          flowid: "test-02",
          ruleid,
          cookie: key,
        })),
      },
    ]);
    const refused = await fetch(`${url}/flow`, { method: "POST", body: "{nonsense" });
    expect(await refused.text()).toBe("invalid request: the value is not JSON");
  });

  test.each([
    ["broken JSON", "{nonsense", "invalid request: the value is not JSON"],
    ["length 0", '{"flowid": "f", "length": 0}', /^invalid request: length /],
    ["no length", '{"flowid": "f"}', /^invalid request: length /],
    ["error 3", '{"flowid": "f", "length": 1, "error": 3}', /^invalid request: error /],
    ["an unknown field", '{"flowid": "f", "length": 1, "colour": 1}', /^invalid request: .*colour/],
    ["no object", "7", /^invalid request: /],
    ["nothing", "", /^invalid request: /],
  ])("%s is answered, and its answer stays", async (_name, value, expected) => {
    const key = newKey();
    const text = await ask(key, value);
    expect(text).toMatch(expected);
    expect(await ask(key, value)).toBe(text);
    const ids = of(replyTopic, key).map(({ headers }) => headers["ce_id"]);
    expect(new Set(ids).size).toBe(1);
  });

  test("keys that are none of the proof of concept's are answered under the same key; no key is a dead letter", async () => {
    for (const key of ["abc", "a key with blanks", "a/b", "ü".repeat(300)])
      expect(await ask(key, '{"flowid": "f", "length": 1}')).toMatch(/^invalid request: the key must be /);
    await bus.publish(requestTopic, { key: "", value: "whose?" });
    await expect
      .poll(() => letters().filter(({ value }) => value === "whose?"), eventually)
      .toMatchObject([
        { reason: expect.stringContaining("no key") as string, origin: { topic: requestTopic } },
      ]);
  });

  test("another body under a known key gets the stored answer, and is kept as a dead letter", async () => {
    const key = newKey();
    await ask(key, '{"flowid": "mine", "length": 1}');
    expect(await ask(key, '{"flowid": "other", "length": 1}')).toBe("all operation is successful");
    expect(of("worker-to-fl", key).every(({ value }) => value.includes("mine"))).toBe(true);
    const [first, second] = of(replyTopic, key);
    expect(second?.headers["ce_id"]).toBe(first?.headers["ce_id"]);
    await expect
      .poll(() => letters().filter((letter) => letter.key === key), eventually)
      .toMatchObject([
        // Of the topic that it was sent to, or of the inbox, if another node works on its shard.
        { reason: expect.stringMatching(/another body/) as string },
      ]);
  });

  const cli = (...args: string[]): { status: number | null; stdout: string } => {
    const program = fileURLToPath(new URL("../../../../packages/wheelwork/src/cli/main.ts", import.meta.url));
    const place = ["--brokers", cluster.kafka.brokers, "--database", cluster.postgres.url, "--shards", "4"];
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    return spawnSync(process.execPath, [...flags, program, ...args, ...place], { encoding: "utf8" });
  };
  /** The column of `wheelwork shards` that says what is unpublished, without empty shards. */
  const unpublished = (): string[] =>
    cli("shards")
      .stdout.split("\n")
      .flatMap((row) => / (\d+ answers?) /.exec(row)?.[1] ?? [])
      .filter((column) => column !== "0 answers");

  test("the command line checks the set-up, lists shards, and replays dead letters", async () => {
    const checked = cli("check");
    expect([checked.status, checked.stdout]).toEqual([0, expect.stringContaining("4 shards")]);
    expect(cli("check", "--inbox", "none")).toMatchObject({
      status: 1,
      stdout: expect.stringContaining("there is no topic none") as string,
    });
    const doctor = cli("doctor").stdout;
    expect(doctor).toMatch(/^ok {7}Kafka at .* has the topics of the inbox$/m);
    expect(doctor).toMatch(
      /^warning {2}the topic wheelwork-inbox has one copy: .*\n {9}Give it three copies/m,
    );
    expect(doctor).toMatch(/^ok {7}PostgreSQL \d+/m);
    expect(doctor).toMatch(/^ok {7}the clock of PostgreSQL agrees.*\nok {7}the store has 4 shards/m);
    const shards = cli("shards").stdout.trim().split("\n");
    expect(shards).toHaveLength(5);
    expect(shards[0]).toMatch(/^shard +epoch +batches +position +lag/);
    await bus.publish(requestTopic, { key: "", value: "replay me" });
    await expect
      .poll(() => letters().filter(({ value }) => value === "replay me").length, eventually)
      .toBe(1);
    const listed = cli("dead-letters", "list", "--topic", requestTopic).stdout.split("\n");
    const line = listed.find((row) => row.includes("replay me")) ?? "";
    expect(line).toMatch(/it has no key/);
    const [place = ""] = line.split(" ");
    expect(cli("dead-letters", "replay", place, "--topic", requestTopic).stdout).toBe(
      `replayed ${place} to ${requestTopic}\n`,
    );
    // It still has no key.
    await expect
      .poll(() => letters().filter(({ value }) => value === "replay me").length, eventually)
      .toBe(2);
    expect(cli("dead-letters", "replay", "0:999", "--topic", requestTopic).status).toBe(3);
  });

  // With processes and servers that are killed. packages/engine/test/unpublished has it in one process.
  test.skipIf(!isLong)(
    "an answer is unpublished from its commit until it is known to be published",
    async () => {
      const atRest = { timeout: 120_000, interval: 500 };
      await ask(newKey(), '{"flowid": "f", "length": 1}');
      await expect.poll(unpublished, atRest).toEqual([]);
      const key = newKey();
      const answered = async (): Promise<boolean> => {
        const connectionString = cluster.postgres.url;
        const store = postgresStore({ connectionString, shard: shardOf(key, 4), shards: 4 });
        const [found] = await store.find([key]);
        await store.close();
        return found?.answer !== undefined;
      };
      const value = JSON.stringify({ flowid: "f", length: 1, error: 0 });
      await bus.publish(requestTopic, { key, value });
      // It has begun when its resources are allocated; its answer comes with its deadline, which is seconds away.
      const database = new Client(cluster.postgres.url);
      await database.connect();
      const begun = "SELECT FROM flow_crud.allocation WHERE request = $1";
      await expect.poll(async () => (await database.query(begun, [key])).rowCount, eventually).toBe(1);
      await database.end();
      await cluster.kafka.signal("SIGKILL");
      await expect.poll(answered, eventually).toBe(true);
      await Promise.all(cluster.nodes.map((node) => node.end("SIGKILL")));
      await cluster.kafka.start();
      expect(unpublished()).toEqual(["1 answer"]);
      expect(of(replyTopic, key)).toEqual([]);
      await Promise.all(cluster.nodes.map((node) => node.start()));
      await expect.poll(() => of(replyTopic, key).length, eventually).toBeGreaterThan(0);
      await expect.poll(unpublished, atRest).toEqual([]);
    },
  );

  describe("the life of flows", () => {
    const { speakerCommands, speakerAnswers, networkEvents, eventAnswers } = originalTopics;
    let stage: FlowStage;
    /** Where a part serves HTTP. */
    const urlOf = (part: Process | undefined): string => part?.url ?? "http://127.0.0.1:1";
    /** The nodes, one of them first. */
    const nodes =
      (first = 0) =>
      (): string[] =>
        [...cluster.nodes.slice(first), ...cluster.nodes.slice(0, first)].map(urlOf);
    const differences = (): Promise<string[]> => stage.differences(urlOf(cluster.floodlight));
    const statusOf = async (flowId: string): Promise<unknown> => {
      const { body } = await askHttp(nodes(1), "GET", `/v2/flows/${flowId}`);
      return (body as { status?: string }).status;
    };
    const create = (flowId: string, from: number, to: number, vlan: number, first = 0, name?: string) =>
      askHttp(nodes(first), "POST", "/v2/flows", flowBody(flowId, from, to, vlan), name);
    /** The events of links that have failed. */
    const failures = (): LogRecord[] =>
      stage
        .of(networkEvents)
        .filter(({ value }) => value.includes('"kind":"link"') && value.includes('"isUp":false'));
    const linksOf = async (flowId: string): Promise<string[]> => {
      const [path] = (await stage.store.flow(flowId))?.paths ?? [];
      return (path?.segments ?? []).map(({ from, to }) => `${from} ${to}`);
    };

    beforeAll(async () => {
      stage = new FlowStage({ databaseUrl: cluster.postgres.url, brokers: cluster.kafka.brokers });
      await stage.listen(originalTopics);
      await stage.ringIsUp();
    });

    afterAll(() => stage?.close());

    test("are created, moved off a cut link, changed and deleted, at any node", async () => {
      expect(await create("one", 1, 3, 10)).toMatchObject({ status: 200, body: { flow_id: "one" } });
      expect(await statusOf("one")).toBe("Up");
      expect(await linksOf("one")).toEqual([`${sw(1)} ${sw(2)}`, `${sw(2)} ${sw(3)}`]);
      expect(await differences()).toEqual([]);
      expect(await network("cut", "2-3", urlOf(cluster.floodlight))).toBe("2-3 is down\n");
      await expect.poll(async () => (await linksOf("one")).length, eventually).toBe(6);
      await expect.poll(() => statusOf("one"), eventually).toBe("Up");
      await expect.poll(differences, eventually).toEqual([]);
      const changes = { maximum_bandwidth: 2_000 };
      expect(await askHttp(nodes(1), "PATCH", "/v2/flows/one", changes)).toMatchObject({
        status: 200,
        body: { maximum_bandwidth: 2_000 },
      });
      const valid = await askHttp(nodes(), "GET", "/v1/flows/one/validate");
      expect(valid).toMatchObject({ status: 200, body: [{ as_expected: true }, { as_expected: true }] });
      expect(await differences()).toEqual([]);
      expect((await askHttp(nodes(), "DELETE", "/v2/flows/one")).status).toBe(200);
      expect((await askHttp(nodes(1), "GET", "/v2/flows/one")).status).toBe(404);
      expect(await differences()).toEqual([]);
      await network("mend", "2-3", urlOf(cluster.floodlight));
      await stage.ringIsUp();
    });

    test("are answered early, shown and drawn at any node, whichever works on them", async () => {
      const names = nodes()().flatMap((_, node) => [0, 1, 2].map((index) => `early-${node}-${index}`));
      // Without switches, no operation can end.
      cluster.floodlight.signal("SIGSTOP");
      const replies = await Promise.all(
        names.map(async (name, index) => {
          const reply = await fetch(`${nodes()()[index % 2]}/v2/flows`, {
            method: "POST",
            headers: { "content-type": "application/json", prefer: "respond-async" },
            body: JSON.stringify(flowBody(name, 1 + index, 8 - index, 10)),
          });
          return [reply.status, ((await reply.json()) as { status?: string }).status];
        }),
      );
      cluster.floodlight.signal("SIGCONT");
      expect(replies).toEqual(names.map(() => [200, "In progress"]));
      for (const [index, name] of names.entries()) {
        await expect.poll(() => statusOf(name), eventually).toBe("Up");
        const history = await askHttp(nodes(index % 2), "GET", `/v1/flows/${name}/history`);
        expect(history).toMatchObject({ status: 200, body: [{ flow_id: name }] });
      }
      const drawn = await Promise.all(
        nodes()().map(async (url) => (await fetch(`${url}/network.svg`)).text()),
      );
      for (const svg of drawn) expect(names.filter((name) => !svg.includes(name))).toEqual([]);
      for (const name of names)
        expect((await askHttp(nodes(1), "DELETE", `/v2/flows/${name}`)).status).toBe(200);
      expect(await differences()).toEqual([]);
    });

    test("take each event of the network once, though it comes again; what is no event is refused", async () => {
      await create("calm", 1, 3, 11);
      const path = await linksOf("calm");
      const answers = (key: string): LogRecord[] =>
        stage.of(eventAnswers).filter((record) => record.key === key);
      const failed = failures();
      expect(failed.length).toBeGreaterThan(0);
      // It was true when it came first. Now it is not.
      for (const { key, value } of failed) await stage.bus.publish(networkEvents, { key, value });
      for (const { key } of failed) {
        await expect.poll(() => answers(key).length, eventually).toBeGreaterThan(1);
        expect(new Set(answers(key).map(({ headers }) => headers["ce_id"])).size).toBe(1);
      }
      await stage.bus.publish(networkEvents, { key: "nonsense", value: "{" });
      await stage.bus.publish(networkEvents, { key: "wrong", value: '{"kind":"port","port":0.5}' });
      for (const key of ["nonsense", "wrong"])
        await expect
          .poll(() => answers(key).map(({ value }) => JSON.parse(value) as unknown), eventually)
          .toEqual([expect.objectContaining({ kind: "error", code: "invalid-request" })]);
      expect(await linksOf("calm")).toEqual(path);
      expect(await statusOf("calm")).toBe("Up");
    });

    test("are told of the network as it is, after an event that comes too late", async () => {
      // It was true once, and something later about the same link has overtaken it.
      const [late] = failures();
      await stage.bus.publish(networkEvents, { key: "late", value: late?.value ?? "" });
      const down = async (): Promise<number> =>
        (await stage.store.links()).filter(({ isUp }) => !isUp).length;
      await expect.poll(down, eventually).toBe(2);
      await stage.ringIsUp();
    });

    test.each(rounds)(
      "have one answer each, and what they should have, when a node is killed in the middle (%i)",
      async (round) => {
        const names = Array.from({ length: 6 }, (_, index) => `node-${round}-${index}`);
        const make = (index: number, first: number): Promise<Reply> =>
          create(names[index] ?? "", 1 + index, 3, 40 * round + index, first, names[index]);
        const before = stage.of(speakerCommands).length;
        // No switch answers, so all operations are in the middle.
        cluster.floodlight.signal("SIGSTOP");
        const asked = names.map((_, index) => make(index, index % 2));
        await expect
          .poll(() => stage.of(speakerCommands).length, eventually)
          .toBeGreaterThan(before + 2 * names.length);
        const killed = cluster.nodes[round % 2];
        await killed?.end("SIGKILL");
        cluster.floodlight.signal("SIGCONT");
        const first = await Promise.all(asked);
        await killed?.start();
        for (const [index, name] of names.entries()) {
          const again = await make(index, 1 - (index % 2));
          expect(again).toEqual(first[index]);
          expect(await statusOf(name)).toBe(again.status === 200 ? "Up" : undefined);
        }
        expect(first.filter(({ status }) => status === 200).length).toBeGreaterThan(0);
        await expect.poll(differences, eventually).toEqual([]);
      },
    );

    /** Asks for operations, and kills Floodlight when some switches have their rules, and others were told and have not answered. */
    const killFloodlight = async (
      floodlight: Process,
      ask: () => readonly Promise<Reply>[],
    ): Promise<readonly Reply[]> => {
      const [toldBefore, before] = [stage.of(speakerCommands).length, stage.of(speakerAnswers).length];
      const asked = ask();
      await expect.poll(() => stage.of(speakerAnswers).length, eventually).toBeGreaterThan(before + 2);
      floodlight.signal("SIGSTOP");
      const unanswered = (): number => {
        const answered = new Set(stage.of(speakerAnswers).map(({ key }) => key));
        const told = stage.of(speakerCommands).slice(toldBefore);
        return told.filter(({ key }) => !answered.has(key)).length;
      };
      await expect.poll(unanswered, eventually).toBeGreaterThan(0);
      await floodlight.end("SIGKILL");
      await floodlight.start();
      return Promise.all(asked);
    };
    /** Deletes all flows: also those that a reroute or a clean-up works on still. */
    const deleteAll = async (): Promise<void> => {
      for (const { spec } of await stage.store.flows({ limit: 100 })) {
        const reply = await askHttp(nodes(), "DELETE", `/v2/flows/${spec.flowId}?whenBusy=queue`);
        expect([spec.flowId, reply.status]).toEqual([spec.flowId, 200]);
      }
    };
    /** Whether each flow is there if its creation says so, and none is locked: what works on it still ends. */
    const areAsTold = async (names: readonly string[], replies: readonly Reply[]): Promise<void> => {
      for (const [index, name] of names.entries()) {
        const stored = await stage.store.flow(name);
        expect([name, stored !== undefined]).toEqual([name, replies[index]?.status === 200]);
      }
      for (const { spec } of await stage.store.flows({ limit: 100 })) {
        const reply = await askHttp(nodes(1), "PATCH", `/v1/flows/${spec.flowId}/sync?whenBusy=queue`);
        expect([spec.flowId, reply.status]).toEqual([spec.flowId, 200]);
      }
    };

    test.each(rounds)(
      "leave nothing and miss nothing when Floodlight alone is killed in the middle of installs (%i)",
      async (round) => {
        const there = (await stage.store.flows({ limit: 100 })).map(({ spec }) => spec.flowId);
        const names = Array.from({ length: 6 }, (_, index) => `floodlight-${round}-${index}`);
        const replies = await killFloodlight(cluster.floodlight, () => [
          ...names.map((name, index) => create(name, 1 + index, 4, 40 * round + 20 + index, index % 2)),
          ...there
            .slice(0, 3)
            .map((flowId) => askHttp(nodes(), "DELETE", `/v2/flows/${flowId}?whenBusy=queue`)),
        ]);
        await expect.poll(differences, eventually).toEqual([]);
        await areAsTold(names, replies);
        expect(await differences()).toEqual([]);
        await stage.ringIsUp();
      },
    );

    // Three starts of Floodlight. test/speaker/lost-book has all kinds of lost books, in one process.
    test.skipIf(!isLong)(
      "are not driven by a Floodlight that has lost its folder, until its book is made anew of them",
      async () => {
        await create("kept", 2, 4, 30);
        const { floodlight } = cluster;
        await floodlight.end("SIGTERM");
        rmSync(cluster.data, { recursive: true });
        await expect(floodlight.start()).rejects.toThrow(
          /the book is another one than before[^]*--rebuild-rules/,
        );
        const rebuilt = cluster.part("floodlight", "--rebuild-rules");
        await rebuilt.start();
        expect(await statusOf("kept")).toBe("Up");
        await expect.poll(() => stage.differences(urlOf(rebuilt)), eventually).toEqual([]);
        expect((await create("new", 2, 4, 31)).status).toBe(200);
        await rebuilt.end("SIGTERM");
        await floodlight.start();
        await stage.ringIsUp();
        expect((await askHttp(nodes(), "DELETE", "/v2/flows/kept?whenBusy=queue")).status).toBe(200);
        await expect.poll(differences, eventually).toEqual([]);
      },
    );

    // test/speaker/older-store has the rest, in one process.
    test.skipIf(!isLong)(
      "are not driven for a database that is restored while Floodlight runs, until its book is made anew",
      async () => {
        await create("older", 2, 4, 32);
        const client = new Client(cluster.postgres.url);
        await client.connect();
        const goBack = await backUp(
          async (sql) => (await client.query<Record<string, unknown>>(sql)).rows,
          "flow_controller",
        );
        expect(await create("newer", 2, 4, 33)).toMatchObject({ status: 200 });
        const { floodlight } = cluster;
        const health = async () => (await fetch(`${urlOf(floodlight)}/health`)).status;
        await expect.poll(health, eventually).toBe(200);
        await goBack();
        await client.end();
        await expect.poll(health, eventually).toBe(503);
        const refused = await askHttp(nodes(), "POST", "/v2/flows", flowBody("refused", 2, 4, 34));
        expect(refused).toMatchObject({ status: 500 });
        expect(JSON.stringify(refused.body)).toContain("--rebuild-rules");
        await floodlight.end("SIGTERM");
        const rebuilt = cluster.part("floodlight", "--rebuild-rules");
        await rebuilt.start();
        await expect.poll(() => stage.differences(urlOf(rebuilt)), eventually).toEqual([]);
        expect([await statusOf("older"), await statusOf("newer")]).toEqual(["Up", undefined]);
        expect(await create("newer", 2, 4, 33)).toMatchObject({ status: 200 });
        await rebuilt.end("SIGTERM");
        await floodlight.start();
        await stage.ringIsUp();
        await deleteAll();
        await expect.poll(differences, eventually).toEqual([]);
      },
    );

    // Real switches keep their rules while Floodlight is away.
    test.skipIf(!isLong || networkFault() !== undefined)(
      "leave nothing and miss nothing on real switches when Floodlight alone is killed in the middle",
      async () => {
        await deleteAll();
        await cluster.floodlight.end("SIGTERM");
        const lab = new Network(`c${process.pid % 1_000_000}`, join(folder, "network"));
        const floodlight = cluster.part("floodlight", "--network", "--openflow", lab.controllerPath);
        // Otherwise each switch waits up to eight seconds.
        const connect = async (): Promise<void> => {
          for (let number = 1; number <= 8; number++) {
            await lab.switch(number, "off");
            await lab.switch(number, "on");
          }
        };
        const real = async (): Promise<string[]> => [
          ...(await stage.store.audit()),
          ...(await switchDifferences(lab, await stage.store.flows({ limit: 1000 }))),
        ];
        const end = (switch_id: string, vlan_id: number) => ({ switch_id, port_number: 1, vlan_id });
        try {
          await lab.start("ring", 8);
          await lab.host(1, 1, 1);
          await lab.host(2, 4, 1);
          await floodlight.start();
          await connect();
          // Simulated switches have twenty ports for hosts.
          const areReal = async (): Promise<boolean> =>
            (await stage.store.switches()).every(({ ports, isConnected }) => isConnected && ports.length < 5);
          await waitUntil(areReal, 120_000);
          await stage.ringIsUp();
          for (const round of rounds) {
            const names = ["ping", "a", "b", "c", "d", "e"].map((name) => `real-${round}-${name}`);
            const replies = await killFloodlight(floodlight, () =>
              names.map((flow_id, index) => {
                const vlan = index === 0 ? 0 : 100 + index;
                const ends = { source: end(sw(1), vlan), destination: end(sw(4), vlan) };
                return askHttp(nodes(), "POST", "/v2/flows", { flow_id, ...ends, maximum_bandwidth: 1000 });
              }),
            );
            await connect();
            await expect.poll(real, eventually).toEqual([]);
            await areAsTold(names, replies);
            expect(await real()).toEqual([]);
            expect(await lab.ping(1, 2, 3)).toBe(replies[0]?.status === 200 ? 3 : 0);
            await deleteAll();
            await expect.poll(real, eventually).toEqual([]);
            expect(await lab.ping(1, 2, 1)).toBe(0);
          }
        } finally {
          await floodlight.end("SIGKILL");
          lab.stop();
        }
      },
    );
  });
});

suite("a cluster of real processes", () => {
  test("keeps its promise while its parts are killed and frozen", async () => {
    const folder = newFolder();
    try {
      const only = ["kill a node", "kill broker and database", "freeze a node"];
      const report = await breakCluster({
        faults: isLong ? 6 : 1,
        seed: 1,
        folder,
        clients: 10,
        requests: 20,
        only,
      });
      expect(report.problems).toEqual([]);
      expect(report.requests).toBeGreaterThan(20);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
