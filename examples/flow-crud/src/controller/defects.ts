import type { AnyHub } from "wheelwork";

type Definition = AnyHub["definition"];
type State = Definition["states"] extends ReadonlyMap<string, infer S> ? S : never;

/**
 * Gives hubs a defect: for tests and simulations. While `isDefective` says so, their handlers throw when a run enters a state, when a call has
 * settled, and when a round is over, and so their runs are parked. The hubs themselves know nothing of it. They are changed in place, since
 * hubs that start them know them by what they are.
 */
export function giveDefects(hubs: readonly AnyHub[], isDefective: () => boolean): void {
  const sound = (): void => {
    if (isDefective()) throw new Error("a defect, as a test wants it");
  };
  const defective = ({ logic, ...state }: State): State => {
    const { outcome, done } = logic;
    return {
      ...state,
      logic: {
        ...logic,
        enter: (...given) => {
          sound();
          return logic.enter(...given);
        },
        ...(outcome && {
          outcome: (...given: Parameters<typeof outcome>) => {
            sound();
            return outcome.call(logic, ...given);
          },
        }),
        ...(done && {
          done: (...given: Parameters<typeof done>) => {
            sound();
            return done.call(logic, ...given);
          },
        }),
      },
    };
  };
  for (const { definition } of hubs) {
    const states = definition.states as Map<string, State>;
    for (const [name, state] of states) states.set(name, defective(state));
  }
}
