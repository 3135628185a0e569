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
export { bucket, type Bucket } from "./codec/groups.ts";
export type * from "./codec/messages.ts";
export { type MeterBand } from "./codec/meters.ts";
export {
  type AggregateStats,
  type BucketStats,
  type Description,
  type FlowFilter,
  type FlowStats,
  type GroupDescription,
  type GroupFeatures,
  type GroupStats,
  type MeterBandStats,
  type MeterConfig,
  type MeterFeatures,
  type MeterStats,
  moreParts,
  type MultipartEntries,
  type MultipartKind,
  type MultipartQuestion,
  type MultipartQuestions,
  type MultipartReplyBody,
  type MultipartReplyParts,
  type MultipartRequestBody,
  type MultipartRequestParts,
  type PortDescription,
  type PortStats,
  type TableStats,
} from "./codec/multipart.ts";
export { meaningOf } from "./codec/meaning.ts";
export * from "./codec/names.ts";
export { type Command } from "./commands.ts";
export { OpenFlowError, type OpenFlowErrorCode, type OpenFlowErrorDetails, type Refusal } from "./errors.ts";
export { Framer } from "./framer.ts";
export { type BundleFlags } from "./session/bundles.ts";
export { type AtConnect, type SessionLimits } from "./session/session.ts";
export {
  listen,
  type Peer,
  type Speaker,
  type SpeakerEvents,
  type SpeakerOptions,
  type TlsOptions,
} from "./speaker.ts";
export { type RequestOptions, type Switch, type SwitchEvents } from "./switch.ts";
