import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { invalid } from "./problems.ts";

/**
 * The id of a request that came with an `Idempotency-Key`. It is the first 32 hex digits, in lower case, of the SHA-256
 * of these bytes: the hub's name, one line feed (0x0A), and the key. Both are ASCII without line feeds, so two pairs of
 * hub and key never give the same bytes. Every Northbound, before and after a restart, computes the same id.
 */
export function requestIdOf(hub: string, key: string): string {
  return createHash("sha256").update(`${hub}\n${key}`, "utf8").digest("hex").slice(0, 32);
}

/**
 * The `Idempotency-Key` of a request, as it was sent. undefined: there is none.
 * @throws WheelworkError WW_INVALID_REQUEST when it is not 1 to 255 printable ASCII characters.
 */
export function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key === "string" && /^[\x20-\x7e]{1,255}$/.test(key)) return key;
  throw invalid("the request", [
    { path: "Idempotency-Key", message: "must be 1 to 255 printable ASCII characters" },
  ]);
}

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
