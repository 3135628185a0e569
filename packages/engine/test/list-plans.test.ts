import type { RequestList } from "@wheelwork/engine";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { listStatement } from "../src/stores/sqlite-facets.ts";
import { migrateSchema } from "../src/stores/sqlite-schema.ts";

/** A list costs as much as its page: no statement scans a table, or sorts what it has found. */

const orders = ["newest", "oldest"] as const;
const afters = [undefined, { createdAt: 7, key: "k" }, { createdAt: 7, key: "k", isIncluded: true }] as const;
const ranges = [undefined, { from: 3, to: 9 }] as const;

const lists: RequestList[] = orders.flatMap((order) =>
  afters.flatMap((after) =>
    ranges.map((createdAt) => ({
      limit: 50,
      order,
      ...(after === undefined ? {} : { after }),
      ...(createdAt === undefined ? {} : { createdAt }),
    })),
  ),
);

test.each(lists)("the list %o walks an index of its own rows", (list) => {
  const db = new DatabaseSync(":memory:");
  migrateSchema(db, "memory");
  for (const isLive of [true, false]) {
    const facet = { id: 1, hub: "h", status: isLive ? "running" : "ended", state: "S", root: true } as const;
    for (const label of [undefined, "tenant=acme"]) {
      const { sql, values } = listStatement({ facet: isLive ? facet : { ...facet, took: 3 }, label }, list);
      const plan = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values);
      expect(plan).toHaveLength(1);
      const [{ detail } = { detail: "" }] = plan;
      expect(detail).toMatch(
        label === undefined
          ? /^SEARCH (run|request) USING COVERING INDEX (run|request)_facet \(facet=\?/
          : /^SEARCH labelled USING PRIMARY KEY \(label=\? AND facet=\?/,
      );
      if (list.after === undefined && list.createdAt === undefined) continue;
      // Both bounds are those of the walk.
      const signs = list.createdAt !== undefined ? [">", "<"] : list.order === "newest" ? ["<"] : [">"];
      for (const sign of signs) expect(detail).toContain(`(created_at,key)${sign}`);
    }
  }
  db.close();
});
