import type { WheelworkError } from "@wheelwork/core";
import { placeOf } from "../ports/damage.ts";
import type { EngineEvent, Logger } from "../ports/ports.ts";

/** So many places are remembered, and named to those who ask how the engine is. A disk that fails damages many. */
const [maxPlaces, maxNamed] = [10_000, 10];

/** What this process has found damaged in a store: each place is told once. */
export class Damages {
  readonly #logger: Logger;
  readonly #observe: ((event: EngineEvent) => void) | undefined;
  readonly #onDamage: ((damage: WheelworkError) => void) | undefined;
  readonly #places = new Set<string>();

  constructor(
    logger: Logger,
    observe: ((event: EngineEvent) => void) | undefined,
    onDamage: ((damage: WheelworkError) => void) | undefined,
  ) {
    this.#logger = logger;
    this.#observe = observe;
    this.#onDamage = onDamage;
  }

  tell(damage: WheelworkError): void {
    const place = placeOf(damage);
    if (this.#places.has(place) || this.#places.size >= maxPlaces) return;
    this.#places.add(place);
    this.#logger.error(
      { error: damage.message },
      "a part of the store is damaged; the rest goes on without it",
    );
    this.#observe?.({ name: "damaged", message: place });
    this.#onDamage?.(damage);
  }

  /** For `EngineHealth`. */
  get warnings(): readonly string[] {
    const named = [...this.#places].slice(0, maxNamed);
    const more = this.#places.size - named.length;
    return more === 0 ? named : [...named, `${more} more places of the store are damaged: see the log`];
  }
}
