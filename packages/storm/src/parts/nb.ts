import { FailTuple, type Bolt, type Output, type Tuple } from "../multilang/component.ts";
import type { StormConfig } from "./app.ts";
import { realPorts, type StormLog, type StormPorts } from "./ports.ts";
import { nbStreams, type Publication } from "./streams.ts";

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
    const results = await Promise.allSettled(
      items.map(({ topic, message }) => this.#log.publish(topic, message)),
    );
    const ids = items.flatMap(({ id }, place) =>
      id !== undefined && results[place]?.status === "fulfilled" ? [id] : [],
    );
    if (ids.length > 0) output.emit("stream-nb-bolt-to-hub-bolt", [key, JSON.stringify(ids)]);
    const failed = results.find(({ status }) => status === "rejected");
    if (failed === undefined) return;
    output.log(`not all could be published: ${String((failed as PromiseRejectedResult).reason)}`, "warn");
    // Answers are published again by their hub; a dead letter is when its tuple comes again.
    throw new FailTuple("a broker did not take it");
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
