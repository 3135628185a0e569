import { spawn } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { Client } from "../src/cli/client.ts";

const program = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

interface Said {
  readonly status?: number;
  readonly type?: string;
  readonly body: string;
}

/** A server that says the same to each request. */
async function saying({ status = 200, type, body }: Said): Promise<Client> {
  const server = createServer((_request, response) => {
    response.writeHead(status, type === undefined ? {} : { "content-type": type });
    response.end(body);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return new Client({ url: `http://127.0.0.1:${port}`, looked: "--url says so" } as never);
}

const reads = [
  ..."requests requests/x requests/x/history requests/x/answer counts incidents bulks bulks/x bulks/x/items".split(
    " ",
  ),
  ..."schedules schedules/x hubs hubs/x lanes shards dead-letters health ready".split(" "),
].map((path) => `/${path}`);

const html = { type: "text/html; charset=utf-8", body: "<html>\u001B[31mLog in</html>" };

test("what is no reply of Wheelwork is taken for none, whatever was asked for", async () => {
  const ask = async (said: Said): Promise<void> => {
    const client = await saying(said);
    for (const path of reads)
      await expect(client.get(path), path).rejects.toMatchObject({
        exitCode: 1,
        message: expect.stringMatching(
          /^http:\S+ does not answer as a server of Wheelwork: HTTP (200|404) for GET .*\n.*--url says so\..*Name the server itself: --url\.$/,
        ),
      });
    await expect(client.post("/requests/x/cancel"), "a command").rejects.toMatchObject({ exitCode: 1 });
  };
  await ask(html);
  await ask({ body: "{}" });
  await ask({ type: "application/json", body: "[]" });
  await ask({ type: "application/json", body: "<html>" });
  await ask({ status: 404, type: "application/json", body: '{"message":"Route not found"}' });
  const bare = await saying({ type: "application/json", body: "{}" });
  // The value of an answer may be any.
  for (const path of reads.filter((one) => !one.endsWith("/answer")))
    await expect(bare.get(path), path).rejects.toMatchObject({ exitCode: 1 });
  const streamed = (await saying(html)).stream("/events", { after: undefined });
  await expect(streamed.next()).rejects.toMatchObject({ exitCode: 1 });
  const picture = (await saying(html)).get("/hubs/x/diagram.txt", { headers: { accept: "text/plain" } });
  await expect(picture).rejects.toMatchObject({ exitCode: 1 });
});

test("a proxy that refuses is refused as its status says, and texts of a server control no terminal", async () => {
  const refused = async (said: Said): Promise<unknown> =>
    (await saying(said)).get("/requests").catch((error: unknown) => error);
  expect(await refused({ ...html, status: 401 })).toMatchObject({ exitCode: 7 });
  const problem = {
    code: "WW_X\u001B[1m",
    detail: "a\u001B[2J",
    next: "b\u009B",
    problems: [{ path: "\u001B", message: "c" }],
  };
  const type = "application/problem+json";
  const told = await refused({ status: 400, type, body: JSON.stringify(problem) });
  expect(told).toMatchObject({ exitCode: 1 });
  // eslint-disable-next-line no-control-regex
  expect((told as Error).message).not.toMatch(/[\u001B\u009B]/);
});

test("a command prints nothing of a strange reply, and says which file it cannot read", async () => {
  const { url } = await saying(html);
  const run = async (...args: readonly string[]) => {
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const child = spawn(process.execPath, [...flags, program, ...args, "--url", url]);
    const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
    const [stdout, stderr, status] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
    return { status, stdout, stderr };
  };
  expect(await run("health")).toMatchObject({
    status: 1,
    stdout: "",
    stderr: expect.stringContaining("is text/html"),
  });
  expect(await run("requests", "submit", "x", "@/none.json")).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/^the file \/none\.json of the request cannot be read: ENOENT/),
  });
});
