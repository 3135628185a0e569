/** What an image shows, in words. */
export interface Words {
  readonly title: string;
  readonly description: string;
}

/** Fonts that are as wide as the one that Graphviz measures with, so that no text leaves its box. */
const fonts = "Arial, Helvetica, 'Liberation Sans', Arimo, sans-serif";

/**
 * An SVG of Graphviz made fit to be put into a page: without the declarations of a file and ids that would occur
 * twice in the page, in fonts that exist everywhere, no wider than its place, and with words for those who do not see it.
 */
export function accessible(svg: string, { title, description }: Words): string {
  const root = svg.indexOf("<svg");
  const inside = svg.indexOf(">", root) + 1;
  const attributes = `role="img" aria-label="${escape(title)}" style="max-width: 100%; height: auto"`;
  return [
    svg.slice(root, inside).replace("<svg", () => `<svg ${attributes}`),
    `<title>${escape(title)}</title>`,
    `<desc>${escape(description)}</desc>`,
    // Graphviz escapes each "<" of a name, so that what looks like a tag or a comment here is one.
    svg
      .slice(inside)
      .replace(/<!--.*?-->\n?/gs, "")
      .replace(/<g id="\w+"/g, "<g")
      .replaceAll('font-family="Arial"', `font-family="${fonts}"`)
      .trim(),
    "",
  ].join("\n");
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
