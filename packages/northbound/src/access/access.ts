import { WheelworkError } from "@wheelwork/core";
import type { Logger } from "@wheelwork/engine";
import type { Authenticator } from "./gate.ts";
import { Certificates, type CertificateGrants } from "./certificates.ts";
import { Jwts, type JwtOptions } from "./jwt.ts";
import { TokenFile } from "./token-file.ts";

/** How clients show who they are. One of these ways is enough, and all of them may be used at once. */
export interface AccessOptions {
  /** The file of tokens that `wheelwork token create` writes. A change of it counts within a second. */
  readonly tokens?: string;
  /** Tokens of an OpenID provider. */
  readonly jwt?: JwtOptions;
  /** Certificates of clients, and what they may do. They need the option `tls` with `clientCa`. */
  readonly certificates?: CertificateGrants;
}

/** The ways to show who one is. @throws WheelworkError WW_CONFIG when one of them is not as it should be. */
export function authenticatorsOf(
  { tokens, jwt, certificates }: AccessOptions,
  logger: Logger,
): readonly Authenticator[] {
  const all: Authenticator[] = [];
  if (tokens !== undefined) {
    const file = new TokenFile(tokens, logger);
    all.push({ callerOf: (token) => (token === undefined ? undefined : file.callerOf(token)) });
  }
  if (jwt !== undefined) {
    const jwts = new Jwts(jwt, logger);
    all.push({ callerOf: (token) => (token === undefined ? undefined : jwts.callerOf(token)) });
  }
  if (certificates !== undefined) {
    const known = new Certificates(certificates);
    // A token that does not count is not made good by a certificate.
    all.push({ callerOf: (token, request) => (token === undefined ? known.callerOf(request) : undefined) });
  }
  if (all.length === 0) {
    throw new WheelworkError("WW_CONFIG", "the option access names no way to show who one is", {
      next: "Give it tokens, jwt or certificates: see docs/security.md.",
    });
  }
  return all;
}
