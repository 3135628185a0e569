import { spoke } from "@wheelwork/core";
import { relay } from "@wheelwork/engine";
import { unzipSync } from "fflate";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import * as z from "zod";
import { describe, expect, test } from "vitest";
import { kafkaBolt, kafkaSpout, shellBolt, shellSpout, Topology, topologyJar } from "@wheelwork/storm";
import { stormSecurity, stormTopology } from "@wheelwork/storm/parts";

const place = { brokers: "127.0.0.1:9092" };
const parts = {
  source: kafkaSpout("source", { ...place, topics: ["in"], group: "words" }),
  numbers: shellSpout({ command: ["node", "main.mjs", "numbers"], streams: { default: ["number"] } }),
  count: shellBolt({
    command: ["node", "main.mjs"],
    streams: { counts: ["key", "message", "topic"] },
    parallelism: 3,
    tasks: 6,
  }),
  sink: kafkaBolt("sink", { ...place, topic: "out" }),
} as const;

const words = new Topology("words", parts, { "topology.workers": 2 })
  .connect("source", "default", "count", { type: "fields", fields: ["key"] })
  .connect("numbers", "default", "count", { type: "all" })
  .connect("count", "counts", "sink", { type: "shuffle" });

describe("a topology", () => {
  test("becomes what Flux takes", () => {
    const flux = parse(words.flux()) as Record<string, unknown>;
    expect(flux["name"]).toBe("words");
    expect(flux["config"]).toEqual({ "topology.workers": 2 });
    expect(flux["bolts"]).toContainEqual({
      id: "count",
      className: "org.apache.storm.flux.wrappers.bolts.FluxShellBolt",
      constructorArgs: [["node", "main.mjs"]],
      configMethods: [{ name: "setNamedStream", args: ["counts", ["key", "message", "topic"]] }],
      parallelism: 3,
      numTasks: 6,
    });
    expect(flux["streams"]).toEqual([
      { from: "source", to: "count", grouping: { type: "FIELDS", streamId: "default", args: ["key"] } },
      { from: "numbers", to: "count", grouping: { type: "ALL", streamId: "default" } },
      { from: "count", to: "sink", grouping: { type: "SHUFFLE", streamId: "counts" } },
    ]);
    // Every reference is to a bean that is made before it.
    const beans = (flux["components"] as { id: string }[]).map(({ id }) => id);
    const references = [...words.flux().matchAll(/ref: (\S+)/g)].map(([, id]) => id);
    expect(references.toSorted()).toEqual([
      "sink-mapper",
      "sink-properties",
      "sink-topic",
      "source-builder",
      "source-config",
    ]);
    for (const id of references) expect(beans).toContain(id);
    // Nothing is done for a transaction that its producer has aborted.
    expect(words.flux()).toContain("isolation.level: read_committed");
  });

  test("has a picture of the same source", () => {
    expect(words.dot()).toContain('"source" -> "count" [label="fields(key)"');
    expect(words.dot()).toContain('"count" -> "sink" [label="counts\\nshuffle"');
    expect(words.dot()).toContain("count\\n6 tasks");
  });

  test("is refused when nothing reaches a bolt, or its name cannot be one", () => {
    expect(() => new Topology("words", parts).flux()).toThrow(/nothing comes to this bolt/);
    expect(() => new Topology("two words", parts)).toThrow(/cannot be the name/);
    expect(() => words.only(["source", "count"]).flux()).not.toThrow();
  });

  test("does not compile with names that do not exist", () => {
    const never = (): void => {
      // @ts-expect-error no such component
      words.connect("sauce", "default", "count", { type: "all" });
      // @ts-expect-error no such stream
      words.connect("source", "words", "count", { type: "all" });
      // @ts-expect-error nothing goes to a spout
      words.connect("source", "default", "numbers", { type: "all" });
      // @ts-expect-error no such field
      words.connect("source", "default", "count", { type: "fields", fields: ["word"] });
      // @ts-expect-error grouped by nothing
      words.connect("source", "default", "count", { type: "fields", fields: [] });
    };
    expect(never).toBeTypeOf("function");
  });
});

test("the parts have a heap with a bound", () => {
  const config = {
    brokers: "127.0.0.1:9092",
    databaseUrl: "postgres://localhost/flows",
    shards: 2,
    inbox: "inbox",
  };
  const made = (options: { readonly heapMb?: number }): string =>
    stormTopology({ name: "flows", config, app: { workers: [] }, ...options }).flux();
  expect(made({})).toMatch(/- --max-old-space-size=512\n\s+- main.mjs\n\s+- hub/);
  expect(made({ heapMb: 2048 })).toContain("--max-old-space-size=2048");
});

test("what the environment says of Kafka reaches Storm's own clients, and no secret with it", () => {
  const told = relay(spoke("tell", { input: z.null(), output: z.null(), timeoutMs: 100 }), {
    to: "told",
    from: "heard",
    send: () => ({ key: "", value: "" }),
    receive: () => undefined,
  });
  const authority = fileURLToPath(import.meta.url);
  const files = { KAFKA_CA: authority, KAFKA_CERT: authority, KAFKA_KEY: authority };
  const security = stormSecurity({ ...files, KAFKA_USERNAME: "me", KAFKA_PASSWORD: "pa55word" });
  const config = { ...place, databaseUrl: "postgres://localhost/flows", shards: 1, inbox: "inbox" };
  const flux = (given: typeof security): string =>
    stormTopology({
      name: "flows",
      config: { ...config, ...(given === undefined ? {} : { security: given }) },
      app: { workers: [told] },
    }).flux();
  expect(flux(security)).not.toContain("pa55word");
  // Flux would look for properties of its own.
  expect(flux(security)).not.toContain("${");
  const beans = (parse(flux(security)) as { components: { id: string; configMethods: unknown[] }[] })
    .components;
  for (const id of ["spout-hub-builder", "spout-worker-builder", "bolt-to-fl-properties"]) {
    // As a map of the spouts, and one after the other for the bolt.
    const settings = JSON.stringify(beans.find((bean) => bean.id === id)?.configMethods).replaceAll(
      '":"',
      '","',
    );
    expect(settings).toContain('"security.protocol","SASL_SSL"');
    expect(settings).toContain(`"ssl.truststore.location","${authority}"`);
    expect(settings).toContain(
      `"ssl.keystore.key","\${directory:${dirname(authority)}:${basename(authority)}}"`,
    );
    expect(settings).toContain('"sasl.mechanism","SCRAM-SHA-512"');
    expect(settings).toContain("ScramLoginModule required username=");
  }
  expect(stormSecurity({})).toBeUndefined();
  expect(flux(undefined)).not.toContain("security.protocol");
  expect(() => stormSecurity({ KAFKA_CA: "/not/there" })).toThrow("cannot be read");
});

test("the jar has the resources and nothing else, and is the same each time", () => {
  const jar = topologyJar({ "main.mjs": "console.log(1);" });
  expect(Object.keys(unzipSync(jar))).toEqual(["resources/main.mjs"]);
  expect(topologyJar({ "main.mjs": "console.log(1);" })).toEqual(jar);
});
