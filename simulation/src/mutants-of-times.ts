import type { Mutant } from "./mutant.ts";

const schedules = "packages/engine/src/schedules/hub.ts";
const pending = "packages/core/src/pending.ts";

/** Mutants of what happens at certain times: the ticks of schedules, and requests that begin later. */
export const mutantsOfTimes: readonly Mutant[] = [
  {
    name: "make a tick once more",
    file: schedules,
    from: "patch: { ...times, last: due, tick:",
    to: "patch: { ...times, last: due - 1, tick:",
  },
  {
    name: "make up for the last tick only",
    file: schedules,
    from: 'isMissed && stored.catchUp === "last" ?',
    to: 'isMissed && stored.catchUp !== "none" ?',
  },
  {
    name: "remove a schedule that an engine does not have",
    file: schedules,
    from: 'schedules.has(data.name) ? ticked(data, now) : { raise: "Absent" };',
    to: 'schedules.has(data.name) ? ticked(data, now) : { raise: "Removed" };',
  },
  {
    name: "forget the ticks of the former times of a schedule",
    file: schedules,
    from: "patch: { ...then, ...newer, changes: [...(then.changes ?? []), change] } };",
    to: "patch: { ...newer, stored, since: change.since, last: Math.max(then.last, at), changes: undefined } };",
  },
  {
    name: "count the time between ticks from each deploy",
    file: schedules,
    from: "since: isSameTime ? newest.since : at, at };",
    to: "since: at, at };",
  },
  {
    name: "tick as the last node says, whatever its version",
    file: schedules,
    from: 'if (version < known) return { raise: "Stay" };',
    to: 'if (version < 0) return { raise: "Stay" };',
    world: "cluster",
  },
  {
    name: "tick as the last topology says, whatever its version",
    file: schedules,
    from: 'if (version < known) return { raise: "Stay" };',
    to: 'if (version < 0) return { raise: "Stay" };',
    world: "storm",
  },
  {
    name: "begin a request when it comes, whatever its time",
    file: "packages/engine/src/shard/decider.ts",
    from: "    if (startAt > now) {",
    to: "    if (startAt > now + 1e12) {",
  },
  {
    name: "call a request back before its time",
    file: pending,
    from: "...bounds, due: startAt };",
    to: "...bounds, due: startAt - 10 };",
  },
  {
    name: "count the deadline of a request that begins later from when it came",
    file: pending,
    from: "pend(definition, options, { ...env, now: startAt })",
    to: "pend(definition, options, env)",
  },
  {
    name: "take the time in which nobody worked from a request that begins later",
    file: pending,
    from: "run.start?.at === undefined ? 0 : Math.max(0, at - run.start.at);",
    to: "0;",
  },
  {
    name: "forget in a checkpoint when a request begins",
    file: "packages/core/src/snapshot.ts",
    from: "startAt: run.start?.at,",
    to: "startAt: undefined,",
  },
  {
    name: "begin at once what another run starts later",
    file: "packages/engine/src/requests/posts.ts",
    from: "startAt === undefined ? { key, trace } : { key, trace, startAt }",
    to: "startAt === undefined ? { key, trace } : { key, trace }",
  },
  {
    name: "send a request to another node without its time",
    file: "packages/engine/src/delivery/remote-shard.ts",
    from: "        ...(startAt === undefined ? {} : { startAt }),\n",
    to: "",
    world: "cluster",
  },
  {
    name: "read a request from an inbox of Storm without its time",
    file: "packages/engine/src/delivery/offer.ts",
    from: "    ...(startAt === undefined ? {} : { startAt }),\n",
    to: "",
    world: "storm",
  },
];
