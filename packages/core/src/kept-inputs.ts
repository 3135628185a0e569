import type { ParkedInput } from "./events.ts";

/**
 * The inputs that are kept while a run is parked, in their order. A round may have 100,000 calls whose outcomes all come meanwhile, and
 * each asks whether it has come before.
 */
export class KeptInputs {
  readonly #list: ParkedInput[] = [];
  /** What may come twice, and counts once. */
  readonly #names = new Set<string>();

  constructor(inputs: readonly ParkedInput[]) {
    for (const input of inputs) this.push(input);
  }

  get list(): readonly ParkedInput[] {
    return this.#list;
  }

  push(input: ParkedInput): void {
    this.#list.push(input);
    const { kind, call, id } = input;
    if (kind === "outcome") this.#names.add(`outcome ${String(call)}`);
    else if (kind === "signal") this.#names.add(`signal ${String(id)}`);
    else if (kind === "cancel") this.#names.add("cancel");
  }

  /** The first ones are decided. */
  drop(count: number): void {
    for (const { kind, call, id } of this.#list.splice(0, count)) {
      if (kind === "outcome") this.#names.delete(`outcome ${String(call)}`);
      else if (kind === "signal") this.#names.delete(`signal ${String(id)}`);
      else if (kind === "cancel") this.#names.delete("cancel");
    }
  }

  hasOutcome(call: number): boolean {
    return this.#names.has(`outcome ${call}`);
  }

  hasSignal(id: string): boolean {
    return this.#names.has(`signal ${id}`);
  }

  get hasCancel(): boolean {
    return this.#names.has("cancel");
  }
}
