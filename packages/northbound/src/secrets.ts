import { WheelworkError } from "@wheelwork/core";
import { Secrets, secretsOfHub } from "@wheelwork/core/kernel";
import type { Engine, RequestView } from "@wheelwork/engine";
import { eventFields, requestFields } from "./outlines.ts";

const none = new Secrets([], []);

/** What hides the secrets of a request: those of its hub, with their values as they are known. */
export function secretsOf(engine: Engine, hub: string, values: readonly unknown[]): Secrets {
  const paths = secretsOfHub(engine.hubs, hub);
  return paths.length === 0 ? none : new Secrets(paths, values);
}

/** Whether somebody must look up what to hide in what a hub's runs do. */
export const hasSecrets = (engine: Engine, hub: string): boolean => secretsOfHub(engine.hubs, hub).length > 0;

/** What hides the secrets of a request that the engine knows. */
export const secretsIn = (
  engine: Engine,
  { hub, request, data, answer, openCalls = [] }: RequestView,
): Secrets => secretsOf(engine, hub, [request, data, answer, ...openCalls.map(({ input }) => input)]);

const hidden = (secrets: Secrets, view: object, shown: ReadonlySet<string>): object =>
  secrets === none
    ? view
    : Object.fromEntries(
        Object.entries(view).map(([name, value]) => [name, shown.has(name) ? value : secrets.hide(value)]),
      );

const ofRequests = new Set(requestFields);
const ofEvents = new Set(eventFields);

/** A request as it is shown, without secrets. */
export const requestWithout = (secrets: Secrets, view: object): object => hidden(secrets, view, ofRequests);

/**
 * An event, or an update, as it is shown, without secrets. Nor is the hash of what was sent shown then: whoever has it can try all
 * values of a short secret.
 */
export function eventWithout(secrets: Secrets, view: object): object {
  if (secrets === none) return view;
  const { hash: _hash, ...shown } = hidden(secrets, view, ofEvents) as { readonly hash?: unknown };
  return shown;
}

/** An error without what its problems repeat of secrets. */
export function errorWithout(secrets: Secrets, error: unknown): unknown {
  if (secrets === none || !(error instanceof WheelworkError) || error.problems.length === 0) return error;
  const { code, next, retryable, details, problems } = error;
  const [first = ""] = error.message.split("\n", 1);
  return new WheelworkError(code, secrets.hideIn(first.replace(`${code}: `, "")), {
    problems: problems.map(({ path, message }) => ({ path, message: secrets.hideIn(message) })),
    retryable,
    ...(next === undefined ? {} : { next }),
    ...(details === undefined ? {} : { details: secrets.hide(details) }),
  });
}
