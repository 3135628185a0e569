import { runBolt } from "@wheelwork/storm/multilang";
import { answerTopic } from "../storm/topics.ts";

// The bound: a bolt that answers each request at once.
const streams = { answers: ["key", "message", "topic"] } as const;
runBolt({
  streams,
  execute: (tuple, output) => output.emit("answers", [tuple.values[3] ?? null, "ok", answerTopic], [tuple]),
});
