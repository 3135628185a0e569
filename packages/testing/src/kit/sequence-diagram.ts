import type { RunEvent, RunLane } from "@wheelwork/core";
import { answerText, firstLine, jsonText, type Post } from "@wheelwork/core/kernel";

/** One thing that happens to a run from outside, and the events that follow. */
export interface Step {
  /** Who acts: `client`, `coordinator`, or the name of a called spoke or hub. */
  readonly from: string;
  /** What it does. */
  readonly text: string;
  readonly events: readonly RunEvent[];
}

/** How many characters of a value the diagram shows. */
const maxText = 60;

/**
 * The steps of a run as a Mermaid sequence diagram between the client, the hub, its callees and the coordinator.
 * @param remark A note at the end of the diagram.
 */
export function sequenceDiagram(hub: string, steps: readonly Step[], remark: string): string {
  const ids = new Map<string, string>();
  const participants: string[] = [];
  const idOf = (name: string): string => {
    const known = ids.get(name);
    if (known !== undefined) return known;
    const id = `p${ids.size}`;
    ids.set(name, id);
    participants.push(`  participant ${id} as ${plain(name)}`);
    return id;
  };
  idOf("client");
  const me = idOf(`hub ${hub}`);
  const lines = steps.flatMap(({ from, text, events }) => {
    const asked = from === "client" || from === "coordinator";
    const arrow = `  ${idOf(from)}${asked ? "->>" : "-->>"}${me}: ${plain(text)}`;
    return [arrow, ...events.flatMap((event) => linesOf(event, me, idOf))];
  });
  lines.push(`  Note over ${me}: ${plain(remark)}`);
  return ["sequenceDiagram", ...participants, ...lines, ""].join("\n");
}

function linesOf(event: RunEvent, me: string, idOf: (name: string) => string): string[] {
  const note = (text: string): string => `  Note over ${me}: ${plain(text)}`;
  const holds = (held: string | undefined): string[] =>
    held === undefined ? [] : [note(`holds ${held} until the attempts under way are over`)];
  const calls = "calls" in event ? (event.calls ?? []) : [];
  const opened = calls.flatMap(({ callee, first, inputs }) =>
    inputs.map(
      (input, index) =>
        `  ${me}->>${idOf(callee)}: ${plain(`#${first + index} ${jsonText(input, maxText)}`)}`,
    ),
  );
  switch (event.type) {
    case "accepted":
      return [note(event.lane === undefined ? "waits for its time" : laneText(event.lane))];
    case "arrived":
      return [note(laneText(event.lane))];
    case "granted":
      return [note("its turn")];
    case "entered":
      return [note(event.by === undefined ? event.state : `${event.by} → ${event.state}`), ...opened];
    case "opened":
      return opened;
    case "settled":
    case "fired":
    case "cancelling":
      return [...holds(event.held), ...opened];
    case "signalled":
      if (event.taken === true) return [...holds(event.held), ...opened];
      return [note(`${event.dropped === true ? "drops" : "keeps"} the signal ${event.signal}`)];
    case "received":
      return [note(`takes the signal ${event.signal}`), ...holds(event.held), ...opened];
    case "told":
      return [`  ${me}-)${idOf(event.spoke)}: ${plain(`#${event.call} ${jsonText(event.input, maxText)}`)}`];
    case "posted":
      return [`  ${me}-)${idOf(event.post.hub)}: ${plain(postText(event.post))}`];
    case "answered":
    case "ended":
      return event.answer === undefined
        ? []
        : [`  ${me}-->>${idOf("client")}: ${plain(answerText(event.answer, maxText))}`];
    case "incident":
      return [note(`incident: ${firstLine(event.error.message)}`)];
    default:
      return [];
  }
}

const postText = (post: Post): string =>
  post.kind === "start"
    ? `${post.startAt === undefined ? "start" : "start later"} ${jsonText(post.request, maxText)}`
    : `signal ${post.signal} to ${post.id} ${jsonText(post.payload, maxText)}`;

const laneText = ({ name, key }: RunLane): string => `waits in the lane ${name} ${key}`;

/**
 * A text that Mermaid shows as it is. It would end a text at a number sign or a semicolon, and read angle brackets as
 * HTML.
 */
function plain(text: string): string {
  return text.replaceAll(/[#;<>]/g, (char) => `#${char.codePointAt(0)};`).replaceAll(/\s+/g, " ");
}
