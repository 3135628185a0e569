import { subjectOf, type NetworkEvent, type StoredLink, type StoredSwitch } from "../controller/store.ts";
import type { KnownNetwork } from "./link-watch.ts";

/** What somebody who is told of the network believes. */
export interface BelievedNetwork {
  readonly links: readonly StoredLink[];
  readonly switches: readonly StoredSwitch[];
}

/** What of it is there. */
export const knownOf = ({ links, switches }: BelievedNetwork): KnownNetwork => ({
  links: links.filter(({ isUp }) => isUp),
  switches: switches.flatMap((one) => (one.isConnected ? [one.switchId] : [])),
});

/** What is believed otherwise may be told already, and be under way: it is told again after so many milliseconds, and then ever more seldom. */
const firstPauseMs = 3_000;
const longestPauseMs = 600_000;

/**
 * Decides what is to be told once more. An event is told once, and its effect is durable. But one that was under way for long may come after
 * a later one about the same, and then what is believed is wrong for ever, unless somebody compares.
 */
export class Agreement {
  /** What is believed otherwise: when it is told again, and how long it is waited for after that. */
  readonly #open = new Map<string, { readonly dueAt: number; readonly pauseMs: number }>();

  /**
   * Compares facts with what is believed.
   * @returns The facts that are to be told once more.
   */
  compare(now: number, facts: readonly NetworkEvent[], believed: BelievedNetwork): NetworkEvent[] {
    const switches = new Map(believed.switches.map((one) => [one.switchId, one]));
    const links = new Map(believed.links.map((link) => [`${link.from} ${link.fromPort}`, link]));
    const open = new Set<string>();
    const again: NetworkEvent[] = [];
    for (const fact of facts) {
      if (isBelieved(fact, switches, links)) continue;
      const subject = subjectOf(fact);
      open.add(subject);
      const { dueAt, pauseMs } = this.#open.get(subject) ?? {
        dueAt: now + firstPauseMs,
        pauseMs: firstPauseMs,
      };
      const isDue = now >= dueAt;
      if (isDue) again.push(fact);
      const nextMs = Math.min(2 * pauseMs, longestPauseMs);
      this.#open.set(subject, isDue ? { dueAt: now + nextMs, pauseMs: nextMs } : { dueAt, pauseMs });
    }
    for (const subject of this.#open.keys()) if (!open.has(subject)) this.#open.delete(subject);
    return again;
  }
}

function isBelieved(
  fact: NetworkEvent,
  switches: ReadonlyMap<string, StoredSwitch>,
  links: ReadonlyMap<string, StoredLink>,
): boolean {
  switch (fact.kind) {
    case "switch": {
      const known = switches.get(fact.switchId);
      if (known?.isConnected !== fact.isConnected) return false;
      const ports = new Map(known.ports.map((port) => [port.port, port]));
      return (fact.ports ?? []).every(({ port, isUp, speedKbps }) => {
        const believed = ports.get(port);
        return believed?.isUp === isUp && believed.speedKbps === speedKbps;
      });
    }
    case "link": {
      const known = links.get(`${fact.from} ${fact.fromPort}`);
      const isSame = known?.to === fact.to && known.toPort === fact.toPort;
      return (isSame && known.isUp) === fact.isUp;
    }
    case "port":
      return true;
  }
}
