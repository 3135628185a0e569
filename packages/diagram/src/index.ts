import { instance, type Viz } from "@viz-js/viz";
import { captionOf, toDot, type DiagramOptions, type AnyHub } from "@wheelwork/core";
import { accessible, centred, type Words } from "./svg.ts";

export type { Words } from "./svg.ts";

let graphviz: Promise<Viz> | undefined;

/**
 * Draws the chart of a hub as an SVG image. With a `history`, it also shows the path of that run. It needs neither
 * network nor fonts.
 * @throws Error if Graphviz cannot draw the chart.
 */
export async function toSvg(hub: AnyHub, options: DiagramOptions = {}): Promise<string> {
  const dot = toDot(hub, options);
  const [svg, json] = await withGraphviz((viz) => {
    const { status, output, errors } = viz.renderFormats(dot, ["svg", "json"]);
    if (status === "failure") throw new Error(errors[0]?.message ?? "Graphviz drew nothing");
    return [output["svg"] ?? "", output["json"] ?? ""];
  });
  return accessible(centred(svg, json), captionOf(hub, options));
}

/**
 * Draws any graph in Graphviz's language as an SVG image.
 * Use the font Verdana in the graph: every label then has room for its text in other fonts, too.
 * @param words Describe the image to screen readers.
 * @throws Error if Graphviz cannot read the graph.
 */
export async function dotToSvg(dot: string, words: Words): Promise<string> {
  const svg = await withGraphviz((viz) => viz.renderString(dot, { format: "svg" }));
  return accessible(svg, words);
}

async function withGraphviz<T>(draw: (viz: Viz) => T): Promise<T> {
  // One instance serves all: starting one takes longer than drawing.
  graphviz ??= instance();
  try {
    return draw(await graphviz);
  } catch (error) {
    // WebAssembly that failed once may keep failing: the next drawing starts a new instance.
    graphviz = undefined;
    throw error;
  }
}
