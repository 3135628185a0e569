import { speakerTopics, type SpeakerTopics } from "./floodlight/speaker-wire.ts";

/** The topics of one flow-crud on Kafka. Each flow-crud needs its own topics, since it answers every request there. */
export interface FlowTopics extends SpeakerTopics {
  /** From Northbound: requests, under their keys. */
  readonly requests: string;
  /** To Northbound: answers, under the same keys. */
  readonly answers: string;
  /** To Floodlight: commands. */
  readonly commands: string;
  /** From Floodlight: what came of them. */
  readonly commandReplies: string;
  /** From Northbound to Floodlight: which rules a flow has on the switches, or all flows have if the value is empty. */
  readonly rulesQuestions: string;
  /** Floodlight's answer to that, under the same key: `{count, rules}` as JSON. */
  readonly rules: string;
}

/**
 * Topics whose names begin with a prefix. Without one, the first four are those of the original proof of concept, so that its
 * Northbound and its Floodlight can take part. They do not know the others.
 */
export const flowTopics = (prefix = ""): FlowTopics => ({
  requests: `${prefix}nb-to-hub`,
  answers: `${prefix}hub-to-nb`,
  commands: `${prefix}worker-to-fl`,
  commandReplies: `${prefix}fl-to-worker`,
  rulesQuestions: `${prefix}nb-to-fl`,
  rules: `${prefix}fl-to-nb`,
  ...speakerTopics(prefix),
});

/** The names of the original proof of concept. */
export const originalTopics = flowTopics();
