import { Change, type Figures } from "./figures.ts";
import { shown } from "./output.ts";

/** What `top` knows of a server at one time. */
export interface Reading {
  readonly figures: Figures;
  readonly health: {
    readonly status: string;
    readonly ready: boolean;
    readonly reason?: string;
    readonly warnings?: readonly string[];
  };
  readonly incidents: readonly { readonly id: string; readonly hub: string; readonly state: string }[];
  readonly lanes: readonly {
    readonly name: string;
    readonly key: string;
    readonly waiting: number;
    readonly holders: readonly string[];
  }[];
  readonly shards: readonly { readonly shard: number; readonly lag?: number; readonly problem?: string }[];
}

const rateText = (rate: number): string => (rate >= 100 ? rate.toFixed(0) : rate.toFixed(1));

/** Seconds for people. */
function timeText(seconds: number | undefined): string {
  if (seconds === undefined) return "-";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  return `${(seconds / 60).toFixed(0)} min`;
}

/** Rows of a table: the first column stands to the left, all others to the right. */
function table(rows: readonly (readonly string[])[], left = 1): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column < left ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
}

/** A text of somebody else, in no more than so many columns. */
function cut(text: string, columns: number): string {
  const safe = shown(text);
  return safe.length > columns ? `${safe.slice(0, columns - 1)}…` : safe;
}

/** What the screen shows between two readings, as lines without colours. */
export function frame(before: Reading, now: Reading, title: string): string[] {
  const change = new Change(before.figures, now.figures);
  const gauge = (name: string): string => String(now.figures.sum(name));
  const { health } = now;
  const state = health.ready ? "takes requests" : `takes no requests: ${health.reason ?? health.status}`;
  const kinds = ["result", "error", "timeout"].map(
    (kind) => `${kind} ${rateText(change.rate("wheelwork_answer_duration_seconds_count", { kind }))}`,
  );
  const time = (name: string, share: number): string => timeText(change.quantile(share, name));
  const loop = now.figures.sum("wheelwork_event_loop_delay_seconds", { percentile: "99" });
  return [
    `${title}  ${shown(state)}`,
    "",
    ...table(
      [
        [
          "requests/s",
          `accepted ${rateText(change.rate("wheelwork_requests_total", { outcome: "accepted" }))}`,
          `refused ${rateText(change.rate("wheelwork_requests_total", { outcome: "refused" }))}`,
          `known ${rateText(change.rate("wheelwork_requests_total", { outcome: "known" }))}`,
        ],
        ["answers/s", ...kinds],
        [
          "answer time",
          `p50 ${time("wheelwork_answer_duration_seconds", 0.5)}`,
          `p99 ${time("wheelwork_answer_duration_seconds", 0.99)}`,
          `commit p99 ${time("wheelwork_commit_duration_seconds", 0.99)}`,
        ],
        [
          "now",
          `${gauge("wheelwork_runs")} runs`,
          `${gauge("wheelwork_attempts_open")} attempts`,
          `${gauge("wheelwork_queue_length")} queued`,
          `loop p99 ${timeText(loop)}`,
        ],
      ],
      5,
    ),
    "",
    ...stateRows(change, now),
    "",
    ...spokeRows(change, now),
    "",
    ...stuckRows(change, now),
  ];
}

const mostRows = 12;

/** Where runs are, those with the most runs first. */
function stateRows(change: Change, { figures }: Reading): string[] {
  const runs = figures.of("wheelwork_runs").filter(({ value }) => value > 0);
  const timed = figures.of("wheelwork_state_duration_seconds_count").map(({ labels }) => labels);
  const places = new Map<string, { hub: string; state: string; runs: number; incidents: number }>();
  for (const { hub = "", state = "" } of timed)
    places.set(`${hub}\n${state}`, { hub, state, runs: 0, incidents: 0 });
  for (const { labels, value } of runs) {
    const { hub = "", state = "", status } = labels;
    const place = places.get(`${hub}\n${state}`) ?? { hub, state, runs: 0, incidents: 0 };
    place.runs += value;
    if (status === "incident") place.incidents += value;
    places.set(`${hub}\n${state}`, place);
  }
  const rows = [...places.values()].map((place) => {
    const { hub, state } = place;
    const name = "wheelwork_state_duration_seconds";
    return {
      ...place,
      rate: change.rate(`${name}_count`, { hub, state }),
      p50: change.quantile(0.5, name, { hub, state }),
      p99: change.quantile(0.99, name, { hub, state }),
    };
  });
  const busiest = rows.toSorted((a, b) => b.runs - a.runs || b.rate - a.rate).slice(0, mostRows);
  return table(
    [
      ["hub", "state", "runs", "incidents", "left/s", "p50", "p99"],
      ...busiest.map(({ hub, state, runs: count, incidents, rate, p50, p99 }) => [
        cut(hub, 30),
        state === "" ? "(waits)" : cut(state, 30),
        String(count),
        incidents === 0 ? "" : String(incidents),
        rateText(rate),
        timeText(p50),
        timeText(p99),
      ]),
    ],
    2,
  );
}

/** What spokes do, those with the most attempts first. */
function spokeRows(change: Change, { figures }: Reading): string[] {
  const name = "wheelwork_attempt_duration_seconds";
  const rows = figures.values(`${name}_count`, "spoke").map((spoke) => ({
    spoke,
    rate: change.rate(`${name}_count`, { spoke }),
    ok: change.rate(`${name}_count`, { spoke, outcome: "ok" }),
    retries: change.rate("wheelwork_retries_total", { spoke }),
    p50: change.quantile(0.5, name, { spoke }),
    p99: change.quantile(0.99, name, { spoke }),
  }));
  const busiest = rows.toSorted((a, b) => b.rate - a.rate).slice(0, mostRows);
  return table([
    ["spoke", "attempts/s", "not ok/s", "retries/s", "p50", "p99"],
    ...busiest.map(({ spoke, rate, ok, retries, p50, p99 }) => [
      cut(spoke, 40),
      rateText(rate),
      rateText(Math.max(0, rate - ok)),
      rateText(retries),
      timeText(p50),
      timeText(p99),
    ]),
  ]);
}

/** What does not go on by itself, or is behind. */
function stuckRows(change: Change, { health, incidents, lanes, shards }: Reading): string[] {
  const rows = [
    ...(health.warnings ?? []).map((text) => ["warning", cut(text, 100)]),
    ...shards.flatMap(({ shard, problem }) =>
      problem === undefined ? [] : [[`shard ${shard}`, cut(problem, 100)]],
    ),
    ...shards.flatMap(({ shard, lag = 0 }) =>
      lag === 0 ? [] : [[`shard ${shard}`, `${lag} records behind`]],
    ),
    ...incidents.map(({ id, hub, state }) => [
      "incident",
      `${cut(id, 40)}  ${cut(hub, 30)} ${cut(state, 30)}`,
    ]),
    ...lanes
      .filter(({ waiting }) => waiting > 0)
      .map(({ name, key, waiting, holders: [holder] }) => [
        "lane",
        `${cut(name, 20)} ${cut(key, 30)}: ${waiting} wait${holder === undefined ? "" : ` for ${cut(holder, 40)}`}`,
      ]),
  ];
  const late = change.quantile(0.99, "wheelwork_callback_lateness_seconds");
  if (late !== undefined && late > 1) rows.push(["callbacks", `are up to ${timeText(late)} late`]);
  return rows.length === 0 ? ["nothing is stuck"] : ["stuck", ...table(rows, 2).map((row) => `  ${row}`)];
}
