import { trace } from "@opentelemetry/api";
import { TracerProvider, type ReadableSpan, type SpanProcessor } from "@opentelemetry/sdk-trace";
import { openTelemetry } from "@wheelwork/opentelemetry";
import { appendFileSync } from "node:fs";
import { openFlowCrud } from "../../src/application.ts";

/*
 * Creates a flow, and writes its spans to a file, a line each: node main.ts FOLDER FILE KEY [NAME]. At the first span with this name,
 * the process kills itself as soon as what it does is done.
 */

const [dataDir = "", file = "", key = "", last] = process.argv.slice(2);

class FileProcessor implements SpanProcessor {
  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    const { traceId, spanId: id } = span.spanContext();
    const parent = span.parentSpanContext?.spanId;
    const call = span.attributes["wheelwork.call"];
    appendFileSync(file, `${JSON.stringify({ traceId, id, parent, call, name: span.name })}\n`);
    if (span.name === last) setTimeout(() => process.kill(process.pid, "SIGKILL"), 20);
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {}
}

const { ids, observe, tracing } = openTelemetry();
trace.setGlobalTracerProvider(
  new TracerProvider({ idGenerator: ids, spanProcessors: [new FileProcessor()] }),
);
const system = await openFlowCrud({
  dataDir,
  durability: "normal",
  flow: { deadlineMs: 60_000, workerTimeoutMs: 20_000 },
  floodlight: { faults: { latencyMs: 200, loss: 0, duplicates: 0, reorder: 0 } },
  engine: { observe, tracing },
});
const { id } = await system.engine.submit("flow-create", { flowid: key, length: 4, error: null }, { key });
const answer = await system.engine.answer(id);
await system.close();
if (answer?.kind !== "result") throw new Error(JSON.stringify(answer));
