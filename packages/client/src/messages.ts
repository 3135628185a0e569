import type { components } from "./api.ts";
import { ApiError, problemIn } from "./errors.ts";

/** A server-sent event with data. */
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
      for await (const { id, event, data } of blocksIn(response)) {
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

interface Block {
  readonly id?: string;
  readonly event?: string;
  readonly data?: string;
}

/** The events of a stream: lines such as `id: …` and `data: …`, and an empty one behind each. A comment shows that it lives. */
async function* blocksIn({ body }: Response): AsyncGenerator<Block> {
  if (body === null) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks)
        yield Object.fromEntries(
          block.split("\n").map((line) => {
            const end = line.indexOf(": ");
            return [line.slice(0, end), line.slice(end + 2)];
          }),
        ) as Block;
    }
  } finally {
    // Who has read enough wants no more of it.
    await reader.cancel().catch(() => {});
  }
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
