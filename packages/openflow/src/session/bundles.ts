import { Writer } from "../codec/bytes.ts";
import { encodeInto } from "../codec/codec.ts";
import type { Experimenter, Message } from "../codec/messages.ts";
import type { Draft } from "./session.ts";

/** Bundles are an extension of the Open Networking Foundation to OpenFlow 1.3. */
const onf = 0x4f4e_4600;

const control = { open: 0, commit: 4, discard: 6 } as const;

/** How the messages of a bundle are done. */
export interface BundleFlags {
  /** All or none. Default: true. */
  readonly atomic?: boolean;
  /** In their order. Default: true. */
  readonly ordered?: boolean;
}

const flagsOf = ({ atomic = true, ordered = true }: BundleFlags): number =>
  (atomic ? 1 : 0) | (ordered ? 2 : 0);

function message(experimenterType: number, write: (writer: Writer) => void): Experimenter {
  const writer = new Writer(128);
  write(writer);
  return { type: "experimenter", experimenter: onf, experimenterType, data: writer.written() };
}

/** Opens, commits or discards a bundle. */
export const bundleControl = (id: number, what: keyof typeof control, flags: BundleFlags): Experimenter =>
  message(2300, (writer) => {
    writer.u32(id, "bundle.id");
    writer.u16(control[what], "bundle.type");
    writer.u16(flagsOf(flags), "bundle.flags");
  });

/** Adds a message to a bundle. Both have the same transaction id. */
export const bundleAdd =
  (id: number, added: Message, flags: BundleFlags): Draft =>
  (xid) =>
    message(2301, (writer) => {
      writer.u32(id, "bundle.id");
      writer.zeros(2);
      writer.u16(flagsOf(flags), "bundle.flags");
      encodeInto(writer, added, xid);
    });
