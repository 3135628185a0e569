import { WheelworkError, type Problem } from "@wheelwork/core";
import type { FastifyInstance, FastifyRequest, RouteOptions } from "fastify";
import { isDoubled } from "../headers.ts";
import { HttpProblem, problemDetails, retryAfter } from "../problems.ts";
import { anybody, lacking, stranger, type Caller, type Permission } from "./grants.ts";
import { permissions } from "./permissions.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** What the route needs, if the option `access` is set. See docs/security.md. */
    readonly permission?: Permission;
  }
}

/** A way to show who one is. */
export interface Authenticator {
  /**
   * Who has sent the bearer token, or the certificate of the connection; undefined: nobody that it knows.
   * @throws when it cannot tell now.
   */
  callerOf(
    token: string | undefined,
    request: FastifyRequest,
  ): Promise<Caller | undefined> | Caller | undefined;
}

/** What `openGate` works with. */
export interface GateOptions {
  /** The ways to show who one is. Empty: nobody is asked. */
  readonly authenticators: readonly Authenticator[];
  /** The hub of a request. @throws WheelworkError WW_NOT_FOUND. */
  readonly hubOf?: ((id: string) => Promise<string>) | undefined;
  /** The hubs that the filter of a bulk names. @throws WheelworkError WW_NOT_FOUND. */
  readonly hubsOfBulk?: ((id: string) => Promise<readonly string[]>) | undefined;
  /** Counts a request whose sender has not shown who it is. @throws HttpProblem WW_RATE_LIMITED. */
  readonly countUnknown?: ((request: FastifyRequest) => Promise<void>) | undefined;
}

const callers = new WeakMap<FastifyRequest, Caller>();

/** Who sends a request. Where nobody is asked, it has no name, and may do everything. */
export const callerOf = (request: FastifyRequest): Caller => callers.get(request) ?? anybody;

const rechecks = new WeakMap<FastifyRequest, () => Promise<Caller>>();

/**
 * Who sends a request, asked again: its token may have been revoked since, or have expired.
 * @throws HttpProblem when the route would not let it in any more.
 */
async function recheck(request: FastifyRequest): Promise<Caller> {
  const again = rechecks.get(request);
  return again === undefined ? callerOf(request) : again();
}

/** So often is looked at most whether the client of a stream may still read, in milliseconds. */
const recheckMs = 1000;

/**
 * Whether a client may read on: its token may have been revoked, or have expired, and so may its scope. If nobody can tell, it may not:
 * it connects again.
 */
export function mayRead(request: FastifyRequest): () => Promise<boolean> {
  const { payloads } = callerOf(request);
  let checkedAt = performance.now();
  return async () => {
    const now = performance.now();
    if (now - checkedAt < recheckMs) return true;
    checkedAt = now;
    try {
      return (await recheck(request)).payloads === payloads;
    } catch {
      return false;
    }
  };
}

/** Who gives a command, for the engine. */
export function giverOf(request: FastifyRequest): { readonly by?: string } {
  const { name } = callerOf(request);
  return name === undefined ? {} : { by: name };
}

/** A longer one is refused before anything looks at it, in characters. */
const maxTokenLength = 8192;

/** The gate of a server. */
export interface Gate {
  /** Nobody is asked. */
  readonly isOpen: boolean;
  /** The routes that are added from now on are of somebody else: without a gate they need no permission. */
  ownRoutesFollow(): void;
}

/**
 * Lets a request in if its sender has shown who it is, and may do what the route needs. Call it before routes are added. A
 * server with a route that does not say what it needs does not start.
 */
export function openGate(app: FastifyInstance, options: GateOptions): Gate {
  const { authenticators, countUnknown } = options;
  const isOpen = authenticators.length === 0;
  const needs = new Map<string, Permission>();
  const undeclared: Problem[] = [];
  let isOwn = false;
  app.addHook("onRoute", (route) => {
    for (const method of [route.method].flat()) {
      const name = `${method} ${route.url}`;
      const need = needOf(route, method);
      if (need !== undefined) needs.set(name, need);
      else if (!isOpen || !isOwn) undeclared.push({ path: name, message: "does not say what it needs" });
    }
  });
  app.addHook("onReady", (done) => done(undeclared.length === 0 ? undefined : withoutPermission(undeclared)));
  if (!isOpen) {
    app.addHook("onRequest", async (request) => {
      callers.set(request, stranger);
      // A browser asks first whether a page may send a request, and does not say who it is.
      if (isPreflight(request)) return;
      const need = needs.get(`${request.method} ${request.routeOptions.url ?? ""}`) ?? "known";
      const admit = async (count: GateOptions["countUnknown"]): Promise<Caller> => {
        const found = await authenticate(request, authenticators, need);
        if (found === undefined && need === "nothing") return stranger;
        if (found === undefined) {
          await count?.(request);
          throw unauthenticated(request.headers.authorization !== undefined);
        }
        // Who is refused is known, too.
        callers.set(request, found);
        return admitted(request, found, need, options);
      };
      callers.set(request, await admit(countUnknown));
      rechecks.set(request, () => admit(undefined));
    });
  }
  return {
    isOpen,
    ownRoutesFollow: () => {
      isOwn = true;
    },
  };
}

function needOf({ url, config }: RouteOptions, method: string): Permission | undefined {
  const name = `${method === "HEAD" ? "GET" : method} ${url}`;
  if (Object.hasOwn(permissions, name)) return permissions[name];
  return config?.permission ?? (method === "OPTIONS" ? "nothing" : undefined);
}

const withoutPermission = (problems: readonly Problem[]): WheelworkError =>
  new WheelworkError("WW_CONFIG", "there are routes that do not say who may use them", {
    problems,
    next: 'Give each of them a permission: { config: { permission: "read" } }. See docs/security.md.',
  });

const isPreflight = ({ method, headers }: FastifyRequest): boolean =>
  method === "OPTIONS" &&
  headers.origin !== undefined &&
  headers["access-control-request-method"] !== undefined;

/** Who sends a request. undefined: nobody knows. */
async function authenticate(
  request: FastifyRequest,
  authenticators: readonly Authenticator[],
  need: Permission,
): Promise<Caller | undefined> {
  const header = request.headers.authorization;
  const token = header === undefined ? undefined : bearerIn(header);
  const isWrong = isDoubled(request, "authorization") || (header !== undefined && token === undefined);
  try {
    for (const one of isWrong ? [] : authenticators) {
      const found = await one.callerOf(token, request);
      if (found !== undefined) return found;
    }
  } catch (cause) {
    if (need !== "nothing") throw unavailable(cause);
  }
  return undefined;
}

function bearerIn(header: string): string | undefined {
  if (header.length > maxTokenLength) return undefined;
  return /^Bearer +([\w.~+/-]+=*) *$/i.exec(header)?.[1];
}

/** Somebody who may use a route. Who may send requests to the hub of the request that a path names sees it, with payloads. */
async function admitted(
  request: FastifyRequest,
  found: Caller,
  need: Permission,
  options: GateOptions,
): Promise<Caller> {
  const { id } = request.params as { readonly id?: string };
  const hubOf = async (): Promise<string | undefined> =>
    id === undefined ? undefined : options.hubOf?.(id).catch(unknown);
  if ((need === "look" || need === "answer") && !(found.may(need) && found.payloads)) {
    const hub = await hubOf();
    if (hub !== undefined && found.sends(hub)) return { ...found, payloads: true };
  }
  if (found.may(need)) return found;
  const operated =
    need === "command"
      ? [await hubOf()]
      : need === "commandAll"
        ? await (id === undefined ? meantHubs(request) : options.hubsOfBulk?.(id).catch(unknown))
        : undefined;
  if (operated === undefined || operated.length === 0) throw forbidden(request, found, need);
  if (!operated.every((hub) => hub !== undefined && found.operates(hub)))
    throw forbidden(request, found, need);
  return found;
}

/** The hubs that the filter of a query names. */
function meantHubs({ query }: FastifyRequest): readonly string[] {
  const { hub = [] } = query as { readonly hub?: string | readonly string[] };
  return typeof hub === "string" ? [hub] : hub;
}

function unknown(error: unknown): undefined {
  if (!(error instanceof WheelworkError) || error.code !== "WW_NOT_FOUND") throw error;
}

function unauthenticated(isSent: boolean): HttpProblem {
  const detail = isSent
    ? "the server does not know the token, or it has expired"
    : "the server does not know who you are";
  const next = isSent
    ? "Send a valid one: Authorization: Bearer TOKEN, once. Whoever runs the server makes one: wheelwork token create."
    : "Send a token: Authorization: Bearer TOKEN. Whoever runs the server makes one: wheelwork token create.";
  const challenge = `Bearer realm="wheelwork"${isSent ? ', error="invalid_token"' : ""}`;
  return new HttpProblem(problemDetails(401, "WW_UNAUTHENTICATED", detail, { next }), {
    "www-authenticate": challenge,
  });
}

function forbidden(
  { method, routeOptions }: FastifyRequest,
  { name }: Caller,
  need: Permission,
): HttpProblem {
  const detail = `${name} may not use ${method} ${routeOptions.url ?? "this path"}: it lacks ${lacking(need)}`;
  const next = "Use a token that has it. Whoever runs the server makes one: wheelwork token create --role.";
  return new HttpProblem(problemDetails(403, "WW_FORBIDDEN", detail, { next }));
}

function unavailable(cause: unknown): HttpProblem {
  const detail = "the server cannot tell now who you are";
  const next = "Send the request again later. If this goes on, the log of the server says why.";
  const details = problemDetails(503, "WW_ACCESS_UNAVAILABLE", detail, { next });
  return new HttpProblem(details, { "retry-after": retryAfter }, cause);
}
