import type { FastifyInstance } from "fastify";
import { keepLocal } from "./listening.ts";
import { refuseWebPages, type Refusal, type WebPageOptions } from "./web-pages.ts";

/** Whom a server lets in, and where it listens. */
export interface ProtectOptions extends WebPageOptions {
  /**
   * Lets the server listen beyond loopback although it asks nobody who they are. Say so only if something else keeps strangers
   * out: a proxy, a firewall, or a network of your own. Default: false, so that `listen` throws `WW_INSECURE`.
   */
  readonly insecure?: boolean;
}

/**
 * Headers of each response. Nothing that this server sends is a page that loads something, may be shown in a frame, or is of
 * another type than it says. Nothing of it is kept: most of it is of today, and may be somebody's data.
 */
export const safeHeaders = {
  "content-security-policy":
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-frame-options": "DENY",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

/**
 * Makes a Fastify server of your own as safe as Northbound is. Call it before you add routes. It refuses requests of web pages
 * of other sites, listens on loopback only unless `insecure` says otherwise, and sends `Content-Security-Policy`,
 * `X-Content-Type-Options: nosniff` and their like with each response. A route may set such a header itself.
 * Returns the check of web pages, for requests that Fastify answers without its hooks: those of `frameworkErrors`.
 */
export function protect(app: FastifyInstance, options: ProtectOptions = {}): Refusal {
  if (options.insecure !== true) keepLocal(app);
  app.addHook("onRequest", (_request, reply, done) => {
    reply.headers(safeHeaders);
    done();
  });
  return refuseWebPages(app, options);
}
