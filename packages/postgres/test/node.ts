import { createEngine } from "@wheelwork/engine";
import { postgresStore } from "@wheelwork/postgres";
import { flowCreate, workers } from "./flow.ts";

// A node in a process of its own: it takes requests from its parent, and tells it the answers, and how it is when asked.
const [connectionString = "", schema = ""] = process.argv.slice(2);

interface Asked {
  readonly key: string;
  readonly flow: string;
  readonly length: number;
  readonly fails: boolean;
}

const store = postgresStore({ connectionString, schema, timeoutMs: 2000 });
const engine = createEngine({
  hubs: [flowCreate],
  workers,
  store,
  limits: { checkpointEvents: 500 },
  logger: {
    debug: () => {},
    info: () => {},
    warn: () => {},
    error: ({ error }: { readonly error?: unknown }) => void process.send?.({ log: String(error) }),
  },
});
await engine.start();

process.on("message", (asked: Asked | "status") => {
  if (asked === "status") return void process.send?.({ status: engine.health().status });
  const { key, ...request } = asked;
  engine.call(flowCreate, request, { key }).then(
    (answer) => process.send?.({ key, answer: JSON.stringify(answer) }),
    (error: unknown) => process.send?.({ key, refused: String(error) }),
  );
});
process.send?.({ status: engine.health().status });
