import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@wheelwork/services";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { listsProcesses, Npm, processesWith } from "./npm.ts";

describe.skipIf(!listsProcesses)("npm start", () => {
  let folder: string;
  let port: number;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-start-"));
    port = await freePort();
  });
  afterAll(() => {
    for (const pid of processesWith(folder).keys()) process.kill(pid, "SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });

  const post = async (key: string): Promise<string> => {
    const headers = { "content-type": "application/json", "idempotency-key": key, prefer: "wait=10" };
    const body = JSON.stringify({ flowid: "f", length: 3 });
    const response = await fetch(`http://127.0.0.1:${port}/flow`, { method: "POST", headers, body });
    const answer = (await response.json()) as { requestId?: string };
    expect(answer).toMatchObject({ requestId: key });
    return answer.requestId ?? "";
  };

  test.each(["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const)(
    "leaves no process when npm gets %s, and goes on with the same files",
    async (signal) => {
      const flags = ["--port", `${port}`, "--data", folder];
      const first = await Npm.run("start", flags, "flow-crud is running");
      const id = await post("key-1");
      await first.end(signal);
      await expect.poll(() => processesWith(folder).size).toBe(0);
      // Its file is locked as long as anybody has it.
      const second = await Npm.run("start", flags, "flow-crud is running");
      expect(await post("key-1")).toBe(id);
      await second.end("SIGTERM");
      await expect.poll(() => processesWith(folder).size).toBe(0);
    },
  );
});
