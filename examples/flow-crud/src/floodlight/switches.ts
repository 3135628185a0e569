import type { AnswerWord, Command } from "./wire.ts";

/** How long an install that is late cannot bring a removed rule back, in milliseconds: a week. */
export const defaultFenceMs = 7 * 86_400_000;

/** A rule in the table of a switch. */
export interface InstalledRule {
  readonly switch: string;
  readonly flowid: string;
  readonly ruleid: number;
  /** The request that installed it. */
  readonly cookie: string;
}

/** Some of the rules that switches hold. */
export interface RulesPage {
  /** How many there are in all. */
  readonly count: number;
  readonly rules: readonly InstalledRule[];
  /** Where the next page begins; absent on the last one. */
  readonly cursor?: string;
}

/** Which rules to list: those of one flow or of all, after a cursor. */
export interface RulesFilter {
  readonly flowid?: string;
  readonly cursor?: string;
  readonly limit: number;
}

/** A page of rules: `rows` are as many as it may hold, and one more if there is another page. */
export function pageOfRules(
  rows: readonly Readonly<Record<string, unknown>>[],
  { limit }: RulesFilter,
  count: number,
  toRule: (row: Readonly<Record<string, unknown>>) => InstalledRule,
): RulesPage {
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1) : undefined;
  return { count, rules: page.map(toRule), ...(last === undefined ? {} : { cursor: String(last["key"]) }) };
}

/** A request of the original proof of concept that has resources, and so rules on the switches: 0 up to how many it has. */
export interface HeldRules {
  /** The request, as its rules name it: see `Command.cookie`. */
  readonly cookie: string;
  readonly flowid: string;
  readonly rules: number;
}

/** The keys of the rules of a request are from the first of these on, and below the second one. */
export const keysOf = (cookie: string): [string, string] => [`${cookie}-`, `${cookie}.`];

/** The key of a rule, as its commands have it. */
export const keyOfRule = ({ cookie }: Pick<HeldRules, "cookie">, ruleid: number): string =>
  `${cookie}-${ruleid}`;

/**
 * What Floodlight drives: simulated switches, or real ones over OpenFlow. Each command names its rule by its key. So a command that comes
 * again changes nothing, and no request touches what another one has installed.
 */
export interface Switches {
  /**
   * Executes a command. The answer comes when it is proven, and stays true when this process dies. undefined: nobody knows what has come of
   * it, so that nobody may be told. Whoever gave the command gives it again.
   */
  execute(command: Command): Promise<AnswerWord | undefined>;
  /** The rules that should be on the switches, of one flow or of all, in the order of request and rule. */
  rules(flowid?: string): InstalledRule[];
  /** Some of these rules, in the order of their keys, and how many there are. */
  page(filter: RulesFilter): RulesPage;
  /** Rules that were to be removed, and may still be on a switch that is away: `limit` of them, and how many there are. */
  unconfirmed(limit: number): RulesPage;
  /** How many rules the switches should have of a request, by its cookie. */
  countOf(cookie: string): number;
  close(): Promise<void>;
}
