/** What incidents have in common that have the same cause, by all appearance. */
export interface IncidentKind {
  readonly code: string;
  /** The first line of the message, without what differs from one incident to the next. */
  readonly message: string;
}

/** Of a message that says what incidents have in common, in characters. */
const maxLength = 200;

/** What an incident has in common with others: not the numbers, the ids and the texts in quotation marks of its message. */
export function incidentKind({
  code,
  message,
}: {
  readonly code: string;
  readonly message: string;
}): IncidentKind {
  const [line = ""] = message.slice(0, 4 * maxLength).split("\n", 1);
  const kind = line
    .replaceAll(/"[^"]*"/g, '"…"')
    .replaceAll(/(?<!\w)'[^']*'(?!\w)/g, "'…'")
    // An id: UUIDs, hashes, and other words of hexadecimal digits with a digit among them.
    .replaceAll(/\b(?=[\da-f-]*\d)[\da-f]{4,}(?:-[\da-f]{4,})*\b/gi, "N")
    .replaceAll(/\d+/g, "N");
  return { code, message: kind.slice(0, maxLength).toWellFormed() };
}
