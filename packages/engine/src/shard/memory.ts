import { countLeft, weightOf, type Run } from "@wheelwork/core/kernel";
import { getHeapStatistics } from "node:v8";
import type { Clock } from "../ports/ports.ts";

/** About what an event takes in memory that no checkpoint has written, in bytes. */
export const eventBytes = 200;
/** About what a call that is open takes, with its attempt, in bytes. */
const callBytes = 1500;
/** About what an input of a round takes that has no call yet, in bytes. */
const inputBytes = 200;
/** About what somebody who waits for an answer takes, with a connection over HTTP, in bytes. */
export const waiterBytes = 16_000;

/** What the heap's limit counts for young objects, in bytes; runs are old ones. */
const youngBytes = 192 * 1024 * 1024;

/**
 * How much the shards of this process may hold together if nobody says otherwise: a quarter of the heap. Objects take several times
 * their JSON, and a start needs room beside the runs that it reads back.
 */
export function defaultMemoryBytes(): number {
  const { heap_size_limit: limit } = getHeapStatistics();
  return Math.floor(Math.max(limit / 2, limit - youngBytes) / 4);
}

/** About how many bytes the values of a run take: what its checkpoint writes. */
export function valuesOf(run: Run): number {
  let bytes = weightOf(run.origin.request) + weightOf(run.data);
  for (const { input } of run.calls.values()) bytes += weightOf(input);
  return bytes;
}

/** About how many bytes a run takes whose values take `values`, with so many events that no checkpoint has written. */
export const weightOfRun = (run: Run, values: number, events: number): number =>
  values + callBytes * run.calls.size + inputBytes * countLeft(run) + eventBytes * events;

/** What a shard of this process holds in memory. */
interface Holder {
  readonly heldBytes: number;
}

/** By the clock, which a process has one of: a simulated process that was killed counts for no other one. */
const holders = new WeakMap<Clock, Set<Holder>>();

/** Counts what a shard holds. The result ends that. */
export function countMemory(clock: Clock, holder: Holder): () => void {
  const those = holders.get(clock) ?? new Set();
  holders.set(clock, those.add(holder));
  return () => void those.delete(holder);
}

/** What all shards of this process hold. They share its heap. */
export function memoryInUse(clock: Clock): number {
  let bytes = 0;
  for (const { heldBytes } of holders.get(clock) ?? []) bytes += heldBytes;
  return bytes;
}
