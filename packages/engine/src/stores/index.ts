/** How stores keep runs, answers and the journal: for stores on other databases than SQLite. */
export { decodeBatch, encodeBatch } from "./journal.ts";
export { isTaken, isUnstorable, refusedContent } from "./refused.ts";
export {
  answerTexts,
  dataText,
  afterStopOf,
  archivedOf,
  auditBatchOf,
  downtimesOf,
  foundOf,
  historyOf,
  historyText,
  laneRunOf,
  laneText,
  logProgressOf,
  optionalNumber,
  requestRowOf,
  snapshotText,
  storedRunOf,
  summaryOf,
  type Row,
} from "./rows.ts";
