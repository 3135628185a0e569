import { forgettable } from "./commands.ts";
import type { Env, Input } from "./decision.ts";
import type { HubDefinition } from "./hub.ts";
import { plain } from "./plain.ts";
import type { KeptSignal, RunEvent } from "./events.ts";
import type { Run } from "./run.ts";
import { accepts } from "./schema.ts";
import { checkStored } from "./stored.ts";

/*
 * A signal that no state takes yet is kept, with the run or with its incident. Its schema may be another one by the time
 * that it is taken (stored.ts).
 */

type SignalInput = Extract<Input, { kind: "signal" }>;
type SignalEvent = Extract<RunEvent, { type: "signalled" }>;

/** A signal that the run takes, or keeps until a state takes it. */
export function signalled(
  run: Run,
  { id, hash, post, signal }: SignalInput,
  { now: at, memory }: Env,
  payload: unknown,
): SignalEvent {
  const event = { type: "signalled", at, id, signal, payload } as const;
  if (hash === undefined) return event;
  const forgets = forgettable(run, memory);
  return {
    ...event,
    hash,
    ...(post === undefined ? {} : { post }),
    ...(forgets === 0 ? {} : { forgets }),
  };
}

/** A signal that the run keeps until a state takes it. */
export function keptSignal(definition: HubDefinition, run: Run, input: SignalInput, env: Env): SignalEvent {
  const event = signalled(run, input, env, input.payload);
  return isTransformed(definition, input) ? { ...event, transformed: true } : event;
}

/** Whether a signal cannot be checked again. Known only while the schema is the one that has made the payload. */
function isTransformed(
  { signals }: HubDefinition,
  { signal, payload, stored, transformed }: SignalInput,
): boolean {
  const schema = signals[signal];
  if (stored === true || schema === undefined) return transformed === true;
  return !accepts(schema, payload);
}

/** The payload of a signal that was kept, as today's schema has it. */
export function payloadOf(
  { name, signals }: HubDefinition,
  { signal, payload, transformed }: KeptSignal,
): unknown {
  const schema = signals[signal];
  if (schema === undefined || transformed === true) return payload;
  const what = `the payload of the signal ${signal} to ${name}`;
  return plain(checkStored(schema, payload, what), "WW_DEFECT", what);
}

/** An input as it is kept with an incident: with a note if it cannot be checked again. */
export function parkedInput(definition: HubDefinition, input: Input): Input {
  // By the time of a retry it may have other calls.
  if (input.kind === "recheck") return { kind: "recheck" };
  if (input.kind !== "signal" || input.stored === true || !isTransformed(definition, input)) return input;
  return { ...input, transformed: true };
}

/** The names of kept signals that no state takes any more. */
export function untaken(kept: readonly KeptSignal[], takes: ReadonlySet<string>): readonly string[] {
  return [...new Set(kept.map(({ signal }) => signal))].filter((signal) => !takes.has(signal));
}
