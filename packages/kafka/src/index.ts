export type { KafkaOptions } from "./connection.ts";
export { kafkaSecurity } from "./environment.ts";
export { kafka, type GroupProgress, type Kafka } from "./kafka.ts";
export type { TopicSettings, TopicSpec } from "./topics.ts";
