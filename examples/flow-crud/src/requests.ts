// Sends the four requests of rest-api.http to a running system, one after the other, and prints the answers: those of the
// Northbound of npm start, or the bare texts of the proof of concept's, which a cluster and Storm have.
import { randomUUID } from "node:crypto";
import { parseArgs } from "node:util";

const requests = [
  { name: "happy", error: null },
  { name: "error in the hub", error: 0 },
  { name: "error in a worker", error: 1 },
  { name: "error on the switch", error: 2 },
] as const;

interface Body {
  readonly requestId?: string;
  readonly message?: string;
  readonly detail?: string;
  readonly error?: string;
}

async function bodyOf(response: Response): Promise<Body> {
  const text = await response.text();
  const isJson = /\bjson\b/.test(response.headers.get("content-type") ?? "");
  return isJson
    ? (JSON.parse(text) as Body)
    : { requestId: response.headers.get("request-id") ?? "", message: text };
}

/** Posts a flow, and asks for its answer again as long as it has none. */
async function send(url: string, error: number | null): Promise<{ status: number; body: Body }> {
  const key = randomUUID().replaceAll("-", "");
  const headers = { "content-type": "application/json", "idempotency-key": key, prefer: "wait=10" };
  const flow = { flowid: "test-01", length: 10, error };
  let response = await fetch(new URL("/flow", url), { method: "POST", headers, body: JSON.stringify(flow) });
  let body = await bodyOf(response);
  while (response.status === 202) {
    const answer = new URL(`/requests/${body.requestId}/answer`, url);
    response = await fetch(answer, { headers: { prefer: "wait=10" } });
    body = await bodyOf(response);
  }
  return { status: response.status, body };
}

async function rulesOf(url: string): Promise<readonly { readonly cookie: string }[]> {
  const response = await fetch(new URL("/switches/rules?flowid=test-01", url));
  return ((await response.json()) as { rules: { cookie: string }[] }).rules;
}

function print(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column === row.length - 1 ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
    );
    process.stdout.write(`  ${cells.join("   ")}\n`);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { url: { type: "string", default: "http://127.0.0.1:8088" } } });
  const rows = [["request", "status", "answer", "ms"]];
  const ids: string[] = [];
  for (const { name, error } of requests) {
    const began = performance.now();
    const { status, body } = await send(values.url, error);
    const ms = Math.round(performance.now() - began);
    ids.push(body.requestId ?? "");
    rows.push([
      name,
      `${status}`,
      (body.message ?? body.detail ?? body.error ?? "").replaceAll("\n", " "),
      `${ms}`,
    ]);
  }
  process.stdout.write(`\n  POST ${new URL("/flow", values.url).href}, flow test-01, 10 rules\n\n`);
  print(rows);
  const rules = await rulesOf(values.url);
  const count = (id: string | undefined): number => rules.filter(({ cookie }) => cookie === id).length;
  const others = ids.slice(1).reduce((sum, id) => sum + count(id), 0);
  process.stdout.write(
    `\n  The switches hold ${count(ids[0])} rules of the first request, ${others} of the others.\n\n`,
  );
}

main().catch((error: unknown) => {
  const { message, cause } = error as Error;
  const reason = cause instanceof Error ? `${message}: ${cause.message}` : message;
  process.stderr.write(`${reason}\n  Is the system running? Start it with: npm start\n`);
  process.exitCode = 1;
});
