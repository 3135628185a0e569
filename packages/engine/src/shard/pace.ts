/** New requests may be begun ahead of the outcomes that they bring by so much work, in milliseconds. */
const burstMs = 50;
/** While the loop has time, and workers take theirs, this many milliseconds of work are begun in each millisecond. */
const ramp = 2;
/** If what is under way waits for longer than this, in milliseconds, less is begun than is done: such a part of it. */
const [longMs, part] = [50, 0.5];
/** How many outcomes a request brings is an average of about so many requests, and what one costs of so many milliseconds. */
const [averagedRequests, averagedMs] = [64, 300];
/** What an outcome costs as long as nobody knows, and the least and most that it is believed to cost, in milliseconds. */
const [firstMs, minMs, maxMs] = [0.02, 0.002, 5];
/** How fast the time that a commit costs whatever it brings follows one that has taken longer: such a part of the difference. */
const followPart = 0.05;
/** How many outcomes a request brings as long as nobody knows. */
const firstOutcomes = 100;

/**
 * Says how many new requests may be begun, so that an engine with more to do than it can finishes what it has begun, in its time,
 * and begins others all the same.
 *
 * A request costs nothing when it is begun, and much a few milliseconds later, when its workers answer. If all that wait were begun
 * at once, they would be one wave of work, in which each is as late as the last. So requests are begun on credit: each takes
 * from it the time that its outcomes will need, and what is decided gives it back. So much is begun as is done, whoever
 * has brought the work: a run with a hundred thousand calls holds nobody up. While the loop has time left, time gives credit, too.
 *
 * What an outcome costs is measured while the loop has no time left: how long it takes from turn to turn, with all that the process
 * does besides. While it has some, an outcome costs that much at most. How many outcomes a request brings is what was decided lately.
 *
 * A commit that the loop stands still for costs its time whatever it brings, and so the more it brings the better. That time is no
 * part of what an outcome costs. If it were, a slow disk would let few requests begin, each commit would bring little, and so each
 * outcome would cost much: an engine would go on at a fraction of its speed, however many requests wait.
 */
export class Pace {
  #outcomeMs = firstMs;
  #outcomes = firstOutcomes * averagedRequests;
  #requests = averagedRequests;
  #creditMs = burstMs;
  /** The most credit that there may be: more, if requests have waited for a slow store, which lets the loop have few turns. */
  #mostMs = burstMs;
  /** When the last turn began, and how much it has decided. */
  #turnedAt = 0;
  #decided = 0;
  /** The part of what is decided that gives credit. */
  #part = 1;
  /** What a commit that the loop stands still for takes whatever it brings, and how much of that was since the last turn. */
  #commitMs = Number.POSITIVE_INFINITY;
  #stoodMs = 0;
  /** The turns since the last bound in which the loop had time left: how long they took, the part of it without commits, and what they did. */
  readonly #left = { ms: 0, workMs: 0, decided: 0 };

  /** The loop has stood still for a commit, for so long. */
  stood(ms: number): void {
    const isLess = ms < this.#commitMs;
    this.#commitMs = isLess ? ms : this.#commitMs + followPart * (ms - this.#commitMs);
    this.#stoodMs += Math.min(ms, this.#commitMs);
  }

  /**
   * A turn that decides begins. `isFull`: the last one has left over what is under way, and that has waited for `waitMs`. The first
   * new request has waited for `newMs`.
   */
  turn(now: number, isFull: boolean, { waitMs, newMs }: { waitMs: number; newMs: number }): void {
    const passedMs = now - this.#turnedAt;
    this.#turnedAt = now;
    this.#part = waitMs > longMs ? part : 1;
    const givenMs = isFull ? 0 : ramp * passedMs;
    this.#mostMs = Math.max(burstMs, Math.min(givenMs, ramp * newMs));
    this.#give(givenMs);
    const workMs = Math.max(0, passedMs - this.#stoodMs);
    if (!isFull) this.#bound(passedMs, workMs);
    else if (this.#decided > 0) this.#measure(workMs, this.#decided);
    this.#decided = 0;
    this.#stoodMs = 0;
  }

  /** It has done that much in that time, and could have done more. */
  #bound(passedMs: number, workMs: number): void {
    const left = this.#left;
    left.ms += passedMs;
    left.workMs += workMs;
    left.decided += this.#decided;
    // Work that is done now may have its outcomes later. So one turn tells nothing.
    if (left.ms < averagedMs) return;
    if (left.decided > 0)
      this.#outcomeMs = Math.min(this.#outcomeMs, Math.max(minMs, left.workMs / left.decided));
    left.ms = 0;
    left.workMs = 0;
    left.decided = 0;
  }

  #give(ms: number): void {
    this.#creditMs = Math.min(this.#mostMs, this.#creditMs + ms);
  }

  #measure(workMs: number, decided: number): void {
    const ms = Math.max(minMs, Math.min(maxMs, workMs / decided));
    this.#outcomeMs += Math.min(1, workMs / averagedMs) * (ms - this.#outcomeMs);
  }

  /**
   * So many inputs under way were decided, some of which are outcomes, and so many new requests begun. Negative: they were not, after
   * all.
   */
  decided(inputs: number, outcomes: number, requests: number): void {
    this.#decided += inputs;
    this.#give(inputs * this.#outcomeMs * this.#part - requests * this.requestMs);
    this.#outcomes = Math.max(0, this.#outcomes + outcomes);
    this.#requests = Math.max(1, this.#requests + requests);
    if (this.#requests <= averagedRequests) return;
    this.#outcomes *= averagedRequests / this.#requests;
    this.#requests = averagedRequests;
  }

  /** About how long the loop will work for a new request, in milliseconds. Others may have brought most outcomes: it has a bound. */
  get requestMs(): number {
    return Math.min(burstMs / 4, (1 + this.#outcomes / this.#requests) * this.#outcomeMs);
  }

  /** How many new requests may be begun now. */
  get most(): number {
    return this.#creditMs <= 0 ? 0 : Math.ceil(this.#creditMs / this.requestMs);
  }

  /** After how long one may be begun if nothing is decided meanwhile, in milliseconds. */
  get heldMs(): number {
    return this.#creditMs > 0 ? 0 : Math.floor(-this.#creditMs / ramp) + 1;
  }
}
