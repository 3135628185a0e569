import { maxCount, modes, type Exclusive } from "./exclusive.ts";
import type { HandlersSpec } from "./handlers.ts";
import type { AnyHub, ErasedSpec } from "./hub.ts";
import type { SpokeLimit } from "./limit.ts";
import { isFunction, kind, kinds, required, type OptionKind, type OptionKinds } from "./options.ts";
import type { RetryPolicy, RetryRule } from "./retry.ts";
import type { Schema } from "./schema.ts";
import type { SignalSchemas } from "./states.ts";
import type { SpokeSpec } from "./spoke.ts";
import { mustBeName, namePattern } from "./text.ts";

/* What the options of declarations may be, each by itself. What they must be together is the business of the declaration. */

const { duration, fn, object, pause, list, either, fields, matching, nested, number, text, whole } = kinds;

/** A schema. Those of some libraries are functions. */
const schemaKind: OptionKind = kind((value) => {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const { "~standard": standard } = value as { readonly "~standard"?: { readonly validate?: unknown } };
  return typeof standard?.validate === "function";
}, "must be a schema of a library with the Standard Schema interface");

/** What `hub` and `hubByHandlers` make. */
export const hubKind: OptionKind = kind((value) => {
  const { kind: of, name, definition } = (value ?? {}) as { readonly [field in keyof AnyHub]?: unknown };
  return of === "hub" && typeof name === "string" && typeof definition === "object" && definition !== null;
}, "must be a hub");

/** Something that can be called: a spoke, or a hub. */
const calleeKind: OptionKind = kind((value) => {
  const { kind: of, name } = (value ?? {}) as { readonly kind?: unknown; readonly name?: unknown };
  return (of === "spoke" || of === "hub") && typeof name === "string";
}, "must be a spoke or a hub");

/** Codes of errors. Those that begin with WW_ are the engine's, and are refused elsewhere. */
const codes = list(text(200));

const exclusiveOptions: OptionKinds<Exclusive<unknown>> = {
  lane: required(matching(namePattern, mustBeName)),
  by: required(kind(isFunction, "must be a function that makes the key of a request")),
  slots: whole(1, maxCount),
  whenBusy: required(
    kind(
      (value) => isFunction(value) || modes.has(value),
      `must be one of ${[...modes].join(", ")}, or a function that gives queue or refuse`,
    ),
  ),
  queueMs: duration,
  queueLimit: whole(1, maxCount),
};

/** Those that both kinds of hubs have. */
const common = {
  request: required(schemaKind),
  reply: required(schemaKind),
  errors: codes,
  deadlineMs: required(
    kind(
      (value) => isFunction(value) || duration.problems(value, "").length === 0,
      `${duration.problems(0, "")[0]?.message}, or a function of the request`,
    ),
  ),
  exclusive: nested<Exclusive<unknown>>(exclusiveOptions, "a lane"),
  labels: kind(isFunction, "must be a function that makes the labels of a request"),
  data: required(fn),
  signals: fields(schemaKind),
  view: fn,
  secret: list(
    kind(
      (value) => typeof value === "string" && !value.split(".").includes(""),
      "must be the name of a field, or names with dots between those of a path",
    ),
  ),
  version: whole(1),
  // What is in it is looked at with the version.
  migrate: object("must be an object with a function for each former version"),
} as const;

/** An event, or one with a change of the data. */
const raising = kind((value) => {
  if (typeof value === "string") return true;
  const { raise, patch } = (value ?? {}) as { readonly raise?: unknown; readonly patch?: unknown };
  return typeof raise === "string" && (patch === undefined || isFunction(patch));
}, "must be the name of an event, or { raise, patch }");

const names = list(text(1000));

export const hubOptions: OptionKinds<ErasedSpec> = {
  ...common,
  chart: required(object()),
  cancel: raising,
  deadline: raising,
  cleanUp: names,
  dropSignals: names,
};

export const handlersOptions: OptionKinds<
  HandlersSpec<Schema, Schema, object, string, SignalSchemas, unknown>
> = {
  ...common,
  cleanUpMs: required(duration),
  calls: required(list(calleeKind)),
};

const limitOptions: OptionKinds<SpokeLimit> = {
  concurrent: whole(1),
  perSecond: kind(
    (value) => typeof value === "number" && value > 0 && value <= 1_000_000,
    "must be a number above 0, a million at most",
  ),
  burst: whole(1),
  by: kind(isFunction, "must be a function of the input"),
};

const ruleOptions: OptionKinds<RetryRule> = {
  attempts: either(whole(1), kinds.oneOf("unlimited"), 'must be a whole number from 1, or "unlimited"'),
  backoffMs: pause,
  factor: kind(
    (value) => typeof value === "number" && value >= 1 && Number.isFinite(value),
    "must be a number from 1",
  ),
  maxBackoffMs: pause,
  jitter: number(0, 1),
};

const retryOptions: OptionKinds<RetryPolicy> = {
  ...ruleOptions,
  giveUpOn: codes,
  on: fields(nested<RetryRule>(ruleOptions, "a rule")),
};

export const spokeOptions: OptionKinds<SpokeSpec<Schema, Schema, string>> = {
  input: required(schemaKind),
  output: required(schemaKind),
  errors: codes,
  timeoutMs: required(duration),
  heartbeatMs: duration,
  retry: nested<RetryPolicy>(retryOptions, "a retry"),
  concurrency: whole(1),
  limit: nested<SpokeLimit>(limitOptions, "a limit"),
  abandonAfterMs: kinds.span,
};
