import type { FastifyInstance } from "fastify";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** Asks for a stream of server-sent events over a connection, which ends with the test. `after`: the last id that was seen. */
export async function openStream(
  app: FastifyInstance,
  path: string,
  { after, token }: { readonly after?: string | undefined; readonly token?: string | undefined } = {},
): Promise<{ readonly response: Response; readonly leave: AbortController }> {
  if (!app.server.listening) await app.listen({ port: 0, host: "127.0.0.1" });
  const leave = new AbortController();
  onTestFinished(() => leave.abort());
  const { port } = app.server.address() as AddressInfo;
  const headers = {
    ...(after === undefined ? {} : { "last-event-id": after }),
    ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
  };
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers, signal: leave.signal });
  return { response, leave };
}
