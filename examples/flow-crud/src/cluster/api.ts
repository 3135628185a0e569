import { toSvg } from "@wheelwork/diagram";
import { northbound, type ProtectOptions } from "@wheelwork/northbound";
import { flowRoutes, type ControllerParts } from "../rest/rest.ts";
import type { Part } from "./parts.ts";

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
