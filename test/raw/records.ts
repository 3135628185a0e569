import { ProduceAcks, Producer } from "@platformatic/kafka";

/** What a key or a value of a record may be: a broker carries any bytes. */
export type Bytes = Buffer | string | undefined;

/** Writes records as other systems do, with any bytes. The result says where each is. */
export async function writeBytes(
  brokers: string,
  records: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly key: Bytes;
    readonly value: Bytes;
  }[],
): Promise<{ readonly topic: string; readonly partition: number; readonly offset: number }[]> {
  const raw = new Producer({ clientId: "raw", bootstrapBrokers: brokers.split(","), acks: ProduceAcks.ALL });
  const bytesOf = (given: Bytes): Buffer | undefined =>
    typeof given === "string" ? Buffer.from(given) : given;
  const places = [];
  try {
    for (const { topic, partition, key: givenKey, value: givenValue } of records) {
      const [key, value] = [bytesOf(givenKey), bytesOf(givenValue)];
      const message = { topic, partition, ...(key && { key }), ...(value && { value }) };
      const { offsets = [] } = await raw.send({ messages: [message] });
      places.push({ topic, partition, offset: Number(offsets[0]?.offset) });
    }
  } finally {
    await raw.close();
  }
  return places;
}
