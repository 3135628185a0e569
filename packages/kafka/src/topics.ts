import { Admin } from "@platformatic/kafka";
import type { clientOptions } from "./connection.ts";
import { broken, kafkaErrors, unavailable } from "./errors.ts";

/** A topic that must be there. */
export interface TopicSpec {
  readonly name: string;
  /** Absent: as many as the broker gives, or as there are. */
  readonly partitions?: number;
  /** Copies of each partition, when it is created. Default: the broker's. */
  readonly replicas?: number;
  /** The topic's settings, when it is created, such as `retention.ms`. */
  readonly configs?: Readonly<Record<string, string>>;
}

/** Creates the topics that are not there, and checks the partitions of those that are. */
export async function ensureTopics(
  options: ReturnType<typeof clientOptions>,
  specs: readonly TopicSpec[],
): Promise<void> {
  const admin = new Admin(options);
  try {
    for (const spec of specs) await ensureTopic(admin, spec);
  } finally {
    await admin.close().catch(() => {});
  }
}

async function ensureTopic(
  admin: Admin,
  { name, partitions, replicas = -1, configs = {} }: TopicSpec,
): Promise<void> {
  try {
    await admin.createTopics({
      topics: [name],
      partitions: partitions ?? -1,
      replicas,
      configs: Object.entries(configs).map(([key, value]) => ({ name: key, value })),
    });
  } catch (error) {
    if (!kafkaErrors(error).includes("TOPIC_ALREADY_EXISTS"))
      throw unavailable(`the topic ${name} could not be created`, error);
  }
  let found: number | undefined;
  // A topic that was just created is known to all brokers a little later.
  for (let attempt = 0; attempt < 50 && found === undefined; attempt++) {
    try {
      found = (await admin.metadata({ topics: [name], forceUpdate: true })).topics.get(name)?.partitionsCount;
    } catch (error) {
      if (attempt === 49) throw unavailable(`the topic ${name} could not be looked at`, error);
    }
    if (found === undefined) await new Promise<void>((resolve) => void setTimeout(resolve, 100));
  }
  if (found !== undefined && found === (partitions ?? found)) return;
  throw broken(
    "WW_CONFIG",
    `the topic ${name} has ${found ?? 0} partitions, not ${partitions ?? 1}`,
    "A request belongs to the partition that its key names, for good: start with that number, or with other topics and another store.",
  );
}
