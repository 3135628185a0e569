import { ApiError, problemIn } from "./errors.ts";

/** How a request goes. Without the scope `payloads` there is no view, and the answer says only of which kind it is. */
export interface RequestUpdate {
  /** Its number: give it as `after` to go on behind it. */
  readonly event: number;
  readonly status: "pending" | "running" | "incident" | "ended" | "lost";
  readonly state: string;
  readonly view?: unknown;
  readonly answer?: {
    readonly kind: "result" | "error" | "timeout";
    readonly value?: unknown;
    readonly code?: string;
    readonly message?: string;
  };
}

/** Options of `updates`. */
export interface UpdatesOptions {
  /** Up to the answer, or to the end of the run. Default: the answer. */
  readonly until?: "answer" | "end";
  /** Goes on behind this update. 0: from the first state. Default: from now. */
  readonly after?: number;
  readonly signal?: AbortSignal;
}

/** The pause before the client connects again: the first one, and the longest, in milliseconds. */
const [firstPauseMs, longestPauseMs] = [200, 10_000];

/** Reads the stream of a request, and goes on with another one when it ends, until the server says that there is no more. */
export async function* readUpdates(
  asked: (path: string, init: RequestInit) => Promise<Response>,
  id: string,
  { until = "answer", after, signal }: UpdatesOptions = {},
): AsyncGenerator<RequestUpdate> {
  let last = after;
  let pauseMs = firstPauseMs;
  for (;;) {
    try {
      const response = await asked(`/requests/${encodeURIComponent(id)}/updates?until=${until}`, {
        headers: {
          accept: "text/event-stream, application/problem+json",
          ...(last === undefined ? {} : { "last-event-id": `${last}` }),
        },
        ...(signal === undefined ? {} : { signal }),
      });
      if (response.status === 204) return;
      if (!response.ok)
        throw new ApiError(response.status, problemIn(await response.json().catch(() => undefined)));
      for await (const update of updatesIn(response)) {
        last = update.event;
        pauseMs = firstPauseMs;
        yield update;
        if (update.status === "ended" || (until === "answer" && update.answer !== undefined)) return;
      }
    } catch (error) {
      if (signal?.aborted === true) return;
      if (error instanceof ApiError && !error.retryable) throw error;
    }
    await pause(pauseMs, signal);
    if (signal?.aborted === true) return;
    pauseMs = Math.min(2 * pauseMs, longestPauseMs);
  }
}

/** The events of a stream: lines `id: …` and `data: …`, and an empty one behind each. */
async function* updatesIn({ body }: Response): AsyncGenerator<RequestUpdate> {
  if (body === null) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const update = updateIn(text.slice(0, end));
        text = text.slice(end + 2);
        if (update !== undefined) yield update;
      }
    }
  } finally {
    // Who has read enough wants no more of it.
    await reader.cancel().catch(() => {});
  }
}

function updateIn(block: string): RequestUpdate | undefined {
  const fields = new Map(
    block.split("\n").map((line) => {
      const end = line.indexOf(": ");
      return [line.slice(0, end), line.slice(end + 2)] as const;
    }),
  );
  const [id, data] = [fields.get("id"), fields.get("data")];
  // A comment shows that the connection lives.
  if (id === undefined || data === undefined) return undefined;
  return { event: Number(id), ...(JSON.parse(data) as Omit<RequestUpdate, "event">) };
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
