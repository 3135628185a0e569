// What the engines run that are killed: operations that exclude one another, runs that start others and signal them, a schedule.
import { answered, end, hub, spoke, stay, type WhenBusy } from "@wheelwork/core";
import { schedule, worker, type Schedule, type Worker } from "@wheelwork/engine";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";

const request = z.object({
  id: z.string(),
  key: z.string(),
  ms: z.number(),
  /** The key of the ledger that is told of it. */
  ledger: z.string(),
  /** The work goes on until there is a file of this name. */
  gate: z.string().optional(),
});
const nothing = z.object({});
const did = z.object({ of: z.string(), step: z.number() });

const work = spoke("work", {
  input: request.extend({ lane: z.string() }),
  output: z.object({ fence: z.number() }),
  timeoutMs: 10_000,
  retry: { attempts: "unlimited", backoffMs: 10 },
});

/** What each operation starts when it has worked, and what each tick starts. */
const note = hub(
  "note",
  {
    request: z.object({ of: z.string() }),
    reply: z.object({ of: z.string() }),
    deadlineMs: 60_000,
    chart: { Done: end },
    data: (given) => given,
  },
  { Done: (data) => data },
);

/** It lives for ever, and is told of some operations. */
const ledger = hub(
  "ledger",
  {
    request: nothing,
    reply: nothing,
    deadlineMs: 60_000,
    cancel: "Closed",
    signals: { did },
    chart: {
      Opening: { Next: "Open" },
      Open: { Did: stay, Closed: "Closed" },
      Closed: end,
    },
    data: () => ({ did: [] as readonly z.infer<typeof did>[] }),
    view: (data) => data.did,
  },
  {
    Opening: (s) => s.answer(() => ({}), { next: "Next" }),
    Open: (s) =>
      s.wait({ on: { did: (data, one) => s.raise("Did", { did: [...data.did, one] }) }, idle: true }),
    Closed: answered,
  },
);

/** What a run did: requests that joined it have its answer. */
const nameOf = ({ id, fence }: { readonly id: string; readonly fence: number }): string => `${id}#${fence}`;

const operation = (name: string, lane: string, whenBusy: WhenBusy, slots = 1) =>
  hub(
    name,
    {
      request,
      reply: z.object({ id: z.string(), fence: z.number() }),
      errors: ["failed"],
      deadlineMs: 600_000,
      deadline: "Failed",
      exclusive: { lane, by: ({ key }) => key, whenBusy, slots },
      chart: {
        Working: { Worked: "Noting", Failed: "Failed" },
        Noting: { Noted: "Opening" },
        Opening: { Opened: "Telling" },
        Telling: { Told: "TellingMore" },
        TellingMore: { Told: "Done" },
        Done: end,
        Failed: end,
      },
      data: (given) => ({ ...given, fence: 0 }),
    },
    {
      // A run that is replaced has ended when its work has: so no worker of its lane is late.
      Working: (s) =>
        s.each(work, {
          inputs: (data) => [{ ...data, lane }],
          ok: (_data, { fence }) => s.raise("Worked", { fence }),
          failed: "Failed",
          done: "Worked",
          drain: true,
        }),
      Noting: (s) =>
        s.start(note, {
          input: (data) => ({ of: nameOf(data) }),
          key: (data) => `note-${nameOf(data)}`,
          next: "Noted",
        }),
      // Whoever comes first opens it.
      Opening: (s) => s.start(ledger, { input: () => ({}), key: (data) => data.ledger, next: "Opened" }),
      Telling: (s) =>
        s.signalRun(ledger, {
          id: (data) => data.ledger,
          signal: "did",
          payload: (data) => ({ of: nameOf(data), step: 1 }),
          next: "Told",
        }),
      TellingMore: (s) =>
        s.signalRun(ledger, {
          id: (data) => data.ledger,
          signal: "did",
          payload: (data) => ({ of: nameOf(data), step: 2 }),
          next: "Told",
        }),
      Done: ({ id, fence }) => ({ id, fence }),
      Failed: (_data, s) => s.fail("failed", "it was replaced, or its time is over"),
    },
  );

const create = operation("create", "single", "queue");

/** Two operations, each in a lane of its own: in a cluster, at least one of them is in another shard than this. */
const pair = hub(
  "pair",
  {
    request,
    reply: z.object({ did: z.array(z.object({ id: z.string(), fence: z.number() })) }),
    errors: ["failed"],
    deadlineMs: 600_000,
    deadline: "Failed",
    exclusive: { lane: "pair", by: ({ key }) => key, slots: 3, whenBusy: "queue" },
    chart: { Calling: { One: stay, All: "Done", Failed: "Failed" }, Done: end, Failed: end },
    data: (given) => ({ ...given, did: [] as readonly { readonly id: string; readonly fence: number }[] }),
  },
  {
    Calling: (s) =>
      s.each(create, {
        inputs: ({ id, ms, ledger: told }) =>
          ["a", "b"].map((key) => ({ id: `${id}-${key}`, key, ms, ledger: told })),
        ok: (data, one) => s.raise("One", { did: [...data.did, one] }),
        failed: "Failed",
        done: "All",
      }),
    Done: (data) => ({ did: [...data.did] }),
    Failed: (_data, s) => s.fail("failed", "its time is over"),
  },
);

export const hubs = [
  create,
  pair,
  operation("update", "single", "latest"),
  operation("reroute", "single", "replace"),
  operation("verify", "single", "join"),
  operation("ping", "single", "refuse"),
  operation("report", "double", "queue", 2),
  note,
  ledger,
];

/** How many may work in each lane at the same time. */
export const slots: Readonly<Record<string, number>> = { single: 1, double: 2 };

/** One that ticks each second or so, and one that somebody operates. */
export const schedulesOf = (everyMs: number, version = 1): readonly Schedule[] => [
  schedule("tick", { everyMs, version, catchUp: "all", hub: note, request: ({ at }) => ({ of: `${at}` }) }),
  schedule("tock", { cron: "* * * * * *", hub: note, request: ({ at }) => ({ of: `${at}` }) }),
];

/** Where a worker writes: a log of all work, and a file for all that is under way, since its process may be killed. */
const openFolder = (workLog: string): string => `${workLog}.open`;

/** Lets the work go on that waits for a gate. */
export const openGate = (workLog: string, gate: string): void =>
  writeFileSync(join(openFolder(workLog), gate), "");

export function prepareWorkLog(workLog: string): void {
  mkdirSync(openFolder(workLog), { recursive: true });
  writeFileSync(workLog, "");
}

/** Whether a process runs. Nobody may have asked yet for one that was killed. */
function isAlive(pid: string): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

/** Each attempt writes a line when it begins: its lane, its fence, its operation, and the others of its lane that are under way. */
export function workersOf(workLog: string): Worker[] {
  const folder = openFolder(workLog);
  let files = 0;
  return [
    worker(work, async ({ id, lane, key, ms, gate }, { fence = 0 }) => {
      const place = `${lane}~${key}~`;
      const mine = `${place}${id}~${process.pid}~${++files}`;
      // First its file, and then a look at the others: of two that overlap, one sees the other.
      writeFileSync(join(folder, mine), "");
      const others = readdirSync(folder)
        .filter((name) => name.startsWith(place) && name !== mine && isAlive(name.split("~")[3] ?? ""))
        .map((name) => name.split("~")[2] ?? "")
        // An attempt that has timed out is made again.
        .filter((other) => other !== id);
      appendFileSync(workLog, `${lane}/${key} ${fence} ${id} ${others.join(",")}\n`);
      const mayEnd = (): boolean => gate === undefined || existsSync(join(folder, gate));
      do await sleep(ms);
      while (!mayEnd());
      rmSync(join(folder, mine));
      return { fence };
    }),
  ];
}
