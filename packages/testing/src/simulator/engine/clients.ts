import { WheelworkError, type Answer, type AnyHub } from "@wheelwork/core";
import { placedKey } from "@wheelwork/engine";
import { seededRandom } from "../../random.ts";
import type { Asked } from "../checker/starts.ts";
import { giveCommand, giveScheduleCommand } from "../commands.ts";
import { drawFor, sentOf, type PlannedCommand, type PlannedScheduleCommand } from "../plans.ts";
import { watchSome } from "../watching.ts";
import type { Machine } from "./machine.ts";
import type { EngineProcess } from "./process.ts";

/** A command to a schedule has come so long after it was given, in milliseconds. */
const schedulePauseMs = 1_000;

/** A request of the plan, with what it asks for. */
interface Wanted {
  readonly key: string;
  readonly hub: AnyHub;
  readonly request: unknown;
  /** When it begins, and how long it may take. */
  readonly sent: ReturnType<typeof sentOf>;
}

/** The clients. They send the requests and commands of a plan to the process that runs now. */
export class Clients {
  readonly wanted: readonly Wanted[];
  /** The answers that they have got, by key. */
  readonly told = new Map<string, Answer>();
  readonly #machine: Machine;
  /** Requests whose answer nobody will be told: they are unknown by now. */
  readonly #unknown = new Set<string>();
  readonly #sentAgain = new Set<string>();
  /** Requests that somebody may watch, and how many of those do so still. */
  readonly #accepted = new Set<string>();
  #watching = 0;

  constructor(machine: Machine) {
    const { plan, opened } = machine;
    this.#machine = machine;
    const wallMs = machine.clock.wallMs();
    this.wanted = plan.requests.map(({ key, seed, start }) => {
      const { hub, request } = opened.request(seededRandom(seed));
      // The id of a request is its key, too.
      const sent = sentOf(start, wallMs);
      return { key: placedKey(hub.definition, key, request), hub, request, sent };
    });
  }

  /** Whether nobody waits for an answer, watches, or has a command for a schedule any more. */
  get done(): boolean {
    const { plan, clock, opened } = this.#machine;
    return (
      (opened.wish === undefined ||
        plan.scheduleCommands.every(({ at }) => at < clock.monotonicMs() - schedulePauseMs)) &&
      this.#watching === 0 &&
      this.wanted.every(({ key }) => this.told.has(key) || this.#unknown.has(key))
    );
  }

  /** The process that can be asked now. */
  get ready(): EngineProcess | undefined {
    const node = this.#machine.current;
    return node?.ready === true && node.alive ? node : undefined;
  }

  /** Under which keys requests come, and when they begin. */
  get asked(): readonly Asked[] {
    return this.wanted.map(({ key, sent }) => ({ key, ...sent }));
  }

  /** All that is planned will be sent at its time. */
  begin(): void {
    const { plan, clock } = this.#machine;
    for (const [place, request] of plan.requests.entries()) {
      clock.after(request.at, () => {
        this.#watch(this.#client(place));
        if (request.twice) this.#watch(this.#client(place));
      });
    }
    for (const command of plan.commands) clock.after(command.at, () => this.#watch(this.#command(command)));
    for (const command of plan.scheduleCommands)
      clock.after(command.at, () => this.#watch(this.#scheduleCommand(command)));
  }

  #watch(task: Promise<void>): void {
    task.catch((error: unknown) => this.#machine.surprise(error));
  }

  /** Sends its request under its key until it is accepted, and asks for the answer until it has it. */
  async #client(place: number): Promise<void> {
    const { key, hub, request, sent } = this.wanted[place] as Wanted;
    const options = { key, ...sent };
    for (let accepted = false; !this.told.has(key);) {
      const node = this.#machine.current;
      if (node !== undefined && node.ready && node.alive) {
        try {
          if (!accepted) {
            this.#machine.see({ type: "submitted", key, hub: hub.name });
            await this.#ask(node, node.engine.submit(hub, request as never, options), ({ known }) => {
              accepted = true;
              this.#machine.see({ type: "accepted", key, known });
              this.#watch(this.#lookOn(key));
              this.#sendAgain(place);
            });
          } else {
            await this.#ask(node, node.engine.answer(key), (answer) => {
              if (answer === undefined) return;
              this.told.set(key, answer);
              this.#machine.see({ type: "told", key, answer });
            });
            if (!this.told.has(key)) this.#machine.see({ type: "gave-up", key, node: node.number });
          }
          continue;
        } catch (error) {
          if (error instanceof WheelworkError && !error.retryable) {
            this.#machine.see({ type: "refused", key, code: error.code, retryable: false });
            this.#unknown.add(key);
            return;
          }
          if (error instanceof WheelworkError)
            this.#machine.see({ type: "refused", key, code: error.code, retryable: true });
        }
      }
      await this.#wait(Math.max(10, this.#machine.scaleMs / 20));
    }
  }

  /**
   * Asks a process; what it says comes even if nobody waits any more.
   * @throws Error when the process dies, or does not answer for long.
   */
  async #ask<T>(node: EngineProcess, question: Promise<T>, said: (answer: T) => void): Promise<void> {
    const answered = question.then((answer) => {
      if (node.acts()) said(answer);
      else throw new Error("the process has died");
    });
    const given = node.death.then(() => {
      throw new Error("the process has died");
    });
    await Promise.race([answered, given, this.#wait(this.#machine.scaleMs * 2 + 6_000)]);
    // Whoever waits no longer asks again.
    answered.catch(() => {});
    given.catch(() => {});
  }

  /** Some clients lose what they were told, and send their request once more. */
  #sendAgain(place: number): void {
    const { plan, clock, scaleMs } = this.#machine;
    const { key } = this.wanted[place] as Wanted;
    const random = drawFor(plan.seed, "again", key);
    if (this.#sentAgain.has(key) || plan.retentionMs !== undefined || !random.chance(0.4)) return;
    this.#sentAgain.add(key);
    for (let times = 1 + random.int(4); times > 0; times--)
      clock.after(random.int(scaleMs * 2), () => this.#watch(this.#again(place)));
  }

  /** Sends a request that was accepted. A shard that takes nothing new must know it. */
  async #again(place: number): Promise<void> {
    const { key, hub, request, sent } = this.wanted[place] as Wanted;
    const node = this.#machine.current;
    if (node === undefined || !node.ready || !node.alive) return;
    const given = node.engine.submit(hub, request as never, { key, ...sent });
    this.#machine.see({ type: "submitted", key, hub: hub.name });
    await this.#ask(node, given, ({ known }) => this.#machine.see({ type: "accepted", key, known })).catch(
      (error: unknown) => {
        if (!(error instanceof WheelworkError)) return;
        this.#machine.see({ type: "refused", key, code: error.code, retryable: error.retryable });
      },
    );
  }

  /** Somebody may watch a request from when it is accepted. */
  async #lookOn(key: string): Promise<void> {
    if (this.#accepted.has(key)) return;
    this.#accepted.add(key);
    const { plan, clock, scaleMs } = this.#machine;
    this.#watching++;
    await watchSome({
      seed: plan.seed,
      key,
      scaleMs,
      clock,
      any: () => this.ready,
      archives: plan.historyRetentionMs !== undefined,
      mayBeForgotten: () => plan.retentionMs !== undefined,
      see: (seen) => this.#machine.see(seen),
    });
    this.#watching--;
  }

  async #command(command: PlannedCommand): Promise<void> {
    const node = this.#machine.current;
    const { id, kind, request } = command;
    const { key } = this.wanted[request] as Wanted;
    if (node === undefined || !node.ready || !node.alive) return;
    const commanded = (result: string): void =>
      this.#machine.see({ type: "commanded", key, id, kind, result });
    await this.#ask(node, giveCommand(node.engine, command, key, this.#machine.opened), commanded).catch(
      (error: unknown) => {
        if (error instanceof WheelworkError) commanded(error.code);
      },
    );
  }

  async #scheduleCommand(command: PlannedScheduleCommand): Promise<void> {
    const node = this.#machine.current;
    const { wish } = this.#machine.opened;
    if (wish === undefined || node === undefined || !node.ready || !node.alive) return;
    const { id, kind } = command;
    await this.#ask(node, giveScheduleCommand(node.engine, command, wish), ({ key, made }) =>
      this.#machine.see({ type: "operated", key, id, kind, made }),
    ).catch((error: unknown) => {
      if (error instanceof WheelworkError)
        this.#machine.see({ type: "not-operated", id, kind, code: error.code });
    });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#machine.clock.after(ms, resolve));
  }
}
