import { setTimeout as sleep } from "node:timers/promises";

interface Told {
  readonly id: string;
  readonly event: object;
}

/** How long it waits before it connects again, in milliseconds. */
const againMs = 50;

/**
 * Reads `GET /events`, as an EventSource does: when the stream breaks, it goes on after the last position, at any process. `staysMs`: how
 * long it reads one stream, in milliseconds.
 */
export class EventsReader {
  /** All that it was told of each run, as JSON. */
  readonly told = new Map<string, string[]>();
  streams = 0;
  problem: string | undefined = undefined;
  readonly #leaving = new AbortController();
  readonly #portOf: () => number | undefined;
  readonly #staysMs: () => number;
  #position: string | undefined = undefined;
  #begun = (): void => {};
  /** It knows where it begins. */
  readonly begun = new Promise<void>((resolve) => (this.#begun = resolve));
  readonly #done: Promise<void>;

  constructor(portOf: () => number | undefined, staysMs: () => number) {
    this.#portOf = portOf;
    this.#staysMs = staysMs;
    this.#done = this.#run();
  }

  async leave(): Promise<void> {
    this.#leaving.abort();
    await this.#done;
  }

  async #run(): Promise<void> {
    for (; !this.#leaving.signal.aborted && this.problem === undefined; await sleep(againMs)) {
      const port = this.#portOf();
      if (port === undefined) continue;
      try {
        await this.#readFrom(port);
      } catch {
        // Its process was killed, or it has left.
      }
    }
  }

  async #readFrom(port: number): Promise<void> {
    const signal = AbortSignal.any([this.#leaving.signal, AbortSignal.timeout(this.#staysMs())]);
    const headers: Record<string, string> =
      this.#position === undefined ? {} : { "last-event-id": this.#position };
    const response = await fetch(`http://127.0.0.1:${port}/events`, { headers, signal });
    // A shard is on its way to another owner, or its store is away.
    if (response.status >= 500) return;
    if (response.status !== 200) {
      this.problem = `events after ${this.#position}: ${response.status} ${await response.text()}`;
      return;
    }
    this.streams++;
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) this.#take(block);
    }
  }

  #take(block: string): void {
    const [, id, data] = /^id: (\S+)(?:\ndata: (.*))?$/.exec(block) ?? [];
    if (id === undefined) {
      this.problem = `events after ${this.#position}: ${block}`;
      return;
    }
    this.#position = id;
    this.#begun();
    if (data === undefined) return;
    const { id: run, event } = JSON.parse(data) as Told;
    const all = this.told.get(run) ?? [];
    this.told.set(run, all);
    all.push(JSON.stringify(event));
  }

  /**
   * What is wrong with what it was told of some runs, and of all that these have begun under their keys. It was there when they were
   * accepted.
   */
  async problems(ids: readonly string[], withinMs: number): Promise<string[]> {
    const problems: string[] = [];
    const until = performance.now() + withinMs;
    const runs = new Set([
      ...ids,
      ...[...this.told.keys()].filter((run) => ids.some((id) => run.startsWith(`${id}/`))),
    ]);
    for (const run of runs) {
      const history = await this.#historyOf(run);
      const seen = (): readonly string[] => this.told.get(run) ?? [];
      while (seen().length < history.length && performance.now() < until) await sleep(againMs);
      // A run that lives on may have done more since.
      const told = seen().slice(0, history.length);
      if (JSON.stringify(told) !== JSON.stringify(history))
        problems.push(`${run} was told as ${told.join()}, and has ${history.join()}`);
    }
    return this.problem === undefined ? problems : [this.problem, ...problems];
  }

  async #historyOf(run: string): Promise<string[]> {
    const path = `/requests/${encodeURIComponent(run)}/history?limit=10000`;
    for (;;) {
      const response = await fetch(`http://127.0.0.1:${this.#portOf()}${path}`).catch(() => undefined);
      if (response?.status === 200) {
        const { events } = (await response.json()) as { readonly events: readonly object[] };
        return events.map((event) => JSON.stringify(event));
      }
      await sleep(againMs);
    }
  }
}
