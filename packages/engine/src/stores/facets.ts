import { beginOfFormerClass, facetName, type Activity, type Facet } from "../ports/filter.ts";
import type { StoredFacet } from "./counting.ts";
import type { RequestStatus } from "../ports/ports.ts";
import type { Row } from "./rows.ts";

/** The columns of the table `facet`, which together name a facet. What a facet lacks is empty, or -1. */
export const facetColumns = [
  "hub",
  "status",
  "activity",
  "state",
  "root",
  "outcome",
  "code",
  "took",
] as const;

/** What they hold of a facet. */
export function facetValues(facet: Facet): [string, string, string, string, number, string, string, number] {
  const { hub, status, activity = "", state, root, outcome = "", code = "", took = -1 } = facet;
  return [hub, status, activity, state, root ? 1 : 0, outcome, code, took];
}

/** A row of the table `facet`. */
export function storedFacetOf(row: Row): StoredFacet {
  const text = (name: string): string | undefined => (row[name] === "" ? undefined : String(row[name]));
  const took = Number(row["took"]);
  return {
    id: Number(row["id"]),
    hub: String(row["hub"]),
    status: row["status"] as RequestStatus,
    activity: text("activity") as Activity | undefined,
    state: String(row["state"]),
    root: Number(row["root"]) === 1,
    outcome: text("outcome") as Facet["outcome"],
    code: text("code"),
    took: took < 0 ? undefined : took,
  };
}

/** The facets that a store is known to have. There are few: hubs have so many states and errors. */
export class KnownFacets {
  readonly #ids = new Map<string, number>();
  readonly #facets = new Map<number, StoredFacet>();
  /** The one that was asked for last: most answers of a commit have the same. */
  #last: StoredFacet | undefined = undefined;

  /** @param like Facets that are known as well. */
  constructor(like?: KnownFacets) {
    for (const facet of like?.values() ?? []) this.add(facet);
  }

  idOf(facet: Facet): number | undefined {
    if (this.#last !== undefined && isSame(this.#last, facet)) return this.#last.id;
    const id = this.#ids.get(facetName(facet));
    if (id !== undefined) this.#last = this.#facets.get(id);
    return id;
  }

  get(id: number): StoredFacet | undefined {
    return this.#facets.get(id);
  }

  add(facet: StoredFacet): void {
    this.#ids.set(facetName(facet), facet.id);
    this.#facets.set(facet.id, facet);
  }

  values(): Iterable<StoredFacet> {
    return this.#facets.values();
  }
}

const isSame = (one: Facet, other: Facet): boolean =>
  one.hub === other.hub &&
  one.status === other.status &&
  one.activity === other.activity &&
  one.state === other.state &&
  one.root === other.root &&
  one.outcome === other.outcome &&
  one.code === other.code &&
  one.took === other.took;

/** The class that earlier versions gave a duration, in SQL: for the migration that makes facets. */
export const formerTookSql = (ms: string): string =>
  `CASE ${Array.from({ length: 21 }, (_, took) => `WHEN ${ms} < ${beginOfFormerClass(took + 1)} THEN ${took}`).join(" ")} ELSE 21 END`;

/** Whether a row of a facet is in the table `run`, and not in `request`. */
export const isLiveFacet = ({ took }: Facet): boolean => took === undefined;
