import { WheelworkError, type Engine } from "wheelwork";
import type { Allocation, SqliteResourcePool } from "./resources-sqlite.ts";

/** What is known of a flow. */
export interface FlowView {
  readonly flowid: string;
  /** `UP` once a request for it has ended well, `IN_PROGRESS` while one is worked, `DOWN` when all have failed. */
  readonly state: "UP" | "IN_PROGRESS" | "DOWN";
  /** The request that made it so. */
  readonly requestId: string;
  readonly resources?: { readonly cookie: number; readonly meter: number; readonly path: readonly string[] };
  /** How many rules it has. */
  readonly rules?: number;
}

/**
 * The state of flows. Whether a flow is up is decided in one place only: by the answer to its request, which the engine
 * commits with the end of the run. The application's database keeps what the flow has, and, once the answer is known,
 * that it is up; that note is a copy, made again at the next start if the process dies before it is written. So there is
 * no moment at which a flow is shown up that has failed, or down that has its answer.
 */
export class Flows {
  readonly #engine: Engine;
  readonly #pool: SqliteResourcePool;
  #closed = false;

  constructor(engine: Engine, pool: SqliteResourcePool) {
    this.#engine = engine;
    this.#pool = pool;
  }

  /** What is known of a flow; undefined: nothing. */
  async get(flowid: string): Promise<FlowView | undefined> {
    const views = await Promise.all(this.#pool.allocationsOf(flowid).map((held) => this.#view(held)));
    const best = (["UP", "IN_PROGRESS", "DOWN"] as const)
      .map((state) => views.find((view) => view.state === state))
      .find((view) => view !== undefined);
    if (best !== undefined) return best;
    const requestId = this.#pool.lastReleased(flowid);
    return requestId === undefined ? undefined : { flowid, state: "DOWN", requestId };
  }

  /** Notes which flows have come up without a note of it, because the process died in between. */
  async catchUp(): Promise<void> {
    let page = this.#pool.pendingAfter(0);
    while (page.length > 0 && !this.#closed) {
      await Promise.all(page.map((held) => this.#stateOf(held)));
      if (this.#closed) return;
      page = this.#pool.pendingAfter(page.at(-1)?.cookie ?? 0);
    }
  }

  close(): void {
    this.#closed = true;
  }

  async #view(held: Allocation): Promise<FlowView> {
    const { request, flowid, cookie, meter, path, rules } = held;
    const state = await this.#stateOf(held);
    return { flowid, state, requestId: request, resources: { cookie, meter, path }, rules };
  }

  async #stateOf({ request, up }: Allocation): Promise<FlowView["state"]> {
    if (up) return "UP";
    const answer = await this.#answer(request);
    if (answer === "none") return "IN_PROGRESS";
    if (answer !== "result") return "DOWN";
    if (!this.#closed) await this.#pool.activate(request);
    return "UP";
  }

  /** How a request was answered. One that is forgotten was not answered with a result, or that would be noted. */
  async #answer(request: string): Promise<"none" | "result" | "failure"> {
    try {
      const answer = await this.#engine.answer(request, { waitMs: 0 });
      if (answer === undefined) return "none";
      return answer.kind === "result" ? "result" : "failure";
    } catch (error) {
      if (error instanceof WheelworkError && error.code === "WW_NOT_FOUND") return "failure";
      throw error;
    }
  }
}
