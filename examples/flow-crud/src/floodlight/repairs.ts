import type { Command, FlowStats, MeterConfig } from "@wheelwork/openflow";
import type { FlowRule, MeterRule } from "../controller/model.ts";
import { dueAt, type Place } from "./address-book.ts";
import {
  additionOf,
  addressOfFlow,
  deletionOf,
  isAsTold,
  isMeterAsTold,
  isOfFlow,
  lldpRule,
  meterDeletion,
  meterMod,
} from "./rule-messages.ts";

// What makes a switch have what it should have. It decides only: it is told what the switch has, and what the book says.

/** What a switch has. */
export interface SwitchState {
  readonly flows: readonly FlowStats[];
  readonly meters: readonly MeterConfig[];
}

/** What a switch is to be told. */
export interface Repairs {
  readonly state: SwitchState;
  /** In this order: what is too much goes, meters come, rules come, meters go. */
  readonly messages: readonly Command[];
  /** The address that a message is about, by the place of the message. */
  readonly placeOf: ReadonlyMap<number, string>;
  /** Places that are empty once the messages are done. */
  readonly emptied: readonly Place[];
  /** Places that have their rules once the messages are done, and where that was not proven yet. */
  readonly filled: readonly Place[];
  /** Meters that must go, and that a due rule uses. */
  readonly heldMeters: readonly Place[];
  /** What a person should look at. */
  readonly problems: readonly string[];
}

/** So many messages are few enough to be told at once. */
const few = 5000;

/** Whether the rest can be told at once. */
export const isSettled = ({ messages }: Repairs): boolean => messages.length <= few;

/** Compares what a switch has with what the book says about it. */
export function repairsOf(places: readonly Place[], state: SwitchState): Repairs {
  const { flows, meters } = state;
  const due = new Map<string, { readonly place: Place; readonly rule: FlowRule | MeterRule }>();
  for (const place of places) {
    const rule = dueAt(place);
    if (rule !== null) due.set(place.address, { place, rule });
  }
  const [foreign, right] = [new Set<string>(), new Set<string>()];
  const deletions: Command[] = [];
  let isDiscoverable = false;
  for (const flow of flows) {
    if (!isOfFlow(flow.cookie)) {
      isDiscoverable ||= isAsTold(lldpRule, flow);
      const address = addressOfFlow(flow);
      if (address !== undefined) foreign.add(address);
      continue;
    }
    const address = addressOfFlow(flow);
    const wanted = address === undefined ? undefined : due.get(address)?.rule;
    // What takes the place of another rule needs no deletion, and leaves no gap.
    if (wanted?.kind !== "rule") deletions.push(deletionOf(flow));
    else if (isAsTold(additionOf(wanted), flow)) right.add(address as string);
  }
  const hasMeter = new Map(meters.map((meter) => [meter.meterId, meter]));
  const [additions, placeOf, problems, filled] = [
    [] as Command[],
    new Map<number, string>(),
    [] as string[],
    [] as Place[],
  ];
  const add = (address: string, message: Command): void => {
    placeOf.set(deletions.length + additions.length, address);
    additions.push(message);
  };
  const fill = (place: Place, rule: MeterRule): void => {
    const there = hasMeter.get(rule.meter);
    if (there === undefined) add(place.address, meterMod("add", rule));
    else if (!isMeterAsTold(rule, there)) add(place.address, meterMod("modify", rule));
  };
  const usedMeters = new Set<number>();
  for (const { rule } of due.values())
    if (rule.kind === "rule" && rule.meter !== null) usedMeters.add(rule.meter);
  const heldMeters: Place[] = [];
  for (const place of places) {
    const rule = dueAt(place);
    if (rule?.kind === "meter") {
      fill(place, rule);
      if (isUnproven(place)) filled.push(place);
    } else if (place.state === "removed" && place.rule.kind === "meter" && usedMeters.has(place.rule.meter)) {
      // A rule that must be there cannot be without it.
      fill(place, place.rule);
      heldMeters.push(place);
    }
  }
  if (!isDiscoverable) additions.push(lldpRule);
  for (const { place, rule } of due.values()) {
    if (rule.kind !== "rule") continue;
    if (foreign.has(place.address)) problems.push(`a rule of somebody else is at ${place.address}`);
    else {
      if (!right.has(place.address)) add(place.address, additionOf(rule));
      if (isUnproven(place)) filled.push(place);
    }
  }
  const emptied = places.filter((place) => place.state === "removed" && !heldMeters.includes(place));
  for (const { address, rule } of emptied)
    if (rule.kind === "meter" && hasMeter.has(rule.meter)) add(address, meterDeletion(rule.meter));
  return { state, messages: [...deletions, ...additions], placeOf, emptied, filled, heldMeters, problems };
}

const isUnproven = ({ state }: Place): boolean => state === "wanted" || state === "owed";
