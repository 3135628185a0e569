import { tlsFault } from "@wheelwork/engine/tls";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { Readable } from "node:stream";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { CommandError, usageError } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";

/** Files of TLS, as PEM: who the client is, and whom it trusts. */
export interface TlsFiles {
  /** The certificate of the client, with those between it and the authority. */
  readonly cert?: string;
  /** Its private key. */
  readonly key?: string;
  /** The authorities that may have signed the server's certificate, instead of those that Node trusts. */
  readonly ca?: string;
}

export const usesFiles = ({ cert, key, ca }: TlsFiles): boolean =>
  cert !== undefined || key !== undefined || ca !== undefined;

/** What a request says. */
export interface Sent {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal?: AbortSignal;
}

/**
 * Makes a `fetch` that shows a certificate. The `fetch` of Node takes none.
 * @throws CommandError when a file cannot be read, or they do not belong together.
 */
export function secureFetch(files: TlsFiles): (target: URL, sent: Sent) => Promise<Response> {
  const agent = new Agent({ keepAlive: true, ...read(files) });
  return (target, { body, ...sent }) =>
    new Promise((resolve, reject) => {
      request(target, { ...sent, agent }, (message) => {
        const { statusCode: status = 0, rawHeaders } = message;
        // A response may not have a body with these.
        const isEmpty = status === 204 || status === 304;
        if (isEmpty) message.resume();
        else if (status >= 300 && status < 400) {
          message.destroy();
          reject(new Error(`it sends the client to ${String(message.headers.location)}`));
          return;
        }
        const headers = new Headers();
        for (let index = 0; index < rawHeaders.length; index += 2)
          headers.append(rawHeaders[index] as string, rawHeaders[index + 1] as string);
        const content = isEmpty ? null : (Readable.toWeb(message) as ReadableStream<Uint8Array>);
        resolve(new Response(content, { status, headers }));
      })
        .on("error", reject)
        .end(body);
    });
}

/** @throws CommandError when a file cannot be read, or they do not belong together. */
function read({ cert, key, ca }: TlsFiles): SecureContextOptions {
  if ((cert === undefined) !== (key === undefined))
    throw usageError(
      "a certificate of the client needs both files: give --tls-cert and --tls-key, or neither",
    );
  const content = (option: string, file: string | undefined): Buffer | undefined => {
    try {
      return file === undefined ? undefined : readFileSync(file);
    } catch (cause) {
      throw usageError(`--tls-${option}: ${(cause as Error).message}`);
    }
  };
  const given = { cert: content("cert", cert), key: content("key", key), ca: content("ca", ca) };
  const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  try {
    createSecureContext(options);
  } catch (cause) {
    throw usageError(`the files of TLS are not valid: ${(cause as Error).message}`);
  }
  return options;
}

const nextOf = {
  authority: "Give the authority that has signed its certificate: --tls-ca FILE.",
  name: "Ask it by a name that its certificate has.",
  expired: "Give the server a certificate that is valid now, or correct the clock.",
  client: "Give a certificate that the server trusts: --tls-cert FILE --tls-key FILE.",
  protocol: "It may speak HTTP: try http:// in its address.",
} as const;

/** Why a server that was reached talks to nobody; undefined: it was not reached. It is no use to try again. */
export function tlsError(url: string, cause: unknown): CommandError | undefined {
  for (let error = cause; error instanceof Error; error = error.cause) {
    const fault = tlsFault(String((error as NodeJS.ErrnoException).code));
    if (fault === undefined) continue;
    return new CommandError(
      `no secure connection to ${url}: ${error.message}\n  ${nextOf[fault]}`,
      exitCodes.denied,
      cause,
    );
  }
  return undefined;
}
