import { createHash } from "node:crypto";
import type { FastifyRequest } from "fastify";
import { invalid } from "./problems.ts";

/**
 * The id of a request that was sent with an `Idempotency-Key`: the first 32 hex digits, in lower case, of the SHA-256
 * of the bytes of the hub's name, one line feed (0x0A), and the bytes of the key, in that order. Neither can hold a
 * line feed, and both are ASCII, so two pairs never give the same bytes; and every Northbound, before and after a
 * restart, names the same run.
 */
export function requestIdOf(hub: string, key: string): string {
  return createHash("sha256").update(`${hub}\n${key}`, "utf8").digest("hex").slice(0, 32);
}

/** The `Idempotency-Key` of a request, word for word; undefined if it has none. */
export function idempotencyKey(request: FastifyRequest): string | undefined {
  const key = request.headers["idempotency-key"];
  if (key === undefined) return undefined;
  if (typeof key === "string" && /^[\x20-\x7e]{1,255}$/.test(key)) return key;
  throw invalid("the request", [
    { path: "Idempotency-Key", message: "must be 1 to 255 printable ASCII characters" },
  ]);
}

/** The `wait` of a `Prefer` header (RFC 7240), in seconds; undefined without one that can be read. */
export function preferredWait(header: string | readonly string[] | undefined): number | undefined {
  if (header === undefined) return undefined;
  const text = typeof header === "string" ? header : header.join(",");
  const [, quoted, plain] = /(?:^|,)\s*wait\s*=\s*(?:"(\d+)"|(\d+))\s*(?=[;,]|$)/i.exec(text) ?? [];
  const digits = quoted ?? plain;
  return digits === undefined ? undefined : Number(digits);
}

const mediaTypes = ["application/json", "application/problem+json", "text/plain"];

/** Whether the client would rather have text than JSON. One that accepts neither gets JSON: no answer is withheld. */
export function prefersText(request: FastifyRequest): boolean {
  return request.accepts().type(mediaTypes) === "text/plain";
}
