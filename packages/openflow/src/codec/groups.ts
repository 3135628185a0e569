import { type Action, actionsCodec } from "./actions.ts";
import { type Codec, list, pad, sized, struct, u16, u32 } from "./bytes.ts";
import { groups, ports } from "./names.ts";

/** What a group may do with a packet. `bucket` makes one. */
export interface Bucket {
  /** Of groups that select: how much of the packets is for it. */
  readonly weight: number;
  /** Of groups that fail over: it is used while this port lives. 0xffffffff: no port. */
  readonly watchPort: number;
  /** The same for a group. 0xffffffff: no group. */
  readonly watchGroup: number;
  readonly actions: readonly Action[];
}

/** A bucket with these actions. What is left out is 0, or none. */
export const bucket = (
  actions: readonly Action[],
  { weight = 0, watchPort = ports.any, watchGroup = groups.any }: Partial<Omit<Bucket, "actions">> = {},
): Bucket => ({ weight, watchPort, watchGroup, actions });

export const buckets: Codec<readonly Bucket[]> = list(
  sized(
    struct<Bucket>({
      pad1: pad(2),
      weight: u16,
      watchPort: u32,
      watchGroup: u32,
      pad2: pad(4),
      actions: actionsCodec,
    }),
    0,
  ),
);
