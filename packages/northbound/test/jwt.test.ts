import { exportJWK, generateKeyPair, SignJWT, UnsecuredJWT, type JWTPayload } from "jose";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import type { JwtOptions } from "../src/index.ts";
import { createToken } from "../src/tokens.ts";
import { directory, system } from "./system.ts";

type Claims = { readonly [claim: string]: unknown };
type Key = Awaited<ReturnType<typeof newKey>>;

async function newKey(alg: string, kid: string) {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return { alg, kid, privateKey, jwk: { ...(await exportJWK(publicKey)), alg, kid, use: "sig" } };
}

/** A provider with a discovery document and a key set, over real HTTP. */
async function provider() {
  const state = { keys: [] as Key[], status: 200, asked: 0, issuer: "" };
  const server = createServer((request, response) => {
    state.asked++;
    const found = {
      "/.well-known/openid-configuration": { issuer: state.issuer, jwks_uri: `${url}/keys` },
      "/keys": { keys: state.keys.map(({ jwk }) => jwk) },
    }[request.url ?? ""];
    response.writeHead(found === undefined ? 404 : state.status, { "content-type": "application/json" });
    response.end(JSON.stringify(found ?? {}));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  state.issuer = url;
  return Object.assign(state, { url });
}

const roles: JwtOptions["roles"] = {
  "flow-admins": ["admin", "payloads"],
  readers: ["reader"],
  senders: ["submitter:greet"],
};

async function guarded(options: Partial<JwtOptions> = {}) {
  const issuer = await provider();
  const key = await newKey("ES256", "k1");
  issuer.keys.push(key);
  const file = join(directory(), "tokens.json");
  const { token: fileToken } = createToken(file, { name: "a", grants: ["reader"] });
  const jwt = { issuer: issuer.url, audience: "wheelwork", roles, ...options };
  const { app } = await system({ access: { tokens: file, jwt } });
  const sign = (claims: Claims = {}, by: Key = key, header: object = {}): Promise<string> =>
    new SignJWT({
      iss: issuer.url,
      aud: "wheelwork",
      sub: "ann",
      roles: ["readers"],
      ...claims,
    } as JWTPayload)
      .setProtectedHeader({ alg: by.alg, kid: by.kid, ...header })
      .setExpirationTime((claims.exp as number | undefined) ?? "5m")
      .sign(by.privateKey);
  const statusOf = async (token: string, url = "/requests"): Promise<number> =>
    (await app.inject({ url, headers: { authorization: `Bearer ${token}` } })).statusCode;
  return { app, issuer, key, sign, statusOf, fileToken };
}

const nowS = (): number => Math.floor(Date.now() / 1000);

test("a token of the provider counts, with what its groups may do, beside a token of the file", async () => {
  const { app, sign, statusOf, fileToken } = await guarded();
  expect(await statusOf(await sign())).toBe(200);
  expect(await statusOf(fileToken)).toBe(200);
  const headers = { authorization: `Bearer ${await sign()}`, "content-type": "application/json" };
  expect((await app.inject({ method: "POST", url: "/requests/x/cancel", headers })).json().detail).toMatch(
    /^jwt:ann may not/,
  );
  const admin = { ...headers, authorization: `Bearer ${await sign({ roles: ["flow-admins", "others"] })}` };
  expect((await app.inject({ method: "POST", url: "/requests/x/cancel", headers: admin })).statusCode).toBe(
    404,
  );
  for (const groups of [[], ["others"], "none", ["__proto__", "constructor"], { readers: true }, undefined])
    expect(await statusOf(await sign({ roles: groups }))).toBe(403);
  expect(await statusOf(await sign({ roles: "readers" }))).toBe(200);
});

test("the claim of the groups may be inside another one, or have dots in its name", async () => {
  const inside = await guarded({ rolesClaim: "realm_access.roles", nameClaim: "email" });
  const claims = { roles: undefined, realm_access: { roles: ["readers"] } };
  expect(await inside.statusOf(await inside.sign({ ...claims, email: "ann@example.com" }))).toBe(200);
  expect(await inside.statusOf(await inside.sign(claims))).toBe(401);
  const dotted = await guarded({ rolesClaim: "https://example.com/roles" });
  expect(await dotted.statusOf(await dotted.sign({ "https://example.com/roles": ["readers"] }))).toBe(200);
});

test("what was not signed by the provider, for this server, and for now, does not count", async () => {
  const { issuer, key, sign, statusOf } = await guarded();
  const rsa = await newKey("RS256", "k2");
  issuer.keys.push(rsa);
  expect(await statusOf(await sign({}, rsa))).toBe(200);
  const other = await newKey("ES256", "k1");
  const secret = JSON.stringify(rsa.jwk);
  const hs = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const claims = { iss: issuer.url, aud: "wheelwork", sub: "ann", roles: ["readers"], exp: nowS() + 300 };
  const head = `${hs({ alg: "HS256", kid: "k2" })}.${hs(claims)}`;
  const right = await sign();
  const [header = "", payload = "", signature = ""] = right.split(".");
  for (const [why, token] of Object.entries({
    "another key": await sign({}, other),
    "an unknown key": await sign({}, { ...other, kid: "k9" }),
    "a key of its own in the header": await sign({}, other, {
      jwk: other.jwk,
      jku: "http://127.0.0.1:1/keys",
    }),
    "no signature": new UnsecuredJWT(claims).encode(),
    "no signature, and a name for it": `${hs({ alg: "none", kid: "k1" })}.${payload}.${signature}`,
    "the public key as a secret": `${head}.${createHmac("sha256", secret).update(head).digest("base64url")}`,
    "an algorithm that is not listed": await sign({}, { ...(await newKey("ES384", "k1")), kid: "k1" }),
    "another issuer": await sign({ iss: "https://evil.com" }),
    "another audience": await sign({ aud: "others" }),
    "no audience": await sign({ aud: undefined }),
    "a time that is over": await sign({ exp: nowS() - 31 }),
    "a time to come": await sign({ nbf: nowS() + 60 }),
    "no end": await new SignJWT({ ...claims, exp: undefined } as unknown as JWTPayload)
      .setProtectedHeader({ alg: "ES256", kid: "k1" })
      .sign(key.privateKey),
    "another kind of token": await sign({}, key, { typ: "logout+jwt" }),
    "an extension that nobody knows": await sign({}, key, { crit: ["exp"] }).catch(
      () => `${header}x.${payload}.${signature}`,
    ),
    "a changed payload": `${header}.${hs({ ...claims, roles: ["flow-admins"] })}.${signature}`,
    "no name": await sign({ sub: undefined }),
    "a name that ends a line": await sign({ sub: "ann\nroot" }),
    "a huge one": await sign({ more: "x".repeat(7000) }),
    "not three parts": `${right}.${signature}`,
    "no parts": "x.y",
    "bad parts": "!.!.!",
  }))
    expect([why, await statusOf(token)]).toEqual([why, 401]);
  expect(await statusOf(right)).toBe(200);
  // Clocks may be apart a little.
  expect(await statusOf(await sign({ exp: nowS() - 10 }))).toBe(200);
  expect(await statusOf(await sign({}, key, { typ: "at+jwt" }))).toBe(200);
});

test("a new key counts once the provider shows it, and a withdrawn one no more", async () => {
  const { issuer, key, sign, statusOf } = await guarded();
  expect(await statusOf(await sign())).toBe(200);
  const next = await newKey("EdDSA", "k2");
  issuer.keys.splice(0, 1, next);
  const asked = issuer.asked;
  // Who sends tokens with unknown keys does not make the server ask again and again.
  for (let time = 0; time < 20; time++) expect(await statusOf(await sign({}, next))).toBe(401);
  expect(issuer.asked).toBe(asked);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 31_000 });
  onTestFinished(() => void vi.useRealTimers());
  expect(await statusOf(await sign({}, next))).toBe(200);
  expect(await statusOf(await sign({}, key))).toBe(401);
});

test("while the provider is away or is another one, the server says so, and takes tokens of its file", async () => {
  const { issuer, sign, statusOf, fileToken, app } = await guarded();
  issuer.status = 503;
  expect(await statusOf(await sign())).toBe(503);
  const refused = await app.inject({
    url: "/requests",
    headers: { authorization: `Bearer ${await sign()}` },
  });
  expect(refused.json().code).toBe("WW_ACCESS_UNAVAILABLE");
  expect(await statusOf(fileToken)).toBe(200);
  expect(await statusOf("nonsense")).toBe(401);
  const away = await guarded();
  away.issuer.issuer = "https://evil.com";
  expect(await away.statusOf(await away.sign())).toBe(503);
});

test("options that would let in too many are refused, each with its reason", async () => {
  const jwt = {
    issuer: "http://provider.example.com",
    audience: [],
    jwks: "file:///keys",
    algorithms: ["none", "HS256"],
    roles: { x: ["root" as never] },
  };
  await expect(system({ access: { jwt } })).rejects.toMatchObject({
    code: "WW_CONFIG",
    problems: [
      { path: "issuer" },
      { path: "jwks" },
      { path: "audience" },
      { path: "algorithms", message: expect.stringMatching(/^none must be/) },
      { path: "algorithms", message: expect.stringMatching(/^HS256 must be/) },
      { path: "roles.x" },
    ],
  });
  await expect(system({ access: {} })).rejects.toMatchObject({ code: "WW_CONFIG" });
});
