import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  defaultCache,
  freePort,
  KafkaBroker,
  kafkaIsInstalled,
  type SecureListener,
} from "@wheelwork/services";

/** Without Java and the jars of the broker (`npm run services -- install`) the tests are skipped. */
export const canRun = kafkaIsInstalled(defaultCache);

/** A broker of the tests' own. */
export async function startBroker(
  secure?: SecureListener,
): Promise<{ broker: KafkaBroker; stop: () => Promise<void> }> {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-kafka-"));
  chmodSync(folder, 0o755);
  const broker = new KafkaBroker(folder, await freePort(), defaultCache, secure);
  await broker.start(await freePort());
  return {
    broker,
    stop: async () => {
      await broker.signal("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
