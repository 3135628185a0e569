import { instance, type Viz } from "@viz-js/viz";
import { captionOf, toDot, type DiagramOptions, type AnyHub } from "@wheelwork/core";
import { accessible, type Words } from "./svg.ts";

export type { Words } from "./svg.ts";

let graphviz: Promise<Viz> | undefined;

/** The chart of a hub as an SVG image, and with `history` the path of a run in it. It needs no network and no fonts. */
export async function toSvg(hub: AnyHub, options: DiagramOptions = {}): Promise<string> {
  return dotToSvg(toDot(hub, options), captionOf(hub, options));
}

/** Any graph in Graphviz's language as an SVG image; the words are for those who do not see it. */
export async function dotToSvg(dot: string, words: Words): Promise<string> {
  // One instance serves all: to start one takes longer than to draw.
  graphviz ??= instance();
  try {
    const viz = await graphviz;
    return accessible(viz.renderString(dot, { format: "svg" }), words);
  } catch (error) {
    // What has failed once inside WebAssembly may fail from then on.
    graphviz = undefined;
    throw error;
  }
}
