import type { Problem } from "./errors.ts";
import type { Exclusive } from "./exclusive.ts";
import type { HandlersSpec } from "./handlers.ts";
import type { ErasedSpec } from "./hub.ts";
import type { SignalSchemas } from "./states.ts";
import type { SpokeLimit } from "./limit.ts";
import type { RetryPolicy, RetryRule } from "./retry.ts";
import type { Schema } from "./schema.ts";
import type { SpokeSpec } from "./spoke.ts";

/*
 * The names of the options of declarations. An option with another name is refused: it would do nothing, and nobody would be told. With
 * types, the compiler finds it, unless it is spread or cast. The compiler also keeps these lists complete.
 */

/** The names of all options of a type. */
type OptionNames<Options> = Readonly<Record<keyof Options, true>>;

const common = {
  request: true,
  reply: true,
  errors: true,
  deadlineMs: true,
  exclusive: true,
  labels: true,
  data: true,
  signals: true,
  view: true,
  secret: true,
  version: true,
  migrate: true,
} as const;

const hubOptions: OptionNames<ErasedSpec> = {
  ...common,
  chart: true,
  cancel: true,
  deadline: true,
  cleanUp: true,
  dropSignals: true,
};

const handlersOptions: OptionNames<HandlersSpec<Schema, Schema, object, string, SignalSchemas, unknown>> = {
  ...common,
  cleanUpMs: true,
  calls: true,
};

const exclusiveOptions: OptionNames<Exclusive<unknown>> = {
  lane: true,
  by: true,
  slots: true,
  whenBusy: true,
  queueMs: true,
  queueLimit: true,
};

const spokeOptions: OptionNames<SpokeSpec<Schema, Schema, string>> = {
  input: true,
  output: true,
  errors: true,
  timeoutMs: true,
  heartbeatMs: true,
  retry: true,
  concurrency: true,
  limit: true,
  abandonAfterMs: true,
};

const limitOptions: OptionNames<SpokeLimit> = { concurrent: true, perSecond: true, burst: true, by: true };

const ruleOptions: OptionNames<RetryRule> = {
  attempts: true,
  backoffMs: true,
  factor: true,
  maxBackoffMs: true,
  jitter: true,
};

const retryOptions: OptionNames<RetryPolicy> = { ...ruleOptions, giveUpOn: true, on: true };

/** The options that have another name than `names` has. `what` they are options of: `a hub`. */
export function unknownOptions(given: unknown, names: object, what: string, at = ""): Problem[] {
  if (typeof given !== "object" || given === null) return [];
  return Object.entries(given)
    .filter(([name, value]) => value !== undefined && !Object.hasOwn(names, name))
    .map(([name]) => ({
      path: `${at}${name}`,
      message: `is no option of ${what}, which has ${Object.keys(names).toSorted().join(", ")}`,
    }));
}

/** What a declaration of a hub has that is no option. */
export const unknownOfHub = (spec: ErasedSpec): Problem[] => [
  ...unknownOptions(spec, hubOptions, "a hub"),
  ...unknownOptions(spec.exclusive, exclusiveOptions, "a lane", "exclusive."),
];

/** What a declaration of a hub by handlers has that is no option. */
export const unknownOfHandlers = (spec: { readonly exclusive?: unknown }): Problem[] => [
  ...unknownOptions(spec, handlersOptions, "a hub by handlers"),
  ...unknownOptions(spec.exclusive, exclusiveOptions, "a lane", "exclusive."),
];

/** What a declaration of a spoke has that is no option. */
export function unknownOfSpoke(spec: { readonly retry?: unknown; readonly limit?: unknown }): Problem[] {
  const { on } = (spec.retry ?? {}) as RetryPolicy;
  return [
    ...unknownOptions(spec, spokeOptions, "a spoke"),
    ...unknownOptions(spec.retry, retryOptions, "a retry", "retry."),
    ...Object.entries(on ?? {}).flatMap(([code, rule]) =>
      unknownOptions(rule, ruleOptions, "a rule", `retry.on[${JSON.stringify(code)}].`),
    ),
    ...unknownOptions(spec.limit, limitOptions, "a limit", "limit."),
  ];
}
