/** An element as it was found: its attributes, and the text directly in it. */
interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  text: string;
}

/** What an XML text consists of. */
export interface Xml {
  /** In the order in which they begin. */
  readonly elements: readonly Element[];
  /** The texts of all elements `text`; a space is a space, whatever its kind. */
  readonly texts: readonly string[];
}

const name = String.raw`[A-Za-z][\w:.-]*`;
const value = String.raw`"[^"<]*"`;
const token = new RegExp(String.raw`<(/?)(${name})((?:\s+${name}=${value})*)\s*(/?)>|([^<]+)`, "gy");
const reference = /&(?:#(\d+)|#x([0-9a-fA-F]+)|(amp|lt|gt|quot|apos));/g;
const named: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** Reads an XML text of elements and texts only, and throws where it is not well formed. */
export function readXml(xml: string): Xml {
  const elements: Element[] = [];
  const open: Element[] = [];
  token.lastIndex = 0;
  while (token.lastIndex < xml.length) {
    const at = token.lastIndex;
    const found = token.exec(xml);
    if (found === null) throw new Error(`not well formed at ${at}: ${xml.slice(at, at + 40)}`);
    const [, closing, tag, attributes = "", empty, text] = found;
    if (text !== undefined) {
      const inside = open.at(-1);
      if (inside !== undefined) inside.text += decode(text);
      else if (text.trim() !== "") throw new Error(`text outside of the root: ${text}`);
    } else if (closing === "/") {
      const last = open.pop();
      if (last?.name !== tag) throw new Error(`</${tag}> closes <${last?.name}>`);
    } else {
      const element = { name: tag ?? "", attributes: readAttributes(attributes), text: "" };
      if (open.length === 0 && elements.length > 0) throw new Error(`a second root: <${tag}>`);
      elements.push(element);
      if (empty !== "/") open.push(element);
    }
  }
  if (open.length > 0) throw new Error(`<${open.at(-1)?.name}> is not closed`);
  const texts = elements
    .filter((element) => element.name === "text")
    .map(({ text }) => text.replaceAll("\u00A0", " "));
  return { elements, texts: texts.map((text) => text.trim()) };
}

function readAttributes(text: string): Record<string, string> {
  const found = [...text.matchAll(new RegExp(`(${name})="([^"]*)"`, "g"))];
  const attributes = Object.fromEntries(found.map(([, key = "", given = ""]) => [key, decode(given)]));
  if (Object.keys(attributes).length !== found.length) throw new Error(`an attribute occurs twice: ${text}`);
  return attributes;
}

function decode(text: string): string {
  if (text.replace(reference, "").includes("&")) throw new Error(`a bare & in ${text}`);
  const decoded = text.replace(reference, (_, decimal?: string, hex?: string, entity?: string) =>
    entity === undefined
      ? String.fromCodePoint(decimal === undefined ? Number(`0x${hex}`) : Number(decimal))
      : (named[entity] ?? ""),
  );
  // What XML 1.0 does not allow, not even as a reference.
  // eslint-disable-next-line no-control-regex
  const forbidden = /[\u0000-\u0008\u000B\u000C\u000E-\u001F\uFFFE\uFFFF]|\p{Cs}/u.exec(decoded);
  if (forbidden !== null)
    throw new Error(`a character that XML does not allow: ${JSON.stringify(forbidden[0])}`);
  return decoded;
}
