import { WheelworkError } from "@wheelwork/core";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { defaultCache, defaultFolder } from "./folder.ts";
import { whenParentEnds } from "./foreground.ts";
import { installKafka, kafkaIsInstalled } from "./kafka.ts";
import { localKafka, localPostgres } from "./local.ts";
import { installPostgres, postgresIsInstalled } from "./postgres.ts";
import { installStorm } from "./storm.ts";

const usage = `Usage: npm run services -- COMMAND [kafka] [postgres] [storm]

  install   gets what is missing; Storm only if it is named
  start     installs and starts both, or the one that is named
  stop      stops them; their data stay
  status    says what runs
  wipe      stops them and deletes their data; with --all the downloads, too

They stay up when this program has ended. Their data are in .services, or in the folder that WHEELWORK_SERVICES names.
Ports: KAFKA_PORT (9092) and POSTGRES_PORT (5432). If KAFKA_BROKERS or DATABASE_URL is set, that server is used, and none is
started in its place.
`;

const commands = ["install", "start", "stop", "status", "wipe"] as const;
type Command = (typeof commands)[number];

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function kafka(command: Command): Promise<void> {
  const { KAFKA_BROKERS: given } = process.env;
  if (given !== undefined) return say(`Kafka: KAFKA_BROKERS is set, so ${given} is used`);
  const broker = localKafka();
  switch (command) {
    case "install":
      installKafka(defaultCache);
      return say("Kafka: installed");
    case "start":
      if (!kafkaIsInstalled(defaultCache)) say("Kafka: getting its jars");
      installKafka(defaultCache);
      await broker.start();
      return say(`Kafka: ready at ${broker.brokers} (process ${broker.pid})`);
    case "stop":
    case "wipe":
      say(`Kafka: ${(await broker.stop()) ? "stopped" : "does not run"}`);
      if (command === "wipe") rmSync(join(defaultFolder, "kafka"), { recursive: true, force: true });
      return;
    case "status":
      return say(
        `Kafka: ${broker.pid === undefined ? "does not run" : `runs at ${broker.brokers} (process ${broker.pid})`}`,
      );
  }
}

async function postgres(command: Command): Promise<void> {
  const { DATABASE_URL: given } = process.env;
  if (given !== undefined) return say("PostgreSQL: DATABASE_URL is set, so that server is used");
  const server = localPostgres();
  switch (command) {
    case "install":
      installPostgres();
      return say("PostgreSQL: installed");
    case "start":
      if (!postgresIsInstalled()) say("PostgreSQL: installing it");
      installPostgres();
      await server.start();
      return say(`PostgreSQL: ready at ${server.url} (process ${server.pid})`);
    case "stop":
    case "wipe":
      say(`PostgreSQL: ${(await server.stop()) ? "stopped" : "does not run"}`);
      if (command === "wipe") rmSync(join(defaultFolder, "postgres"), { recursive: true, force: true });
      return;
    case "status":
      return say(
        `PostgreSQL: ${server.pid === undefined ? "does not run" : `runs at ${server.url} (process ${server.pid})`}`,
      );
  }
}

async function main(): Promise<void> {
  // The servers are meant to outlive it. This program itself is not.
  whenParentEnds("services", () => process.exit(1));
  const [given, ...names] = process.argv.slice(2);
  const all = names.includes("--all");
  const wanted = names.filter((name) => name !== "--all");
  const command = commands.find((name) => name === given);
  const unknown = wanted.filter((name) => !["kafka", "postgres", "storm"].includes(name));
  if (wanted.includes("storm") && command !== "install")
    throw new WheelworkError("WW_CONFIG", "npm run services can only install Storm", {
      next: "Start it with npm run storm -- start, which also submits flow-crud.",
    });
  if (command === undefined || unknown.length > 0) {
    process.stderr.write(usage);
    process.exitCode = 2;
    return;
  }
  if (wanted.length === 0 || wanted.includes("kafka")) await kafka(command);
  if (wanted.length === 0 || wanted.includes("postgres")) await postgres(command);
  if (wanted.includes("storm")) {
    installStorm(defaultCache);
    say("Storm: installed");
  }
  if (command === "wipe" && all) rmSync(defaultCache, { recursive: true, force: true });
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof WheelworkError ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
