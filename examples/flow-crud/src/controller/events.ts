import { end, hub, stay } from "wheelwork";
import { EventReply, HandleEvent, RestoreFlows, RestoreReply } from "./requests.ts";
import type { OperationHubs } from "./operations.ts";
import type { ControllerSpokes } from "./spokes.ts";
import type { NetworkEvent } from "./store.ts";

/** How long the reroutes of one event may take: a flow may wait for its turn behind other operations. */
const restoreMs = 600_000;

/** Reroutes of one event that run at the same time. */
const restoresAtOnce = 50;

/** What an event is about: events of the same thing follow one another. */
function subjectOf(event: NetworkEvent): string {
  if (event.kind === "switch") return `switch ${event.switchId}`;
  if (event.kind === "port") return `port ${event.switchId} ${event.port}`;
  const ends = [`${event.from} ${event.fromPort}`, `${event.to} ${event.toPort}`].toSorted();
  return `link ${ends.join(" ")}`;
}

/** What has happened, for people. */
export function textOfEvent(event: NetworkEvent): string {
  if (event.kind === "switch")
    return `switch ${event.switchId} is ${event.isConnected ? "connected" : "away"}`;
  if (event.kind === "port")
    return `port ${event.port} of switch ${event.switchId} is ${event.isUp ? "up" : "down"}`;
  const link = `${event.from}:${event.fromPort} to ${event.to}:${event.toPort}`;
  return `the link from ${link} ${event.isUp ? "is there" : "has failed"}`;
}

/** Makes the hubs for what happens in the network. */
export function eventHubs(spokes: ControllerSpokes, { restore }: Pick<OperationHubs, "restore">) {
  /**
   * Reroutes all flows that something concerns, those that matter most first. Each waits for its turn in the lane of its flow, so none is
   * lost while another operation runs; if a newer event asks for the same flow meanwhile, that one stands for both.
   */
  const restoreFlows = hub(
    "restore-flows",
    {
      request: RestoreFlows,
      reply: RestoreReply,
      deadlineMs: restoreMs,
      deadline: "Next",
      labels: ({ reason }) => ({ reason: reason.slice(0, 100) }),
      chart: { Restoring: { Settled: stay, Next: "Done" }, Done: end },
      data: ({ flows, reason }) => ({ flows, reason, restored: 0, failed: 0, left: 0 }),
      view: ({ flows, restored, failed, left }) => ({ flows: flows.length, restored, failed, left }),
    },
    {
      Restoring: (s) =>
        s.each(restore, {
          inputs: ({ flows, reason }) => flows.map((flowId) => ({ flowId, reason })),
          limit: restoresAtOnce,
          ok: (data) => s.raise("Settled", { restored: data.restored + 1 }),
          failed: (data, failure) =>
            failure.kind === "error" && (failure.code as string) === "WW_REPLACED"
              ? s.raise("Settled", { left: data.left + 1 })
              : s.raise("Settled", { failed: data.failed + 1 }),
          done: "Next",
        }),
      Done: ({ restored, failed, left }) => ({ restored, failed, left }),
    },
  );

  /** Notes what has happened, and starts the reroutes that follow from it. Both come true once it is accepted. */
  const handleEvent = hub(
    "handle-event",
    {
      request: HandleEvent,
      reply: EventReply,
      errors: ["not-noted"],
      deadlineMs: 86_400_000,
      deadline: "GaveUp",
      exclusive: { lane: "network", by: ({ event }) => subjectOf(event), whenBusy: "queue" },
      labels: ({ event }) => ({ subject: subjectOf(event) }),
      chart: {
        Noting: { Noted: "Starting", GaveUp: "NotNoted" },
        Starting: { Started: "Done" },
        Done: end,
        NotNoted: end,
      },
      data: ({ event }) => ({ event, flows: [] as string[] }),
    },
    {
      Noting: (s) =>
        s.call(spokes.note, {
          input: ({ event }) => ({ event: event as NetworkEvent }),
          ok: (_data, { flows }) => s.raise("Noted", { flows: [...flows] }),
          failed: "GaveUp",
        }),
      Starting: (s) =>
        s.start(restoreFlows, {
          input: ({ flows, event }) =>
            flows.length === 0 ? null : { flows: [...flows], reason: textOfEvent(event as NetworkEvent) },
          next: "Started",
        }),
      Done: ({ flows }) => ({ concerned: flows.length }),
      NotNoted: (_data, s) => s.fail("not-noted", "the database could not be written for a day"),
    },
  );
  return { handleEvent, restoreFlows };
}
