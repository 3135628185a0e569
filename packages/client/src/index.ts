import createFetch, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.ts";
import { ApiError, problemIn } from "./errors.ts";
import { readEvents, type EventsOptions, type ToldEvent } from "./events.ts";
import { readUpdates, type RequestUpdate, type UpdatesOptions } from "./updates.ts";

export type { components, operations, paths } from "./api.ts";
export { ApiError } from "./errors.ts";
export type { EventsOptions, ToldEvent } from "./events.ts";
export type { RequestUpdate, UpdatesOptions } from "./updates.ts";

/** The bodies of the API by their names: `Schemas["Request"]`. */
export type Schemas = components["schemas"];

/** What a client needs. */
export interface ClientOptions {
  /** Where the server is, such as `https://wheelwork.example.com`. In a browser it may be left out: the server of the page. */
  readonly url?: string;
  /** The bearer token, or what gives it for each request. Default: none. */
  readonly token?: string | (() => string | Promise<string>);
  /** Sends requests. Default: the `fetch` of the platform. */
  readonly fetch?: (request: Request) => Promise<Response>;
}

/** Options of `submit`. */
export interface SubmitOptions {
  /** The request key: the same key is the same request. Default: a new one. */
  readonly key?: string;
  /** How long to wait for the answer, in whole seconds. Default: 0. */
  readonly waitSeconds?: number;
  readonly signal?: AbortSignal;
}

/** What is known of a request that was submitted. */
export interface SubmittedRequest<R = unknown> {
  readonly id: string;
  /** What the hub has answered; absent: there is no answer yet. */
  readonly answer?: R;
}

/** A client of one server: each operation of its document, with its types, and what is above single operations. */
export interface WheelworkClient extends Pick<Client<paths>, "GET" | "POST"> {
  /**
   * Sends a request to a hub by the path of its route. It is sent again under its key while the server cannot be reached: three times at
   * most. The result has the answer if it comes within the wait.
   * @throws ApiError what the server refuses, and an answer that is an error or a timeout.
   */
  submit<R = unknown>(path: string, body: object, options?: SubmitOptions): Promise<SubmittedRequest<R>>;
  /**
   * How a request goes: as it is now, and then each committed change once, in order, up to its answer. It connects again when the
   * connection ends, and misses nothing.
   * @throws ApiError what the server refuses.
   */
  updates(id: string, options?: UpdatesOptions): AsyncIterable<RequestUpdate>;
  /**
   * What happens to all requests: each committed event once. It connects again when the connection ends, and misses nothing. It has no
   * end, but for the `signal`.
   * @throws ApiError what the server refuses: `WW_EVENTS_GONE` when what follows the position is not kept any more.
   */
  events(options?: EventsOptions): AsyncIterable<ToldEvent>;
}

/** Makes a client. It asks nothing yet. */
export function createClient(options: ClientOptions = {}): WheelworkClient {
  const { url = "", token, fetch: send = (request) => fetch(request) } = options;
  const baseUrl = url.replace(/\/+$/, "");
  const client = createFetch<paths>({ baseUrl, fetch: send });
  const sign = async (headers: Headers): Promise<void> => {
    const given = typeof token === "function" ? await token() : token;
    if (given !== undefined) headers.set("authorization", `Bearer ${given}`);
  };
  client.use({
    onRequest: async ({ request }) => {
      await sign(request.headers);
      // The server takes no POST that a page of another site could send.
      if (request.method === "POST" && !request.headers.has("content-type"))
        request.headers.set("content-type", "application/json");
    },
  });
  const asked = async (path: string, init: RequestInit): Promise<Response> => {
    const headers = new Headers(init.headers);
    await sign(headers);
    return send(new Request(`${baseUrl}${path}`, { ...init, headers }));
  };
  return {
    GET: client.GET,
    POST: client.POST,
    submit: <R>(path: string, body: object, given?: SubmitOptions) => submit<R>(asked, path, body, given),
    updates: (id, given) => readUpdates(asked, id, given),
    events: (given) => readEvents(asked, given),
  };
}

/**
 * What an operation has given.
 * @throws ApiError when the server has refused it.
 */
export async function unwrap<T>(
  asked: Promise<{ readonly data?: T; readonly error?: unknown; readonly response: Response }>,
): Promise<T> {
  const { data, error, response } = await asked;
  if (response.ok) return data as T;
  throw new ApiError(response.status, problemIn(error));
}

/** How often a request is sent at most, and the first pause before it is sent again, in milliseconds. */
const [tries, firstPauseMs] = [4, 200];

async function submit<R>(
  asked: (path: string, init: RequestInit) => Promise<Response>,
  path: string,
  body: object,
  { key = crypto.randomUUID(), waitSeconds = 0, signal }: SubmitOptions = {},
): Promise<SubmittedRequest<R>> {
  const init: RequestInit = {
    method: "POST",
    body: JSON.stringify(body),
    headers: {
      accept: "application/json, application/problem+json",
      "content-type": "application/json",
      "idempotency-key": encodeURIComponent(key),
      prefer: `wait=${waitSeconds}`,
    },
    ...(signal === undefined ? {} : { signal }),
  };
  for (let attempt = 1; ; attempt++) {
    try {
      return await submittedIn<R>(await asked(path, init));
    } catch (error) {
      const passes = error instanceof ApiError ? error.retryable : signal?.aborted !== true;
      if (!passes || attempt >= tries) throw error;
      await new Promise((resolve) => setTimeout(resolve, firstPauseMs * 2 ** (attempt - 1)));
    }
  }
}

async function submittedIn<R>(response: Response): Promise<SubmittedRequest<R>> {
  const given: unknown = await response.json().catch(() => undefined);
  if (!response.ok) throw new ApiError(response.status, problemIn(given), isAnswer(response));
  const { requestId, ...rest } = given as { readonly requestId: string };
  return response.status === 202 ? { id: requestId } : { id: requestId, answer: rest as R };
}

/** Whether a reply carries an answer of a hub, and is no refusal. */
const isAnswer = ({ headers }: Response): boolean => headers.has("content-location");
