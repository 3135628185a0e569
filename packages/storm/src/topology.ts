import { WheelworkError } from "@wheelwork/core";
import { Scalar, stringify } from "yaml";
import type { Streams } from "./multilang/component.ts";

/** A component of a topology: what it emits, and how Flux makes it. */
export interface ComponentSpec<Kind extends "spout" | "bolt", S extends Streams> {
  readonly kind: Kind;
  readonly streams: S;
  /** How many executors run its tasks. */
  readonly parallelism: number;
  /** How many tasks it has, for the life of the topology. Default: one for each executor. */
  readonly tasks?: number;
  readonly className: string;
  readonly constructorArgs: readonly unknown[];
  readonly configMethods: readonly FluxMethod[];
  /** Objects that it refers to, in the order in which they can be made. */
  readonly beans: readonly FluxBean[];
}

interface FluxMethod {
  readonly name: string;
  readonly args: readonly unknown[];
}

interface FluxBean {
  readonly id: string;
  readonly className: string;
  readonly constructorArgs?: readonly unknown[];
  readonly configMethods?: readonly FluxMethod[];
}

/** Where the tuples of a stream go among the tasks of the component that takes them. */
export type Grouping<Field extends string> =
  | { readonly type: "fields"; readonly fields: readonly [Field, ...Field[]] }
  | { readonly type: "all" | "shuffle" | "global" | "local-or-shuffle" };

type AnyComponent = ComponentSpec<"spout" | "bolt", Streams>;
/** The components of a topology, by their names. */
export type Components = Readonly<Record<string, AnyComponent>>;
type BoltNames<C extends Components> = {
  [Name in keyof C]: C[Name]["kind"] extends "bolt" ? Name : never;
}[keyof C] &
  string;

interface Edge {
  readonly from: string;
  readonly stream: string;
  readonly to: string;
  readonly grouping: Grouping<string>;
}

/** A component that is a program of this project, run by Node in the folder of the topology's resources. */
interface ShellOptions<S extends Streams> {
  /** The command and its arguments, such as `["node", "main.mjs"]`. */
  readonly command: readonly [string, ...string[]];
  readonly streams: S;
  readonly parallelism?: number;
  readonly tasks?: number;
}

const shell = <Kind extends "spout" | "bolt", S extends Streams>(
  kind: Kind,
  className: string,
  { command, streams, parallelism = 1, tasks }: ShellOptions<S>,
): ComponentSpec<Kind, S> => ({
  kind,
  streams,
  parallelism,
  ...(tasks === undefined ? {} : { tasks }),
  className,
  constructorArgs: [command],
  configMethods: Object.entries(streams).map(([name, fields]) =>
    name === "default"
      ? { name: "setDefaultStream", args: [fields] }
      : { name: "setNamedStream", args: [name, fields] },
  ),
  beans: [],
});

/** A bolt that is a program: see `runBolt`. */
export const shellBolt = <const S extends Streams>(options: ShellOptions<S>): ComponentSpec<"bolt", S> =>
  shell("bolt", "org.apache.storm.flux.wrappers.bolts.FluxShellBolt", options);

/** A spout that is a program: see `runSpout`. */
export const shellSpout = <const S extends Streams>(options: ShellOptions<S>): ComponentSpec<"spout", S> =>
  shell("spout", "org.apache.storm.flux.wrappers.spouts.FluxShellSpout", options);

/** The fields of a record that Storm's own Kafka spout emits. */
export const kafkaFields = ["topic", "partition", "offset", "key", "value"] as const;

const strings = "org.apache.kafka.common.serialization.StringDeserializer";

/** Storm's own Kafka spout: each record is acked by all whom it concerned before its offset is noted. */
export function kafkaSpout(
  name: string,
  options: {
    readonly brokers: string;
    readonly topics: readonly string[];
    readonly group: string;
    readonly parallelism?: number;
    /** How often offsets are noted: after a crash, what came since is sent again. Storm's own default is 30 s. */
    readonly commitMs?: number;
    readonly maxUncommitted?: number;
    /** More properties of Kafka's consumer, such as those of TLS. */
    readonly properties?: Readonly<Record<string, string>>;
  },
): ComponentSpec<"spout", { readonly default: typeof kafkaFields }> {
  const { brokers, topics, group, parallelism = 1, commitMs = 1000, maxUncommitted = 10_000 } = options;
  return {
    kind: "spout",
    streams: { default: kafkaFields },
    parallelism,
    className: "org.apache.storm.kafka.spout.KafkaSpout",
    constructorArgs: [{ ref: `${name}-config` }],
    configMethods: [],
    beans: [
      {
        id: `${name}-builder`,
        className: "org.apache.storm.kafka.spout.KafkaSpoutConfig$Builder",
        constructorArgs: [brokers, topics],
        configMethods: [
          {
            name: "setProp",
            args: [
              {
                "key.deserializer": strings,
                "value.deserializer": strings,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "fetch.max.wait.ms": 10,
                // Kafka's own default reads records of transactions that were aborted.
                "isolation.level": "read_committed",
                ...options.properties,
              },
            ],
          },
          { name: "setOffsetCommitPeriodMs", args: [commitMs] },
          { name: "setFirstPollOffsetStrategy", args: ["UNCOMMITTED_EARLIEST"] },
          { name: "setMaxUncommittedOffsets", args: [maxUncommitted] },
        ],
      },
      {
        id: `${name}-config`,
        className: "org.apache.storm.kafka.spout.KafkaSpoutConfig",
        constructorArgs: [{ ref: `${name}-builder` }],
      },
    ],
  };
}

/** Storm's own Kafka bolt: tuples of the fields `key`, `message` and `topic` become records, acked when the brokers have them. */
export function kafkaBolt(
  name: string,
  {
    brokers,
    topic,
    parallelism = 1,
    properties: more = {},
  }: {
    readonly brokers: string;
    readonly topic: string;
    readonly parallelism?: number;
    /** More properties of Kafka's producer, such as those of TLS. */
    readonly properties?: Readonly<Record<string, string>>;
  },
): ComponentSpec<"bolt", Record<never, never>> {
  const strings = "org.apache.kafka.common.serialization.StringSerializer";
  const properties = {
    "bootstrap.servers": brokers,
    acks: "all",
    "linger.ms": "0",
    "key.serializer": strings,
    "value.serializer": strings,
    ...more,
  };
  return {
    kind: "bolt",
    streams: {},
    parallelism,
    className: "org.apache.storm.kafka.bolt.KafkaBolt",
    constructorArgs: [],
    configMethods: [
      { name: "withProducerProperties", args: [{ ref: `${name}-properties` }] },
      { name: "withTopicSelector", args: [{ ref: `${name}-topic` }] },
      { name: "withTupleToKafkaMapper", args: [{ ref: `${name}-mapper` }] },
    ],
    beans: [
      {
        id: `${name}-topic`,
        className: "org.apache.storm.kafka.bolt.selector.FieldNameTopicSelector",
        constructorArgs: ["topic", topic],
      },
      {
        id: `${name}-mapper`,
        className: "org.apache.storm.kafka.bolt.mapper.FieldNameBasedTupleToKafkaMapper",
        constructorArgs: ["key", "message"],
      },
      {
        id: `${name}-properties`,
        className: "java.util.Properties",
        configMethods: Object.entries(properties).map((entry) => ({ name: "put", args: entry })),
      },
    ],
  };
}

/**
 * A topology as code: components, and the streams between them. A component, a stream or a field that does not exist does
 * not compile.
 */
export class Topology<C extends Components> {
  readonly name: string;
  readonly components: C;
  readonly edges: readonly Edge[];
  readonly config: Readonly<Record<string, unknown>>;

  constructor(
    name: string,
    components: C,
    config: Readonly<Record<string, unknown>> = {},
    edges: readonly Edge[] = [],
  ) {
    if (!/^[\w.-]{1,100}$/.test(name)) {
      throw new WheelworkError("WW_CONFIG", `${JSON.stringify(name)} cannot be the name of a topology`, {
        next: "Use letters, digits, dots, dashes and underscores.",
      });
    }
    this.name = name;
    this.components = components;
    this.config = config;
    this.edges = edges;
  }

  /** The same with one more stream from one component to another. */
  connect<From extends keyof C & string, Stream extends keyof C[From]["streams"] & string>(
    from: From,
    stream: Stream,
    to: BoltNames<C>,
    grouping: Grouping<C[From]["streams"][Stream][number]>,
  ): Topology<C> {
    return new Topology(this.name, this.components, this.config, [
      ...this.edges,
      { from, stream, to, grouping },
    ]);
  }

  /** Some of its components, and the streams between them. */
  only<Name extends keyof C & string>(names: readonly Name[]): Topology<Pick<C, Name>> {
    const kept = new Set<string>(names);
    const components = Object.fromEntries(
      Object.entries(this.components).filter(([name]) => kept.has(name)),
    ) as Pick<C, Name>;
    const edges = this.edges.filter(({ from, to }) => kept.has(from) && kept.has(to));
    return new Topology(this.name, components, this.config, edges);
  }

  /** What Flux takes. @throws WheelworkError WW_CONFIG with every problem: bolts that nothing reaches. */
  flux(): string {
    const reached = new Set(this.edges.map(({ to }) => to));
    const problems = Object.entries(this.components)
      .filter(([name, { kind }]) => kind === "bolt" && !reached.has(name))
      .map(([name]) => ({ path: name, message: "nothing comes to this bolt" }));
    if (problems.length > 0)
      throw new WheelworkError("WW_CONFIG", `the topology ${this.name} is not complete`, { problems });
    const of = (wanted: "spout" | "bolt"): object[] =>
      Object.entries(this.components)
        .filter(([, { kind }]) => kind === wanted)
        .map(([id, { className, constructorArgs, configMethods, parallelism, tasks }]) => ({
          id,
          className,
          ...(constructorArgs.length === 0 ? {} : { constructorArgs }),
          ...(configMethods.length === 0 ? {} : { configMethods }),
          parallelism,
          ...(tasks === undefined ? {} : { numTasks: tasks }),
        }));
    const yaml = stringify(
      {
        name: this.name,
        components: Object.values(this.components).flatMap(({ beans }) => beans),
        config: this.config,
        spouts: of("spout"),
        bolts: of("bolt"),
        streams: this.edges.map(({ from, stream, to, grouping }) => ({
          from,
          to,
          grouping: {
            type: grouping.type.replaceAll("-", "_").toUpperCase(),
            streamId: stream,
            ...(grouping.type === "fields" ? { args: grouping.fields } : {}),
          },
        })),
      },
      (_key, value: unknown) => (typeof value === "string" && value.includes("${") ? quoted(value) : value),
      { aliasDuplicateObjects: false, lineWidth: 0 },
    );
    return yaml.replaceAll("${", "\\x24{");
  }

  /** The picture of the topology, for Graphviz. */
  dot(): string {
    const lines = [
      `digraph ${JSON.stringify(this.name)} {`,
      '  graph [rankdir=LR, pad=0.2, nodesep=0.4, bgcolor="#ffffff"];',
      // Verdana is a wide font: in others, texts get shorter and stay inside their boxes.
      '  node [fontname="Verdana", fontsize=12, fontcolor="#0f172a", margin="0.2,0.1", style=filled, fillcolor="#f8fafc", color="#475569"];',
      '  edge [fontname="Verdana", fontsize=10, fontcolor="#475569", color="#475569", arrowsize=0.7];',
    ];
    for (const [name, { kind, parallelism, tasks }] of Object.entries(this.components)) {
      const shape = kind === "spout" ? "house" : "box";
      const label = `${name}\\n${tasks ?? parallelism} task${(tasks ?? parallelism) === 1 ? "" : "s"}`;
      lines.push(`  ${JSON.stringify(name)} [shape=${shape}, label="${label}"];`);
    }
    for (const { from, stream, to, grouping } of this.edges) {
      const how = grouping.type === "fields" ? `fields(${grouping.fields.join(", ")})` : grouping.type;
      const label = stream === "default" ? how : `${stream}\\n${how}`;
      lines.push(`  ${JSON.stringify(from)} -> ${JSON.stringify(to)} [label="${label}"];`);
    }
    return `${[...lines, "}"].join("\n")}\n`;
  }
}

/** A topology whose components are not known to the compiler. */
export type AnyTopology = Pick<
  Topology<Components>,
  "name" | "components" | "config" | "edges" | "flux" | "dot"
>;

/** Flux replaces `${…}` in the lines of the file, before they are YAML: what Kafka's clients are to read is written otherwise. */
function quoted(text: string): Scalar {
  const scalar = new Scalar(text);
  scalar.type = "QUOTE_DOUBLE";
  return scalar;
}
