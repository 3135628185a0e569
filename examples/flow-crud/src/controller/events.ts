import { end, hub } from "wheelwork";
import { EventReply, HandleEvent, LookAfterFlows, RestoreFlows, RestoreReply } from "./requests.ts";
import { lookAfter, type OperationHubs } from "./operations.ts";
import type { ControllerSpokes } from "./spokes.ts";
import { subjectOf, type NetworkEvent } from "./store.ts";

/** How long the start of all reroutes of one event may take. */
const restoreMs = 600_000;

/** So many reroutes of one event start at once, and then others so many milliseconds later: they need what other operations need, too. */
const [restoresAtOnce, restMs] = [50, 50];

/** How long one run looks after flows. The next tick of its schedule begins another one. */
const lookAfterMs = 600_000;

/** The most flows that are looked at again at once. */
const mostDue = 200;

/** Why flows are rerouted that nothing in the network concerns just now. */
const reasons: Readonly<Record<"due" | "freed", string>> = {
  due: "it was to be looked at again",
  freed: "others have given back what it lacks",
};

/** How soon automatic reroutes are made again. */
export interface RestoreOptions {
  /** How long after an automatic reroute has failed the next one follows, in milliseconds. Default 1,000. It doubles with each try. */
  readonly againMs?: number;
  /** The longest pause between two of them, in milliseconds. Default 300,000. */
  readonly maxAgainMs?: number;
  /**
   * How long a reroute or another operation may take until somebody looks what has become of it, in milliseconds. Default 60,000. It doubles, too.
   */
  readonly patienceMs?: number;
}

/** What has happened, for people. */
function textOfEvent(event: NetworkEvent): string {
  if (event.kind === "switch")
    return `switch ${event.switchId} is ${event.isConnected ? "connected" : "away"}`;
  if (event.kind === "port")
    return `port ${event.port} of switch ${event.switchId} is ${event.isUp ? "up" : "down"}`;
  const link = `${event.from}:${event.fromPort} to ${event.to}:${event.toPort}`;
  return `the link from ${link} ${event.isUp ? "is there" : "has failed"}`;
}

/** Makes the hubs for what happens in the network. */
export function eventHubs(
  spokes: ControllerSpokes,
  { restore }: Pick<OperationHubs, "restore">,
  { againMs = 1_000, maxAgainMs = 300_000, patienceMs = 60_000 }: RestoreOptions = {},
) {
  /**
   * Reroutes all flows that something concerns, those that matter most first. Each waits for its turn in the lane of its flow, so none is
   * lost while another operation runs; if a newer event asks for the same flow meanwhile, that one stands for both.
   *
   * The reroutes are requests of their own: lists, counts and the history of a flow show them, and each can be cancelled.
   */
  const restoreFlows = hub(
    "restore-flows",
    {
      request: RestoreFlows,
      reply: RestoreReply,
      deadlineMs: restoreMs,
      deadline: "Over",
      labels: ({ reason }) => ({ reason: reason.slice(0, 100) }),
      chart: {
        Choosing: { More: "Starting", Enough: "Resting", Over: "Done" },
        Starting: { Started: "Choosing" },
        Resting: { Rested: "Choosing", Over: "Done" },
        Done: end,
      },
      data: ({ flows, reason }) => ({ flows, reason, started: 0, rested: 0 }),
      view: ({ flows, started }) => ({ flows: flows.length, started }),
    },
    {
      Choosing: (s) =>
        s.pick(({ flows, started, rested }) => {
          if (started === flows.length) return "Over";
          if (started - rested >= restoresAtOnce) return s.raise("Enough", { rested: started });
          return s.raise("More", { started: started + 1 });
        }),
      Starting: (s) =>
        s.start(restore, {
          input: ({ flows, started, reason }) => ({ flowId: flows[started - 1] as string, reason }),
          next: "Started",
        }),
      Resting: (s) => s.wait({ after: { Rested: restMs } }),
      Done: ({ started }) => ({ started }),
    },
  );

  /**
   * Reroutes flows again, whose reroutes have failed or are overdue, or for which others have given back what they lack, for as long as there
   * are some. What is due is in the store of flows, and
   * ends there with an operation that ends well. So nothing is lost with a run, and there is one reroute at a time of each flow, with a pause
   * that doubles.
   */
  const lookAfterFlows = hub(
    lookAfter,
    {
      request: LookAfterFlows,
      reply: RestoreReply,
      deadlineMs: lookAfterMs,
      deadline: "Over",
      exclusive: { lane: lookAfter, by: () => "all", whenBusy: "join" },
      chart: {
        Looking: { Due: "Starting", Later: "Resting", Over: "Done" },
        Starting: { Started: "Resting" },
        Resting: { Rested: "Looking", Over: "Done" },
        Done: end,
      },
      version: 2,
      migrate: { 1: ({ state, data }) => ({ state, data: { ...data, reason: reasons.due } }) },
      data: () => ({ flows: [] as string[], reason: reasons.due, nextInMs: 0, started: 0 }),
      view: ({ started }) => ({ started }),
    },
    {
      Looking: (s) =>
        s.call(spokes.takeDue, {
          input: () => ({ limit: mostDue, firstMs: againMs, mostMs: maxAgainMs, patienceMs }),
          ok: ({ started }, { flows: due, freed, nextInMs }) => {
            const flows = [...due, ...freed];
            const reason = due.length > 0 ? reasons.due : reasons.freed;
            if (flows.length > 0)
              return s.raise("Due", { flows, reason, nextInMs: 0, started: started + flows.length });
            return nextInMs === null ? s.raise("Over") : s.raise("Later", { nextInMs });
          },
          failed: "Over",
        }),
      Starting: (s) =>
        s.start(restoreFlows, {
          input: ({ flows, reason }) => ({ flows: [...flows], reason }),
          next: "Started",
        }),
      // It may be due sooner: a reroute fails meanwhile.
      Resting: (s) =>
        s.wait({ after: { Rested: ({ nextInMs }) => Math.min(Math.max(nextInMs, againMs), 5 * againMs) } }),
      Done: ({ started }) => ({ started }),
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
        Starting: { Started: "Following" },
        Following: { Started: "Done" },
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
      Following: (s) =>
        s.start(lookAfterFlows, {
          input: ({ flows }) => (flows.length === 0 ? null : {}),
          next: "Started",
        }),
      Done: ({ flows }) => ({ concerned: flows.length }),
      NotNoted: (_data, s) => s.fail("not-noted", "the database could not be written for a day"),
    },
  );
  return { handleEvent, restoreFlows, lookAfterFlows };
}
