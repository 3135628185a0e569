import { Admin, ConfigResourceTypes } from "@platformatic/kafka";
import type { clientOptions } from "./connection.ts";
import { broken, isUnknownTopic, kafkaErrors, unavailable } from "./errors.ts";

/** A topic that must exist. */
export interface TopicSpec {
  readonly name: string;
  /** How many partitions it must have. Default: any number; a new topic gets the broker's default. */
  readonly partitions?: number;
  /** It may have more partitions than that, which somebody has added. */
  readonly mayHaveMore?: boolean;
  /** Copies of each partition of a new topic. Default: the broker's. */
  readonly replicas?: number;
  /** Settings of a new topic, such as `retention.ms`. */
  readonly configs?: Readonly<Record<string, string>>;
}

/**
 * Creates the topics that do not exist, and checks the number of partitions of those that do.
 * @throws WheelworkError WW_CONFIG when a topic has another number of partitions, or the account may not create it;
 * WW_BUS_UNAVAILABLE when the brokers cannot be reached.
 */
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
  { name, partitions, mayHaveMore = false, replicas = -1, configs = {} }: TopicSpec,
): Promise<void> {
  // It looks first, since an account that may not create topics can still use existing ones.
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
  // Not all brokers know a new topic at once.
  for (let attempt = 0; attempt < 50 && found === undefined; attempt++) {
    await new Promise<void>((resolve) => void setTimeout(resolve, attempt === 0 ? 0 : 100));
    found = await partitionsOf(admin, name);
  }
  const wanted = partitions ?? found;
  if (found !== undefined && (found === wanted || (mayHaveMore && found > (wanted ?? 0)))) return;
  throw broken(
    "WW_CONFIG",
    `the topic ${name} has ${found ?? 0} partitions, not ${partitions ?? 1}`,
    "The key of a request decides its partition, for good. Start with the number that the topic has, or use other topics and another store.",
  );
}

/** How a topic is kept. */
export interface TopicSettings {
  readonly partitions: number;
  /** How many copies each partition has, and how many of them are up to date: the least of all partitions. */
  readonly replicas: number;
  readonly inSync: number;
  /** By the names that Kafka gives them, such as `retention.ms`. */
  readonly configs: Readonly<Record<string, string>>;
}

/** Looks at a topic. @throws WheelworkError WW_CONFIG when there is none, WW_BUS_UNAVAILABLE. */
export async function topicSettings(
  options: ReturnType<typeof clientOptions>,
  name: string,
): Promise<TopicSettings> {
  const admin = new Admin(options);
  try {
    const topic = (await admin.metadata({ topics: [name], forceUpdate: true })).topics.get(name);
    const [described] = await admin.describeConfigs({
      resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: name }],
    });
    const partitions = topic?.partitions ?? [];
    return {
      partitions: partitions.length,
      replicas: Math.min(...partitions.map(({ replicas }) => replicas.length)),
      inSync: Math.min(...partitions.map(({ isr }) => isr.length)),
      configs: Object.fromEntries(
        (described?.configs ?? []).map((config) => [config.name, config.value ?? ""]),
      ),
    };
  } catch (error) {
    if (isUnknownTopic(error))
      throw broken("WW_CONFIG", `there is no topic ${name}`, "Create it, or let `ensureTopics` do so.");
    throw unavailable(`the topic ${name} could not be looked at`, error);
  } finally {
    await admin.close().catch(() => {});
  }
}

/** How many partitions a topic has. undefined: the topic does not exist, or not yet. */
async function partitionsOf(admin: Admin, name: string): Promise<number | undefined> {
  try {
    return (await admin.metadata({ topics: [name], forceUpdate: true })).topics.get(name)?.partitionsCount;
  } catch (error) {
    if (isUnknownTopic(error) || kafkaErrors(error).some((known) => known.includes("LEADER")))
      return undefined;
    throw unavailable(`the topic ${name} could not be read`, error);
  }
}
