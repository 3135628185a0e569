import type { WheelworkError } from "@wheelwork/core";
import type { Store } from "@wheelwork/engine";
import { postgresPool, postgresStore, type PostgresOptions } from "@wheelwork/postgres";
import { Authority, opensslIsInstalled, pemOf, type Certificate } from "@wheelwork/services";
import { storeConformance, type OpenedStore } from "@wheelwork/testing";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { binaries, Server } from "./server.ts";

const password = "pa55word";

let folder: string;
let authority: Authority;
let server: Server;
/** Takes connections without TLS alone. */
let plain: Server;
/** Certificates of the users `robot` and `stranger`: the server trusts the authority of the first. */
let robot: Certificate;
let stranger: Certificate;
let otherCa: string;

const opened: Store[] = [];

function open(options: PostgresOptions): Store {
  const store = postgresStore({ timeoutMs: 5000, ...options });
  opened.push(store);
  return store;
}

/** The server under a name, with what a user adds to the connection string. */
const urlOf = (query: string, { user = `me:${password}`, host = "localhost", port = server.port } = {}) =>
  `postgres://${user}@${host}:${port}/postgres?${query}`;

const verified = (): string => `sslmode=verify-full&sslrootcert=${authority.ca}`;

const refusal = async (options: PostgresOptions): Promise<WheelworkError> => {
  const error: unknown = await Promise.resolve(open(options).claim("node")).then(
    () => undefined,
    (refused: unknown) => refused,
  );
  expect(inspect(error, { depth: 9 })).not.toContain(password);
  return error as WheelworkError;
};

describe.skipIf(binaries === undefined || !opensslIsInstalled())("on a PostgreSQL server with TLS", () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "wheelwork-certificates-"));
    authority = new Authority(folder, "authority");
    const other = new Authority(folder, "other");
    const serverTls = authority.issue("server", ["localhost"]);
    [robot, stranger, otherCa] = [authority.issue("robot"), other.issue("stranger"), other.ca];
    const access = [
      "host all wheelwork 127.0.0.1/32 trust",
      "hostssl all me 127.0.0.1/32 scram-sha-256",
      "hostssl all robot 127.0.0.1/32 cert",
    ];
    [server, plain] = await Promise.all([
      Server.start({ tls: { ...serverTls, ca: authority.ca }, access }),
      Server.start(),
    ]);
    await server.query(`CREATE ROLE me LOGIN PASSWORD '${password}'; CREATE ROLE robot LOGIN`);
    await server.query("GRANT CREATE ON DATABASE postgres TO me, robot");
  });
  afterEach(async () => {
    await Promise.all(opened.splice(0).map((store) => store.close()));
  });
  afterAll(async () => {
    await Promise.all([server?.remove(), plain?.remove()]);
    rmSync(folder, { recursive: true, force: true });
  });

  const conforming = (schema: string): OpenedStore => {
    const store = open({ connectionString: urlOf(verified()), schema });
    return { store, reopen: () => conforming(schema), close: () => {} };
  };
  // What is sent is the same without TLS, where it is tested each time. WHEELWORK_LONG=1 asks for it here, too.
  if (process.env["WHEELWORK_LONG"] !== undefined)
    storeConformance({ describe, test }, "postgresStore over TLS", () => conforming(server.schema()));

  test("each connection is encrypted", async () => {
    const schema = server.schema();
    const store = open({ connectionString: urlOf(verified()), schema });
    await store.claim("node");
    await store.find(["a"]);
    const connections = await server.query(
      `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'wheelwork' AND usename = 'me'`,
    );
    expect(connections.length).toBeGreaterThan(0);
    expect(connections.every(({ ssl }) => ssl === true)).toBe(true);
  });

  test("options that are given beside the connection string go before what it says", async () => {
    const schema = server.schema();
    const ca = readFileSync(authority.ca, "utf8");
    const given: PostgresOptions[] = [
      { connectionString: urlOf("sslmode=verify-full"), ssl: { ca } },
      { connectionString: urlOf(verified(), { user: "me" }), password },
      { connectionString: urlOf(verified(), { user: "me" }), password: async () => password },
      { connectionString: urlOf(verified(), { user: "nobody:nothing" }), user: "me", password },
      { connectionString: urlOf(verified(), { port: 1 }), port: server.port },
      { host: "localhost", port: server.port, database: "postgres", user: "me", password, ssl: { ca } },
    ];
    for (const options of given)
      expect(await open({ ...options, schema }).claim("node"), inspect(options)).toMatchObject({ seq: 0 });
  });

  test("a password function is asked for each new connection", async () => {
    let asked = 0;
    const store = open({
      connectionString: urlOf(verified(), { user: "me" }),
      password: () => {
        asked++;
        return password;
      },
      schema: server.schema(),
    });
    await store.claim("node");
    await server.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'me'");
    await expect
      .poll(async () =>
        Promise.resolve(store.claim("node")).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    expect(asked).toBeGreaterThan(1);
  });

  test("a server that cannot be verified is refused, and the error says what to give", async () => {
    const wrong = [
      [urlOf(`sslmode=verify-full&sslrootcert=${otherCa}`), /authority.*sslrootcert/],
      [urlOf("sslmode=verify-full"), /authority.*sslrootcert/],
      // Its certificate is for localhost.
      [urlOf(verified(), { host: "127.0.0.1" }), /under a name that its certificate has/],
      [urlOf(verified(), { port: plain.port }), /ssl = on/],
    ] as const;
    for (const [connectionString, next] of wrong) {
      expect(await refusal({ connectionString }), connectionString).toMatchObject({
        code: "WW_CONFIG",
        next: expect.stringMatching(next) as string,
      });
    }
    const missing = urlOf("sslmode=verify-full&sslrootcert=/nowhere/ca.crt");
    expect(() => open({ connectionString: missing })).toThrow(/WW_CONFIG: .*\/nowhere\/ca.crt/);
  });

  test("sslmode=require verifies as verify-full does, and no-verify only encrypts", async () => {
    expect(await refusal({ connectionString: urlOf("sslmode=require") })).toMatchObject({
      code: "WW_CONFIG",
    });
    const unverified = open({ connectionString: urlOf("sslmode=no-verify"), schema: server.schema() });
    expect(await unverified.claim("node")).toMatchObject({ epoch: 1 });
  });

  test("a wrong password, none, and no TLS where the server wants it are refused with what to set right", async () => {
    const next = expect.stringContaining("password") as string;
    const wrong: PostgresOptions[] = [
      { connectionString: urlOf(verified(), { user: `me:not-${password}` }) },
      { connectionString: urlOf(verified(), { user: "me" }) },
      { connectionString: urlOf(verified(), { user: "me" }), password: () => "no" },
      { connectionString: urlOf(verified(), { user: `unknown:${password}` }) },
      { connectionString: urlOf("sslmode=disable") },
    ];
    for (const options of wrong) {
      const refused = await refusal(options);
      expect(refused, inspect(options)).toMatchObject({ code: "WW_CONFIG", retryable: false, next });
    }
  });

  test("a client's certificate stands for its password; another authority's, or none, is refused", async () => {
    const as = (user: string, certificate?: Certificate): PostgresOptions => ({
      connectionString: urlOf(
        `${verified()}${certificate === undefined ? "" : `&sslcert=${certificate.cert}&sslkey=${certificate.key}`}`,
        { user },
      ),
      schema: server.schema(),
    });
    expect(await open(as("robot", robot)).claim("node")).toMatchObject({ epoch: 1 });
    const ca = readFileSync(authority.ca, "utf8");
    const pool = postgresPool({
      connectionString: urlOf("", { user: "robot" }),
      ssl: { ca, ...pemOf(robot) },
      schema: server.schema(),
    });
    expect(await postgresStore({ pool }).claim("node")).toMatchObject({ epoch: 1 });
    await pool.close();
    for (const options of [as("robot"), as("robot", stranger)]) {
      expect(await refusal(options), inspect(options)).toMatchObject({
        code: "WW_CONFIG",
        next: expect.stringContaining("sslcert") as string,
      });
    }
  });
});
