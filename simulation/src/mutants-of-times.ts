import type { Mutant } from "./mutant.ts";

const schedules = "packages/engine/src/schedules/hub.ts";
const ticks = "packages/engine/src/schedules/ticks.ts";
const scheduleCommands = "packages/engine/src/requests/schedules.ts";
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
    name: "tick while a schedule is paused",
    file: schedules,
    from: "  const next = data.paused === true ? undefined : upcoming(data);",
    to: "  const next = upcoming(data);",
  },
  {
    name: "make up for the ticks of a pause",
    file: schedules,
    from: "patch: { paused: undefined, last: Math.max(data.last, now) } }",
    to: "patch: { paused: undefined } }",
  },
  {
    name: "forget all but one of the requests that somebody has asked for",
    file: schedules,
    from: "const others = triggers.length > 0 ? triggers : undefined;",
    to: "const others = undefined;",
  },
  {
    name: "leave out the first tick of a backfill",
    file: schedules,
    from: "after: payload.from - 1, to:",
    to: "after: payload.from + 4_000, to:",
  },
  {
    name: "fill in one tick only",
    file: schedules,
    from: "fills: [{ after: at, to: fill.to }, ...later] },",
    to: "fills: later },",
  },
  {
    name: "fill in what is to come",
    file: schedules,
    from: "to: Math.min(payload.to, now) };",
    to: "to: payload.to };",
  },
  {
    name: "forget a backfill when another one comes",
    file: schedules,
    from: "patch: { fills: [...(data.fills ?? []), fill] } };",
    to: "patch: { fills: [fill] } };",
  },
  {
    name: "do not bring back a schedule that was removed",
    file: schedules,
    from: 'if (name !== "deploy") return { raise: "Stay" };',
    to: 'return { raise: "Stay" };',
  },
  {
    name: "give each sending of a command to a schedule an id of its own",
    file: scheduleCommands,
    from: "    const id = commandIdOf(options);",
    to: "    const id = commandIdOf({});",
  },
  {
    name: "tick at local times that come twice each time",
    file: ticks,
    from: "  return !/^[*?]/.test(hours);",
    to: "  return hours === undefined;",
  },
  {
    name: "take the second one of a local time that comes twice",
    file: ticks,
    from: "return local - Math.max(...found);",
    to: "return local - Math.min(...found);",
  },
  {
    name: "tick at a local time that is left out as if the clocks had not changed",
    file: ticks,
    from: "    if (offsetAt(timeZone, middle) === before) from = middle;",
    to: "    if (from < 0) from = middle;",
  },
  {
    name: "make up for a local time once more when clocks have gone back",
    file: ticks,
    from: "  const ahead = Math.max(offsetAt(timeZone, upTo), offsetAt(timeZone, upTo - dayMs));",
    to: "  const ahead = offsetAt(timeZone, upTo);",
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
  {
    name: "let the clock of a host count alone at a claim",
    file: "packages/engine/src/shard/engine-time.ts",
    from: "earlierOf(this.#clock.wallMs(), serverMs);",
    to: "earlierOf(this.#clock.wallMs());",
  },
  {
    name: "let the later of two clocks count at a claim",
    file: "packages/engine/src/shard/engine-time.ts",
    from: "Math.floor(Math.min(wallMs, serverMs));",
    to: "Math.floor(serverMs === Number.POSITIVE_INFINITY ? wallMs : Math.max(wallMs, serverMs));",
    world: "cluster",
  },
  {
    name: "time out what a commit that hangs has decided",
    file: "packages/engine/src/shard/deadlines.ts",
    from: "const to = commit?.isSlow === true ? commit.since : now;",
    to: "const to = now;",
  },
  {
    name: "take inputs into a batch whatever they weigh",
    file: "packages/engine/src/shard/pipeline.ts",
    from: "return intake.take(count, residency.isSweeping ? maxBatchBytes / 4 : maxBatchBytes);",
    to: "return intake.take(count);",
    world: "sizes",
  },
];
