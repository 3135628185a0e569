import { allLogic, type AllOptions as ErasedAllOptions, type Part as ErasedPart } from "./all.ts";
import {
  answerLogic,
  eachLogic,
  pickLogic,
  sequenceLogic,
  signalLogic,
  startLogic,
  tellLogic,
  waitLogic,
  type StateLogic,
  type Step,
} from "./logic.ts";
import type { Addressee } from "./post.ts";
import type { Callable } from "./spoke.ts";
import { statedAlone, statedAmong, statedOf, withoutLogic, type Stated } from "./stated.ts";

const step = (callee: Callable, options: Omit<Step, "callee">): { step: Step } => ({
  step: { callee, ...options },
});

/** A state, unless its options are wrong: then the hub is refused, and says what is. */
const made = (
  kind: StateLogic["kind"],
  stated: Stated,
  make: () => StateLogic,
): { readonly logic: StateLogic } => ({
  logic: stated.problems.length > 0 ? withoutLogic(kind, stated) : { ...make(), stated },
});

/** `s` of the states (hub.ts) without its types. One object serves all states: only the types depend on the state. */
export const stateBuilder = {
  raise: (event: string, patch?: object, { close }: { readonly close?: readonly string[] } = {}) => {
    const raised = patch === undefined ? { raise: event } : { raise: event, patch };
    return close === undefined ? raised : { ...raised, close };
  },
  pick: (choose: Parameters<typeof pickLogic>[0]) =>
    made("pick", statedAlone("pick", choose), () => pickLogic(choose)),
  call: (callee: Callable, options: Parameters<typeof eachLogic>[1]) =>
    made("call", statedOf("call", callee, options), () =>
      eachLogic(callee, {
        ...options,
        inputs: (data: unknown) => [
          (options as unknown as { input: (data: unknown) => unknown }).input(data),
        ],
        single: true,
      }),
    ),
  each: (callee: Callable, options: Parameters<typeof eachLogic>[1]) =>
    made("each", statedOf("each", callee, options), () => eachLogic(callee, options)),
  part: (callee: Callable, options: Omit<ErasedPart, "callee">) => ({ part: { callee, ...options } }),
  all: (parts: Readonly<Record<string, { readonly part: ErasedPart }>>, options: ErasedAllOptions) =>
    made("all", statedAmong("all", parts, options), () =>
      allLogic(Object.fromEntries(Object.entries(parts).map(([name, { part }]) => [name, part])), options),
    ),
  step,
  sequence: (steps: readonly { step: Step }[], options: Parameters<typeof sequenceLogic>[1]) =>
    made("sequence", statedAmong("sequence", steps, options), () =>
      sequenceLogic(
        steps.map((one) => one.step),
        options,
      ),
    ),
  wait: (options: Parameters<typeof waitLogic>[0]) =>
    made("wait", statedAlone("wait", options), () => waitLogic(options)),
  answer: (reply: Parameters<typeof answerLogic>[0], options: { readonly next: string }) =>
    made("answer", statedAlone("answer", reply, options), () => answerLogic(reply, options)),
  // What is told to a hub starts it: the types do not allow it, and plain JavaScript has no types.
  tell: (callee: Callable, options: Parameters<typeof tellLogic>[1]) =>
    made("tell", statedOf("tell", callee, options), () =>
      callee.kind === "hub" ? startLogic(callee, options) : tellLogic(callee, options),
    ),
  start: (to: Addressee, options: Parameters<typeof startLogic>[1]) =>
    made("start", statedOf("start", to, options), () => startLogic(to, options)),
  signalRun: (to: Addressee, options: Parameters<typeof signalLogic>[1]) =>
    made("signal", statedOf("signalRun", to, options), () => signalLogic(to, options)),
};
