import type { Message } from "@wheelwork/engine";
import { isDeadLetter, isTooLarge, shortLetter } from "@wheelwork/engine/parts";
import { FailTuple, type Bolt, type Output, type Tuple } from "../multilang/component.ts";
import type { StormConfig } from "./app.ts";
import { realPorts, type StormLog, type StormPorts } from "./ports.ts";
import { nbStreams, type Publication, type Published } from "./streams.ts";

/** The proof of concept's bolt to Northbound: publishes answers, and tells their hub when the brokers have them. */
export class NbBolt implements Bolt<typeof nbStreams> {
  readonly streams = nbStreams;
  readonly #config: Pick<StormConfig, "brokers" | "security">;
  readonly #ports: StormPorts;
  #log: StormLog;

  constructor(config: Pick<StormConfig, "brokers" | "security">, ports: StormPorts = realPorts) {
    this.#config = config;
    this.#ports = ports;
    this.#log = this.#connect();
  }

  #connect(): StormLog {
    return this.#ports.connect(this.#config, "bolt-to-nb");
  }

  async execute({ values }: Tuple, output: Output<typeof nbStreams>): Promise<void> {
    const [key, body] = values as readonly [string, string];
    const items = JSON.parse(body) as readonly Publication[];
    const results = await Promise.allSettled(items.map((item) => this.#publish(item, output)));
    const told = results.flatMap((result) => (result.status === "fulfilled" ? result.value : []));
    if (told.length > 0) output.emit("stream-nb-bolt-to-hub-bolt", [key, JSON.stringify(told)]);
    const failed = results.find(({ status }) => status === "rejected");
    if (failed === undefined) return;
    output.log(`not all could be published: ${String((failed as PromiseRejectedResult).reason)}`, "warn");
    // Answers are published again by their hub; a dead letter is when its tuple comes again.
    throw new FailTuple("a broker did not take it");
  }

  /** What the hub is to hear of it. A message that its topic will never take must not come again with its tuple. */
  async #publish(
    { topic, message, id }: Publication,
    output: Output<typeof nbStreams>,
  ): Promise<readonly Published[]> {
    const tries: readonly Message[] = isDeadLetter(message) ? [message, shortLetter(message)] : [message];
    let refused = "";
    for (const tried of tries) {
      try {
        await this.#log.publish(topic, tried);
        return id === undefined ? [] : [id];
      } catch (error) {
        if (!isTooLarge(error)) throw error;
        refused = error.message;
      }
    }
    if (id !== undefined) return [{ id, refused }];
    output.error(`a message was not published: ${refused}`);
    return [];
  }

  /** It may have been the client: what was under way is sent again through another. */
  uncaught(): void {
    this.#log.close().catch(() => {});
    this.#log = this.#connect();
  }

  close(): Promise<void> {
    return this.#log.close();
  }
}
