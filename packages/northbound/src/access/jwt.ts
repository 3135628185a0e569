import { WheelworkError, type Problem } from "@wheelwork/core";
import type { Logger } from "@wheelwork/engine";
import { createRemoteJWKSet, errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from "jose";
import { caller, isGrant, type Caller, type Grant } from "./grants.ts";

/** Which JSON Web Tokens count: those of one OpenID provider, or of another issuer with a key set. */
export interface JwtOptions {
  /** The `iss` of its tokens, as it is: a URL of https, or of http on loopback. */
  readonly issuer: string;
  /** The `aud` that a token must have, or one of these. A token for another service does not count. */
  readonly audience: string | readonly string[];
  /** Where its keys are. Default: where `/.well-known/openid-configuration` of the issuer says. */
  readonly jwks?: string;
  /** The algorithms of signatures that count. Default: RS256, PS256, ES256 and EdDSA. `none` and HS256 never count. */
  readonly algorithms?: readonly string[];
  /** How far the clocks of issuer and server may be apart, in milliseconds. Default: 30,000. */
  readonly clockSkewMs?: number;
  /** The claim that says which groups somebody is in, with dots for claims inside: `realm_access.roles`. Default: `roles`. */
  readonly rolesClaim?: string;
  /** What each of these groups may do. A group that is not here may do nothing. */
  readonly roles: Readonly<Record<string, readonly Grant[]>>;
  /** The claim that names somebody in histories and the audit list, as `jwt:NAME`. Default: `sub`. */
  readonly nameClaim?: string;
}

const known = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
const usual = ["RS256", "PS256", "ES256", "EdDSA"];
const timeoutMs = 5_000;
/** After a failure, the provider is asked again after this time, in milliseconds. */
const pauseMs = 5_000;
const maxDocumentBytes = 256 * 1024;

/** Checks the tokens of an issuer. It asks for the keys when the first token comes, and again when a token has another key. */
export class Jwts {
  readonly #options: JwtOptions;
  readonly #logger: Logger;
  readonly #grants: ReadonlyMap<string, readonly Grant[]>;
  #keys: Promise<JWTVerifyGetKey> | undefined;
  #askAgainAt = 0;
  #logAgainAt = 0;

  /** @throws WheelworkError WW_CONFIG with every problem. */
  constructor(options: JwtOptions, logger: Logger) {
    check(options);
    this.#options = options;
    this.#logger = logger;
    this.#grants = new Map(Object.entries(options.roles));
  }

  /**
   * Who has this token; undefined: nobody, since it does not count.
   * @throws when the keys of the issuer cannot be read.
   */
  async callerOf(token: string): Promise<Caller | undefined> {
    if (!/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined;
    const { issuer, audience, algorithms = usual, clockSkewMs = 30_000 } = this.#options;
    try {
      const { payload, protectedHeader } = await jwtVerify(token, await this.#keySet(), {
        issuer,
        audience: typeof audience === "string" ? audience : [...audience],
        algorithms: [...algorithms],
        clockTolerance: clockSkewMs / 1000,
        requiredClaims: ["exp"],
      });
      // Issuers sign other things with the same keys, such as tokens that end a session.
      if (!/^(?:(?:application\/)?(?:at\+)?jwt)?$/i.test(protectedHeader.typ ?? "")) return undefined;
      return this.#callerOf(payload);
    } catch (error) {
      if (isOfToken(error)) return undefined;
      this.#complain(error);
      throw error;
    }
  }

  #complain(error: unknown): void {
    const now = performance.now();
    if (now < this.#logAgainAt) return;
    this.#logAgainAt = now + pauseMs;
    const { issuer } = this.#options;
    this.#logger.error({ err: error, issuer }, "the keys of the issuer of tokens cannot be read");
  }

  #callerOf(payload: JWTPayload): Caller | undefined {
    const { rolesClaim = "roles", nameClaim = "sub" } = this.#options;
    const name = payload[nameClaim];
    if (typeof name !== "string" || !/^[^\p{C}]{1,200}$/u.test(name)) return undefined;
    const groups = claimAt(payload, rolesClaim);
    const grants = (Array.isArray(groups) ? groups : [groups]).flatMap(
      (group) => (typeof group === "string" ? this.#grants.get(group) : undefined) ?? [],
    );
    return caller(`jwt:${name}`, grants);
  }

  /** The keys. A failure is not asked for again at once: each request would wait for it. */
  #keySet(): Promise<JWTVerifyGetKey> {
    if (this.#keys === undefined || performance.now() >= this.#askAgainAt) {
      const keys = this.#findKeys();
      this.#keys = keys;
      this.#askAgainAt = Number.POSITIVE_INFINITY;
      keys.catch(() => {
        this.#askAgainAt = performance.now() + pauseMs;
      });
    }
    return this.#keys;
  }

  async #findKeys(): Promise<JWTVerifyGetKey> {
    const { issuer, jwks = await jwksOf(issuer) } = this.#options;
    return createRemoteJWKSet(new URL(jwks), { timeoutDuration: timeoutMs });
  }
}

/** Where the keys of an OpenID provider are, as it says itself. */
async function jwksOf(issuer: string): Promise<string> {
  const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(timeoutMs) });
  const length = Number(response.headers.get("content-length") ?? 0);
  if (!response.ok || length > maxDocumentBytes)
    throw new TypeError(`${url} answers with ${response.status}`);
  const { issuer: own, jwks_uri: jwks } = (await response.json()) as {
    readonly issuer?: unknown;
    readonly jwks_uri?: unknown;
  };
  if (own !== issuer) throw new TypeError(`${url} is of the issuer ${String(own)}, not of ${issuer}`);
  if (typeof jwks !== "string" || !isSafe(jwks)) throw new TypeError(`${url} has no jwks_uri of https`);
  return jwks;
}

const faultsOfTokens: ReadonlySet<string> = new Set([
  errors.JOSEAlgNotAllowed.code,
  errors.JOSENotSupported.code,
  errors.JWKSMultipleMatchingKeys.code,
  errors.JWKSNoMatchingKey.code,
  errors.JWSInvalid.code,
  errors.JWSSignatureVerificationFailed.code,
  errors.JWTClaimValidationFailed.code,
  errors.JWTExpired.code,
  errors.JWTInvalid.code,
]);

const isOfToken = (error: unknown): boolean =>
  error instanceof errors.JOSEError && faultsOfTokens.has(error.code);

function claimAt(payload: JWTPayload, path: string): unknown {
  // A claim may have dots in its own name, as those with a URL.
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}

/** Whether nobody in between can change what comes from there. */
function isSafe(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  const isHere = hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);
  return protocol === "https:" || (protocol === "http:" && isHere);
}

function check({ issuer, audience, jwks, algorithms = usual, clockSkewMs = 0, roles }: JwtOptions): void {
  const problems: Problem[] = [];
  const demand = (holds: boolean, path: string, message: string): void => {
    if (!holds) problems.push({ path, message });
  };
  demand(isSafe(issuer), "issuer", "must be a URL of https, or of http on loopback");
  demand(jwks === undefined || isSafe(jwks), "jwks", "must be a URL of https, or of http on loopback");
  demand([audience].flat().length > 0 && ![audience].flat().includes(""), "audience", "must not be empty");
  demand(algorithms.length > 0, "algorithms", "must not be empty");
  for (const name of algorithms)
    demand(known.includes(name), "algorithms", `${name} must be one of ${known.join(", ")}`);
  demand(clockSkewMs >= 0 && clockSkewMs <= 600_000, "clockSkewMs", "must be from 0 to 600,000");
  for (const [group, grants] of Object.entries(roles))
    demand(
      grants.every(isGrant),
      `roles.${group}`,
      "must be roles, such as reader, operator:HUB or submitter:HUB",
    );
  if (problems.length > 0)
    throw new WheelworkError("WW_CONFIG", "the option access.jwt is not valid", { problems });
}
