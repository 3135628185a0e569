import type { Problem } from "@wheelwork/core";
import type { Engine, Supposition } from "@wheelwork/engine";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { callerOf } from "./access/gate.ts";
import { documented, json, problem } from "./openapi.ts";
import { eventOutline, requestOutline } from "./outlines.ts";
import { invalid } from "./problems.ts";
import { idParams, noQuery, refusals, unsupported, type OfRequest } from "./routes.ts";
import { errorWithout, eventWithout, requestWithout, secretsOf } from "./secrets.ts";
import { mustBeTime, timeOf } from "./times.ts";
import { eventView, iso, requestView } from "./views.ts";

/** What is supposed of one kind. */
const supposition = (
  kind: Supposition["kind"],
  description: string,
  properties: object = {},
  required: readonly string[] = [],
) => ({
  type: "object",
  description,
  properties: { kind: { const: kind }, ...properties },
  required: ["kind", ...required],
  additionalProperties: false,
});

const body = {
  description: "What is supposed.",
  oneOf: [
    supposition("signal", "The signal comes.", { name: { type: "string" }, payload: {} }, ["name"]),
    supposition("cancel", "The request is cancelled."),
    supposition("retry", "Its turn is made again."),
    supposition(
      "outcome",
      "An open call has this outcome: one of its attempts, or with `isFinal` all of them.",
      {
        call: { type: "integer", minimum: 0 },
        outcome: {
          oneOf: [
            { type: "object", properties: { kind: { const: "ok" }, output: {} }, required: ["kind"] },
            {
              type: "object",
              properties: { kind: { const: "error" }, code: { type: "string" }, message: { type: "string" } },
              required: ["kind", "code", "message"],
            },
            { type: "object", properties: { kind: { const: "timeout" } }, required: ["kind"] },
          ],
        },
        isFinal: { type: "boolean" },
      },
      ["call", "outcome"],
    ),
    supposition("time", "Nobody answers until the next thing that is due, or until then.", {
      until: {
        description: "A time as ISO 8601 with a time zone, or `deadline`.",
        anyOf: [{ const: "deadline" }, { type: "string", format: "date-time" }, { type: "integer" }],
      },
    }),
  ],
};

/** `POST /requests/{id}/what-if`: what would happen to a request. Nothing of it does. */
export function routeWhatIf(app: FastifyInstance, engine: Engine): void {
  app.post<OfRequest>(
    "/requests/:id/what-if",
    {
      schema: {
        summary: "Tell what would happen to a request, and do nothing",
        description: "Nothing is stored, and no worker is called.",
        operationId: "supposeRequest",
        tags: ["requests"],
        querystring: noQuery,
        params: idParams,
      },
      config: documented({
        body,
        response: {
          200: json("What would happen.", "WhatIf"),
          415: unsupported,
          ...refusals,
          404: problem("There is no such request, or its hub has no such signal."),
        },
      }),
    },
    async (request, _reply) => {
      const { id } = request.params;
      const supposition = suppositionIn(request as FastifyRequest);
      const supposed = await engine.whatIf(id, supposition).catch(async (error: unknown) => {
        const { hub } = await engine.request(id);
        throw errorWithout(secretsOf(engine, hub, [request.body]), error);
      });
      const { events, ignored, isCut, answerBy, request: then } = supposed;
      const { payloads } = callerOf(request as FastifyRequest);
      const { data, answer, request: asked, openCalls = [] } = then;
      const inputs = openCalls.map(({ input }) => input);
      const secrets = secretsOf(engine, then.hub, [asked, data, answer, request.body, ...inputs]);
      return {
        events: payloads
          ? events.map((event) => eventWithout(secrets, eventView(event)))
          : events.map((event) => eventOutline(event)),
        ...(ignored === undefined ? {} : { ignored }),
        ...(isCut === undefined ? {} : { isCut }),
        ...(answerBy === undefined ? {} : { answerBy: iso(answerBy) }),
        request: payloads ? requestWithout(secrets, requestView(then)) : requestOutline(then),
      };
    },
  );
}

const fieldsOf: { readonly [kind in Supposition["kind"]]: readonly string[] } = {
  signal: ["name", "payload"],
  cancel: [],
  retry: [],
  outcome: ["call", "outcome", "isFinal"],
  time: ["until"],
};

function isOutcome(given: unknown): boolean {
  if (typeof given !== "object" || given === null) return false;
  const { kind, code, message } = given as Readonly<Record<string, unknown>>;
  if (kind === "error") return typeof code === "string" && typeof message === "string";
  return kind === "ok" || kind === "timeout";
}

/** What a body supposes. The engine checks the rest. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
function suppositionIn({ body: given }: FastifyRequest): Supposition {
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw invalid("the body", [{ path: "", message: "must be a JSON object" }]);
  const { kind, ...fields } = given as Record<string, unknown>;
  const known = Object.hasOwn(fieldsOf, String(kind)) ? fieldsOf[kind as Supposition["kind"]] : undefined;
  if (known === undefined)
    throw invalid("the body", [
      { path: "kind", message: `must be one of ${Object.keys(fieldsOf).join(", ")}` },
    ]);
  const problems: Problem[] = Object.keys(fields)
    .filter((name) => !known.includes(name))
    .map((path) => ({ path, message: "is not known" }));
  const { name, call, isFinal, until } = fields;
  if (kind === "signal" && typeof name !== "string")
    problems.push({ path: "name", message: "must be a text" });
  if (kind === "outcome" && !(Number.isSafeInteger(call) && Number(call) >= 0))
    problems.push({ path: "call", message: "must be the number of an open call" });
  if (kind === "outcome" && !isOutcome(fields["outcome"]))
    problems.push({
      path: "outcome",
      message: "must be { kind: ok, output }, { kind: error, code, message } or { kind: timeout }",
    });
  if (isFinal !== undefined && typeof isFinal !== "boolean")
    problems.push({ path: "isFinal", message: "must be true or false" });
  const time = until === undefined || until === "deadline" ? until : timeOf(until);
  if (until !== undefined && time === undefined)
    problems.push({ path: "until", message: `${mustBeTime}, or deadline` });
  if (problems.length > 0) throw invalid("the body", problems);
  return {
    kind,
    ...fields,
    ...(kind === "signal" ? { payload: fields["payload"] ?? null } : {}),
    ...(time === undefined ? {} : { until: time }),
  } as Supposition;
}
