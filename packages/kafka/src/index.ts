export type { KafkaOptions } from "./connection.ts";
export { kafkaSecurity } from "./environment.ts";
export { kafka, type GroupProgress, type Kafka } from "./kafka.ts";
export type { TopicSpec } from "./topics.ts";
