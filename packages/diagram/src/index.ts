import { instance, type Viz } from "@viz-js/viz";
import { captionOf, toDot, type DiagramOptions, type AnyHub } from "@wheelwork/core";
import { accessible } from "./svg.ts";

let graphviz: Promise<Viz> | undefined;

/** The chart of a hub as an SVG image, and with `history` the path of a run in it. It needs no network and no fonts. */
export async function toSvg(hub: AnyHub, options: DiagramOptions = {}): Promise<string> {
  // One instance serves all: to start one takes longer than to draw.
  graphviz ??= instance();
  try {
    const viz = await graphviz;
    return accessible(viz.renderString(toDot(hub, options), { format: "svg" }), captionOf(hub, options));
  } catch (error) {
    // What has failed once inside WebAssembly may fail from then on.
    graphviz = undefined;
    throw error;
  }
}
