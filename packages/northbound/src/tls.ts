import { WheelworkError } from "@wheelwork/core";
import type { Logger } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { readFileSync, statSync } from "node:fs";
import type { RequestListener, Server } from "node:http";
import { createServer, type Server as SecureServer } from "node:https";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { checkEveryMs, headTimeoutMs } from "./connections.ts";

/** TLS of a server. All files are PEM. When one of them changes, new connections get the new one. */
export interface TlsOptions {
  /** The file of the certificate, with those between it and the authority. */
  readonly cert: string;
  /** The file of its private key. */
  readonly key: string;
  /** The file of the authorities that sign certificates of clients. Default: clients need none. */
  readonly clientCa?: string;
  /**
   * With `clientCa`: whether a client without a valid certificate is refused (`required`), or may show who it is in another way
   * (`accepted`). Default: `required`.
   */
  readonly clients?: "required" | "accepted";
}

/** How often the files are looked at, in milliseconds. */
const lookEveryMs = 1000;

const filesOf = ({ cert, key, clientCa }: TlsOptions): string[] =>
  clientCa === undefined ? [cert, key] : [cert, key, clientCa];

/** @throws when a file cannot be read, or they do not belong together. */
function read({ cert, key, clientCa }: TlsOptions): SecureContextOptions {
  const options = {
    cert: readFileSync(cert),
    key: readFileSync(key),
    ...(clientCa === undefined ? {} : { ca: readFileSync(clientCa) }),
  };
  createSecureContext(options);
  return options;
}

/**
 * Makes the server of Fastify: `serverFactory`.
 * @throws WheelworkError WW_CONFIG when a file cannot be read, or they do not belong together.
 */
export function secureServer(
  options: TlsOptions,
  { requestTimeout }: { readonly requestTimeout: number },
): (handler: RequestListener) => Server {
  let files: SecureContextOptions;
  try {
    files = read(options);
  } catch (cause) {
    throw new WheelworkError("WW_CONFIG", `the files of TLS are not valid: ${(cause as Error).message}`, {
      next: "Give the option tls a certificate, its key, and the authority of clients, as PEM files.",
      cause,
    });
  }
  const { clientCa, clients = "required" } = options;
  return (handler) => {
    const server = createServer(
      {
        ...files,
        requestCert: clientCa !== undefined,
        rejectUnauthorized: clientCa !== undefined && clients === "required",
        handshakeTimeout: headTimeoutMs,
        headersTimeout: headTimeoutMs,
        connectionsCheckingInterval: checkEveryMs,
        requestTimeout,
      },
      handler,
    );
    // As Fastify has it for its own servers.
    server.keepAliveTimeout = 72_000;
    // What Fastify uses of a server is the same in both.
    return server as unknown as Server;
  };
}

/** Gives new connections the files as they are now. While these are not valid, it keeps those that were, and logs why. */
export function reloadFiles(app: FastifyInstance, options: TlsOptions, logger: Logger): void {
  const server = app.server as unknown as SecureServer;
  const markOf = (): string =>
    filesOf(options)
      .map((file) => {
        const stats = statSync(file, { bigint: true, throwIfNoEntry: false });
        return [stats?.ino, stats?.size, stats?.mtimeNs, stats?.ctimeNs].join(" ");
      })
      .join("\n");
  let mark = markOf();
  const timer = setInterval(() => {
    const now = markOf();
    if (now === mark) return;
    mark = now;
    try {
      server.setSecureContext(read(options));
      logger.info({ files: filesOf(options) }, "new connections get the new certificate");
    } catch (error) {
      logger.error({ err: error }, "the new files of TLS are not valid: the server keeps the former ones");
    }
  }, lookEveryMs).unref();
  app.addHook("onClose", (_app, done) => {
    clearInterval(timer);
    done();
  });
}
