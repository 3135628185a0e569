import { Admin } from "@platformatic/kafka";
import type { clientOptions } from "./connection.ts";
import { broken, isUnknownTopic, kafkaErrors, unavailable } from "./errors.ts";

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
  // Who may not create topics works with those that are there.
  let found = await partitionsOf(admin, name);
  if (found === undefined) {
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
  }
  // A topic that was just created is known to all brokers a little later.
  for (let attempt = 0; attempt < 50 && found === undefined; attempt++) {
    await new Promise<void>((resolve) => void setTimeout(resolve, attempt === 0 ? 0 : 100));
    found = await partitionsOf(admin, name);
  }
  if (found !== undefined && found === (partitions ?? found)) return;
  throw broken(
    "WW_CONFIG",
    `the topic ${name} has ${found ?? 0} partitions, not ${partitions ?? 1}`,
    "A request belongs to the partition that its key names, for good: start with that number, or with other topics and another store.",
  );
}

/** undefined: there is no such topic, or not yet. */
async function partitionsOf(admin: Admin, name: string): Promise<number | undefined> {
  try {
    return (await admin.metadata({ topics: [name], forceUpdate: true })).topics.get(name)?.partitionsCount;
  } catch (error) {
    if (isUnknownTopic(error) || kafkaErrors(error).some((known) => known.includes("LEADER")))
      return undefined;
    throw unavailable(`the topic ${name} could not be looked at`, error);
  }
}
