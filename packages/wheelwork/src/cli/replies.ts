/*
 * Whether a reply comes from a server of Wheelwork. A proxy answers with its login page, a port belongs to another program, a server is
 * much older. A command would print such a reply as what it was asked for, or stumble over it, so each reply is looked at first.
 */

/** A reply, and what was asked for. */
interface Asked {
  readonly method: string;
  readonly path: string;
  /** The media types that the request has asked for. */
  readonly accept: string;
  readonly status: number;
  /** The `Content-Type` of the reply. */
  readonly type: string | null;
  readonly body: unknown;
}

/** What the object of a reply has, by the path of the read. */
const members: readonly (readonly [path: RegExp, member: string])[] = [
  [/^\/requests$/, "requests"],
  [/^\/requests\/[^/]+$/, "id"],
  [/^\/requests\/[^/]+\/history$/, "events"],
  [/^\/counts$/, "count"],
  [/^\/incidents$/, "incidents"],
  [/^\/bulks$/, "bulks"],
  [/^\/bulks\/[^/]+$/, "id"],
  [/^\/bulks\/[^/]+\/items$/, "items"],
  [/^\/schedules$/, "schedules"],
  [/^\/schedules\/[^/]+$/, "name"],
  [/^\/hubs$/, "hubs"],
  [/^\/hubs\/[^/]+$/, "hub"],
  [/^\/lanes$/, "lanes"],
  [/^\/shards$/, "shards"],
  [/^\/dead-letters$/, "letters"],
  [/^\/(health|ready)$/, "ready"],
];

/** Why a reply that is no refusal cannot come from Wheelwork; undefined: it can. */
export function strangeReply({ method, path, accept, status, type, body }: Asked): string | undefined {
  const media = type?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  const asked = accept.split(",").map((one) => one.split(";", 1)[0]?.trim());
  if (status === 204) return undefined;
  if (!asked.includes(media)) return media === "" ? "has no Content-Type" : `is ${media}`;
  if (!/[/+]json$/.test(media)) return undefined;
  if (typeof body !== "object" || body === null || Array.isArray(body)) return "is not an object of JSON";
  const member = method === "GET" ? members.find(([of]) => of.test(path))?.[1] : undefined;
  return member === undefined || Object.hasOwn(body, member) ? undefined : `has no ${member}`;
}
