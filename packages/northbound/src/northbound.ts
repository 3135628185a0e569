import accepts from "@fastify/accepts";
import { WheelworkError, type AnyHub, type Problem, type HistoryEvent } from "@wheelwork/core";
import { demandOptions } from "@wheelwork/core/kernel";
import {
  connectionAccepted,
  defaultLogger,
  guardedLogger,
  type Engine,
  type Logger,
  type Metrics,
} from "@wheelwork/engine";
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifySchemaValidationError,
} from "fastify";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { callerOf } from "./access/gate.ts";
import { routeAudit } from "./audit.ts";
import { routeBulks } from "./bulks.ts";
import { boundBuffers, Pipelines } from "./buffers.ts";
import { routeEvents } from "./events.ts";
import { FormerKeys } from "./former-keys.ts";
import { prefersText } from "./headers.ts";
import { boundConnections, checkEveryMs, headTimeoutMs } from "./connections.ts";
import { acceptOnlyJson } from "./json.ts";
import { northboundOptions } from "./option-tables.ts";
import { serveDocument, type DocumentInfo } from "./openapi.ts";
import { routeFilters } from "./filters.ts";
import { routeIncidents } from "./incidents.ts";
import { Refusals, routeRefusals } from "./refusals.ts";
import { documentedKeyword } from "./parameters.ts";
import { timeKeyword } from "./times.ts";
import { HttpProblem, invalid, problemDetails, problemOf, retryAfter, textOfProblem } from "./problems.ts";
import { routeHealth, routeHub, routeRequests, type HubRoute, type Surroundings } from "./routes.ts";
import { routeSchedules } from "./schedules.ts";
import { routeDeadLetters, routeLanes, routeShards } from "./inside.ts";
import { routeHubs } from "./hubs.ts";
import { routeMetrics } from "./metrics.ts";
import { routeUpdates } from "./updates.ts";
import { routeWhatIf } from "./what-if.ts";
import { Waits } from "./waits.ts";
import { guard, safeHeaders, type ProtectOptions } from "./protect.ts";
import { boundRates, countUnknown, type RateLimit } from "./rates.ts";
import { reloadFiles, secureServer, type TlsOptions } from "./tls.ts";
import { refuseFormPosts } from "./web-pages.ts";

/** The options of `northbound`. */
export interface NorthboundOptions extends ProtectOptions {
  /** A started engine, or a node or client of a cluster. */
  readonly engine: Engine;
  /** The hubs that clients reach over HTTP, one route for each. */
  readonly routes: readonly HubRoute[];
  /**
   * Adds your own routes. They may throw WheelworkError and HttpProblem, and their schemas may refer to `Problem#`. An
   * input that does not match a schema is refused with every problem. A POST needs a JSON content type or an
   * `Idempotency-Key`, like all others, or the header that `{ config: { nameHeader: "correlation_id" } }` names. With `access`, each of them says what it needs: `{ config: { permission: "read" } }`.
   */
  readonly extra?: (app: FastifyInstance) => void | Promise<void>;
  /**
   * Whether a request whose `Idempotency-Key` came to a version before 0.1.0 is found, when it comes again. The server looks once
   * whether the engine has such requests: in an embedded engine after its first request with a key, in a cluster an hour later. Until
   * then, and if there is one, each request with a key costs a look-up. Default: true.
   */
  readonly acceptFormerKeys?: boolean;
  /** Draws the path of a run. Default: none, so that `/requests/{id}/diagram.svg` is 501. */
  readonly diagram?: (hub: AnyHub, history: readonly HistoryEvent[]) => Promise<string>;
  /** Title and version of the document at `/openapi.json`. */
  readonly info?: DocumentInfo;
  /** Largest body, in bytes. Default: 1 MiB. */
  readonly bodyLimit?: number;
  /**
   * How many bytes the bodies that are coming in may have together, and how many the replies that clients have not read yet.
   * Beyond it, bodies are refused with 503, and the connections of the oldest replies are cut. Default: 64 MiB.
   */
  readonly maxBufferedBytes?: number;
  /**
   * How many requests each caller may send, or each address where nobody is asked: beyond it, 429 WW_RATE_LIMITED. Default: none,
   * since an engine refuses what is too much for it.
   */
  readonly rateLimit?: RateLimit;
  /**
   * How many connections there may be. One more takes the place of the one that has waited longest for its client. Default:
   * 10,000.
   */
  readonly maxConnections?: number;
  /**
   * Addresses of proxies whose `X-Forwarded-For` says where a request comes from, for the limits of addresses. Default: none.
   */
  readonly trustProxy?: readonly string[];
  /** Speak TLS. Default: HTTP. */
  readonly tls?: TlsOptions;
  /** How long a POST waits for its answer if the client asks for no other time, in milliseconds. Default: 10,000. */
  readonly defaultWaitMs?: number;
  /** The longest wait that a client is granted, in milliseconds. Default: 60,000. */
  readonly maxWaitMs?: number;
  /**
   * A new request that would wait for longer than this until the engine begins it is refused at once, with 503 and
   * `Retry-After`; in milliseconds. Default: 500.
   */
  readonly beginWithinMs?: number;
  /**
   * How long open connections may take to finish when the server closes, in milliseconds. Then they are cut. Default:
   * 5000.
   */
  readonly closeWithinMs?: number;
  /** The figures of the engine, shown at `/metrics` for Prometheus. Default: none, and no such path. */
  readonly metrics?: Pick<Metrics, "text">;
}

/**
 * Makes a REST server for an engine: requests in, one answer out. `listen({ port, host })` opens it. `close()` ends it,
 * and answers clients that still wait with 202. Close it before you stop the engine.
 * @throws WheelworkError WW_CONFIG with every problem: a hub that the engine does not serve, or that has two routes.
 */
export async function northbound(given: NorthboundOptions): Promise<FastifyInstance> {
  const options = demandOptions<NorthboundOptions>(given, northboundOptions, "northbound");
  const { engine, routes, closeWithinMs = 5000 } = options;
  const logger = guardedLogger(options.logger ?? defaultLogger());
  checkRoutes(engine, routes);
  const waits = new Waits();
  const around: Surroundings = {
    engine,
    waits,
    routes: new Map(routes.map((route) => [route.hub.name, route])),
    defaultWaitMs: options.defaultWaitMs ?? 10_000,
    maxWaitMs: options.maxWaitMs ?? 60_000,
    formerKeys: new FormerKeys(engine, options.acceptFormerKeys ?? true),
    beginWithinMs: options.beginWithinMs ?? 500,
    diagram: options.diagram,
  };
  const { bodyLimit = 1_048_576, maxBufferedBytes: maxBytes = 67_108_864 } = options;
  checkCertificates(options);
  const secure =
    options.tls === undefined ? undefined : secureServer(options.tls, { requestTimeout: requestTimeoutMs });
  const refusals = new Refusals();
  const app = fastify({
    logger: false,
    bodyLimit,
    requestTimeout: requestTimeoutMs,
    // The address that `listen` returns begins with https.
    ...(secure === undefined ? {} : { serverFactory: secure, https: {} as never }),
    http: { headersTimeout: headTimeoutMs, connectionsCheckingInterval: checkEveryMs },
    trustProxy: options.trustProxy === undefined ? false : [...options.trustProxy],
    return503OnClosing: false,
    forceCloseConnections: "idle",
    routerOptions: { maxParamLength: 10_000 },
    // Unknown fields are refused, not removed. Strings become numbers, since a query has only strings.
    ajv: {
      customOptions: {
        allErrors: true,
        removeAdditional: false,
        coerceTypes: true,
        keywords: [documentedKeyword, timeKeyword],
      },
    },
    schemaErrorFormatter: (errors, part) =>
      invalid(`the ${partNames[part] ?? part}`, errors.map(problemOfAjv)),
    clientErrorHandler: answerNonsense,
    // Fastify calls no hooks for these requests.
    frameworkErrors: (error, request, reply: FastifyReply) => {
      const { details } = problemOf(refusal(request as FastifyRequest) ?? error);
      refusals.note(request as FastifyRequest, pathOf(request as FastifyRequest), details);
      void reply
        .code(details.status)
        .headers(safeHeaders)
        .type("application/problem+json")
        .send(JSON.stringify(details));
    },
  });
  await app.register(accepts);
  acceptOnlyJson(app);
  answerErrors(app, logger, refusals);
  const { count } = await countUnknown(app);
  const pipelines = new Pipelines(app);
  const { refusal, gate } = guard(app, options, {
    hubOf: async (id) => (await engine.request(id)).hub,
    hubsOfBulk: async (id) => [(await engine.bulk(id).view()).filter.hub ?? []].flat(),
    countUnknown: count,
    isSecure: options.tls !== undefined,
  });
  if (options.rateLimit !== undefined) boundRates(app, options.rateLimit);
  refuseUnknownPaths(app);
  refuseFormPosts(app);
  boundBuffers(app, logger, { maxBytes, bodyLimit, pipelines });
  closeGently(app, waits, closeWithinMs);
  app.addHook("onResponse", (request, reply, done) => {
    const { method } = request;
    logger.debug(
      {
        method,
        path: pathOf(request),
        by: callerOf(request).name,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      "a request over HTTP",
    );
    done();
  });
  await serveDocument(app, options.info ?? { title: "Wheelwork", version: "1" }, !gate.isOpen);
  for (const route of routes) routeHub(app, route, around);
  routeFilters(app, engine);
  routeIncidents(app, engine);
  routeRequests(app, around);
  routeUpdates(app, engine, waits);
  routeEvents(app, engine, waits);
  routeWhatIf(app, engine);
  routeBulks(app, engine);
  routeSchedules(app, engine);
  routeHubs(app, around);
  routeLanes(app, engine);
  routeShards(app, engine);
  routeDeadLetters(app, engine);
  routeAudit(app, engine);
  routeRefusals(app, refusals);
  routeHealth(app, engine);
  if (options.metrics !== undefined) routeMetrics(app, engine, options.metrics);
  gate.ownRoutesFollow();
  if (options.extra !== undefined) await options.extra(app);
  if (options.tls !== undefined) reloadFiles(app, options.tls, logger);
  boundConnections(app, options.maxConnections ?? 10_000);
  acceptMany(app);
  await app.ready();
  return app;
}

/** How long a client may take for a whole request, in milliseconds. */
const requestTimeoutMs = 30_000;

/** @throws WheelworkError WW_CONFIG when certificates of clients are to count, and the server asks for none. */
function checkCertificates({ access, tls }: NorthboundOptions): void {
  if (access?.certificates === undefined || tls?.clientCa !== undefined) return;
  throw new WheelworkError("WW_CONFIG", "access.certificates needs the authority that signs them", {
    next: "Give the option tls its file: clientCa.",
  });
}

/** How many connections may wait to be accepted. The system may allow less: on Linux, see net.core.somaxconn. */
const backlog = 4096;

/** Lets many connections come at once: the system keeps them for longer, and engines leave the loop time to accept them. */
function acceptMany(app: FastifyInstance): void {
  app.server.on("connection", connectionAccepted);
  const listen = app.listen.bind(app) as (options: unknown, ...more: unknown[]) => unknown;
  app.listen = ((options: unknown = {}, ...more: unknown[]) =>
    listen(
      typeof options === "object" ? { backlog, ...options } : options,
      ...more,
    )) as FastifyInstance["listen"];
}

function checkRoutes(engine: Engine, routes: readonly HubRoute[]): void {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const { path, hub } of routes) {
    if (!engine.hubs.has(hub.name))
      problems.push({ path, message: `the engine does not serve the hub ${hub.name}` });
    // GET /requests/{id}/answer does not say which route the request came by, so there may be only one `statusOf`.
    if (seen.has(hub.name)) problems.push({ path, message: `the hub ${hub.name} has a route already` });
    seen.add(hub.name);
  }
  if (problems.length > 0) {
    throw new WheelworkError("WW_CONFIG", "the routes of Northbound are not valid", {
      problems,
      next: "Give each hub one route, and only hubs that the engine serves.",
    });
  }
}

const partNames: Readonly<Record<string, string>> = {
  params: "path",
  querystring: "query",
  headers: "head of the request",
};

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

const safeHead = Object.entries(safeHeaders)
  .map(([name, value]) => `${name}: ${value}\r\n`)
  .join("");

/** Answers bytes that are not HTTP, or that come too slowly. There is no request yet, so Fastify cannot answer. */
function answerNonsense(error: { readonly code: string }, socket: Socket): void {
  if (socket.writable && error.code !== "ECONNRESET") {
    const status = statusOfNonsense[error.code] ?? 400;
    const details = problemDetails(status, "WW_INVALID_REQUEST", "the server could not read an HTTP request");
    const body = JSON.stringify(details);
    socket.write(
      `HTTP/1.1 ${status} ${details.title}\r\nContent-Type: application/problem+json\r\n${safeHead}` +
        `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    );
  }
  socket.destroySoon();
}

function answerErrors(app: FastifyInstance, logger: Logger, refusals: Refusals): void {
  app.setErrorHandler((error, request: FastifyRequest, reply: FastifyReply) => {
    const { details, headers, defect } = problemOf(error);
    refusals.note(request, pathOf(request), details);
    if (defect)
      logger.error(
        { err: error, method: request.method, path: pathOf(request) },
        "a request over HTTP failed",
      );
    reply.code(details.status).headers({ vary: "Accept", ...headers });
    if (prefersText(request)) return reply.type("text/plain; charset=utf-8").send(textOfProblem(details));
    return reply.type("application/problem+json").send(details);
  });
}

/** The path alone: a client may have put into the query what nobody should read in a log. */
const pathOf = ({ url }: FastifyRequest): string => url.split("?", 1)[0] ?? "";

/** Answers 404, or 405 if the path has other methods. It does so before the body is read. */
function refuseUnknownPaths(app: FastifyInstance): void {
  const patterns = new Map<string, Set<string>>();
  app.addHook("onRoute", ({ url, method }) => {
    const methods = patterns.get(url) ?? new Set();
    patterns.set(url, methods);
    for (const name of [method].flat()) methods.add(name);
  });
  app.addHook("onRequest", (request, _reply, done) => {
    if (!request.is404) return done();
    const path = pathOf(request);
    // A path without parameters is meant before one that has some.
    const allowed = [
      ...(patterns.get(path) ??
        [...patterns].filter(([pattern]) => matches(pattern, path)).flatMap(([, methods]) => [...methods])),
    ];
    if (allowed.length === 0) {
      return done(new HttpProblem(problemDetails(404, "WW_NOT_FOUND", `there is no path ${path}`)));
    }
    const detail = `the path ${path} does not take the method ${request.method}`;
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

/** In so many turns of the loop without anything new, all is read that had come before. At most so many turns are waited for it. */
const [calmTurns, maxTurns] = [3, 300];

/** After this share of the time in which a server closes, whoever has no reply yet is told that the server stops. */
const toldAfter = 0.8;

/**
 * Closes the server within a limit, even if clients do not cooperate. Waiting clients get 202 at once, each connection
 * closes after its reply, and the connections that are left at the end are cut. What has come before, and is not read yet, gets its
 * reply, too. So does what is not done in time, such as a request that no node takes any more: it gets 503. A connection that has never sent anything is cut: clients keep such ones for later, and Node takes them for busy.
 */
function closeGently(app: FastifyInstance, waits: Waits, withinMs: number): void {
  const sockets = new Set<Socket>();
  const unused = new Set<Socket>();
  let news = 0;
  const open = new Set<FastifyReply>();
  app.server.on("connection", (socket: Socket) => {
    news++;
    sockets.add(socket);
    unused.add(socket);
    socket.once("close", () => {
      sockets.delete(socket);
      unused.delete(socket);
    });
  });
  app.server.on("request", ({ socket }: IncomingMessage) => {
    news++;
    unused.delete(socket);
  });
  const allRead = async (): Promise<void> => {
    for (let [turn, calm, seen] = [0, 0, news]; turn < maxTurns && calm < calmTurns; turn++) {
      await new Promise(setImmediate);
      calm = news === seen ? calm + 1 : 0;
      seen = news;
    }
  };
  const stopping = (detail: string): HttpProblem =>
    new HttpProblem(problemDetails(503, "WW_STOPPING", detail), { "retry-after": retryAfter });
  app.addHook("onRequest", (_request, reply, done) => {
    if (waits.closed) return done(stopping("the server is stopping"));
    open.add(reply);
    reply.raw.once("close", () => open.delete(reply));
    done();
  });
  const tellAll = (): void => {
    const why = stopping(
      "the server is stopping, and does not know yet what has come of this: send it again with the same key",
    );
    for (const reply of open) if (!reply.sent) void reply.send(why);
  };
  app.addHook("onSend", (_request, reply, _payload, done) => {
    if (waits.closed) reply.header("connection", "close");
    done();
  });
  app.addHook("preClose", async () => {
    waits.close();
    setTimeout(tellAll, toldAfter * withinMs).unref();
    // Not closeAllConnections, which knows nothing of a connection that has its reply, and whose client does not end it.
    setTimeout(() => sockets.forEach((socket) => socket.destroy()), withinMs).unref();
    await allRead();
    for (const socket of unused) if (socket.bytesRead === 0) socket.destroy();
  });
}
