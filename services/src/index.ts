export { Authority, opensslIsInstalled, pemOf, type Certificate } from "./certificates.ts";
export { installKafka, KafkaBroker, kafkaIsInstalled, type SecureListener } from "./kafka.ts";
export { OpenVSwitch, openVSwitchIsInstalled } from "./openvswitch.ts";
export { installPostgres, postgresIsInstalled, PostgresServer } from "./postgres.ts";
export { localKafka, localPostgres, localStorm } from "./local.ts";
export { freePort, pidOf, startDaemon, stopDaemon, waitUntil, type Daemon } from "./process.ts";
export { runForeground, whenParentEnds, type Program } from "./foreground.ts";
export { defaultCache, defaultFolder } from "./folder.ts";
export { installStorm, StormCluster, stormIsInstalled, type StormPorts } from "./storm.ts";
