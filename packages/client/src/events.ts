import type { operations } from "./api.ts";
import { readMessages } from "./messages.ts";

type Query = NonNullable<operations["readEvents"]["parameters"]["query"]>;

/** An event of a run. Without the scope `payloads` it has no payloads. */
export interface ToldEvent {
  /** Behind this event: give it as `after` to go on there. */
  readonly position: string;
  /** The id of the run: of a request, or of what a request has begun. */
  readonly id: string;
  readonly hub: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly event: { readonly type: string; readonly at: string; readonly [field: string]: unknown };
}

/** Options of `events`: which events, and where to begin. */
export interface EventsOptions extends Readonly<Pick<Query, "hub" | "state" | "type" | "label" | "request">> {
  /** Goes on behind this position. Default: from now. */
  readonly after?: string;
  readonly signal?: AbortSignal;
}

/** Reads the stream of all events. */
export async function* readEvents(
  asked: (path: string, init: RequestInit) => Promise<Response>,
  { after, signal, ...filter }: EventsOptions = {},
): AsyncGenerator<ToldEvent> {
  const query = new URLSearchParams(
    Object.entries(filter).flatMap(([name, values]) =>
      values.map((value): [string, string] => [name, value]),
    ),
  );
  const path = query.size === 0 ? "/events" : `/events?${query.toString()}`;
  for await (const { id: position, data } of readMessages(asked, path, { after, signal }))
    yield { position, ...(data as Omit<ToldEvent, "position">) };
}
