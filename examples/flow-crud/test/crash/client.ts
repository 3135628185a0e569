import { setTimeout as sleep } from "node:timers/promises";

/** A flow that a client is to create. */
export interface Wish {
  readonly key: string;
  readonly flowid: string;
  readonly length: number;
  /** The proof of concept's error switch. */
  readonly error: 0 | 1 | 2 | null;
  /** It is to be cancelled, so many milliseconds after it was accepted. */
  readonly cancelAfterMs: number | undefined;
}

/** A request as its client knows it: what was sent, and everything that was ever said to it. */
export interface Told extends Wish {
  /** Every answer that was given, as status and text: there must be one. */
  readonly answers: Set<string>;
  /** How often an answer was given. */
  told: number;
  /** Known as soon as the system has said that the request is accepted. */
  requestId: string | undefined;
  /** Of the answer; 0: there is none yet. */
  status: number;
  /** A cancel was accepted. */
  cancelled: boolean;
  /** What the system should never have said. */
  readonly wrong: string[];
}

/** Where a system is that may move: what was asked there is to be asked again at the next place once `left` is aborted. */
export interface Place {
  readonly url: string;
  readonly left: AbortSignal;
}

/** An honest client: it insists on its answer whatever happens on the way, and keeps a record of what it is told. */
export class Client {
  readonly #place: () => Partial<Place> & Pick<Place, "url">;

  /** `place`: where the system is now. */
  constructor(place: string | (() => Place)) {
    this.#place = typeof place === "string" ? () => ({ url: place }) : place;
  }

  /** Sends a request until it has its answer. */
  async create(wish: Wish): Promise<Told> {
    const told: Told = {
      ...wish,
      answers: new Set(),
      told: 0,
      requestId: undefined,
      status: 0,
      cancelled: false,
      wrong: [],
    };
    if (wish.cancelAfterMs !== undefined) {
      await persist(async () => this.#note(told, await this.#post(told, 0)));
      await sleep(wish.cancelAfterMs);
      if (told.status === 0) await persist(() => this.#cancel(told));
    }
    await this.insist(told);
    return told;
  }

  /**
   * Asks for the answer until it is there: by the request's id once it is known, so that a request that was accepted and
   * is lost shows itself, and is not made anew under its key.
   */
  async insist(told: Told, by: "id" | "key" = "id"): Promise<void> {
    await persist(async () => {
      const id = by === "id" ? told.requestId : undefined;
      const response = await (id === undefined ? this.#post(told, 5) : this.#fetch(`/requests/${id}/answer`));
      await this.#note(told, response);
      return response.status !== 202;
    });
  }

  #post({ key, flowid, length, error }: Told, waitS: number): Promise<Response> {
    return this.#fetch("/flow", {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": key, prefer: `wait=${waitS}` },
      body: JSON.stringify({ flowid, length, error }),
    });
  }

  async #cancel(told: Told): Promise<true> {
    const response = await this.#fetch(`/requests/${told.requestId}/cancel`, {
      method: "POST",
      headers: { "content-type": "application/json" },
    });
    const text = await response.text();
    // 409: it has ended meanwhile.
    if (response.status === 202) told.cancelled = true;
    else if (response.status !== 409) told.wrong.push(`a cancel got ${response.status} ${text}`);
    return true;
  }

  async #fetch(path: string, init: RequestInit = { headers: { prefer: "wait=5" } }): Promise<Response> {
    const { url, left } = this.#place();
    const late = AbortSignal.timeout(15_000);
    const signal = left === undefined ? late : AbortSignal.any([late, left]);
    const response = await fetch(`${url}${path}`, { ...init, signal });
    if (response.status !== 503) return response;
    await response.arrayBuffer();
    throw new Unavailable();
  }

  async #note(told: Told, response: Response): Promise<true> {
    const { status } = response;
    const text = await response.text();
    const { requestId } = JSON.parse(text) as { requestId?: string };
    if (requestId === undefined) {
      told.wrong.push(`got ${status} ${text}`);
      return true;
    }
    if (told.requestId !== undefined && told.requestId !== requestId)
      told.wrong.push(`has the ids ${told.requestId} and ${requestId}`);
    told.requestId = requestId;
    if (status === 202) {
      if (told.status !== 0) told.wrong.push("was answered, and then not");
      return true;
    }
    told.status = status;
    told.answers.add(`${status} ${text}`);
    told.told++;
    return true;
  }
}

/** The system takes nothing now. */
class Unavailable extends Error {}

/** Asks through restarts, until `ask` gives true. */
async function persist(ask: () => Promise<boolean>): Promise<void> {
  for (;;) {
    try {
      if (await ask()) return;
    } catch (error) {
      // The process was killed under the request, or is not up.
      if (!(error instanceof Unavailable || isConnectionError(error))) throw error;
    }
    await sleep(20);
  }
}

const isConnectionError = (error: unknown): boolean =>
  error instanceof Error &&
  (error instanceof TypeError || ["TimeoutError", "AbortError"].includes(error.name));
