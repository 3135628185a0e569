import { givenKey } from "./keys.ts";
import type { AuditAbout, AuditEntry } from "./ports.ts";

/** Whether a command is what a filter means. */
export const isAbout = (entry: AuditEntry, { by, command, hub, id }: AuditAbout): boolean =>
  (by === undefined || entry.by === by) &&
  (command === undefined || entry.command === command) &&
  (hub === undefined || entry.hub === hub) &&
  (id === undefined || givenKey(entry.key) === id);
