import type { Answer } from "@wheelwork/core";
import { ownSpokes } from "../charts.ts";
import type { TraceEntry } from "../trace.ts";
import { callHub } from "./calls.ts";
import type { Evidence } from "./evidence.ts";
import type { CallModel, RunModel } from "./model.ts";
import type { Ownership } from "./ownership.ts";

/** What is committed as the outcome of an attempt. */
type Committed = "ok" | { readonly kind: string; readonly code?: string };

/**
 * Holds what is committed of attempts against what was seen of them outside: each is made after its commit and before it is
 * over (I9), under one key (I11), and an outcome is what its worker said of it (I4), or its deadline (I8).
 */
export class Attempts {
  readonly #evidence: Evidence;
  readonly #ownership: Ownership;
  /** What workers have given: `request/call/attempt`. */
  readonly #outcomes = new Map<string, string[]>();
  /** The last attempt of each call that was ever committed: `request/call`. */
  readonly #committed = new Map<string, number>();
  /** When attempts were over, in simulated time: `request/call/attempt`. */
  readonly #over = new Map<string, number>();
  readonly #callOfKey = new Map<string, string>();
  readonly #keyOfCall = new Map<string, string>();
  /** The calls that time out in their first attempt in the commit that is looked at, by run. */
  #timeouts = new Map<string, CallModel[]>();

  constructor(evidence: Evidence, ownership: Ownership) {
    this.#evidence = evidence;
    this.#ownership = ownership;
  }

  // ---- what is seen outside ----

  /** A worker makes an attempt: in the process that has handed it out, or in another one. */
  made(entry: TraceEntry & { type: "attempt" }): void {
    const { request, call, attempt, idempotencyKey } = entry;
    const name = `${request}/${call}`;
    this.#checkKey(name, request, idempotencyKey);
    this.#evidence.demand(
      "I9",
      attempt <= (this.#committed.get(name) ?? 0),
      () => `attempt ${attempt} of ${name} is made, which was never committed`,
    );
    this.handedOut(entry);
  }

  /** An owner hands an attempt out. */
  handedOut({
    node,
    request,
    call,
    attempt,
    spoke,
  }: Pick<TraceEntry & { type: "attempt" }, "node" | "request" | "call" | "attempt" | "spoke">): void {
    const { at, runs, system } = this.#evidence;
    const name = `${request}/${call}`;
    // One that was fenced and does not know it yet may go on with what it had handed out.
    if (node !== this.#ownership.owner) return;
    const run = runs.get(request);
    const open = run?.calls.get(call);
    const over = this.#over.get(`${name}/${attempt}`);
    if (over !== undefined && over + system.lagMs > at) return;
    this.#evidence.demand(
      "I9",
      run?.status !== "ended" &&
        open !== undefined &&
        open.callee === spoke &&
        open.attempt === attempt &&
        !open.backoff,
      () => `attempt ${attempt} of ${name} is made, which is not committed, or is over`,
    );
    if (open === undefined || open.attempt !== attempt) return;
    this.#evidence.demand(
      "I24",
      open.deaths < 2 || open.alone,
      () => `attempt ${attempt} of ${name} is made with others, after ${open.deaths} deaths`,
    );
    const { claims } = this.#ownership;
    open.begunAgain = open.begun || open.openedIn !== claims;
    open.begun = true;
    open.begunIn = claims;
  }

  #checkKey(name: string, request: string, idempotencyKey: string): void {
    const key = this.#keyOfCall.get(name) ?? idempotencyKey;
    this.#evidence.demand(
      "I11",
      key === idempotencyKey,
      () => `${name} has two keys: ${key}, ${idempotencyKey}`,
    );
    const owner = this.#callOfKey.get(idempotencyKey) ?? name;
    this.#evidence.demand(
      "I11",
      owner === name || owner.slice(0, owner.lastIndexOf("/")) === request,
      () => `${name} and ${owner} share the key ${idempotencyKey}`,
    );
    this.#keyOfCall.set(name, key);
    this.#callOfKey.set(idempotencyKey, owner);
  }

  /** What a worker has said. */
  said({ node, request, call, attempt, outcome }: TraceEntry & { type: "outcome" }): void {
    const { at, runs } = this.#evidence;
    const { owner, healthySince, claims } = this.#ownership;
    const name = `${request}/${call}/${attempt}`;
    const said = outcome?.kind === "error" ? `error ${outcome.code}` : String(outcome?.kind);
    this.#outcomes.set(name, [...(this.#outcomes.get(name) ?? []), said]);
    const open = runs.get(request)?.calls.get(call);
    if (node !== owner || open === undefined || open.attempt !== attempt || said === "timeout") return;
    // What was begun before the owner lost its memory was told to stop, so that its failure says nothing. It may wait to begin again.
    if (said !== "ok" && open.begunIn !== claims) return;
    if (healthySince <= at && !open.begunAgain) open.outcomeAt ??= at;
  }

  // ---- what is committed ----

  /** A commit is looked at. */
  begin(): void {
    this.#timeouts = new Map();
  }

  /** All events of a commit are seen: callbacks fire in the order in which they are due. */
  end(): void {
    for (const calls of this.#timeouts.values()) {
      const sorted = calls.toSorted((a, b) => (a.due ?? 0) - (b.due ?? 0));
      this.#evidence.demand(
        "I7",
        calls.every((call, place) => call.due === sorted[place]?.due),
        () => `callbacks fire in another order than they are due: ${calls.map(({ due }) => due).join(", ")}`,
      );
    }
  }

  /** An attempt is committed: from now on it may be made. */
  begun({ key }: Pick<RunModel, "key">, { number, attempt }: Pick<CallModel, "number" | "attempt">): void {
    const name = `${key}/${number}`;
    this.#committed.set(name, Math.max(attempt, this.#committed.get(name) ?? 0));
  }

  /** An attempt is over. */
  over({ key }: RunModel, { number, attempt }: CallModel): void {
    this.#over.set(`${key}/${number}/${attempt}`, this.#evidence.at);
  }

  /** An outcome comes from the worker's attempt that is current, from the child's answer, or from the deadline. */
  settled(run: RunModel, call: CallModel, outcome: Committed, at: number): void {
    if (call.isHub) return this.#settledByChild(run, call, outcome);
    if (ownSpokes.has(call.callee)) return;
    const kind = outcome === "ok" ? "ok" : outcome.kind;
    const { number, attempt } = call;
    const given = this.#outcomes.get(`${run.key}/${number}/${attempt}`) ?? [];
    if (kind === "timeout" && !given.includes("timeout")) return this.#timedOut(run, call, at);
    const code = typeof outcome === "object" ? outcome.code : undefined;
    const fits =
      given.includes(kind === "error" ? `error ${code}` : kind) ||
      // The engine says that: see Heartbeats.
      code === "WW_NO_HEARTBEAT" ||
      (given.includes("broken") && kind !== "ok");
    this.#evidence.demand(
      "I4",
      fits,
      () => `${run.key}: call ${number} is ${kind} ${code ?? ""}, which no worker said of attempt ${attempt}`,
    );
  }

  #settledByChild(run: RunModel, { number }: CallModel, outcome: Committed): void {
    const kind = outcome === "ok" ? "ok" : outcome.kind;
    this.#evidence.later(() => {
      const child = this.#evidence.runs.get(`${run.key}/${number}`);
      const answer = child?.hub === callHub ? carriedBy(child.answer) : child?.answer;
      const given = answer?.kind === "result" ? "ok" : answer?.kind;
      const tooDeep = typeof outcome === "object" && outcome.code === "WW_DEFECT";
      this.#evidence.demand(
        "I4",
        given === kind || tooDeep,
        () => `${run.key}: call ${number} is ${kind}, its child is ${given}`,
      );
    });
  }

  #timedOut(run: RunModel, call: CallModel, at: number): void {
    const { number, attempt, due } = call;
    this.#evidence.demand(
      "I8",
      due !== undefined && at >= due,
      () => `${run.key}: call ${number} times out at ${at}, due ${due}`,
    );
    if (attempt === 1) this.#timeouts.set(run.key, [...(this.#timeouts.get(run.key) ?? []), { ...call }]);
    this.#evidence.demand(
      "I10",
      call.outcomeAt === undefined || this.#isLate(call.outcomeAt, due),
      () => `${run.key}: call ${number} times out, though its outcome waited`,
    );
    this.#wasMade(run, call);
  }

  /** Whether an outcome came when its time was over, or while the timeout was being committed. */
  #isLate(outcomeAt: number, due = 0): boolean {
    const { at, now, system } = this.#evidence;
    if (system.lagMs === 0) return false;
    // The timeout was decided before its commit was seen, so that the outcome came somewhat later than this says.
    return outcomeAt + system.lagMs >= at || now - (at - outcomeAt) + system.lagMs >= due;
  }

  /** An attempt that timed out has been made, if the owner had the time for it: to wait for a place is not its time. */
  #wasMade(run: RunModel, call: CallModel): void {
    const { at, now, system } = this.#evidence;
    const { claims, healthySince, isDisturbed, isHanging } = this.#ownership;
    const { number, attempt, due = 0, openedIn, openedAt, begun, begunIn } = call;
    if (run.everParked || (isDisturbed && !isHanging)) return;
    // Its time may be over when its owner hears that it is committed.
    if (due <= openedAt + system.lagMs) return;
    // One that was open when the owner began is made again, unless it was over when all had been read back.
    const began = now - (at - healthySince);
    if (openedIn !== claims && due <= began + system.catchUpMs) return;
    this.#evidence.demand(
      "I11",
      begun && (openedIn === claims || begunIn === claims),
      () => `${run.key}: attempt ${attempt} of call ${number} was never made`,
    );
  }
}

/** The answer of a run that was called in another shard, as its carrier brings it. */
const carriedBy = (answer: Answer | undefined): Answer | undefined =>
  answer?.kind === "result" ? (answer.value as { readonly answer: Answer }).answer : answer;
