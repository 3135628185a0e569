import type { Bus, Message } from "@wheelwork/engine";
import type { SimulatedClock } from "../clock.ts";
import { drawFor, type PlannedTrouble } from "./plans.ts";

interface Subscriber {
  readonly topic: string;
  readonly receive: (message: Message) => void;
  /** How it is given to its process. */
  readonly hand: (task: () => void) => void;
}

/** What becomes of messages between relays and the outside: lost, doubled, delayed and overtaken as the plan says. */
export class Passages {
  readonly #plan: PlannedTrouble;
  readonly #sent = new Map<string, number>();

  constructor(plan: PlannedTrouble) {
    this.#plan = plan;
  }

  /** For how long each copy of a message that arrives is under way, in milliseconds. */
  of(topic: string, message: Message): readonly number[] {
    const { seed, rates, latencyMs } = this.#plan;
    const name = `${topic} ${message.key} ${message.value}`;
    const count = (this.#sent.get(name) ?? 0) + 1;
    this.#sent.set(name, count);
    const random = drawFor(seed, "message", name, count);
    const delays: number[] = [];
    const copies = random.chance(rates.doubled) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) {
      const lost = random.chance(rates.lost);
      const delay =
        random.int(latencyMs + 1) + (random.chance(rates.delayed) ? random.int(latencyMs * 20 + 5) : 0);
      if (!lost) delays.push(delay);
    }
    return delays;
  }
}

/** Carries the messages between the engine's relays and the outside. */
export class SimulatedNetwork {
  readonly #clock: SimulatedClock;
  readonly #passages: Passages;
  readonly #subscribers = new Set<Subscriber>();

  constructor(clock: SimulatedClock, plan: PlannedTrouble) {
    this.#clock = clock;
    this.#passages = new Passages(plan);
  }

  /**
   * One end of it.
   * @param sends Asked before each message: whether the process still lives to send it.
   * @param hand Gives what arrives to the process.
   */
  end(sends: () => boolean, hand: (task: () => void) => void): Bus {
    return {
      publish: (topic, message) => {
        if (sends()) this.#send(topic, message);
      },
      subscribe: (topic, receive) => {
        const subscriber = { topic, receive, hand };
        this.#subscribers.add(subscriber);
        return () => void this.#subscribers.delete(subscriber);
      },
    };
  }

  #send(topic: string, message: Message): void {
    for (const delay of this.#passages.of(topic, message))
      this.#clock.after(delay, () => this.#arrive(topic, message));
  }

  #arrive(topic: string, message: Message): void {
    for (const { topic: wanted, receive, hand } of this.#subscribers)
      if (wanted === topic) hand(() => receive(message));
  }
}
