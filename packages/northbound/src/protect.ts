import { demandOptions } from "@wheelwork/core/kernel";
import { defaultLogger, guardedLogger, type Logger } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { authenticatorsOf, type AccessOptions } from "./access/access.ts";
import { openGate, type Gate, type GateOptions } from "./access/gate.ts";
import { keepLocal, warnOfPlainText } from "./listening.ts";
import { protectOptions } from "./option-tables.ts";
import { refuseWebPages, type Refusal, type WebPageOptions } from "./web-pages.ts";

/** Whom a server lets in, and where it listens. */
export interface ProtectOptions extends WebPageOptions {
  /**
   * Lets the server listen beyond loopback although it asks nobody who they are. Say so only if something else keeps strangers
   * out: a proxy, a firewall, or a network of your own. Default: false, so that `listen` throws `WW_INSECURE`.
   */
  readonly insecure?: boolean;
  /** How clients show who they are. Default: nobody is asked, and everybody who reaches the server may do everything. */
  readonly access?: AccessOptions;
  /** Default: as for an engine. */
  readonly logger?: Logger;
}

/** What guards a server. */
export interface Guard {
  /** The check of web pages, for requests that Fastify answers without its hooks: those of `frameworkErrors`. */
  readonly refusal: Refusal;
  readonly gate: Gate;
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

/** Guards a server. */
export function guard(
  app: FastifyInstance,
  options: ProtectOptions,
  more: Omit<GateOptions, "authenticators"> & { readonly isSecure?: boolean } = {},
): Guard {
  const { access, insecure = false } = options;
  const logger = guardedLogger(options.logger ?? defaultLogger());
  const authenticators = access === undefined ? [] : authenticatorsOf(access, logger);
  if (authenticators.length === 0 && !insecure) keepLocal(app);
  if (authenticators.length > 0 && more.isSecure !== true) warnOfPlainText(app, logger);
  app.addHook("onRequest", (_request, reply, done) => {
    reply.headers(safeHeaders);
    done();
  });
  const refusal = refuseWebPages(app, options);
  const gate = openGate(app, { ...more, authenticators });
  return { refusal, gate };
}

/**
 * Makes a Fastify server of your own as safe as Northbound is. Call it before you add routes. It refuses requests of web pages
 * of other sites, lets in those who have shown who they are (`access`), listens on loopback only if it asks nobody and
 * `insecure` does not say otherwise, and sends `Content-Security-Policy`, `X-Content-Type-Options: nosniff` and their like with
 * each response. A route may set such a header itself. With `access`, each route says what it needs in `config.permission`.
 * @throws WheelworkError WW_CONFIG with every problem, when the options are not as they should be.
 */
export function protect(app: FastifyInstance, options: ProtectOptions = {}): void {
  guard(app, demandOptions<ProtectOptions>(options, protectOptions, "protect")).gate.ownRoutesFollow();
}
