import { toSvg } from "@wheelwork/diagram";
import { kafka, kafkaSecurity } from "@wheelwork/kafka";
import { northbound, type ProtectOptions } from "@wheelwork/northbound";
import { postgresPool, postgresStore } from "@wheelwork/postgres";
import { createClient } from "wheelwork/cluster";
import { createController } from "../controller/controller.ts";
import { PostgresFlowStore } from "../controller/flow-store-postgres.ts";
import { flowCreateHub } from "../hub.ts";
import { flowRoutes, type ControllerParts } from "../rest/rest.ts";
import { flowCreateService } from "../service.ts";
import type { ClusterPlace, Part } from "./parts.ts";

/** Where flows are served over HTTP, and to whom. */
export type ApiOptions = ProtectOptions & { readonly port: number; readonly host: string };

/**
 * Serves the life of flows over HTTP, as `npm start` does, with all that Northbound offers besides. Any node may be asked, about any flow.
 * @throws The error of the system, such as EADDRINUSE. WheelworkError WW_CONFIG or WW_INSECURE.
 */
export async function serveFlows(
  parts: ControllerParts,
  { port, host, ...access }: ApiOptions,
): Promise<Part & { readonly url: string }> {
  const { engine, logger } = parts;
  const app = await northbound({
    engine,
    routes: [],
    extra: flowRoutes(parts),
    diagram: (hub, history) => toSvg(hub, { history }),
    info: { title: "Wheelwork: flow-crud", version: "1" },
    ...(logger === undefined ? {} : { logger }),
    ...access,
  });
  try {
    return { url: await app.listen({ port, host }), close: () => app.close() };
  } catch (error) {
    await app.close();
    throw error;
  }
}

/**
 * Serves flows over HTTP, and does none of the work: for a topology of Storm, or beside the nodes of a cluster.
 * @param inbox The topic of the inboxes of the shards.
 * @param schema That of the shards in the database. Default: that of a cluster.
 */
export async function startApi(
  place: ClusterPlace,
  { inbox, schema, api }: { readonly inbox: string; readonly schema?: string; readonly api: ApiOptions },
): Promise<Part & { readonly url: string }> {
  const { brokers, databaseUrl, flowSchema, shards, logger } = place;
  const bus = kafka({ brokers, clientId: "api", ...kafkaSecurity() });
  const pool = postgresPool({
    connectionString: databaseUrl,
    ...(schema === undefined ? {} : { schema }),
  });
  const flowStore = new PostgresFlowStore(
    databaseUrl,
    flowSchema === undefined ? {} : { schema: flowSchema },
  );
  const controller = createController();
  const engine = createClient({
    hubs: [flowCreateHub(), flowCreateService(), ...controller.all],
    shards,
    inbox,
    store: (shard) => postgresStore({ pool, shard, shards }),
    log: bus,
  });
  const close = async (): Promise<void> => {
    await engine.stop();
    await bus.close();
    await Promise.all([pool.close(), flowStore.close()]);
  };
  try {
    await engine.start();
    const served = await serveFlows({ engine, hubs: controller.hubs, store: flowStore, logger }, api);
    return {
      url: served.url,
      close: async () => {
        await served.close();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
