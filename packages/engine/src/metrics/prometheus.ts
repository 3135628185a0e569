import type { MetricDefinition } from "./definitions.ts";
import type { Gauge } from "./measure.ts";

/** A counter or a histogram with one value for each label. */
export interface Series {
  readonly metric: MetricDefinition;
  readonly values: readonly string[];
  /** Of a histogram: the sum of what was recorded. */
  value: number;
  /** Of a histogram: how many were recorded, in all and in each bucket. */
  count: number;
  readonly counts: number[];
}

const units: Readonly<Record<string, string>> = { s: "_seconds", By: "_bytes" };

/** The name of a figure in Prometheus. */
export function prometheusName({ name, unit, kind }: MetricDefinition): string {
  return name.replaceAll(".", "_") + (units[unit] ?? "") + (kind === "counter" ? "_total" : "");
}

const escaped = (text: string): string =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

function labelsOf({ labels }: MetricDefinition, values: readonly string[], more = ""): string {
  const given = labels.map((label, index) => `${label}="${escaped(values[index] ?? "")}"`);
  const all = more === "" ? given : [...given, more];
  return all.length === 0 ? "" : `{${all.join(",")}}`;
}

/** Figures in the text format of Prometheus, version 0.0.4. */
export function textOf(series: readonly Series[], gauges: readonly Gauge[]): string {
  const lines: string[] = [];
  const byMetric = Map.groupBy<MetricDefinition, Series | Gauge>(
    [...series, ...gauges],
    ({ metric }) => metric,
  );
  for (const [metric, list] of byMetric) {
    const name = prometheusName(metric);
    lines.push(`# HELP ${name} ${metric.description.replaceAll("\\", "\\\\")}`);
    lines.push(`# TYPE ${name} ${metric.kind}`);
    for (const one of list) lines.push(...linesOf(name, one));
  }
  return `${lines.join("\n")}\n`;
}

function linesOf(name: string, given: Series | Gauge): string[] {
  const { metric, values, value } = given;
  const labels = labelsOf(metric, values);
  if (!("counts" in given) || metric.buckets === undefined) return [`${name}${labels} ${value}`];
  let sum = 0;
  const buckets = metric.buckets.map((bound, index) => {
    sum += given.counts[index] ?? 0;
    return `${name}_bucket${labelsOf(metric, values, `le="${bound}"`)} ${sum}`;
  });
  return [
    ...buckets,
    `${name}_bucket${labelsOf(metric, values, 'le="+Inf"')} ${given.count}`,
    `${name}_sum${labels} ${value}`,
    `${name}_count${labels} ${given.count}`,
  ];
}
