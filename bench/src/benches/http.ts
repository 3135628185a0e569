import { createEngine } from "@wheelwork/engine";
import { northbound } from "@wheelwork/northbound";
import { Agent, request } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { callsOf, flow, newKey } from "../flow.ts";
import { drive, inChild, Measured, memoryMb, phase, withFolder, type Bench } from "../harness.ts";

const length = 10;

interface Load {
  readonly port: number;
  readonly inFlight: number;
  readonly milliseconds: number;
}

/** The clients, in their own process, with one keep-alive connection for each request in flight. */
const clients = phase(
  import.meta.url,
  "clients",
  async ({ port, inFlight, milliseconds }: Load): Promise<object> => {
    const agent = new Agent({ keepAlive: true, maxSockets: inFlight });
    let flows = 0;
    const post = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const body = JSON.stringify({ flowid: `flow-${flows++}`, length });
        const headers = {
          "content-type": "application/json",
          "content-length": Buffer.byteLength(body),
          "idempotency-key": newKey(),
        };
        const sent = request(
          { agent, port, host: "127.0.0.1", method: "POST", path: "/flow", headers },
          (response) => {
            response.resume();
            response.on("end", () => {
              if (response.statusCode === 200) resolve();
              else reject(new Error(`the status was ${response.statusCode}`));
            });
          },
        );
        sent.on("error", reject);
        sent.end(body);
      });
    await drive(inFlight, 1500, new Measured(), post);
    const measured = new Measured();
    await drive(inFlight, milliseconds, measured, post);
    agent.destroy();
    return measured.figures(callsOf(length));
  },
);

const serve = phase(
  import.meta.url,
  "serve",
  async (argument: { inFlight: number; dir: string }): Promise<object> =>
    withFolder(argument.dir, async (folder) => {
      const { hub, workers } = flow();
      const engine = createEngine({ hubs: [hub], workers, store: join(folder, "engine.db") });
      await engine.start();
      const app = await northbound({ engine, routes: [{ method: "POST", path: "/flow", hub }] });
      await app.listen({ host: "127.0.0.1", port: 0 });
      const { port } = app.server.address() as AddressInfo;
      const figures = await inChild(clients, { port, inFlight: argument.inFlight, milliseconds: 4000 });
      const rss = memoryMb();
      await app.close();
      await engine.stop();
      return { ...figures, rss_mb: rss };
    }),
);

/** Flow-create over HTTP: with Northbound, clients in another process, and an Idempotency-Key for each request. */
export const http: Bench = {
  name: "flow-create-10-http",
  about: "flow-create of 10 over HTTP: Northbound, and clients in their own process on the same cores",
  run: async ({ dir, report, note }) => {
    for (const inFlight of [1, 16, 200]) {
      note(`${inFlight} in flight`);
      report({
        bench: "flow-create-10-http",
        inflight: inFlight,
        ...(await inChild(serve, { inFlight, dir })),
      });
    }
  },
};
