import accepts from "@fastify/accepts";
import { WheelworkError, type AnyHub, type Problem, type RunEvent } from "@wheelwork/core";
import type { Engine, Logger } from "@wheelwork/engine";
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchemaValidationError,
} from "fastify";
import type { Socket } from "node:net";
import { prefersText } from "./headers.ts";
import { acceptOnlyJson } from "./json.ts";
import { serveDocument, type DocumentInfo } from "./openapi.ts";
import { HttpProblem, invalid, problemDetails, problemOf, retryAfter, textOfProblem } from "./problems.ts";
import { routeHealth, routeHub, routeRequests, type HubRoute, type Surroundings } from "./routes.ts";
import { Waits } from "./waits.ts";

/** What a Northbound needs. */
export interface NorthboundOptions {
  readonly engine: Engine;
  /** The hubs that are reached over HTTP, one route each. */
  readonly routes: readonly HubRoute[];
  /**
   * Adds routes of the application. They may throw WheelworkError and HttpProblem, and their schemas may name
   * `Problem#`. Fastify lists every problem of their queries and refuses nothing silently.
   */
  readonly extra?: (app: FastifyInstance) => void | Promise<void>;
  /** Draws the path of a run; without it `/requests/{id}/diagram.svg` is 501. */
  readonly diagram?: (hub: AnyHub, history: readonly RunEvent[]) => Promise<string>;
  /** Heads the document at `/openapi.json`. */
  readonly info?: DocumentInfo;
  /** Largest body, in bytes. Default 1 MiB. */
  readonly bodyLimit?: number;
  /** How long a POST waits for its answer unless the client prefers otherwise. Default 10 s. */
  readonly defaultWaitMs?: number;
  /** The longest wait that a client may prefer. Default 60 s. */
  readonly maxWaitMs?: number;
  /** When the server closes: how long connections may take to finish before they are cut. Default 5 s. */
  readonly closeWithinMs?: number;
  /** Default: none. */
  readonly logger?: Logger;
}

const silent: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

/**
 * Makes the REST side of an engine: `listen({ port, host })` opens it, and `close()` ends it, which answers those who
 * still wait with 202. Close it before the engine stops.
 * @throws WheelworkError WW_CONFIG with every problem: a hub that the engine does not serve, or that has two routes.
 */
export async function northbound(options: NorthboundOptions): Promise<FastifyInstance> {
  const { engine, routes, logger = silent, closeWithinMs = 5000 } = options;
  checkRoutes(engine, routes);
  const waits = new Waits();
  const around: Surroundings = {
    engine,
    waits,
    routes: new Map(routes.map((route) => [route.hub.name, route])),
    defaultWaitMs: options.defaultWaitMs ?? 10_000,
    maxWaitMs: options.maxWaitMs ?? 60_000,
    diagram: options.diagram,
  };
  const app = fastify({
    logger: false,
    bodyLimit: options.bodyLimit ?? 1_048_576,
    requestTimeout: 30_000,
    return503OnClosing: false,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 1024 },
    // Unknown fields are refused, not removed; texts become numbers only where a query needs them.
    ajv: { customOptions: { allErrors: true, removeAdditional: false, coerceTypes: true } },
    schemaErrorFormatter: (errors, part) =>
      invalid(`the ${partNames[part] ?? part}`, errors.map(problemOfAjv)),
    clientErrorHandler: answerNonsense,
    frameworkErrors: (error, _request, reply: FastifyReply) => {
      const { details } = problemOf(error);
      void reply.code(details.status).type("application/problem+json").send(details);
    },
  });
  await app.register(accepts);
  acceptOnlyJson(app);
  answerErrors(app, logger);
  refuseUnknownPaths(app);
  closeGently(app, waits, closeWithinMs);
  app.addHook("onResponse", (request, reply, done) => {
    const { method, url } = request;
    logger.debug(
      { method, url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
      "a request over HTTP",
    );
    done();
  });
  await serveDocument(app, options.info ?? { title: "Wheelwork", version: "1" });
  for (const route of routes) routeHub(app, route, around);
  routeRequests(app, around);
  routeHealth(app, engine);
  if (options.extra !== undefined) await options.extra(app);
  await app.ready();
  return app;
}

function checkRoutes(engine: Engine, routes: readonly HubRoute[]): void {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const { path, hub } of routes) {
    if (!engine.hubs.has(hub.name))
      problems.push({ path, message: `the engine does not serve the hub ${hub.name}` });
    // Its answers are asked for by request id alone, so they must look the same whoever asks.
    if (seen.has(hub.name)) problems.push({ path, message: `the hub ${hub.name} has a route already` });
    seen.add(hub.name);
  }
  if (problems.length > 0) {
    throw new WheelworkError("WW_CONFIG", "the routes cannot be used", {
      problems,
      next: "Give each route a hub of its own that the engine serves.",
    });
  }
}

const partNames: Readonly<Record<string, string>> = { params: "path", querystring: "query" };

function problemOfAjv({ instancePath, keyword, params, message }: FastifySchemaValidationError): Problem {
  const path = instancePath.slice(1).replaceAll("/", ".");
  const inside = (name: unknown): string => (path === "" ? String(name) : `${path}.${String(name)}`);
  switch (keyword) {
    case "additionalProperties":
      return { path: inside(params["additionalProperty"]), message: "is not known" };
    case "required":
      return { path: inside(params["missingProperty"]), message: "is missing" };
    case "enum":
      return { path, message: `must be one of ${(params["allowedValues"] as unknown[]).join(", ")}` };
    default:
      return { path, message: message ?? "is not valid" };
  }
}

const statusOfNonsense: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 408,
  HPE_HEADER_OVERFLOW: 431,
};

/** Answers what is not HTTP, or not in time, before there is a request. */
function answerNonsense(error: { readonly code: string }, socket: Socket): void {
  if (socket.writable && error.code !== "ECONNRESET") {
    const status = statusOfNonsense[error.code] ?? 400;
    const details = problemDetails(status, "WW_INVALID_REQUEST", "this is no HTTP request that can be read");
    const body = JSON.stringify(details);
    socket.write(
      `HTTP/1.1 ${status} ${details.title}\r\nContent-Type: application/problem+json\r\n` +
        `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
  }
  socket.destroySoon();
}

function answerErrors(app: FastifyInstance, logger: Logger): void {
  app.setErrorHandler((error, request: FastifyRequest, reply: FastifyReply) => {
    const { details, headers, defect } = problemOf(error);
    if (defect)
      logger.error({ err: error, method: request.method, url: request.url }, "a request over HTTP failed");
    reply.code(details.status).headers({ vary: "Accept", ...headers });
    if (prefersText(request)) return reply.type("text/plain; charset=utf-8").send(textOfProblem(details));
    return reply.type("application/problem+json").send(details);
  });
}

/** 404, or 405 where the path has other methods. Before the body is read: it is nobody's. */
function refuseUnknownPaths(app: FastifyInstance): void {
  const patterns = new Map<string, Set<string>>();
  app.addHook("onRoute", ({ url, method }) => {
    const methods = patterns.get(url) ?? new Set();
    patterns.set(url, methods);
    for (const name of [method].flat()) methods.add(name);
  });
  app.addHook("onRequest", (request, _reply, done) => {
    if (!request.is404) return done();
    const [path = ""] = request.url.split("?", 1);
    const allowed = [...patterns]
      .filter(([pattern]) => matches(pattern, path))
      .flatMap(([, methods]) => [...methods]);
    if (allowed.length === 0) {
      return done(new HttpProblem(problemDetails(404, "WW_NOT_FOUND", `there is nothing at ${path}`)));
    }
    const detail = `${path} does not take ${request.method}`;
    done(
      new HttpProblem(problemDetails(405, "WW_METHOD_NOT_ALLOWED", detail), { allow: allowed.join(", ") }),
    );
  });
}

function matches(pattern: string, path: string): boolean {
  const parts = path.split("/");
  const expected = pattern.split("/");
  return (
    parts.length === expected.length &&
    expected.every((part, at) => part.startsWith(":") || part === parts[at])
  );
}

/**
 * Closing ends within a limit, whatever clients do: waits are given up, connections close after their reply, and what
 * is still open then is cut.
 */
function closeGently(app: FastifyInstance, waits: Waits, withinMs: number): void {
  app.addHook("onRequest", (_request, _reply, done) => {
    if (!waits.closed) return done();
    done(
      new HttpProblem(problemDetails(503, "WW_STOPPING", "the server is stopping"), {
        "retry-after": retryAfter,
      }),
    );
  });
  app.addHook("onSend", (_request, reply, _payload, done) => {
    if (waits.closed) reply.header("connection", "close");
    done();
  });
  app.addHook("preClose", (done) => {
    waits.close();
    setTimeout(() => app.server.closeAllConnections(), withinMs).unref();
    done();
  });
}
