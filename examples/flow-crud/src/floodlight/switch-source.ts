import type { OpenFlowError, Switch, SwitchEvents } from "@wheelwork/openflow";

/** What is asked of a connection with a switch. */
export interface DrivenSwitch extends Pick<
  Switch,
  | "datapathId"
  | "remote"
  | "apply"
  | "send"
  | "flows"
  | "aggregate"
  | "meters"
  | "ports"
  | "description"
  | "close"
> {
  on<E extends keyof SwitchEvents>(event: E, listener: (...args: SwitchEvents[E]) => void): unknown;
}

/** What brings such connections. */
export interface SwitchSource {
  readonly port: number;
  on(event: "switch", listener: (one: DrivenSwitch) => void): unknown;
  on(event: "refused", listener: (error: OpenFlowError, remote: string) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  close(): Promise<void>;
}

/**
 * One source for several parts of this process that drive the same switches, each with cookies of its own. They share the connection of a
 * switch and its queue. A part that begins late gets the switches that are connected already. What a part closes is only its share: the
 * source itself ends with `close` of the result.
 */
export class SharedSource {
  readonly #source: SwitchSource;
  readonly #connected = new Set<DrivenSwitch>();

  /**
   * `onProblem`: told once of connections that were refused, of those that ended though the switch may live, such as that of the second of two
   * switches with one datapath id, and of a source that has ended. No share tells of them.
   */
  constructor(source: SwitchSource, onProblem: (problem: string) => void = () => {}) {
    this.#source = source;
    source.on("refused", (error, remote) => onProblem(`${remote}: ${error.message}`));
    source.on("error", (error) => onProblem(`nothing more can connect: ${error.message}`));
    source.on("switch", (one) => {
      this.#connected.add(one);
      one.on("end", (error) => {
        this.#connected.delete(one);
        // The others are everyday: a switch has gone, or this process ends.
        if (error.code !== "WW_OF_CLOSED") onProblem(`switch ${one.datapathId}: ${error.message}`);
      });
    });
  }

  /** A share for one part. */
  share(): SwitchSource {
    const source = this.#source;
    let isOpen = true;
    return {
      port: source.port,
      on: (event: string, listener: (...args: never[]) => void) => {
        if (event !== "switch") return;
        const tell = (one: DrivenSwitch): void => void (isOpen && listener(one as never));
        for (const one of this.#connected) tell(one);
        source.on("switch", tell);
      },
      close: () => {
        isOpen = false;
        return Promise.resolve();
      },
    };
  }

  /** Ends all connections. */
  close(): Promise<void> {
    return this.#source.close();
  }
}
