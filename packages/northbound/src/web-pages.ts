import type { FastifyInstance, FastifyRequest } from "fastify";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { isDoubled } from "./headers.ts";
import { beforeListening, nameOf } from "./listening.ts";
import { HttpProblem, problemDetails } from "./problems.ts";

/*
 * A server on loopback or inside a company can be reached by every browser there, and so by every web page that such a
 * browser shows. Three things keep pages of other sites out. They need no knowledge of users or sessions:
 *
 *   Host            A page can make its own name resolve to this server (DNS rebinding). Then the browser takes the
 *                   server's responses for the page's own. But it still sends the page's name as `Host`. An address
 *                   instead of a name cannot be rebound.
 *   Origin,         A browser says where a request comes from, and pages cannot change that.
 *   Sec-Fetch-Site
 *   Content-Type    A page can send a POST to another site without asking first, but only with the types of HTML forms
 *                   and without headers of its own choice. So no POST of that kind is taken. This also helps where an
 *                   old browser sends neither of the above.
 */

/** Whom a server lets in. */
export interface WebPageOptions {
  /**
   * Names of this server: those by which clients reach it, for example through a proxy, and those of web pages that may
   * use it from another origin. `.example.com` stands for all names below example.com. Addresses, `localhost`, the name
   * of the machine and the name that the server listens on need not be listed. Default: none.
   */
  readonly allowedHosts?: readonly string[];
}

/** Why a request is refused before anything looks at it. */
export type Refusal = (request: FastifyRequest) => HttpProblem | undefined;

/**
 * Refuses requests that web pages of other sites send: 421 WW_HOST_REFUSED for a `Host` that is no name of this server, and
 * 403 WW_ORIGIN_REFUSED for a foreign `Origin` and for `Sec-Fetch-Site: cross-site`. Returns the check, for requests that
 * Fastify answers without its hooks.
 */
export function refuseWebPages(app: FastifyInstance, { allowedHosts = [] }: WebPageOptions = {}): Refusal {
  const listed = allowedHosts.map((name) => name.toLowerCase());
  const own = new Set(["localhost", nameOf(hostname())]);
  // Node tells a server's address only. The name that it was told to listen on is taken where it passes by.
  beforeListening(app, (place) => {
    if (typeof place === "object") own.add(nameOf(place.host));
    return undefined;
  });
  const isListed = (name: string): boolean =>
    listed.some((entry) => (entry.startsWith(".") ? name.endsWith(entry) : name === entry));
  const isOwn = (name: string): boolean =>
    isIP(name) !== 0 || own.has(name) || name.endsWith(".localhost") || isListed(name);
  const refusal: Refusal = (request) => {
    const { host, origin } = request.headers;
    // Only HTTP/1.0 has requests without a host, and no browser sends it.
    if (host !== undefined && (isDoubled(request, "host") || !isOwn(nameOf(host)))) return wrongHost(host);
    const from = origin === undefined ? undefined : hostOf(origin);
    if (from !== undefined && isListed(nameOf(from))) return undefined;
    if (origin !== undefined && from !== host?.toLowerCase()) return foreign(`of the origin ${origin}`);
    return isCrossSite(request) ? foreign("of another site") : undefined;
  };
  app.addHook("onRequest", (request, _reply, done) => done(refusal(request)));
  return refusal;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /**
     * A header that names a request of this route as `Idempotency-Key` does, in small letters. No page of another site can send a header
     * of one's own without being asked first, so a POST with it needs no JSON content type.
     */
    readonly nameHeader?: `${string}_${string}` | `x-${string}`;
  }
}

/**
 * Refuses with 415 a POST with neither a JSON content type nor an `Idempotency-Key`, and each request with another content type
 * than JSON, whatever its method. Register it after `refuseWebPages`.
 */
export function refuseFormPosts(app: FastifyInstance): void {
  app.addHook("onRequest", (request, _reply, done) => {
    const { "content-type": type, "idempotency-key": key } = request.headers;
    const { nameHeader } = request.routeOptions.config;
    const isNamed = key !== undefined || (nameHeader !== undefined && nameHeader in request.headers);
    const isJson = /^\s*application\/json\s*(;|$)/i.test(type ?? "");
    const isSafe = request.method === "POST" ? isNamed : type === undefined;
    if (isJson || isSafe) return done();
    const detail = `a ${request.method} needs the header Content-Type: application/json`;
    const next = "Send it also without a body. A POST without a body may have an Idempotency-Key instead.";
    done(new HttpProblem(problemDetails(415, "WW_UNSUPPORTED_MEDIA_TYPE", detail, { next })));
  });
}

/** A link on another site may lead here: the browser shows the response to its user, and not to that site. */
function isCrossSite({ method, headers }: FastifyRequest): boolean {
  if (headers["sec-fetch-site"]?.includes("cross-site") !== true) return false;
  const isLink = headers["sec-fetch-mode"] === "navigate" && headers["sec-fetch-dest"] === "document";
  return !(isLink && (method === "GET" || method === "HEAD"));
}

/** Host and port of an origin, as a `Host` header has them. Empty: none, as of a page in a sandbox (`null`). */
const hostOf = (origin: string): string => (URL.canParse(origin) ? new URL(origin).host : "");

function wrongHost(host: string): HttpProblem {
  const detail = `this server has no name ${host}`;
  const next = "Ask it by one of its names, or give it this one: the option allowedHosts.";
  return new HttpProblem(problemDetails(421, "WW_HOST_REFUSED", detail, { next }));
}

function foreign(whose: string): HttpProblem {
  const detail = `this server takes no requests from web pages ${whose}`;
  const next = "If pages of that site may use this server, list its name: the option allowedHosts.";
  return new HttpProblem(problemDetails(403, "WW_ORIGIN_REFUSED", detail, { next }));
}
