import { problemOf, HttpProblem } from "@wheelwork/northbound";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { guardedLogger, type Logger, type Problem } from "wheelwork";

declare module "fastify" {
  interface FastifyContextConfig {
    /** What could not be done if the route fails: the `error-message` of OpenKilda's errors. */
    readonly failure?: string;
  }
}

/** OpenKilda's error types, by the status that they come with (org.openkilda.messaging.error.ErrorType). */
const errorTypes: Readonly<Record<number, string>> = {
  400: "Invalid request data",
  403: "Operation not permitted",
  404: "Object was not found",
  408: "Operation has timed out",
  409: "Object already exists",
  413: "Invalid request data",
  422: "The request cannot be processed",
  501: "Feature not implemented",
  503: "Operation can't be processed at this moment",
};

/** An error of OpenKilda's interface. */
export class FlowProblem extends Error {
  override readonly name = "FlowProblem";
  readonly status: number;
  /** What could not be done; undefined: what the route says. */
  readonly failure: string | undefined;
  readonly headers: Readonly<Record<string, string>>;

  /** @param description Why, for people. */
  constructor(
    status: number,
    description: string,
    more: { readonly failure?: string; readonly headers?: Readonly<Record<string, string>> } = {},
  ) {
    super(description);
    this.status = status;
    this.failure = more.failure;
    this.headers = more.headers ?? {};
  }
}

/** There is no such flow. */
export const unknownFlow = (flowId: string): FlowProblem =>
  new FlowProblem(404, `Flow ${flowId} was not found`);

/** An input that is not valid: all its problems in one error. */
export function invalid(problems: readonly Problem[]): FlowProblem {
  return new FlowProblem(400, textOf(problems));
}

const textOf = (problems: readonly Problem[]): string =>
  problems.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`)).join("; ");

/** The `correlation_id` that a client has sent; empty: none. */
export function correlationOf({ headers }: FastifyRequest): string {
  const sent = headers["correlation_id"];
  return typeof sent === "string" ? sent : "";
}

/** Answers what goes wrong in the routes of this instance as OpenKilda does. */
export function answerAsOpenKilda(app: FastifyInstance, given: Logger | undefined): void {
  const logger = given === undefined ? undefined : guardedLogger(given);
  app.setErrorHandler((error, request: FastifyRequest, reply: FastifyReply) => {
    // What guards the server answers in its own way, and keeps a list of whom it has refused.
    if (error instanceof HttpProblem) throw error;
    const { status, description, headers, failure, isDefect } = told(error);
    if (isDefect) logger?.error({ err: error, method: request.method }, "a request over HTTP failed");
    return reply
      .code(status)
      .headers({ ...headers })
      .type("application/json; charset=utf-8")
      .send({
        correlation_id: correlationOf(request) || request.id,
        timestamp: Date.now(),
        "error-type": errorTypes[status] ?? "Internal service error",
        "error-message": failure ?? request.routeOptions.config.failure ?? "Could not process the request",
        "error-description": description,
      });
  });
}

interface Told {
  readonly status: number;
  readonly description: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly failure?: string | undefined;
  readonly isDefect?: boolean;
}

function told(error: unknown): Told {
  if (error instanceof FlowProblem)
    return { ...error, description: error.message, status: error.status, headers: error.headers };
  const { details, headers, defect } = problemOf(error);
  const { detail, problems = [], status } = details;
  const description = problems.length === 0 ? detail : `${detail}: ${textOf(problems)}`;
  return { status, description, headers, isDefect: defect };
}
