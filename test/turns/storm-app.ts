// The same on Storm: the module of the topology.
import type { Channel } from "@wheelwork/engine/cluster";
import type { StormApp, StormConfig } from "@wheelwork/storm/parts";
import { hubs, schedulesOf, workersOf } from "./app.ts";

/** What the topology is submitted with, besides its addresses. */
export interface StormTurns {
  readonly workLog: string;
  /** The times of its schedule, and their version. */
  readonly everyMs: number;
  readonly version: number;
}

export const channel: Channel = {
  name: "creates",
  from: "turns-requests",
  to: "turns-answers",
  hub: "create",
  request: ({ value }) => JSON.parse(value) as unknown,
  answer: (answer) => ({ value: JSON.stringify(answer) }),
};

export default function open({ app }: StormConfig): StormApp {
  const { workLog, everyMs, version } = app as StormTurns;
  return { hubs, workers: workersOf(workLog), channels: [channel], schedules: schedulesOf(everyMs, version) };
}
