// A hub by handlers that goes through all places at which a handler gives something, as `places.ts` does for a hub by chart.
import { hubByHandlers, type AnyHub } from "@wheelwork/core";
import { askedOf, at, fn, hostileDeadlineMs, look, receiver, schema, hear as told, work } from "./places.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- it is written past the types
type Any = any;

/** Where a handler cleans up. */
const cleaning: ReadonlySet<string> = new Set(["timeout returns", "timeout reply"]);
/** Where a handler answers first. */
const answering: ReadonlySet<string> = new Set([
  "answer",
  "answer code",
  "answer message",
  "answer details",
  "answered returns",
  "answered patch",
]);

/** All places. Those of the declaration are looked at in the hub by chart, and some of them here again: another function wraps them. */
export const handledPlaces: readonly string[] = [
  "data",
  "view",
  "request returns",
  "request patch",
  "call input",
  "call tag",
  "call key",
  "call options",
  "told",
  "start input",
  "start key",
  "startAt",
  "signal id",
  "signal name",
  "signal payload",
  "response returns",
  "response patch",
  "timer name",
  "after",
  "signal returns",
  "timer returns",
  ...cleaning,
  ...answering,
  "reply",
  "fail code",
  "fail message",
  "fail details",
];

/** Honest runs make these attempts: one call, and one that is told. */
export const handledAttempts = 2;

/** The key of the run that a run starts. */
const startedBy = ({ place, value }: { readonly place: string; readonly value: string }): string =>
  `handled ${place} ${value}`;

export const handled = (hubByHandlers as Any)(
  "handled",
  {
    request: schema("request"),
    reply: schema("reply"),
    errors: ["failed"],
    deadlineMs: ({ place }: Any) => (place === "" ? 60_000 : hostileDeadlineMs),
    cleanUpMs: 500,
    calls: [work, told, receiver],
    signals: { go: schema("payload") },
    data: (request: Any, run: Any) => {
      look("the run that begins", { ...run });
      return at("data", request, { ...askedOf(request), id: run.id, n: 0 });
    },
    view: fn("view", () => ({ seen: true })),
  },
  {
    request: (s: Any) => {
      const { data } = s;
      look("data of a handler", data);
      const asked = askedOf(data);
      const honest = { place: "", value: "" };
      s.patch(at("request patch", data, { n: 1 }));
      s.tell(told, at("told", data, {}));
      s.start(receiver, at("start input", data, {}), {
        key: at("start key", data, startedBy(asked)),
        startAt: at("startAt", data, 0),
      });
      s.signalRun(
        receiver,
        at("signal id", data, startedBy(asked)),
        at("signal name", data, "go"),
        at("signal payload", data, {}),
      );
      if (asked.place === "signal returns") s.signalRun("handled", data.id, "go", {});
      if (asked.place === "timeout returns") s.cleanUp();
      else
        s.call(
          work,
          at("call input", data, honest),
          at("call options", data, { tag: at("call tag", data, "t"), key: at("call key", data, "k") }),
        );
      return at("request returns", data, undefined);
    },
    response: (s: Any, call: Any, outcome: Any) => {
      look("a call of a handler", { ...call, tag: call.tag ?? null });
      look("the outcome of a handler", outcome);
      s.patch(at("response patch", s.data, { n: s.data.n + 1 }));
      if (cleaning.has(s.data.place)) s.cleanUp();
      else if (s.data.place !== "signal returns")
        s.after(at("timer name", s.data, "t"), at("after", s.data, 1));
      return at("response returns", s.data, undefined);
    },
    timer: (s: Any) => {
      const { data } = s;
      const { place } = askedOf(data);
      const ask = at("timer returns", data, undefined);
      if (/^answer (?:code|message|details)/.test(place))
        s.answerError(
          at("answer code", data, "failed"),
          at("answer message", data, "m"),
          at("answer details", data, {}),
        );
      else if (answering.has(place)) s.answer(at("answer", data, askedOf(data)));
      else if (place.startsWith("fail "))
        s.fail(at("fail code", data, "failed"), at("fail message", data, "m"), at("fail details", data, {}));
      else s.reply(at("reply", data, askedOf(data)));
      return ask;
    },
    signal: (s: Any, signal: Any) => {
      look("a signal of a handler", signal);
      s.reply(askedOf(s.data));
      return at("signal returns", s.data, undefined);
    },
    answered: (s: Any) => {
      s.patch(at("answered patch", s.data, { n: 9 }));
      s.end();
      return at("answered returns", s.data, undefined);
    },
    timeout: (s: Any) => {
      s.reply(at("timeout reply", s.data, askedOf(s.data)));
      return at("timeout returns", s.data, undefined);
    },
  },
) as AnyHub;
