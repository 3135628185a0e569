import { listen, type SpeakerOptions } from "@wheelwork/openflow";
import { systemClock, type Clock } from "wheelwork";
import { switchIdOf, type Segment } from "../controller/model.ts";
import type { NetworkEvent } from "../controller/store.ts";
import type { DatabaseDurability } from "../database.ts";
import type { AddressBook } from "./address-book.ts";
import { knownOf, type BelievedNetwork } from "./agreement.ts";
import { Discovery } from "./discovery.ts";
import type { SimulatedNetwork } from "./simulated-network.ts";
import { SharedSource, type SwitchSource } from "./switch-source.ts";
import { SwitchSpeaker } from "./switch-speaker.ts";
import { untilAnswered } from "./until-answered.ts";

/** What a network of flows is opened with. */
export interface OpenNetworkOptions {
  /** The file that notes what the switches should have. Only one process may open it. */
  readonly path: string;
  /** The switches: simulated ones, or where real ones connect. */
  readonly switches:
    { readonly simulated: SimulatedNetwork } | { readonly listen: Omit<SpeakerOptions, "generation"> };
  /** Gets the book before a switch connects. If it fails, nothing is opened. */
  readonly begin?: (book: AddressBook) => Promise<unknown>;
  /** Gets what happens in the network, one event after the other. If it fails, it gets the event again. */
  readonly onEvent: (event: NetworkEvent) => Promise<void>;
  /**
   * Says what those who get the events believe of the network. It is asked first, until it answers: what of it is not there any more is told
   * as failed. Then it is asked each 3 s, and what they do not know is told again: for events that may overtake one another on their way.
   */
  readonly believed: () => Promise<BelievedNetwork>;
  readonly onProblem?: (problem: string) => void;
  /** Default `full`. */
  readonly durability?: DatabaseDurability;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "after" | "monotonicMs" | "soon" | "wallMs">;
}

/** A network whose switches have what flows need, and that tells what happens to it. */
export interface OpenedNetwork {
  readonly speaker: SwitchSpeaker;
  /** The port that switches connect to; 0: they connect to a socket file, or are simulated. */
  readonly port: number;
  /** The same switches for another part of this process, which has rules of its own. */
  share(): SwitchSource;
  close(): Promise<void>;
}

/** How often it is asked what is believed of the network, in milliseconds. */
const compareMs = 3_000;

/** Compares what is believed with what is, again and again. The result ends it. */
function compareOften(
  discovery: Discovery,
  believed: () => Promise<BelievedNetwork>,
  clock: Pick<Clock, "after">,
): () => void {
  let isClosed = false;
  let cancel = (): void => {};
  const plan = (): void => {
    if (!isClosed) cancel = clock.after(compareMs, () => void look());
  };
  const look = async (): Promise<void> => {
    try {
      discovery.compare(await believed());
    } catch {
      // It cannot be said now. It is asked again.
    }
    plan();
  };
  plan();
  return () => {
    isClosed = true;
    cancel();
  };
}

/** Packets between simulated switches take no time: what their links say counts. */
function latenciesOf({ links }: SimulatedNetwork): (link: Segment) => number | undefined {
  const known = new Map(
    links.flatMap(({ between, ports, latencyMs }) =>
      between.map((number, index) => [`${switchIdOf(BigInt(number))} ${ports[index]}`, latencyMs] as const),
    ),
  );
  return ({ from, fromPort }) => known.get(`${from} ${fromPort}`);
}

/**
 * Opens the book of a network and lets its switches connect.
 * @throws WheelworkError WW_STORE_UNAVAILABLE, or what `begin` says. OpenFlowError WW_OF_CONFIG. The error of the system, such as EADDRINUSE.
 */
export async function openNetwork(options: OpenNetworkOptions): Promise<OpenedNetwork> {
  const { path, switches, begin, onEvent, believed, onProblem, durability, clock } = options;
  const known = knownOf(await untilAnswered(believed, onProblem));
  let opened: SharedSource | undefined;
  const open = async (generation: bigint): Promise<SwitchSource> => {
    opened = new SharedSource(
      "simulated" in switches
        ? await switches.simulated.listen()
        : await listen({ requestTimeoutMs: 2000, ...switches.listen, generation }),
    );
    return opened.share();
  };
  const speaker = await SwitchSpeaker.over(open, {
    path,
    ...(begin === undefined ? {} : { begin }),
    ...(durability === undefined ? {} : { durability }),
    ...(onProblem === undefined ? {} : { onProblem }),
    ...(clock === undefined ? {} : { clock }),
  });
  const shared = opened as unknown as SharedSource;
  const discovery = new Discovery({
    source: shared.share(),
    known,
    onEvent,
    ...("simulated" in switches ? { latencyOf: latenciesOf(switches.simulated) } : {}),
    ...(onProblem === undefined ? {} : { onProblem }),
    ...(clock === undefined ? {} : { clock }),
  });
  const endComparing = compareOften(discovery, believed, clock ?? systemClock);
  return {
    speaker,
    port: speaker.port,
    share: () => shared.share(),
    close: async () => {
      endComparing();
      discovery.close();
      await speaker.close();
      await shared.close();
    },
  };
}
