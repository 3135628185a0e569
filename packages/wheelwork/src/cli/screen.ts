/** What a key, a signal or another size of the terminal means to a screen. */
export interface ScreenEvents {
  /** The user wants to see no more. */
  end(): void;
  /** All must be drawn again. */
  redraw(): void;
}

const [enter, leave] = ["\u001b[?1049h\u001b[?25l", "\u001b[?25h\u001b[?1049l"];
const interrupt = "\u0003";
const suspend = "\u001a";

/**
 * The whole terminal, for as long as something is shown there. Whatever ends the process, the terminal is as it was before: its text,
 * its cursor and its keys. (Nothing can do that after a `kill -9`.)
 */
export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #keys: NodeJS.ReadStream;
  #isOn = false;
  readonly #restore = (): void => this.#off();
  readonly #detach: () => void;

  constructor(events: ScreenEvents, out = process.stdout, keys = process.stdin) {
    this.#out = out;
    this.#keys = keys;
    const onKey = (given: Buffer): void => {
      const key = given.toString();
      if (key === "q" || key === interrupt) events.end();
      if (key === suspend) {
        this.#off();
        process.kill(process.pid, "SIGSTOP");
      }
    };
    const onContinue = (): void => {
      this.#on();
      events.redraw();
    };
    const onResize = (): void => events.redraw();
    const onEnd = (): void => events.end();
    const signals = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
    keys.on("data", onKey);
    out.on("resize", onResize);
    process.on("SIGCONT", onContinue);
    process.on("exit", this.#restore);
    for (const signal of signals) process.on(signal, onEnd);
    this.#detach = () => {
      keys.off("data", onKey);
      out.off("resize", onResize);
      process.off("SIGCONT", onContinue);
      process.off("exit", this.#restore);
      for (const signal of signals) process.off(signal, onEnd);
    };
    this.#on();
  }

  #on(): void {
    if (this.#isOn) return;
    this.#isOn = true;
    if (this.#keys.isTTY) this.#keys.setRawMode(true);
    this.#keys.resume();
    this.#out.write(enter);
  }

  #off(): void {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#out.write(leave);
    if (this.#keys.isTTY) this.#keys.setRawMode(false);
    this.#keys.pause();
  }

  /** Shows lines from the top, as far as they fit. */
  draw(lines: readonly string[]): void {
    const { rows = 24, columns = 80 } = this.#out;
    const fitting = lines
      .slice(0, rows)
      .map((line) => (line.length > columns ? line.slice(0, columns) : line));
    // Each line wipes what was there before, so that nothing flickers.
    this.#out.write(`\u001b[H${fitting.map((line) => `${line}\u001b[K`).join("\r\n")}\u001b[J`);
  }

  close(): void {
    this.#off();
    this.#detach();
  }
}
