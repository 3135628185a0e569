import type { Outcome } from "@wheelwork/core";
import type { AttemptContext, Message, Worker, WorkerPorts } from "@wheelwork/engine";
import type { LogRecord } from "@wheelwork/engine/cluster";
import { observed, type AttemptsIn } from "../attempts.ts";
import { drawFor } from "../plans.ts";
import { attemptOf } from "./ledger.ts";
import { inbox, type Stage } from "./stage.ts";

/** How an external worker writes down what it says of an attempt. */
export type ResponseWriter = (correlation: string, response: string) => Omit<Message, "key">;

/** With headers. */
export const responseInHeaders: ResponseWriter = (correlation, value) => ({
  value,
  headers: { "correlation-id": correlation, ce_type: "wheelwork.response" },
});

/** In the value alone, for readers that get no headers. What is no object stays as it is. */
export const responseInValue: ResponseWriter = (correlation, value) => ({
  value: value.startsWith("{")
    ? JSON.stringify({ type: "response", "correlation-id": correlation, ...(JSON.parse(value) as object) })
    : value,
});

/**
 * Has some of the spokes served by workers that outlive all processes of the engine, and answer through the inboxes.
 * @param watch Sees to it that what fails is noticed.
 * @returns The topics of these spokes.
 */
export function serveExternally(
  stage: Stage,
  write: ResponseWriter,
  watch: (task: () => Promise<void>) => void,
): ReadonlyMap<string, string> {
  const { plan, opened, broker, outside, clock, chronicle } = stage;
  const where: AttemptsIn = {
    plan,
    honest: stage.honest,
    process: clock.process(),
    acts: () => true,
    numberFor: () => 0,
    see: (seen) => chronicle.see(stage.shardOf(seen.request), seen),
  };
  const topics = new Map<string, string>();
  for (const worker of opened.workers()) {
    const { name } = worker.spoke;
    // Relays hear their answers at the nodes.
    if (worker.attach !== undefined) continue;
    if (!drawFor(plan.seed, "elsewhere", name).chance(plan.external)) continue;
    const topic = `work-${name}`;
    broker.createTopic(topic);
    // A limit is one of the process that asks.
    const made = observed({ ...worker, spoke: { ...worker.spoke, limit: undefined } }, where);
    void outside.read(topic, 0, undefined, {
      records: (records) => {
        for (const record of records) watch(() => work(stage, made, record, write));
      },
      lost: () => {},
    });
    topics.set(name, topic);
  }
  return topics;
}

async function work(
  stage: Stage,
  worker: Worker,
  { key, value, headers }: LogRecord,
  write: ResponseWriter,
): Promise<void> {
  const correlation = headers["correlation-id"] ?? "";
  const { run, call, attempt, epoch } = attemptOf(key, correlation);
  /** What the worker has said by `fail`. */
  let failed: Outcome | undefined;
  const context = {
    requestId: run,
    runKey: run,
    call,
    attempt,
    epoch,
    key: undefined,
    idempotencyKey: headers["idempotency-key"] ?? "",
    signal: new AbortController().signal,
    deadline: Number(headers["deadline"]),
    ...(headers["fence"] === undefined ? {} : { fence: Number(headers["fence"]) }),
    fail: (code: string, message: string) => {
      failed = { kind: "error", code, message } as Outcome;
      throw new Error(message);
    },
    onAbort: () => {},
    progress: () => {},
  } as unknown as AttemptContext;
  const ports: WorkerPorts = { bus: stage.relays(), replies: { kind: "process" } };
  const given = await Promise.resolve()
    .then(() => worker.attempt(JSON.parse(value), context, ports))
    .catch((): Outcome | undefined => undefined);
  const outcome = failed ?? given;
  if (outcome?.kind === "timeout") return;
  const partition = Number(headers["reply-partition"]);
  await stage.outside.append(inbox, { key, ...write(correlation, responseOf(outcome)) }, partition);
  stage.chronicle.count("response elsewhere");
}

/** What an external worker says; undefined: it broke down. */
function responseOf(outcome: Outcome | null | undefined): string {
  if (outcome === undefined)
    return JSON.stringify({ error: { code: "WW_WORKER_FAILED", message: "it broke down" } });
  try {
    if (outcome !== null && outcome.kind === "error") {
      const { code, message } = outcome;
      return JSON.stringify({ error: { code, message } });
    }
    return JSON.stringify(outcome === null ? null : { output: (outcome as { output?: unknown }).output });
  } catch {
    return "what is no JSON";
  }
}
