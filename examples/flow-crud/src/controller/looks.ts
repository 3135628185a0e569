/** A look at a flow that waits. */
export interface Look {
  /** What `Books.freed` was then. */
  readonly freed: number;
  /** How often plans were made in vain. */
  readonly vain: number;
  readonly at: number;
}

/** When flows that wait were looked at. It is in memory only: who begins anew looks at all of them. */
export class Looks {
  readonly byFlow = new Map<string, Look>();
  /** Milliseconds since 1970. */
  lastAt = Number.NEGATIVE_INFINITY;
  /** Who was told to have a look, and when. */
  promised: { readonly by: string; readonly at: number } | undefined;
}
