import { WheelworkError, type Schema } from "@wheelwork/core";
import { canonicalJson, demand, plain, type HubDefinition } from "@wheelwork/core/kernel";
import { hash, randomBytes } from "node:crypto";
import type { SubmitOptions } from "./api.ts";

/** A key that nobody else has. The time comes first: a store adds such keys at the end of its index, which is cheap. */
export function newKey(now: number): string {
  return now.toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
}

/** 32 hex digits of SHA-256 over the hub and the canonical body: equal requests, equal hashes. */
export function hashOf(hub: string, request: unknown): string {
  return hash("sha256", `${hub}\n${canonicalJson(request)}`, "hex").slice(0, 32);
}

/** The request as it is stored. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
export function validRequest(definition: HubDefinition, request: unknown, options: SubmitOptions): unknown {
  checkSubmit(options.key, options.deadlineMs);
  const what = `the request to ${definition.name}`;
  const valid = demand(definition.request, request, "WW_INVALID_REQUEST", what);
  return plain(valid, "WW_INVALID_REQUEST", what);
}

/** The payload of a signal as it is stored. @throws WheelworkError WW_SIGNAL_UNKNOWN, WW_INVALID_INPUT. */
export function validSignal(
  hub: string,
  definition: HubDefinition | undefined,
  name: string,
  payload: unknown,
): unknown {
  const signals = definition?.signals ?? {};
  const schema: Schema | undefined = Object.hasOwn(signals, name) ? signals[name] : undefined;
  if (schema === undefined) {
    const known = Object.keys(signals).join(", ");
    throw new WheelworkError("WW_SIGNAL_UNKNOWN", `the hub ${hub} takes no signal ${name}`, {
      next: known === "" ? "It takes none." : `It takes: ${known}.`,
    });
  }
  const what = `the payload of the signal ${name}`;
  return plain(demand(schema, payload, "WW_INVALID_INPUT", what), "WW_INVALID_INPUT", what);
}

/** What a key may be, of a request or of a run. */
const keyPattern = /^[\x21-\x7e]{1,200}$/;

/** Whether a request can be stored under a key. Runs that a request has begun have a '/' in theirs. */
export const isStorable = (key: string): boolean => keyPattern.test(key) && !key.includes("/");

/** What a request is stored under if its sender's key cannot be stored. */
export const hashedKey = (given: string): string => `~${hash("sha256", given, "hex")}`;

function checkSubmit(key: string | undefined, deadlineMs: number | undefined): void {
  const problems = [];
  if (key !== undefined && !isStorable(key)) {
    problems.push({
      path: "key",
      message: "must be 1 to 200 printable ASCII characters without blanks and '/'",
    });
  }
  if (deadlineMs !== undefined && !(Number.isFinite(deadlineMs) && deadlineMs > 0)) {
    problems.push({ path: "deadlineMs", message: "must be a finite number above 0" });
  }
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the request cannot be accepted", { problems });
}
