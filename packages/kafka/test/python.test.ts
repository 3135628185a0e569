import { randomUUID } from "node:crypto";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { hub, end, spoke } from "@wheelwork/core";
import { externalWorker } from "@wheelwork/engine";
import { clusterTopics, createNode } from "@wheelwork/engine/cluster";
import { defaultCache } from "@wheelwork/services";
import { MemoryStore } from "@wheelwork/testing";
import { expect, test } from "vitest";
import * as z from "zod";
import { kafka } from "../src/index.ts";
import { canRun, startBroker } from "./broker.ts";

// `pip install --target .services/cache/python kafka-python` gets what it needs.
const modules = join(defaultCache, "python");
const python = { ...process.env, PYTHONPATH: modules };
const hasPython =
  existsSync(modules) &&
  spawnSync("python3", ["-c", "import kafka"], { env: python, stdio: "ignore" }).status === 0;

test.skipIf(!canRun || !hasPython)(
  "the worker in Python of docs/external-workers.md serves a spoke",
  async () => {
    const page = readFileSync(new URL("../../../docs/external-workers.md", import.meta.url), "utf8");
    const [, program = ""] = /```python\n([\s\S]*?)```/.exec(page) ?? [];
    const { broker, stop } = await startBroker();
    const log = kafka({ brokers: broker.brokers, sessionTimeoutMs: 2000 });
    const inbox = `inbox-${randomUUID()}`;
    const topics = clusterTopics({ shards: 1, inbox }).map(({ name, partitions = 1 }) => ({
      name,
      partitions,
    }));
    await log.ensureTopics([...topics, { name: "double-number", partitions: 2 }]);
    const worker = spawn("python3", ["-c", program], {
      env: { ...python, KAFKA_BROKERS: broker.brokers },
      stdio: ["ignore", "ignore", "pipe"],
    });
    let complaints = "";
    worker.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
    try {
      const double = spoke("double-number", {
        input: z.object({ n: z.number() }),
        output: z.object({ doubled: z.number() }),
        timeoutMs: 20_000,
      });
      const doubling = hub(
        "doubling",
        {
          request: z.object({ n: z.number() }),
          reply: z.object({ doubled: z.number() }),
          errors: ["failed"],
          deadlineMs: 25_000,
          chart: { Asking: { Done: "Told", Failed: "Lost" }, Told: end, Lost: end },
          data: (request) => ({ ...request, doubled: 0 }),
        },
        {
          Asking: (s) =>
            s.call(double, {
              input: ({ n }) => ({ n }),
              ok: (_data, { doubled }) => s.raise("Done", { doubled }),
              failed: "Failed",
              deadline: "Failed",
            }),
          Told: ({ doubled }) => ({ doubled }),
          Lost: (_data, s) => s.fail("failed", "no answer"),
        },
      );
      const store = new MemoryStore();
      const node = createNode({
        hubs: [doubling],
        workers: [externalWorker(double, { topic: "double-number" })],
        shards: 1,
        store: () => store.reopen(),
        log,
        inbox,
        group: inbox,
      });
      await node.start();
      await expect.poll(() => node.shards.length, { timeout: 120_000 }).toBe(1);
      const answers = await Promise.all([1, 2, 3].map((n) => node.call(doubling, { n })));
      expect(answers, complaints).toEqual(
        [2, 4, 6].map((doubled) => ({ kind: "result", value: { doubled } })),
      );
      await node.stop();
    } finally {
      worker.kill("SIGKILL");
      await log.close();
      await stop();
    }
  },
);
