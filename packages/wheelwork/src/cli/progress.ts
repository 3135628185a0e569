/** Shows on a terminal how far something long has come: one line, which is wiped at the end. Elsewhere it shows nothing. */
export class ProgressBar {
  readonly #out: NodeJS.WriteStream;
  #shownAt = 0;
  #isShown = false;

  constructor(out: NodeJS.WriteStream = process.stderr) {
    this.#out = out;
  }

  /** `share`: from 0 to 1; undefined: it is not known. */
  show(what: string, share: number | undefined): void {
    const now = performance.now();
    if (!this.#out.isTTY || (this.#isShown && now - this.#shownAt < everyMs)) return;
    this.#shownAt = now;
    this.#isShown = true;
    this.#out.write(`\r\u001b[K${lineOf(what, share)}`);
  }

  end(): void {
    if (this.#isShown) this.#out.write("\r\u001b[K");
    this.#isShown = false;
  }
}

const everyMs = 100;
const cells = 30;

/** A bar, how many percent it is, and what is done. */
export function lineOf(what: string, share: number | undefined): string {
  if (share === undefined) return `${what} …`;
  const full = Math.round(share * cells);
  const percent = `${Math.floor(share * 100)}`.padStart(3);
  return `[${"#".repeat(full)}${" ".repeat(cells - full)}] ${percent} %  ${what}`;
}
