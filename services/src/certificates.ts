import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";

/** A certificate and its private key, as PEM files. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export const opensslIsInstalled = (): boolean =>
  spawnSync("openssl", ["version"], { stdio: "ignore" }).status === 0;

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"] as const;

/** An authority of one's own, for tests: what it signs is good for two days. */
export class Authority {
  /** Its own certificate, as a PEM file. */
  readonly ca: string;
  readonly #folder: string;
  readonly #key: string;

  /** `name` is of the files in the folder, and of the authority. */
  constructor(folder: string, name: string) {
    this.#folder = folder;
    this.ca = join(folder, `${name}.crt`);
    this.#key = join(folder, `${name}.key`);
    openssl(
      "req",
      "-x509",
      ...newKey,
      "-keyout",
      this.#key,
      "-out",
      this.ca,
      "-days",
      "2",
      "-subj",
      `/CN=${name}`,
    );
  }

  /** Signs a certificate for a server with these names, or, without any, for a client; `name` is its common name, too. */
  issue(name: string, hosts: readonly string[] = []): Certificate {
    const [cert, key, request, extensions] = ["crt", "key", "csr", "ext"].map((end) =>
      join(this.#folder, `${name}.${end}`),
    ) as [string, string, string, string];
    openssl("req", ...newKey, "-keyout", key, "-out", request, "-subj", `/CN=${name}`);
    const names = hosts.map((host) => `${isIP(host) === 0 ? "DNS" : "IP"}:${host}`);
    writeFileSync(
      extensions,
      `basicConstraints=CA:FALSE\n${names.length === 0 ? "" : `subjectAltName=${names.join()}\n`}`,
    );
    const signing = [
      "-CA",
      this.ca,
      "-CAkey",
      this.#key,
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      extensions,
    ];
    openssl("x509", "-req", "-in", request, "-out", cert, ...signing);
    return { cert, key };
  }
}

/** The texts of a certificate and its key. */
export const pemOf = ({ cert, key }: Certificate): { cert: string; key: string } => ({
  cert: readFileSync(cert, "utf8"),
  key: readFileSync(key, "utf8"),
});

function openssl(...args: readonly string[]): void {
  execFileSync("openssl", args, { stdio: ["ignore", "ignore", "pipe"] });
}
