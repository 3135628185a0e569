import { hash } from "node:crypto";
import { givenKey } from "../ports/keys.ts";
import type { AuditAbout, AuditEntry } from "../ports/ports.ts";

// An index of the audit list. A term is a number that is made of what a filter says, and a store has, for each batch, the terms of its
// commands: that of each request, and of who gave which command to which hub, with and without each of the three. So a filter is one
// term, and its batches are in the order of the list. Two filters may have one term: whoever asks compares the commands, too.

/** The term of a filter; undefined: it means all commands. A request has few commands, so that of the request is enough. */
export function auditTerm({ by, command, hub, id }: AuditAbout): number | undefined {
  if (id !== undefined) return numberOf([id]);
  const said = [by, command, hub];
  return said.every((value) => value === undefined) ? undefined : numberOf(said);
}

/** The terms of the commands of a batch, each once. */
export function auditTerms(entries: readonly AuditEntry[]): number[] {
  const terms = new Set<number>();
  const kinds = new Set<string>();
  for (const { by, command, hub, key } of entries) {
    terms.add(numberOf([givenKey(key)]));
    const kind = JSON.stringify([by, command, hub]);
    if (kinds.has(kind)) continue;
    kinds.add(kind);
    for (let mask = 1; mask < 8; mask++)
      terms.add(
        numberOf([mask & 1 ? by : undefined, mask & 2 ? command : undefined, mask & 4 ? hub : undefined]),
      );
  }
  return [...terms];
}

/** 48 bits: an integer of JavaScript, and in each database. */
const numberOf = (said: readonly (string | undefined)[]): number =>
  hash("sha256", JSON.stringify(said), "buffer").readUIntBE(0, 6);
