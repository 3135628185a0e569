import { kafkaSecurity } from "@wheelwork/kafka";
import { basename, dirname } from "node:path";

type Env = Readonly<Record<string, string | undefined>>;

/**
 * How the parts of a topology reach Kafka, as its configuration carries it: the variables of `kafkaSecurity` that hold no
 * secret. Files are those of the machines that Storm's workers run on; `KAFKA_USERNAME` and `KAFKA_PASSWORD` are in the
 * environment of its supervisors, which their workers inherit.
 */
export type StormSecurity = Readonly<Record<string, string>>;

/**
 * The security that the environment of the submitting process asks for. undefined: none.
 * @throws WheelworkError WW_CONFIG when it cannot be right, as `kafkaSecurity` says.
 */
export function stormSecurity(env: Env = process.env): StormSecurity | undefined {
  const { tls, sasl } = kafkaSecurity(env);
  const security: Record<string, string> = {};
  if (tls !== undefined) security["KAFKA_TLS"] = "true";
  for (const name of ["KAFKA_CA", "KAFKA_CERT", "KAFKA_KEY"]) if (env[name]) security[name] = env[name];
  if (sasl !== undefined) security["KAFKA_SASL"] = sasl.mechanism;
  return Object.keys(security).length === 0 ? undefined : security;
}

/** The options of a part's own client. */
export const clientSecurity = (security: StormSecurity = {}): ReturnType<typeof kafkaSecurity> =>
  kafkaSecurity({ ...process.env, ...security });

const modules = "org.apache.kafka.common.security";
const providers = "org.apache.kafka.common.config.provider";

/** The same for the clients of Java, which read secrets where they run. */
export function javaSecurity(security: StormSecurity = {}): Record<string, string> {
  const { KAFKA_TLS: tls, KAFKA_CA: ca, KAFKA_CERT: cert, KAFKA_KEY: key, KAFKA_SASL: mechanism } = security;
  if (tls === undefined && mechanism === undefined) return {};
  const login = mechanism === "PLAIN" ? "plain.PlainLoginModule" : "scram.ScramLoginModule";
  const content = (file: string): string => `\${directory:${dirname(file)}:${basename(file)}}`;
  return {
    "security.protocol": mechanism === undefined ? "SSL" : tls === undefined ? "SASL_PLAINTEXT" : "SASL_SSL",
    "config.providers": "env,directory",
    "config.providers.env.class": `${providers}.EnvVarConfigProvider`,
    "config.providers.directory.class": `${providers}.DirectoryConfigProvider`,
    ...(ca === undefined ? {} : { "ssl.truststore.type": "PEM", "ssl.truststore.location": ca }),
    ...(cert === undefined || key === undefined
      ? {}
      : {
          "ssl.keystore.type": "PEM",
          "ssl.keystore.certificate.chain": content(cert),
          "ssl.keystore.key": content(key),
        }),
    ...(mechanism === undefined
      ? {}
      : {
          "sasl.mechanism": mechanism,
          "sasl.jaas.config": `${modules}.${login} required username="\${env:KAFKA_USERNAME}" password="\${env:KAFKA_PASSWORD}";`,
        }),
  };
}
