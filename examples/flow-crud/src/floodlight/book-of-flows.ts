import { addressOf, isSameRule, type Layout, type Rule } from "../controller/model.ts";
import { pathOfCookie, rulesOf } from "../controller/rules.ts";
import type { FlowMark, FlowMarks, StoreAge } from "../controller/store.ts";
import { dueAt, type Fresh, type Place } from "./address-book.ts";

// What the book of rules must say, by what the store of flows says. It decides only.

/** Commands have numbers that follow the version of their plan, below this: see `Plan.version`. */
const planStep = 1_000;

/** So many differences are told. */
const mostTold = 5;

const allRulesOf = (layout: Layout | null): Rule[] => {
  const { inner, entries } = rulesOf(layout);
  return [...inner, ...entries];
};

const nameOf = ({ switchId }: { readonly switchId: string }, address: string): string =>
  `${switchId} ${address}`;

/**
 * What shows that a book and a store of flows are not of the same time: one of them is new, or of an older backup. Of a flow on which an
 * operation works, the book may say this or that. Of any other, it says exactly what the flow needs, since nothing is settled before it was
 * noted.
 */
export function differencesOf(
  { lastCommand, places }: { readonly lastCommand: number; readonly places: readonly Place[] },
  { lastPlan, flows }: FlowMarks,
): string[] {
  const found: string[] = [];
  if (lastCommand >= lastPlan + planStep)
    found.push("the book has commands of plans that the store of flows has never made");
  const due = new Map<string, Rule>();
  for (const place of places) {
    const rule = dueAt(place);
    if (rule !== null) due.set(nameOf(place, place.address), rule);
  }
  for (const { flowId, standing, planned } of flows) {
    const layouts = planned === null ? [standing] : [planned.before, planned.after];
    for (const rule of layouts.flatMap(allRulesOf)) {
      const name = nameOf(rule, addressOf(rule));
      const there = due.get(name);
      if (planned === null && (there === undefined || !isSameRule(there, rule)))
        found.push(`flow ${flowId} needs ${name}, and the book does not say so`);
      due.delete(name);
    }
  }
  for (const name of due.keys()) found.push(`the book says ${name}, and no flow needs it`);
  return found;
}

/** A few of the differences, for people. */
export const textOfDifferences = (differences: readonly string[]): string => {
  const more = differences.length - mostTold;
  return [...differences.slice(0, mostTold), ...(more > 0 ? [`and ${more} more`] : [])].join("; ");
};

/** The numbers that a store of flows must not give again, by a book that is to be replaced. */
export function leastOf(lastCommand: number, places: readonly Place[]): StoreAge {
  let last = 0;
  for (const { rule, previous } of places)
    for (const { cookie } of previous === null ? [rule] : [rule, previous])
      last = Math.max(last, pathOfCookie(BigInt(`0x${cookie}`))?.pathId ?? 0);
  return { lastPlan: Math.ceil(lastCommand / planStep) * planStep, nextPath: last + 1 };
}

/**
 * A book that is made of the flows. They are those of a store in which no plan that is not committed can come true any more. The runs of such
 * plans go back, those of committed plans clear what is old: what they say of their places is later than what the book says, and what
 * they have said before is earlier.
 */
export function bookOf({ lastPlan, flows }: FlowMarks, switches: readonly string[]): Fresh {
  const floor = lastPlan + planStep - 1;
  return { places: flows.flatMap((flow) => placesOf(flow, floor)), floor, switches };
}

function placesOf({ standing, planned }: FlowMark, floor: number): Place[] {
  const needed = allRulesOf(standing);
  if (planned === null) return needed.map((rule) => placeOf(rule, floor, "owed"));
  const seq = planned.version + (planned.isCommitted ? 2 : 1);
  const names = new Set(needed.map((rule) => nameOf(rule, addressOf(rule))));
  const others = allRulesOf(planned.isCommitted ? planned.before : planned.after);
  return [
    ...needed.map((rule) => placeOf(rule, seq, "owed")),
    ...others
      .filter((rule) => !names.has(nameOf(rule, addressOf(rule))))
      .map((rule) => placeOf(rule, seq, "removed")),
  ];
}

const placeOf = (rule: Rule, seq: number, state: "owed" | "removed"): Place => ({
  switchId: rule.switchId,
  address: addressOf(rule),
  seq,
  state,
  rule,
  previous: null,
});
