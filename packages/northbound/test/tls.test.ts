import { Authority, opensslIsInstalled, type Certificate } from "@wheelwork/services";
import { copyFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { connect as connectPlain, type AddressInfo } from "node:net";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import type { NorthboundOptions } from "../src/index.ts";
import { createToken } from "../src/tokens.ts";
import { directory, system } from "./system.ts";

interface Told {
  readonly status: number;
  readonly body: string;
}

async function listening(
  options: Partial<NorthboundOptions> & Pick<NorthboundOptions, "access">,
  clients?: "required" | "accepted",
) {
  const folder = directory();
  const authority = new Authority(folder, "authority");
  const [cert, key] = [join(folder, "tls.crt"), join(folder, "tls.key")];
  const use = (certificate: Certificate): void => {
    copyFileSync(certificate.cert, `${cert}.new`);
    copyFileSync(certificate.key, `${key}.new`);
    renameSync(`${cert}.new`, cert);
    renameSync(`${key}.new`, key);
  };
  use(authority.issue("first", ["localhost", "127.0.0.1"]));
  const withClients = clients === undefined ? {} : { clientCa: authority.ca, clients };
  const { app } = await system({ tls: { cert, key, ...withClients }, ...options });
  const url = await app.listen({ port: 0, host: "127.0.0.1" });
  expect(url).toMatch(/^https:/);
  const { port } = app.server.address() as AddressInfo;
  const trust = { ca: readFileSync(authority.ca), host: "127.0.0.1", port };
  const get = (
    path: string,
    certificate?: Certificate,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Told> =>
    new Promise((resolve, reject) => {
      const own =
        certificate === undefined
          ? {}
          : { cert: readFileSync(certificate.cert), key: readFileSync(certificate.key) };
      request({ ...trust, ...own, path, headers, agent: false }, (response) => {
        let body = "";
        response.on("data", (chunk: Buffer) => (body += chunk.toString()));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      })
        .on("error", reject)
        .end();
    });
  /** Who the server says it is to a new connection. */
  const server = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket: TLSSocket = connect(trust, () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      });
      socket.on("error", reject);
    });
  return { app, folder, authority, use, get, server, port, cert, key, trust };
}

const tokensIn = (folder: string) => {
  const file = join(folder, "tokens.json");
  return { file, token: createToken(file, { name: "a", grants: ["reader"] }).token };
};

test.skipIf(!opensslIsInstalled())("a server speaks TLS, and nothing else on its port", async () => {
  const { file, token } = tokensIn(directory());
  const { get, port } = await listening({ access: { tokens: file } });
  expect((await get("/requests")).status).toBe(401);
  expect((await get("/requests", undefined, { authorization: `Bearer ${token}` })).status).toBe(200);
  const plain = connectPlain(port, "127.0.0.1");
  plain.write(`GET /requests HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  let received = "";
  for await (const chunk of plain) received += String(chunk);
  expect(received).not.toContain(" 200 ");
});

test.skipIf(!opensslIsInstalled())(
  "a new certificate counts for new connections, and drops no other",
  { timeout: 30_000 },
  async () => {
    const logged: string[] = [];
    const logger = {
      debug: () => {},
      info: () => {},
      warn: () => {},
      error: (_fields: object, message?: string) => void logged.push(message ?? ""),
    };
    const { file, token } = tokensIn(directory());
    const { authority, use, server, trust, cert } = await listening({ access: { tokens: file }, logger });
    expect(await server()).toBe("first");
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const kept = (): Promise<boolean> =>
      new Promise((resolve, reject) => {
        const sent = request(
          { ...trust, agent, path: "/requests", headers: { authorization: `Bearer ${token}` } },
          (response) => {
            response.resume().on("end", () => resolve(sent.reusedSocket));
          },
        );
        sent.on("error", reject).end();
      });
    expect(await kept()).toBe(false);
    use(authority.issue("second", ["127.0.0.1"]));
    await expect.poll(server, { timeout: 10_000 }).toBe("second");
    expect(await kept()).toBe(true);
    writeFileSync(cert, "nonsense");
    await expect.poll(() => logged.length, { timeout: 10_000 }).toBe(1);
    expect(await server()).toBe("second");
    use(authority.issue("third", ["127.0.0.1"]));
    await expect.poll(server, { timeout: 10_000 }).toBe("third");
    expect(await kept()).toBe(true);
  },
);

test.skipIf(!opensslIsInstalled())("a client shows by its certificate who it is", async () => {
  const { file, token } = tokensIn(directory());
  const certificates = { "CN=ci": ["operator"], "DNS:prometheus.example.com": ["reader"] } as const;
  const { authority, get } = await listening({ access: { tokens: file, certificates } }, "accepted");
  const [ci, prometheus, other] = [
    authority.issue("ci"),
    authority.issue("x", ["prometheus.example.com"]),
    authority.issue("CN=ci"),
  ];
  const forged = new Authority(directory(), "forger").issue("other");
  const forgedName = new Authority(directory(), "authority").issue("ci");
  expect((await get("/requests", ci)).status).toBe(200);
  expect((await get("/requests", prometheus)).status).toBe(200);
  for (const certificate of [undefined, other, forged, forgedName])
    expect((await get("/requests", certificate)).status).toBe(401);
  // A token goes first: a wrong one is not made good by a certificate.
  expect((await get("/requests", ci, { authorization: "Bearer x" })).status).toBe(401);
  expect((await get("/requests", other, { authorization: `Bearer ${token}` })).status).toBe(200);
});

test.skipIf(!opensslIsInstalled())(
  "where certificates are required, nobody without one gets as far as a request",
  async () => {
    const { authority, folder, get } = await listening(
      { access: { certificates: { "*": ["reader"] } } },
      "required",
    );
    expect((await get("/requests", authority.issue("anybody"))).status).toBe(200);
    await expect(get("/health")).rejects.toThrow(/alert|socket|ECONNRESET|EPIPE/i);
    await expect(get("/health", new Authority(folder, "other").issue("forged"))).rejects.toThrow(
      /alert|socket|ECONNRESET|EPIPE/i,
    );
  },
);

test.skipIf(!opensslIsInstalled())(
  "files and names that are not valid are refused at the start",
  async () => {
    const folder = directory();
    const authority = new Authority(folder, "authority");
    const [one, other] = [authority.issue("one"), authority.issue("other")];
    const { file } = tokensIn(folder);
    await expect(system({ tls: { cert: one.cert, key: other.key } })).rejects.toMatchObject({
      code: "WW_CONFIG",
    });
    await expect(system({ tls: { cert: join(folder, "none"), key: one.key } })).rejects.toMatchObject({
      code: "WW_CONFIG",
    });
    const certificates = { ci: ["reader"], "CN=x": ["root"] } as never;
    await expect(system({ access: { tokens: file, certificates } })).rejects.toThrow(/clientCa/);
    await expect(
      system({ access: { certificates }, tls: { ...one, clientCa: authority.ca } }),
    ).rejects.toMatchObject({ problems: [{ path: "ci" }, { path: "CN=x" }] });
  },
);
