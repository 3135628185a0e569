/** How stores keep runs, answers and the journal: for stores on other databases than SQLite. */
export { decodeBatch, encodeBatch } from "./journal.ts";
export {
  downtimesOf,
  logProgressOf,
  optionalNumber,
  requestRowOf,
  storedAnswerOf,
  storedRunOf,
  type Row,
} from "./rows.ts";
