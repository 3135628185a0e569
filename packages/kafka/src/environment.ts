import { readFileSync } from "node:fs";
import type { KafkaOptions } from "./connection.ts";
import { broken } from "./errors.ts";

const mechanisms = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] as const;

/**
 * Reads the options for TLS and SASL from environment variables:
 * - `KAFKA_TLS=true`: encrypts the connections, and checks the brokers' certificates. The files below imply it.
 * - `KAFKA_CA`: the file with the authorities that have signed the brokers' certificates. Default: those that Node
 *   knows.
 * - `KAFKA_CERT` and `KAFKA_KEY`: the files with the program's own certificate and its key.
 * - `KAFKA_USERNAME` and `KAFKA_PASSWORD`: the account. `KAFKA_SASL` is its mechanism, by default `SCRAM-SHA-512`.
 * @throws WheelworkError WW_CONFIG when the variables contradict each other, or a file cannot be read.
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
      throw broken(
        "WW_CONFIG",
        `the file ${file} of ${name} cannot be read`,
        `Set ${name} to a file that this program may read.`,
      );
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
    throw broken("WW_CONFIG", `KAFKA_TLS is ${switched}`, "Set it to true or false, or leave it out.");
  if ((cert === undefined) !== (key === undefined))
    throw broken("WW_CONFIG", "only one of KAFKA_CERT and KAFKA_KEY is set", "Set both, or none.");
  if (switched === "false" && Object.keys(files).length > 0)
    throw broken(
      "WW_CONFIG",
      "KAFKA_TLS is false, but certificates are set",
      "Set KAFKA_TLS to true, or leave out KAFKA_CA, KAFKA_CERT and KAFKA_KEY.",
    );
  const isOn = switched === "true" || Object.keys(files).length > 0;
  const [username, password] = [given("KAFKA_USERNAME"), given("KAFKA_PASSWORD")];
  const mechanism = mechanisms.find((known) => known === (given("KAFKA_SASL") ?? mechanisms[0]));
  if ((username === undefined) !== (password === undefined))
    throw broken("WW_CONFIG", "only one of KAFKA_USERNAME and KAFKA_PASSWORD is set", "Set both, or none.");
  if (mechanism === undefined || (username === undefined && given("KAFKA_SASL") !== undefined))
    throw broken(
      "WW_CONFIG",
      `KAFKA_SASL is ${given("KAFKA_SASL")}`,
      `Set it to one of ${mechanisms.join(", ")}, and set KAFKA_USERNAME and KAFKA_PASSWORD too.`,
    );
  return {
    ...(isOn ? { tls: files } : {}),
    ...(username === undefined || password === undefined ? {} : { sasl: { mechanism, username, password } }),
  };
}
