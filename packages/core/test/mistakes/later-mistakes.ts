import type { Row } from "./mistakes.ts";

const parts: Row[] = [
  ["a misspelt event of a part", `s.raise("Priced", { price }`, `s.raise(«"Prized"», { price }`],
  [
    "an unknown field in the patch of a part",
    `s.raise("Priced", { price }`,
    `s.raise("Priced", { «prize»: price }`,
  ],
  ["a misspelt spoke of a part", `s.part(quote, {`, `s.part(«quot», {`, { errors: 4 }],
  ["the name of a spoke for a part", `s.part(freight, {`, `s.part(«"freight"», {`, { errors: 3 }],
  [
    "a wrong input of a part",
    `? { weight: price } : null`,
    `? { weight: "heavy" } : null`,
    { says: "'weight' are incompatible" },
  ],
  [
    "an input of a part without a field",
    `({ sku, buyer }) => ({ sku, buyer }),\n            ok`,
    `({ sku }) => ({ sku }),\n            ok`,
    { says: "'buyer' is missing" },
  ],
  [
    "an unknown field of the output of a part",
    `(_data, { price }) => s.raise`,
    `(_data, { «cost» }) => s.raise`,
    { errors: 2 },
  ],
  ["an undeclared code of a part", `code === "unknown" ?`, `«code === "unknwon"» ?`],
  [
    "an event of another state in a part",
    `? "NotAsked" : "Priced"),`,
    `? "NotAsked" : "Moved"),`,
    { says: "Moved" },
  ],
  [
    "no failed of all parts",
    `{ failed: "NotAsked", done: ({ price })`,
    `{ done: ({ price })`,
    { says: "'failed' is missing" },
  ],
  [
    "no done of all parts",
    `{ failed: "NotAsked", done: ({ price }) => (price > 0 ? "Asked" : "NotAsked") }`,
    `{ failed: "NotAsked" }`,
    { says: "'done' is missing" },
  ],
  [
    "a done that stays",
    `(price > 0 ? "Asked" : "NotAsked")`,
    `(price > 0 ? "Asked" : "Weighed")`,
    { says: "Weighed" },
  ],
  ["a list of parts", `{ close: ["lorry"] }`, `{ «closes»: ["lorry"] }`],
  ["a part that is closed by a text", `{ close: ["lorry"] }`, `{ «close»: "lorry" }`],
  [
    "a drain that is no truth",
    `{ failed: "NotAsked", done: ({ price })`,
    `{ «drain»: "yes", failed: "NotAsked", done: ({ price })`,
  ],
  [
    "a step as a part",
    `lorry: s.part(freight, {`,
    `lorry: s.step(freight, {`,
    { says: "in type 'SequenceStep<", errors: 6 },
  ],
];

const lanes: Row[] = [
  ["a misspelt whenBusy", `(urgent ? "refuse" : "queue")`, `(urgent ? "refuse" : "que")`, { says: "que" }],
  [
    "a function that joins",
    `(urgent ? "refuse" : "queue")`,
    `(urgent ? "refuse" : "join")`,
    { says: "join" },
  ],
  [
    "a whenBusy that does not exist",
    `whenBusy: ({ urgent }) => (urgent ? "refuse" : "queue"),`,
    `«whenBusy»: "reject",`,
  ],
  [
    "no whenBusy",
    `      whenBusy: ({ urgent }) => (urgent ? "refuse" : "queue"),\n`,
    ``,
    { says: "'whenBusy' is missing" },
  ],
  ["no lane", `      lane: "purchases",\n`, ``, { says: "'lane' is missing" }],
  [
    "no key of a lane",
    `      by: ({ buyer }) => buyer,\n      slots`,
    `      slots`,
    { says: "'by' is missing" },
  ],
  [
    "an unknown field of the request in a lane",
    `by: ({ buyer }) => buyer,\n      slots`,
    `by: ({ «byer» }) => byer,\n      slots`,
  ],
  [
    "a key of a lane that is no text",
    `by: ({ buyer }) => buyer,\n      slots`,
    `by: ({ urgent }) => «urgent»,\n      slots`,
  ],
  [
    "an asynchronous key of a lane",
    `by: ({ buyer }) => buyer,\n      slots`,
    `by: async ({ buyer }) => buyer,\n      slots`,
    { says: "Type 'Promise<" },
  ],
  [
    "the name of a field as a key of a lane",
    `by: ({ buyer }) => buyer,\n      slots`,
    `«by»: "buyer",\n      slots`,
  ],
  ["places as a text", `slots: 2`, `«slots»: "2"`],
  ["a misspelt option of a lane", `queueMs: 60_000`, `«queueTimeMs»: 60_000`],
  ["a misspelt exclusive", `exclusive: {`, `«exclusiv»: {`, { errors: 3 }],
  [
    "a label that is no text",
    `({ buyer, sku: sku === "" ? undefined : sku })`,
    `({ buyer, sku: sku.length })`,
    { says: "Property 'sku'" },
  ],
  ["a label of an unknown field", `labels: ({ buyer, sku }) =>`, `labels: ({ buyer, «skus»: sku }) =>`],
  ["a secret that is no list", `secret: ["buyer"]`, `«secret»: "buyer"`],
];

const answering: Row[] = [
  [
    "an answer of a wrong type",
    `s.answer(({ price }) => ({ price })`,
    `s.answer(({ price }) => ({ «price»: String(price) })`,
  ],
  [
    "an answer without a field",
    `s.answer(({ price }) => ({ price })`,
    `s.answer(() => ({})`,
    { says: "{ price: number; }" },
  ],
  [
    "an undeclared code of an answer before the end",
    `s.answer(({ price }) => ({ price }), {`,
    `s.answer((_data, e) => e.fail(«"notbought"», "no"), {`,
  ],
  ["a misspelt event after an answer", `{ next: "Answered" }`, `{ next: «"Answred"» }`],
  [
    "an answer without a next",
    `s.answer(({ price }) => ({ price }), { next: "Answered" })`,
    `s.answer(({ price }) => ({ price }), {})`,
    { says: "'next' is missing" },
  ],
  [
    "an answer that is asynchronous",
    `s.answer(({ price }) =>`,
    `s.answer(async ({ price }) =>`,
    { says: "Promise" },
  ],
  [
    "an end that is called answered by name",
    `Shut: answered,\n    Failed`,
    `«Shut»: "answered",\n    Failed`,
  ],
  [
    "an idle call",
    `settled: "Moved",\n        done: "AllMoved",`,
    `«idle»: true,\n        settled: "Moved",\n        done: "AllMoved",`,
  ],
  ["an idle that is a time", `idle: true`, `«idle»: 60_000`],
];

const signals: Row[] = [
  ["a dropped signal that is not declared", `dropSignals: ["rest"]`, `dropSignals: [«"resting"»]`],
  ["an event of another state for a signal", `rest: "Rested"`, `rest: «"Moved"»`],
  ["a misspelt signal of an idle wait", `rest: "Rested"`, `«resst»: "Rested"`],
  ["a payload that is used as what it is not", `{ slow: loud, said`, `{ «slow»: text, said`],
  [
    "an asynchronous handler of a signal",
    `said: ({ said }, { text, loud }) =>`,
    `«said»: async ({ said }, { text, loud }) =>`,
  ],
  ["a limit that gives a truth", `(slow ? 0 : 10)`, `(slow ? 0 : «true»)`, { says: "boolean" }],
  ["a limit of an unknown field", `limit: ({ slow }) =>`, `limit: ({ «paused»: slow }) =>`],
  ["a timer of an unknown event", `Broken: 60_000`, `«Brocken»: 60_000`],
  ["a timer that gives undefined", `data.slow ? null :`, `data.slow ? undefined :`, { says: "undefined" }],
  ["a misspelt clock of a timer", `{ enteredAt, now }) =>`, `{ «entredAt: enteredAt», now }) =>`],
  ["a timer with a Date", `now - enteredAt + 1_000`, `«new Date(enteredAt)»`, { says: "Date" }],
  ["a signal to a run of another name", `bought.signal("said",`, `bought.signal(«"sayd"»,`],
  ["a wrong payload to a run", `loud: false }, {`, `«loud»: "no" }, {`],
  [
    "a payload without a field to a run",
    `{ text: "hello", loud: false }, {`,
    `{ text: "hello" }, {`,
    { says: "'loud' is missing" },
  ],
  ["a misspelt option of a signal", `{ commandId: "c1" }`, `{ «commandID»: "c1" }`],
  ["a misspelt option of a watch", `watch({ until: "end" })`, `watch({ until: «"ended"» })`],
  ["a field of an answer that the hub does not give", `answer.value.price`, `answer.value.«cost»`],
  ["a run of a spoke", `from.run(purchase, id)`, `from.run(«quote», id)`, { errors: 4 }],
];

const attempts: Row[] = [
  ["an undeclared code in a rule", `on: { busy: {`, `on: { «bussy»: {`],
  [
    "an undeclared code to give up on",
    `giveUpOn: ["unknown", "WW_INVALID_OUTPUT"]`,
    `giveUpOn: [«"unknwon"», "WW_INVALID_OUTPUT"]`,
  ],
  ["a code of the engine that does not exist", `WW_TIMEOUT: { attempts: 2 }`, `«WW_LATE»: { attempts: 2 }`],
  ["Infinity written as a text", `attempts: "unlimited"`, `«attempts»: "infinite"`],
  [
    "a misspelt field of a rule",
    `attempts: "unlimited", backoffMs: 1_000`,
    `attempts: "unlimited", «backOffMs»: 1_000`,
  ],
  [
    "a misspelt limit",
    `limit: { concurrent: 2, perSecond`,
    `«limits»: { concurrent: 2, perSecond`,
    { errors: 2 },
  ],
  ["a misspelt rate", `perSecond: 50`, `«perMinute»: 50`, { errors: 2 }],
  [
    "a key of a limit of an unknown field",
    `by: ({ buyer }) => buyer },`,
    `by: ({ «customer» }) => customer },`,
  ],
  ["a key of a limit that is no text", `by: ({ buyer }) => buyer },`, `«by»: () => true },`, { errors: 2 }],
  ["a heartbeat as a text", `heartbeatMs: 5_000`, `«heartbeatMs»: "5 s"`],
  ["a heartbeat of another name", `heartbeatMs: 5_000`, `«heartBeatMs»: 5_000`],
  [
    "progress that is a Date",
    `ctx.progress({ asked: ctx.lastProgress === undefined ? 1 : 2 })`,
    `ctx.progress({ «asked»: new Date() })`,
  ],
  ["a start at a text", `key: "p1", startAt,`, `key: "p1", «startAt»: "tomorrow",`],
  ["a start at a Date", `key: "p1", startAt,`, `key: "p1", «startAt»: new Date(startAt),`],
  ["a priority as a word", `priority: 2`, `«priority»: "high"`],
  ["a status that does not exist", `status: "pending"`, `«status»: "finished"`],
];

/** Mistakes with parts, lanes, answers before the end, signals and attempts. */
export const later: readonly (readonly Row[])[] = [parts, lanes, answering, signals, attempts];
