import { noDeadline } from "@wheelwork/core/kernel";
import type { Evidence } from "./evidence.ts";
import type { CallModel, RunModel } from "./model.ts";
import type { Ownership } from "./ownership.ts";

interface Debt {
  /** In simulated time. */
  readonly since: number;
  readonly isOpen: () => boolean;
  readonly message: string;
}

/**
 * What one run owes another, and need not be in the same commit: it comes soon, whichever process dies in between (I23). A
 * child of an open call begins, a run that was accepted makes its first turn, a child that nobody waits for is told to end.
 */
export class Owed {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  readonly #debts = new Map<string, Debt>();

  constructor(evidence: Evidence, ownership: Ownership) {
    this.#evidence = evidence;
    this.#ownership = ownership;
  }

  /** A run is accepted. */
  firstTurn(run: RunModel): void {
    const isOpen = (): boolean => run.state === "" && run.status === "running";
    this.#owe(`${run.key} first turn`, isOpen, `${run.key} was accepted, and never began`);
  }

  /** A retry was accepted: all that the run keeps is decided. */
  retry(run: RunModel): void {
    this.#owe(`${run.key} retry`, () => run.retrying, `${run.key} was retried, and is parked still`);
  }

  /** A call of a hub begins. */
  child(run: RunModel, call: CallModel): void {
    const key = `${run.key}/${call.number}`;
    // The store may refuse the child: then its parent keeps that for later, if it is parked, or that parks it.
    const isKept = (): boolean =>
      run.events.some(
        (event) =>
          (event.type === "parked" || event.type === "incident") &&
          event.input.kind === "outcome" &&
          event.input["call"] === call.number,
      );
    const isOpen = (): boolean =>
      run.calls.get(call.number) === call && !this.#evidence.runs.has(key) && !isKept();
    this.#owe(`${key} child`, isOpen, `${run.key} waits for call ${call.number}, whose run never began`);
  }

  /** A run has left its calls of hubs, or waits for them since it was cancelled: the children are told to end. */
  cancels(run: RunModel): void {
    for (const call of run.calls.values()) this.cancelled(run, call);
  }

  /** One call of a run is given up. */
  cancelled(run: RunModel, call: CallModel): void {
    if (call.isHub && call.attempt > 0) this.#cancel(run, call);
  }

  #cancel(run: RunModel, call: CallModel): void {
    const { number } = call;
    const key = `${run.key}/${number}`;
    const isOpen = (): boolean => {
      const child = this.#evidence.runs.get(key);
      // It begins first, if its call is still open.
      if (child === undefined) return run.calls.get(number) === call;
      // What has answered first goes on without its caller.
      if (child.deadline >= noDeadline) return false;
      return child.status !== "ended" && !child.late && !child.commands.has("cancel parent");
    };
    this.#owe(`${key} cancel`, isOpen, `${run.key} has given up its call ${number}, and the child goes on`);
  }

  /** A commit is looked at: what was owed before has been done, if there was time for it. */
  look(): void {
    for (const [name, { since, isOpen, message }] of this.#debts) {
      const open = isOpen();
      if (!open) this.#debts.delete(name);
      this.#evidence.demand("I23", !open || !this.#ownership.hadTime(since), () => message);
    }
  }

  #owe(name: string, isOpen: () => boolean, message: string): void {
    // Another run may come under the key after its retention.
    this.#debts.set(name, { since: this.#evidence.at, isOpen, message });
  }
}
