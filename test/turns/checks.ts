import { slots } from "./app.ts";

/** A request, and its answer. */
export interface Answered {
  readonly key: string;
  readonly hub: string;
  readonly laneKey: string;
  /** The name of its operation. Requests that may join one another share it. */
  readonly id: string;
  readonly ledger: string;
  readonly answer: {
    /** `refused`: it was not accepted, and its answer is not stored. */
    readonly kind: "result" | "error" | "timeout" | "refused";
    readonly code?: string;
    readonly value?: { readonly id: string; readonly fence: number };
  };
}

/** What a ledger has heard. */
export interface Heard {
  readonly of: string;
  readonly step: number;
}

/** What these checks read of the history of a schedule. */
export interface ScheduleEvent {
  readonly type: string;
  readonly at: number;
  readonly request?: { readonly stored: Times; readonly since: number };
  readonly signal?: string;
  readonly payload?: { readonly stored: Times; readonly at: number; readonly version?: number };
}
interface Times {
  readonly ticks: { readonly everyMs: number };
}

/** Which errors the hubs may answer with. */
const codes: Readonly<Record<string, readonly string[]>> = {
  update: ["WW_REPLACED"],
  reroute: ["WW_REPLACED", "failed"],
  verify: ["WW_BUSY"],
  ping: ["WW_BUSY"],
};

/** The runs that have worked, by their names, each with its ledger. */
export const workedIn = (answered: readonly Answered[]): ReadonlyMap<string, string> =>
  new Map(
    answered.flatMap(({ answer: { value }, ledger }) =>
      value === undefined ? [] : [[`${value.id}#${value.fence}`, ledger] as const],
    ),
  );

/** What is wrong with the answers. */
export function misanswered(answered: readonly Answered[]): string[] {
  const problems: string[] = [];
  /** Which operation had the place that was granted with a fence. */
  const granted = new Map<string, string>();
  for (const { key, hub, laneKey, id, answer } of answered) {
    const { kind, code = "", value } = answer;
    const isExpected = kind === "result" ? value?.id === id : codes[hub]?.includes(code) === true;
    if (!isExpected) problems.push(`${key} of ${hub} is answered with ${JSON.stringify(answer)}`);
    if (value === undefined) continue;
    const grant = `${hub === "report" ? "double" : "single"}/${laneKey} ${value.fence}`;
    const other = granted.get(grant);
    if (other !== undefined && other !== id) problems.push(`${id} and ${other} both worked under ${grant}`);
    granted.set(grant, id);
  }
  return problems;
}

/** What is wrong with what the runs have started and signalled: each is told of once, and its signals came in their order. */
export function mistold(
  answered: readonly Answered[],
  heard: ReadonlyMap<string, readonly Heard[]>,
  notes: ReadonlySet<string>,
): string[] {
  const problems: string[] = [];
  const worked = workedIn(answered);
  for (const [name, ledger] of worked) {
    const steps = (heard.get(ledger) ?? []).filter(({ of }) => of === name).map(({ step }) => step);
    if (steps.join() !== "1,2") problems.push(`${ledger} has heard of ${name} as ${steps.join()}`);
    if (!notes.has(`note-${name}`)) problems.push(`${name} has no note`);
  }
  const ids = new Set(answered.map(({ id }) => id));
  // One that was refused may be accepted all the same, if it was sent twice.
  const refused = new Set(answered.filter(({ answer }) => answer.kind === "refused").map(({ id }) => id));
  for (const name of [...[...heard.values()].flat().map(({ of }) => of), ...notes].map(withoutNote)) {
    const id = name.slice(0, name.indexOf("#"));
    // Others may have asked there before.
    if (ids.has(id) && !worked.has(name) && !refused.has(id))
      problems.push(`${name} has worked, and nobody was told so`);
  }
  return problems;
}

const withoutNote = (name: string): string => name.replace(/^note-/, "");

/** What is wrong with the ticks of a schedule, if its history says when it was to tick. */
export function mistimed(history: readonly ScheduleEvent[], ticks: readonly string[]): string[] {
  const made = new Set(ticks.map((id) => Date.parse(id.slice("tick@".length))));
  const last = Math.max(...made);
  const [begun] = history;
  if (begun?.request === undefined) return ["the history of the schedule does not begin with its request"];
  const problems: string[] = [];
  const wanted = new Set<number>();
  const allowed = new Set<number>();
  let { since } = begun.request;
  let { everyMs } = begun.request.stored.ticks;
  let from = since;
  const until = (to: number, into: Set<number>): void => {
    let at = since + Math.max(1, Math.floor((from - since) / everyMs) + 1) * everyMs;
    for (; at <= to; at += everyMs) into.add(at);
  };
  let latest = 1;
  for (const { signal, payload, at } of history) {
    // Processes of an earlier deploy may come to it once more, and change nothing.
    if (signal !== "deploy" || payload === undefined || (payload.version ?? 1) < latest) continue;
    latest = payload.version ?? 1;
    if (payload.stored.ticks.everyMs === everyMs) continue;
    until(payload.at, wanted);
    // It may tick as before until it has taken the change.
    until(at, allowed);
    ({ everyMs } = payload.stored.ticks);
    since = from = payload.at;
  }
  until(last, wanted);
  for (const at of wanted) if (!made.has(at)) problems.push(`no tick is at ${new Date(at).toISOString()}`);
  for (const at of made)
    if (!wanted.has(at) && !allowed.has(at))
      problems.push(`a tick too much is at ${new Date(at).toISOString()}`);
  return problems;
}

/** What is wrong with the work that has begun: more in a lane than it has places, or a fence that falls. */
export function misplaced(lines: readonly string[]): string[] {
  const problems: string[] = [];
  const last = new Map<string, { readonly fence: number; readonly id: string }>();
  for (const line of lines) {
    const [lane = "", given = "", id = "", others = ""] = line.split(" ");
    const fence = Number(given);
    const most = slots[lane.slice(0, lane.indexOf("/"))] ?? 0;
    const working = new Set([id, ...others.split(",").filter((other) => other !== "")]);
    if (working.size > most)
      problems.push(`${[...working].join(", ")} work in ${lane}, which has ${most} places`);
    if (fence < 1) problems.push(`${id} works in ${lane} without a fence`);
    const before = last.get(lane);
    // Of two places the one that was granted later may begin first.
    if (most === 1 && before !== undefined && fence <= before.fence && id !== before.id)
      problems.push(`${id} has the fence ${fence} in ${lane}, after ${before.fence} of ${before.id}`);
    last.set(lane, { fence, id });
  }
  return problems;
}
