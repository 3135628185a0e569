import type { Outcome, RemoteCaller, TraceContext, WheelworkError } from "@wheelwork/core";
import { weightOf, type Ignored, type Input, type Run } from "@wheelwork/core/kernel";
import type { Lane } from "./lanes.ts";

/** A request that waits to be decided. */
export interface RequestItem {
  readonly kind: "request";
  readonly key: string;
  readonly hub: string;
  readonly request: unknown;
  /** Of the body. It is stored with the request. */
  readonly hash: string;
  /** Whether the request with this stored hash has the same body. */
  readonly isSame: (stored: string) => boolean;
  /** The body is not valid: it is refused, unless it has come under its key before. */
  readonly invalid?: WheelworkError;
  /** The caller's own deadline, in milliseconds from the decision. */
  readonly deadlineMs?: number;
  /** Of a hub with a lane. */
  readonly priority?: number;
  /** When it begins, in milliseconds since 1970. */
  readonly startAt?: number;
  /** It is refused if it would wait for longer until it is begun, in milliseconds. */
  readonly beginWithinMs?: number;
  /** It came through a log, or of another run: its sender can be told by an answer only. */
  readonly isRecord?: true;
  /** A run that was accepted has started it: it is not refused since there is too much to do. */
  readonly isOwed?: true;
  /** A call in another shard has begun it. */
  readonly caller?: RemoteCaller;
  /** An earlier process, or another one, has stored it: it is held against the schema where it begins. */
  readonly isStored?: true;
  /** This engine made the key, so it cannot be stored already. */
  readonly fresh: boolean;
  /** Where the answer is published. */
  readonly replyTo?: string;
  /** What has caused it. */
  readonly trace?: TraceContext;
  /** Who sent it, if that is known. */
  readonly givenBy?: string;
  /** Its offset, if the request came as a record of the inbox. */
  readonly offset?: number;
  readonly accept: (known: boolean) => void;
  readonly refuse: (error: WheelworkError) => void;
}

/** A command, an outcome or an internal message for a run. */
export interface InputItem {
  readonly kind: "input";
  readonly key: string;
  /** When the run was created that it is for, if it may come so late that another run has the key. */
  readonly since?: number;
  readonly input: Input;
  readonly done?: {
    readonly resolve: (ignored: IgnoredReason | undefined) => void;
    readonly reject: (error: WheelworkError) => void;
  };
  readonly offset?: number;
}

/** The outcome that a message to a relay reports, for the open attempt with that correlation. */
export interface RelayReplyItem {
  readonly kind: "relayReply";
  readonly key: string;
  readonly spoke: string;
  readonly correlation: string;
  readonly outcome: Outcome;
  readonly done?: { readonly resolve: () => void; readonly reject: (error: WheelworkError) => void };
  readonly offset?: number;
}

/** A record of the inbox that has nothing for this shard: only the position moves. */
interface MarkItem {
  readonly kind: "mark";
  readonly offset: number;
}

/** What the loop decides on. */
export type Item = RequestItem | InputItem | RelayReplyItem | MarkItem;

/** About how many bytes an item brings into its batch. */
export function weightOfItem(item: Item): number {
  switch (item.kind) {
    case "request":
      return weightOf(item.request);
    case "input":
      return item.input.kind === "outcome" ? weightOfOutcome(item.input.outcome) : weightOf(item.input);
    case "relayReply":
      return weightOfOutcome(item.outcome);
    case "mark":
      return 0;
  }
}

/** Nearly all outcomes have an output, and nothing else that weighs anything. What a relay gives is not checked yet: it may be anything. */
const weightOfOutcome = (outcome: Outcome | null | undefined): number =>
  outcome?.kind === "ok" ? weightOf(outcome.output) : weightOf(outcome);

/** Names an attempt of a run (I3, I4). */
export interface AttemptId {
  readonly call: number;
  readonly attempt: number;
  readonly epoch: number;
  /** When the run was created, if that is known: another run may have its key by now. */
  readonly since?: number;
}

/** Why an input changed nothing. `unknown`: there is no such run, and never was one. */
export type IgnoredReason = Ignored | "unknown";

/**
 * Whether an item counts after a loss of memory. What a record said is read again. A suspect's turn may be that of another one.
 */
export const outlives = (item: Item): boolean =>
  item.kind !== "mark" &&
  item.offset === undefined &&
  !(item.kind === "input" && item.input.kind === "begin");

/** The attempts whose outcomes wait; `createdAt`: when the run was created that has a key now. */
export function outcomesIn(
  items: Iterable<Item>,
  createdAt: (key: string) => number | undefined,
): ReadonlySet<string> {
  const names = new Set<string>();
  for (const item of items) {
    if (item.kind !== "input" || item.input.kind !== "outcome") continue;
    if (item.since !== undefined && item.since !== createdAt(item.key)) continue;
    names.add(`${item.key} ${item.input.call} ${item.input.attempt}`);
  }
  return names;
}

/** Refuses what waits to be decided to its sender. */
export function refuse(item: Item, error: WheelworkError): void {
  if (item.kind === "request") item.refuse(error);
  else if (item.kind !== "mark") item.done?.reject(error);
}

/** A run that carries out a tell: it is accepted in the batch of the tell. */
export interface TellItem {
  readonly kind: "tell";
  readonly key: string;
  readonly hub: string;
  readonly request: unknown;
  /** What has caused it. */
  readonly trace?: TraceContext | undefined;
}

/** A place of a lane is free. */
interface FreeItem {
  readonly kind: "free";
  readonly lane: Lane;
}

/** A run has its answer, and others of its lane wait for it. */
interface JoinedItem {
  readonly kind: "joined";
  readonly run: Run;
}

/** What follows from a decision in the same batch. */
export type AtOnceItem = InputItem | TellItem | FreeItem | JoinedItem;

/** What tells whether a request is taken. */
export interface Arriving {
  readonly key: string;
  readonly hub: string;
  readonly isOwed?: boolean | undefined;
  readonly beginWithinMs?: number | undefined;
}
