import type { RunEvent } from "@wheelwork/core";
import { isDeepStrictEqual } from "node:util";
import type { TraceEntry } from "../trace.ts";
import type { Evidence } from "./evidence.ts";
import { count } from "../world.ts";
import { plain, type RunModel } from "./model.ts";

type Shown = TraceEntry & { readonly type: "shown" };

/** What somebody who watches a run sees of it after one of its events. */
interface Look {
  readonly status: string;
  readonly state: string;
  readonly view: unknown;
  readonly answer: unknown;
  /** Of all of it: two looks with the same text are the same to who watches. */
  readonly text: string;
  /** No turn is under way. */
  readonly rests: boolean;
}

/** How a run looks after each of its events. */
interface Story {
  status: string;
  state: string;
  /** None: it has not begun. */
  data: object | null | undefined;
  answer: unknown;
  readonly looks: Look[];
  /** How many events it had after each of its batches. */
  readonly batches: Set<number>;
}

/** What a watch tells: each change that is committed, once, in its order, and nothing else (I37). */
export class WatchChecks {
  readonly #evidence: Evidence;
  readonly #stories = new WeakMap<RunModel, Story>();
  /** Events from before that time may be archived. */
  #archivedBefore = 0;

  constructor(evidence: Evidence) {
    this.#evidence = evidence;
  }

  /** A batch is seen whole. */
  committed(journal: readonly { readonly key: string }[]): void {
    for (const { key } of journal) {
      const run = this.#evidence.runs.get(key);
      if (run !== undefined) this.#storyOf(run).batches.add(run.events.length);
    }
  }

  /** The store has archived events from before a time. */
  archived(before: number): void {
    this.#archivedBefore = Math.max(this.#archivedBefore, before);
  }

  /** Somebody is told how a run is. */
  shown({ key, after, update, node }: Shown): void {
    const run = this.#known(key);
    if (run === undefined) return;
    const { looks, batches } = this.#storyOf(run);
    const { event, status, state, view, answer } = update;
    const who = `who watches ${key} at node ${node}`;
    const look = looks[event - 1];
    if (look === undefined)
      return this.#demand(false, () => `${who} is told event ${event} of ${looks.length} that are committed`);
    const told = plain({ status, state, view, answer });
    const due = plain({ status: look.status, state: look.state, view: look.view, answer: look.answer });
    this.#demand(
      isDeepStrictEqual(told, due),
      () => `${who} is told ${JSON.stringify(told)} after event ${event}, and it was ${JSON.stringify(due)}`,
    );
    this.#demand(
      look.rests || batches.has(event),
      () => `${who} is told of event ${event}, in the middle of a turn`,
    );
    // It has begun with the present.
    if (after === undefined) return;
    const before = looks[after - 1]?.text;
    // What is archived cannot be told any more: it begins with the present again.
    const begins = (run.events[0]?.at ?? 0) < this.#archivedBefore;
    if (begins) count(this.#evidence.exercised, "archived");
    this.#demand(
      event > after && (begins || look.text !== before),
      () => `${who} has seen ${after} events, and is told once more: ${JSON.stringify(told)}`,
    );
    const skipped = looks.slice(after, event - 1).find(({ rests, text }) => rests && text !== before);
    this.#demand(
      begins || skipped === undefined,
      () => `${who} has seen ${after} events, is told of event ${event}, and not of ${skipped?.text}`,
    );
  }

  /** A watch says that there is no more. */
  shownAll({ key, after, until }: TraceEntry & { readonly type: "shown-all" }): void {
    const run = this.#known(key);
    if (run === undefined) return;
    const last = this.#storyOf(run).looks[(after ?? 0) - 1];
    const isWhole = until === "end" ? last?.status === "ended" : last?.answer !== undefined;
    this.#demand(isWhole, () => `a watch of ${key} ends with event ${after}, before the ${until}`);
  }

  /** A run that nobody may have forgotten. */
  #known(key: string): RunModel | undefined {
    const { runs, startedAgain } = this.#evidence;
    const run = runs.get(key);
    return run === undefined || run.purged || startedAgain.has(key) ? undefined : run;
  }

  #storyOf(run: RunModel): Story {
    let story = this.#stories.get(run);
    if (story === undefined) {
      const none = { status: "", state: "", data: undefined, answer: undefined };
      this.#stories.set(run, (story = { ...none, looks: [], batches: new Set() }));
    }
    const { states, views } = this.#evidence.system;
    for (const event of run.events.slice(story.looks.length)) {
      goOn(story, event);
      const { status, state, answer, data } = story;
      const view = data === undefined || data === null ? undefined : views.get(run.hub)?.(data);
      const rests =
        status !== "running" || (state !== "" && states.get(`${run.hub}: ${state}`)?.passes !== true);
      story.looks.push({
        status,
        state,
        view,
        answer,
        rests,
        text: JSON.stringify([status, state, view, answer]),
      });
    }
    return story;
  }

  #demand(holds: boolean, message: () => string): void {
    this.#evidence.demand("I37", holds, message);
  }
}

/** What an event changes of what is shown. */
function goOn(story: Story, event: RunEvent): void {
  switch (event.type) {
    case "started":
    case "granted":
      story.status = "running";
      story.data = event.data as Story["data"];
      return;
    case "accepted":
      story.status = "pending";
      return;
    case "incident":
      story.status = "incident";
      return;
    case "resumed":
      if (event.left !== true) story.status = "running";
      return;
    case "redelivered":
      if (event.last === true) story.status = "running";
      return;
    case "migrated":
      if (event.data !== undefined) story.data = event.data as Story["data"];
      return;
    case "answered":
      story.answer = event.answer;
      return;
    case "ended":
      story.status = "ended";
      story.answer = event.answer ?? story.answer;
      return;
    default:
      if (event.type === "entered") story.state = event.state;
      if ("patch" in event) story.data = changed(story.data, event);
  }
}

function changed(
  data: Story["data"],
  { patch, unset = [], grown = {} }: Extract<RunEvent, { readonly patch?: object }>,
): object {
  const whole: Record<string, unknown> = { ...data, ...patch };
  for (const name of unset) delete whole[name];
  for (const [name, added] of Object.entries(grown)) {
    const before = whole[name];
    whole[name] = Array.isArray(before)
      ? [...(before as unknown[]), ...(added as unknown[])]
      : { ...(before as object), ...added };
  }
  return whole;
}
