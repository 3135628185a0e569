import { deadLetterTopic } from "../delivery/dead-letters.ts";
import type { NodeOptions } from "./options.ts";
import { clusterTopics, defaultInbox } from "./topics.ts";

interface Described {
  readonly topic: string;
  readonly about: string;
  readonly action: "send" | "receive";
  readonly message: {
    readonly contentType: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly payload: object;
  };
}

const text = { type: "string" };
const letterHeaders = {
  "dlt-reason": "Why it could not be processed.",
  "dlt-topic": "The topic that it came from.",
  "dlt-partition": "The partition there.",
  "dlt-offset": "The offset there.",
};

/**
 * The topics of a cluster as an AsyncAPI 3.0 document, from the point of view of its nodes: what they receive and send.
 * The key of each message is its request's.
 */
export function asyncApi(
  options: Pick<NodeOptions, "shards" | "inbox" | "channels"> & {
    readonly title?: string;
    readonly version?: string;
  },
): object {
  const { channels = [], inbox = defaultInbox, title = "Wheelwork", version = "1" } = options;
  const letters = (topic: string): Described => ({
    topic: deadLetterTopic(topic),
    about: `What came through ${topic} and could not be processed.`,
    action: "send",
    message: { contentType: "application/octet-stream", headers: letterHeaders, payload: text },
  });
  const described: Described[] = [
    ...channels.flatMap(({ name, from, to }): Described[] => [
      {
        topic: from,
        about: `Requests of the channel ${name}. What is none is answered with a refusal.`,
        action: "receive",
        message: { contentType: "application/json", headers: {}, payload: {} },
      },
      {
        topic: to,
        about: `Answers of the channel ${name}: one for each request, perhaps more than once with the same ce_id.`,
        action: "send",
        message: {
          contentType: "text/plain",
          headers: { ce_id: "The same each time that this answer is published." },
          payload: text,
        },
      },
      letters(from),
    ]),
    {
      topic: inbox,
      about: "The inboxes of the shards, a partition each. Workers elsewhere send what came of an attempt.",
      action: "receive",
      message: {
        contentType: "application/json",
        headers: {
          ce_type: "wheelwork.response",
          "correlation-id": "That of the attempt's message, as it was.",
        },
        payload: {
          type: "object",
          oneOf: [{ required: ["output"] }, { required: ["error"] }],
          properties: {
            output: {},
            error: {
              type: "object",
              properties: { code: text, message: text, details: {} },
              required: ["code"],
            },
          },
        },
      },
    },
    letters(inbox),
  ];
  const partitions = new Map(clusterTopics(options).map(({ name, partitions: count }) => [name, count]));
  const idOf = (topic: string): string => topic.replaceAll(/[^A-Za-z0-9_-]/g, "_");
  return {
    asyncapi: "3.0.0",
    info: { title, version },
    defaultContentType: "application/json",
    channels: Object.fromEntries(
      described.map(({ topic, about, message: { contentType, headers, payload } }) => {
        const count = partitions.get(topic);
        const properties = Object.fromEntries(
          Object.entries(headers).map(([name, description]) => [name, { type: "string", description }]),
        );
        return [
          idOf(topic),
          {
            address: topic,
            description: about,
            messages: {
              message: {
                contentType,
                headers: { type: "object", properties },
                payload,
                bindings: {
                  kafka: { key: { ...text, description: "The request key." }, bindingVersion: "0.5.0" },
                },
              },
            },
            ...(count === undefined
              ? {}
              : { bindings: { kafka: { topic, partitions: count, bindingVersion: "0.5.0" } } }),
          },
        ];
      }),
    ),
    operations: Object.fromEntries(
      described.map(({ topic, action }) => [
        `${action}-${idOf(topic)}`,
        {
          action,
          channel: { $ref: `#/channels/${idOf(topic)}` },
          messages: [{ $ref: `#/channels/${idOf(topic)}/messages/message` }],
        },
      ]),
    ),
  };
}
