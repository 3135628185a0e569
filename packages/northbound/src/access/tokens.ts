import { WheelworkError, type Problem } from "@wheelwork/core";
import { createHash, randomBytes } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  type BigIntStats,
  type Stats,
} from "node:fs";
import { isGrant, type Grant } from "./grants.ts";

/*
 * A token is `ww_<id>_<secret>`. Its file holds the id, the name, the grants, and the SHA-256 of the whole token. The secret is 32
 * random bytes, so nobody finds it by trying, and a slow hash, as passwords need it, would only cost time.
 */

const shape = /^ww_([\da-f]{16})_[\w-]{43}$/;
const maxFileBytes = 16 * 1024 * 1024;

/** A token, as its file holds it. */
export interface StoredToken {
  readonly id: string;
  /** Who has it. Histories and the audit list name it `token:<name>`. */
  readonly name: string;
  readonly grants: readonly Grant[];
  /** SHA-256 of the token, in hexadecimal digits. */
  readonly hash: string;
  readonly createdAt: string;
  /** From then on it is refused. Absent: never. */
  readonly expiresAt?: string;
}

/** The id in a token. undefined: it is no token of a file. */
export const idOfToken = (token: string): string | undefined => shape.exec(token)?.[1];

export const hashOfToken = (token: string): Buffer => createHash("sha256").update(token, "utf8").digest();

/** What is in a file of tokens, and what tells this state of it from another. */
export interface TokenFileContent {
  readonly tokens: readonly StoredToken[];
  readonly mark: string;
}

export const markOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(" ");

const wrong = (file: string, why: string, cause?: unknown): WheelworkError =>
  new WheelworkError("WW_CONFIG", `the token file ${file} ${why}`, {
    next: "Correct it. A server takes no token while its file is not as it should be: see docs/security.md.",
    ...(cause === undefined ? {} : { cause }),
  });

/**
 * Reads a file of tokens.
 * @throws WheelworkError WW_CONFIG when it is no such file, or others than its owner may write it.
 */
export function readTokens(file: string): TokenFileContent {
  let descriptor: number;
  try {
    // A pipe would hold the server up otherwise.
    descriptor = openSync(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw wrong(file, `cannot be read: ${(cause as Error).message}`, cause);
  }
  try {
    const stats = fstatSync(descriptor, { bigint: true });
    if (!stats.isFile()) throw wrong(file, "is no file");
    if (process.platform !== "win32" && (stats.mode & 0o022n) !== 0n)
      throw wrong(file, "may be written by others than its owner. Say chmod go-w");
    if (stats.size > maxFileBytes) throw wrong(file, `is longer than ${maxFileBytes} bytes`);
    return { tokens: parse(file, readFileSync(descriptor, "utf8")), mark: markOf(stats) };
  } finally {
    closeSync(descriptor);
  }
}

function parse(file: string, text: string): StoredToken[] {
  let content: { readonly tokens?: unknown } | null;
  try {
    content = JSON.parse(text) as typeof content;
  } catch (cause) {
    throw wrong(file, "is not JSON", cause);
  }
  const tokens = content?.tokens;
  if (!Array.isArray(tokens)) throw wrong(file, "has no list of tokens");
  const bad = tokens.findIndex((token: unknown) => !isStoredToken(token));
  if (bad >= 0) throw wrong(file, `has an entry that is no token, the one at position ${bad}`);
  return tokens as StoredToken[];
}

function isStoredToken(token: unknown): token is StoredToken {
  if (typeof token !== "object" || token === null) return false;
  const { id, name, grants, hash, createdAt, expiresAt } = token as Partial<
    Record<keyof StoredToken, unknown>
  >;
  return (
    typeof id === "string" &&
    typeof name === "string" &&
    typeof createdAt === "string" &&
    Array.isArray(grants) &&
    grants.every(isGrant) &&
    typeof hash === "string" &&
    /^[\da-f]{64}$/.test(hash) &&
    (expiresAt === undefined || (typeof expiresAt === "string" && !Number.isNaN(Date.parse(expiresAt))))
  );
}

const hasCode = (error: unknown, code: string): boolean =>
  (error as NodeJS.ErrnoException | undefined)?.code === code;

/** The file itself, where a path is a link to it. A file that is not there yet is where the path says. */
function targetOf(file: string): string {
  try {
    return realpathSync(file);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return file;
    throw error;
  }
}

/**
 * Changes a file of tokens at once and whole. The new content is written beside it, under a name that stands for the right to
 * write. So two commands at a time do not lose a token, and a server reads the old file or the new one.
 */
function change(file: string, next: (tokens: readonly StoredToken[]) => readonly StoredToken[]): void {
  const target = targetOf(file);
  const draft = `${target}.lock`;
  let descriptor: number;
  try {
    descriptor = openSync(draft, "wx", 0o600);
  } catch (cause) {
    if (!hasCode(cause, "EEXIST")) throw wrong(file, `cannot be written: ${(cause as Error).message}`, cause);
    throw new WheelworkError("WW_CONFIG", `another command changes the token file ${file}`, {
      next: `If none runs, remove ${draft}, and do it again.`,
      cause,
    });
  }
  try {
    try {
      const before = statSync(target, { throwIfNoEntry: false });
      const tokens = before === undefined ? [] : readTokens(target).tokens;
      writeFileSync(descriptor, `${JSON.stringify({ tokens: next(tokens) }, undefined, 2)}\n`);
      if (before !== undefined) likeBefore(descriptor, before);
    } finally {
      closeSync(descriptor);
    }
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/** The file that replaces another one has the same owner and rights, so that its server can still read it. */
function likeBefore(descriptor: number, { mode, uid, gid }: Stats): void {
  fchmodSync(descriptor, mode & 0o777);
  const now = fstatSync(descriptor);
  if (now.uid !== uid || now.gid !== gid) fchownSync(descriptor, uid, gid);
}

/** What a new token is made from. */
export interface NewToken {
  readonly name: string;
  readonly grants: readonly Grant[];
  /** For how long it is taken, in milliseconds. Default: for ever. */
  readonly validMs?: number;
}

/**
 * Makes a token, and writes its hash into the file. The token itself is nowhere but in the result.
 * @throws WheelworkError WW_CONFIG when the file has a token of this name, and what `readTokens` throws.
 */
export function createToken(
  file: string,
  { name, grants, validMs }: NewToken,
  now = Date.now(),
): { readonly token: string; readonly stored: StoredToken } {
  const problems: Problem[] = [];
  if (!/^[\w.@+-]{1,100}$/.test(name))
    problems.push({ path: "name", message: "must be 1 to 100 of A-Z a-z 0-9 _ . @ + -" });
  if (grants.length === 0 || !grants.every(isGrant))
    problems.push({ path: "grants", message: "must be roles, one at least" });
  if (problems.length > 0) throw new WheelworkError("WW_CONFIG", "the token is not valid", { problems });
  const id = randomBytes(8).toString("hex");
  const token = `ww_${id}_${randomBytes(32).toString("base64url")}`;
  const stored: StoredToken = {
    id,
    name,
    grants,
    hash: hashOfToken(token).toString("hex"),
    createdAt: new Date(now).toISOString(),
    ...(validMs === undefined ? {} : { expiresAt: new Date(now + validMs).toISOString() }),
  };
  change(file, (tokens) => {
    // The name says in histories who it was.
    if (tokens.some((other) => other.name === name)) {
      throw new WheelworkError("WW_CONFIG", `the token file ${file} has a token ${name} already`, {
        next: "Choose another name, or revoke that one first.",
      });
    }
    return [...tokens, stored];
  });
  return { token, stored };
}

/**
 * Removes a token from the file, by its name or its id. Servers notice within a second.
 * @throws WheelworkError WW_NOT_FOUND, and what `readTokens` throws.
 */
export function revokeToken(file: string, nameOrId: string): void {
  change(file, (tokens) => {
    const left = tokens.filter(({ id, name }) => id !== nameOrId && name !== nameOrId);
    if (left.length < tokens.length) return left;
    throw new WheelworkError("WW_NOT_FOUND", `the token file ${file} has no token ${nameOrId}`);
  });
}
