import { freePort, postgresIsInstalled, PostgresServer } from "@wheelwork/services";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { sendValues } from "./campaign.ts";

const seed = Number(process.env["WHEELWORK_SEED"] ?? Date.now() % 1_000_000);
const values = Number(process.env["WHEELWORK_VALUES"] ?? 150);
const kills = Math.ceil(values / 200);
const timeout = 120_000 + values * 50;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wheelwork-values-"));
  // The server runs as another user.
  chmodSync(path, 0o755);
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

test(
  `${values} values through every place, over ${kills} kills: code sees what was sent, or it is refused (SQLite, seed ${seed})`,
  { timeout },
  async () => {
    const outcome = await sendValues({ store: join(folder(), "store.db"), schema: "", seed, values, kills });
    expect(outcome.problems).toEqual([]);
    expect(outcome.kills).toBe(kills);
    expect(outcome.results).toBeGreaterThan(values * 0.8);
    expect(outcome.refused).toBeGreaterThan(values * 0.05);
  },
);

test.skipIf(!postgresIsInstalled())(
  `${values} values through every place, over ${kills} kills (PostgreSQL, seed ${seed})`,
  { timeout },
  async () => {
    const server = new PostgresServer(folder(), await freePort());
    onTestFinished(async () => void (await server.stop()));
    await server.start();
    const outcome = await sendValues({ store: server.url, schema: "values", seed, values, kills });
    expect(outcome.problems).toEqual([]);
    expect(outcome.kills).toBe(kills);
    expect(outcome.results).toBeGreaterThan(values * 0.8);
  },
);
