import { WheelworkError } from "@wheelwork/core";
import type { Clock } from "../ports/ports.ts";
import { retrying, type RetryPolicy } from "../ports/retry.ts";

/**
 * How a node comes to own a shard, and lets go of it.
 *
 * The group says who may claim a shard; the store's epoch says who owns it (I21). The two can disagree for a while, and
 * claiming and letting go take time and can fail. So each shard of a node is in one of these states:
 *
 *                 assigned               claimed
 *   unassigned ─────────────▶ claiming ───────────▶ owned
 *       ▲                      ▲    │                 │ unassigned: let go, for another node
 *       │                retry │    │ failed          │ outdated:   let go, to claim it anew
 *       │                      │    ▼ for now         │ taken over: let go, until the group says so again
 *       │                      waiting                │ broken:     let go, until somebody has looked after it
 *       │                                             ▼
 *       └──────────────────────────────────────── releasing
 *          released: to the state that it is aimed at
 *
 *   fenced   Another owner has taken the shard over, and the group has not said who may have it. It is asked to share out anew,
 *            instead of claiming again: two owners would take the shard from each other for ever.
 *   failed   Only people can set right what is wrong: its store has lost commits, or the topic of its inbox is missing. It is
 *            claimed again now and then, since nobody tells the node that they have.
 *   refused  The shard has runs of hubs that this node lacks (I20), or a newer version has written its store. For good: the group gives
 *            it to a node that can work on it.
 *   unfit    The clock of this node is far from what the store has seen (WW_CLOCK). The group gives the shard to another node, if there is
 *            one whose clock is right. This node looks at the clocks now and then, and refuses the shard meanwhile.
 *
 * Only one claim or release runs at a time, and neither can be taken back. What happens meanwhile changes the aim: the state
 * that `claiming` or `releasing` is to end in.
 */
export type AssignmentState =
  | { readonly name: "unassigned" | "fenced" | "failed" | "refused" | "unfit" }
  | {
      readonly name: "claiming";
      readonly aim: Aim;
      /** The claim that is under way is of no use: it was taken over, or its log was lost, before it came to its end. */
      readonly isVoid: boolean;
      readonly retryMs: number;
      readonly lostSince: number | undefined;
    }
  | { readonly name: "waiting"; readonly retryMs: number; readonly lostSince: number }
  | { readonly name: "owned"; readonly lostSince: number | undefined }
  | { readonly name: "releasing"; readonly aim: Aim };

type Aim = "owned" | "unassigned" | "fenced" | "failed";

/** What can happen to a shard of a node. `now` is monotonic time. */
export type AssignmentEvent =
  /** The group gives the shard to this node, or says once more that it has it; or gives it to another one. */
  | { readonly type: "assigned" | "unassigned" }
  | { readonly type: "claimed" | "released" }
  | { readonly type: "claim-failed"; readonly cause: ClaimFailure; readonly now: number }
  /** The pause after a failed claim, or after a failure that only people can set right, is over. */
  | { readonly type: "retry" }
  /** Another owner has claimed the shard, and the loop has noticed; or has claimed it at some time, says its store. */
  | { readonly type: "taken-over" | "outdated" }
  | { readonly type: "broken" }
  /** Whether a node that is unfit is so still. */
  | { readonly type: "fit" | "unfit" }
  /** It was taken over some time ago. */
  | { readonly type: "still-fenced" }
  /** Whether the loop has its store now. */
  | { readonly type: "store-checked"; readonly isLost: boolean; readonly now: number };

/**
 * Why a claim failed: this node is older than what is stored, or lacks its hubs; its clock is wrong; only people can set it right; it may
 * go better next time.
 */
export type ClaimFailure = "too-old" | "unfit" | "broken" | "for-now";

/** What is to be done about it, in this order. */
export type AssignmentAction =
  | "claim"
  | "release"
  /** Looks whether another owner has claimed the shard meanwhile. */
  | "confirm"
  /** Looks whether the node is fit by now. */
  | "examine"
  | "start-retry-timer"
  | "cancel-retry-timer"
  | "start-fence-timer"
  | "rejoin"
  | "report-refused"
  | "report-failed"
  | "report-taken-over";

export interface Transition {
  readonly state: AssignmentState;
  readonly actions: readonly AssignmentAction[];
}

const claiming: RetryPolicy = { minMs: 100, maxMs: 5000 };

/** What follows from an event: the next state, and what is to be done. It does nothing itself. */
export function transition(state: AssignmentState, event: AssignmentEvent): Transition {
  switch (event.type) {
    case "assigned":
      return assigned(state);
    case "unassigned":
      return unassigned(state);
    case "claimed":
      if (state.name !== "claiming") return stay(state);
      if (state.aim === "owned" && !state.isVoid) return to({ name: "owned", lostSince: undefined });
      return to({ name: "releasing", aim: state.aim }, "release");
    case "claim-failed":
      return state.name === "claiming" ? claimFailed(state, event) : stay(state);
    case "retry":
      if (state.name === "failed") return claim();
      if (state.name === "unfit") return to(state, "examine");
      if (state.name !== "waiting") return stay(state);
      return claim(Math.min(state.retryMs * 2, claiming.maxMs), state.lostSince);
    case "released":
      if (state.name !== "releasing") return stay(state);
      return state.aim === "owned" ? claim() : state.aim === "failed" ? failed() : to({ name: state.aim });
    case "outdated":
      return state.name === "owned" ? to({ name: "releasing", aim: "owned" }, "release") : stay(state);
    case "taken-over":
      return takenOver(state);
    case "broken":
      return broken(state);
    case "fit":
      return state.name === "unfit" ? to({ name: "unassigned" }, "rejoin") : stay(state);
    case "unfit":
      return state.name === "unfit" ? to(state, "start-retry-timer") : stay(state);
    case "still-fenced":
      return state.name === "fenced" || ("aim" in state && state.aim === "fenced")
        ? to(state, "rejoin")
        : stay(state);
    case "store-checked":
      if (state.name !== "owned") return stay(state);
      return to({ name: "owned", lostSince: event.isLost ? (state.lostSince ?? event.now) : undefined });
  }
}

function assigned(state: AssignmentState): Transition {
  switch (state.name) {
    case "unassigned":
    case "fenced":
    case "failed":
      return claim();
    case "claiming":
    case "releasing":
      return to({ ...state, aim: "owned" });
    case "owned":
      return to(state, "confirm");
    case "waiting":
    case "refused":
    case "unfit":
      return stay(state);
  }
}

function unassigned(state: AssignmentState): Transition {
  switch (state.name) {
    case "claiming":
    case "releasing":
      return to({ ...state, aim: "unassigned" });
    case "owned":
      return to({ name: "releasing", aim: "unassigned" }, "release");
    case "waiting":
    case "failed":
      return to({ name: "unassigned" }, "cancel-retry-timer");
    case "fenced":
      return to({ name: "unassigned" });
    case "unassigned":
    case "refused":
    case "unfit":
      return stay(state);
  }
}

function claimFailed(
  { aim, retryMs, lostSince }: Extract<AssignmentState, { name: "claiming" }>,
  { cause, now }: Extract<AssignmentEvent, { type: "claim-failed" }>,
): Transition {
  if (cause === "too-old") return to({ name: "refused" }, "report-refused", "rejoin");
  if (cause === "unfit") return to({ name: "unfit" }, "report-failed", "rejoin", "start-retry-timer");
  if (cause === "broken")
    return aim === "unassigned" ? to({ name: aim }, "report-failed") : failed("report-failed");
  if (aim !== "owned") return to({ name: aim });
  return to({ name: "waiting", retryMs, lostSince: lostSince ?? now }, "start-retry-timer");
}

function takenOver(state: AssignmentState): Transition {
  switch (state.name) {
    case "owned":
      return to({ name: "releasing", aim: "fenced" }, "report-taken-over", "release", "start-fence-timer");
    case "claiming":
    case "releasing": {
      const next = state.name === "claiming" ? { ...state, isVoid: true } : state;
      if (state.aim !== "owned") return to(next, "report-taken-over");
      return to({ ...next, aim: "fenced" }, "report-taken-over", "start-fence-timer");
    }
    default:
      return stay(state);
  }
}

function broken(state: AssignmentState): Transition {
  switch (state.name) {
    case "owned":
      return to({ name: "releasing", aim: "failed" }, "report-failed", "release");
    case "claiming":
    case "releasing": {
      const next = state.name === "claiming" ? { ...state, isVoid: true } : state;
      return to({ ...next, aim: state.aim === "unassigned" ? "unassigned" : "failed" }, "report-failed");
    }
    default:
      return stay(state);
  }
}

const to = (state: AssignmentState, ...actions: readonly AssignmentAction[]): Transition => ({
  state,
  actions,
});

const stay = (state: AssignmentState): Transition => ({ state, actions: [] });

const claim = (retryMs = claiming.minMs, lostSince?: number): Transition =>
  to({ name: "claiming", aim: "owned", isVoid: false, retryMs, lostSince }, "claim");

const failed = (...actions: readonly AssignmentAction[]): Transition =>
  to({ name: "failed" }, ...actions, "start-retry-timer");

/** Whether the node works on the shard, or is about to: its group lets it keep the shard then. */
export function isWanted(state: AssignmentState): boolean {
  if ("aim" in state) return state.aim === "owned" || state.aim === "fenced";
  return state.name === "owned" || state.name === "waiting" || state.name === "fenced";
}

/** Why a claim failed. */
export function claimFailureOf(error: unknown): ClaimFailure {
  switch (error instanceof WheelworkError ? error.code : undefined) {
    case "WW_HUB_UNKNOWN":
    case "WW_STORE_NEWER":
      return "too-old";
    case "WW_CLOCK":
      return "unfit";
    case "WW_LOG_LOST":
    case "WW_COMMITS_LOST":
    case "WW_CONFIG":
    case "WW_STORE_CORRUPT":
      return "broken";
    default:
      return "for-now";
  }
}

/** What an assignment needs of its node, and does to the shard. */
export interface AssignmentEffects<Owned> {
  readonly clock: Clock;
  claim(): Promise<Owned>;
  release(owned: Owned): Promise<void>;
  /** Whether nobody else has claimed the shard since. It rejects while the store cannot be reached. */
  isLatest(owned: Owned): Promise<boolean>;
  /** Whether a claim would not be refused for the clock of this node. It rejects while the store cannot be reached. */
  isFit(): Promise<boolean>;
  /** Whether the loop is without its store. */
  isLost(owned: Owned): boolean;
  /** Asks the group to share its partitions out anew. */
  rejoin(): void;
  /** Tells the operator of the node. */
  report(what: "refused" | "failed" | "taken-over" | "not-claimed" | "not-released", error: Error): void;
}

/** How long a shard stays fenced before the group is asked who may have it, in milliseconds. */
const fenceMs = 1000;
/** How long after a failure that only people can set right the shard is claimed again, in milliseconds. */
const failedMs = 10_000;

/** One shard of a node: does what the states above say. */
export class ShardAssignment<Owned> {
  readonly #effects: AssignmentEffects<Owned>;
  #state: AssignmentState = { name: "unassigned" };
  #owned: Owned | undefined = undefined;
  /** Why the shard could not be worked on when that was tried last. */
  #failure: string | undefined = undefined;
  /** The claim or release that is under way, or the last one. */
  #running: Promise<void> = Promise.resolve();
  #cancelRetry: () => void = () => {};
  #isOver = false;

  constructor(effects: AssignmentEffects<Owned>) {
    this.#effects = effects;
  }

  /** What was claimed, until it is let go: undefined as long as nothing can be asked of it. */
  get owned(): Owned | undefined {
    return this.#owned;
  }

  get isWanted(): boolean {
    return isWanted(this.#state);
  }

  /** Why the node does not work on the shard although the group says, or would say, that it may have it; undefined: it does. */
  get failure(): string | undefined {
    return this.#failure;
  }

  get isRefused(): boolean {
    return this.#state.name === "refused" || this.#state.name === "unfit";
  }

  /** Since when the shard is without its store, in monotonic time; undefined: it is not, or is not this node's to work on. */
  get lostSince(): number | undefined {
    return "lostSince" in this.#state ? this.#state.lostSince : undefined;
  }

  /** The group says who may have the shard: each time that it shares out, also if nothing changes. */
  assign(isAssigned: boolean): void {
    // What is still wrong is reported again.
    if (!this.isRefused) this.#failure = undefined;
    this.#handle({ type: isAssigned ? "assigned" : "unassigned" });
  }

  /** The shard cannot go on under this claim. */
  ended(why: Error): void {
    const isTakenOver = why instanceof WheelworkError && why.code === "WW_STORE_LOCKED";
    this.#handle({ type: isTakenOver ? "taken-over" : "broken" }, why);
  }

  /** What was claimed is of no use: the inbox was deleted and created again, so that it is read anew. */
  outdated(): void {
    this.#handle({ type: "outdated" });
  }

  /** Looks whether the loop has its store. */
  check(): void {
    if (this.#owned === undefined) return;
    const { clock } = this.#effects;
    const isLost = this.#effects.isLost(this.#owned);
    this.#handle({ type: "store-checked", isLost, now: clock.monotonicMs() });
  }

  /** Resolves when nothing is being claimed or let go. */
  async settled(): Promise<void> {
    while (this.#state.name === "claiming" || this.#state.name === "releasing") await this.#running;
  }

  /** The node has stopped. */
  end(): void {
    this.#isOver = true;
    this.#cancelRetry();
  }

  #handle(event: AssignmentEvent, error?: Error): void {
    const { state, actions } = transition(this.#state, event);
    this.#state = state;
    for (const action of actions) this.#do(action, error);
  }

  #do(action: AssignmentAction, error = new Error("unknown")): void {
    const { clock, rejoin, report } = this.#effects;
    switch (action) {
      case "claim":
        this.#cancelRetry();
        this.#running = this.#claim();
        return;
      case "release":
        this.#running = this.#release();
        return;
      case "confirm":
        void this.#confirm();
        return;
      case "examine":
        void this.#examine();
        return;
      case "start-retry-timer": {
        const { name } = this.#state;
        if (this.#isOver || (name !== "waiting" && name !== "failed" && name !== "unfit")) return;
        const pauseMs = this.#state.name === "waiting" ? this.#state.retryMs : failedMs;
        this.#cancelRetry = clock.after(pauseMs, () => this.#handle({ type: "retry" }));
        return;
      }
      case "cancel-retry-timer":
        return this.#cancelRetry();
      case "start-fence-timer":
        return void clock.after(fenceMs, () => this.#handle({ type: "still-fenced" }));
      case "rejoin":
        return rejoin();
      case "report-refused":
        this.#failure = error.message;
        return report("refused", error);
      case "report-failed": {
        const isNews = this.#failure !== error.message;
        this.#failure = error.message;
        return isNews ? report("failed", error) : undefined;
      }
      case "report-taken-over":
        return report("taken-over", error);
    }
  }

  async #claim(): Promise<void> {
    try {
      this.#owned = await this.#effects.claim();
    } catch (thrown) {
      const error = errorOf(thrown);
      const cause = claimFailureOf(error);
      if (cause === "for-now") this.#effects.report("not-claimed", error);
      return this.#handle({ type: "claim-failed", cause, now: this.#effects.clock.monotonicMs() }, error);
    }
    this.#failure = undefined;
    this.#handle({ type: "claimed" });
  }

  async #examine(): Promise<void> {
    // A store that is away says nothing of the clocks.
    const isFit = await this.#effects.isFit().catch(() => false);
    if (isFit) this.#failure = undefined;
    this.#handle({ type: isFit ? "fit" : "unfit" });
  }

  async #release(): Promise<void> {
    try {
      if (this.#owned !== undefined) await this.#effects.release(this.#owned);
    } catch (thrown) {
      // The next claim is of another epoch, so that nothing of this one can be committed any more.
      this.#effects.report("not-released", errorOf(thrown));
    }
    this.#owned = undefined;
    this.#handle({ type: "released" });
  }

  /**
   * The shard is this node's still, says the group. Another node may have had it meanwhile, while this one stood still: then
   * it is claimed anew. Without anything to commit, this node would not notice.
   */
  async #confirm(): Promise<void> {
    const owned = this.#owned;
    if (owned === undefined) return;
    const confirm = async (): Promise<void> => {
      if (this.#owned !== owned || (await this.#effects.isLatest(owned)) || this.#owned !== owned) return;
      this.#handle({ type: "outdated" });
    };
    await retrying(this.#effects.clock, claiming, confirm);
  }
}

const errorOf = (thrown: unknown): Error => (thrown instanceof Error ? thrown : new Error(String(thrown)));
