import type { FastifyInstance, FastifyRequest } from "fastify";
import { callerOf } from "./access/gate.ts";
import { documented, json, problem } from "./openapi.ts";
import type { ProblemDetails } from "./problems.ts";
import { iso } from "./views.ts";

/** A request that was refused for who has sent it, or from where; or several of the same kind, one after the other. */
interface Refusal {
  /** When the last one came, in milliseconds since 1970. */
  at: number;
  readonly by: string | undefined;
  readonly address: string;
  readonly method: string;
  readonly path: string;
  readonly code: string;
  count: number;
}

/** How many are kept of those who have shown who they are, and how many of others: a stranger cannot push out the former. */
const maxKept = 1000;
/** A path may be as long as its sender likes. */
const maxPath = 200;
const statuses: ReadonlySet<number> = new Set([401, 403, 421]);

/** The latest requests that a server has refused. It is in memory: whoever is refused must not fill a store. */
export class Refusals {
  readonly #known: Refusal[] = [];
  readonly #strangers: Refusal[] = [];

  note(request: FastifyRequest, path: string, { status, code }: ProblemDetails): void {
    if (!statuses.has(status)) return;
    const { name: by } = callerOf(request);
    const list = by === undefined ? this.#strangers : this.#known;
    const { method, ip: address } = request;
    const at = Date.now();
    const last = list.at(-1);
    const refusal = { by, address, method, path: path.slice(0, maxPath), code };
    if (last !== undefined && isSame(last, refusal)) {
      last.at = at;
      last.count++;
      return;
    }
    list.push({ ...refusal, at, count: 1 });
    // A part at once: to take one off the front of a long list costs as much as the list is long.
    if (list.length >= 2 * maxKept) list.splice(0, list.length - maxKept);
  }

  /** The newest ones first. */
  newest(limit: number): readonly Refusal[] {
    return [...this.#known.slice(-maxKept), ...this.#strangers.slice(-maxKept)]
      .toSorted((a, b) => b.at - a.at)
      .slice(0, limit);
  }
}

const isSame = (a: Omit<Refusal, "at" | "count">, b: Omit<Refusal, "at" | "count">): boolean =>
  a.by === b.by && a.address === b.address && a.method === b.method && a.path === b.path && a.code === b.code;

/** `GET /audit/refusals`: who was refused what. */
export function routeRefusals(app: FastifyInstance, refusals: Refusals): void {
  app.get<{ Querystring: { readonly limit: number } }>(
    "/audit/refusals",
    {
      schema: {
        summary: "List the latest requests that this server has refused for who has sent them, newest first",
        description:
          "Each server keeps its own in memory: 1,000 of those who have shown who they are, and 1,000 others.",
        operationId: "listRefusals",
        tags: ["audit"],
        querystring: {
          type: "object",
          properties: { limit: { type: "integer", minimum: 1, maximum: 2000, default: 50 } },
          additionalProperties: false,
        },
      },
      config: documented({
        response: { 200: json("The refusals.", "Refusals"), 400: problem("The query is not valid.") },
      }),
    },
    ({ query }, reply) =>
      reply.send({
        refusals: refusals.newest(query.limit).map(({ at, by, ...refusal }) => ({
          at: iso(at),
          ...(by === undefined ? {} : { by }),
          ...refusal,
        })),
      }),
  );
}
