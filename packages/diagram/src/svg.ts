/** What an image shows, in words for screen readers. */
export interface Words {
  readonly title: string;
  readonly description: string;
}

/**
 * The fonts that show a text, by the font that Graphviz measured it with. Verdana and DejaVu Sans are equally wide, and
 * no common sans-serif font is wider. Where both are missing, texts get shorter and stay inside their boxes.
 */
const fonts: readonly (readonly [measured: string, shown: string])[] = [
  ["Verdana", "Verdana, 'DejaVu Sans', Arial, Helvetica, 'Liberation Sans', sans-serif"],
  ["Arial", "Arial, Helvetica, 'Liberation Sans', Arimo, sans-serif"],
];

/**
 * Makes an SVG of Graphviz fit for a web page. The result describes itself to screen readers, is never wider than its
 * place, and names several fonts. It has no XML declaration, and no ids: they could occur twice in the page.
 */
export function accessible(svg: string, { title, description }: Words): string {
  const root = svg.indexOf("<svg");
  const inside = svg.indexOf(">", root) + 1;
  // With geometricPrecision, letters keep their widths when the picture is made smaller. Otherwise, browsers round them
  // to whole pixels, and small texts leave their boxes.
  const attributes = `role="img" aria-label="${escape(title)}" style="max-width: 100%; height: auto; text-rendering: geometricPrecision"`;
  // Graphviz escapes each "<" of a name, so what looks like a tag or a comment is one.
  let drawing = svg
    .slice(inside)
    .replace(/<!--.*?-->\n?/gs, "")
    .replace(/<g id="\w+"/g, "<g");
  for (const [measured, shown] of fonts)
    drawing = drawing.replaceAll(`font-family="${measured}"`, `font-family="${shown}"`);
  return [
    svg.slice(root, inside).replace("<svg", () => `<svg ${attributes}`),
    `<title>${escape(title)}</title>`,
    `<desc>${escape(description)}</desc>`,
    drawing.trim(),
    "",
  ].join("\n");
}

/** A text in Graphviz's JSON: where it starts, with y upwards, and the width that Graphviz assumes. */
interface PlacedText {
  readonly op: "T";
  readonly pt: readonly [x: number, y: number];
  readonly width: number;
}

/**
 * Anchors the texts of an SVG of Graphviz in their middle, so that they stay in the middle in fonts of other widths.
 * Graphviz places texts of HTML-like labels by their start. Their widths are not in its SVG, only in its JSON.
 * @param svg The graph in the format `svg`. All its texts must be meant to stand in the middle.
 * @param json The same graph in the format `json`.
 */
export function centred(svg: string, json: string): string {
  const widths = new Map<string, number>();
  JSON.parse(json, (_key, value: unknown) => {
    if (isPlacedText(value)) widths.set(`${value.pt[0]} ${value.pt[1]}`, value.width);
    return value;
  });
  return svg.replace(/ text-anchor="start" x="([-.\d]+)" y="([-.\d]+)"/g, (start, x: string, y: string) => {
    const width = widths.get(`${Number(x)} ${-Number(y)}`);
    if (width === undefined) return start;
    return ` text-anchor="middle" x="${Number((Number(x) + width / 2).toFixed(2))}" y="${y}"`;
  });
}

function isPlacedText(value: unknown): value is PlacedText {
  return typeof value === "object" && value !== null && "op" in value && value.op === "T";
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
