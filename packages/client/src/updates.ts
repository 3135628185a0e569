import { readMessages } from "./messages.ts";

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

/** Reads the stream of a request, until the server says that there is no more. */
export async function* readUpdates(
  asked: (path: string, init: RequestInit) => Promise<Response>,
  id: string,
  { until = "answer", after, signal }: UpdatesOptions = {},
): AsyncGenerator<RequestUpdate> {
  const path = `/requests/${encodeURIComponent(id)}/updates?until=${until}`;
  const options = { after: after === undefined ? undefined : `${after}`, signal };
  for await (const message of readMessages(asked, path, options)) {
    const update = { event: Number(message.id), ...(message.data as Omit<RequestUpdate, "event">) };
    yield update;
    if (update.status === "ended" || (until === "answer" && update.answer !== undefined)) return;
  }
}
