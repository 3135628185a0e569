import { invalid, malformed } from "../errors.ts";
import { type Codec, list } from "./bytes.ts";

/** What a meter does with what is above a rate. The flags of the meter say whether the rate counts kilobits or packets. */
export type MeterBand =
  | { readonly type: "drop"; readonly rate: number; readonly burst: number }
  | {
      readonly type: "dscpRemark";
      readonly rate: number;
      readonly burst: number;
      readonly precedence: number;
    }
  /** A band that this package does not know. `body`: what follows the burst. */
  | {
      readonly type: "other";
      readonly code: number;
      readonly rate: number;
      readonly burst: number;
      readonly body: Uint8Array;
    };

const oneBand: Codec<MeterBand> = {
  read(reader, name) {
    const code = reader.u16(name);
    const length = reader.u16(name);
    if (length < 12) throw malformed(name, `its length is ${length}, and not at least 12`);
    const band = reader.part(length - 4, name);
    const rate = band.u32(name);
    const burst = band.u32(name);
    if (band.left === 4 && code === 1) return { type: "drop", rate, burst };
    if (band.left === 4 && code === 2) return { type: "dscpRemark", rate, burst, precedence: band.u8(name) };
    return { type: "other", code, rate, burst, body: band.rest() };
  },
  write(writer, band, name) {
    const from = writer.at;
    const code = band.type === "drop" ? 1 : band.type === "dscpRemark" ? 2 : band.code;
    if (code === undefined) throw invalid("band.type", band.type, "drop, dscpRemark or other");
    writer.u16(code, "band.code");
    writer.u16(0, name);
    writer.u32(band.rate, "band.rate");
    writer.u32(band.burst, "band.burst");
    if (band.type === "other") {
      writer.raw(band.body, "band.body");
    } else {
      writer.u8(band.type === "drop" ? 0 : band.precedence, "band.precedence");
      writer.zeros(3);
    }
    writer.setU16(from + 2, writer.at - from, "the length of the band");
  },
};

export const meterBands = list(oneBand);
