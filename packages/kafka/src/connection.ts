import { isIP } from "node:net";
import type { ConnectionOptions as TlsOptions } from "node:tls";
import { broken } from "./errors.ts";

/** How to reach the brokers. */
export interface KafkaOptions {
  /** `host:port` of some brokers, as a list or as one text with commas; they name the others. */
  readonly brokers: string | readonly string[];
  /** The name of this program in the brokers' logs. Default `wheelwork`. */
  readonly clientId?: string;
  /** Encrypts the connection; the options of `tls.connect`, `{}` for the defaults. Default: not encrypted. */
  readonly tls?: TlsOptions;
  /** Default: none. */
  readonly sasl?: {
    readonly mechanism: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" | "OAUTHBEARER";
    readonly username?: string;
    readonly password?: string;
    /** Of OAUTHBEARER: gives a token that is valid now. */
    readonly token?: () => string | Promise<string>;
  };
  /** How long the group waits for a node that says nothing, in milliseconds. Default 6000. */
  readonly sessionTimeoutMs?: number;
}

const hasName = (broker: string): boolean =>
  isIP(broker.slice(0, broker.lastIndexOf(":")).replace(/^\[|\]$/g, "")) === 0;

/** The options that all clients of one program share. */
export function clientOptions({ brokers, clientId = "wheelwork", tls, sasl }: KafkaOptions) {
  const bootstrapBrokers = (typeof brokers === "string" ? brokers.split(",") : brokers).map((broker) =>
    broker.trim(),
  );
  const wrong = bootstrapBrokers.filter(
    (broker) => !/^[^\s:/]+:\d{1,5}$|^\[[0-9a-f:]+\]:\d{1,5}$/i.test(broker),
  );
  if (bootstrapBrokers.length === 0 || wrong.length > 0) {
    throw broken(
      "WW_CONFIG",
      `the brokers are not valid: ${wrong.join(", ") || "there are none"}`,
      "Give them as host:port, several with commas between them.",
    );
  }
  return {
    clientId,
    bootstrapBrokers,
    connectTimeout: 3000,
    timeout: 10_000,
    requestTimeout: 10_000,
    // Whoever asks tries again: a client that retries inside hides for how long it has been doing so.
    retries: 0,
    autocreateTopics: false,
    strict: false,
    // Brokers behind a common address are told apart by their names, which an IP address is none of.
    ...(tls === undefined ? {} : { tls, tlsServerName: bootstrapBrokers.every(hasName) }),
    ...(sasl === undefined ? {} : { sasl }),
  };
}
