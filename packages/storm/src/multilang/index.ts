export {
  FailTuple,
  runBolt,
  runSpout,
  type Bolt,
  type Context,
  type Output,
  type Spout,
  type SpoutOutput,
  type Streams,
  type Tuple,
  type Value,
  type Values,
} from "./component.ts";
export { frame, FrameReader } from "./frames.ts";
export { processWire, type Wire } from "./wire.ts";
