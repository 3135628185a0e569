import { setTimeout as pause } from "node:timers/promises";
import { Client } from "./client.ts";
import { command, CommandError, usageError, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { exitCodes } from "./exit-codes.ts";
import { Figures } from "./figures.ts";
import { say } from "./output.ts";
import { Screen } from "./screen.ts";
import { frame, type Reading } from "./top-frame.ts";

/** Asks a server for all that is shown. */
async function read(client: Client): Promise<Reading> {
  const [metrics, health, requests, lanes, shards] = await Promise.all([
    client
      .get("/metrics", { headers: { accept: "application/problem+json, text/plain;q=0.9" } })
      .catch(withoutMetrics),
    client.get("/health"),
    client.get("/requests", { query: { status: "incident", limit: 5 } }),
    client.get("/lanes", { query: { limit: 5 } }),
    client.get("/shards"),
  ]);
  return {
    figures: new Figures(String(metrics.body), performance.now()),
    health: health.body as Reading["health"],
    incidents: (requests.body as { readonly requests: Reading["incidents"] }).requests,
    lanes: (lanes.body as { readonly lanes: Reading["lanes"] }).lanes,
    shards: (shards.body as { readonly shards: Reading["shards"] }).shards,
  };
}

function withoutMetrics(error: unknown): never {
  if (!(error instanceof CommandError) || error.exitCode !== exitCodes.notFound) throw error;
  throw new CommandError(
    "the server shows no figures: there is no path /metrics\n  Give northbound the option metrics: see docs/metrics.md.",
    exitCodes.notFound,
  );
}

/** How often readings are taken, if nobody says otherwise, in seconds. */
const everySeconds = 2;

function secondsOf(given: string | undefined): number {
  const seconds = given === undefined ? everySeconds : Number(given);
  if (given?.trim() !== "" && seconds >= 0.2 && seconds <= 3600) return seconds;
  throw usageError(`--interval must be a number of seconds from 0.2 to 3600, not ${given}`);
}

/** The command that shows live what a server does. */
export const topCommand: Command = command({
  name: "top",
  about: "Shows live what a server does: rates, states, latencies, and what is stuck.",
  more: `On a terminal it fills the screen: q or Ctrl+C ends it. Elsewhere it prints one picture after the other, as plain text. The rates
and latencies are those of the last interval. The server must show its figures: see docs/metrics.md.`,
  takes: "",
  options: {
    interval: { type: "string", value: "SECONDS", about: `between two readings (${everySeconds})` },
    once: { type: "boolean", about: "prints one picture, as plain text" },
    ...serverOptions,
  },
  run: async ({ values }) => {
    const intervalMs = secondsOf(values.interval) * 1000;
    const client = new Client(findServer(values));
    const title = `wheelwork top  ${client.url}`;
    const first = await read(client);
    const isPlain = values.once === true || !process.stdout.isTTY;
    if (isPlain) return printFrames(client, title, first, { intervalMs, isOnce: values.once === true });
    return showFrames(client, title, first, intervalMs);
  },
});

async function printFrames(
  client: Client,
  title: string,
  first: Reading,
  { intervalMs, isOnce }: { readonly intervalMs: number; readonly isOnce: boolean },
): Promise<void> {
  for (let before = first; ;) {
    await pause(intervalMs);
    const now = await read(client);
    say(`${new Date().toISOString()}  ${frame(before, now, title).join("\n")}`);
    if (isOnce) return;
    say("");
    before = now;
  }
}

async function showFrames(client: Client, title: string, first: Reading, intervalMs: number): Promise<void> {
  const over = new AbortController();
  const ended = new Promise<undefined>((resolve) =>
    over.signal.addEventListener("abort", () => resolve(undefined)),
  );
  let lines = [title, "", "The first figures come after one interval."];
  const screen = new Screen({ end: () => over.abort(), redraw: () => screen.draw(lines) });
  try {
    screen.draw(lines);
    let before = first;
    while (!over.signal.aborted) {
      await pause(intervalMs, undefined, { signal: over.signal }).catch(() => {});
      const clock = new Date().toTimeString().slice(0, 8);
      try {
        const now = over.signal.aborted ? undefined : await Promise.race([read(client), ended]);
        if (now === undefined) return;
        lines = [...frame(before, now, `${title}  ${clock}`), "", "q ends it"];
        before = now;
      } catch (error) {
        // The server may come back.
        if (!(error instanceof CommandError)) throw error;
        lines = [`${title}  ${clock}`, "", ...error.message.split("\n"), "", "q ends it"];
      }
      screen.draw(lines);
    }
  } finally {
    screen.close();
  }
}
