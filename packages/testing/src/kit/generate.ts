import type { Callable, Hub, Spoke } from "@wheelwork/core";
import type { SeededRandom } from "../random.ts";
import { samplesOf } from "./samples.ts";
import type { Script, ScriptedAnswer } from "./script.ts";

/** Sample outputs, by the name of the spoke or hub. A function gets the input of the call. */
export interface OutputSamples {
  readonly [callee: string]: readonly unknown[] | ((input: never) => readonly unknown[]);
}

/** How spokes give random outcomes. */
export interface GenerateOptions {
  /** The same seed gives the same outcomes. Print it when a test fails. */
  readonly seed: number;
  /**
   * Sample outputs. Default: made from the schemas of the spokes, if these can be expressed as JSON Schema (zod,
   * arktype).
   */
  readonly outputs?: OutputSamples;
  /** Share of the attempts that hang, and share of the others that fail with a declared code, 0 to 1. Default: 0.1. */
  readonly failures?: number;
}

/** A script with random outcomes: successes, declared errors, and attempts that hang. Some come after the timeout. */
export function generated(
  spoke: Spoke,
  random: SeededRandom,
  options: Omit<GenerateOptions, "seed">,
): Script<never> {
  const { outputs, failures = 0.1 } = options;
  return (input): ScriptedAnswer => {
    const afterMs = random.int(Math.ceil(spoke.timeoutMs * 1.2));
    if (random.chance(failures)) return "hang";
    if (spoke.errors.length > 0 && random.chance(failures))
      return { fail: random.pick(spoke.errors), afterMs };
    return { ok: random.pick(outputsOf(spoke, input, outputs)), afterMs };
  };
}

/** Sample outputs of a spoke or a hub, for a call with this input. */
export function outputsOf(
  callee: Callable,
  input: unknown,
  outputs: OutputSamples | undefined,
): readonly unknown[] {
  const { name } = callee;
  const schema = callee.kind === "hub" ? (callee as Hub).definition.reply : (callee as Spoke).output;
  const given = outputs?.[name];
  const samples = typeof given === "function" ? given(input as never) : given;
  return samplesOf(schema, `the output of ${name}`, `outputs["${name}"]`, samples);
}
