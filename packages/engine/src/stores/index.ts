/** How stores keep runs, answers and the journal: for stores on other databases than SQLite. */
export { isDamaged, sound } from "../ports/damage.ts";
export {
  asksForAnswered,
  boundsOf,
  compareInList,
  durationRange,
  facetName,
  facetOf,
  FacetSums,
  fits,
  isListedAfter,
  isMeant,
  stuckBounds,
  type FacetRow,
} from "../ports/filter.ts";
export {
  CellChanges,
  cellsSql,
  counting,
  type Counted,
  rowRanges,
  type CellChange,
  type CountStep,
  type StoredFacet,
} from "./counting.ts";
export {
  facetColumns,
  facetValues,
  isLiveFacet,
  KnownFacets,
  storedFacetOf,
  formerTookSql,
} from "./facets.ts";
export { isAbout } from "../ports/audit.ts";
export { auditTerm, auditTerms } from "./audit-terms.ts";
export {
  countsByMessage,
  incidentText,
  indexedTexts,
  labelsText,
  labelWalk,
  messageRange,
  soughtLabels,
  type LabelTotal,
  type LabelWalk,
  type SoughtLabel,
} from "./labels.ts";
export { decodeBatch, encodeBatch, encodeRuns, readBatch } from "./journal.ts";
export { isTaken, isUnstorable, refusedContent } from "./refused.ts";
export {
  answerTexts,
  dataText,
  afterStopOf,
  archivedOf,
  auditBatchOf,
  downtimesOf,
  harmsOf,
  foundOf,
  historyOf,
  historyText,
  laneRunOf,
  laneText,
  listedRowOf,
  logProgressOf,
  optionalNumber,
  readRunOf,
  snapshotText,
  summaryOf,
  type Row,
} from "./rows.ts";
