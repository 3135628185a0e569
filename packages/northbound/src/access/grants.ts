import { WheelworkError } from "@wheelwork/core";

/**
 * What somebody may do. A role, or a scope of its own:
 * - `reader` sees lists, states, histories and figures, and no payloads.
 * - `operator` is a reader who may also send commands to requests and schedules.
 * - `operator:HUB` is a reader who may also send commands to requests of that hub.
 * - `admin` is an operator who may also send requests to each hub, and read the audit list.
 * - `submitter:HUB` sends requests to that hub, sees them, and gets their answers. `submitter:*` stands for each hub.
 * - `payloads` makes those who may read see payloads too: requests, data, inputs, outcomes and answers. No role has it.
 */
export type Grant =
  "reader" | "operator" | "admin" | "payloads" | `operator:${string}` | `submitter:${string}`;

/** What a route needs. See `permissions`. */
export type Permission =
  | "nothing"
  | "known"
  | "read"
  | "operate"
  | "admin"
  | "look"
  | "answer"
  | "command"
  | "commandAll"
  | { readonly submitTo: string };

const roles = ["reader", "operator", "admin", "payloads"] as const;
/** A role may do what those of a lower rank may do. */
const ranks: { readonly [grant in Grant]?: number } = { reader: 1, operator: 2, admin: 3 };

/** Whether a text is a grant. */
export function isGrant(text: unknown): text is Grant {
  return (
    typeof text === "string" &&
    (roles.includes(text as never) || /^(?:submitter:[^\s,]+|operator:(?!\*$)[^\s,]+)$/.test(text))
  );
}

/** The grants in a list with commas between them. @throws WheelworkError WW_CONFIG when one is unknown. */
export function grantsIn(list: string): Grant[] {
  const texts = list.split(",").map((text) => text.trim());
  const problems = texts
    .filter((text) => !isGrant(text))
    .map((text) => ({ path: text, message: "is no role" }));
  if (problems.length > 0) {
    throw new WheelworkError("WW_CONFIG", "the roles are not valid", {
      problems,
      next: `Use ${roles.join(", ")} operator:HUB and submitter:HUB, with commas between them.`,
    });
  }
  return texts as Grant[];
}

/** Somebody who has shown who they are, or anybody at all. */
export interface Caller {
  /** Such as `token:ci`. undefined: nobody knows. */
  readonly name: string | undefined;
  /** Whether it may see payloads. */
  readonly payloads: boolean;
  /** Whether it sees requests to this hub, and their answers, since it may send them. */
  sends(hub: string): boolean;
  /** Whether it may send commands to requests of this hub. */
  operates(hub: string): boolean;
  /** Whether a route that needs this lets it in, whatever the hub of the request. */
  may(permission: Permission): boolean;
}

/** Everybody, where nobody is asked. */
export const anybody: Caller = {
  name: undefined,
  payloads: true,
  sends: () => true,
  operates: () => true,
  may: () => true,
};

/** Somebody who has not shown who it is, where that is asked. */
export const stranger: Caller = {
  name: undefined,
  payloads: false,
  sends: () => false,
  operates: () => false,
  may: (permission) => permission === "nothing",
};

/** The hubs that grants of a role name. */
const hubsIn = (grants: readonly Grant[], role: "operator" | "submitter"): string[] =>
  grants.flatMap((grant) => (grant.startsWith(`${role}:`) ? [grant.slice(role.length + 1)] : []));

/** A caller with these grants. */
export function caller(name: string, grants: readonly Grant[]): Caller {
  const operated = new Set(hubsIn(grants, "operator"));
  const least = operated.size > 0 ? 1 : 0;
  const rank = Math.max(least, ...grants.map((grant) => ranks[grant] ?? 0));
  const payloads = grants.includes("payloads");
  const hubs = new Set(hubsIn(grants, "submitter"));
  const sends = (hub: string): boolean => hubs.has("*") || hubs.has(hub);
  return {
    name,
    payloads,
    sends,
    operates: (hub) => rank >= 2 || operated.has(hub),
    may: (permission) => {
      if (typeof permission === "object") return rank >= 3 || sends(permission.submitTo);
      switch (permission) {
        case "nothing":
        case "known":
          return true;
        case "read":
        case "look":
          return rank >= 1;
        case "answer":
          return rank >= 1 && payloads;
        case "operate":
        case "command":
        case "commandAll":
          return rank >= 2;
        case "admin":
          return rank >= 3;
      }
    },
  };
}

/** What somebody lacks who may not use a route, for people. */
export function lacking(permission: Permission): string {
  if (typeof permission === "object") return `the role submitter:${permission.submitTo}`;
  switch (permission) {
    case "operate":
      return "the role operator";
    case "command":
      return "the role operator, or operator:HUB of the request's hub";
    case "commandAll":
      return "the role operator, or operator:HUB of each hub that is meant, which the filter must name";
    case "admin":
      return "the role admin";
    case "answer":
      return "the role reader with the scope payloads, or the role submitter of the hub";
    default:
      return "the role reader";
  }
}
