import { textOf } from "@wheelwork/core/kernel";
import type { Bus, Message } from "../ports/ports.ts";

/** A bus within the process: nothing durable, delivery after the present task. */
export class LocalBus implements Bus {
  readonly #receivers = new Map<string, Set<(message: Message) => void>>();

  publish(topic: string, message: Message): void {
    queueMicrotask(() => {
      for (const receive of this.#receivers.get(topic) ?? []) {
        try {
          receive(message);
        } catch (error) {
          // The other subscribers get it all the same, and the process goes on.
          process.emitWarning(`a subscriber of ${topic} threw: ${textOf(error)}`, "WheelworkWarning");
        }
      }
    });
  }

  subscribe(topic: string, receive: (message: Message) => void): () => void {
    let receivers = this.#receivers.get(topic);
    if (receivers === undefined) this.#receivers.set(topic, (receivers = new Set()));
    receivers.add(receive);
    return () => void receivers.delete(receive);
  }
}
