import type { AnyHub, Answer } from "@wheelwork/core";
import type { Engine, EngineEvent } from "@wheelwork/engine";
import { seededRandom } from "@wheelwork/testing";
import { hostileDeadlineMs, places, target, type Asked } from "./places.ts";
import { heavyNames, lightNames, names } from "./values.ts";

/** A place and a value, and the key of the request that asks for them. */
export interface Attack extends Asked {
  readonly key: string;
}

/** In so many of the places is a heavy value tried in a long attack: each takes about a second, in which nothing else happens. */
const heavyShare = 0.3;

/** Pairs of a place and a value. `share`: how many of them are drawn, from 0 to 1. With 1 there are heavy values, too. */
export function attacks(share: number, seed: number, at: readonly string[] = places): Attack[] {
  const random = seededRandom(seed);
  const shareOf = (value: string): number => (share === 1 && heavyNames.has(value) ? heavyShare : share);
  return at.flatMap((place) =>
    (share === 1 ? names : lightNames).flatMap((value) =>
      random() < shareOf(value) ? [{ place, value, key: `${place} ${value}` }] : [],
    ),
  );
}

/** Events that tell that more was harmed than one run. */
const harms: ReadonlySet<EngineEvent["name"]> = new Set<EngineEvent["name"]>([
  "attempt-died",
  "commits-lost",
  "damaged",
  "log-lost",
  "shard-fenced",
  "shard-refused",
  "store-lost",
]);

/** What engines tell while they are attacked. */
export class Witness {
  readonly #incidents = new Map<string, number>();
  readonly #attempts = new Map<string, number>();
  readonly harms: string[] = [];
  claims = 0;
  readonly observe = (event: EngineEvent): void => {
    if (harms.has(event.name)) this.harms.push(JSON.stringify(event));
    if (event.name === "shard-claimed") this.claims++;
    if (event.name === "incident") this.#incidents.set(event.key, (this.#incidents.get(event.key) ?? 0) + 1);
  };
  readonly attempted = (requestId: string, attempt: number): void => {
    if (attempt > 1) this.harms.push(`attempt ${attempt} of ${requestId}`);
    // What is told has a run of its own, below that of the request.
    const id = requestId.split("/t", 1).join("");
    this.#attempts.set(id, (this.#attempts.get(id) ?? 0) + 1);
  };

  /** Runs that were parked more than once. */
  parkedAgain(): string[] {
    return [...this.#incidents]
      .filter(([, times]) => times > 1)
      .map(([key, times]) => `${key}: ${times} times`);
  }

  parked(): number {
    return this.#incidents.size;
  }

  attemptsOf(requestId: string): number {
    return this.#attempts.get(requestId) ?? 0;
  }
}

/** How many attempts an honest run makes: one call, two of a round, a part, a told one and a step. */
export const honestAttempts = 6;
export const honestAnswer: Answer = { kind: "result", value: { place: "", value: "" } };
const honestRequest: Asked = { place: "", value: "" };

/** A cancel needs the id. A run without a deadline of its own is answered after a minute. */
const unsent: ReadonlySet<string> = new Set(["cancel patch", "deadlineMs"]);

/** What becomes of attacks. */
export class Attacker {
  readonly #attacks: readonly Attack[];
  readonly #hub: AnyHub;
  /** A request that has a lane has another id than its key. */
  readonly #ids = new Map<string, string>();
  /** The keys of those that were sent in another way. */
  readonly sent: string[] = [];
  /** Those that no request came of, with the code. */
  readonly refused = new Map<string, string>();

  /** @param hub The hub that the attacks go through. */
  constructor(all: readonly Attack[], hub: AnyHub = target) {
    this.#attacks = all;
    this.#hub = hub;
  }

  async #submit(engine: Engine, key: string, { place, value }: Asked): Promise<string> {
    // An engine may be late: an attack does much at once.
    const id = await again(
      async () => (await engine.submit(this.#hub, { place, value } as never, { key })).id,
    );
    this.#ids.set(key, id);
    return id;
  }

  /** `send`: sends every other request in another way. */
  async attack(engine: Engine, send?: (key: string, request: Asked) => Promise<void>): Promise<void> {
    // An attack on places is none on the number of connections.
    const left = this.#attacks.entries();
    const worker = async (): Promise<void> => {
      for (const [index, attack] of left) {
        const { key, place, value } = attack;
        try {
          if (send !== undefined && index % 2 === 1 && !unsent.has(place)) {
            this.sent.push(key);
            await send(key, { place, value });
            continue;
          }
          await this.#submit(engine, key, attack);
          if (place === "cancel patch") await again(() => engine.cancel(this.#idOf(key)));
        } catch (error) {
          this.refused.set(key, codeOf(error));
        }
      }
    };
    await Promise.all(Array.from({ length: 100 }, worker));
  }

  /** A request that does nothing wrong. Its id. */
  async honest(engine: Engine, key: string): Promise<string> {
    return this.#submit(engine, key, honestRequest);
  }

  readonly #idOf = (key: string): string => this.#ids.get(key) ?? key;

  /** What has become of all that were accepted, by their keys. `isOpen`: it goes on. */
  async look(engine: Engine): Promise<Map<string, { readonly is: string; readonly isOpen: boolean }>> {
    const seen = new Map<string, { readonly is: string; readonly isOpen: boolean }>();
    for (const { key } of this.#attacks) {
      if (this.refused.has(key)) continue;
      const id = this.#idOf(key);
      const { status, answer, incident, view, viewProblem } = await again(() => engine.request(id));
      const { code = "" } = (answer ?? {}) as { readonly code?: string };
      const { code: why = "" } = (incident?.error ?? {}) as { readonly code?: string };
      const shown = JSON.stringify([view, viewProblem?.slice(0, 500)]);
      // A parked run has its answer when its time is over, which may be before the next look.
      const is = status === "incident" ? `parked by ${why}` : `${status} ${answer?.kind ?? ""} ${code}`;
      seen.set(key, { is: `${is} ${shown}`, isOpen: status === "running" || status === "pending" });
    }
    return seen;
  }

  /** What has become of all requests, as lists tell it: by their keys. Honest ones are among them. */
  async list(engine: Engine): Promise<Map<string, string>> {
    const seen = new Map<string, string>();
    let cursor: string | undefined;
    do {
      const at = cursor;
      const options = { hub: this.#hub.name, limit: 500, ...(at === undefined ? {} : { cursor: at }) };
      const page = await again(() => engine.requests(options));
      for (const { id, status, outcome = "", code = "" } of page.items)
        seen.set(id.split("@~", 1).join(""), `${status} ${outcome} ${code}`);
      ({ cursor } = page);
    } while (cursor !== undefined);
    return seen;
  }

  /** Looks until nothing goes on. */
  async settled(engine: Engine, withinMs = 30_000 + 20 * hostileDeadlineMs): Promise<Map<string, string>> {
    const until = performance.now() + withinMs;
    for (;;) {
      const seen = await this.look(engine);
      const open = [...seen].filter(([, { isOpen }]) => isOpen).map(([key]) => key);
      if (open.length === 0) return new Map([...seen].map(([key, { is }]) => [key, is]));
      if (performance.now() > until) throw new Error(`not settled: ${open.slice(0, 20).join(", ")}`);
      await new Promise((resolve) => void setTimeout(resolve, 100));
    }
  }
}

const codeOf = (error: unknown): string => String((error as { readonly code?: unknown } | null)?.code);

/** Asks until there is an answer that is for good, for a minute at most. */
export async function again<T>(ask: () => Promise<T>, isOnItsWay = false): Promise<T> {
  for (const until = performance.now() + 60_000; ;) {
    try {
      return await ask();
    } catch (error) {
      const isLater = (error as { readonly retryable?: unknown } | null)?.retryable === true;
      if (!isLater && !(isOnItsWay && codeOf(error) === "WW_NOT_FOUND")) throw error;
      if (performance.now() > until) throw error;
      await new Promise((resolve) => void setTimeout(resolve, 50));
    }
  }
}
