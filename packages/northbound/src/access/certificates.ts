import type { FastifyRequest } from "fastify";
import { TLSSocket } from "node:tls";
import { WheelworkError } from "@wheelwork/core";
import { caller, isGrant, type Caller, type Grant } from "./grants.ts";

/**
 * What clients with these certificates may do, by their names: `CN=ci` for the common name, `DNS:ci.example.com` and
 * `URI:spiffe://example.com/ci` for alternative names. `*` stands for each client with a valid certificate.
 */
export type CertificateGrants = Readonly<Record<string, readonly Grant[]>>;

/** Finds out who a client with a certificate is. Once for each connection, since a certificate is of the connection. */
export class Certificates {
  readonly #grants: ReadonlyMap<string, readonly Grant[]>;
  readonly #callers = new WeakMap<TLSSocket, Caller>();

  /** @throws WheelworkError WW_CONFIG with every problem. */
  constructor(grants: CertificateGrants) {
    const problems = Object.entries(grants).flatMap(([name, of]) => [
      ...(/^(?:CN=|DNS:|URI:)./.test(name) || name === "*"
        ? []
        : [{ path: name, message: "must begin with CN=, DNS: or URI:, or be *" }]),
      ...(of.every(isGrant) ? [] : [{ path: name, message: "has something that is no role" }]),
    ]);
    if (problems.length > 0)
      throw new WheelworkError("WW_CONFIG", "the option access.certificates is not valid", { problems });
    this.#grants = new Map(Object.entries(grants));
  }

  /** Who has the certificate of the connection; undefined: there is none, no authority has signed it, or it may do nothing. */
  callerOf({ raw: { socket } }: FastifyRequest): Caller | undefined {
    if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
    const known = this.#callers.get(socket);
    if (known !== undefined) return known;
    const names = namesIn(socket);
    const found = [...names, "*"].flatMap((name) => this.#grants.get(name) ?? []);
    if (found.length === 0) return undefined;
    const name = names.find((one) => this.#grants.has(one)) ?? names[0] ?? "unnamed";
    const made = caller(`cert:${name}`, found);
    this.#callers.set(socket, made);
    return made;
  }
}

function namesIn(socket: TLSSocket): string[] {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return [];
  // Node gives several common names as a list, although its type says a text. A certificate has one or none.
  const { CN: commonName } = certificate.toLegacyObject().subject as { readonly CN?: unknown };
  const alternatives = (certificate.subjectAltName ?? "").split(", ");
  return [
    ...(typeof commonName === "string" ? [`CN=${commonName}`] : []),
    // Node quotes a name that could be taken for several. No honest name needs that.
    ...alternatives.filter((name) => /^(?:DNS|URI):[^"\s]+$/.test(name)),
  ];
}
