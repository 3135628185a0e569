import type { components } from "./api.ts";

type Problem = Partial<components["schemas"]["Problem"]>;

/** Problem details in a body. There may be a proxy in between: nothing of it is sure. */
export const problemIn = (body: unknown): Problem =>
  typeof body === "object" && body !== null ? (body as Problem) : {};

/** What a server has refused, or an answer of a hub that is an error or a timeout. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status. */
  readonly status: number;
  /** The stable code of the error, such as `WW_NOT_FOUND`; `HTTP 502` if something else than the server has answered. */
  readonly code: string;
  /** All that the server has said. */
  readonly problem: Problem;
  /** It is the answer of a request: it will not change. */
  readonly isAnswer: boolean;

  constructor(status: number, problem: Problem, isAnswer = false) {
    const { code = `HTTP ${status}`, detail = "the server refused it", next } = problem;
    super(`${code}: ${detail}${next === undefined ? "" : `\n  ${String(next)}`}`);
    this.status = status;
    this.code = code;
    this.problem = problem;
    this.isAnswer = isAnswer;
  }

  /** Whether the same may be sent again later, under its key. */
  get retryable(): boolean {
    return !this.isAnswer && [429, 502, 503, 504].includes(this.status);
  }
}
