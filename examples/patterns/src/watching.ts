// A progress bar of `batch.ts`. Who watches is told each change of the view once, and in order. It keeps the number of the last update,
// so that it goes on with the next one after it was away.
import type { Engine } from "wheelwork";
import { batch } from "./batch.ts";

/** Shows the progress after what was seen before, until the answer. The result is the number to go on with. */
export async function showProgress(
  engine: Engine,
  id: string,
  show: (percent: number) => void,
  { after = 0, signal }: { readonly after?: number; readonly signal?: AbortSignal } = {},
): Promise<number> {
  let seen = after;
  const options = signal === undefined ? { after } : { after, signal };
  for await (const { event, view } of engine.run(batch, id).watch(options)) {
    if (view !== undefined) show((view as { readonly percent: number }).percent);
    seen = event;
  }
  return seen;
}
