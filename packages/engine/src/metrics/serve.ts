import { WheelworkError } from "@wheelwork/core";
import { demandOptions, kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { isIP, type AddressInfo } from "node:net";
import type { Engine } from "../requests/api.ts";
import type { Metrics } from "./metrics.ts";

/** A server for monitoring. */
export interface MetricsServer {
  /** Such as `http://127.0.0.1:9464`. */
  readonly url: string;
  close(): Promise<void>;
}

/** Where figures are shown. */
export interface MetricsServerOptions {
  /** 0 takes any. */
  readonly port: number;
  /** Default: `127.0.0.1`, so that only this machine reaches it. */
  readonly host?: string;
}

const optionKinds: OptionKinds<MetricsServerOptions> = {
  port: required(kinds.port),
  host: kinds.text(255),
};

type Served = Pick<Engine, "health" | "stats">;

/**
 * Shows the figures of an engine at `/metrics`, and how it is at `/health` and `/ready` (503: it takes no requests). There is nothing
 * else: no data, and no commands. For programs without Northbound, such as a node of a cluster.
 * @throws WheelworkError WW_CONFIG with every problem of the options, or when the port cannot be opened.
 */
export async function serveMetrics(
  engine: Served,
  metrics: Pick<Metrics, "text">,
  options: MetricsServerOptions,
): Promise<MetricsServer> {
  const { port, host = "127.0.0.1" } = demandOptions<MetricsServerOptions>(
    options,
    optionKinds,
    "serveMetrics",
  );
  const isLocal = isLoopback(host);
  const server = createServer((request, response) => {
    answer(request, response, { engine, metrics, isLocal }).catch((error: unknown) => {
      reply(response, 500, "text/plain; charset=utf-8", `the figures could not be read: ${String(error)}\n`);
    });
  });
  server.requestTimeout = 10_000;
  await new Promise<void>((ready, reject) => {
    server.once("error", (error) => {
      const next = "Name another port, or 0 for any.";
      const message = `the figures cannot be shown at ${host}:${port}: ${error.message}`;
      reject(new WheelworkError("WW_CONFIG", message, { next, cause: error }));
    });
    server.listen({ port, host }, ready);
  });
  const address = server.address() as AddressInfo;
  return {
    url: `http://${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  { method, url = "/", headers }: IncomingMessage,
  response: ServerResponse,
  { engine, metrics, isLocal }: { engine: Served; metrics: Pick<Metrics, "text">; isLocal: boolean },
): Promise<void> {
  // A page of a browser on this machine may have any name lead here.
  if (isLocal && !isLoopback(nameOf(headers.host)))
    return reply(response, 421, "text/plain", "this server is for its own machine\n");
  if (method !== "GET" && method !== "HEAD") return reply(response, 405, "text/plain", "only GET\n");
  switch (url.split("?", 1)[0]) {
    case "/metrics":
      return reply(response, 200, "text/plain; version=0.0.4; charset=utf-8", await metrics.text(engine));
    case "/health":
      return reply(response, 200, "application/json", JSON.stringify(engine.health()));
    case "/ready": {
      const health = engine.health();
      return reply(response, health.ready ? 200 : 503, "application/json", JSON.stringify(health));
    }
    default:
      return reply(response, 404, "text/plain", "there are /metrics, /health and /ready\n");
  }
}

function reply(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff" });
  response.end(body);
}

/** The name in a header `Host`, without the port. */
const nameOf = (host = ""): string => host.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");

const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || (isIP(host) === 4 && host.startsWith("127."));
