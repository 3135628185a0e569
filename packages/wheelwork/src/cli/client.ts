import { eventsIn } from "@wheelwork/client/sse";
import { setTimeout as sleep } from "node:timers/promises";
import { CommandError } from "./command.ts";
import type { ServerPlace } from "./contexts.ts";
import { exitCodes, type ExitCode } from "./exit-codes.ts";
import { shown } from "./output.ts";
import { strangeReply } from "./replies.ts";
import { secureFetch, tlsError, usesFiles, type Sent } from "./secure-fetch.ts";

/** Problem details of the server, as docs/http.md has them. Nothing of it is sure: there may be a proxy in between. */
interface Problem {
  readonly code?: unknown;
  readonly detail?: unknown;
  readonly next?: unknown;
  readonly problems?: readonly { readonly path?: unknown; readonly message?: unknown }[];
}

/** What a server said. */
export interface Reply {
  readonly status: number;
  readonly headers: Headers;
  /** Parsed, if it is JSON. */
  readonly body: unknown;
}

export interface Sending {
  readonly query?: Readonly<Record<string, string | number | readonly string[] | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** The statuses beyond 299 that are no errors. */
  readonly expected?: (reply: Reply) => boolean;
}

/** How often a request that may be sent twice is sent again when no reply comes, and the first pause. */
const [tries, firstPauseMs] = [4, 200];
const timeoutMs = 75_000;

const accepted = "application/json, application/problem+json";

/** Talks to a server. Everything that it sends may be sent twice: reads, and writes with an `Idempotency-Key`. */
export class Client {
  readonly #place: ServerPlace;
  readonly #ask: (target: URL, sent: Sent) => Promise<Response>;

  /** @throws CommandError when a file of TLS cannot be read. */
  constructor(place: ServerPlace) {
    this.#place = place;
    this.#ask = usesFiles(place)
      ? secureFetch(place)
      : (target, sent) => fetch(target, { ...sent, redirect: "error" });
  }

  get url(): string {
    return this.#place.url;
  }

  get(path: string, sending: Sending = {}): Promise<Reply> {
    return this.#send("GET", path, sending);
  }

  post(path: string, sending: Sending = {}): Promise<Reply> {
    return this.#send("POST", path, sending);
  }

  /**
   * Reads server-sent events until their stream ends.
   * @throws CommandError what the server refuses, and why it has ended the stream.
   */
  async *stream(
    path: string,
    { query = {}, after }: Pick<Sending, "query"> & { readonly after: string | undefined },
  ): AsyncGenerator<{ readonly id: string; readonly data: unknown }> {
    const headers = {
      accept: "text/event-stream, application/problem+json",
      ...(after === undefined ? {} : { "last-event-id": after }),
    };
    const response = await this.#fetch("GET", path, { query, headers }, async (given) => {
      if (!given.ok) throw this.#refusedBy("GET", path, await replyOf(given));
      const type = given.headers.get("content-type");
      if (type?.startsWith("text/event-stream") === true) return given;
      throw this.#strange("GET", path, given.status, `is ${type ?? "of no type"}`);
    });
    try {
      for await (const { id, event, data = "null" } of eventsIn(response)) {
        const given: unknown = json(data);
        if (event === "problem")
          throw refusal({ status: Number((given as { readonly status: unknown }).status), body: given });
        if (id !== undefined) yield { id, data: given ?? undefined };
      }
    } catch (error) {
      throw error instanceof CommandError ? error : this.#unreachable(error);
    }
  }

  async #send(method: string, path: string, sending: Sending): Promise<Reply> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#sendOnce(method, path, sending);
      } catch (error) {
        const passes = error instanceof CommandError && error.exitCode === exitCodes.tryAgain;
        if (!passes || attempt >= tries) throw error;
        await sleep(firstPauseMs * 2 ** (attempt - 1));
      }
    }
  }

  async #sendOnce(method: string, path: string, sending: Sending): Promise<Reply> {
    const signal = AbortSignal.timeout(timeoutMs);
    const reply = await this.#fetch(method, path, sending, replyOf, signal);
    if (!(reply.status < 300 || sending.expected?.(reply) === true))
      throw this.#refusedBy(method, path, reply);
    const { status, headers, body } = reply;
    const accept = sending.headers?.["accept"] ?? accepted;
    const why = strangeReply({ method, path, accept, status, type: headers.get("content-type"), body });
    if (why === undefined) return reply;
    throw this.#strange(method, path, status, why);
  }

  /** Each refusal of Wheelwork has a code. */
  #refusedBy(method: string, path: string, { status, body }: Pick<Reply, "status" | "body">): CommandError {
    const { code } = (typeof body === "object" && body !== null ? body : {}) as Problem;
    if (typeof code === "string") return refusal({ status, body });
    return this.#strange(method, path, status, "has no code");
  }

  #strange(method: string, path: string, status: number, why: string): CommandError {
    const { url, looked } = this.#place;
    const code = exitCodeOfStatus(status);
    return new CommandError(
      `${url} does not answer as a server of Wheelwork: HTTP ${status} for ${method} ${path} ${why}\n  Why there: ${looked}. ` +
        "Is it a proxy, another program, or a server of an earlier version? Name the server itself: --url.",
      code === exitCodes.notFound ? exitCodes.failed : code,
    );
  }

  async #fetch<T>(
    method: string,
    path: string,
    { query = {}, body, headers }: Sending,
    read: (response: Response) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const { url, token } = this.#place;
    const target = new URL(`${url}${path}`);
    for (const [name, value] of Object.entries(query))
      for (const one of [value].flat()) if (one !== undefined) target.searchParams.append(name, String(one));
    try {
      const response = await this.#ask(target, {
        method,
        ...(signal === undefined ? {} : { signal }),
        headers: {
          accept: accepted,
          ...(method === "POST" ? { "content-type": "application/json" } : {}),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      return await read(response);
    } catch (cause) {
      throw cause instanceof CommandError ? cause : this.#unreachable(cause);
    }
  }

  #unreachable(cause: unknown): CommandError {
    const { url, looked, cert } = this.#place;
    const refused = tlsError(url, cause);
    if (refused !== undefined) return refused;
    // A server of Node gives no reason.
    const isCut = cert !== undefined && (cause as NodeJS.ErrnoException | undefined)?.code === "ECONNRESET";
    const hint = isCut
      ? `\n  A server ends a connection like this if it does not trust the certificate ${cert}.`
      : "";
    return new CommandError(
      `the server cannot be reached at ${url}: ${reasonOf(cause)}\n  Why there: ${looked}.${hint}`,
      exitCodes.tryAgain,
      cause,
    );
  }
}

async function replyOf(response: Response): Promise<Reply> {
  const { status, headers } = response;
  const text = await response.text();
  const isJson = /[/+]json\b/.test(headers.get("content-type") ?? "");
  return { status, headers, body: isJson ? json(text) : text };
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** `fetch` says "fetch failed", and hides the reason in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof AggregateError) return cause.errors.map(reasonOf).join("; ");
  if (cause instanceof Error) return reasonOf(cause);
  // A token must not go to where somebody else says.
  if (error.message === "unexpected redirect")
    return "it sends clients elsewhere, and redirects are not followed";
  return error.message;
}

function refusal({ status, body }: Pick<Reply, "status" | "body">): CommandError {
  const problem: Problem = typeof body === "object" && body !== null ? body : {};
  const code = typeof problem.code === "string" ? shown(problem.code) : `HTTP ${status}`;
  const detail = typeof problem.detail === "string" ? shown(problem.detail) : "the server refused it";
  const problems = Array.isArray(problem.problems) ? problem.problems : [];
  const lines = problems.map(
    ({ path, message }) =>
      `\n  - ${shown(path === "" ? String(message) : `${String(path)}: ${String(message)}`)}`,
  );
  const next = typeof problem.next === "string" ? `\n  ${shown(problem.next)}` : "";
  return new CommandError(`${code}: ${detail}${lines.join("")}${next}`, exitCodeOfStatus(status));
}

function exitCodeOfStatus(status: number): ExitCode {
  if (status === 401 || status === 403 || status === 421) return exitCodes.denied;
  if (status === 404) return exitCodes.notFound;
  return status === 408 || status === 429 || status === 502 || status === 503 || status === 504
    ? exitCodes.tryAgain
    : exitCodes.failed;
}
