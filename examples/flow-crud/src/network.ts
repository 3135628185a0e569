// The network of the example: a ring of switches, and one rule of a flow on each hop of its path. A message to the
// controller names no switch, so where a rule lives follows from its number; the path is computed in agreement.

/** How many switches the ring has, unless said otherwise. */
export const defaultSwitches = 8;

/** The number of the switch that holds a rule, from 1. */
export const numberOfSwitch = (ruleid: number, switches: number): number => (ruleid % switches) + 1;

/** The name of the switch that holds a rule. */
export const switchOf = (ruleid: number, switches: number): string =>
  `sw-${numberOfSwitch(ruleid, switches)}`;

/** The port of a switch that leads to another one. */
export const portTo = (neighbour: number): number => 100 + neighbour;

/** The switches that a flow of `length` hops crosses, in order; a longer flow goes around the ring again. */
export function pathOf(length: number, switches: number): string[] {
  return Array.from({ length: Math.min(length, switches) }, (_, hop) => switchOf(hop, switches));
}
