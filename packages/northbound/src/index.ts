export { afterArrivals } from "@wheelwork/engine";
export { type FailedAnswer, type StatusOf } from "./answers.ts";
export { type AccessOptions } from "./access/access.ts";
export { type CertificateGrants } from "./access/certificates.ts";
export { callerOf } from "./access/gate.ts";
export { type Caller, type Grant, type Permission } from "./access/grants.ts";
export { type JwtOptions } from "./access/jwt.ts";
export { northbound, type NorthboundOptions } from "./northbound.ts";
export { idempotencyKey, preferredWait, type IdempotencyKey } from "./headers.ts";
export { documented, type Documented, type DocumentInfo, type JsonSchema } from "./openapi.ts";
export {
  HttpProblem,
  problemDetails,
  problemOf,
  type ProblemAnswer,
  type HttpCode,
  type ProblemDetails,
  type ProblemExtras,
} from "./problems.ts";
export { type RateLimit } from "./rates.ts";
export { isLoopback } from "./listening.ts";
export { protect, type ProtectOptions } from "./protect.ts";
export { type HubRoute } from "./routes.ts";
export { type TlsOptions } from "./tls.ts";
export { Waits } from "./waits.ts";
export { type WebPageOptions } from "./web-pages.ts";
