import type { TraceEntry } from "../trace.ts";
import type { Evidence } from "./evidence.ts";
import type { CallModel, RunModel } from "./model.ts";
import type { Ownership } from "./ownership.ts";

/** What was seen of one attempt of a spoke with heartbeats. */
interface Heard {
  readonly node: number;
  /** When it has said something last, or was begun, in simulated time. */
  at: number;
  /** What it has said last; undefined: nothing. */
  value: unknown;
}

/**
 * Holds what is committed of progress against what workers have said: an attempt fails for silence only after it was silent for so
 * long, what is stored was said, and the next attempt gets what is stored (I28).
 *
 * Who hears of a commit later than it is made may have begun an attempt before: only those who hear at once are judged.
 */
export class Heartbeats {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  /** The last process that has made each attempt: `request/call/attempt`. */
  readonly #heard = new Map<string, Heard>();
  /** Everything that was said of a call: `request/call`. */
  readonly #said = new Map<string, Set<unknown>>();
  /** What is stored of a call: `request/call`. */
  readonly #stored = new Map<string, unknown>();

  constructor(evidence: Evidence, ownership: Ownership) {
    this.#evidence = evidence;
    this.#ownership = ownership;
  }

  get #hearsAtOnce(): boolean {
    return this.#evidence.system.lagMs === 0;
  }

  /** A worker makes an attempt. */
  made({ node, request, call, attempt, lastProgress }: TraceEntry & { type: "attempt" }): void {
    const { at } = this.#evidence;
    this.#heard.set(`${request}/${call}/${attempt}`, { node, at, value: undefined });
    if (!this.#hearsAtOnce || node !== this.#ownership.owner) return;
    const stored = this.#stored.get(`${request}/${call}`);
    this.#evidence.demand(
      "I28",
      lastProgress === stored,
      () => `attempt ${attempt} of ${request}/${call} goes on from ${lastProgress}, and ${stored} is stored`,
    );
  }

  /** A worker says how far it is. */
  beat({ node, request, call, attempt, value }: TraceEntry & { type: "beat" }): void {
    const heard = this.#heard.get(`${request}/${call}/${attempt}`);
    const said = this.#said.get(`${request}/${call}`) ?? new Set();
    this.#said.set(`${request}/${call}`, said.add(value));
    if (heard?.node === node) Object.assign(heard, { at: this.#evidence.at, value });
  }

  /** It is committed how far an attempt is. */
  progressed({ key }: RunModel, call: number, value: unknown): void {
    this.#stored.set(`${key}/${call}`, value);
    this.#evidence.demand(
      "I28",
      this.#said.get(`${key}/${call}`)?.has(value) === true,
      () => `${key}/${call}: ${value} is stored as progress, which no worker said`,
    );
  }

  /** An attempt has failed, and another one may follow. */
  failed(
    { key }: RunModel,
    call: CallModel,
    failure: { readonly kind: string; readonly code?: string },
  ): void {
    const { at, system } = this.#evidence;
    const { heartbeatMs } = system.spokes.get(call.callee) ?? {};
    const { owner, claims, isDisturbed } = this.#ownership;
    const heard = this.#heard.get(`${key}/${call.number}/${call.attempt}`);
    if (heartbeatMs === undefined || heard?.node !== owner || !this.#hearsAtOnce) return;
    if (failure.code === "WW_NO_HEARTBEAT")
      this.#evidence.demand(
        "I28",
        heard.at + heartbeatMs <= at,
        () => `${key}/${call.number} fails for silence ${at - heard.at} ms after it has said something`,
      );
    if (isDisturbed || call.begunIn !== claims || call.begunAgain || heard.value === undefined) return;
    const stored = this.#stored.get(`${key}/${call.number}`);
    this.#evidence.demand(
      "I28",
      stored === heard.value,
      () => `${key}/${call.number} has failed at ${heard.value}, and ${stored} is stored`,
    );
  }
}
