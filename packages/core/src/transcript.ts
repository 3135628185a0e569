import type { HistoryEvent, OpenedCalls, RunLane, Timer } from "./events.ts";
import type { Post } from "./post.ts";
import { answerText, failureText, firstLine, jsonText } from "./words.ts";

type Event<T extends HistoryEvent["type"]> = Extract<HistoryEvent, { type: T }>;
interface Changing {
  readonly by?: string;
  readonly patch?: object;
  readonly unset?: readonly string[];
  readonly grown?: object;
  readonly calls?: readonly OpenedCalls[];
}

/**
 * A history as text, to read and to compare with a golden file: a line for each event, with the milliseconds since the
 * request was accepted, or since the last event that is archived. It holds neither ids nor wall times, so equal histories give equal texts.
 */
export function transcriptOf(history: readonly HistoryEvent[]): string {
  return history.map(transcriber()).join("");
}

/** The same, one event after the other: for a history that still grows, or that is read in pages. */
export function transcriber(): (event: HistoryEvent) => string {
  const callees = new Map<number, string>();
  let begun: number | undefined;
  return (event) => {
    begun ??= event.at;
    const at = `${event.at - begun} ms`.padStart(10);
    return linesOf(event, callees, begun)
      .map((line) => `${at}  ${line}\n`)
      .join("");
  };
}

function linesOf(event: HistoryEvent, callees: Map<number, string>, begun: number): string[] {
  const call = (number: number): string => `${callees.get(number) ?? "call"} #${number}`;
  const until = (due: number | undefined): string => (due === undefined ? "" : ` until ${due - begun} ms`);
  const opened = [
    ...("timers" in event ? timerLines(event.timers ?? [], begun) : []),
    ...("closes" in event ? (event.closes ?? []).map((number) => `  closes ${call(number)}`) : []),
    ...("calls" in event ? openedLines(event.calls ?? [], callees) : []),
  ];
  switch (event.type) {
    case "started":
      return [`request to ${event.hub} ${jsonText(event.request)}${until(event.deadline)}`];
    case "accepted": {
      const what = event.lane === undefined ? "its time" : turnText(event.lane);
      return [`request to ${event.hub} ${jsonText(event.request)}, waits for ${what}${until(event.due)}`];
    }
    case "arrived":
      return [`its time, waits for ${turnText(event.lane)}${until(event.due)}`];
    case "granted":
      return [`its turn${until(event.deadline)}`];
    case "entered": {
      const why = event.by === undefined ? "" : `${event.by} `;
      const kept = event.kept === true ? ", its calls go on" : "";
      return [
        `${why}→ ${event.state}${until(event.due)}${changeText({ ...event, by: "" })}${kept}`,
        ...(event.drops ?? []).map((signal) => `  drops the signal ${signal}`),
        ...opened,
      ];
    }
    case "settled": {
      const outcome = event.outcome === "ok" ? "ok" : failureText(event.outcome);
      return [`${call(event.call)} ${outcome}${heldText(event.held)}${changeText(event)}`, ...opened];
    }
    case "opened":
      return ["opens its next calls", ...opened];
    case "fired":
      return [`timer ${event.timer}${heldText(event.held)}${changeText(event)}`, ...opened];
    case "failed":
      return [
        `${call(event.call)} attempt ${event.attempt}: ${failureText(event.failure)}, next${at(event.due)}`,
      ];
    case "attempt":
      return [
        `${call(event.call)} attempt ${event.attempt}${event.alone === true ? ", alone" : ""}${until(event.due)}`,
      ];
    case "died":
      return event.attempts.map(
        ({ call: number, deaths }) => `the process died during ${call(number)} (${deaths})`,
      );
    case "told":
      return [`tells ${event.spoke} #${event.call} ${jsonText(event.input)}`];
    case "posted":
      return [postText(event.post, at)];
    case "signalled":
    case "received":
      return [`${signalText(event)}${heldText(event.held)}${changeText(event)}`, ...opened];
    case "cancelling":
      return [`cancel${heldText(event.held)}${changeText(event)}`];
    case "answered":
      return [`answer: ${answerText(event.answer)}`];
    case "ended":
      return [event.answer === undefined ? "end" : `end: ${answerText(event.answer)}`];
    case "incident": {
      const { code, message } = event.error;
      const what = message.startsWith(code) ? message : `${code}: ${message}`;
      return [`incident ${firstLine(what)} (${event.input.kind})`];
    }
    case "parked":
      return [`parked: ${event.input.kind}`];
    case "resumed":
      return [event.left === true ? "retried" : "resumed"];
    case "redelivered":
      return [`${event.count} kept inputs are decided`, ...(event.last === true ? ["resumed"] : [])];
    case "waited":
      return [`call ${event.call} began later, attempt ${event.attempt}${until(event.due)}`];
    case "progressed":
      return [`${call(event.call)} attempt ${event.attempt} progresses ${jsonText(event.value)}`];
    case "rearmed":
      return [`the time of the clean-up begins anew${until(event.due)}`, ...opened];
    case "migrated":
      return [
        `migrated to version ${event.version}${event.data === undefined ? "" : ` ${jsonText(event.data)}`}`,
        ...opened,
      ];
    case "archived":
      return [
        `the first ${event.events} events are archived${event.state === "" ? "" : ` → ${event.state}`}`,
      ];
    case "filled":
      return [`${call(event.call)} has its input filled in ${jsonText(event.input)}`];
  }

  function at(due: number): string {
    return ` at ${due - begun} ms`;
  }
}

const turnText = ({ name, key, joins }: RunLane): string =>
  joins === undefined ? `its turn in the lane ${name} ${key}` : `the answer of ${joins}`;

const heldText = (held: string | undefined): string => (held === undefined ? "" : `, holds ${held}`);

function timerLines(timers: readonly Timer[], begun: number): string[] {
  return timers.map(
    ({ event, due, fired }) => `  timer ${event} ${fired === true ? "has fired" : `at ${due - begun} ms`}`,
  );
}

function openedLines(groups: readonly OpenedCalls[], callees: Map<number, string>): string[] {
  return groups.flatMap(({ callee, first, inputs, started = inputs.length }) =>
    inputs.map((input, position) => {
      callees.set(first + position, callee);
      const queued = position < started ? "calls" : "queues";
      return `  ${queued} ${callee} #${first + position} ${jsonText(input)}`;
    }),
  );
}

function signalText(event: Event<"signalled"> | Event<"received">): string {
  if (event.type === "received") return `takes the signal ${event.signal}`;
  const early = event.dropped === true ? ", dropped" : event.taken === true ? "" : ", kept for later";
  return `signal ${event.signal} ${jsonText(event.payload)}${early}`;
}

function postText(post: Post, at: (instant: number) => string): string {
  return post.kind === "start"
    ? `starts ${post.hub} ${jsonText(post.request)}${post.startAt === undefined ? "" : at(post.startAt)}`
    : `sends the signal ${post.signal} to ${post.id} ${jsonText(post.payload)}`;
}

/** The event that a handler raised, and what changed in the data. */
function changeText({ by, patch, unset, grown }: Changing): string {
  const event = by === undefined || by === "" ? "" : ` ${by}`;
  const changed = patch === undefined || Object.keys(patch).length === 0 ? "" : ` ${jsonText(patch)}`;
  const more = grown === undefined ? "" : ` more ${jsonText(grown)}`;
  return `${event}${changed}${more}${unset === undefined ? "" : ` without ${unset.join(", ")}`}`;
}
