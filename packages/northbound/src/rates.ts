import rateLimit from "@fastify/rate-limit";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { callerOf } from "./access/gate.ts";
import { HttpProblem, problemDetails } from "./problems.ts";

/** How many requests somebody may send. */
export interface RateLimit {
  /** So many in each window of time. */
  readonly requests: number;
  /** The window, in milliseconds. Default: 60,000. */
  readonly windowMs?: number;
}

/** So many requests from one address may come without a valid sign of who sends them, in a minute. */
const maxUnknown = 60;

/** What counts requests that come without a valid sign of who sends them. */
export interface UnknownCallers {
  /** Counts one. @throws HttpProblem WW_RATE_LIMITED when there have been too many from its address. */
  count(request: FastifyRequest): Promise<void>;
}

/** Counts requests from addresses that have not shown who they are. Register it before the gate. */
export async function countUnknown(app: FastifyInstance): Promise<UnknownCallers> {
  await app.register(rateLimit, { global: false });
  const check = app.createRateLimit({ max: maxUnknown, timeWindow: 60_000 });
  return {
    count: async (request) => {
      if (hasNoAddress(request)) return;
      const state = await check(request);
      if (!state.isAllowed && state.isExceeded)
        throw tooMany("requests from this address without a valid token", state.ttlInSeconds);
    },
  };
}

/**
 * Bounds how many requests a caller may send, or an address where nobody is asked or has shown who it is. Call it after the
 * gate, and after `countUnknown`.
 */
export function boundRates(app: FastifyInstance, { requests, windowMs = 60_000 }: RateLimit): void {
  const byName = app.createRateLimit({
    max: requests,
    timeWindow: windowMs,
    keyGenerator: (request) => `caller ${callerOf(request).name}`,
  });
  const byAddress = app.createRateLimit({ max: requests, timeWindow: windowMs });
  app.addHook("onRequest", async (request) => {
    const { name } = callerOf(request);
    if (name === undefined && hasNoAddress(request)) return;
    const state = await (name === undefined ? byAddress : byName)(request);
    if (!state.isAllowed && state.isExceeded)
      throw tooMany(`requests of ${name ?? "this address"}`, state.ttlInSeconds);
  });
}

/** It has come through a socket in the file system: from this machine. */
const hasNoAddress = ({ ip }: { readonly ip?: string }): boolean => ip === undefined || ip === "";

function tooMany(what: string, seconds: number): HttpProblem {
  const next = `Send the request again in ${seconds} s, with the same key.`;
  return new HttpProblem(problemDetails(429, "WW_RATE_LIMITED", `there are too many ${what}`, { next }), {
    "retry-after": `${seconds}`,
  });
}
