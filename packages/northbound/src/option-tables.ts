import { hubKind, kind, kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import { isIP } from "node:net";
import type { AccessOptions } from "./access/access.ts";
import type { JwtOptions } from "./access/jwt.ts";
import type { NorthboundOptions } from "./northbound.ts";
import type { DocumentInfo } from "./openapi.ts";
import type { ProtectOptions } from "./protect.ts";
import type { RateLimit } from "./rates.ts";
import type { HubRoute } from "./routes.ts";
import type { TlsOptions } from "./tls.ts";

/* What the options of a server may be. What they must be together is looked at where they are used. */

const {
  duration,
  either,
  fields,
  flag,
  fn,
  having,
  list,
  matching,
  nested,
  number,
  object,
  oneOf,
  pause,
  text,
} = kinds;
const file = text(4096);
const grants = fields(list(text()));

const jwtOptions: OptionKinds<JwtOptions> = {
  issuer: required(text()),
  audience: required(either(text(), list(text()), "must be a text, or a list of texts")),
  jwks: text(),
  algorithms: list(text()),
  clockSkewMs: number(0, 600_000),
  rolesClaim: text(),
  roles: required(grants),
  nameClaim: text(),
};

const accessOptions: OptionKinds<AccessOptions> = {
  tokens: file,
  jwt: nested<JwtOptions>(jwtOptions, "access.jwt"),
  certificates: grants,
};

export const protectOptions: OptionKinds<ProtectOptions> = {
  insecure: flag,
  access: nested<AccessOptions>(accessOptions, "access"),
  logger: having("a logger", "debug", "info", "warn", "error"),
  allowedHosts: list(text()),
};

const routeOptions: OptionKinds<HubRoute> = {
  method: required(oneOf("POST")),
  path: required(matching(/^\/[^\0]*$/, "must be a path, which begins with /")),
  hub: required(hubKind),
  summary: text(10_000),
  requestSchema: object(),
  resultSchema: object(),
  statusOf: fn,
  failures: fields(text(10_000)),
};

const infoOptions: OptionKinds<DocumentInfo> = {
  title: required(text()),
  version: required(text()),
  description: text(100_000),
};

const rateOptions: OptionKinds<RateLimit> = { requests: required(kinds.whole(1)), windowMs: duration };

const tlsOptions: OptionKinds<TlsOptions> = {
  cert: required(file),
  key: required(file),
  clientCa: file,
  clients: oneOf("required", "accepted"),
};

/** An address, some that begin alike, or a name for some of them. */
function isProxy(value: unknown): boolean {
  if (typeof value !== "string") return false;
  if (["loopback", "linklocal", "uniquelocal"].includes(value)) return true;
  const [address = "", bits, ...more] = value.split("/");
  if (isIP(address) === 0 || more.length > 0) return false;
  return bits === undefined || isIP(bits) !== 0 || (/^\d{1,3}$/.test(bits) && Number(bits) <= 128);
}

export const northboundOptions: OptionKinds<NorthboundOptions> = {
  ...protectOptions,
  engine: required(having("an engine", "submit", "answer", "request", "health")),
  routes: required(list(nested<HubRoute>(routeOptions, "a route"))),
  extra: fn,
  acceptFormerKeys: flag,
  diagram: fn,
  info: nested<DocumentInfo>(infoOptions, "info"),
  bodyLimit: kinds.whole(1),
  maxBufferedBytes: kinds.whole(1),
  rateLimit: nested<RateLimit>(rateOptions, "a rate limit"),
  maxConnections: kinds.whole(1),
  trustProxy: list(kind(isProxy, "must be an address, or addresses such as 10.0.0.0/8")),
  tls: nested<TlsOptions>(tlsOptions, "tls"),
  defaultWaitMs: pause,
  maxWaitMs: pause,
  beginWithinMs: pause,
  closeWithinMs: pause,
  metrics: having("figures", "text"),
};
