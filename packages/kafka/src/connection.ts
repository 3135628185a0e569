import { kinds, required, type OptionKinds } from "@wheelwork/core/kernel";
import { isIP } from "node:net";
import type { ConnectionOptions as TlsOptions } from "node:tls";
import { broken } from "./errors.ts";

/** How to reach the brokers. */
export interface KafkaOptions {
  /** `host:port` of one or more brokers, as a list or as one string with commas. They name the other brokers. */
  readonly brokers: string | readonly string[];
  /** The name of this program in the brokers' logs. Default: `wheelwork`. */
  readonly clientId?: string;
  /**
   * Encrypts the connections. The options are those of `tls.connect`; `{}` gives its defaults. Default: no encryption.
   */
  readonly tls?: TlsOptions;
  /** How the program proves who it is. Default: it does not. */
  readonly sasl?: {
    readonly mechanism: "PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512" | "OAUTHBEARER";
    readonly username?: string;
    readonly password?: string;
    /** For OAUTHBEARER: returns a token that is valid now. */
    readonly token?: () => string | Promise<string>;
  };
  /** After how long without a sign of life a node has left its group, in milliseconds. Default: 6000. */
  readonly sessionTimeoutMs?: number;
}

const { either, fn, list, nested, object, oneOf, text } = kinds;

const saslOptions: OptionKinds<NonNullable<KafkaOptions["sasl"]>> = {
  mechanism: required(oneOf("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")),
  username: text(),
  password: text(10_000),
  token: fn,
};

/** What the options may be. */
export const kafkaOptions: OptionKinds<KafkaOptions> = {
  brokers: required(
    either(text(10_000), list(text(), 1), "must be host:port of one broker or more, as a text or as a list"),
  ),
  clientId: text(),
  tls: object(),
  sasl: nested<NonNullable<KafkaOptions["sasl"]>>(saslOptions, "sasl"),
  // As Kafka's protocol holds it.
  sessionTimeoutMs: kinds.whole(1, 2_147_483_647),
};

const hasName = (broker: string): boolean =>
  isIP(broker.slice(0, broker.lastIndexOf(":")).replace(/^\[|\]$/g, "")) === 0;

/**
 * The options that all clients of one program share.
 * @throws WheelworkError WW_CONFIG when a broker is not `host:port`.
 */
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
      wrong.length === 0 ? "no brokers are given" : `these brokers are not host:port: ${wrong.join(", ")}`,
      "Give the brokers as host:port, with commas between them.",
    );
  }
  return {
    clientId,
    bootstrapBrokers,
    connectTimeout: 3000,
    timeout: 10_000,
    requestTimeout: 10_000,
    // Our callers retry. A client that retries by itself would hide how long it has done so.
    retries: 0,
    autocreateTopics: false,
    strict: false,
    // Brokers behind one address are told apart by the server name (SNI), and an IP address is not a server name.
    ...(tls === undefined ? {} : { tls, tlsServerName: bootstrapBrokers.every(hasName) }),
    ...(sasl === undefined ? {} : { sasl }),
  };
}
