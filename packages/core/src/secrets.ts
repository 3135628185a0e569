/*
 * Fields that nobody should see besides the code of the hub and its workers. A hub names them (`secret`), and a name stands for each
 * field of that name, however deep, in all values of its runs: requests, data, inputs, outputs, signals, answers. So a value stays
 * hidden wherever a handler puts it under the same name.
 */

/** The names of a path, the last one being that of the field: `payment.card` is `["payment", "card"]`. */
export type SecretPath = readonly string[];

/** What is shown instead. */
const mask = "[secret]";

/** Shorter texts are not looked for in messages: they would be found everywhere. */
const minLength = 4;

/** Paths, and the parts behind their last dots. A hub may name thousands, and each field of each value is looked at. */
interface Index {
  readonly paths: ReadonlySet<string>;
  readonly lastParts: ReadonlySet<string>;
}

/** Made once for the paths of a hub. */
const indices = new WeakMap<readonly SecretPath[], Index>();

function indexOf(given: readonly SecretPath[]): Index {
  let index = indices.get(given);
  if (index === undefined) {
    const paths = given.map((path) => path.join("."));
    indices.set(given, (index = { paths: new Set(paths), lastParts: new Set(paths.map(lastPart)) }));
  }
  return index;
}

const lastPart = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

/** Texts that begin alike. */
interface Alike {
  readonly texts: Set<string>;
  /** The lengths that they have, the longest first: a shorter one may be a part of it. */
  lengths: readonly number[];
}

/** What hides the secrets of a run. */
export class Secrets {
  readonly #index: Index;
  /** By their first characters. */
  readonly #texts = new Map<string, Alike>();
  /** The first characters of all: most places of a text begin with another one, and need no look at the others. */
  readonly #firsts = new Set<number>();

  /** @param values Where the secrets are: what a message may repeat of them is hidden, too. */
  constructor(paths: readonly SecretPath[], values: readonly unknown[]) {
    this.#index = indexOf(paths);
    const texts = new Set<string>();
    for (const value of values) this.#collect(value, [], false, texts);
    for (const text of texts) {
      const first = text.slice(0, minLength);
      this.#firsts.add(text.charCodeAt(0));
      const alike = this.#texts.get(first);
      if (alike === undefined) this.#texts.set(first, { texts: new Set([text]), lengths: [] });
      else alike.texts.add(text);
    }
    for (const alike of this.#texts.values())
      alike.lengths = [...new Set(Array.from(alike.texts, ({ length }) => length))].toSorted((a, b) => b - a);
  }

  /** A copy of a JSON value without secrets. */
  hide(value: unknown): unknown {
    return this.#hide(value, []);
  }

  /**
   * A text without the secrets that it repeats. Those that overlap are hidden together. The text is gone through once, however many
   * secrets there are.
   */
  hideIn(text: string): string {
    if (this.#texts.size === 0) return text;
    let left = "";
    let kept = 0;
    /** What is hidden now. */
    let from = 0;
    let to = 0;
    for (let at = 0; at + minLength <= text.length; at++) {
      const length = this.#lengthAt(text, at);
      if (length === undefined) continue;
      if (at >= to) {
        if (to > from) left += text.slice(kept, from) + mask;
        kept = to;
        from = at;
      }
      to = Math.max(to, at + length);
    }
    return to > from ? left + text.slice(kept, from) + mask + text.slice(to) : text;
  }

  /** How long the longest secret is that is at a place of a text; undefined: none is. */
  #lengthAt(text: string, at: number): number | undefined {
    if (!this.#firsts.has(text.charCodeAt(at))) return undefined;
    const alike = this.#texts.get(text.slice(at, at + minLength));
    return alike?.lengths.find((length) => alike.texts.has(text.slice(at, at + length)));
  }

  #hide(value: unknown, names: readonly string[]): unknown {
    if (typeof value === "string") return this.hideIn(value);
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item) => this.#hide(item, names));
    return Object.fromEntries(
      Object.entries(value).map(([name, held]) => {
        const inner = [...names, name];
        return [name, this.#isSecret(inner) ? mask : this.#hide(held, inner)];
      }),
    );
  }

  #isSecret(names: readonly string[]): boolean {
    const { paths, lastParts } = this.#index;
    if (!lastParts.has(lastPart(names.at(-1) ?? ""))) return false;
    // The name of a field may have dots itself.
    const full = names.join(".");
    for (let from = 0; ;) {
      if (paths.has(full.slice(from))) return true;
      from = full.indexOf(".", from) + 1;
      if (from === 0) return false;
    }
  }

  #collect(value: unknown, names: readonly string[], isSecret: boolean, texts: Set<string>): void {
    if (typeof value === "object" && value !== null) {
      if (Array.isArray(value)) for (const item of value) this.#collect(item, names, isSecret, texts);
      else
        for (const [name, held] of Object.entries(value)) {
          const inner = [...names, name];
          this.#collect(held, inner, isSecret || this.#isSecret(inner), texts);
        }
    } else if (isSecret) {
      const text = String(value);
      if (text.length >= minLength && typeof value !== "boolean") texts.add(text);
    }
  }
}

/** What names secrets: a hub, or its definition. */
type Named =
  | { readonly secrets: readonly SecretPath[] }
  | { readonly definition: { readonly secrets: readonly SecretPath[] } };

const namedBy = (hub: Named): readonly SecretPath[] =>
  "definition" in hub ? hub.definition.secrets : hub.secrets;

/** Made once for the hubs of an engine, as the index of their paths is. */
const ofAll = new WeakMap<ReadonlyMap<string, Named>, readonly SecretPath[]>();

/** The secrets of all hubs. Runs of built-in hubs hold what is meant for others, so the secrets of each of these are theirs. */
export function secretsOfAll(hubs: ReadonlyMap<string, Named>): readonly SecretPath[] {
  let all = ofAll.get(hubs);
  if (all === undefined) ofAll.set(hubs, (all = [...new Set([...hubs.values()].flatMap(namedBy))]));
  return all;
}

/** What is secret in the runs of a hub: what it names; where the hub is none of `hubs`, as a built-in one, what any of these names. */
export function secretsOfHub(hubs: ReadonlyMap<string, Named>, hub: string): readonly SecretPath[] {
  const known = hubs.get(hub);
  return known === undefined ? secretsOfAll(hubs) : namedBy(known);
}

/** The paths that a hub names. */
export const secretPaths = (secret: readonly string[]): readonly SecretPath[] =>
  secret.map((path) => path.split("."));
