import type { Callable, Failed, Hub, Outcome, RunEvent, Schema, Spoke } from "@wheelwork/core";
import {
  apply,
  canonicalJson,
  check,
  decide,
  firstLine,
  isRetriedForever,
  isOpening,
  isRunning,
  jsonText,
  noDeadline,
  nextTimer,
  restore,
  Run,
  snapshot,
  start,
  type Call,
  type HubDefinition,
  type Input,
  type StateDefinition,
} from "@wheelwork/core/kernel";
import { Exploration, findingOf, type Finding, type FindingKind } from "./exploration.ts";
import { outputsOf, type OutputSamples } from "./generate.ts";
import { samplesOf } from "./samples.ts";
import type { Step } from "./sequence-diagram.ts";

/**
 * The options of `explore`. Samples that you do not give are made from the schemas. This works with libraries that can
 * express a schema as JSON Schema (zod, arktype).
 */
export interface ExploreOptions<I = unknown> {
  /** Requests to begin with. Give small ones: each item of a round multiplies what there is to explore. */
  readonly requests?: readonly I[];
  /** Outputs of the spokes and hubs that the hub calls, by name. */
  readonly outputs?: OutputSamples;
  /** Payloads of the hub's signals, by name. */
  readonly signals?: { readonly [signal: string]: readonly unknown[] };
  /** How many situations to explore, at most. Default: 10,000. */
  readonly maxConfigurations?: number;
  /** How often a run may come back to the same state and calls with other data before this is a finding. Default: 8. */
  readonly maxRounds?: number;
}

/**
 * Explores every path of a hub, without workers and without waiting. In each situation:
 * - each open call succeeds with each sample output, fails with each error, and times out;
 * - each signal comes, also before the run waits for it;
 * - the run is cancelled, its timers fire, and its deadline passes;
 * - late, stale and repeated inputs come, and must change nothing.
 *
 * Equal situations are explored once. Shorter paths come first. So the same hub always gives the same report. A hub
 * that this one calls is like a spoke here. Explore it by itself too.
 *
 * Of similar calls in one round (same callee, same tag), only the first and the last settle, in each order. That bounds
 * the number of paths. Mistakes of handlers with the order of outcomes show at the ends.
 * @throws WheelworkError WW_CONFIG when a sample is not valid, or none can be made.
 */
export function explore<I>(hub: Hub<I>, options: ExploreOptions<NoInfer<I>> = {}): Exploration {
  return new Walk(hub.definition, options).report();
}

/** A run in a situation, and the step that led to it. */
interface Place {
  readonly run: Run;
  /** Equal situations have equal keys. */
  readonly key: string;
  /** The situation without its data. A run that goes around a cycle comes back to the same outline. */
  readonly outline: string;
  readonly now: number;
  readonly step: Step;
  /** The step is an outcome of a call. Such steps can follow one another without end, and no client does anything. */
  readonly byItself: boolean;
  readonly before: Place | undefined;
}

/** What is known of all places with one key. */
interface Known {
  /** The first one found: it has the shortest path. */
  readonly place: Place;
  /** The longest time until the deadline in any of them, in milliseconds. */
  slackMs: number;
  /** The places that steps with `byItself` lead to, by key. */
  readonly next: Map<string, Place>;
}

/** Something that can happen next. `play` returns false if it cannot happen: a deadline would come first. */
interface Move {
  readonly from: string;
  readonly text: (trial: Trial) => string;
  readonly byItself: boolean;
  readonly play: (trial: Trial) => boolean;
}

/** A breadth-first search over the situations of a hub. */
class Walk {
  readonly #definition: HubDefinition;
  readonly #options: ExploreOptions;
  readonly #maxConfigurations: number;
  readonly #maxRounds: number;
  readonly #findings = new Map<string, Finding>();
  readonly #known = new Map<string, Known>();
  readonly #queue: Place[] = [];
  readonly #made = new Map<string, readonly Outcome[]>();
  readonly #states = new Set<string>();
  readonly #edges = new Set<string>();
  #ignored = 0;
  #complete = true;

  constructor(definition: HubDefinition, options: ExploreOptions) {
    this.#definition = definition;
    this.#options = options;
    this.#maxConfigurations = options.maxConfigurations ?? 10_000;
    this.#maxRounds = options.maxRounds ?? 8;
    this.#begin();
    // The loop adds to the queue while it runs: that makes the search breadth-first.
    for (const place of this.#queue) this.#expand(place);
  }

  report(): Exploration {
    const { name, chart } = this.#definition;
    this.#findCycles();
    const edges = Object.entries(chart).flatMap(([state, row]) =>
      typeof row === "string" ? [] : Object.keys(row).map((event) => ({ state, event })),
    );
    const within = this.#complete ? "" : " within the bound";
    // The chart of a hub by handlers is not its author's: what the handlers have no use for is no mistake.
    const isOwn = ![...this.#definition.states.values()].some(({ logic }) => logic.kind === "handlers");
    for (const state of isOwn ? Object.keys(chart) : []) {
      if (!this.#states.has(state)) this.#find("state-unreached", state, `no run enters it${within}`);
    }
    for (const { state, event } of isOwn ? edges : []) {
      if (this.#states.has(state) && !this.#edges.has(edgeOf(state, event)))
        this.#find("edge-untaken", state, `no run takes its edge ${event}${within}`);
    }
    return new Exploration({
      hub: name,
      findings: [...this.#findings.values()],
      states: { reached: this.#states.size, total: Object.keys(chart).length },
      edges: { reached: this.#edges.size, total: edges.length },
      configurations: this.#known.size,
      ignored: this.#ignored,
      complete: this.#complete,
    });
  }

  #begin(): void {
    const { name, request: schema } = this.#definition;
    for (const sample of samplesOf(schema, `the request to ${name}`, "requests", this.#options.requests)) {
      const trial = new Trial(this.#definition, new Run("run"), 0);
      trial.start(valueOf(schema, sample));
      this.#arrive(trial, {
        from: "client",
        text: `request ${jsonText(sample, maxText)}`,
        before: undefined,
        byItself: false,
      });
    }
  }

  /** Tries everything that can happen in a place. */
  #expand(place: Place): void {
    if (place.run.status !== "running") return;
    this.#probe(place);
    for (const move of this.#moves(place.run)) {
      const trial = new Trial(this.#definition, copyOf(place.run), place.now);
      if (!move.play(trial)) continue;
      const { from, byItself } = move;
      this.#arrive(trial, { from, text: move.text(trial), before: place, byItself });
    }
  }

  /** Records where a step has led, and queues the place if it is new. */
  #arrive(
    trial: Trial,
    { from, text, before, byItself }: Pick<Place, "before" | "byItself"> & Pick<Step, "from" | "text">,
  ): void {
    const { run, now, events } = trial;
    const key = keyOf(run);
    const place: Place = {
      run,
      key,
      outline: outlineOf(run),
      now,
      step: { from, text, events },
      byItself,
      before,
    };
    this.#cover(before?.run.state, events);
    if (trial.impure) {
      const state = before?.run.state ?? this.#definition.initial;
      this.#find("impure", state, "the same input gave two different results", place);
    }
    const slackMs = (run.due ?? now) - now;
    if (before !== undefined && byItself) this.#known.get(before.key)?.next.set(key, place);
    const known = this.#known.get(key);
    if (known !== undefined) {
      // With more time left, calls may time out that could not before, so the place is explored again.
      if (slackMs <= known.slackMs) return;
      known.slackMs = slackMs;
      this.#queue.push(place);
      return;
    }
    if (this.#known.size >= this.#maxConfigurations) {
      this.#complete = false;
      return;
    }
    this.#known.set(key, { place, slackMs, next: new Map() });
    if (this.#judge(place)) this.#queue.push(place);
  }

  /** Looks for what is wrong with a new place. Returns whether to explore on from there. */
  #judge(place: Place): boolean {
    const { run, step } = place;
    if (run.status === "ended") return true;
    if (run.incident !== undefined) {
      const { code, message } = run.incident.error;
      const kind = code === "WW_INVALID_REPLY" ? "bad-reply" : "incident";
      this.#find(kind, run.state === "" ? this.#definition.initial : run.state, firstLine(message), place);
      return false;
    }
    const state = this.#definition.states.get(run.state) as StateDefinition;
    if (isStuck(run, state, step))
      this.#find(
        "stuck",
        run.state,
        "no call is open and no signal is taken: only the deadline moves the run",
        place,
      );
    return this.#judgeRounds(place);
  }

  /** Finds a run that comes back to the same outline too often: its data grows, or the run may never end. */
  #judgeRounds(place: Place): boolean {
    const rounds: Place[] = [place];
    let byItself = true;
    let sinceRound = place.byItself;
    for (let earlier = place.before; earlier !== undefined; earlier = earlier.before) {
      if (earlier.outline === place.outline) {
        rounds.unshift(earlier);
        byItself &&= sinceRound;
        sinceRound = true;
      }
      sinceRound &&= earlier.byItself;
    }
    const times = rounds.length - 1;
    if (times < this.#maxRounds) return true;
    const sizes = rounds.map(({ run }) => jsonText(run.data).length);
    if (sizes.every((size, index) => index === 0 || size > (sizes[index - 1] ?? 0))) {
      const growth = `from ${sizes[0]} to ${sizes.at(-1)} characters in ${times} rounds`;
      this.#find("growing-data", place.run.state, `the data grows with each round, ${growth}`, place);
    } else if (byItself) {
      const message = `it has gone round ${times} times, and no end is in sight; raise maxRounds if there is one`;
      this.#find("never-ends", place.run.state, message, place);
    }
    return false;
  }

  /** Finds cycles in which nothing changes, not even the data. A run can stay in one for as long as outcomes repeat. */
  #findCycles(): void {
    const reported = new Set<string>();
    for (const key of innerKeys(this.#known)) {
      const { place } = this.#known.get(key) as Known;
      if (reported.has(place.run.state)) continue;
      const around = wayBack(this.#known, key);
      if (around === undefined) continue;
      const states = [...new Set(around.map(({ run }) => run.state))];
      for (const state of states) reported.add(state);
      this.#find(
        "never-ends",
        place.run.state,
        `it goes round in ${states.join(", ")} for as long as its workers answer so: only the deadline ends it`,
        [...stepsTo(place), ...around.map(({ step }) => step)],
      );
    }
  }

  #find(kind: FindingKind, state: string, message: string, way: Place | readonly Step[] = []): void {
    const id = `${kind} ${state} ${message}`;
    if (this.#findings.has(id)) return;
    const steps = "run" in way ? stepsTo(way) : way;
    this.#findings.set(id, findingOf(this.#definition.name, { kind, state, message }, steps));
  }

  #cover(from: string | undefined, events: readonly RunEvent[]): void {
    let state = from;
    for (const event of events) {
      if (state !== undefined && "by" in event && event.by !== undefined)
        this.#edges.add(edgeOf(state, event.by));
      if (event.type !== "entered") continue;
      state = event.state;
      this.#states.add(state);
    }
  }

  /** Late, stale and repeated inputs must change nothing (I3, I4). */
  #probe(place: Place): void {
    const { run, step } = place;
    const { epoch } = run;
    const outcome = { kind: "timeout" as const };
    const probes: Input[] = [];
    for (const { number: call, attempt } of ends(run)) {
      probes.push({ kind: "outcome", call, attempt: attempt + 1, epoch, outcome });
      probes.push({ kind: "outcome", call, attempt, epoch: epoch - 1, outcome });
    }
    const closed = Array.from({ length: run.nextCall + 1 }, (_, call) => call).find(
      (call) => !run.calls.has(call),
    ) as number;
    probes.push(
      { kind: "outcome", call: closed, attempt: 1, epoch, outcome },
      { kind: "callDue", call: closed },
    );
    for (const event of step.events) {
      if (event.type === "signalled")
        probes.push({ kind: "signal", id: event.id, signal: event.signal, payload: event.payload });
    }
    if (run.cancel !== "none") probes.push({ kind: "cancel", id: "again" });
    for (const input of probes) {
      const trial = new Trial(this.#definition, run, place.now);
      const events = trial.decide(input);
      if (events.length === 0) this.#ignored++;
      else this.#find("not-ignored", run.state, `a late or repeated ${input.kind} changed the run`, place);
    }
  }

  #moves(run: Run): Move[] {
    const { states, signals, callees } = this.#definition;
    const { logic, late } = states.get(run.state) as StateDefinition;
    const moves: Move[] = [];
    for (const call of ends(run)) {
      const callee = callees.get(call.callee) as Callable;
      for (const outcome of this.#outcomes(callee, call.input)) {
        // No call comes to a failure that is retried until the state gives up: that is the move of the deadline.
        if (callee.kind === "spoke" && isRetriedForever((callee as Spoke).retry, outcome)) continue;
        moves.push(settling(call, outcome));
      }
    }
    for (const [signal, schema] of Object.entries(signals)) {
      // One early signal is enough: more of them show nothing new.
      const isTaken = run.round.held === undefined && logic.signals?.includes(signal) === true;
      if (!isTaken && run.received.signals.length > 0) continue;
      const given = this.#options.signals?.[signal];
      for (const sample of samplesOf(schema, `the signal ${signal}`, `signals["${signal}"]`, given)) {
        const payload = valueOf(schema, sample);
        const id = `${signal} ${run.received.unnamed?.size ?? 0}`;
        moves.push({
          from: "client",
          text: () => `signal ${signal} ${jsonText(sample, maxText)}`,
          byItself: false,
          play: (trial) => trial.take({ kind: "signal", id, signal, payload }),
        });
      }
    }
    if (run.cancel === "none" && !late)
      moves.push({
        from: "client",
        text: () => "cancel",
        byItself: false,
        play: (trial) => trial.take({ kind: "cancel", id: "cancel" }),
      });
    return [...moves, ...timeMoves(run)];
  }

  /** Every outcome that a call can have. Outcomes that do not depend on its input are made once. */
  #outcomes(callee: Callable, input: unknown): readonly Outcome[] {
    const known = this.#made.get(callee.name);
    if (known !== undefined) return known;
    const outcomes = this.#outcomesFor(callee, input);
    if (typeof this.#options.outputs?.[callee.name] !== "function") this.#made.set(callee.name, outcomes);
    return outcomes;
  }

  #outcomesFor(callee: Callable, input: unknown): Outcome[] {
    const schema = callee.kind === "hub" ? (callee as Hub).definition.reply : (callee as Spoke).output;
    const outputs = outputsOf(callee, input, this.#options.outputs);
    // Besides the declared errors, a worker can always throw, and a hub can always be cancelled.
    const codes: string[] = [...callee.errors, callee.kind === "hub" ? "WW_CANCELLED" : "WW_WORKER_FAILED"];
    if (callee.kind === "spoke" && (callee as Spoke).heartbeatMs !== undefined) codes.push("WW_NO_HEARTBEAT");
    return [
      ...outputs.map((output): Outcome => ({ kind: "ok", output: valueOf(schema, output) })),
      ...codes.map((code): Outcome => ({
        kind: "error",
        code: code as Failed["code"],
        message: `${code} (explored)`,
      })),
      { kind: "timeout" },
    ];
  }
}

/** How many characters of a value a report shows. */
const maxText = 60;

/** A copy of a run, to try an input on. */
class Trial {
  readonly run: Run;
  readonly events: RunEvent[] = [];
  now: number;
  /** A decision was made twice, and the results differ (I2). */
  impure = false;
  readonly #definition: HubDefinition;

  constructor(definition: HubDefinition, run: Run, now: number) {
    this.#definition = definition;
    this.run = run;
    this.now = now;
  }

  start(request: unknown): void {
    const begin = (): readonly RunEvent[] =>
      start(this.#definition, this.run, { request, hash: "" }, this.#env());
    this.#apply(this.#twice(begin));
  }

  /** The events of an input, without applying them. */
  decide(input: Input): readonly RunEvent[] {
    return decide(this.#definition, this.run, input, this.#env()).events;
  }

  /** Applies an input. Returns whether it changed anything. */
  take(input: Input): boolean {
    const events = this.#twice(() => this.decide(input));
    this.#apply(events);
    return events.length > 0;
  }

  waitUntil(time: number): void {
    this.now = Math.max(this.now, time);
  }

  /** The deadline of the client passes now. */
  endTime(): void {
    this.now++;
    this.run.deadline = this.run.due = this.now;
  }

  /** Decides twice, and compares. */
  #twice(decision: () => readonly RunEvent[]): readonly RunEvent[] {
    const events = decision();
    // An incident holds the stack of its error, and two stacks differ.
    const again = events.at(-1)?.type === "incident" ? events : decision();
    if (JSON.stringify(again) !== JSON.stringify(events)) this.impure = true;
    return events;
  }

  #env() {
    // `random` gives the shortest backoff that the jitter allows.
    return { now: this.now, random: 0.999_999 };
  }

  #apply(events: readonly RunEvent[]): void {
    for (const event of events) {
      apply(this.run, event);
      this.events.push(event);
    }
    if (isOpening(this.run)) this.#apply(this.#twice(() => this.decide({ kind: "open" })));
  }
}

/** Time passes: until the next timer fires, or until the deadline has passed, which a client may set to any time. */
function timeMoves({ timers = [], late, deadline }: Run): Move[] {
  const next = nextTimer(timers);
  const moves: Move[] = [];
  const due = (text: string, play: (trial: Trial) => void): void =>
    void moves.push({
      from: "coordinator",
      text: () => text,
      byItself: false,
      play: (trial) => {
        play(trial);
        return trial.take({ kind: "due" });
      },
    });
  if (next !== undefined && (late || next.due < deadline))
    due(`timer ${next.event}`, (trial) => trial.waitUntil(next.due));
  if (!late && deadline < noDeadline) due("deadline", (trial) => trial.endTime());
  return moves;
}

/** A call settles: each of its attempts has the same outcome, until none is left. */
function settling({ number, callee }: Call, outcome: Outcome): Move {
  const timesOut = outcome.kind === "timeout";
  return {
    from: timesOut ? "coordinator" : callee,
    byItself: true,
    text: ({ events }) => {
      const attempts = events.filter(({ type }) => type === "attempt").length + 1;
      const often = attempts === 1 ? "" : ` (${attempts} attempts)`;
      if (outcome.kind === "ok") return `#${number} ok ${jsonText(outcome.output, maxText)}`;
      return timesOut ? `#${number} of ${callee} timed out${often}` : `#${number} ${outcome.code}${often}`;
    },
    play: (trial) => {
      const { run } = trial;
      for (let call = run.calls.get(number); call !== undefined; call = run.calls.get(number)) {
        if (run.status !== "running") return true;
        const waits = call.backoff || (timesOut && !call.isHub);
        if (waits) {
          trial.waitUntil(call.due ?? 0);
          if (trial.now > (run.due ?? Number.POSITIVE_INFINITY)) return false;
        }
        const { attempt } = call;
        const changed = waits
          ? trial.take({ kind: "callDue", call: number })
          : trial.take({ kind: "outcome", call: number, attempt, epoch: run.epoch, outcome });
        if (!changed) return false;
      }
      return true;
    },
  };
}

/** The running calls, but of similar ones only the first and the last. */
function ends(run: Run): Call[] {
  const groups = new Map<string, Call[]>();
  for (const call of run.calls.values()) {
    if (!isRunning(call)) continue;
    const alike = canonicalJson([call.callee, call.tag]);
    const group = groups.get(alike);
    if (group === undefined) groups.set(alike, [call]);
    else group[1] = call;
  }
  return [...groups.values()].flat();
}

/** Whether only the deadline can move the run, and its hub did not ask for this with `inputs: () => null`. */
function isStuck(run: Run, { logic }: StateDefinition, { events }: Step): boolean {
  if (run.calls.size > 0 || (logic.signals ?? []).length > 0) return false;
  if (!run.late && nextTimer(run.timers ?? []) !== undefined) return false;
  return logic.kind === "handlers" || logic.kind === "wait" || events.at(-1)?.type === "settled";
}

function stepsTo(place: Place): Step[] {
  const steps: Step[] = [];
  for (let at: Place | undefined = place; at !== undefined; at = at.before) steps.unshift(at.step);
  return steps;
}

const edgeOf = (state: string, event: string): string => `${state} ${event}`;
const copyOf = (run: Run): Run => restore(run.key, snapshot(run));
const valueOf = (schema: Schema, sample: unknown): unknown => {
  const checked = check(schema, sample);
  return checked.problems === undefined ? checked.value : sample;
};

/** Two situations are equal if this is equal: it leaves out times, and numbers that only grow. */
function keyOf(run: Run): string {
  const { status, late, cancel, received, round, answer, incident, calls, state } = run;
  const timers = run.timers?.map(({ event, fired }) => [event, fired]);
  const open = Array.from(calls.values(), ({ callee, tag, index, input, attempt }) => {
    return [callee, tag, index, input, attempt > 0];
  });
  const error = incident?.error.message;
  const rest = [status, state, round.held, late, cancel, received.signals, answer, error, open, timers];
  // Only the data is canonical JSON: everything else has a fixed order of its fields.
  return `${canonicalJson(run.data)} ${JSON.stringify(rest)}`;
}

function outlineOf({ state, round, late, cancel, received, calls }: Run): string {
  const open = Array.from(calls.values(), ({ callee, tag, index }) => [callee, tag, index]);
  return JSON.stringify([state, round.held, late, cancel, received.signals.length, open]);
}

/** The situations that may be on a cycle: those that are left after removing, repeatedly, all that lead nowhere. */
function innerKeys(known: ReadonlyMap<string, Known>): string[] {
  const left = new Map<string, number>();
  const sources = new Map<string, string[]>();
  for (const [key, { next }] of known) {
    left.set(key, next.size);
    for (const target of next.keys()) sources.set(target, [...(sources.get(target) ?? []), key]);
  }
  const leaves = [...left].filter(([, count]) => count === 0).map(([key]) => key);
  for (const leaf of leaves) {
    left.delete(leaf);
    for (const source of sources.get(leaf) ?? []) {
      const count = (left.get(source) ?? 0) - 1;
      left.set(source, count);
      if (count === 0) leaves.push(source);
    }
  }
  return [...left.keys()];
}

/** The shortest path from a situation back to itself. */
function wayBack(known: ReadonlyMap<string, Known>, key: string): Place[] | undefined {
  const ways = new Map<string, Place[]>([[key, []]]);
  for (const [from, way] of ways) {
    for (const [target, place] of known.get(from)?.next ?? []) {
      if (target === key) return [...way, place];
      if (!ways.has(target)) ways.set(target, [...way, place]);
    }
  }
  return undefined;
}
