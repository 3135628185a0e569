import { WheelworkError } from "@wheelwork/core";
import { timingSafeEqual } from "node:crypto";
import { statSync } from "node:fs";
import type { Logger } from "@wheelwork/engine";
import { caller, type Caller } from "./grants.ts";
import { hashOfToken, idOfToken, markOf, readTokens, type StoredToken } from "./tokens.ts";

/** How often the file is looked at, at most, in milliseconds. */
const lookEveryMs = 1000;

interface Known {
  readonly stored: StoredToken;
  readonly hash: Buffer;
  readonly caller: Caller;
}

const nobody = Buffer.alloc(32);

/**
 * The tokens that a server takes. It looks at their file with each request, once a second at most, so that a token counts, or
 * counts no more, from then on. While the file is not as it should be, no token is taken: else a token that somebody wanted to
 * revoke would go on counting after a typo.
 */
export class TokenFile {
  readonly #file: string;
  readonly #logger: Logger;
  #tokens = new Map<string, Known>();
  #mark = "";
  #problem: WheelworkError | undefined;
  #lookAt = 0;

  /** @throws WheelworkError WW_CONFIG when the file is not as it should be. */
  constructor(file: string, logger: Logger) {
    this.#file = file;
    this.#logger = logger;
    this.#look();
    if (this.#problem !== undefined) throw this.#problem;
  }

  /**
   * Who has this token; undefined: nobody.
   * @throws WheelworkError WW_CONFIG while the file is not as it should be.
   */
  callerOf(token: string): Caller | undefined {
    const id = idOfToken(token);
    if (id === undefined) return undefined;
    if (performance.now() >= this.#lookAt) this.#look();
    if (this.#problem !== undefined) throw this.#problem;
    const known = this.#tokens.get(id);
    // An unknown id takes as long as a wrong secret.
    const isRight = timingSafeEqual(hashOfToken(token), known?.hash ?? nobody);
    if (!isRight || known === undefined) return undefined;
    const { expiresAt } = known.stored;
    return expiresAt !== undefined && Date.now() >= Date.parse(expiresAt) ? undefined : known.caller;
  }

  #look(): void {
    this.#lookAt = performance.now() + lookEveryMs;
    try {
      const mark = markOf(statSync(this.#file, { bigint: true }));
      if (mark === this.#mark) return;
      this.#read();
    } catch (error) {
      this.#fail(error);
    }
  }

  #read(): void {
    const { tokens, mark } = readTokens(this.#file);
    this.#tokens = new Map(
      tokens.map((stored) => {
        const of = caller(`token:${stored.name}`, stored.grants);
        return [stored.id, { stored, hash: Buffer.from(stored.hash, "hex"), caller: of }];
      }),
    );
    this.#mark = mark;
    this.#problem = undefined;
  }

  #fail(error: unknown): void {
    const before = this.#problem?.message;
    this.#mark = "";
    this.#problem =
      error instanceof WheelworkError
        ? error
        : new WheelworkError("WW_CONFIG", `the token file ${this.#file} cannot be read: ${String(error)}`, {
            next: "Make it again: wheelwork token create. Until then no token is taken.",
            cause: error,
          });
    if (before !== this.#problem.message) this.#logger.error({ err: this.#problem }, "no token is taken");
  }
}
