import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { kafka, kafkaSecurity } from "@wheelwork/kafka";
import { problemDetails, problemOf, protect, type ProtectOptions } from "@wheelwork/northbound";
import Fastify from "fastify";
import { WheelworkError, type Bus } from "wheelwork";
import { PostgresFlowStore } from "../controller/flow-store-postgres.ts";
import { isSuperseded, type BookMark } from "../controller/store.ts";
import {
  beginBook,
  bookName,
  checkFiles,
  heldRules,
  lockFolder,
  noteFiles,
  originalBooks,
} from "../data-folder.ts";
import { Floodlight, type FloodlightOptions } from "../floodlight/floodlight.ts";
import type { BelievedNetwork } from "../floodlight/agreement.ts";
import { networkRoutes } from "../floodlight/network-routes.ts";
import { openNetwork } from "../floodlight/open-network.ts";
import { OpenFlowSwitches, type OpenFlowOptions } from "../floodlight/openflow-switches.ts";
import { SimulatedNetwork } from "../floodlight/simulated-network.ts";
import { SpeakerService } from "../floodlight/speaker-wire.ts";
import { GuardedSpeaker } from "../floodlight/store-age.ts";
import { untilAnswered } from "../floodlight/until-answered.ts";
import { defaultSwitches } from "../network.ts";
import { PostgresResourcePool } from "../resources-postgres.ts";
import type { Held } from "../resources.ts";
import type { FlowTopics } from "../topics.ts";
import { ensureFlowTopics, type FlowPlace, type Part } from "./parts.ts";

/** What Floodlight can be set to. */
export interface FloodlightPartOptions extends FloodlightOptions {
  /** It drives real switches. Default: simulated ones. */
  readonly network?: Pick<OpenFlowOptions, "listen">;
  /** Where `/health` is, and where links of simulated switches can be cut over HTTP, and by whom. Default: nowhere. */
  readonly control?: ProtectOptions & { readonly port: number; readonly host: string };
  /** Makes the book of rules anew of the flows in the database, if `rules.db` is lost. */
  readonly rebuildRules?: boolean;
  /** Called once with what keeps it from going on: another Floodlight drives its switches now. What it says counts no more. */
  readonly onFailure?: (error: Error) => void;
}

/** What makes the book of rules anew. */
const rebuild = "npm run cluster -- --only floodlight --rebuild-rules";

/**
 * The switches, which take commands over Kafka: simulated ones, or with `network` real ones. The rules of the original proof of concept and
 * those of flows share the connections with real switches. Only this part may open their files, in the folder `dataDir`.
 */
export async function startFloodlight(
  place: FlowPlace,
  dataDir: string,
  { network, control, rebuildRules = false, onFailure, ...options }: FloodlightPartOptions = {},
): Promise<Part & { readonly floodlight: Floodlight; readonly url?: string }> {
  mkdirSync(dataDir, { recursive: true });
  checkFiles(dataDir, { rebuild: rebuildRules });
  const { topics, logger } = place;
  const onProblem = (problem: string): void => logger.warn({ part: "floodlight" }, problem);
  const parts: { close(): unknown }[] = [];
  const keep = <T extends { close(): unknown }>(part: T): T => {
    parts.unshift(part);
    return part;
  };
  const close = async (): Promise<void> => {
    for (const part of parts.splice(0)) await part.close();
  };
  let mark: BookMark | undefined;
  let isOvertaken = false;
  try {
    keep(lockFolder(dataDir));
    const bus = keep(kafka({ brokers: place.brokers, clientId: "floodlight", ...kafkaSecurity() }));
    await ensureFlowTopics(bus, topics);
    const simulated =
      network === undefined
        ? new SimulatedNetwork({
            topology: { shape: "ring", switches: options.switches ?? defaultSwitches },
            ...(options.tableSize === undefined ? {} : { tableSize: options.tableSize }),
          })
        : undefined;
    const { databaseUrl, flowSchema } = place;
    const store = keep(
      new PostgresFlowStore(databaseUrl, flowSchema === undefined ? {} : { schema: flowSchema }),
    );
    const believed = async (): Promise<BelievedNetwork> => {
      const last = await store.lastBook();
      if (!isOvertaken && mark !== undefined && isSuperseded(mark, last)) {
        isOvertaken = true;
        onFailure?.(overtaken());
      }
      return { links: await store.links(), switches: await store.switches() };
    };
    const service = Promise.withResolvers<SpeakerService>();
    const opened = keep(
      await openNetwork({
        path: join(dataDir, bookName),
        switches: simulated === undefined ? { listen: network?.listen ?? {} } : { simulated },
        begin: async (book) => {
          mark = await untilAnswered(
            () =>
              beginBook(book, store, {
                command: rebuild,
                rebuild: rebuildRules,
                onRebuilt: onProblem,
              }),
            onProblem,
          );
        },
        onEvent: async (event) => (await service.promise).tell(event),
        believed,
        onProblem,
      }),
    );
    const rebuilt = async (name: string) =>
      rebuildRules ? heldRules(name, await heldIn(databaseUrl, onProblem), onProblem) : undefined;
    const drives =
      network === undefined
        ? {}
        : {
            drives: await OpenFlowSwitches.over(() => Promise.resolve(opened.share()), {
              ...network,
              path: join(dataDir, originalBooks.real),
              adopts: await rebuilt(originalBooks.real),
              switches: defaultSwitches,
              isShared: true,
              onProblem,
            }),
          };
    const path = join(dataDir, originalBooks.simulated);
    const adopts = network === undefined ? await rebuilt(originalBooks.simulated) : undefined;
    const floodlight = keep(new Floodlight(path, bus, { onProblem, topics, adopts, ...drives, ...options }));
    noteFiles(dataDir);
    const end = answerQuestions(bus, topics, floodlight, onProblem);
    keep({ close: end });
    const speaker = keep(
      new GuardedSpeaker({
        speaker: opened.speaker,
        age: () => store.age(),
        next: `Start Floodlight again: ${rebuild}`,
        onProblem,
      }),
    );
    const by = mark === undefined ? {} : { by: mark };
    service.resolve(keep(new SpeakerService({ bus, speaker, topics, ...by, onProblem })));
    await bus.ready();
    if (control === undefined) return { floodlight, close };
    const server = keep(await serveNetwork(simulated, () => speaker.problem, control));
    return { floodlight, url: server.url, close };
  } catch (error) {
    await close();
    throw error;
  }
}

const overtaken = (): WheelworkError =>
  new WheelworkError(
    "WW_STORE_LOCKED",
    "another Floodlight drives the switches now: this one has lost them",
    {
      next: "Run one. This one may have stood still for long, while somebody started another on a folder of its own.",
    },
  );

/** What the requests of `POST /flow` have. */
async function heldIn(databaseUrl: string, onProblem: (problem: string) => void): Promise<readonly Held[]> {
  const pool = new PostgresResourcePool(databaseUrl);
  try {
    return await untilAnswered(() => pool.held(), onProblem);
  } finally {
    await pool.close();
  }
}

/** More would not fit into a message, which may have one megabyte. */
const maxRulesTold = 1000;

/** Tells Northbound which rules a flow of the original proof of concept has. The result ends it. */
function answerQuestions(
  bus: Bus,
  topics: FlowTopics,
  floodlight: Floodlight,
  onProblem: (problem: string) => void,
): () => void {
  return bus.subscribe(topics.rulesQuestions, ({ key, value: flowid }) => {
    const { count, rules } = floodlight.rulesPage({
      limit: maxRulesTold,
      ...(flowid === "" ? {} : { flowid }),
    });
    const value = JSON.stringify({ count, rules });
    Promise.resolve(bus.publish(topics.rules, { key, value })).catch((error: unknown) =>
      onProblem(`what is on the switches could not be sent: ${String(error)}`),
    );
  });
}

/** Serves whether the switches are driven, and the links of a simulated network, for `npm run network -- cut 2-3`. */
async function serveNetwork(
  network: SimulatedNetwork | undefined,
  problem: () => string | undefined,
  { port, host, ...access }: NonNullable<FloodlightPartOptions["control"]>,
): Promise<Part & { readonly url: string }> {
  const app = Fastify({ bodyLimit: 10_000, forceCloseConnections: true });
  protect(app, access);
  app.setErrorHandler((error, _request, reply) => {
    const { details, headers } = problemOf(error);
    return reply
      .code(details.status)
      .headers(headers)
      .type("application/problem+json")
      .send(JSON.stringify(details));
  });
  try {
    app.get("/health", { config: { permission: "read" } }, (_request, reply) => {
      const reason = problem();
      if (reason === undefined) return { ready: true };
      const details = problemDetails(503, "WW_STORE_UNAVAILABLE", reason);
      return reply.code(503).type("application/problem+json").send(JSON.stringify(details));
    });
    if (network !== undefined) await networkRoutes(network)(app);
    return { url: await app.listen({ port, host }), close: () => app.close() };
  } catch (error) {
    await app.close();
    throw error;
  }
}
