import type { FastifyInstance } from "fastify";
import { FlowId } from "../controller/model.ts";
import * as told from "./documents.ts";
import { FlowProblem } from "./errors.ts";
import type { FlowReader } from "./flow-reader.ts";
import type { Point } from "./network-layout.ts";
import { networkSvg, placesOf, type NetworkPicture } from "./network-svg.ts";
import type { ControllerParts } from "./operations.ts";
import { linkV1, pathOfRole, pathsOfFlow, statusText, switchV1, type ShownFlow } from "./views.ts";

/** So many switches are drawn at most: beyond it, nobody could read the picture. */
const maxSwitches = 1000;

interface PictureQuery {
  readonly flow?: string | readonly string[];
  readonly limit: number;
}

const pictureQuery = {
  type: "object",
  properties: {
    flow: {
      anyOf: [
        { type: "array", items: { type: "string", maxLength: 100 }, maxItems: 100 },
        { type: "string", maxLength: 100 },
      ],
      description: "Show these flows only.",
    },
    limit: {
      type: "integer",
      minimum: 0,
      maximum: 100,
      default: 24,
      description: "How many flows to show: those that are not up first.",
    },
  },
  additionalProperties: false,
} as const;

/** Nothing is loaded; the picture has styles of its own. */
const pictureHeaders = {
  "content-security-policy":
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'; sandbox",
};

/** Adds `/network.svg` and `/network.json`: switches and links, with flows drawn over them. */
export function routePicture(app: FastifyInstance, parts: ControllerParts, reader: FlowReader): void {
  const placesFor = keptPlaces();
  const text = {
    tag: "network",
    permission: "read",
    failure: "Could not draw the network",
    isLarge: true,
  } as const;
  const responses = { ...told.notFound, 422: told.unreadable };

  const svgRoute = told.routeOf(
    {
      ...text,
      summary: "Draw the network with its flows",
      operationId: "drawNetwork",
      result: { type: "string" },
      mediaType: "image/svg+xml",
      responses,
    },
    { querystring: pictureQuery },
  );
  app.get<{ Querystring: PictureQuery }>("/network.svg", svgRoute, async ({ query }, reply) => {
    const picture = await pictureOf(parts, reader, query);
    return reply
      .headers(pictureHeaders)
      .type("image/svg+xml; charset=utf-8")
      .send(networkSvg(picture, placesFor(picture)));
  });

  const jsonRoute = told.routeOf(
    {
      ...text,
      summary: "Get what the picture of the network shows, with the places of the switches",
      operationId: "getNetwork",
      result: told.networkSchema,
      responses,
    },
    { querystring: pictureQuery },
  );
  app.get<{ Querystring: PictureQuery }>("/network.json", jsonRoute, async ({ query }, _reply) => {
    const picture = await pictureOf(parts, reader, query);
    const places = placesFor(picture);
    return {
      switches: picture.switches.map((one) => ({ ...switchV1(one), ...places.get(one.switchId) })),
      links: picture.links.map(linkV1),
      flows: picture.flows.map(flowOf),
      more_flows: picture.moreFlows,
    };
  });
}

const flowOf = (flow: ShownFlow): object => ({
  ...pathsOfFlow(flow, []),
  status: statusText(flow.status),
  has_main_path: pathOfRole(flow.paths, "main") !== undefined,
});

/** Keeps the places of the last network: they take time, and change only with its switches and links. */
function keptPlaces(): (picture: NetworkPicture) => ReadonlyMap<string, Point> {
  let last: { readonly key: string; readonly places: ReadonlyMap<string, Point> } | undefined;
  return (picture) => {
    const key = JSON.stringify([
      picture.switches.map(({ switchId }) => switchId).toSorted(),
      picture.links.map(({ from, to }) => `${from} ${to}`).toSorted(),
    ]);
    if (last?.key !== key) last = { key, places: placesOf(picture) };
    return last.places;
  };
}

async function pictureOf(
  { store }: ControllerParts,
  reader: FlowReader,
  { flow: wanted, limit }: PictureQuery,
): Promise<NetworkPicture> {
  const [switches, links, counts] = await Promise.all([store.switches(), store.links(), store.counts()]);
  if (switches.length > maxSwitches) {
    const detail = `The network has ${switches.length} switches, and a picture shows ${maxSwitches} at most`;
    throw new FlowProblem(422, detail);
  }
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const flows = wanted === undefined ? await worstFirst(reader, limit) : await named(reader, [wanted].flat());
  return { switches, links, flows, moreFlows: Math.max(0, total - flows.length) };
}

/** Flows that are not up, and then others, each in the order of their ids. */
async function worstFirst(reader: FlowReader, limit: number): Promise<readonly ShownFlow[]> {
  const found: ShownFlow[] = [];
  for (const status of ["DOWN", "DEGRADED", "IN_PROGRESS", "UP"]) {
    if (found.length >= limit) break;
    found.push(...(await reader.flows({ status, limit: limit - found.length })));
  }
  return found;
}

async function named(reader: FlowReader, ids: readonly string[]): Promise<readonly ShownFlow[]> {
  const unique = [...new Set(ids)].filter((id) => FlowId.safeParse(id).success).toSorted();
  return Promise.all(unique.map((id) => reader.flow(id)));
}
