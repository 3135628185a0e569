import type { Answer, RunEvent } from "@wheelwork/core";
import type { Timer } from "@wheelwork/core/kernel";

/** What the checker knows of a call that is open. */
export interface CallModel {
  readonly number: number;
  readonly callee: string;
  readonly isHub: boolean;
  attempt: number;
  due: number | undefined;
  backoff: boolean;
  /** Deaths of the process with the current attempt under way, and whether it was begun as a suspect. */
  deaths: number;
  alone: boolean;
  /** How many claims there had been when the current attempt was opened, and when it was begun. */
  openedIn: number;
  /** In engine time. */
  openedAt: number;
  /** Whether the owner has begun the current attempt. */
  begun: boolean;
  begunIn: number;
  /** It was begun again, after a disturbance: what its worker says may be of the former time. */
  begunAgain: boolean;
  /** When the owner's worker gave an outcome of the current attempt, in simulated time. */
  outcomeAt: number | undefined;
}

/** What the checker knows of a run: made of the events that were committed, and of nothing else. */
export interface RunModel {
  readonly key: string;
  readonly hub: string;
  version: number;
  readonly events: RunEvent[];
  readonly calls: Map<number, CallModel>;
  readonly numbers: Set<number>;
  readonly commands: Set<string>;
  /** When the ids came that the run knows: of commands, and of the last post of each sender. The oldest are first. */
  readonly known: Map<string, { readonly at: number; readonly number?: number | undefined }>;
  /** Commands that came while it was parked, and count when it goes on. */
  readonly parked: Set<string>;
  status: "pending" | "running" | "incident" | "ended";
  everParked: boolean;
  /** A retry decides what it keeps. */
  retrying: boolean;
  state: string;
  /** It cleans up. */
  late: boolean;
  /** The hub's deadline. */
  deadline: number;
  due: number | undefined;
  /** It is pending, and its time has not come. */
  startAt: number | undefined;
  enteredAt: number;
  timers: readonly Timer[];
  /** The event that its round holds. */
  held: string | undefined;
  /** The names of signals that it keeps, the oldest first. */
  kept: string[];
  answerBy: number;
  answer: Answer | undefined;
  /** It may be unknown by now. */
  purged: boolean;
  /** In simulated time. */
  answeredAt: number;
  changedAt: number;
}

/** A run that has just started, or waits for its turn. */
export const startedRun = (
  key: string,
  event: RunEvent & { type: "started" | "accepted" },
  at: number,
): RunModel => ({
  key,
  hub: event.hub,
  version: event.version,
  events: [plain(event)],
  calls: new Map(),
  numbers: new Set(),
  commands: new Set(),
  known: new Map(),
  parked: new Set(),
  retrying: false,
  status: event.type === "started" ? "running" : "pending",
  everParked: false,
  state: "",
  late: false,
  deadline: event.type === "started" ? event.deadline : event.answerBy,
  due: event.type === "started" ? undefined : event.due,
  startAt: event.type === "started" ? undefined : event.startAt,
  enteredAt: event.at,
  timers: [],
  held: undefined,
  kept: [],
  answerBy: event.answerBy,
  answer: undefined,
  purged: false,
  answeredAt: 0,
  changedAt: at,
});

/** A call of which no attempt has begun. */
export const openedCall = (
  { number, callee, isHub }: Pick<CallModel, "number" | "callee" | "isHub">,
  openedIn: number,
  openedAt: number,
): CallModel => ({
  number,
  callee,
  isHub,
  attempt: 0,
  due: undefined,
  backoff: false,
  deaths: 0,
  alone: false,
  openedIn,
  openedAt,
  begun: false,
  begunIn: 0,
  begunAgain: false,
  outcomeAt: undefined,
});

/** When a run must be called back, at the latest; undefined: never. */
export function dueOf(run: RunModel): number | undefined {
  const times: number[] = [];
  if (run.answer === undefined) times.push(run.answerBy);
  if (run.status === "running" || run.status === "pending") {
    if (run.due !== undefined) times.push(run.due);
    for (const { due } of run.calls.values()) if (due !== undefined) times.push(due);
  }
  return times.length === 0 ? undefined : Math.min(...times);
}

/** As JSON has it. */
export const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;
