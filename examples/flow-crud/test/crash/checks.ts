import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Client, type Told } from "./client.ts";
import { until } from "./system.ts";
import { cookieOf } from "../../src/workers.ts";

/** Asks for each answer twice more, by its id and by its key: there is one, and it is one that can be true. */
export async function checkAnswers(url: string, told: readonly Told[]): Promise<string[]> {
  const client = new Client(url);
  const problems: string[] = [];
  await inParallel(told, async (request) => {
    await client.insist(request);
    await client.insist(request, "key");
    const { key, length, error, answers, status, cancelled, wrong } = request;
    const say = (problem: string): void =>
      void problems.push(`${key} (length ${length}, error ${error}) ${problem}`);
    wrong.forEach(say);
    if (answers.size !== 1) say(`has ${answers.size} answers: ${[...answers].join(" | ")}`);
    if (![200, 409, 502, 504].includes(status)) say(`has the answer ${[...answers].join()}`);
    if (status === 200 && error !== null) say("is up in spite of its error switch");
    if (status === 200 && cancelled) say("is up, though its cancel was accepted");
  });
  return problems;
}

interface HistoryEvent {
  readonly type: string;
  readonly at: string;
  readonly answer?: unknown;
  readonly error?: { readonly code: string };
}

/** What the network tells is a request as well, and so is what a schedule begins. No client knows them. */
const ofNobody: ReadonlySet<string> = new Set(["handle-event", "look-after-flows"]);

/** What the system says of its requests: those that the clients know and no other, all ended, each with that one answer. */
export async function checkRequests(url: string, told: readonly Told[]): Promise<string[]> {
  interface Page {
    readonly requests: readonly { readonly id: string; readonly hub: string; readonly status: string }[];
    readonly cursor?: string;
  }
  const problems: string[] = [];
  const get = async <T>(path: string): Promise<T> => (await (await fetch(`${url}${path}`)).json()) as T;
  await until("the end of every run", 240_000, async () => {
    const { requests } = await get<Page>("/requests?status=running&limit=1");
    return requests.length === 0;
  });
  // Five kills may meet the same attempt. Then the engine parks its run: it cannot know that the worker is not to blame.
  const { requests: parked } = await get<Page>("/requests?status=incident&limit=1000");
  for (const { id } of parked) {
    const { incident } = await get<{ incident?: { error: { code: string } } }>(`/requests/${id}`);
    if (incident?.error.code !== "WW_WORKER_DIED") continue;
    await fetch(`${url}/requests/${id}/retry`, {
      method: "POST",
      headers: { "idempotency-key": `retry-${id}` },
    });
    await until(`the end of ${id}`, 240_000, async () => {
      const { status } = await get<{ status: string }>(`/requests/${id}`);
      return status === "ended";
    });
  }
  const listed = new Set<string>();
  for (let next: string | undefined = ""; next !== undefined;) {
    const { requests, cursor }: Page = await get(`/requests?limit=1000${next}`);
    for (const { id, hub, status } of requests) {
      if (listed.has(id)) problems.push(`${id} is listed twice`);
      if (status !== "ended") problems.push(`${id} is ${status}`);
      if (!ofNobody.has(hub)) listed.add(id);
    }
    next = cursor === undefined ? undefined : `&cursor=${encodeURIComponent(cursor)}`;
  }
  const known = new Set(told.map(({ requestId = "" }) => requestId));
  if (known.size !== told.length) problems.push(`${told.length} keys have ${known.size} requests`);
  for (const id of listed) if (!known.has(id)) problems.push(`no client knows the request ${id}`);
  for (const id of known) if (!listed.has(id)) problems.push(`the request ${id} is not listed`);
  await inParallel(told, async ({ requestId: id, status }) => {
    const { answer } = await get<{ answer?: { kind: string } }>(`/requests/${id}`);
    if ((answer?.kind === "result") !== (status === 200))
      problems.push(`${id} was answered with ${status}, and is a ${answer?.kind}`);
    const events: HistoryEvent[] = [];
    for (let page: string | undefined = ""; page !== undefined;) {
      const part: { events: HistoryEvent[]; cursor?: string } = await get(`/requests/${id}/history${page}`);
      events.push(...part.events);
      page = part.cursor === undefined ? undefined : `?cursor=${part.cursor}`;
    }
    for (const problem of faultsOf(events, answer)) problems.push(`the history of ${id} ${problem}`);
  });
  return problems;
}

/** A history is one line: it begins once, ends once, answers once, and never goes back in time. */
function faultsOf(events: readonly HistoryEvent[], answer: unknown): string[] {
  const faults: string[] = [];
  const count = (type: string): number => events.filter((event) => event.type === type).length;
  if (events[0]?.type !== "started" || count("started") !== 1) faults.push("does not begin once");
  if (events.at(-1)?.type !== "ended" || count("ended") !== 1) faults.push("does not end once");
  if (events.some(({ type, error }) => type === "incident" && error?.code !== "WW_WORKER_DIED"))
    faults.push("has an incident");
  const answers = events.filter((event) => event.answer !== undefined);
  if (answers.length !== 1) faults.push(`has ${answers.length} answers`);
  if (JSON.stringify(answers[0]?.answer) !== JSON.stringify(answer)) faults.push("has another answer");
  if (events.some(({ at }, place) => at < (events[place - 1]?.at ?? ""))) faults.push("goes back in time");
  return faults;
}

/**
 * The files of the system, which is stopped: they are sound, and hold the rules and resources of the flows that are up,
 * and of those that failed nothing but what their answers name.
 */
export function checkFiles(
  data: string,
  told: readonly Told[],
): { readonly problems: string[]; readonly zombies: number } {
  const problems: string[] = [];
  const open = (name: string): DatabaseSync => {
    const db = new DatabaseSync(join(data, name), { readOnly: true });
    for (const { integrity_check: found } of db.prepare("PRAGMA integrity_check").all())
      if (found !== "ok") problems.push(`${name}: ${String(found)}`);
    return db;
  };
  open("wheelwork.db").close();
  const floodlight = open("floodlight.db");
  const rulesOf = readRules(floodlight);
  floodlight.close();
  const resources = open("resources.db");
  const allocationsOf = Map.groupBy(
    resources.prepare("SELECT request, meter FROM allocation").all(),
    ({ request }) => String(request),
  );
  const meters = resources
    .prepare("SELECT meter FROM allocation UNION ALL SELECT meter FROM free_meter")
    .all();
  problems.push(...checkMeters(meters.map(({ meter }) => Number(meter))));
  resources.close();

  let zombies = 0;
  for (const { requestId: id = "", status, length, answers } of told) {
    // A switch knows the request by its cookie.
    const cookie = cookieOf(id);
    const rules = rulesOf.get(cookie) ?? new Set();
    const allocations = allocationsOf.get(id)?.length ?? 0;
    rulesOf.delete(cookie);
    allocationsOf.delete(id);
    if (status === 200) {
      if (rules.size !== length) problems.push(`${id} is up with ${rules.size} of its ${length} rules`);
      if (allocations !== 1) problems.push(`${id} is up with ${allocations} allocations`);
      continue;
    }
    const named = detailsOf(answers);
    const secret = [...rules].filter((rule) => !named.zombies.includes(rule));
    zombies += rules.size;
    if (secret.length > 0) problems.push(`${id} failed, and left the rules ${secret.join()} without a word`);
    if (allocations > 0 && named.resourcesReleased)
      problems.push(`${id} failed, and left ${allocations} allocations without a word`);
  }
  for (const id of rulesOf.keys()) problems.push(`the switches have rules of ${id}, which no client knows`);
  for (const id of allocationsOf.keys()) problems.push(`${id}, which no client knows, has resources`);
  return { problems, zombies };
}

/** The rules on the switches, by request. */
export function readRules(floodlight: DatabaseSync): Map<string, Set<number>> {
  const rulesOf = new Map<string, Set<number>>();
  for (const { key } of floodlight.prepare("SELECT key FROM rule").iterate()) {
    const [request = "", ruleid] = String(key).split("-");
    const rules = rulesOf.get(request);
    if (rules === undefined) rulesOf.set(request, new Set([Number(ruleid)]));
    else rules.add(Number(ruleid));
  }
  return rulesOf;
}

/** What is wrong with the meters that are held or free: each up to the highest must be there once. */
export function checkMeters(meters: readonly number[]): string[] {
  const distinct = new Set(meters).size;
  const highest = meters.reduce((most, meter) => Math.max(most, meter), 0);
  if (meters.length === distinct && meters.length === highest) return [];
  return [`of ${highest} meters ${meters.length} are held or free, ${distinct} different ones`];
}

/** What the one answer of a flow that failed says that it left behind. */
function detailsOf(answers: ReadonlySet<string>): {
  readonly zombies: readonly number[];
  readonly resourcesReleased: boolean;
} {
  const [answer = "{}"] = answers;
  const { details } = JSON.parse(answer.slice(answer.indexOf("{"))) as {
    details?: { zombies: number[]; resourcesReleased: boolean };
  };
  return details ?? { zombies: [], resourcesReleased: true };
}

async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values();
  const one = async (): Promise<void> => {
    for (const item of rest) await work(item);
  };
  await Promise.all(Array.from({ length: 8 }, one));
}
