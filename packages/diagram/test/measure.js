// Runs in the page: writes what every text of every picture measures into the element #measured.

const plain = ({ x, y, width, height }) => ({ x, y, width, height });

/** The box of what is seen of a text: spaces around it keep others away, and may lie on anything. */
function boxOf(text) {
  const { y, height } = text.getBBox();
  const seen = text.textContent.trim();
  const first = text.textContent.indexOf(seen);
  const { x } = text.getStartPositionOfChar(first);
  return { x, y, width: text.getEndPositionOfChar(first + seen.length - 1).x - x, height };
}

/** The corners of a box, and the middles of its left and right side. */
const cornersOf = ({ x, y, width, height }) =>
  [0, 0.5, 1].flatMap((down) => [
    new DOMPoint(x, y + down * height),
    new DOMPoint(x + width, y + down * height),
  ]);

const titleOf = (group) => group.querySelector(":scope > title").textContent;

/** The outlines of a node or a cluster; a state that is an end has two. Those of edges are arrows, and hold no text. */
function outlinesOf(group) {
  if (group.classList.contains("edge")) return [];
  return [...group.querySelectorAll(":scope > :is(path, polygon, ellipse)")];
}

function measureText(text) {
  const group = text.closest("g");
  const box = boxOf(text);
  return {
    text: text.textContent.trim(),
    owner: titleOf(group),
    kind: group.classList[0],
    box,
    outlines: outlinesOf(group).map((outline) => ({
      box: plain(outline.getBBox()),
      holds: cornersOf(box).every((corner) => outline.isPointInFill(corner)),
    })),
  };
}

/** Points of an edge's line, close enough to meet each text that it crosses. */
function pointsOf(line) {
  const apart = 3;
  const count = Math.ceil(line.getTotalLength() / apart);
  return Array.from({ length: count }, (_, at) => line.getPointAtLength(at * apart)).map(({ x, y }) => ({
    x,
    y,
  }));
}

function measurePicture(svg) {
  return {
    // Graphviz fills the whole picture with its background.
    canvas: plain(svg.querySelector("g.graph > polygon").getBBox()),
    texts: [...svg.querySelectorAll("text")].map(measureText),
    nodes: [...svg.querySelectorAll("g.node")].map((node) => ({
      title: titleOf(node),
      box: plain(outlinesOf(node)[0].getBBox()),
    })),
    lines: [...svg.querySelectorAll("g.edge")].map((edge) => ({
      title: titleOf(edge),
      points: pointsOf(edge.querySelector("path")),
    })),
  };
}

/** The width of a text in a font of 100 pixels: it tells which font is used. */
function widthIn(font) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = font;
  return context.measureText("abcdefghij").width;
}

document.querySelector("#measured").textContent = encodeURIComponent(
  JSON.stringify({
    regular: widthIn("100px Arial, sans-serif"),
    bold: widthIn("bold 100px Arial, sans-serif"),
    pictures: [...document.querySelectorAll("svg")].map(measurePicture),
  }),
);
