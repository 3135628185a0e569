import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

export interface Point {
  readonly x: number;
  readonly y: number;
}

/** A rectangle, in the points that Graphviz draws in. */
export interface Box extends Point {
  readonly width: number;
  readonly height: number;
}

/** A text as the browser draws it. */
interface MeasuredText {
  readonly text: string;
  /** The title of the node, the edge, the cluster or the graph that it belongs to. */
  readonly owner: string;
  readonly kind: "node" | "edge" | "cluster" | "graph";
  readonly box: Box;
  /** The outlines that it must stay inside of. */
  readonly outlines: readonly { readonly box: Box; readonly holds: boolean }[];
}

export interface MeasuredPicture {
  /** All that is shown. */
  readonly canvas: Box;
  readonly texts: readonly MeasuredText[];
  readonly nodes: readonly { readonly title: string; readonly box: Box }[];
  readonly lines: readonly { readonly title: string; readonly points: readonly Point[] }[];
}

export interface Measured {
  /** The width of `abcdefghij` at 100 pixels. */
  readonly regular: number;
  readonly bold: number;
  readonly pictures: readonly MeasuredPicture[];
}

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const folders = (process.env["PATH"] ?? "").split(delimiter);
const browser = folders.flatMap((folder) => names.map((name) => join(folder, name))).find(existsSync);

/** Where Debian and Ubuntu keep DejaVu. */
const dejaVu = "/usr/share/fonts/truetype/dejavu";

/** What is missing to measure texts in DejaVu; undefined if nothing is. */
export function missingForDejaVu(): string | undefined {
  if (browser === undefined) return "Chromium is not installed: install the package chromium";
  if (!existsSync(join(dejaVu, "DejaVuSans-Bold.ttf")))
    return "DejaVu is not installed: install the package fonts-dejavu-core";
  return undefined;
}

/**
 * Measures all texts of SVG images in a browser that has no fonts but DejaVu, as a small Linux server.
 * @param widthPx How wide the page is: a wider picture is made smaller, and its letters with it.
 */
export async function measureInDejaVu(svgs: readonly string[], widthPx: number): Promise<Measured> {
  const folder = await mkdtemp(join(tmpdir(), "wheelwork-fonts-"));
  try {
    const fonts = join(folder, "fonts.conf");
    const page = join(folder, "page.html");
    await writeFile(fonts, fontConfig(folder));
    const script = await readFile(join(import.meta.dirname, "measure.js"), "utf8");
    await writeFile(page, pageOf(svgs, script, widthPx));
    const dom = await printDom(page, { FONTCONFIG_FILE: fonts, HOME: folder }, join(folder, "profile"));
    const [, measured] = /<pre id="measured">([^<]+)<\/pre>/.exec(dom) ?? [];
    if (measured === undefined) throw new Error(`the browser measured nothing: ${dom.slice(-500)}`);
    return JSON.parse(decodeURIComponent(measured)) as Measured;
  } finally {
    // The browser may still be writing to its profile.
    await rm(folder, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** The page after its script has run. */
async function printDom(page: string, env: Record<string, string>, profile: string): Promise<string> {
  const { stdout } = await promisify(execFile)(
    browser as string,
    [
      "--headless",
      // Chromium refuses to run as root with its sandbox. The page is ours.
      "--no-sandbox",
      "--disable-gpu",
      // Containers have little shared memory.
      "--disable-dev-shm-usage",
      `--user-data-dir=${profile}`,
      "--dump-dom",
      `file://${page}`,
    ],
    { env: { ...process.env, ...env }, maxBuffer: 64 * 2 ** 20 },
  );
  return stdout;
}

function pageOf(svgs: readonly string[], script: string, widthPx: number): string {
  return [
    "<!doctype html>",
    '<meta charset="utf-8">',
    ...svgs.map((svg) => `<div style="width: ${widthPx}px">${svg}</div>`),
    '<pre id="measured"></pre>',
    `<script>${script}</script>`,
    "",
  ].join("\n");
}

/** The only fonts that there are. Without an alias, a missing font would become any of them, with or without serifs. */
function fontConfig(folder: string): string {
  return `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${dejaVu}</dir>
  <cachedir>${folder}/cache</cachedir>
  <alias><family>sans-serif</family><prefer><family>DejaVu Sans</family></prefer></alias>
</fontconfig>
`;
}
