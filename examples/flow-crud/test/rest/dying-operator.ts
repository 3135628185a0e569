import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
import { SqliteFlowStore } from "../../src/controller/flow-store-sqlite.ts";
import type { StorePlace } from "./system.ts";

/**
 * Another process that gives a link more, and is killed when that is stored, before it has told anybody to look for whom it is:
 * `dying-operator.ts PLACE LINK BANDWIDTH`.
 */
const [place = "", link = "", bandwidth = ""] = process.argv.slice(2);
const at = JSON.parse(place) as StorePlace;
const store =
  "url" in at ? new PostgresFlowStore(at.url, { schema: at.schema }) : new SqliteFlowStore(at.path);
await store.changeLink(JSON.parse(link), { bandwidth: Number(bandwidth) });
process.kill(process.pid, "SIGKILL");
