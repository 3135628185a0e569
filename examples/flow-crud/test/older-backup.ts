/** What runs statements in a database. */
type Query = (sql: string) => Promise<readonly Record<string, unknown>[]>;

/** Keeps a copy of all tables of a schema beside it. The result puts it back in one transaction, as a restored backup does. */
export async function backUp(query: Query, schema: string): Promise<() => Promise<void>> {
  const rows = await query(
    `SELECT table_name AS name FROM information_schema.tables WHERE table_schema = '${schema}'`,
  );
  const tables = rows.map(({ name }) => String(name));
  const copy = (from: string, to: string): string =>
    tables.map((name) => `INSERT INTO ${to}.${name} SELECT * FROM ${from}.${name};`).join("\n");
  await query(
    `DROP SCHEMA IF EXISTS older CASCADE; CREATE SCHEMA older;
     ${tables.map((name) => `CREATE TABLE older.${name} (LIKE ${schema}.${name});`).join("\n")}
     ${copy(schema, "older")}`,
  );
  return async () => {
    await query(
      `BEGIN; SET LOCAL session_replication_role = replica;
       ${tables.map((name) => `DELETE FROM ${schema}.${name};`).join("\n")}
       ${copy("older", schema)}
       COMMIT`,
    );
  };
}
