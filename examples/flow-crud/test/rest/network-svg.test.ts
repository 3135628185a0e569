import { expect, test } from "vitest";
import { FlowSpec, switchIdOf, type Path, type Segment } from "../../src/controller/model.ts";
import type { StoredLink, StoredSwitch } from "../../src/controller/store.ts";
import { layOut } from "../../src/rest/network-layout.ts";
import { networkSvg, type NetworkPicture } from "../../src/rest/network-svg.ts";
import type { ShownFlow } from "../../src/rest/views.ts";

const sw = (number: number): string => switchIdOf(BigInt(number));

/** Numbers from 0 to 1, always the same ones of a seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const shuffled = <T>(items: readonly T[], next: () => number): T[] =>
  items
    .map((item) => ({ item, at: next() }))
    .toSorted((one, other) => one.at - other.at)
    .map(({ item }) => item);

/** A network that hangs together, or nearly. */
function randomEdges(count: number, next: () => number) {
  const below = (limit: number): number => Math.floor(next() * limit);
  const edges = Array.from({ length: count - 1 }, (_, index) => ({
    from: sw(index + 2),
    to: sw(1 + below(index + 1)),
  }));
  const more = Array.from({ length: below(2 * count) }, () => ({
    from: sw(1 + below(count)),
    to: sw(1 + below(count)),
  }));
  return [...edges.filter(() => next() > 0.05), ...more];
}

test("switches are placed apart, neighbours near each other, and always in the same way", () => {
  const first = Number(process.env["LAYOUT_SEED"] ?? 1);
  for (let seed = first; seed < first + 40; seed++) {
    const next = random(seed);
    const count = 1 + Math.floor(next() * 60);
    const names = Array.from({ length: count }, (_, index) => sw(index + 1));
    const edges = randomEdges(count, next);
    const places = layOut(names, edges);
    const turned = edges.map(({ from, to }) => (next() < 0.5 ? { from, to } : { from: to, to: from }));
    const again = layOut(shuffled(names, next), shuffled(turned, next));
    expect([...again].toSorted(), `seed ${seed}`).toEqual([...places].toSorted());
    expect(places.size, `seed ${seed}`).toBe(count);
    const all = [...places.values()];
    const apart: number[] = [];
    all.forEach((one, index) => {
      expect(one.x >= 0 && one.y >= 0, `seed ${seed}: ${one.x}, ${one.y}`).toBe(true);
      for (const other of all.slice(index + 1)) apart.push(Math.hypot(one.x - other.x, one.y - other.y));
    });
    // A switch is 34 pixels wide.
    expect(Math.min(60, ...apart), `seed ${seed}`).toBeGreaterThan(50);
    const near = edges
      .filter(({ from, to }) => from !== to)
      .map(({ from, to }) => {
        const [one, other] = [places.get(from), places.get(to)];
        return Math.hypot((one?.x ?? 0) - (other?.x ?? 0), (one?.y ?? 0) - (other?.y ?? 0));
      });
    const mean = (values: readonly number[]): number =>
      values.reduce((sum, one) => sum + one, 0) / values.length;
    expect(count > 10 ? mean(near) / mean(apart) : 0, `seed ${seed}`).toBeLessThan(0.75);
  }
});

const switchOf = (number: number, more: Partial<StoredSwitch> = {}): StoredSwitch => ({
  switchId: sw(number),
  isConnected: true,
  address: "",
  description: "",
  ports: [],
  ...more,
});

const linkOf = (one: number, other: number, isUp = true): StoredLink[] => {
  const there = { from: sw(one), fromPort: other, to: sw(other), toPort: one };
  const back = { from: sw(other), fromPort: one, to: sw(one), toPort: other };
  return [there, back].map((ends) => ({ ...ends, isUp, cost: 1, latencyMs: 1, bandwidth: 1000, used: 0 }));
};

const segments = (...numbers: readonly number[]): Segment[] =>
  numbers.slice(1).map((to, index) => ({
    from: sw(numbers[index] as number),
    fromPort: to,
    to: sw(to),
    toPort: numbers[index] as number,
  }));

const pathOf = (id: number, role: Path["role"], ...over: readonly number[]): Path => ({
  id,
  role,
  segments: segments(...over),
  vlan: 2,
  meters: { forward: null, reverse: null },
  bandwidth: 0,
  latencyMs: 1,
});

function flowOf(flowId: string, paths: readonly Path[], more: Partial<ShownFlow> = {}): ShownFlow {
  const end = (switchId: string) => ({ switchId, port: 50, vlan: 7 });
  return {
    spec: FlowSpec.parse({ flowId: "f", source: end(sw(1)), destination: end(sw(3)), bandwidth: 0 }),
    paths: [...paths],
    status: "UP",
    info: null,
    live: {},
    createdAt: 0,
    updatedAt: 0,
    unconfirmed: [],
    ...more,
    ...(flowId === "f" ? {} : { spec: { ...flowSpec(), flowId } }),
  };
}
const flowSpec = () => flowOf("f", []).spec;

const square = (isUp = true): NetworkPicture => ({
  switches: [1, 2, 3, 4].map((number) => switchOf(number)),
  links: [...linkOf(1, 2, isUp), ...linkOf(2, 3), ...linkOf(1, 4), ...linkOf(4, 3)],
  flows: [flowOf("f", [pathOf(1, "main", 1, 2, 3), pathOf(2, "protected", 1, 4, 3)])],
  moreFlows: 2,
});

/** The names of the elements of a text that is well-formed XML. */
function elementsOf(xml: string): string[] {
  const names: string[] = [];
  const open: string[] = [];
  let wrong = 0;
  const rest = xml.replaceAll(
    /<(\/?)([\w-]+)((?:\s+[\w:-]+="[^"<&]*(?:&(?:amp|lt|gt|quot);[^"<&]*)*")*)\s*(\/?)>/g,
    (...parts) => {
      const [, end, name, , alone] = parts as unknown as [string, string, string, string, string];
      if (end === "/") wrong += open.pop() === name ? 0 : 1;
      else {
        names.push(name);
        if (alone === "") open.push(name);
      }
      return "";
    },
  );
  expect([wrong, open]).toEqual([0, []]);
  expect(rest.replaceAll(/&(?:amp|lt|gt|quot);/g, "")).not.toMatch(/[<&]/);
  return names;
}

const attributes = (svg: string, pattern: RegExp): string[] =>
  [...svg.matchAll(pattern)].map(([, found = ""]) => found);

test("a picture shows links, flows, protected paths, statuses and how many flows it leaves out", () => {
  const svg = networkSvg(square());
  const names = elementsOf(svg);
  expect(names.filter((name) => name === "line")).toHaveLength(4);
  expect(svg).toContain("4 switches, 4 links, 3 flows");
  expect(svg).toContain("and 2 more flows");
  expect(attributes(svg, /<path class="(flow[^"]*)"[^>]*d="M[\d.]+ [\d.]+L/g)).toEqual([
    "flow",
    "flow spare",
  ]);
  expect(svg).toContain("<title>f, protected path: Up</title>");
  expect(svg).toContain("prefers-color-scheme: dark");
});

test("a link that fails is drawn as down, and moves nothing", () => {
  const [before, after] = [networkSvg(square()), networkSvg(square(false))];
  const places = (svg: string) => attributes(svg, /(<circle class="switch[^>]*>)/g);
  expect(places(after)).toEqual(places(before));
  expect(attributes(before, /<line class="(link down)"/g)).toHaveLength(0);
  expect(attributes(after, /<line class="(link down)"/g)).toHaveLength(1);
  expect(after).toContain("4 links (1 down)");
  const broken = {
    ...square(false),
    flows: [flowOf("f", [pathOf(1, "main", 1, 2, 3)], { status: "DOWN", live: { 1: false } })],
  };
  expect(networkSvg(broken)).toContain('<path class="flow broken"');
});

test("texts of others are text, whatever is in them", () => {
  const hostile = `</title><script>alert("1")</script>&<![CDATA[ \u0000\u000b\ud800 ]]>`;
  const svg = networkSvg({
    switches: [switchOf(1, { description: hostile }), switchOf(3, { isConnected: false })],
    links: [],
    flows: [flowOf(hostile, [], { status: "DOWN", info: hostile })],
    moreFlows: 0,
  });
  elementsOf(svg);
  expect(svg).not.toContain("<script");
  // oxlint-disable-next-line no-control-regex
  expect(svg).not.toMatch(/[\u0000\u000b\ud800]/);
  expect(svg).toContain("2 switches (1 away)");
});

test("flows on one link are drawn beside each other, and a picture stays small", () => {
  const many = Array.from({ length: 100 }, (_, index) =>
    flowOf(`flow-${index}`, [pathOf(index + 1, "main", 1, 2, 3)]),
  );
  const picture = { ...square(), flows: many };
  const svg = networkSvg(picture);
  elementsOf(svg);
  const lines = attributes(svg, /<path class="flow"[^>]*d="(M[\d.]+ [\d.]+L[^"]*)"/g);
  expect(lines).toHaveLength(100);
  expect(new Set(lines).size).toBe(100);
  expect(svg.length / 100).toBeLessThan(2000);
  // A flow on one switch, and one whose link is not there any more, are drawn as far as they can be.
  const odd = [flowOf("one", [pathOf(1, "main", 1)]), flowOf("lost", [pathOf(2, "main", 1, 9, 3)])];
  elementsOf(networkSvg({ ...square(), flows: odd }));
  elementsOf(networkSvg({ switches: [], links: [], flows: [], moreFlows: 0 }));
});
