import { freePort } from "@wheelwork/services";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Measured, repeat, rounded, withFolder, type Bench } from "../harness.ts";

/** The ring of `npm start`. */
const switches = 8;
/** A flow crosses so many switches: it has ten rules and two meters. */
const crossed = 5;
const hostPorts = 20;
const main = join(import.meta.dirname, "../../../examples/flow-crud/src/main.ts");

/** What our aim is, in creates per second. */
const aim = 2_000;

interface Answer {
  readonly status: number;
  readonly reply: string;
}

type Ask = ((method: string, path: string, body?: object) => Promise<Answer>) & { end(): void };

/** Requests over HTTP, from each to its answer. */
function byHttp(port: number, inFlight: number): Ask {
  const agent = new Agent({ keepAlive: true, maxSockets: inFlight });
  const ask = (method: string, path: string, body?: object): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? "" : JSON.stringify(body);
      const headers = {
        prefer: "wait=60",
        ...(body === undefined
          ? {}
          : { "content-type": "application/json", "content-length": Buffer.byteLength(text) }),
      };
      const sent = request({ agent, port, host: "127.0.0.1", method, path, headers }, (response) => {
        let reply = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => (reply += part));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, reply }));
      });
      sent.on("error", reject);
      sent.end(text);
    });
  return Object.assign(ask, { end: () => agent.destroy() });
}

/** The flow of a number. No two have an endpoint in common. */
function flowOf(number: number): object {
  const from = number % switches;
  const place = Math.floor(number / switches);
  const end = (at: number, side: number) => ({
    switch_id: `00:00:00:00:00:00:00:${((at % switches) + 1).toString(16).padStart(2, "0")}`,
    port_number: 1 + 2 * (place % (hostPorts / 2)) + side,
    vlan_id: 1 + (Math.floor(place / (hostPorts / 2)) % 4_000),
  });
  return {
    flow_id: `flow-${number}`,
    source: end(from, 0),
    destination: end(from + crossed - 1, 1),
    maximum_bandwidth: 100,
  };
}

/** flow-crud with simulated switches, in a process of its own. It resolves when it answers. */
async function startFlowCrud(dir: string): Promise<{ port: number; child: ChildProcess }> {
  const port = await freePort();
  const options = ["--port", `${port}`, "--data", dir, "--log", "error"];
  const child = spawn(process.execPath, [...process.execArgv, main, ...options], {
    // With a channel, so that it ends with this process.
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const ask = byHttp(port, 1);
  for (let isUp = false; !isUp;) {
    if (child.exitCode !== null) throw new Error(`flow-crud has ended with ${child.exitCode}`);
    isUp = await ask("GET", "/v2/flows").then(
      ({ status }) => status === 200,
      () => false,
    );
    if (!isUp) await sleep(100);
  }
  ask.end();
  return { port, child };
}

/** The CPU time of a process so far, in microseconds; undefined: the system does not say. */
function cpuUs({ pid }: ChildProcess): number | undefined {
  const path = `/proc/${pid}/stat`;
  if (!existsSync(path)) return undefined;
  const fields = readFileSync(path, "utf8").split(") ")[1]?.split(" ") ?? [];
  // Fields 14 and 15, in hundredths of a second.
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** `npm run bench -- flow-operations`: the life of flows over HTTP, on simulated switches. */
export const flowOperations: Bench = {
  name: "flow-operations",
  about:
    "flow-crud over HTTP on a ring of eight simulated switches: creates alone, and with 20 % updates and deletes",
  async run({ dir, full, note, report }) {
    for (const mix of ["creates", "with 20 % updates and deletes"]) {
      for (const inFlight of [1, 16, 100]) {
        note(`${mix}, ${inFlight} in flight`);
        await withFolder(dir, async (folder) => {
          const { port, child } = await startFlowCrud(join(folder, "data"));
          try {
            const ask = byHttp(port, inFlight);
            const there: number[] = [];
            let made = 0;
            let [all, refused] = [new Measured(), 0];
            const isMixed = mix !== "creates";
            /** One in ten changes a flow, and one in ten removes one: of those that are there, so that several want the same. */
            const operation = async (index: number): Promise<Answer> => {
              const changed = there[(index * 7_919) % Math.min(there.length, 50)];
              if (isMixed && changed !== undefined && index % 10 === 3)
                return ask("PATCH", `/v2/flows/flow-${changed}`, { maximum_bandwidth: 100 + (index % 100) });
              if (isMixed && changed !== undefined && index % 10 === 7) {
                const answer = await ask("DELETE", `/v2/flows/flow-${changed}`);
                const place = there.indexOf(changed);
                if (answer.status === 200 && place >= 0) there.splice(place, 1);
                return answer;
              }
              const number = made++;
              const answer = await ask("POST", "/v2/flows", flowOf(number));
              if (answer.status === 200) there.push(number);
              return answer;
            };
            const run = async (count: number): Promise<void> => {
              const began = performance.now();
              await repeat(inFlight, count, async (index) => {
                const start = performance.now();
                const { status, reply } = await operation(index);
                if (status === 200) all.add(performance.now() - start);
                // Too late, not there any more, or another operation works on the flow.
                else if (status === 503 || status === 404 || reply.includes("in progress")) refused++;
                else throw new Error(`the status was ${status}: ${reply}`);
              });
              all.elapsed(performance.now() - began);
            };
            // Its VLANs are enough for 6,500 flows.
            const count = inFlight === 1 ? 300 : full ? 4_500 : 3_000;
            await run(count / 3);
            [all, refused] = [new Measured(), 0];
            const before = cpuUs(child);
            await run(count);
            const after = cpuUs(child);
            report({
              bench: "flow-operations",
              mix,
              inflight: inFlight,
              operations_s: Math.round(all.rate),
              p50_ms: rounded(all.percentile(0.5)),
              p99_ms: rounded(all.percentile(0.99)),
              refused,
              ...(before === undefined || after === undefined
                ? {}
                : { cpu_us_each: Math.round((after - before) / count) }),
              of_aim: rounded(all.rate / aim),
            });
            ask.end();
          } finally {
            child.kill("SIGTERM");
            await once(child, "exit");
          }
        });
      }
    }
  },
};
