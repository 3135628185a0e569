import type { components } from "./api.ts";
import { ApiError, problemIn } from "./errors.ts";
import { eventsIn } from "./sse.ts";

/** A server-sent event with an id and data. */
export interface Message {
  readonly id: string;
  /** What the server has sent, parsed. */
  readonly data: unknown;
}

/** How a stream is read. */
export interface MessagesOptions {
  /** The `id` of the last event that was seen. */
  readonly after?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The pause before the client connects again: the first one, and the longest, in milliseconds. */
const [firstPauseMs, longestPauseMs] = [200, 10_000];

/**
 * Reads a stream of server-sent events, and goes on with another one when it ends, until the server says that there is no more.
 * @throws ApiError what the server refuses.
 */
export async function* readMessages(
  asked: (path: string, init: RequestInit) => Promise<Response>,
  path: string,
  { after, signal }: MessagesOptions,
): AsyncGenerator<Message> {
  let last = after;
  let pauseMs = firstPauseMs;
  for (;;) {
    try {
      const response = await asked(path, {
        headers: {
          accept: "text/event-stream, application/problem+json",
          ...(last === undefined ? {} : { "last-event-id": last }),
        },
        ...(signal === undefined ? {} : { signal }),
      });
      if (response.status === 204) return;
      if (!response.ok)
        throw new ApiError(response.status, problemIn(await response.json().catch(() => undefined)));
      for await (const { id, event, data } of eventsIn(response)) {
        if (event === "problem") throw problemOf(data);
        pauseMs = firstPauseMs;
        last = id ?? last;
        if (id !== undefined && data !== undefined) yield { id, data: JSON.parse(data) as unknown };
      }
    } catch (error) {
      if (signal?.aborted === true) return;
      if (error instanceof ApiError && !error.retryable && error.code !== "WW_TOO_SLOW") throw error;
    }
    await pause(pauseMs, signal);
    if (signal?.aborted === true) return;
    pauseMs = Math.min(2 * pauseMs, longestPauseMs);
  }
}

/** Why the server has ended a stream. */
function problemOf(data = "{}"): ApiError {
  const problem = JSON.parse(data) as components["schemas"]["Problem"];
  return new ApiError(problem.status, problem);
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
    if (signal?.aborted === true) done();
  });
}
