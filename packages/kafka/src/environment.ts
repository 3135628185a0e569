import { readFileSync } from "node:fs";
import type { KafkaOptions } from "./connection.ts";
import { broken } from "./errors.ts";

const mechanisms = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] as const;

/**
 * The options for TLS and SASL that a program's environment gives:
 * - `KAFKA_TLS=true`, or one of the following: the connections are encrypted, and the brokers' certificates checked;
 * - `KAFKA_CA`: the file of the authorities that have signed them (default: the known ones);
 * - `KAFKA_CERT` and `KAFKA_KEY`: the files of the program's own certificate and its key;
 * - `KAFKA_USERNAME` and `KAFKA_PASSWORD`, and how they are proven: `KAFKA_SASL`, by default `SCRAM-SHA-512`.
 * @throws WheelworkError WW_CONFIG when they cannot be right, or a file cannot be read.
 */
export function kafkaSecurity(
  env: Readonly<Record<string, string | undefined>> = process.env,
): Pick<KafkaOptions, "tls" | "sasl"> {
  const given = (name: string): string | undefined => (env[name] === "" ? undefined : env[name]);
  const fileOf = (name: string): string | undefined => {
    const file = given(name);
    try {
      return file === undefined ? undefined : readFileSync(file, "utf8");
    } catch {
      throw broken("WW_CONFIG", `the file ${file} of ${name} cannot be read`, "Name one that is there.");
    }
  };
  const [switched, ca, cert, key] = [
    given("KAFKA_TLS"),
    fileOf("KAFKA_CA"),
    fileOf("KAFKA_CERT"),
    fileOf("KAFKA_KEY"),
  ];
  const files = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
  if (switched !== undefined && switched !== "true" && switched !== "false")
    throw broken("WW_CONFIG", `KAFKA_TLS is ${switched}`, "Set it to true, or leave it out.");
  if ((cert === undefined) !== (key === undefined))
    throw broken("WW_CONFIG", "of KAFKA_CERT and KAFKA_KEY only one is set", "Set both, or none.");
  if (switched === "false" && Object.keys(files).length > 0)
    throw broken("WW_CONFIG", "KAFKA_TLS is false, and certificates are given", "Set one or the other.");
  const isOn = switched === "true" || Object.keys(files).length > 0;
  const [username, password] = [given("KAFKA_USERNAME"), given("KAFKA_PASSWORD")];
  const mechanism = mechanisms.find((known) => known === (given("KAFKA_SASL") ?? mechanisms[0]));
  if ((username === undefined) !== (password === undefined))
    throw broken("WW_CONFIG", "of KAFKA_USERNAME and KAFKA_PASSWORD only one is set", "Set both, or none.");
  if (mechanism === undefined || (username === undefined && given("KAFKA_SASL") !== undefined))
    throw broken(
      "WW_CONFIG",
      `KAFKA_SASL is ${given("KAFKA_SASL")}`,
      `Set it to ${mechanisms.join(", ")}, and KAFKA_USERNAME and KAFKA_PASSWORD with it.`,
    );
  return {
    ...(isOn ? { tls: files } : {}),
    ...(username === undefined || password === undefined ? {} : { sasl: { mechanism, username, password } }),
  };
}
