import { setTimeout as sleep } from "node:timers/promises";
import type { RunEvent } from "@wheelwork/core";

/** One event of a stream of `GET /requests/{id}/updates`. */
export interface Update {
  readonly id: number;
  readonly status: string;
  readonly state: string;
  readonly answer?: unknown;
}

/** What somebody has been told of a request while processes died. */
export interface Watched {
  readonly id: string;
  /** Its `Last-Event-ID` was 0. Otherwise it began with how the request was by then. */
  readonly isWhole: boolean;
  readonly updates: readonly Update[];
  /** How many streams it took. */
  readonly streams: number;
}

/** How long it waits before it connects again, in milliseconds. */
const againMs = 50;

/**
 * Watches a request over HTTP until it has its answer, as an EventSource does: when a stream breaks, it goes on after the last event.
 * `portOf`: where to connect next. `from`: the first `Last-Event-ID`.
 */
export async function watch(id: string, portOf: () => number | undefined, from?: number): Promise<Watched> {
  const updates: Update[] = [];
  let last = from;
  let streams = 0;
  for (; updates.at(-1)?.answer === undefined; await sleep(againMs)) {
    const port = portOf();
    if (port === undefined) continue;
    const headers = last === undefined ? {} : { "last-event-id": `${last}` };
    try {
      const path = `/requests/${encodeURIComponent(id)}/updates`;
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
      // A shard is on its way to another owner, or its store is away.
      if (response.status >= 500) continue;
      if (response.status !== 200)
        throw new Refused(`${path} after ${last}: ${response.status} ${await response.text()}`);
      streams++;
      for await (const update of updatesIn(response)) {
        updates.push(update);
        last = update.id;
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
      // Its process was killed.
    }
  }
  return { id, isWhole: from === 0, updates, streams };
}

class Refused extends Error {}

async function* updatesIn({ body }: Response): AsyncGenerator<Update> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const [, id, data] = /^id: (\d+)\ndata: (.*)$/.exec(part) ?? [];
      if (data !== undefined) yield { id: Number(id), ...(JSON.parse(data) as Omit<Update, "id">) };
    }
  }
}

const contentOf = ({ id: _id, ...content }: Update): string => JSON.stringify(content);

/**
 * What is wrong with what somebody was told of a request. `whole`: all that is told of it afterwards, from the beginning. `history`: what
 * has happened to it.
 */
export function misshown(
  { id, isWhole, updates }: Watched,
  whole: readonly Update[],
  history: readonly RunEvent[],
  startAt: number | undefined,
): string[] {
  const problems: string[] = [];
  const first = updates[0];
  if (first === undefined) return [`${id} was watched, and nothing was told`];
  // Who begins with the present is told it under the number of the last event, whether or not that has changed what is shown.
  const began = isWhole ? whole[0] : whole.findLast((update) => update.id <= first.id);
  const expected = began === undefined ? [] : whole.slice(whole.indexOf(began) + 1);
  const isFirst = began !== undefined && contentOf(began) === contentOf(first);
  if (!isFirst || JSON.stringify(updates.slice(1)) !== JSON.stringify(expected))
    problems.push(`${id} was told as ${JSON.stringify(updates)}, and is told as ${JSON.stringify(whole)}`);
  // The state that each event leaves the run in.
  let state = "";
  const states = history.map((event) => (event.type === "entered" ? (state = event.state) : state));
  for (const update of whole)
    if (update.state !== states[update.id - 1])
      problems.push(`${id} is shown in ${update.state} after ${update.id} events: ${states.join()}`);
  // It is at rest where it makes an attempt.
  const shown = new Set(whole.map((update) => update.state));
  for (const [place, event] of history.entries())
    if (event.type === "entered" && event.calls !== undefined && !shown.has(states[place] ?? ""))
      problems.push(`${id} was in ${event.state}, and nobody was told`);
  const begun = history.find(({ type }) => type === "granted" || type === "started");
  if (startAt !== undefined && begun !== undefined && begun.at < startAt)
    problems.push(`${id} was to begin at ${startAt}, and has begun at ${begun.at}`);
  return problems;
}
