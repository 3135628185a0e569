/** A line of Prometheus' text format. */
interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const line = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const label = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

const unescaped = (text: string): string =>
  text.replaceAll(/\\(.)/g, (_all, char: string) => (char === "n" ? "\n" : char));

/** Reads Prometheus' text format. Lines that are none of a figure are passed over. */
function samplesOf(text: string): Sample[] {
  return text.split("\n").flatMap((one) => {
    const [, name, inside = "", given] = line.exec(one) ?? [];
    if (name === undefined) return [];
    const labels = [...inside.matchAll(label)].map(
      ([, key = "", value = ""]) => [key, unescaped(value)] as const,
    );
    return [
      { name, labels: Object.fromEntries(labels), value: Number(given === "+Inf" ? "Infinity" : given) },
    ];
  });
}

/** The figures of a server at one time. */
export class Figures {
  readonly #byName: ReadonlyMap<string, readonly Sample[]>;
  /** Monotonic, in milliseconds. */
  readonly at: number;

  constructor(text: string, at: number) {
    this.#byName = Map.groupBy(samplesOf(text), ({ name }) => name);
    this.at = at;
  }

  of(name: string): readonly Sample[] {
    return this.#byName.get(name) ?? [];
  }

  /** The sum of a figure over all series whose labels fit. */
  sum(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.of(name)
      .filter((sample) => fits(sample, labels))
      .reduce((all, { value }) => all + value, 0);
  }

  /** All values that a label of a figure has. */
  values(name: string, of: string): string[] {
    return [...new Set(this.of(name).flatMap(({ labels }) => labels[of] ?? []))];
  }
}

const fits = (sample: Sample, labels: Readonly<Record<string, string>>): boolean =>
  Object.entries(labels).every(([name, value]) => sample.labels[name] === value);

/** What has happened between two readings. A server that has started anew in between counts from zero. */
export class Change {
  readonly #before: Figures;
  readonly #after: Figures;

  constructor(before: Figures, after: Figures) {
    this.#before = before;
    this.#after = after;
  }

  /** How much a counter has grown. */
  growth(name: string, labels: Readonly<Record<string, string>> = {}): number {
    const [before, after] = [this.#before.sum(name, labels), this.#after.sum(name, labels)];
    return after >= before ? after - before : after;
  }

  /** How much a counter grows in a second. */
  rate(name: string, labels?: Readonly<Record<string, string>>): number {
    return this.growth(name, labels) / Math.max(0.001, (this.#after.at - this.#before.at) / 1000);
  }

  /** The value that a share of what a histogram has recorded is below, by its buckets; undefined: it has recorded nothing. */
  quantile(share: number, name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const bucket = `${name}_bucket`;
    const bounds = this.#after
      .values(bucket, "le")
      .map((text) => ({ text, bound: text === "+Inf" ? Number.POSITIVE_INFINITY : Number(text) }))
      .toSorted((a, b) => a.bound - b.bound);
    const counts = bounds.map(({ text }) => this.growth(bucket, { ...labels, le: text }));
    const total = counts.at(-1) ?? 0;
    if (total === 0) return undefined;
    const at = counts.findIndex((count) => count >= share * total);
    const bound = bounds[at]?.bound ?? 0;
    const [below, from] = at === 0 ? [0, 0] : [counts[at - 1] ?? 0, bounds[at - 1]?.bound ?? 0];
    if (bound === Number.POSITIVE_INFINITY) return from;
    const inside = (counts[at] ?? 0) - below;
    return inside === 0 ? bound : from + ((share * total - below) / inside) * (bound - from);
  }
}
