// Which part of the repository may import which: the table below is the one place that says so. `npm run layers` writes it
// into .oxlintrc.json as lint rules; test/walls.test.ts shows that the file is fresh, and that each wall holds.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as prettier from "prettier";

/** Files, and what they may import. A `*` at the end of a name stands for anything. */
export interface Layer {
  readonly files: readonly string[];
  /** The packages that they may import, third parties included. */
  readonly only?: readonly string[];
  /** The packages of this repository that they may import; those of third parties are the business of package.json. */
  readonly ours?: readonly string[];
  /** Those of them that they may import for their types alone: the values of the engine bring SQLite along. */
  readonly types?: readonly string[];
  /** What they may import by a path that begins with `../`; absent: anything within their package. */
  readonly above?: readonly string[];
  /** What they may import by a path that begins with `./`; absent: anything. */
  readonly beside?: readonly string[];
  /** Names that they may not import from `../ports/ports.ts`. */
  readonly withoutPorts?: readonly string[];
  readonly message: string;
  /** Globals that they may not use, and why. */
  readonly globals?: Readonly<Record<string, string>>;
  /** Rules that are not about imports. */
  readonly rules?: Readonly<Record<string, unknown>>;
}

const core = "@wheelwork/core";
const kernel = "@wheelwork/core/kernel";
const engine = "@wheelwork/engine";
const cluster = "@wheelwork/engine/cluster";
const parts = "@wheelwork/engine/parts";
const stores = "@wheelwork/engine/stores";
const tls = "@wheelwork/engine/tls";

// ---- the core ----

const noTime = "The core has no clock and no randomness: take the time or the number as an argument.";

const coreLayer: Layer = {
  files: ["packages/core/src/**"],
  only: ["@standard-schema/spec"],
  types: ["@standard-schema/spec"],
  message: "The core imports only its own files and the types of @standard-schema/spec.",
  globals: {
    Date: noTime,
    performance: noTime,
    crypto: noTime,
    Temporal: noTime,
    setTimeout: noTime,
    setInterval: noTime,
    setImmediate: noTime,
    queueMicrotask: noTime,
    process: "The core knows no process.",
    console: "The core does no I/O.",
  },
  rules: {
    "no-restricted-properties": [
      "error",
      {
        object: "Math",
        property: "random",
        message: "The core has no randomness: take the number as an argument.",
      },
    ],
  },
};

// ---- the rooms of the engine ----

const ofEngine = [core, kernel, "node:*", "croner"];

/** The rooms of packages/engine/src, each with the rooms that it may import. Imports go down only. */
export const rooms: Readonly<Record<string, readonly string[]>> = {
  ports: [],
  stores: ["ports"],
  attempts: ["ports"],
  shard: ["ports", "attempts"],
  schedules: ["ports"],
  requests: ["ports", "attempts", "shard", "schedules"],
  delivery: ["ports", "attempts", "shard", "requests"],
  metrics: ["ports", "requests"],
  embedded: ["ports", "attempts", "shard", "requests", "delivery", "schedules"],
  cluster: ["ports", "attempts", "shard", "requests", "delivery", "schedules"],
};

/** A room, or some files of one, which may import these rooms. */
const room = (files: readonly string[], may: readonly string[], message: string): Layer => ({
  files: files.map((file) => `packages/engine/src/${file}`),
  only: ofEngine,
  above: may.map((name) => `${name}/*`),
  message,
});

const engineRooms = Object.entries(rooms).map(([name, may]) => {
  const list = may.length === 0 ? "no other room" : may.join(", ");
  return room([`${name}/**`], may, `Imports go down only: ${name} may import ${list}.`);
});

const noTimer = "What decides has no clock and no timer: take the time as an argument.";

const withoutTime: Readonly<Record<string, string>> = {
  Date: noTimer,
  performance: noTimer,
  setTimeout: noTimer,
  setInterval: noTimer,
  setImmediate: noTimer,
  queueMicrotask: noTimer,
};

const engineLayers: readonly Layer[] = [
  {
    files: ["packages/engine/src/**"],
    only: ofEngine,
    message: "The engine imports only @wheelwork/core, node: and croner.",
  },
  {
    files: ["packages/engine/src/parts.ts"],
    only: ofEngine,
    beside: ["ports/*", "attempts/*", "shard/*", "schedules/*", "requests/*", "delivery/*", "metrics/*"],
    message: "The parts that other engines are made of are of no engine, and bring no store along.",
  },
  ...engineRooms,
  room(
    ["embedded/engine.ts", "embedded/stored.ts"],
    [...(rooms["embedded"] ?? []), "stores"],
    "Of all engines only the embedded one brings SQLite along.",
  ),
  {
    ...room(
      [
        "batch",
        "carried",
        "decider",
        "deciding",
        "intake",
        "items",
        "lane-keeper",
        "lanes",
        "line",
        "pace",
        "recorder",
        "records",
        "retention",
      ].map((name) => `shard/${name}.ts`),
      ["ports"],
      "What decides is synchronous, and knows neither store, timer nor worker.",
    ),
    only: [core, kernel],
    above: [
      "ports/calls.ts",
      "ports/damage.ts",
      "ports/keys.ts",
      "ports/ports.ts",
      "ports/posts.ts",
      "ports/trace.ts",
    ],
    beside: [
      "batch.ts",
      "carried.ts",
      "deadlines.ts",
      "deciding.ts",
      "items.ts",
      "lane-keeper.ts",
      "lanes.ts",
      "line.ts",
      "listed.ts",
      "log-progress.ts",
      "outbox.ts",
      "pace.ts",
      "recorder.ts",
      "records.ts",
      "retention.ts",
      "residency.ts",
    ],
    withoutPorts: ["Bus", "Clock", "MaybePromise", "Store"],
    globals: withoutTime,
  },
];

// ---- the other packages ----

const layersOfPackages: readonly Layer[] = [
  {
    files: ["packages/postgres/src/**"],
    ours: [core, kernel, engine, stores, tls],
    types: [engine],
    message: "The PostgreSQL store knows the port and the stored form, and nothing else of the engine.",
  },
  {
    files: ["packages/kafka/src/**"],
    ours: [core, kernel, engine, cluster, parts, tls],
    types: [engine],
    message: "The Kafka adapter knows only @wheelwork/core and @wheelwork/engine.",
  },
  {
    files: ["packages/storm/src/**"],
    ours: [core, kernel, engine, cluster, parts, "@wheelwork/kafka", "@wheelwork/postgres"],
    types: [engine],
    message: "Storm knows the parts of an engine, Kafka and PostgreSQL; no other engine, and no tool.",
  },
  {
    files: ["packages/storm/src/multilang/**"],
    ours: [],
    above: [],
    message: "The client of Storm's protocol is useful by itself: it knows nothing of Wheelwork.",
  },
  {
    files: ["packages/storm/src/cluster/**", "packages/storm/src/topology.ts"],
    ours: [core],
    above: [],
    message: "Topologies and Nimbus are useful by themselves: of Wheelwork they know its errors alone.",
  },
  {
    files: ["packages/testing/src/**"],
    ours: [core, kernel, engine, cluster, stores],
    message: "The test kit knows only @wheelwork/core and @wheelwork/engine.",
  },
  {
    files: ["packages/diagram/src/**"],
    ours: [core],
    message: "The diagram package knows only @wheelwork/core.",
  },
  {
    files: ["packages/opentelemetry/src/**"],
    ours: [core, kernel, engine],
    message: "The package for OpenTelemetry knows only @wheelwork/core and @wheelwork/engine.",
  },
  {
    files: ["packages/openflow/src/**"],
    only: ["node:*"],
    message: "The speaker of OpenFlow is useful by itself: it imports nothing but Node.",
  },
  {
    files: [
      "packages/openflow/src/codec/**",
      "packages/openflow/src/session/**",
      "packages/openflow/src/framer.ts",
    ],
    only: [],
    message: "The codec and the session of OpenFlow import nothing: bytes and the time go in and come out.",
    globals: withoutTime,
  },
  {
    files: ["packages/northbound/src/**"],
    ours: [core, kernel, engine],
    message: "The northbound knows only @wheelwork/core and @wheelwork/engine.",
  },
  {
    files: ["packages/client/src/**"],
    only: ["openapi-fetch"],
    message: "The client works in a browser: it knows the document of a server, and nothing of Wheelwork.",
  },
  {
    files: ["packages/wheelwork/src/**"],
    ours: [core, engine, cluster],
    message: "wheelwork re-exports @wheelwork/core and @wheelwork/engine only.",
  },
  {
    files: ["packages/wheelwork/src/cli/**"],
    ours: [
      core,
      engine,
      cluster,
      parts,
      tls,
      "@wheelwork/client/sse",
      "@wheelwork/kafka",
      "@wheelwork/northbound",
      "@wheelwork/northbound/tokens",
      "@wheelwork/postgres",
      "@wheelwork/storm",
      "@wheelwork/storm/*",
    ],
    message:
      "The command line knows the library, the adapters of a cluster and of Storm, and the tokens of a server.",
  },
  {
    files: ["examples/**"],
    ours: [
      "wheelwork",
      "wheelwork/*",
      "@wheelwork/client",
      "@wheelwork/diagram",
      "@wheelwork/kafka",
      "@wheelwork/northbound",
      "@wheelwork/openflow",
      "@wheelwork/opentelemetry",
      "@wheelwork/postgres",
      "@wheelwork/services",
      "@wheelwork/storm",
      "@wheelwork/storm/*",
      "@wheelwork/testing",
    ],
    message:
      "Examples import what users import: wheelwork, its adapters and its tools, by their public names.",
  },
  {
    files: ["simulation/src/**"],
    ours: [core, engine, cluster, "@wheelwork/testing", "@wheelwork/example-flow-crud/simulation"],
    message: "What is simulated knows the library, the simulator and the example; no adapter.",
  },
  {
    files: ["simulation/src/storm/**"],
    ours: [
      core,
      engine,
      cluster,
      "@wheelwork/storm",
      "@wheelwork/storm/*",
      "@wheelwork/testing",
      "@wheelwork/testing/simulator",
    ],
    types: ["@wheelwork/storm"],
    message: "The simulated Storm knows its parts, and what worlds are made of; no other adapter.",
  },
  {
    files: ["services/src/**"],
    ours: [core],
    message: "The services are below all that uses them: of Wheelwork they know its errors alone.",
  },
  {
    files: ["bench/src/**"],
    ours: [
      core,
      kernel,
      engine,
      cluster,
      parts,
      "@wheelwork/kafka",
      "@wheelwork/northbound",
      "@wheelwork/openflow",
      "@wheelwork/postgres",
      "@wheelwork/services",
      "@wheelwork/storm",
      "@wheelwork/storm/*",
    ],
    message: "Benchmarks measure the library and its adapters: no test kit, and no example.",
  },
];

export const layers: readonly Layer[] = [coreLayer, ...engineLayers, ...layersOfPackages];

// ---- lint rules ----

/**
 * A pattern for all texts that are none of these. The linter's patterns cannot look ahead, so that it goes by the letters: one
 * that is another than all that may come, or the end where it may not be.
 */
export function otherThan(texts: readonly string[]): string | undefined {
  if (texts.includes("*")) return undefined;
  const byLetter = Map.groupBy(
    texts.filter((text) => text !== ""),
    (text) => text.charAt(0),
  );
  const letters = [...byLetter.keys()].toSorted();
  const refused = letters.flatMap((letter) => {
    const rest = otherThan((byLetter.get(letter) ?? []).map((text) => text.slice(1)));
    return rest === undefined ? [] : [escaped(letter) + rest];
  });
  refused.unshift(letters.length === 0 ? "." : `[^${letters.map(escaped).join("")}]`);
  if (!texts.includes("")) refused.push("$");
  return refused.length === 1 ? refused[0] : `(?:${refused.join("|")})`;
}

const escaped = (letter: string): string => (/[a-z\d@:]/i.test(letter) ? letter : `\\${letter}`);

/** What comes after a beginning may only be one of these. */
function after(beginning: string, texts: readonly string[], message: string): object[] {
  const refused = otherThan(texts);
  return refused === undefined ? [] : [{ regex: `^${beginning}${refused}`, message }];
}

/** Those texts that have a beginning, without it. */
const without = (beginning: string, texts: readonly string[]): string[] =>
  texts.filter((text) => text.startsWith(beginning)).map((text) => text.slice(beginning.length));

const forAll = [
  {
    regex: "^(?:\\.\\./)+[^./][^/]*/(?:.*/)?(?:src|dist|test)(?:/|$)",
    message: "Packages import each other by name, never by path.",
  },
  {
    regex: "^@?wheelwork(?:/[^/]+)?/(?:src|dist|test)(?:/|$)",
    message: "Import the package by its name, not a file of it.",
  },
  {
    regex: "^\\.\\.?/(?:.*/)?[^./][^/]*/\\.\\./|^\\./(?:\\./)*\\.\\./",
    message: "Say the path in its shortest form.",
  },
];

function patternsOf({ only, ours, types = [], above, beside, withoutPorts, message }: Layer): object[] {
  return [
    ...forAll,
    ...(only === undefined ? [] : after("", [".*", ...only], message)),
    ...(ours === undefined
      ? []
      : [
          ...after("@wheelwork/", without("@wheelwork/", ours), message),
          ...after("wheelwork", ["-*", ...without("wheelwork", ours)], message),
        ]),
    ...types.map((name) => ({
      regex: `^${name}$`,
      allowTypeImports: true,
      message: `Only types may be imported from ${name}: use \`import type\`.`,
    })),
    ...(above === undefined ? [] : after("\\.\\./", above, message)),
    ...(beside === undefined ? [] : after("\\./", beside, message)),
    ...(withoutPorts === undefined ? [] : [{ regex: "^\\.\\./ports/", importNames: withoutPorts, message }]),
  ];
}

const imports = (patterns: object[]): unknown[] => ["error", { patterns }];

function overrideOf(layer: Layer): object {
  const { files, globals, rules } = layer;
  const named = Object.entries(globals ?? {}).map(([name, message]) => ({ name, message }));
  return {
    files,
    rules: {
      "no-restricted-imports": imports(patternsOf(layer)),
      ...(named.length === 0
        ? {}
        : { "no-restricted-globals": ["error", { globals: named, checkGlobalObject: true }] }),
      ...rules,
    },
  };
}

const file = join(fileURLToPath(new URL("..", import.meta.url)), ".oxlintrc.json");

/** The linter's configuration as it is, with the rules of the table. All else in it is edited by hand. */
export async function configuration(): Promise<{ readonly fresh: string; readonly present: string }> {
  const present = readFileSync(file, "utf8");
  const config = JSON.parse(present) as { rules: object };
  const rules = { ...config.rules, "no-restricted-imports": imports(forAll) };
  const text = JSON.stringify({ ...config, rules, overrides: layers.map(overrideOf) }, null, 2);
  const fresh = await prettier.format(text, { ...(await prettier.resolveConfig(file)), parser: "json" });
  return { fresh, present };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(file, (await configuration()).fresh);
