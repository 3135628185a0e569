import { isDeepStrictEqual } from "node:util";
import type { ArchivedEvents, HistoryEvent, RunEvent } from "@wheelwork/core";

/** The events of a history that are archived, if it has some. */
export function archivedIn(history: readonly HistoryEvent[]): ArchivedEvents | undefined {
  const [first] = history;
  return first?.type === "archived" ? first : undefined;
}

/** How many events a history tells of. */
export const toldIn = (history: readonly HistoryEvent[]): number => {
  const archived = archivedIn(history);
  return archived === undefined ? history.length : archived.events + history.length - 1;
};

/** Whether a history is the beginning of what was committed, but for what is archived. Both are plain JSON. */
export function isBeginningOf(history: readonly HistoryEvent[], events: readonly RunEvent[]): boolean {
  const archived = archivedIn(history);
  if (archived === undefined) return isDeepStrictEqual(history, events.slice(0, history.length));
  const before = events.slice(0, archived.events);
  const entered = before.findLast(({ type }) => type === "entered") as { readonly state: string } | undefined;
  const { at } = before.at(-1) ?? {};
  const gone = { type: "archived", at, events: before.length, state: entered?.state ?? "" };
  return isDeepStrictEqual(history, [gone, ...events.slice(archived.events, toldIn(history))]);
}
