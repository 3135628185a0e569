import { WheelworkError } from "@wheelwork/core";
import { join } from "node:path";
import { defaultCache, defaultFolder } from "./folder.ts";
import { KafkaBroker } from "./kafka.ts";
import { PostgresServer } from "./postgres.ts";
import { StormCluster } from "./storm.ts";

// The servers that the npm scripts share. Each script makes its own object of a server that runs already.

/** The broker of `npm run services`: on port KAFKA_PORT (9092). @throws WheelworkError WW_CONFIG when that is no port. */
export const localKafka = (): KafkaBroker =>
  new KafkaBroker(join(defaultFolder, "kafka"), portsOf("KAFKA_PORT", [9092])[0] as number, defaultCache);

/** The server of `npm run services`: on port POSTGRES_PORT (5432). @throws WheelworkError WW_CONFIG when that is no port. */
export const localPostgres = (): PostgresServer =>
  new PostgresServer(join(defaultFolder, "postgres"), portsOf("POSTGRES_PORT", [5432])[0] as number);

/**
 * The Storm of `npm run storm`: on STORM_PORTS, which are those of ZooKeeper, Nimbus, the supervisor, and of one worker or more.
 * @throws WheelworkError WW_CONFIG when these are no ports.
 */
export function localStorm(): StormCluster {
  const ports = portsOf("STORM_PORTS", [22_181, 26_627, 26_628, 26_700, 26_701, 26_702, 26_703], 4);
  const [zookeeper = 0, nimbus = 0, supervisor = 0, ...slots] = ports;
  return new StormCluster(
    join(defaultFolder, "storm"),
    { zookeeper, nimbus, supervisor, slots },
    defaultCache,
  );
}

function portsOf(name: string, otherwise: readonly number[], min = 1): readonly number[] {
  const given = process.env[name];
  if (given === undefined) return otherwise;
  const ports = given.split(",").map(Number);
  const areValid = ports.every((port) => Number.isInteger(port) && port > 0 && port < 65_535);
  if (areValid && ports.length >= min && (min > 1 || ports.length === 1)) return ports;
  const wanted = min === 1 ? "a port" : `${min} ports or more, with commas between them`;
  throw new WheelworkError("WW_CONFIG", `${name} must be ${wanted}, not ${JSON.stringify(given)}`, {
    next: `Correct ${name}, or unset it: the default is ${otherwise.join()}.`,
  });
}
