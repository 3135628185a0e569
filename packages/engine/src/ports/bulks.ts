import type { RequestFilter } from "./filter.ts";

/*
 * A bulk gives one command to all requests that a filter means. It is a run of a built-in hub, so that it is durable, has a history,
 * and goes on after a crash as any run does.
 *
 *   Listing   asks for the next page of requests, the oldest first, from the place where the page before has ended
 *   Working   gives the command to each request of the page, some at a time: one call for each
 *   Done      answers with the counts
 *
 *   once      a request has one place in the list, and the list is walked once. The command has the same id in each attempt, so that
 *             a repetition changes nothing. A call settles once, and its event says what came of it
 *   bounded   the run holds one page of ids, and the counts
 */

/** The built-in hub whose runs are the bulks. */
export const bulkHubName = "bulk:";

/** A command to many requests. */
export type BulkCommand =
  | { readonly kind: "cancel" | "retry" }
  | { readonly kind: "signal"; readonly name: string; readonly payload: unknown }
  | { readonly kind: "resolve"; readonly message: string };

/** The request of the run of a bulk. */
export interface BulkRequest {
  readonly command: BulkCommand;
  readonly filter: RequestFilter;
  /** Who gives it, if that is known: the commands to the requests are given by the same. */
  readonly by?: string;
}

/** What came of the command to one request. `gone`: it had ended before, or is no longer known. */
export interface BulkItem {
  readonly id: string;
  readonly outcome: "done" | "refused" | "gone";
  /** Only of a refusal: the code of the error. */
  readonly code?: string;
}

/** How far a bulk is. */
export interface BulkProgress {
  /** How many requests the filter meant when the bulk began; absent: it has not begun. */
  readonly matched?: number;
  readonly done: number;
  readonly gone: number;
  /** By the code of the error. */
  readonly refused: Readonly<Record<string, number>>;
  readonly isPaused: boolean;
  readonly isCancelled: boolean;
}
