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

/** Whether the fields above a value, the last one being its own, end with a path. */
const isAt = (names: readonly string[], path: SecretPath): boolean =>
  path.length <= names.length && path.every((name, at) => name === names[names.length - path.length + at]);

/** What hides the secrets of a run. */
export class Secrets {
  readonly #paths: readonly SecretPath[];
  readonly #texts: readonly string[];

  /** @param values Where the secrets are: what a message may repeat of them is hidden, too. */
  constructor(paths: readonly SecretPath[], values: readonly unknown[]) {
    this.#paths = paths;
    const texts = new Set<string>();
    for (const value of values) this.#collect(value, [], false, texts);
    // The longest first: a shorter one may be a part of it.
    this.#texts = [...texts].toSorted((a, b) => b.length - a.length);
  }

  /** A copy of a JSON value without secrets. */
  hide(value: unknown): unknown {
    return this.#hide(value, []);
  }

  /** A text without the secrets that it repeats. */
  hideIn(text: string): string {
    return this.#texts.reduce((left, secret) => left.replaceAll(secret, mask), text);
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
    return this.#paths.some((path) => isAt(names, path));
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

/** What names secrets: the definition of a hub. */
interface NamesSecrets {
  readonly secrets: readonly SecretPath[];
}

/** The secrets of all hubs. Runs of built-in hubs hold what is meant for others, so the secrets of each of these are theirs. */
export const secretsOfAll = (hubs: Iterable<{ readonly definition: NamesSecrets }>): readonly SecretPath[] =>
  Array.from(hubs, ({ definition }) => definition.secrets).flat();

/** What is secret in the runs of a hub: what it names; where the hub is none of `hubs`, as a built-in one, what any of these names. */
export const secretsOfHub = (
  hubs: ReadonlyMap<string, { readonly definition: NamesSecrets }>,
  hub: string,
): readonly SecretPath[] => hubs.get(hub)?.definition.secrets ?? secretsOfAll(hubs.values());

/** The paths that a hub names. */
export const secretPaths = (secret: readonly string[]): readonly SecretPath[] =>
  secret.map((path) => path.split("."));
