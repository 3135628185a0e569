import type { Answer, Failure, HistoryEvent } from "@wheelwork/core";
import type { DeadLetterView, RequestView, RunUpdate } from "@wheelwork/engine";
import { eventView, iso, requestView } from "./views.ts";

/*
 * What somebody sees who may not see payloads: how a request goes, and nothing of what it is about. Each outline lists what it
 * shows. So a field that is added later is hidden until somebody has thought about it. Messages are hidden too, since people
 * write values into them.
 */

/** How a request was answered. */
export const answerOutline = (answer: Answer): object =>
  answer.kind === "result" ? { kind: answer.kind } : { kind: answer.kind, code: answer.code };

/** What a request shows besides payloads. */
export const requestFields = [
  "id",
  "hub",
  "version",
  "status",
  "state",
  "createdAt",
  "answeredAt",
  "endedAt",
  "moreCalls",
  "inputsLeft",
  "startAt",
  "lane",
  "labels",
];

/** A request as `GET /requests/{id}` shows it without payloads. */
export function requestOutline(view: RequestView): object {
  const { answer, openCalls, incident } = view;
  return {
    ...pick(requestView(view), requestFields),
    ...(answer === undefined ? {} : { answer: answerOutline(answer) }),
    ...(openCalls === undefined
      ? {}
      : {
          openCalls: openCalls.map(({ call, callee, attempt, due }) => ({
            call,
            callee,
            attempt,
            ...(due === undefined ? {} : { due: iso(due) }),
          })),
        }),
    ...(incident === undefined
      ? {}
      : { incident: { at: iso(incident.at), error: pick(incident.error, ["code"]) } }),
  };
}

/** An update without payloads. */
export const updateOutline = ({ event, status, state, answer }: RunUpdate): object => ({
  event,
  status,
  state,
  ...(answer === undefined ? {} : { answer: answerOutline(answer) }),
});

/** What an event shows besides payloads. */
export const eventFields = [
  "type",
  "at",
  "hub",
  "version",
  "state",
  "by",
  "givenBy",
  "held",
  "call",
  "attempt",
  "alone",
  "deaths",
  "spoke",
  "timer",
  "signal",
  "id",
  "taken",
  "dropped",
  "due",
  "deadline",
  "answerBy",
  "startAt",
  "late",
  "cancelled",
  "own",
  "kept",
  "closes",
  "drops",
  "events",
  "labels",
];

/** An event of a history without payloads. */
export function eventOutline(event: HistoryEvent): object {
  const view = eventView(event) as Readonly<Record<string, unknown>>;
  const calls = view["calls"] as readonly { readonly inputs: readonly unknown[] }[] | undefined;
  return {
    ...pick(view, eventFields),
    ...("outcome" in event ? { outcome: event.outcome === "ok" ? "ok" : failureOutline(event.outcome) } : {}),
    ...("failure" in event ? { failure: failureOutline(event.failure) } : {}),
    ...("answer" in event && event.answer !== undefined ? { answer: answerOutline(event.answer) } : {}),
    ...(event.type === "incident" ? { error: pick(event.error, ["code"]) } : {}),
    ...(calls === undefined
      ? {}
      : {
          calls: calls.map((opened) => ({
            ...pick(opened, ["callee", "hub", "first", "index", "of", "started", "due"]),
            count: opened.inputs.length,
          })),
        }),
  };
}

const failureOutline = (failure: Failure): object => pick(failure, ["kind", "code"]);

function pick(from: object, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(
    names.flatMap((name) =>
      Object.hasOwn(from, name) ? [[name, (from as Readonly<Record<string, unknown>>)[name]]] : [],
    ),
  );
}

/** A record that could not be processed, without payloads. Its reason may quote what the record says. */
export const letterOutline = ({ place, at, key, origin, isShort }: DeadLetterView): object => ({
  place,
  at: iso(at),
  key,
  origin,
  isShort,
});
