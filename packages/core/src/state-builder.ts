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
  type Step,
} from "./logic.ts";
import type { Addressee } from "./post.ts";
import type { Callable } from "./spoke.ts";

const step = (callee: Callable, options: Omit<Step, "callee">): { step: Step } => ({
  step: { callee, ...options },
});

/** `s` of the states (hub.ts) without its types. One object serves all states: only the types depend on the state. */
export const stateBuilder = {
  raise: (event: string, patch?: object, { close }: { readonly close?: readonly string[] } = {}) => {
    const raised = patch === undefined ? { raise: event } : { raise: event, patch };
    return close === undefined ? raised : { ...raised, close };
  },
  pick: (choose: Parameters<typeof pickLogic>[0]) => ({ logic: pickLogic(choose) }),
  call: (callee: Callable, options: Parameters<typeof eachLogic>[1]) => ({
    logic: eachLogic(callee, {
      ...options,
      inputs: (data: unknown) => [(options as unknown as { input: (data: unknown) => unknown }).input(data)],
      single: true,
    }),
  }),
  each: (callee: Callable, options: Parameters<typeof eachLogic>[1]) => ({
    logic: eachLogic(callee, options),
  }),
  part: (callee: Callable, options: Omit<ErasedPart, "callee">) => ({ part: { callee, ...options } }),
  all: (parts: Readonly<Record<string, { readonly part: ErasedPart }>>, options: ErasedAllOptions) => ({
    logic: allLogic(
      Object.fromEntries(Object.entries(parts).map(([name, { part }]) => [name, part])),
      options,
    ),
  }),
  step,
  sequence: (steps: readonly { step: Step }[], options: Parameters<typeof sequenceLogic>[1]) => ({
    logic: sequenceLogic(
      steps.map((made) => made.step),
      options,
    ),
  }),
  wait: (options: Parameters<typeof waitLogic>[0]) => ({ logic: waitLogic(options) }),
  answer: (reply: Parameters<typeof answerLogic>[0], options: { readonly next: string }) => ({
    logic: answerLogic(reply, options),
  }),
  // What is told to a hub starts it: the types do not allow it, and plain JavaScript has no types.
  tell: (callee: Callable, options: Parameters<typeof tellLogic>[1]) => ({
    logic: callee.kind === "hub" ? startLogic(callee, options) : tellLogic(callee, options),
  }),
  start: (to: Addressee, options: Parameters<typeof startLogic>[1]) => ({ logic: startLogic(to, options) }),
  signalRun: (to: Addressee, options: Parameters<typeof signalLogic>[1]) => ({
    logic: signalLogic(to, options),
  }),
};
