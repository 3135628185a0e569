import { later } from "./later-mistakes.ts";

/**
 * A mistake in the text of shop.ts: `from`, which is there once, becomes `to`. The wrong word stands between « and ». The
 * first error must be at it, or its message must contain it, if it is a text. Where something is missing, no word is
 * wrong: `says` is what the message must contain.
 */
export interface Mistake {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  readonly says?: string;
  /** How many errors there may be. Default: 1. */
  readonly errors?: number;
}

export type Row = readonly [
  what: string,
  from: string,
  to: string,
  more?: { says?: string; errors?: number },
];

const chart: Row[] = [
  ["a misspelt target", `AllReserved: "Choosing"`, `AllReserved: «"Chosing"»`],
  ["a misspelt target in the clean-up", `GivenUp: "Noting"`, `GivenUp: «"Notng"»`],
  ["a target in lower case", `Paid: "Packing"`, `Paid: «"packing"»`],
  ["an event as a target", `Small: "Paying"`, `Small: «"Large"»`],
  [
    "the first of two misspelt targets",
    `Small: "Paying", Large: "Approving"`,
    `Small: «"Payin"», Large: "Aproving"`,
    { errors: 2 },
  ],
  ["end as a target", `Told: "Completed"`, `«Told»: end`],
  ["stay as a state", `Undone: end`, `«Undone»: stay`],
  ["several targets of an event", `Noted: "Undone"`, `«Noted»: ["Undone"]`],
  ["a number as a target", `Noted: "Undone"`, `«Noted»: 1`],
];

const states: Row[] = [
  ["a state without a behaviour", `    Noting: "Noted",\n`, ``, { says: "'Noting' is missing" }],
  ["a behaviour of no state", `    Noting: "Noted",`, `    Noting: "Noted", «Extra»: "Noted",`],
  ["a misspelt state", `    Noting: "Noted",`, `    «Noteing»: "Noted",`],
  // The function gets no types: each of its parameters is an error, too.
  ["a misspelt state with a function", `    Telling: (s) =>`, `    «Teling»: (s) =>`, { errors: 3 }],
  [
    "a behaviour that is no function of s",
    `Telling: (s) => s.tell`,
    `Telling: () => «s».tell`,
    { errors: 2 },
  ],
  [
    "an end that raises an event",
    `Completed: ({ number, cents }) => ({ number, cents })`,
    `«Completed»: "Told"`,
  ],
  [
    "an end that calls",
    `Completed: ({ number, cents }) => ({ number, cents })`,
    `Completed: (s) => s.«call»(mail)`,
  ],
];

const events: Row[] = [
  ["a misspelt event of a state that passes", `Noting: "Noted"`, `Noting: «"Notd"»`],
  ["an event of another state", `Noting: "Noted"`, `Noting: «"Told"»`],
  ["a misspelt event of a pick", `? "Small" : "Large"`, `? «"Smal"» : "Large"`],
  ["a misspelt event of s.raise", `s.raise("LineReserved",`, `s.raise(«"LineReservd"»,`],
  ["a misspelt event of s.raise in a condition", `? s.raise("NotPaid",`, `? s.raise(«"NotPayed"»,`],
  ["a misspelt event in a condition", `: "NotPaid",`, `: «"NotPayed"»,`],
  [
    "a misspelt event of ok",
    `ok: ({ log }, { receipt }) => s.raise("Paid", { log: [...log, receipt] })`,
    `ok: «"Payed"»`,
  ],
  ["a misspelt event of timeout", `timeout: "NotReserved"`, `timeout: «"NotReservd"»`],
  ["a misspelt event of settled", `settled: "LineReleased"`, `settled: «"LineReleasd"»`],
  ["a misspelt event of done", `done: "AllReserved"`, `done: «"AllReservd"»`],
  [
    "a misspelt event of a deadline",
    `failed: "NotPacked", deadline: "TimeRanOut"`,
    `failed: "NotPacked", deadline: «"TimeRunOut"»`,
  ],
  ["a misspelt event of a timer", `after: { GivenUp: 1_000 }`, `after: { «GiveUp»: 1_000 }`],
  ["a misspelt event of a timer with a patch", `after: { Refused: {`, `after: { «Refuse»: {`],
  [
    "a misspelt event of a deadline with a patch",
    `deadline: { raise: "TimeRanOut"`,
    `deadline: { raise: «"TimeRunOut"»`,
  ],
  ["a misspelt event of a signal", `approved ? "Approved" :`, `approved ? «"Aproved"» :`],
  ["a misspelt event of s.raise for a signal", `s.raise("Refused",`, `s.raise(«"Refuse"»,`],
  ["a misspelt done of a sequence", `done: "Packed"`, `done: «"Pcked"»`],
  ["a misspelt failed of a sequence", `failed: "NotPacked"`, `failed: «"NotPcked"»`],
  ["a misspelt next of a tell", `next: "Told"`, `next: «"Tolled"»`],
  ["a misspelt event of a cancel", `cancel: { raise: "Cancelled"`, `cancel: { raise: «"Canceled"»`],
  ["a done that stays", `done: "AllReleased"`, `done: «"LineReleased"»`],
  [
    "a deadline that stays",
    `done: "AllReserved",
        deadline: "TimeRanOut"`,
    `done: "AllReserved",
        deadline: «"LineReserved"»`,
  ],
  [
    "a misspelt function of s",
    `s.wait({
        on: {
`,
    `s.«wiat»({
        on: {
`,
    { errors: 5 },
  ],
];

const data: Row[] = [
  [
    "a patch of an unknown field",
    `s.raise("NotPaid", { reason: "refused" })`,
    `s.raise("NotPaid", { «reasn»: "refused" })`,
  ],
  [
    "a patch of a wrong value",
    `s.raise("NotPaid", { reason: "refused" })`,
    `s.raise("NotPaid", { «reason»: "denied" })`,
  ],
  ["a patch of a wrong type", `{ cents: cents + shelf.length + input.quantity }`, `{ «cents»: shelf }`],
  [
    "a cancel's patch of an unknown field",
    `({ reason: "cancelled", log: [...log, "cancelled"] })`,
    `({ «reasn»: "cancelled", log: [...log, "cancelled"] })`,
  ],
  [
    "a cancel's patch of a wrong value",
    `({ reason: "cancelled", log: [...log, "cancelled"] })`,
    `({ «reason»: "canceled", log: [...log, "cancelled"] })`,
  ],
  [
    "a cancel's patch of a wrong type",
    `({ reason: "cancelled", log: [...log, "cancelled"] })`,
    `({ «log»: "cancelled" })`,
  ],
  [
    "a deadline's patch of an unknown field",
    `({ log: [...log, "nobody approved it"] })`,
    `({ log: [...log], «logs»: ["nobody approved it"] })`,
  ],
  [
    "a deadline's patch of a wrong type",
    `({ log: [...log, "nobody approved it"] })`,
    `({ «log»: "nobody approved it" })`,
  ],
  [
    "a step's patch of an unknown field",
    `({ log: [...log, parcel] })`,
    `({ log, parcel })`,
    { says: "parcel" },
  ],
  [
    "a step's patch of a wrong type",
    `({ log: [...log, parcel] })`,
    `({ log: parcel })`,
    { says: "'log' are incompatible" },
  ],
  [
    "an unknown field of the data",
    `({ card, cents }) => ({ card, cents })`,
    `({ «crd», cents }) => ({ card: crd, cents })`,
  ],
  ["a change of the data in place", `({ cents }) => (cents < 1_000 ?`, `(data) => (data.«cents»++ < 1_000 ?`],
  [
    "a change of the data in its depth",
    `({ number }) => ({ text: number }), next`,
    `({ log }) => ({ text: \`\${log.«push»("told")}\` }), next`,
  ],
  [
    "a cancel that uses the data above it",
    `chart: {\n      Reserving`,
    `cancel: { raise: "Cancelled", patch: ({ «number» }) => ({ number }) },\n    chart: {\n      Reserving`,
    { says: "DataUnknown", errors: 8 },
  ],
];

const newRuns: Row[] = [
  [
    "an unknown field of the new run",
    `({ number, card, skus }, { id })`,
    `({ number, card, skus }, { «ident»: id })`,
  ],
  ["an unknown field of the new run by handlers", `({ text }, { now })`, `({ text }, { «nw»: now })`],
  [
    "the id of a new run that is used as a number",
    `      skus,
      cents: 0,`,
    `      skus,
      cents: «id» * 2,`,
  ],
];

const views: Row[] = [
  ["a view of an unknown field", `({ cents, log }) => ({ cents,`, `({ cents, «lg: log» }) => ({ cents,`],
  ["a view with a Date", `last: log.at(-1) ?? null`, `last: new Date()`, { says: "last is a Date" }],
  [
    "an asynchronous view",
    `view: ({ cents, log }) =>`,
    `view: async ({ cents, log }) =>`,
    { says: "it is a promise" },
  ],
  ["a misspelt view", `view: ({ cents, log }) =>`, `«views»: ({ cents, log }) =>`, { errors: 3 }],
  [
    "a view of an unknown field by handlers",
    `view: ({ sent }) => ({ sent })`,
    `view: ({ «snt» }) => ({ sent: snt })`,
  ],
];

const calls: Row[] = [
  [
    "a misspelt field of an input",
    `({ card, cents }) => ({ card, cents })`,
    `({ card, cents }) => ({ card, cent: cents })`,
    { says: "'cents' is missing" },
  ],
  [
    "a missing field of an input",
    `({ card, cents }) => ({ card, cents })`,
    `({ card }) => ({ card })`,
    { says: "'cents' is missing" },
  ],
  [
    "a wrong type in an input",
    `({ card, cents }) => ({ card, cents })`,
    `({ card, cents }) => ({ card, «cents»: \`\${cents}\` })`,
  ],
  [
    "a wrong type in the inputs of a round",
    `({ sku, quantity: 1 })`,
    `({ sku, quantity: "1" })`,
    { says: "'quantity' are incompatible" },
  ],
  [
    "one input for a round",
    `inputs: ({ skus }) => skus.map((sku) => ({ sku })),`,
    `inputs: ({ skus }) => «({ sku: skus[0] ?? "" })»,`,
  ],
  [
    "a wrong input of a step",
    `s.step(mail, { input: ({ number }) => ({ text: number }) })`,
    `s.step(mail, { input: ({ cents }) => ({ «text»: cents }) })`,
  ],
  [
    "a wrong input of a tell",
    `s.tell(mail, { input: ({ number }) => ({ text: number })`,
    `s.tell(mail, { input: ({ cents }) => ({ «text»: cents })`,
  ],
  [
    "an unknown field of an output",
    `{ receipt }) => s.raise("Paid", { log: [...log, receipt] })`,
    `{ «reciept» }) => s.raise("Paid", { log: [...log, reciept] })`,
  ],
  ["an undeclared error code of a spoke", `code === "out-of-stock" ?`, `«code === "out-of-stok"» ?`],
  [
    "an undeclared error code of a failure",
    `failure.code === "card-declined"`,
    `«failure.code === "card-refused"»`,
  ],
  ["no handler of timeouts", `        timeout: "NotReserved",\n`, ``, { says: "'timeout' is missing" }],
  ["no handler of failures", `failed: (_data, failure) =>`, `«failure»: (_data: unknown, failure: any) =>`],
  [
    "error beside failed",
    `timeout: "NotReserved"`,
    `timeout: "NotReserved", «failed»: "NotReserved"`,
    { errors: 2 },
  ],
  ["no done", `        done: "AllReserved",\n`, ``, { says: "'done' is missing" }],
  ["done of a single call", `failed: (_data, failure) =>`, `«done»: "Paid", failed: (_data, failure) =>`],
  ["a misspelt option", `after: { GivenUp: 1_000 }`, `«afterMs»: { GivenUp: 1_000 }`],
  ["another misspelt option", `limit: 4`, `«limits»: 4`],
  ["a time as a text", `after: { GivenUp: 1_000 }`, `after: { «GivenUp»: "1 s" }`],
  ["a timer's time as a text", `ms: 60_000`, `«ms»: "1 min"`],
  [
    "a timer's patch of an unknown field",
    `patch: () => ({ reason: "refused" })`,
    `«patch»: () => ({ reasn: "refused" })`,
  ],
  [
    "a timer's patch of a wrong type",
    `patch: () => ({ reason: "refused" })`,
    `«patch»: () => ({ reason: 5 })`,
  ],
  ["a limit as a text", `limit: 4`, `«limit»: "4"`],
  ["the name of a spoke instead of the spoke", `s.call(charge, {`, `s.call(«"charge"», {`, { errors: 2 }],
  ["a misspelt spoke", `s.call(charge, {`, `s.call(«chrge», {`, { errors: 2 }],
  [
    "an undeclared signal",
    `decision: ({ log }, { approved, by }) =>`,
    `«decisions»: ({ log }, { approved, by }) =>`,
    { errors: 4 },
  ],
  ["an unknown field of a payload", `{ approved, by }) =>`, `{ «aproved: approved», by }) =>`],
];

const answers: Row[] = [
  [
    "a reply of a wrong type",
    `Completed: ({ number, cents }) => ({ number, cents })`,
    `Completed: ({ number }) => ({ number, «cents»: "12" })`,
  ],
  [
    "a reply with a misspelt field",
    `Completed: ({ number, cents }) => ({ number, cents })`,
    `Completed: ({ number, cents }) => ({ number, cent: cents })`,
    { says: "'cents' is missing" },
  ],
  [
    "a reply without a field",
    `Completed: ({ number, cents }) => ({ number, cents })`,
    `Completed: ({ number }) => ({ number })`,
    { says: "'cents' is missing" },
  ],
  ["an undeclared error of the hub", `s.fail("refused", "the order`, `s.fail(«"refusd"», "the order`],
  ["a Date in the details of an error", `{ log: [...log] }`, `{ «at»: new Date() }`],
  ["an undeclared code of an answer", `answer.code === "refused"`, `«answer.code === "refusd"»`],
  ["a request of a wrong type", `skus: ["3"] }`, `«skus»: "3" }`],
  ["a request with a misspelt field", `{ text: "hello" }`, `{ «txt»: "hello" }`],
];

const asynchronous: Row[] = [
  ["an asynchronous pick", `s.pick(({ cents }) => (`, `s.pick(async ({ cents }) => (`, { says: "Promise" }],
  ["an asynchronous ok", `ok: ({ log }, { receipt }) =>`, `«ok»: async ({ log }, { receipt }) =>`],
  [
    "an asynchronous input",
    `input: ({ card, cents }) =>`,
    `input: async ({ card, cents }) =>`,
    { says: "Promise" },
  ],
  [
    "an asynchronous end",
    `Completed: ({ number, cents }) =>`,
    `Completed: async ({ number, cents }) =>`,
    { says: "Promise" },
  ],
  [
    "asynchronous data",
    `data: ({ number, card, skus }, { id }) =>`,
    `data: async ({ number, card, skus }, { id }) =>`,
    { says: "it is a promise", errors: 6 },
  ],
  [
    "an asynchronous handler",
    `response: (s, call, outcome) => {`,
    `«response»: async (s, call, outcome) => {`,
  ],
];

const declarations: Row[] = [
  ["a version as a text", `version: 2`, `«version»: "2"`],
  [
    "a misspelt event of the hub's deadline",
    `deadline: "TimeRanOut",
    cleanUp`,
    `deadline: «"TimeRunOut"»,
    cleanUp`,
  ],
  ["a misspelt state of the clean-up", `cleanUp: ["Releasing"]`, `cleanUp: [«"Relesing"»]`],
  ["a misspelt deadline", `deadlineMs: ({ skus }) =>`, `«deadlineMS»: ({ skus }) =>`, { errors: 2 }],
  [
    "no deadline of the hub",
    `    deadlineMs: ({ skus }) => 10_000 + skus.length,\n`,
    ``,
    { says: "'deadlineMs' is missing" },
  ],
  ["a deadline as a text", `deadlineMs: ({ skus }) => 10_000 + skus.length`, `«deadlineMs»: "10 s"`],
  ["an unknown option", `version: 2`, `version: 2, «retries»: 3`],
  ["a misspelt request", `request: z.object({ number`, `«requests»: z.object({ number`, { errors: 3 }],
  ["a misspelt reply", `reply: z.object({ number`, `«replies»: z.object({ number`],
  [
    "a misspelt data",
    `data: ({ number, card, skus }, { id }) =>`,
    `dat: ({ number, card, skus }) =>`,
    { says: "'data' is missing", errors: 10 },
  ],
  ["signals under another name", `signals: { decision`, `«signal»: { decision`, { errors: 4 }],
  [
    "one error code instead of a list",
    `errors: ["refused", "unavailable"]`,
    `«errors»: "refused"`,
    { errors: 2 },
  ],
  [
    "a migration that reads an unknown field",
    `1: ({ state, data }) => ({ state, data: { ...data, log: [] } })`,
    `1: ({ «states», data }) => ({ state: states, data })`,
  ],
  [
    "a migration without a state",
    `1: ({ state, data }) => ({ state, data: { ...data, log: [] } })`,
    `1: ({ data }) => ({ data })`,
    { says: "'state' is missing" },
  ],
  ["migrations under another name", `migrate: { 1:`, `«migrations»: { 1:`, { errors: 3 }],
];

const json: Row[] = [
  ["a Date in the data", `cents: 0,`, `cents: 0, «at»: new Date(),`],
  ["a Map in the data", `cents: 0,`, `cents: 0, «seats»: new Map<string, number>(),`],
  ["a function in the data", `cents: 0,`, `cents: 0, «next»: () => 1,`],
  ["a bigint in the data", `cents: 0,`, `cents: 0, «total»: 1n,`],
  ["a Date deep in the data", `cents: 0,`, `cents: 0, «times»: [{ at: new Date() }],`],
  [
    "a Date in a request",
    `request: z.object({ number: z.string(),`,
    `«request»: z.object({ at: z.date(), number: z.string(),`,
  ],
  [
    "a bigint in a reply",
    `reply: z.object({ number: z.string(), cents: z.number() })`,
    `«reply»: z.object({ number: z.string(), cents: z.bigint() })`,
    { errors: 2 },
  ],
  [
    "a Map in a signal",
    `by: z.string() }) }`,
    `by: z.map(z.string(), z.string()) }) }`,
    { says: "by is a Map", errors: 3 },
  ],
  [
    "a Date in the input of a spoke",
    `input: z.object({ card: z.string(),`,
    `«input»: z.object({ at: z.date().optional(), card: z.string(),`,
  ],
  [
    "a Date in the output of a spoke",
    `output: z.object({ receipt: z.string() })`,
    `«output»: z.object({ receipt: z.string(), at: z.date().optional() })`,
  ],
];

const spokes: Row[] = [
  [
    "a worker with a wrong output",
    `return { shelf: "A1" };`,
    `return { shelf: 1 };`,
    { says: "'shelf' are incompatible" },
  ],
  [
    "a worker with a misspelt output",
    `return { shelf: "A1" };`,
    `return { shel: "A1" };`,
    { says: "{ shel: string; }" },
  ],
  ["a worker without an output", `    return { shelf: "A1" };\n`, ``, { says: "'void' is not assignable" }],
  ["a worker with an undeclared error", `ctx.fail("out-of-stock"`, `ctx.fail(«"sold-out"»`],
  ["a worker that reads an unknown field", `({ sku, quantity }, ctx)`, `({ sku, «amount: quantity» }, ctx)`],
  ["a spoke without a timeout", `  timeoutMs: 5_000,\n`, ``, { says: "'timeoutMs' is missing" }],
  ["an undeclared error in giveUpOn", `giveUpOn: ["out-of-stock"]`, `giveUpOn: [«"sold-out"»]`],
  ["a misspelt option of a retry", `backoffMs: 20`, `«backOffMs»: 20`],
  ["a number as a retry", `retry: { attempts: 3, backoffMs: 20, giveUpOn: ["out-of-stock"] }`, `«retry»: 3`],
  ["a misspelt option of a spoke", `concurrency: 10`, `«concurency»: 10`],
];

const handlers: Row[] = [
  [
    "a patch of an unknown field by a handler",
    `s.patch({ sent: s.data.sent + 1 })`,
    `s.patch({ «snt»: s.data.sent + 1 })`,
  ],
  ["a patch of a wrong type by a handler", `s.patch({ sent: s.data.sent + 1 })`, `s.patch({ «sent»: "1" })`],
  ["a reply with a misspelt field by a handler", `s.reply({ sent:`, `s.reply({ «send»:`],
  ["an undeclared error by a handler", `s.fail("unsent"`, `s.fail(«"unsend"»`],
  [
    "a wrong input of a call by a handler",
    `s.call(mail, { text: s.data.text }`,
    `s.call(mail, { «text»: s.data.sent }`,
  ],
  ["a misspelt option of a call by a handler", `{ tag: "first" }`, `{ «tags»: "first" }`],
  ["an unknown field of the data of a handler", `{ text: s.data.text }`, `{ text: s.data.«txt» }`],
  ["an unknown field of a payload of a handler", `text: payload.text`, `text: payload.«txt»`],
  ["an unknown cause", `\`the time is over: \${cause}\``, `«cause === "late"» ? "a" : "b"`],
  [
    "no handler of the time-out",
    `    timeout: (s, cause) => s.fail("unsent", \`the time is over: \${cause}\`),\n`,
    ``,
    { says: "'timeout' is missing" },
  ],
  [
    "no handler of signals",
    `    signal: (s, { payload }) => s.call(mail, { text: payload.text }),\n`,
    ``,
    { says: "'signal' is missing" },
  ],
  ["a misspelt handler", `timeout: (s, cause) =>`, `«timeOut»: (s, cause) =>`, { errors: 3 }],
  ["a misspelt option of a hub by handlers", `cleanUpMs: 500`, `«cleanUpMS»: 500`],
  ["no calls of a hub by handlers", `    calls: [mail],\n`, ``, { says: "'calls' is missing" }],
  ["a Date in the data of a hub by handlers", `sent: 0 })`, `sent: 0, «at»: new Date() })`],
];

const others: Row[] = [
  ["a misspelt next of a start", `next: "Started"`, `next: «"Startd"»`],
  ["a misspelt next of a signal to a run", `next: "Filled"`, `next: «"Fild"»`],
  ["no next of a start", `        next: "Started",\n`, ``, { says: "'next' is missing" }],
  ["no next of a signal to a run", `        next: "Filled",\n`, ``, { says: "'next' is missing" }],
  [
    "a misspelt field of the input of a start",
    `input: ({ shelf }) => ({ shelf }),`,
    `input: ({ shelf }) => ({ shelv: shelf }),`,
    { says: "'shelf' is missing" },
  ],
  [
    "a wrong type in the input of a start",
    `input: ({ shelf }) => ({ shelf }),`,
    `input: ({ pieces }) => ({ «shelf»: pieces }),`,
  ],
  [
    "an unknown field of the data in the input of a start",
    `input: ({ shelf }) => ({ shelf }),`,
    `input: ({ «shelv» }) => ({ shelf: shelv }),`,
  ],
  [
    "an input of a start that is no function",
    `input: ({ shelf }) => ({ shelf }),`,
    `input: { «shelf»: "a" },`,
  ],
  ["no input of a start", `        input: ({ shelf }) => ({ shelf }),\n`, ``, { says: "'input' is missing" }],
  [
    "a key of a start that is no text",
    `key: ({ shelf }) => \`of \${shelf}\``,
    `«key»: ({ pieces }) => pieces`,
  ],
  ["a key of a start that is no function", `key: ({ shelf }) => \`of \${shelf}\``, `«key»: "of a shelf"`],
  ["a misspelt option of a start", `key: ({ shelf }) => \`of \${shelf}\``, `«keys»: () => "of a shelf"`],
  ["ok of a start", `next: "Started"`, `«ok»: "Started", next: "Started"`],
  ["a spoke to start", `s.start(stock, {\n        input`, `s.start(«mail», {\n        input`],
  ["a misspelt hub to start", `s.start(stock, {\n        input`, `s.start(«stok», {\n        input`],
  ["a misspelt signal to a run", `signal: "came"`, `signal: «"cam"»`],
  [
    "the payload of another signal to a run",
    `signal: "came",\n        payload: ({ pieces }) => ({ pieces })`,
    `signal: "shut", payload: ({ pieces }) => ({ «pieces» })`,
  ],
  ["no signal to a run", `        signal: "came",\n`, ``, { says: "'signal' is missing" }],
  [
    "a misspelt field of the payload of a signal to a run",
    `payload: ({ pieces }) => ({ pieces })`,
    `payload: ({ pieces }) => ({ piece: pieces })`,
    { says: "'pieces' is missing" },
  ],
  [
    "a wrong type in the payload of a signal to a run",
    `payload: ({ pieces }) => ({ pieces })`,
    `payload: ({ shelf }) => ({ «pieces»: shelf })`,
  ],
  [
    "no payload of a signal to a run",
    `        payload: ({ pieces }) => ({ pieces }),\n`,
    ``,
    { says: "'payload' is missing" },
  ],
  ["an id of a run that is no text", `id: ({ shelf }) => \`of \${shelf}\``, `id: ({ pieces }) => «pieces»`],
  ["an id of a run that is no function", `id: ({ shelf }) => \`of \${shelf}\``, `«id»: "of a shelf"`],
  ["a key instead of the id of a run", `id: ({ shelf }) => \`of \${shelf}\``, `«key»: () => "of a shelf"`],
  [
    "a payload of a signal to a run that is no function",
    `payload: ({ pieces }) => ({ pieces })`,
    `payload: { «pieces»: 1 }`,
  ],
  [
    "an asynchronous id of a run",
    `id: ({ shelf }) => \`of \${shelf}\``,
    `id: async ({ shelf }) => \`of \${shelf}\``,
    { says: "Promise" },
  ],
  ["a signal to a spoke", `s.signalRun(stock, {`, `s.signalRun(«mail», {`],
  ["a signal to a hub that takes none", `s.signalRun(stock, {`, `s.signalRun(«closed», {`],
  ["a hub to tell", `s.tell(mail, { input: ({ shelf })`, `s.tell(«stock», { input: ({ shelf })`],
  [
    "the name of a spoke to tell",
    `s.tell(mail, { input: ({ shelf })`,
    `s.tell(«"mail"», { input: ({ shelf })`,
  ],
  [
    "a misspelt field of the input of a tell",
    `({ text: \`to \${shelf}\` })`,
    `({ txt: \`to \${shelf}\` })`,
    { says: "'text' is missing" },
  ],
  ["a misspelt next of a tell beside a start", `next: "Mailed"`, `next: «"Maild"»`],

  ["a hub to tell by a handler", `s.tell(mail, { text: place })`, `s.tell(«stock», { shelf: place })`],
  [
    "a wrong input of a tell by a handler",
    `s.tell(mail, { text: place })`,
    `s.tell(mail, { «text»: count })`,
  ],
  [
    "a misspelt field of a tell by a handler",
    `s.tell(mail, { text: place })`,
    `s.tell(mail, { «txt»: place })`,
  ],
  ["a spoke to start by a handler", `s.start(stock, { shelf: place }`, `s.start(«mail», { text: place }`],
  [
    "a wrong input of a start by a handler",
    `s.start(stock, { shelf: place }`,
    `s.start(stock, { «shelf»: count }`,
  ],
  [
    "a misspelt field of a start by a handler",
    `s.start(stock, { shelf: place }`,
    `s.start(stock, { «shelv»: place }`,
  ],
  ["a key of a start that is no text, by a handler", `{ key: \`again \${place}\` }`, `{ «key»: count }`],
  ["a key of a start that is no option", `{ key: \`again \${place}\` }`, `«\`again \${place}\`»`],
  ["a misspelt option of a start by a handler", `{ key: \`again \${place}\` }`, `{ «id»: place }`],
  ["a misspelt signal to a run by a handler", `"came", { pieces: count }`, `«"cam"», { pieces: count }`],
  [
    "a wrong payload of a signal to a run by a handler",
    `"came", { pieces: count }`,
    `"came", { «pieces»: place }`,
  ],
  ["a misspelt field of a payload by a handler", `"came", { pieces: count }`, `"came", { «piece»: count }`],
  [
    "no payload of a signal by a handler",
    `"came", { pieces: count })`,
    `"came")`,
    { says: "Expected 4 arguments" },
  ],
  [
    "an id of a run that is no text, by a handler",
    `s.signalRun(stock, \`again \${place}\`,`,
    `s.signalRun(stock, «count»,`,
  ],
  [
    "a signal by a handler to a hub that takes none",
    `s.signalRun(stock, \`again \${place}\`,`,
    `s.signalRun(«closed», place,`,
  ],
  [
    "a signal by a handler in the form of a chart",
    `s.signalRun(stock, \`again \${place}\`, "came", { pieces: count })`,
    `s.signalRun(stock, { id: () => place, signal: "came", payload: () => ({ pieces: count }) })`,
    { says: "Expected 4 arguments" },
  ],
  [
    "a signal to a spoke by a handler",
    `s.signalRun(stock, \`again \${place}\`,`,
    `s.signalRun(«mail», place,`,
  ],
];

const schedules: Row[] = [
  ["a cron that is no text", `cron: "30 2 * * *"`, `«cron»: [30, 2]`],
  ["a misspelt option of a schedule", `catchUp: "all"`, `«catchup»: "all"`],
  ["a catch-up that does not exist", `catchUp: "all"`, `«catchUp»: "every"`],
  ["an overlap in a schedule", `catchUp: "all"`, `«overlap»: "skip"`],
  ["a time that is a text", `everyMs: 60_000`, `«everyMs»: "1 min"`],
  ["a schedule without a hub", `  hub: errand,\n`, ``, { says: "'hub' is missing", errors: 3 }],
  ["a schedule by the name of a hub", `hub: errand,`, `«hub»: "errand",`, { errors: 3 }],
  ["a schedule of a spoke", `hub: errand,`, `«hub»: mail,`, { errors: 3 }],
  [
    "a request of a tick that is no function",
    `request: (tick) => ({ number: String(tick.at), card: "2", skus: ["4"] })`,
    `request: { «number»: "1", card: "2", skus: ["4"] }`,
  ],
  [
    "a request of a tick without a field",
    `{ number: String(tick.at), card: "2", skus: ["4"] }`,
    `{ number: String(tick.at), card: "2" }`,
    { says: "'skus' is missing" },
  ],
  ["a wrong field of a request of a tick", `skus: ["4"] }),`, `«skus»: "4" }),`],
  [
    "a misspelt field of a request of a tick",
    `number: String(tick.at)`,
    `numbr: String(tick.at)`,
    { says: "'number' is missing" },
  ],
  ["an instant where a text is needed", `number: String(tick.at)`, `«number»: tick.at`],
  ["a misspelt field of a tick", `String(tick.at)`, `String(tick.«time»)`],
  [
    "an asynchronous request of a tick",
    `request: (tick) =>`,
    `request: async (tick) =>`,
    { says: "Type 'Promise<" },
  ],
  ["one schedule instead of a list", `schedules: [nightly, often]`, `«schedules»: nightly`],
];

/** Mistakes of authors of hubs, by subject. */
export const mistakes: readonly Mistake[] = [
  chart,
  states,
  events,
  data,
  newRuns,
  views,
  calls,
  answers,
  asynchronous,
  declarations,
  json,
  spokes,
  handlers,
  others,
  schedules,
  ...later,
]
  .flat()
  .map(([what, from, to, more]) => ({ what, from, to, ...more }));
