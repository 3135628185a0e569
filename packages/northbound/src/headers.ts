import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { invalid } from "./problems.ts";

/**
 * The id that earlier versions gave a request with an `Idempotency-Key`, and that a command has: the first 32 hex digits of
 * the SHA-256 of the hub's name (of a command: its path), one line feed, and the header as it was sent.
 */
export function hashedId(scope: string, sent: string): string {
  return createHash("sha256").update(`${scope}\n${sent}`, "utf8").digest("hex").slice(0, 32);
}

/** An `Idempotency-Key`. */
export interface IdempotencyKey {
  /** The header as it was sent. */
  readonly sent: string;
  /** The key that it says. */
  readonly key: string;
}

const maxKeyLength = 200;

/**
 * The `Idempotency-Key` of a request. The key is percent-encoded UTF-8, since a header cannot hold every text; bytes that
 * are not ASCII are taken for UTF-8. undefined: there is none.
 * @throws WheelworkError WW_INVALID_REQUEST when it is doubled or is not 1 to 200 characters, with the reason.
 */
export function idempotencyKey(request: FastifyRequest): IdempotencyKey | undefined {
  const sent = request.headers["idempotency-key"];
  if (sent === undefined) return undefined;
  if (typeof sent !== "string" || isDoubled(request, "idempotency-key")) throw badKey("must come once only");
  const key = decoded(sent);
  if (key === "" || Array.from(key).length > maxKeyLength)
    throw badKey(`must be 1 to ${maxKeyLength} characters`);
  return { sent, key };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decoded(sent: string): string {
  if (/%(?![\da-f]{2})/i.test(sent))
    throw badKey("has a '%' without two hexadecimal digits. Send a percent sign as %25");
  try {
    // Node gives each byte of a header as one character.
    return decodeURIComponent(utf8.decode(Buffer.from(sent, "latin1")));
  } catch {
    throw badKey("is not UTF-8, or has half of a surrogate pair. Send what is not ASCII percent-encoded");
  }
}

const badKey = (message: string): Error => invalid("the request", [{ path: "Idempotency-Key", message }]);

/** Whether a request has a header more than once. Node shows only the first one of some, and joins others. */
export function isDoubled({ raw: { rawHeaders } }: FastifyRequest, name: string): boolean {
  let count = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const header = rawHeaders[at];
    if (header?.length === name.length && header.toLowerCase() === name) count++;
  }
  return count > 1;
}

/** The `wait` of a `Prefer` header (RFC 7240), in seconds. undefined: there is none, or it is not a whole number. */
export function preferredWait(header: string | readonly string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const text = typeof header === "string" ? header : header.join(",");
  const [, quoted, plain] = /(?:^|,)\s*wait\s*=\s*(?:"(\d+)"|(\d+))\s*(?=[;,]|$)/i.exec(text) ?? [];
  const digits = quoted ?? plain;
  return digits === undefined ? undefined : Number(digits);
}

const mediaTypes = ["application/json", "application/problem+json", "text/plain"];

/**
 * Whether the client prefers plain text to JSON. A client that accepts neither gets JSON, so it still gets its answer.
 */
export function prefersText(request: FastifyRequest): boolean {
  return request.accepts().type(mediaTypes) === "text/plain";
}

/** What has caused a request: its headers of W3C Trace Context. The engine looks whether they are valid. */
export function traceHeaders({ headers }: FastifyRequest): {
  readonly traceparent?: string;
  readonly tracestate?: string;
} {
  const { traceparent, tracestate } = headers;
  if (typeof traceparent !== "string") return {};
  return typeof tracestate === "string" ? { traceparent, tracestate } : { traceparent };
}
