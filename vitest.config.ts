import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** Packages resolve to their TypeScript sources in development, never to a stale build. */
const conditions = ["wheelwork-source"];

/**
 * The files that take longest, the longest first. What starts last runs alone, so it must be short. Files that wait for
 * servers take turns with files that only compute.
 */
const slowest = [
  "examples/flow-crud/test/storm/storm.test.ts",
  "simulation/test/simulate.test.ts",
  "examples/flow-crud/test/processes/storm.test.ts",
  "simulation/test/cluster.test.ts",
  "examples/flow-crud/test/cluster/cluster.test.ts",
  "simulation/test/crash-points.test.ts",
  "examples/flow-crud/test/processes/cluster.test.ts",
  "simulation/test/storm.test.ts",
  "packages/storm/test/parts.test.ts",
  "test/turns/turns.test.ts",
  "examples/flow-crud/test/controller/store.test.ts",
  "examples/flow-crud/test/controller/chaos.test.ts",
  "examples/flow-crud/test/cluster/seed-programs.test.ts",
  "packages/kafka/test/secure.test.ts",
  "services/test/services.test.ts",
  "packages/kafka/test/kafka.test.ts",
  "examples/flow-crud/test/rest/schemathesis.test.ts",
  "examples/flow-crud/test/speaker/speaker.test.ts",
];

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const place = slowest.findIndex((file) => moduleId.endsWith(file));
      return place < 0 ? slowest.length : place;
    };
    // oxlint-disable-next-line unicorn/no-array-sort -- this one returns another list
    const known = await super.sort(files);
    return known.toSorted((one, other) => rank(one) - rank(other));
  }
}

// The tests start hundreds of processes from the sources. Node compiles each source once, and keeps it here. Vitest's own
// processes inherit it.
process.env["NODE_COMPILE_CACHE"] ??= join(import.meta.dirname, "node_modules/.cache/node-compile");

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: [
      "packages/*/test/**/*.test.ts",
      "examples/*/test/**/*.test.ts",
      "test/**/*.test.ts",
      "simulation/test/**/*.test.ts",
      "services/test/**/*.test.ts",
    ],
    env: {
      // Tests make many engines, and many failures on purpose.
      WHEELWORK_LOG_LEVEL: "silent",
      // A server of a test lives for a minute: code that runs at once is worth more to it than code that runs fast.
      JAVA_TOOL_OPTIONS: "-XX:TieredStopAtLevel=1",
    },
    pool: "forks",
    maxWorkers: 2,
    sequence: { sequencer: SlowestFirst },
    // Whoever waits for something waits long: a machine that stands still for seconds fails no test, and what hangs does.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    expect: { poll: { timeout: 120_000, interval: 20 } },
    execArgv: ["--disable-warning=ExperimentalWarning", "--conditions=wheelwork-source"],
  },
});
