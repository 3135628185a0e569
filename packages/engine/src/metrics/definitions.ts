/** What a figure is, for all who show it. */
export interface MetricDefinition {
  /** As OpenTelemetry writes it. Prometheus has `_` for `.`, the unit at the end, and `_total` after a counter. */
  readonly name: string;
  readonly kind: "counter" | "histogram" | "gauge";
  /** `s`, `By`, or what is counted, in braces. */
  readonly unit: string;
  readonly description: string;
  /** The names of its labels. All of them have few values. */
  readonly labels: readonly string[];
  /** Of a histogram: the upper bounds of its buckets. */
  readonly buckets?: readonly number[];
}

const quick = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const long = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86_400,
];
const sizes = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000];

const counter = (
  name: string,
  unit: string,
  description: string,
  labels: readonly string[] = [],
): MetricDefinition => ({ name: `wheelwork.${name}`, kind: "counter", unit, description, labels });

const gauge = (
  name: string,
  unit: string,
  description: string,
  labels: readonly string[] = [],
): MetricDefinition => ({ name: `wheelwork.${name}`, kind: "gauge", unit, description, labels });

const histogram = (
  name: string,
  unit: string,
  description: string,
  labels: readonly string[],
  buckets: readonly number[],
): MetricDefinition => ({ name: `wheelwork.${name}`, kind: "histogram", unit, description, labels, buckets });

/** All figures of an engine. Their names and labels are stable. */
export const metrics = {
  requests: counter(
    "requests",
    "{request}",
    "Requests: accepted, known (their key had come before), or refused since there is too much to do.",
    ["hub", "outcome"],
  ),
  answerTime: histogram(
    "answer.duration",
    "s",
    "From a request to its answer: a result, an error or a timeout.",
    ["hub", "kind"],
    long,
  ),
  stateTime: histogram(
    "state.duration",
    "s",
    "How long runs were in a state that they have left.",
    ["hub", "state"],
    long,
  ),
  attemptTime: histogram(
    "attempt.duration",
    "s",
    "From the decision to make an attempt to its end, with the wait for a place. The outcome is ok, timeout, closed, or a code.",
    ["spoke", "outcome"],
    long,
  ),
  attemptWait: histogram(
    "attempt.wait",
    "s",
    "How long attempts of workers in this process have waited for a place under the limit of their spoke.",
    ["spoke"],
    quick,
  ),
  retries: counter("retries", "{attempt}", "Attempts that have failed and are made again.", [
    "spoke",
    "failure",
  ]),
  attemptDeaths: counter(
    "attempt.deaths",
    "{attempt}",
    "Attempts that were under way when a process ended.",
    ["spoke"],
  ),
  callbackLateness: histogram(
    "callback.lateness",
    "s",
    "How late the latest callback of a batch was.",
    [],
    quick,
  ),
  commitTime: histogram("commit.duration", "s", "How long the store took for a batch.", [], quick),
  decideTime: histogram("decide.duration", "s", "How long it took to decide a batch.", [], quick),
  batchInputs: histogram("batch.inputs", "{input}", "Inputs and callbacks of a batch.", [], sizes),
  batchEvents: histogram("batch.events", "{event}", "Events of a batch.", [], sizes),
  incidents: counter("incidents", "{run}", "Runs that were parked by an exception.", ["hub", "code"]),
  lostTells: counter("tells.lost", "{run}", "Tells and posts that have failed for good.", ["spoke"]),
  deadLetters: counter("dead_letters", "{record}", "Records that became dead letters.", ["topic"]),
  unpublishable: counter("answers.unpublishable", "{answer}", "Answers that a topic will never take.", [
    "topic",
  ]),
  lostLogs: counter("logs.lost", "{loss}", "Topics whose records were deleted before they were read.", [
    "topic",
  ]),
  ignored: counter(
    "inputs.ignored",
    "{input}",
    "Outcomes and callbacks that changed nothing, since they came late or twice.",
    ["reason"],
  ),
  storeLosses: counter("store.losses", "{loss}", "How often a shard was read back, since its store failed."),
  damages: counter("store.damages", "{place}", "Places of the store that were found damaged."),
  lostCommits: counter("store.commits_lost", "{loss}", "How often a store has lost committed batches."),
  shardChanges: counter(
    "shard.changes",
    "{change}",
    "Shards that were claimed, released, fenced (taken over) or refused.",
    ["change"],
  ),
  ready: gauge("ready", "{engine}", "1 if the engine takes requests, otherwise 0."),
  runs: gauge("runs", "{run}", "Runs in memory.", ["hub", "status", "state"]),
  laneHeld: gauge("lane.held", "{run}", "Places that are taken, of all lanes of a name.", ["lane"]),
  laneWaiting: gauge("lane.waiting", "{run}", "Runs that wait for a place, of all lanes of a name.", [
    "lane",
  ]),
  openAttempts: gauge("attempts.open", "{attempt}", "Attempts that are under way or wait for a place.", [
    "shard",
  ]),
  queued: gauge("queue.length", "{input}", "Inputs that wait to be decided.", ["shard"]),
  callbacks: gauge("callbacks", "{callback}", "Callbacks that are registered.", ["shard"]),
  unpublished: gauge("answers.unpublished", "{answer}", "Answers that are not published yet.", ["shard"]),
  lag: gauge("shard.lag", "{record}", "Records of its inbox that a shard has not consumed.", ["shard"]),
  storeSize: gauge(
    "store.size",
    "By",
    "The file of the store, with its log. On PostgreSQL: the tables of the shard, and its part of those that all shards share.",
    ["shard"],
  ),
  eventLoopDelay: gauge(
    "event_loop.delay",
    "s",
    "How late the event loop was since the last reading: the percentiles 50, 99 and 100.",
    ["percentile"],
  ),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** Takes what is measured. */
export interface MetricSink {
  /** Adds to a counter. `values`: those of its labels, in their order. */
  add(metric: MetricDefinition, by: number, ...values: readonly string[]): void;
  /** Gives a histogram one value. */
  record(metric: MetricDefinition, value: number, ...values: readonly string[]): void;
}
