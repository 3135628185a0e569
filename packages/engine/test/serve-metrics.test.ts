import { createEngine, createMetrics, serveMetrics, silentLogger } from "@wheelwork/engine";
import { MemoryStore } from "@wheelwork/testing";
import { request } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { counting } from "./stored-engine.ts";

/** Sends a request whose `Host` is another name. */
const asking = (url: string, host: string): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    request(`${url}/metrics`, { headers: { host } }, (response) => {
      response.resume();
      resolve(response.statusCode);
    })
      .on("error", reject)
      .end();
  });

test("a program without Northbound shows its figures and how it is, and nothing else", async () => {
  const metrics = createMetrics();
  const engine = createEngine({
    hubs: [counting],
    workers: [],
    store: new MemoryStore(),
    logger: silentLogger,
    observe: metrics.observe,
  });
  const server = await serveMetrics(engine, metrics, { port: 0 });
  onTestFinished(() => server.close());
  expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  const get = async (path: string, method = "GET") => {
    const response = await fetch(`${server.url}${path}`, { method });
    return [response.status, await response.text()] as const;
  };
  expect((await get("/ready"))[0]).toBe(503);
  await engine.start();
  await engine.call(counting, { n: 2 });
  expect((await get("/ready"))[0]).toBe(200);
  expect(JSON.parse((await get("/health"))[1])).toMatchObject({ ready: true, status: "running" });
  const [status, text] = await get("/metrics?from=prometheus");
  expect(status).toBe(200);
  expect(text).toContain('wheelwork_requests_total{hub="counting",outcome="accepted"} 1');
  expect((await get("/requests"))[0]).toBe(404);
  expect((await get("/metrics", "POST"))[0]).toBe(405);
  expect(await asking(server.url, "localhost:80")).toBe(200);
  expect(await asking(server.url, "evil.example")).toBe(421);
  await engine.stop();
  expect((await get("/ready"))[0]).toBe(503);
  await expect(serveMetrics(engine, metrics, { port: Number(new URL(server.url).port) })).rejects.toThrow(
    /WW_CONFIG: the figures cannot be shown at .*\n {2}Name another port/,
  );
});

test("a store that is away leaves the other figures", async () => {
  class Away extends MemoryStore {
    sizeBytes(): Promise<number> {
      return Promise.reject(new Error("the server is away"));
    }
  }
  const metrics = createMetrics();
  const engine = createEngine({ hubs: [counting], workers: [], store: new Away(), logger: silentLogger });
  await engine.start();
  onTestFinished(() => engine.stop());
  const text = await metrics.text(engine);
  expect(text).toContain("wheelwork_queue_length");
  expect(text).not.toContain("wheelwork_store_size_bytes");
});
