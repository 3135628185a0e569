import { defineConfig } from "vitest/config";

/** Packages resolve to their TypeScript sources in development, never to a stale build. */
const conditions = ["wheelwork-source"];

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
    // Tests make many engines, and many failures on purpose.
    env: { WHEELWORK_LOG_LEVEL: "silent" },
    pool: "forks",
    maxWorkers: 2,
    // Whoever waits for something waits long: a machine that stands still for seconds fails no test, and what hangs does.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 30_000, interval: 20 } },
    execArgv: ["--disable-warning=ExperimentalWarning", "--conditions=wheelwork-source"],
  },
});
