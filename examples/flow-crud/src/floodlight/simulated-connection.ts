import { EventEmitter } from "node:events";
import {
  allMeters,
  errorName,
  OpenFlowError,
  type AggregateStats,
  type Command,
  type Description,
  type FlowFilter,
  type FlowStats,
  type MeterConfig,
  type PortDescription,
  type Refusal,
  type SwitchEvents,
} from "@wheelwork/openflow";
import type { Clock } from "wheelwork";
import type { Outlets, SimulatedSwitch } from "./simulated-switch.ts";

/** What a connection is made with. */
export interface ConnectionOptions {
  readonly table: SimulatedSwitch;
  readonly outlets: Outlets;
  /** Whether the switch obeys this connection still: it obeys its newest one only. */
  readonly isMaster: () => boolean;
  /** Each message and each reply takes its own time. */
  readonly isFine: boolean;
  readonly requestTimeoutMs: number;
  readonly clock: Pick<Clock, "after" | "soon">;
  /** The connection has ended. */
  readonly ended: () => void;
}

/** Messages on their way to a switch, and what it replies. */
interface Sent {
  readonly messages: readonly Command[];
  readonly refusals: Refusal[];
  /** How many of the messages have come. */
  come: number;
  readonly reply: () => void;
}

/** A call that waits for a reply. What is over lets go of all that it holds: a Set may keep what has left it for a while. */
interface Open {
  /** Ends it with an error; undefined: it is over. */
  fail: ((error: OpenFlowError) => void) | undefined;
}

/**
 * A connection with a simulated switch. What is sent arrives in its order. When the connection is lost, what is on its way may land still:
 * until the switch has a new master.
 */
export class SimulatedConnection extends EventEmitter<SwitchEvents> {
  readonly datapathId: bigint;
  readonly remote: string;
  readonly #options: ConnectionOptions;
  /** What has not arrived, in order. */
  readonly #sent: Sent[] = [];
  /** The calls that wait for a reply. */
  readonly #open = new Set<Open>();
  #isPlanned = false;
  #isFrozen = false;
  #isLost = false;

  constructor(options: ConnectionOptions) {
    super();
    this.#options = options;
    this.datapathId = options.table.datapathId;
    this.remote = `simulated:${options.table.number}`;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  apply(messages: readonly Command[]): Promise<void> {
    const refusals: Refusal[] = [];
    return this.#ask(
      messages,
      () => {
        if (refusals.length > 0)
          throw new OpenFlowError("WW_OF_REFUSED", "the switch has refused messages", { refusals });
      },
      refusals,
    );
  }

  send(...messages: readonly Command[]): void {
    if (this.#isLost) throw new OpenFlowError("WW_OF_CLOSED", "the connection has ended");
    this.#push({ messages, refusals: [], come: 0, reply: () => {} });
  }

  flows(filter: Partial<FlowFilter> = {}): Promise<FlowStats[]> {
    return this.#ask([], () => this.#options.table.flows(filter));
  }

  meters(meterId: number = allMeters): Promise<MeterConfig[]> {
    return this.#ask([], () => {
      const { table } = this.#options;
      if (meterId === allMeters) return table.meters();
      const meter = table.meter(meterId);
      if (meter !== undefined) return [meter];
      const refusal = { index: 0, errorType: 12, code: 3, name: errorName(12, 3) };
      throw new OpenFlowError("WW_OF_REFUSED", "there is no such meter", { refusals: [refusal] });
    });
  }

  ports(): Promise<PortDescription[]> {
    return this.#ask([], () => [...this.#options.table.ports.values()]);
  }

  aggregate(filter: Partial<FlowFilter> = {}): Promise<AggregateStats> {
    return this.#ask([], () => {
      const { table } = this.#options;
      if (Object.keys(filter).length === 0) return { packets: 0n, bytes: 0n, flows: table.flowCount };
      const flows = table.flows(filter);
      return {
        packets: flows.reduce((sum, { packets }) => sum + packets, 0n),
        bytes: flows.reduce((sum, { bytes }) => sum + bytes, 0n),
        flows: flows.length,
      };
    });
  }

  description(): Promise<Description> {
    return this.#ask([], () => ({
      manufacturer: "Wheelwork",
      hardware: "none",
      software: "simulated",
      serialNumber: "none",
      datapath: `s${this.#options.table.number}`,
    }));
  }

  close(): void {
    this.lose(new OpenFlowError("WW_OF_UNKNOWN", "the connection was closed"));
  }

  /** The connection ends: nobody knows what has come of what was asked. */
  lose(error: OpenFlowError): void {
    if (this.#isLost) return;
    this.#isLost = true;
    for (const open of this.#open) open.fail?.(error);
    this.emit("end", error);
    this.#options.ended();
  }

  /** The switch tells something by itself. */
  tell<E extends "portStatus" | "packetIn">(event: E, message: Omit<SwitchEvents[E][0], "xid">): void {
    if (this.#isLost || this.#isFrozen) return;
    const emitter = this as unknown as EventEmitter<Record<string, unknown[]>>;
    this.#options.clock.soon(() => {
      if (!this.#isLost) emitter.emit(event as string, { ...message, xid: 0 });
    });
  }

  /** The switch does nothing any more. Whoever waits for it gives up after a time. */
  freeze(): void {
    this.#isFrozen = true;
    for (const open of this.#open) this.#giveUpLater(open);
  }

  thaw(): void {
    this.#isFrozen = false;
    this.#plan(this.#sent.reduce((steps, { messages, come }) => steps + messages.length - come + 1, 0));
  }

  #ask<T>(messages: readonly Command[], result: () => T, refusals: Refusal[] = []): Promise<T> {
    if (this.#isLost) return Promise.reject(new OpenFlowError("WW_OF_CLOSED", "the connection has ended"));
    return new Promise<T>((resolve, reject) => {
      const settle = (reply: () => void): void => {
        if (!this.#open.delete(open)) return;
        open.fail = undefined;
        reply();
      };
      const open: Open = { fail: (error) => settle(() => reject(error)) };
      this.#open.add(open);
      if (this.#isFrozen) this.#giveUpLater(open);
      const reply = (): void => {
        try {
          const value = result();
          this.#later(() => settle(() => resolve(value)));
        } catch (error) {
          this.#later(() => settle(() => reject(error as Error)));
        }
      };
      this.#push({ messages, refusals, come: 0, reply });
    });
  }

  /** What the switch says takes its time as well. */
  #later(task: () => void): void {
    if (this.#options.isFine) this.#options.clock.soon(task);
    else task();
  }

  #giveUpLater(open: Open): void {
    const { clock, requestTimeoutMs } = this.#options;
    clock.after(requestTimeoutMs, () =>
      open.fail?.(new OpenFlowError("WW_OF_UNKNOWN", "the switch does not answer")),
    );
  }

  #push(sent: Sent): void {
    this.#sent.push(sent);
    this.#plan(sent.messages.length + 1);
  }

  #plan(steps: number): void {
    const { isFine, clock } = this.#options;
    if (isFine) {
      for (let step = 0; step < steps; step++) clock.soon(() => this.#arrive());
    } else if (!this.#isPlanned) {
      this.#isPlanned = true;
      clock.soon(() => {
        this.#isPlanned = false;
        while (this.#sent.length > 0 && !this.#isFrozen) this.#arrive();
      });
    }
  }

  /** The next message arrives, or the question behind the messages. */
  #arrive(): void {
    const [next] = this.#sent;
    if (next === undefined || this.#isFrozen) return;
    const { isMaster, table, outlets } = this.#options;
    // A switch obeys its newest master only.
    if (!isMaster()) return void (this.#sent.length = 0);
    const index = next.come++;
    const message = next.messages[index];
    if (message === undefined) {
      this.#sent.shift();
      return next.reply();
    }
    const fault = table.take(message, outlets);
    if (fault !== undefined)
      next.refusals.push({ index, ...fault, name: errorName(fault.errorType, fault.code) });
  }
}
