import { WheelworkError, type Answer, type AnyHub, type Hub, type RunEvent } from "@wheelwork/core";
import type { Input } from "@wheelwork/core/kernel";
import { randomUUID } from "node:crypto";
import type { RequestRow } from "../ports/ports.ts";
import { askAgain, type ShardAccess, type Shards } from "./access.ts";
import type {
  CommandResult,
  Engine,
  EngineHealth,
  RequestPage,
  RequestView,
  StopOptions,
  Submitted,
  SubmitOptions,
} from "./api.ts";
import { commandResult } from "./commands.ts";
import { servedBy } from "./hubs.ts";
import { hashedKey, hashOf, isStorable, newKey, validRequest, validSignal } from "./validate.ts";
import { pageOf, pageBounds, viewOf } from "./views.ts";

type CommandOptions = Parameters<Engine["cancel"]>[1];

/**
 * The engine as callers see it, over its shards: checks what comes in, finds the shard of each request, and makes answers,
 * views and pages of what the shards know. Where a shard is worked on, only its `ShardAccess` knows.
 */
export class RequestService implements Engine {
  readonly #shards: Shards;
  #life: "new" | "started" | "stopped" = "new";

  constructor(shards: Shards) {
    this.#shards = shards;
  }

  get hubs(): ReadonlyMap<string, AnyHub> {
    return this.#shards.hubs;
  }

  async start(): Promise<void> {
    if (this.#life !== "new") throw startedBefore(this.#life);
    this.#life = "started";
    try {
      await this.#shards.start();
    } catch (error) {
      // Nothing stays behind of a start that failed: it may be tried again.
      if (this.#life === "started") this.#life = "new";
      throw error;
    }
  }

  stop({ drainMs }: StopOptions = {}): Promise<void> {
    this.#life = "stopped";
    return this.#shards.stop(drainMs);
  }

  health(): EngineHealth {
    return this.#shards.health();
  }

  async submit<I>(hub: Hub<I> | string, request: I, options: SubmitOptions = {}): Promise<Submitted> {
    const definition = servedBy(this.hubs, hub as Hub<never> | string);
    const valid = validRequest(definition, request, options);
    this.#demandOpen();
    const fresh = options.key === undefined;
    const key = options.key ?? newKey(Math.floor(this.#shards.clock.wallMs()));
    const known = await this.#shards.of(key).submit({
      key,
      fresh,
      hub: definition.name,
      given: request,
      valid,
      hash: () => hashOf(definition.name, valid),
      deadlineMs: options.deadlineMs,
    });
    return { id: key, known };
  }

  answer(
    id: string,
    { waitMs = Number.POSITIVE_INFINITY }: { readonly waitMs?: number } = {},
  ): Promise<Answer | undefined> {
    const { clock } = this.#shards;
    const until = clock.monotonicMs() + waitMs;
    return this.#ask(id, async (shard, key) => {
      for (let [access, leftMs] = [shard, waitMs]; ;) {
        const answer = await access.answer(key, leftMs);
        if (answer !== askAgain) return answer;
        access = this.#accessOf(key);
        leftMs = Math.max(0, until - clock.monotonicMs());
      }
    });
  }

  async call<I, O, E extends string>(
    hub: Hub<I, O, E>,
    request: I,
    options?: SubmitOptions,
  ): Promise<Answer<O, E>> {
    const { id } = await this.submit(hub as Hub<I>, request, options);
    return (await this.answer(id)) as Answer<O, E>;
  }

  request(id: string): Promise<RequestView> {
    return this.#ask(id, async (shard, key) => viewOf(await shard.lookUp(key)));
  }

  async requests(filter: Parameters<Engine["requests"]>[0] = {}): Promise<RequestPage> {
    const { status, hub } = filter;
    const { limit, before } = pageBounds(filter);
    this.#demandOpen();
    const rows: RequestRow[] = [];
    for (const shard of this.#shards.all()) {
      const listed = await shard.list({
        // One more than the page holds says that there is another page.
        limit: limit + 1,
        ...(status === undefined ? {} : { status }),
        ...(hub === undefined ? {} : { hub }),
        ...(before === undefined ? {} : { before }),
      });
      // Their number may be too great for the arguments of a call.
      for (const row of listed) rows.push(row);
    }
    return pageOf(rows, limit);
  }

  history(id: string): Promise<readonly RunEvent[]> {
    return this.#ask(id, (shard, key) => shard.history(key));
  }

  cancel(id: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command(id, { kind: "cancel", id: commandId(options) });
  }

  signal(id: string, name: string, payload: unknown, options?: CommandOptions): Promise<CommandResult> {
    return this.#ask(id, async (shard, key) => {
      const { hub } = (await shard.lookUp(key)).known;
      const valid = validSignal(hub, this.hubs.get(hub)?.definition, name, payload);
      const input: Input = { kind: "signal", id: commandId(options), signal: name, payload: valid };
      // The shard may have moved meanwhile.
      return commandResult(key, await this.#accessOf(key).command(key, input));
    });
  }

  retry(id: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command(id, { kind: "retry", id: commandId(options) });
  }

  resolve(id: string, message: string, options?: CommandOptions): Promise<CommandResult> {
    return this.#command(id, { kind: "resolve", id: commandId(options), message });
  }

  #command(id: string, input: Input): Promise<CommandResult> {
    return this.#ask(id, async (shard, key) => commandResult(key, await shard.command(key, input)));
  }

  /** Asks the shard of a request. One whose sender's key could not be stored is found under the hash of that key. */
  async #ask<T>(id: string, ask: (shard: ShardAccess, key: string) => Promise<T>): Promise<T> {
    try {
      return await ask(this.#accessOf(id), id);
    } catch (error) {
      if (isStorable(id) || !isNotFound(error)) throw error;
      const key = hashedKey(id);
      return ask(this.#accessOf(key), key).catch((other: unknown) => {
        throw isNotFound(other) ? error : other;
      });
    }
  }

  #accessOf(key: string): ShardAccess {
    this.#demandOpen();
    return this.#shards.of(key);
  }

  /** A store that is closed, or was never claimed, knows nothing. */
  #demandOpen(): void {
    const { status } = this.#shards;
    if (status !== "stopped" && status !== "starting") return;
    const message = `the engine is ${status === "stopped" ? "stopped" : "not started"}`;
    throw new WheelworkError("WW_STOPPING", message, { next: "Ask again when it runs.", retryable: true });
  }
}

const startedBefore = (life: "started" | "stopped"): WheelworkError =>
  new WheelworkError(
    "WW_STARTED",
    life === "started"
      ? "the engine has been started already"
      : "the engine was stopped, and starts once only",
    {
      next:
        life === "started"
          ? "Call start once, and share the engine."
          : "Make another one (createEngine, createNode, createClient), and start that.",
    },
  );

const commandId = (options: CommandOptions): string => options?.commandId ?? randomUUID();

const isNotFound = (error: unknown): boolean =>
  error instanceof WheelworkError && error.code === "WW_NOT_FOUND";
