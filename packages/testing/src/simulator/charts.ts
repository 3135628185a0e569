import type { AnyHub, Spoke } from "@wheelwork/core";
import { bulkChart, bulkHub, bulkSpokes } from "./checker/bulks.ts";
import { callHub, carrierChart, carrierStates } from "./checker/calls.ts";
import { scheduleHub } from "./checker/schedules.ts";
import type { CheckedState, CheckedSystem } from "./checker/evidence.ts";

/** The spoke by which the engine takes posts to other runs. */
const postSpoke = "wheelwork.post";

/** Spokes whose workers are the engine's own: nobody sees their attempts. */
export const ownSpokes: ReadonlySet<string> = new Set([postSpoke, ...bulkSpokes]);

/** What a state does that waits for nothing. */
const passing: ReadonlySet<string> = new Set(["pass", "pick", "tell", "start", "signal", "answer", "end"]);

/** What the checker knows of hubs: their charts, their states, and the spokes that they call. */
export function chartsOf(
  hubs: readonly AnyHub[],
): Pick<CheckedSystem, "charts" | "spokes" | "states" | "slots" | "views"> {
  const charts = new Map<string, CheckedSystem["charts"] extends ReadonlyMap<string, infer C> ? C : never>([
    [callHub, carrierChart],
    [bulkHub, bulkChart],
  ]);
  const spokes = new Map<string, CheckedSystem["spokes"] extends ReadonlyMap<string, infer S> ? S : never>([
    [postSpoke, { attempts: Number.POSITIVE_INFINITY }],
    ...bulkSpokes.map((spoke) => [spoke, { attempts: Number.POSITIVE_INFINITY }] as const),
  ]);
  // The runs that carry posts of one run to another follow each other.
  const slots = new Map<string, number>([[postSpoke, 1]]);
  const views = new Map<string, (data: unknown) => unknown>();
  const commands = new Set(["deploy", "pause", "resume", "trigger", "backfill", "remove"]);
  const ticking = {
    drains: false,
    deadline: undefined,
    signals: commands,
    takes: commands,
    drops: new Set<string>(),
  };
  const steers = new Set(["pause", "resume"]);
  const listing = { ...ticking, deadline: "Stopped", signals: steers, takes: steers };
  const states = new Map<string, CheckedState>([
    [`${scheduleHub}: Waiting`, ticking],
    [`${scheduleHub}: Absent`, ticking],
    [`${scheduleHub}: Removed`, ticking],
    [`${bulkHub}: Listing`, listing],
    [`${bulkHub}: Working`, { ...listing, drains: true }],
    ...carrierStates,
  ]);
  const add = ({ name, definition }: AnyHub): void => {
    if (charts.has(name)) return;
    charts.set(name, definition.chart);
    const { exclusive, view } = definition;
    if (view !== undefined) views.set(name, view);
    if (exclusive !== undefined) slots.set(exclusive.lane, exclusive.slots);
    for (const [state, { logic, takes }] of definition.states)
      states.set(`${name}: ${state}`, {
        drains: logic.drain === true,
        deadline: logic.deadline?.raise,
        signals: new Set(logic.signals),
        takes,
        drops: definition.dropSignals,
        passes: passing.has(logic.kind),
      });
    for (const callee of definition.callees.values()) {
      if (callee.kind === "hub") add(callee as unknown as AnyHub);
      else {
        const { retry, heartbeatMs } = callee as unknown as Spoke;
        const on = new Map(Array.from(retry.on, ([code, { attempts }]) => [code, attempts]));
        spokes.set(callee.name, { attempts: retry.attempts, on, heartbeatMs });
      }
    }
  };
  for (const hub of hubs) add(hub);
  return { charts, spokes, states, slots, views };
}
