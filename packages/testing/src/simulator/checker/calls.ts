import type { Answer, RunEvent } from "@wheelwork/core";
import { isDeepStrictEqual } from "node:util";
import type { TraceEntry } from "../trace.ts";
import { count, type Violation } from "../world.ts";
import type { CheckedState, CheckedSystem } from "./evidence.ts";
import { plain } from "./model.ts";
import type { PostsChecked } from "./posts.ts";

/** The engine's own hub whose runs carry calls into lanes of other shards. */
export const callHub = "call:";

const outcomes = new Set(["outcome"]);
const state: CheckedState = {
  drains: false,
  deadline: "GivenUp",
  signals: outcomes,
  takes: outcomes,
  drops: new Set(),
};

/** What its runs may do. */
export const carrierChart = {
  Starting: { Taken: "Waiting", Refused: "Done", Answered: "Done", GivenUp: "Cancelling" },
  Waiting: { Answered: "Done", GivenUp: "Cancelling" },
  Cancelling: { Taken: "Ending", Refused: "Done", Answered: "Done", Lost: "Done" },
  Ending: { Answered: "Done", Lost: "Done" },
  Done: "(end)",
} as const satisfies CheckedSystem["charts"] extends ReadonlyMap<string, infer C> ? C : never;

export const carrierStates: readonly (readonly [string, CheckedState])[] = Object.keys(carrierChart).map(
  (name) => [
    `${callHub}: ${name}`,
    name === "Done" ? { ...state, signals: new Set(), takes: new Set() } : state,
  ],
);

type Event<T extends RunEvent["type"]> = Extract<RunEvent, { type: T }>;
type Begun = Event<"started"> | Event<"accepted">;

interface CarrierModel {
  readonly key: string;
  readonly since: number;
  readonly callee: string;
  readonly hub: string;
  /** When the shard of the callee has taken the cancel, in simulated time. */
  withdrawnAt: number | undefined;
  by: string | undefined;
  answer: Answer | undefined;
}

interface CalleeModel {
  readonly begun: Begun;
  answer: Answer | undefined;
  /** When it was cancelled, began its clean-up, or has answered, in simulated time. */
  pastAt: number | undefined;
}

/**
 * Calls into lanes of other shards, over all of them (I36): each carrier begins one callee, whose answer it brings to its caller. The
 * post with an answer is accepted with the answer. A callee that nobody waits for any more is cancelled.
 */
export function checkCalls(traces: readonly (readonly TraceEntry[])[]): PostsChecked {
  const violations: Violation[] = [];
  const exercised = new Map<string, number>();
  const demand = (holds: boolean, message: () => string): void => {
    count(exercised, "I36");
    if (!holds) violations.push({ invariant: "I36", message: message() });
  };
  const carriers: CarrierModel[] = [];
  const open = new Map<string, CarrierModel>();
  const callees = new Map<string, CalleeModel[]>();
  /** What the store has not taken. */
  const refused = new Set<string>();
  for (const entry of traces.flat()) {
    if (entry.type === "refuses") refused.add(entry.key);
    if (entry.type !== "committed") continue;
    const begins = new Set(entry.journal.flatMap(({ key, events }) => (events.some(isBegun) ? [key] : [])));
    for (const { key, events } of entry.journal)
      for (const event of events) {
        if (isBegun(event)) {
          if (event.hub === callHub) {
            const { key: callee, hub } = event.request as { readonly key: string; readonly hub: string };
            const made = { key, since: event.at, callee, hub };
            const carrier = { ...made, withdrawnAt: undefined, by: undefined, answer: undefined };
            carriers.push(carrier);
            open.set(key, carrier);
          } else open.delete(key);
          if (event.caller !== undefined)
            callees.set(key, [
              ...(callees.get(key) ?? []),
              { begun: event, answer: undefined, pastAt: undefined },
            ]);
          else callees.delete(key);
        }
        const carrier = open.get(key);
        if (carrier !== undefined && event.type === "entered") {
          carrier.by = event.by;
          if (event.state === "Ending") carrier.withdrawnAt = entry.at;
        }
        if (carrier !== undefined && event.type === "ended" && event.answer?.kind === "result")
          carrier.answer = (event.answer.value as { readonly answer: Answer }).answer;
        const callee = callees.get(key)?.at(-1);
        if (callee === undefined) continue;
        if (isPast(event)) callee.pastAt ??= entry.at;
        const { answer } = event as { readonly answer?: Answer };
        if (answer === undefined) continue;
        callee.answer = answer;
        demand(
          begins.has(`${key}/o`) || refused.has(`${key}/o`),
          () => `${key} was called in another shard, and nobody carries its answer there`,
        );
      }
  }
  for (const [key, models] of callees) {
    demand(models.length === 1 || refused.has(key), () => `${key} has begun ${models.length} times`);
    for (const { begun } of models) {
      const { carrier: by, since } = begun.caller ?? {};
      const carrier = carriers.find((one) => one.key === by && one.since === since);
      demand(carrier?.callee === key, () => `${key} was called by ${by}, which does not know it`);
    }
  }
  for (const { key, callee, by, answer, withdrawnAt } of carriers) {
    const called = callees.get(callee)?.at(-1);
    if (by === "Answered")
      demand(
        isDeepStrictEqual(plain(answer), plain(called?.answer)),
        () => `${key} brings ${JSON.stringify(answer)}, and ${callee} has ${JSON.stringify(called?.answer)}`,
      );
    if (by === "Refused") demand(called === undefined, () => `${key} has begun nothing, and ${callee} works`);
    if (withdrawnAt !== undefined)
      demand(
        called?.pastAt !== undefined && called.pastAt <= withdrawnAt,
        () => `${key} was given up, and ${callee} goes on`,
      );
  }
  return { violations, exercised };
}

const isBegun = (event: RunEvent): event is Begun => event.type === "started" || event.type === "accepted";

/** Whether a cancel changes nothing from here on. */
const isPast = (event: RunEvent): boolean =>
  event.type === "cancelling" ||
  event.type === "answered" ||
  event.type === "ended" ||
  (event.type === "entered" && event.late === true) ||
  (event.type === "parked" && event.input.kind === "cancel");
