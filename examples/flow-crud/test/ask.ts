import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/** An answer over HTTP. */
export interface Reply {
  readonly status: number;
  readonly body: unknown;
}

/** How long one attempt may take, in milliseconds: a server that stands still says nothing. */
const attemptMs = 20_000;

/** A request that is sent again, under its name, to the next of several servers until one of them tells the end. */
export async function askHttp(
  urls: () => readonly string[],
  method: string,
  path: string,
  body?: object,
  name: string = randomUUID(),
): Promise<Reply> {
  for (let tried = 0; ; tried++) {
    const all = urls();
    try {
      const reply = await fetch(`${all[tried % all.length]}${path}`, {
        method,
        headers: { "content-type": "application/json", correlation_id: name, prefer: "wait=5" },
        ...(method === "GET" ? {} : { body: JSON.stringify(body ?? {}) }),
        signal: AbortSignal.timeout(attemptMs),
      });
      const told = (await reply.json()) as unknown;
      if (![202, 429, 503].includes(reply.status)) return { status: reply.status, body: told };
    } catch {
      // The server has died, or is about to start.
    }
    await sleep(50);
  }
}
