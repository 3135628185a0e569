import type { RequestFilter } from "@wheelwork/engine";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { listStatements, nextAnsweredHub } from "../src/stores/sqlite-list.ts";
import { migrateSchema } from "../src/stores/sqlite-schema.ts";

/** A list costs as much as its page: no statement scans a table, or sorts what it has found. */

const statuses = [undefined, "running", "incident", "ended", "lost"] as const;
const filters: RequestFilter[] = statuses.flatMap((status) =>
  [undefined, "hub"].flatMap((hub) =>
    [undefined, { createdAt: 7, key: "k" }].map((before) => ({
      limit: 50,
      ...(status === undefined ? {} : { status }),
      ...(hub === undefined ? {} : { hub }),
      ...(before === undefined ? {} : { before }),
    })),
  ),
);

test.each(filters)("the list %o walks an index of its own rows", (filter) => {
  const db = new DatabaseSync(":memory:");
  migrateSchema(db, "memory");
  const statements = listStatements(filter, () => ["hub", "other"]);
  expect(statements.length).toBeGreaterThan(0);
  for (const { sql, values } of statements) {
    const plan = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values);
    expect(plan).toHaveLength(1);
    const [{ detail } = { detail: "" }] = plan;
    // A scan of an index that holds the rows of this list alone goes on to the end of the page.
    expect(detail).toMatch(/^(SEARCH|SCAN) (run|request) USING INDEX (run|request)_(listed|incident|lost)/);
    expect(/_hub \(hub=\?/.test(String(detail))).toBe(
      values.some((value) => value === "hub" || value === "other"),
    );
    expect(String(detail).includes("(created_at,key)<(?,?)")).toBe(filter.before !== undefined);
  }
  db.close();
});

test("the hubs of answered requests are found one by one in the index", () => {
  const db = new DatabaseSync(":memory:");
  migrateSchema(db, "memory");
  const [{ detail } = { detail: "" }] = db.prepare(`EXPLAIN QUERY PLAN ${nextAnsweredHub}`).all("");
  expect(detail).toMatch(/^SEARCH request USING (COVERING )?INDEX request_listed_hub \(hub>\?\)/);
  db.close();
});
