import { hubKind, kind, kinds, required, type OptionKind, type OptionKinds } from "@wheelwork/core/kernel";
import type { Channel } from "./channel.ts";

/* What the options of what comes through a log may be. */

const { fn, list, matching, nested, text } = kinds;

/** The name of a topic, as Kafka has it. */
export const topicKind: OptionKind = matching(
  /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}$/,
  "must be the name of a topic: letters, digits, '.', '_' or '-', 249 characters at most",
);

const channelOptions: OptionKinds<Channel> = {
  name: required(text()),
  from: required(topicKind),
  to: required(topicKind),
  hub: required(
    kind(
      (value) => typeof value === "string" || hubKind.problems(value, "").length === 0,
      "must be a hub, or the name of one",
    ),
  ),
  request: required(fn),
  trace: fn,
  answer: required(fn),
};

export const channelsKind: OptionKind = list(nested<Channel>(channelOptions, "a channel"));
