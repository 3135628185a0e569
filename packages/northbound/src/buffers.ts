import type { Logger } from "@wheelwork/engine";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { HttpProblem, problemDetails, retryAfter } from "./problems.ts";

/** What is smaller is not counted, in bytes, if it is alone on its connection: as a rule, the system's own buffers hold it. */
const minBytes = 16 * 1024;
/** How long a client may take for any reply, in milliseconds, and how fast it must read a long one, in bytes a millisecond. */
const [minReadMs, minRate] = [30_000, 16];
/** How often a warning is given at most, in milliseconds. */
const warningMs = 60_000;

/**
 * Bounds what clients can keep in the memory of this process. A body for which there is no room is refused with 503 before
 * it is read. A reply waits in memory until its client has read it. So the oldest replies are cut when all together
 * need more than `maxBytes`, and each one that takes too long. A client that reads is not among the oldest for long.
 */
export function boundBuffers(
  app: FastifyInstance,
  logger: Logger,
  {
    maxBytes,
    bodyLimit,
    pipelines,
  }: { readonly maxBytes: number; readonly bodyLimit: number; readonly pipelines: Pipelines },
): void {
  const bodies = new Bodies(maxBytes);
  const replies = new Replies(maxBytes, logger);
  app.addHook("onRequest", (request, reply, done) => {
    const bytes = bodyBytes(request, bodyLimit);
    if (bytes < minBytes) return done();
    if (!bodies.add(request, bytes)) return done(noRoom());
    reply.raw.once("close", () => bodies.remove(request));
    done();
  });
  app.addHook("preHandler", (request, _reply, done) => {
    bodies.remove(request);
    done();
  });
  app.addHook("onSend", (request, reply, payload, done) => {
    const bytes = typeof payload === "string" || Buffer.isBuffer(payload) ? payload.length : 0;
    if (bytes >= minBytes || pipelines.length(request) > 1) replies.add(reply.raw, bytes);
    done();
  });
}

/** How long the body of a request is, or may be, in bytes. */
function bodyBytes({ headers }: FastifyRequest, bodyLimit: number): number {
  if (headers["transfer-encoding"] !== undefined) return bodyLimit;
  // A longer one is refused before it is read.
  return Math.min(Number(headers["content-length"] ?? 0), bodyLimit);
}

const noRoom = (): Error =>
  new HttpProblem(
    problemDetails(503, "WW_OVERLOADED", "the server reads as many bodies as it has room for", {
      next: "Send the request again later, with the same key.",
    }),
    { "retry-after": retryAfter },
  );

/** So many requests of one connection may be under way. Browsers send one at a time, and few clients send more. */
const maxPipelined = 100;

/**
 * The requests of each connection whose replies are not sent. Node reads all that a client has sent at once, so that a client may
 * send thousands in one packet. One that sends too many is cut off. Make it before all that looks at requests.
 */
export class Pipelines {
  readonly #lengths = new WeakMap<Socket, number>();

  constructor(app: FastifyInstance) {
    app.addHook("onRequest", (request, reply, done) => {
      const { socket } = request.raw;
      const length = this.length(request) + 1;
      this.#lengths.set(socket, length);
      reply.raw.once("close", () => this.#lengths.set(socket, this.length(request) - 1));
      if (length <= maxPipelined) return done();
      socket.destroy();
      reply.hijack();
    });
  }

  length({ raw: { socket } }: FastifyRequest): number {
    return this.#lengths.get(socket) ?? 0;
  }
}

/** The bodies that are coming in. */
class Bodies {
  readonly #maxBytes: number;
  readonly #open = new Map<FastifyRequest, number>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether there is room for a body. One alone always has room. */
  add(request: FastifyRequest, bytes: number): boolean {
    if (this.#bytes > 0 && this.#bytes + bytes > this.#maxBytes) return false;
    this.#open.set(request, bytes);
    this.#bytes += bytes;
    return true;
  }

  remove(request: FastifyRequest): void {
    const bytes = this.#open.get(request);
    if (bytes === undefined) return;
    this.#open.delete(request);
    this.#bytes -= bytes;
  }
}

/** The replies that their clients have not read to the end, the oldest first. */
class Replies {
  readonly #maxBytes: number;
  readonly #logger: Logger;
  readonly #open = new Map<ServerResponse, number>();
  #bytes = 0;
  #nextWarningAt = 0;

  constructor(maxBytes: number, logger: Logger) {
    this.#maxBytes = maxBytes;
    this.#logger = logger;
  }

  add(reply: ServerResponse, bytes: number): void {
    const timer = setTimeout(() => this.#cut(reply, bytes), minReadMs + bytes / minRate).unref();
    reply.once("close", () => {
      clearTimeout(timer);
      this.#remove(reply);
    });
    this.#open.set(reply, bytes);
    this.#bytes += bytes;
    for (const [oldest, oldBytes] of this.#open) {
      if (this.#bytes <= this.#maxBytes || oldest === reply) return;
      this.#cut(oldest, oldBytes);
    }
  }

  #remove(reply: ServerResponse): void {
    const bytes = this.#open.get(reply);
    if (bytes === undefined) return;
    this.#open.delete(reply);
    this.#bytes -= bytes;
  }

  #cut(reply: ServerResponse, bytes: number): void {
    this.#remove(reply);
    reply.destroy();
    const now = performance.now();
    if (now < this.#nextWarningAt) return;
    this.#nextWarningAt = now + warningMs;
    this.#logger.warn({ bytes }, "a client that does not read its reply was cut off");
  }
}
