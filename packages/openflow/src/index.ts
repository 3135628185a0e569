export { type Action, type Instruction, noBuffer } from "./codec/actions.ts";
export { decode, encode, flowMod, hello, openFlow13, packetOut, speaks13 } from "./codec/codec.ts";
export {
  type Field,
  type FieldName,
  type FieldValues,
  type KnownField,
  type Masked,
  match,
  type Match,
  type MatchFields,
  type OtherField,
  vlanPresent,
} from "./codec/fields.ts";
export type * from "./codec/messages.ts";
export { type MeterBand } from "./codec/meters.ts";
export {
  type AggregateStats,
  type Description,
  type FlowFilter,
  type FlowStats,
  type MeterBandStats,
  type MeterConfig,
  type MeterFeatures,
  type MeterStats,
  moreParts,
  type MultipartEntries,
  type MultipartKind,
  type MultipartReplyBody,
  type MultipartReplyParts,
  type MultipartRequestBody,
  type MultipartRequestParts,
  type PortDescription,
  type PortStats,
  type TableStats,
} from "./codec/multipart.ts";
export * from "./codec/names.ts";
export { OpenFlowError, type OpenFlowErrorCode, type OpenFlowErrorDetails } from "./errors.ts";
export { Framer } from "./framer.ts";
