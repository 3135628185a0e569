// What JSON does not have must not compile where it would be stored, and all that JSON has must.
import { end, hub, hubByHandlers, spoke, type Json, type Schema } from "@wheelwork/core";
import { worker } from "@wheelwork/engine";
import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";

const nothing = z.object({});
const of = <T>(): Schema<T> => undefined as never;
const takes = <const S extends Schema>(
  output: Parameters<typeof spoke<typeof nothing, S>>[1]["output"],
): void => void output;

// ---- what JSON has ----

interface Tree {
  readonly name: string;
  readonly children: readonly Tree[];
  readonly parent?: Tree | null;
}
interface Place {
  x: number;
  note?: string;
  label: string | undefined;
}
type Brand = string & { readonly [brand]: "id" };
declare const brand: unique symbol;

takes(of<string>());
takes(of<null>());
takes(of<undefined>());
takes(of<unknown>());
// eslint-disable-next-line @typescript-eslint/no-explicit-any
takes(of<any>());
takes(of<Json>());
takes(of<Place>());
takes(of<Tree>());
takes(of<readonly Tree[]>());
takes(of<[number, string?]>());
takes(of<Record<string, Place>>());
takes(of<Record<string, unknown>>());
takes(of<unknown[]>());
takes(of<Brand>());
takes(of<Place & { readonly [brand]: true }>());
takes(of<`id-${string}`>());
takes(of<{ kind: "a"; a: 1 } | { kind: "b"; b?: Place[] }>());
takes(z.unknown());
takes(z.any());
takes(z.json());
takes(
  z.object({ id: z.string().brand("id"), at: z.iso.datetime(), tags: z.array(z.enum(["a"])).readonly() }),
);
takes(z.looseObject({ n: z.coerce.number() }));
takes(z.discriminatedUnion("kind", [z.object({ kind: z.literal("a") }), z.object({ kind: z.literal("b") })]));
takes(v.object({ at: v.optional(v.string()), list: v.array(v.nullable(v.number())) }));
takes(type({ name: "string", "age?": "number", kind: "'a' | 'b'" }));
// A transform may begin with anything.
takes(z.date().transform((date) => date.toISOString()));

// ---- what it does not ----

// @ts-expect-error a Date comes back as a string
takes(z.object({ at: z.coerce.date() }));
// @ts-expect-error deep inside
takes(z.object({ a: z.array(z.object({ b: z.record(z.string(), z.date()) })) }));
// @ts-expect-error in a union
takes(z.union([z.string(), z.date()]));
// @ts-expect-error optional
takes(z.object({ at: z.date().optional() }));
// @ts-expect-error a Map
takes(z.map(z.string(), z.number()));
// @ts-expect-error a Set
takes(z.object({ seats: z.set(z.string()) }));
// @ts-expect-error a bigint
takes(z.object({ n: z.bigint() }));
// @ts-expect-error a symbol
takes(z.symbol());
// @ts-expect-error a function
takes(of<{ call: () => void }>());
// @ts-expect-error an instance of a class
takes(z.instanceof(URL));
// @ts-expect-error bytes
takes(z.instanceof(Uint8Array));
// @ts-expect-error undefined in an array
takes(z.array(z.string().optional()));
// @ts-expect-error a promise
takes(of<Promise<string>>());
// @ts-expect-error valibot
takes(v.object({ at: v.date() }));
// @ts-expect-error arktype
takes(type({ at: "Date" }));

// ---- everywhere ----

const dated = z.object({ at: z.date() });
// @ts-expect-error the input of a spoke
spoke("s", { input: dated, output: nothing, timeoutMs: 1 });
// @ts-expect-error its output
spoke("s", { input: nothing, output: dated, timeoutMs: 1 });
const chart = { Wait: { Go: "Done" }, Done: end } as const;
const spec = { request: nothing, reply: nothing, deadlineMs: 1, chart, data: () => ({}) };
const behaviours = { Wait: "Go", Done: () => ({}) } as const;
hub("h", spec, behaviours);
// @ts-expect-error the request of a hub
hub("h", { ...spec, request: dated }, behaviours);
// @ts-expect-error its reply
hub("h", { ...spec, reply: dated }, { Wait: "Go", Done: () => ({ at: new Date() }) });
// @ts-expect-error a signal
hub("h", { ...spec, signals: { go: dated } }, behaviours);
hub("h", { ...spec, signals: { go: nothing } }, behaviours);
// @ts-expect-error its data
hub("h", { ...spec, data: () => ({ seats: new Set<string>() }) }, behaviours);
hub("h", spec, {
  Wait: "Go",
  // @ts-expect-error the details of its error
  Done: (_data, s) => s.fail("x" as never, "x", { at: new Date() }),
});
hub("h", spec, { Wait: "Go", Done: (_data, s) => s.fail("x" as never, "x", { at: "today" } as unknown) });
const handlers = { request: () => {}, response: () => {}, timeout: () => {} };
const handled = { request: nothing, reply: nothing, deadlineMs: 1, cleanUpMs: 1, calls: [] };
hubByHandlers("h", { ...handled, data: () => ({ list: [1] }) }, handlers);
// @ts-expect-error the data of a hub by handlers
hubByHandlers("h", { ...handled, data: () => ({ at: new Date() }) }, handlers);
// @ts-expect-error its request
hubByHandlers("h", { ...handled, request: dated, data: () => ({}) }, handlers);
const sound = spoke("s", { input: nothing, output: nothing, errors: ["full"], timeoutMs: 1 });
// @ts-expect-error the details of a worker's error
worker(sound, (_input, ctx) => ctx.fail("full", "x", { at: new Date() }));
worker(sound, (_input, ctx) => ctx.fail("full", "x", { at: 1 }));

// A function that makes hubs of any data says of it what it knows.
export const holding = <D extends object>(first: D) =>
  hub("holding", { ...spec, data: (): object => first }, behaviours);
