import type { CommandMemory, Posted } from "./decision.ts";
import type { Run } from "./run.ts";

/*
 * Which commands a run knows, so that each counts once if it comes twice.
 *
 *   the engine made the id    the last 1,000 of them are known
 *   the sender gave the id    it is known until it is as old as an answer is kept, with the hash of its body
 *   a signal that was posted  its sender posts in order, and the next one after the one before is over. So the number of the last
 *                             one is known for each sender, and says the same of all before
 *
 * Time alone makes a run forget an id, and only as it takes a further signal: the event says how many (`forgets`). So a run that lives
 * for years takes signals for ever.
 */

type CommandKind = "signal" | "cancel" | "retry";

/** What a run knows of a command, or of the posts of a sender. */
export interface NamedCommand {
  readonly hash: string;
  readonly at: number;
  /** Of the last post of this sender. */
  readonly number?: number;
}

/** Names a command. `hash` is there if its sender gave the id. */
interface CommandName {
  readonly id: string;
  readonly hash?: string;
  readonly post?: Posted;
  /** It was kept with an incident: later posts of its sender may have come meanwhile. */
  readonly stored?: true;
}

/** Commands whose id the engine made: as many are remembered. */
const maxUnnamed = 1000;
/** Commands whose sender gave the id, and senders of posts: a run takes no more signals of that kind, as long as it knows all of them. */
const maxNamed = 100_000;
/** So many ids are forgotten with one signal, at most. */
const maxForgotten = 100;

/**
 * Whether a command of this kind came under this id before. One id may be used once for each kind. `reused`: what came
 * under it was another body, or a post has a number that its sender has left behind.
 */
export function knownCommand(
  run: Run,
  kind: CommandKind,
  command: CommandName,
): "duplicate" | "reused" | undefined {
  const { id, hash, post, stored } = command;
  const name = `${kind} ${id}`;
  const last = post === undefined || stored === true ? undefined : run.received.named?.get(senderOf(post));
  if (post !== undefined && last?.number !== undefined && last.number >= post.number)
    return last.number === post.number && last.hash === hash ? "duplicate" : "reused";
  const known = run.received.named?.get(name);
  if (known === undefined) return run.received.unnamed?.has(name) === true ? "duplicate" : undefined;
  return hash === undefined || known.hash === hash ? "duplicate" : "reused";
}

/** Why a run does not take a signal, whatever its state. */
export function refusedSignal(
  run: Run,
  signal: CommandName,
  memory: CommandMemory | undefined,
): "duplicate" | "reused" | "spent" | undefined {
  const known = knownCommand(run, "signal", signal);
  if (known !== undefined) return known;
  const { named } = run.received;
  if (signal.hash === undefined || named === undefined || named.size < maxNamed) return undefined;
  if (signal.post !== undefined && named.has(senderOf(signal.post))) return undefined;
  return forgettable(run, memory) === 0 ? "spent" : undefined;
}

/** How many of the oldest ids a run may forget by now, as far as one signal does. */
export function forgettable(
  { received: { named = new Map() } }: Run,
  memory: CommandMemory | undefined,
): number {
  let count = 0;
  if (memory === undefined) return count;
  for (const { at, number } of named.values()) {
    if (at >= (number === undefined ? memory.commandsSince : memory.postsSince) || count === maxForgotten)
      break;
    count++;
  }
  return count;
}

/** Remembers a command, so that it counts once if it is sent twice. */
export function remember(
  run: Run,
  kind: CommandKind,
  { at, id, hash, post, forgets = 0 }: CommandName & { readonly at: number; readonly forgets?: number },
): void {
  const name = `${kind} ${id}`;
  if (hash === undefined) {
    const unnamed = (run.received.unnamed ??= new Set());
    unnamed.add(name);
    if (unnamed.size > maxUnnamed) unnamed.delete(unnamed.values().next().value as string);
    return;
  }
  const named = (run.received.named ??= new Map());
  let left = forgets;
  for (const oldest of named.keys()) {
    if (left-- === 0) break;
    named.delete(oldest);
  }
  if (post === undefined) return void named.set(name, { hash, at });
  const sender = senderOf(post);
  const last = named.get(sender);
  if ((last?.number ?? -1) > post.number) return;
  // The oldest are first.
  named.delete(sender);
  named.set(sender, { hash, at, number: post.number });
}

const senderOf = ({ from }: Posted): string => `post ${from}`;
