import type { Path, Segment } from "../controller/model.ts";
import type { StoredLink, StoredSwitch } from "../controller/store.ts";
import { layOut, type Point } from "./network-layout.ts";
import { statusText, type ShownFlow } from "./views.ts";

/** What a picture of the network shows. */
export interface NetworkPicture {
  readonly switches: readonly StoredSwitch[];
  readonly links: readonly StoredLink[];
  /** The flows that are drawn, in the order of the legend. */
  readonly flows: readonly ShownFlow[];
  /** How many flows there are besides. */
  readonly moreFlows: number;
}

const radius = 17;
const margin = 60;
const legendWidth = 330;
const legendLine = 22;
/** Lines beside each other on one link are so far apart, and all of them together at most so wide, in pixels. */
const lineGap = 5;
const widest = 30;
/** Links between the same two switches are so far apart, if there are not too many for the width of a switch. */
const linkGap = 13;

/** What is not text in XML: it cannot be escaped either. */
// oxlint-disable-next-line no-control-regex
const notXml = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;

const escaped = (text: string): string =>
  text
    .toWellFormed()
    .replaceAll(notXml, "\ufffd")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");

function short(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join("")}…`;
}

/** The end of a switch id that tells it from others: `00:00:00:00:00:00:00:0a` is `a`. */
const shortSwitchId = (switchId: string): string => switchId.replace(/^(?:00:)*0?/, "") || "0";

const styles = `
svg { color-scheme: light dark; font: 13px system-ui, "DejaVu Sans", sans-serif }
.bg { fill: #ffffff } .ink { fill: #1c2530 } .soft { fill: #5b6775 }
.link { stroke: #b3bdc9; stroke-width: 9; stroke-linecap: round }
.down { stroke: #d92d20; stroke-width: 3; stroke-dasharray: 9 7 }
.switch { fill: #eef2f7; stroke: #46566b; stroke-width: 2 }
.away { fill: #fdeceb; stroke: #d92d20; stroke-dasharray: 4 3 }
.flow { fill: none; stroke: hsl(var(--h) 72% 40%); stroke-width: 3; stroke-linejoin: round; stroke-linecap: round }
.spare { stroke-dasharray: 1 6 } .broken { stroke-dasharray: 7 6; opacity: .6 }
.end { fill: hsl(var(--h) 72% 40%); stroke: #ffffff; stroke-width: 1.5 }
.UP { fill: #16833a } .DEGRADED { fill: #b26a00 } .DOWN { fill: #d92d20 } .IN_PROGRESS { fill: #2463c9 }
.port { font-size: 10px } .id { font-weight: 600; text-anchor: middle } .head { font-size: 16px; font-weight: 600 }
@media (prefers-color-scheme: dark) {
.bg { fill: #12171e } .ink { fill: #e7ecf2 } .soft { fill: #9aa7b6 }
.link { stroke: #3d4957 } .down { stroke: #ff6b5e }
.switch { fill: #212b37; stroke: #9fb0c4 } .away { fill: #3a1d1b; stroke: #ff6b5e }
.flow { stroke: hsl(var(--h) 80% 64%) } .end { fill: hsl(var(--h) 80% 64%); stroke: #12171e }
.UP { fill: #4cc776 } .DEGRADED { fill: #f0a63a } .DOWN { fill: #ff6b5e } .IN_PROGRESS { fill: #79a8f5 }
}`;

/** Hues that differ, however many there are. Reds are left out: they say that something is wrong. */
const hueOf = (index: number): number => Math.round(22 + ((index * 122.3) % 316));

/** Both directions of a link. Its ends are in the order of their names. */
interface Cable {
  readonly key: string;
  readonly from: string;
  readonly to: string;
  readonly fromPort: number;
  readonly toPort: number;
  readonly isUp: boolean;
  readonly text: string;
}

const isInOrder = ({ from, fromPort, to, toPort }: Segment): boolean =>
  from === to ? fromPort <= toPort : from < to;

function cableKey(segment: Segment): string {
  const { from, fromPort, to, toPort } = segment;
  return isInOrder(segment) ? `${from} ${fromPort} ${to} ${toPort}` : `${to} ${toPort} ${from} ${fromPort}`;
}

function cablesOf(links: readonly StoredLink[]): readonly Cable[] {
  const cables = new Map<string, Cable>();
  for (const link of links) {
    const key = cableKey(link);
    const there = cables.get(key);
    const { from, fromPort, to, toPort } = isInOrder(link)
      ? link
      : { from: link.to, fromPort: link.toPort, to: link.from, toPort: link.fromPort };
    const state = link.isUp ? "up" : "down";
    const figures = `cost ${link.cost}, ${link.latencyMs} ms, ${link.used} of ${link.bandwidth} kbit/s used`;
    cables.set(key, {
      key,
      from,
      fromPort,
      to,
      toPort,
      isUp: link.isUp && (there?.isUp ?? true),
      text: there?.text ?? `${from} port ${fromPort} to ${to} port ${toPort}: ${state}, ${figures}`,
    });
  }
  return [...cables.values()].toSorted((one, other) => (one.key < other.key ? -1 : 1));
}

/** A path of a flow that is drawn. */
interface Strand {
  readonly flow: number;
  readonly path: Path;
  readonly isBroken: boolean;
}

function strandsOf(flows: readonly ShownFlow[]): readonly Strand[] {
  return flows.flatMap(({ paths, live, status }, flow) =>
    paths.map((path) => ({
      flow,
      path,
      isBroken: live[path.id] === false || (status === "DOWN" && path.role === "main"),
    })),
  );
}

const spot = (value: number): string => String(Math.round(value * 10) / 10);

/** A line beside the one between two points, at a distance to its right. */
function beside(one: Point, other: Point, distance: number): readonly [Point, Point] {
  const [dx, dy] = [other.x - one.x, other.y - one.y];
  const length = Math.max(Math.hypot(dx, dy), 1);
  const [x, y] = [(-dy / length) * distance, (dx / length) * distance];
  return [
    { x: one.x + x, y: one.y + y },
    { x: other.x + x, y: other.y + y },
  ];
}

/** Where everything is. */
class Canvas {
  readonly #points: ReadonlyMap<string, Point>;
  readonly #tracks: ReadonlyMap<string, number>;
  readonly width: number;
  readonly height: number;

  constructor(points: ReadonlyMap<string, Point>, cables: readonly Cable[]) {
    this.#points = new Map([...points].map(([id, { x, y }]) => [id, { x: x + margin, y: y + margin + 34 }]));
    const all = [...this.#points.values()];
    this.width = all.reduce((most, { x }) => Math.max(most, x), 240) + margin;
    this.height = all.reduce((most, { y }) => Math.max(most, y), 120) + margin;
    const tracks = new Map<string, number>();
    for (const group of Map.groupBy(cables, ({ from, to }) => `${from} ${to}`).values())
      group.forEach(({ key }, index) => {
        const gap = Math.min(linkGap, (2 * radius) / group.length);
        tracks.set(key, (index - (group.length - 1) / 2) * gap);
      });
    this.#tracks = tracks;
  }

  at(switchId: string): Point | undefined {
    return this.#points.get(switchId);
  }

  /** The line of a cable, or one beside it. undefined: an end of it is not drawn. */
  line(cable: Pick<Cable, "key" | "from" | "to">, distance = 0): readonly [Point, Point] | undefined {
    const [one, other] = [this.at(cable.from), this.at(cable.to)];
    if (one === undefined || other === undefined) return undefined;
    return beside(one, other, (this.#tracks.get(cable.key) ?? 0) + distance);
  }

  /** Where flows end at a switch: a place on its rim, away from the middle of the picture. */
  rim(switchId: string, index: number, count: number): Point | undefined {
    const point = this.at(switchId);
    if (point === undefined) return undefined;
    const away = Math.atan2(point.y - this.height / 2, point.x - this.width / 2);
    const step = Math.min(0.5, (1.8 * Math.PI) / Math.max(1, count));
    const angle = away + (index - (count - 1) / 2) * step;
    return { x: point.x + (radius + 4) * Math.cos(angle), y: point.y + (radius + 4) * Math.sin(angle) };
  }
}

/** Places the switches of a network. Which of its links are up does not matter. */
export const placesOf = ({
  switches,
  links,
}: Pick<NetworkPicture, "switches" | "links">): ReadonlyMap<string, Point> =>
  layOut(
    switches.map(({ switchId }) => switchId),
    links,
  );

/**
 * Draws switches and links, and flows over them. The same network is always drawn in the same way; a link that fails moves nothing. All
 * texts are escaped.
 * @param places Where the switches are: what `placesOf` says.
 */
export function networkSvg(picture: NetworkPicture, places = placesOf(picture)): string {
  const { switches, flows } = picture;
  const cables = cablesOf(picture.links);
  const canvas = new Canvas(places, cables);
  const legend = legendOf(picture, canvas.width);
  const [width, height] = [canvas.width + legendWidth, Math.max(canvas.height, legend.height)].map(
    Math.ceil,
  ) as [number, number];
  const down = cables.filter(({ isUp }) => !isUp).length;
  const away = switches.filter(({ isConnected }) => !isConnected).length;
  const facts = [
    `${switches.length} switches${away === 0 ? "" : ` (${away} away)`}`,
    `${cables.length} links${down === 0 ? "" : ` (${down} down)`}`,
    `${flows.length + picture.moreFlows} flows`,
  ].join(", ");
  const ports = switches.length <= 24 ? cables.flatMap((cable) => portsOf(cable, canvas)) : [];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">`,
    `<title>The network: ${facts}</title>`,
    `<style>${styles}</style>`,
    `<rect class="bg" width="${width}" height="${height}"/>`,
    `<text class="ink head" x="24" y="32">${facts}</text>`,
    ...cables.flatMap((cable) => cableSvg(cable, canvas)),
    ...flowLines(flows, cables, canvas),
    ...ports,
    ...switches.flatMap((one) => switchSvg(one, canvas)),
    ...flowEnds(flows, canvas),
    ...legend.lines,
    "</svg>",
    "",
  ].join("\n");
}

function cableSvg(cable: Cable, canvas: Canvas): string[] {
  const line = canvas.line(cable);
  if (line === undefined) return [];
  const [one, other] = line;
  const style = cable.isUp ? "link" : "link down";
  return [
    `<line class="${style}" x1="${spot(one.x)}" y1="${spot(one.y)}" x2="${spot(other.x)}" y2="${spot(other.y)}"><title>${escaped(cable.text)}</title></line>`,
  ];
}

function portsOf(cable: Cable, canvas: Canvas): string[] {
  const line = canvas.line(cable, -12);
  if (line === undefined) return [];
  const [one, other] = line;
  const length = Math.max(Math.hypot(other.x - one.x, other.y - one.y), 1);
  const share = Math.min(0.4, (radius + 20) / length);
  const along = (part: number): Point => ({
    x: one.x + (other.x - one.x) * part,
    y: one.y + (other.y - one.y) * part,
  });
  const text = (at: Point, port: number): string =>
    `<text class="soft port" text-anchor="middle" x="${spot(at.x)}" y="${spot(at.y + 3.5)}">${port}</text>`;
  return [text(along(share), cable.fromPort), text(along(1 - share), cable.toPort)];
}

function switchSvg(
  { switchId, isConnected, description }: NetworkPicture["switches"][number],
  canvas: Canvas,
): string[] {
  const at = canvas.at(switchId);
  if (at === undefined) return [];
  const text = `${switchId}: ${isConnected ? "connected" : "away"}${description === "" ? "" : `, ${description}`}`;
  return [
    `<g><title>${escaped(text)}</title>`,
    `<circle class="switch${isConnected ? "" : " away"}" cx="${spot(at.x)}" cy="${spot(at.y)}" r="${radius}"/>`,
    `<text class="ink id" x="${spot(at.x)}" y="${spot(at.y + 4.5)}">${escaped(short(shortSwitchId(switchId), 5))}</text></g>`,
  ];
}

/** The lines of flows: those on one link beside each other, in the order of the legend. */
function flowLines(flows: readonly ShownFlow[], cables: readonly Cable[], canvas: Canvas): string[] {
  const strands = strandsOf(flows);
  const known = new Map(cables.map((cable) => [cable.key, cable]));
  const onCable = new Map<string, number[]>();
  strands.forEach(({ path }, index) => {
    for (const segment of path.segments) {
      const key = cableKey(segment);
      const there = onCable.get(key);
      if (there === undefined) onCable.set(key, [index]);
      else there.push(index);
    }
  });
  return strands.flatMap(({ flow, path, isBroken }, index) => {
    const points = path.segments.flatMap((segment) => {
      const key = cableKey(segment);
      const [from, to] = isInOrder(segment) ? [segment.from, segment.to] : [segment.to, segment.from];
      const all = onCable.get(key) ?? [];
      const gap = Math.min(lineGap, widest / all.length);
      const distance = (all.indexOf(index) - (all.length - 1) / 2) * gap;
      const line = canvas.line(known.get(key) ?? { key, from, to }, distance);
      if (line === undefined) return [];
      return isInOrder(segment) ? line : line.toReversed();
    });
    if (points.length === 0) return [];
    const { spec, status } = flows[flow] as ShownFlow;
    const steps = points.map(({ x, y }, at) => `${at === 0 ? "M" : "L"}${spot(x)} ${spot(y)}`).join("");
    const style = ["flow", path.role === "main" ? "" : "spare", isBroken ? "broken" : ""]
      .filter(Boolean)
      .join(" ");
    const text = `${spec.flowId}, ${path.role} path: ${statusText(status)}`;
    return [
      `<path class="${style}" style="--h:${hueOf(flow)}" d="${steps}"><title>${escaped(text)}</title></path>`,
    ];
  });
}

/** A dot on each switch where a flow enters or leaves. */
function flowEnds(flows: readonly ShownFlow[], canvas: Canvas): string[] {
  const ends = flows.flatMap(({ spec }, flow) =>
    [spec.source, spec.destination].map((end) => ({ flow, flowId: spec.flowId, ...end })),
  );
  return [...Map.groupBy(ends, ({ switchId }) => switchId)].flatMap(([switchId, own]) =>
    own.flatMap(({ flow, flowId, port, vlan }, index) => {
      const at = canvas.rim(switchId, index, own.length);
      if (at === undefined) return [];
      const text = `${flowId}: port ${port}, ${vlan === 0 ? "all VLANs" : `VLAN ${vlan}`}`;
      return [
        `<circle class="end" style="--h:${hueOf(flow)}" cx="${spot(at.x)}" cy="${spot(at.y)}" r="4"><title>${escaped(text)}</title></circle>`,
      ];
    }),
  );
}

function legendOf(
  { flows, moreFlows }: NetworkPicture,
  left: number,
): { readonly lines: string[]; readonly height: number } {
  const lines: string[] = [];
  let y = 66;
  const put = (x: number, style: string, text: string, title = text): void => {
    lines.push(
      `<text class="${style}" x="${left + x}" y="${y + 4.5}">${escaped(text)}${title === text ? "" : `<title>${escaped(title)}</title>`}</text>`,
    );
  };
  flows.forEach((flow, index) => {
    const { spec, status, paths, info } = flow;
    const isSpared = paths.some(({ role }) => role === "protected");
    lines.push(
      `<path class="flow${status === "DOWN" ? " broken" : ""}" style="--h:${hueOf(index)}" d="M${left} ${isSpared ? y - 3 : y}h34"/>`,
    );
    if (isSpared)
      lines.push(`<path class="flow spare" style="--h:${hueOf(index)}" d="M${left} ${y + 4}h34"/>`);
    put(44, "ink", short(spec.flowId, 22), `${spec.flowId}${info === null ? "" : `: ${info}`}`);
    put(220, status, statusText(status));
    y += legendLine;
  });
  if (moreFlows > 0) {
    put(44, "soft", `and ${moreFlows} more ${moreFlows === 1 ? "flow" : "flows"}`);
    y += legendLine;
  }
  y += 8;
  const sample = (style: string, text: string, hue?: number): void => {
    lines.push(
      `<path class="${style}"${hue === undefined ? "" : ` style="--h:${hue}"`} d="M${left + 2} ${y}h30"/>`,
    );
    put(44, "soft", text);
    y += legendLine;
  };
  sample("link", "a link");
  sample("link down", "a link that is down");
  if (flows.length > 0) {
    sample("flow", "the path that packets take", 210);
    sample("flow spare", "a protected path, which waits", 210);
    sample("flow broken", "a path that is broken", 210);
  }
  return { lines, height: y + 12 };
}
