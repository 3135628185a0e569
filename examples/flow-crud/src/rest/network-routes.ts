import type { FastifyInstance } from "fastify";
import * as z from "zod";
import type { Rule, Segment } from "../controller/model.ts";
import { rulesOf } from "../controller/rules.ts";
import type { StoredLink } from "../controller/store.ts";
import { checked } from "./bodies.ts";
import * as told from "./documents.ts";
import { FlowProblem, invalid } from "./errors.ts";
import type { FlowReader } from "./flow-reader.ts";
import { routePicture } from "./network-picture.ts";
import type { ControllerParts } from "./operations.ts";
import { linkPropsV1, linkV1, switchV1 } from "./views.ts";

const switchText = { tag: "network", permission: "read" as const };
const pageSize = 1000;

/** Adds the routes of switches and links, and the pictures of the network. */
export function routeNetwork(app: FastifyInstance, parts: ControllerParts, reader: FlowReader): void {
  routeSwitches(app, parts);
  routeLinks(app, parts);
  routePicture(app, parts, reader);
}

interface OfSwitch {
  readonly Params: { readonly switch_id: string };
}

const switchParams = {
  type: "object",
  properties: { switch_id: { type: "string", maxLength: 100 } },
  required: ["switch_id"],
} as const;

function routeSwitches(app: FastifyInstance, { store }: ControllerParts): void {
  const found = async (id: string) => {
    const wanted = id.toLowerCase();
    const one = (await store.switches()).find(({ switchId }) => switchId === wanted);
    if (one === undefined) throw new FlowProblem(404, `Switch ${id} was not found`);
    return one;
  };

  app.get(
    "/v1/switches",
    told.routeOf(
      {
        ...switchText,
        summary: "List the switches that are or were connected",
        operationId: "listSwitches",
        isLarge: true,
        failure: "Could not get switches",
        result: { type: "array", items: told.switchSchema },
      },
      {},
    ),
    async () => (await store.switches()).map(switchV1),
  );

  app.get<OfSwitch>(
    "/v1/switches/:switch_id",
    told.routeOf(
      {
        ...switchText,
        summary: "Get a switch with its ports",
        operationId: "getSwitch",
        failure: "Could not get switch",
        result: told.switchSchema,
        responses: told.noSwitch,
      },
      { params: switchParams },
    ),
    async ({ params }, _reply) => switchV1(await found(params.switch_id)),
  );

  app.get<OfSwitch>(
    "/v1/switches/:switch_id/rules",
    told.routeOf(
      {
        ...switchText,
        summary: "List the rules and meters of flows that a switch should have",
        description: "What it really has tells `GET /v1/flows/{flow_id}/validate`.",
        operationId: "listSwitchRules",
        isLarge: true,
        failure: "Could not get rules of switch",
        result: {
          type: "object",
          properties: {
            switch_id: { type: "string" },
            flows: { type: "array", items: { type: "object" } },
            meters: { type: "array", items: { type: "object" } },
          },
          required: ["switch_id", "flows", "meters"],
        },
        responses: told.noSwitch,
      },
      { params: switchParams },
    ),
    async ({ params }, _reply) => {
      const { switchId } = await found(params.switch_id);
      const rules: { readonly flowId: string; readonly rule: Rule }[] = [];
      for (let after: string | undefined; ;) {
        const page = await store.flows({ limit: pageSize, ...(after === undefined ? {} : { after }) });
        for (const flow of page) {
          const { inner, entries } = rulesOf(flow);
          for (const rule of [...inner, ...entries])
            if (rule.switchId === switchId) rules.push({ flowId: flow.spec.flowId, rule });
        }
        after = page.at(-1)?.spec.flowId;
        if (page.length < pageSize || after === undefined) break;
      }
      return {
        switch_id: switchId,
        flows: rules.flatMap(({ flowId, rule }) =>
          rule.kind === "rule"
            ? [
                {
                  flow_id: flowId,
                  cookie: rule.cookie,
                  priority: rule.priority,
                  match: { in_port: rule.inPort, vlan_vid: rule.vlan },
                  meter: rule.meter,
                  actions: rule.actions,
                },
              ]
            : [],
        ),
        meters: rules.flatMap(({ flowId, rule }) =>
          rule.kind === "meter"
            ? [{ flow_id: flowId, cookie: rule.cookie, meter_id: rule.meter, rate: rule.rateKbps }]
            : [],
        ),
      };
    },
  );
}

interface LinkQuery {
  readonly src_switch?: string;
  readonly src_port?: number;
  readonly dst_switch?: string;
  readonly dst_port?: number;
}

const linkEnds = {
  src_switch: { type: "string", maxLength: 100 },
  src_port: { type: "integer", minimum: 1 },
  dst_switch: { type: "string", maxLength: 100 },
  dst_port: { type: "integer", minimum: 1 },
} as const;
const linkQuery = { type: "object", properties: linkEnds, additionalProperties: false } as const;
const wholeLinkQuery = { ...linkQuery, required: Object.keys(linkEnds) } as const;

/** Whether a direction of a link is meant. */
const isMeant =
  ({ src_switch: from, src_port: fromPort, dst_switch: to, dst_port: toPort }: LinkQuery) =>
  (link: Segment): boolean =>
    (from === undefined || from.toLowerCase() === link.from) &&
    (fromPort === undefined || fromPort === link.fromPort) &&
    (to === undefined || to.toLowerCase() === link.to) &&
    (toPort === undefined || toPort === link.toPort);

const segmentOf = (ends: Required<LinkQuery>): Segment => ({
  from: ends.src_switch.toLowerCase(),
  fromPort: ends.src_port,
  to: ends.dst_switch.toLowerCase(),
  toPort: ends.dst_port,
});

const numberText = z
  .union([z.string().regex(/^\d{1,10}$/, "must be a whole number"), z.int().min(0)])
  .transform(Number);

/** org.openkilda.northbound.dto.v1.links.LinkPropsDto: the values of properties are texts. */
const LinkProps = z.array(
  z.strictObject({
    src_switch: z.string(),
    src_port: z.int(),
    dst_switch: z.string(),
    dst_port: z.int(),
    props: z.strictObject({ cost: numberText.optional(), max_bandwidth: numberText.optional() }),
  }),
);
const LinkBandwidth = z.strictObject({ max_bandwidth: z.int().min(0).max(1e12) });

function routeLinks(app: FastifyInstance, { store, engine, hubs, logger }: ControllerParts): void {
  /** Flows may wait for what a link has gained. */
  async function lookAfterThoseWhoWait(): Promise<void> {
    if (!store.promiseLook("an operator")) return;
    try {
      await engine.submit(hubs.lookAfterFlows.name, {});
    } catch (error) {
      // The link is changed all the same, and the schedule looks as well.
      logger?.warn(
        { error: String(error) },
        "flows that wait for what a link has gained are looked at later",
      );
    }
  }

  const linksOf = async (query: LinkQuery): Promise<readonly StoredLink[]> =>
    (await store.links()).filter(isMeant(query));

  app.get<{ Querystring: LinkQuery }>(
    "/v1/links",
    told.routeOf(
      {
        ...switchText,
        summary: "List the links, each direction of its own",
        operationId: "listLinks",
        isLarge: true,
        failure: "Could not get links",
        result: { type: "array", items: told.linkSchema },
      },
      { querystring: linkQuery },
    ),
    async ({ query }) => (await linksOf(query)).map(linkV1),
  );

  app.get<{ Querystring: LinkQuery }>(
    "/v1/link/props",
    told.routeOf(
      {
        ...switchText,
        summary: "List what operators may change of links",
        operationId: "listLinkProps",
        isLarge: true,
        failure: "Could not get link properties",
        result: { type: "array", items: told.linkPropsSchema },
      },
      { querystring: linkQuery },
    ),
    async ({ query }) => (await linksOf(query)).map(linkPropsV1),
  );

  app.put(
    "/v1/link/props",
    told.routeOf(
      {
        ...switchText,
        permission: "operate",
        summary: "Change the cost and the bandwidth of links, in both directions",
        description: "Each link is changed or not; `messages` says which are not, and why.",
        operationId: "putLinkProps",
        failure: "Could not change link properties",
        body: told.bodyOf(LinkProps),
        result: told.batchSchema,
      },
      {},
    ),
    async ({ body }, _reply) => {
      const wanted = checked(LinkProps, body);
      const messages: string[] = [];
      for (const { props, ...ends } of wanted) {
        const { cost, max_bandwidth: bandwidth } = props;
        const change = {
          ...(cost === undefined ? {} : { cost }),
          ...(bandwidth === undefined ? {} : { bandwidth }),
        };
        const done = await store.changeLink(segmentOf(ends), change);
        const name = `${ends.src_switch}:${ends.src_port} to ${ends.dst_switch}:${ends.dst_port}`;
        if (done === false) messages.push(`There is no link from ${name}`);
        else if (done !== true) messages.push(`The link from ${name}: ${done.message}`);
      }
      await lookAfterThoseWhoWait();
      return { failures: messages.length, successes: wanted.length - messages.length, messages };
    },
  );

  app.patch<{ Querystring: Required<LinkQuery> }>(
    "/v1/links/bandwidth",
    told.routeOf(
      {
        ...switchText,
        permission: "operate",
        summary: "Change how much of a link flows may have, in both directions",
        operationId: "setLinkBandwidth",
        failure: "Could not change bandwidth of link",
        body: told.bodyOf(LinkBandwidth),
        result: told.linkBandwidthSchema,
        responses: told.noLink,
      },
      { querystring: wholeLinkQuery },
    ),
    async ({ query, body }, _reply) => {
      const { max_bandwidth: bandwidth } = checked(LinkBandwidth, body);
      const done = await store.changeLink(segmentOf(query), { bandwidth });
      if (done === false) throw new FlowProblem(404, "There is no such link");
      if (done !== true) {
        if (done.code === "conflict") throw new FlowProblem(409, done.message);
        throw invalid([{ path: "max_bandwidth", message: done.message }]);
      }
      await lookAfterThoseWhoWait();
      return { ...query, max_bandwidth: bandwidth };
    },
  );
}
