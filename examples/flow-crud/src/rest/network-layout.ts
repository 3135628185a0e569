/** Where something is drawn. */
export interface Point {
  readonly x: number;
  readonly y: number;
}

/** The ends of a line between two things. */
export interface Edge {
  readonly from: string;
  readonly to: string;
}

/** How far apart neighbours are drawn, and the least distance of any two, in pixels. */
const linkLength = 120;
const leastDistance = 74;

/** Work of one layout: so many pairs are looked at. It takes about 0.1 s. */
const workPairs = 1e7;

/**
 * Places things so that their distances are as much as can be those that they have along the edges: stress majorization (Gansner, Koren
 * and North, 2004), from classical scaling as its start. The same things and edges are always placed in the same way, whatever the order in
 * which they come.
 */
export function layOut(names: readonly string[], edges: readonly Edge[]): ReadonlyMap<string, Point> {
  const ids = names.toSorted();
  const neighbours = neighboursOf(ids, edges);
  const parts = partsOf(neighbours);
  const placed = new Map<string, Point>();
  let [left, top, rowHeight] = [0, 0, 0];
  const boxes = parts.map((part) => placePart(part, neighbours));
  const rowWidth = Math.max(boxes[0]?.width ?? 0, 6 * linkLength);
  for (const { points, width, height } of boxes) {
    if (left > 0 && left + width > rowWidth) [left, top, rowHeight] = [0, top + rowHeight + linkLength, 0];
    for (const [id, { x, y }] of points) placed.set(ids[id] as string, { x: x + left, y: y + top });
    left += width + linkLength;
    rowHeight = Math.max(rowHeight, height);
  }
  return placed;
}

/** The neighbours of each thing, by number. */
type Neighbours = readonly (readonly number[])[];

function neighboursOf(ids: readonly string[], edges: readonly Edge[]): Neighbours {
  const numbers = new Map(ids.map((id, number) => [id, number]));
  const found = ids.map(() => new Set<number>());
  for (const { from, to } of edges) {
    const [one, other] = [numbers.get(from), numbers.get(to)];
    if (one === undefined || other === undefined || one === other) continue;
    found[one]?.add(other);
    found[other]?.add(one);
  }
  return found.map((set) => [...set].toSorted((one, other) => one - other));
}

/** The things that hang together, the largest part first. */
function partsOf(neighbours: Neighbours): readonly (readonly number[])[] {
  const seen = new Set<number>();
  const parts: number[][] = [];
  for (let start = 0; start < neighbours.length; start++) {
    if (seen.has(start)) continue;
    const part = [start];
    seen.add(start);
    for (const at of part)
      for (const next of neighbours[at] ?? []) {
        if (seen.has(next)) continue;
        seen.add(next);
        part.push(next);
      }
    parts.push(part.toSorted((one, other) => one - other));
  }
  return parts.toSorted((one, other) => other.length - one.length || (one[0] ?? 0) - (other[0] ?? 0));
}

interface Placed {
  readonly points: ReadonlyMap<number, Point>;
  readonly width: number;
  readonly height: number;
}

function placePart(part: readonly number[], neighbours: Neighbours): Placed {
  const count = part.length;
  const distances = distancesIn(part, neighbours);
  const x = new Float64Array(count);
  const y = new Float64Array(count);
  start(distances, x, y);
  const rounds = Math.max(5, Math.min(200, Math.floor(workPairs / (count * count))));
  for (let round = 0; round < rounds; round++) majorize(distances, x, y);
  turn(x, y);
  for (let round = 0; round < Math.min(30, rounds) && pushApart(x, y); round++);
  return framed(part, x, y);
}

/** How many edges are between any two things of a part, row by row. */
function distancesIn(part: readonly number[], neighbours: Neighbours): Float64Array {
  const count = part.length;
  const places = new Map(part.map((id, place) => [id, place]));
  const distances = new Float64Array(count * count);
  for (let from = 0; from < count; from++) {
    const queue = [from];
    const seen = new Uint8Array(count);
    seen[from] = 1;
    for (const at of queue) {
      const steps = distances[from * count + at] as number;
      for (const neighbour of neighbours[part[at] as number] ?? []) {
        const next = places.get(neighbour) as number;
        if (seen[next] === 1) continue;
        seen[next] = 1;
        distances[from * count + next] = steps + 1;
        queue.push(next);
      }
    }
  }
  return distances;
}

/** Math.hypot takes ten times as long, and these are no large numbers. */
const lengthOf = (dx: number, dy: number): number => Math.sqrt(dx * dx + dy * dy);

/** An array may be too long to be the arguments of a function. */
const most = (values: Float64Array, least: number): number =>
  values.reduce((found, one) => Math.max(found, one), least);

/** Classical scaling by power iteration. Some of a ring is added: things that are alike would be in one place. */
function start(distances: Float64Array, x: Float64Array, y: Float64Array): void {
  const count = x.length;
  const centred = centredSquares(distances, count);
  dominant(centred, x, []);
  dominant(centred, y, [x]);
  const size = most(distances, 1);
  for (let at = 0; at < count; at++) {
    const angle = (2 * Math.PI * at) / count;
    x[at] = (x[at] as number) * size + 0.15 * size * Math.cos(angle);
    y[at] = (y[at] as number) * size + 0.15 * size * Math.sin(angle);
  }
}

function centredSquares(distances: Float64Array, count: number): Float64Array {
  const squares = distances.map((distance) => distance * distance);
  const means = new Float64Array(count);
  for (let row = 0; row < count; row++) {
    let sum = 0;
    for (let column = 0; column < count; column++) sum += squares[row * count + column] as number;
    means[row] = sum / count;
  }
  const mean = means.reduce((sum, one) => sum + one, 0) / count;
  return squares.map((square, at) => {
    const [row, column] = [Math.floor(at / count), at % count];
    return -0.5 * (square - (means[row] as number) - (means[column] as number) + mean);
  });
}

/** Makes a vector the one that a matrix stretches most, of length 1, at right angles to those that were found before. */
function dominant(matrix: Float64Array, vector: Float64Array, before: readonly Float64Array[]): void {
  const count = vector.length;
  for (let at = 0; at < count; at++) vector[at] = Math.sin(1 + at * (1 + before.length));
  const rounds = Math.max(6, Math.min(40, Math.floor(workPairs / (count * count))));
  for (let round = 0; round < rounds; round++) {
    const next = new Float64Array(count);
    for (let row = 0; row < count; row++) {
      let sum = 0;
      for (let column = 0; column < count; column++)
        sum += (matrix[row * count + column] as number) * (vector[column] as number);
      next[row] = sum;
    }
    for (const other of before) {
      const shared = next.reduce((sum, value, at) => sum + value * (other[at] as number), 0);
      for (let at = 0; at < count; at++) next[at] = (next[at] as number) - shared * (other[at] as number);
    }
    const length = Math.sqrt(next.reduce((sum, value) => sum + value * value, 0));
    if (length < 1e-9) return;
    for (let at = 0; at < count; at++) vector[at] = (next[at] as number) / length;
  }
}

/** One round of stress majorization, thing by thing: far ones count less. */
function majorize(distances: Float64Array, x: Float64Array, y: Float64Array): void {
  const count = x.length;
  for (let at = 0; at < count; at++) {
    let [sumX, sumY, weights] = [0, 0, 0];
    for (let other = 0; other < count; other++) {
      if (other === at) continue;
      const wanted = distances[at * count + other] as number;
      const weight = 1 / (wanted * wanted);
      const [dx, dy] = [(x[at] as number) - (x[other] as number), (y[at] as number) - (y[other] as number)];
      const there = Math.max(lengthOf(dx, dy), 1e-6);
      sumX += weight * ((x[other] as number) + (wanted * dx) / there);
      sumY += weight * ((y[other] as number) + (wanted * dy) / there);
      weights += weight;
    }
    if (weights === 0) continue;
    x[at] = sumX / weights;
    y[at] = sumY / weights;
  }
}

/** Turns the picture so that it is wider than high, with its first thing on the left and above the middle. */
function turn(x: Float64Array, y: Float64Array): void {
  const count = x.length;
  const [meanX, meanY] = [x, y].map((axis) => axis.reduce((sum, one) => sum + one, 0) / count) as [
    number,
    number,
  ];
  let [xx, xy, yy] = [0, 0, 0];
  for (let at = 0; at < count; at++) {
    const [dx, dy] = [(x[at] as number) - meanX, (y[at] as number) - meanY];
    xx += dx * dx;
    xy += dx * dy;
    yy += dy * dy;
  }
  const angle = 0.5 * Math.atan2(2 * xy, xx - yy);
  for (let at = 0; at < count; at++) {
    const [dx, dy] = [(x[at] as number) - meanX, (y[at] as number) - meanY];
    x[at] = (dx * Math.cos(angle) + dy * Math.sin(angle)) * linkLength;
    y[at] = (dy * Math.cos(angle) - dx * Math.sin(angle)) * linkLength;
  }
  for (const axis of [x, y]) {
    const first = axis.find((value) => Math.abs(value) > 1) ?? 0;
    if (first > 0) for (let at = 0; at < count; at++) axis[at] = -(axis[at] as number);
  }
}

/** Pushes things apart that would cover each other. @returns Whether there were any. */
function pushApart(x: Float64Array, y: Float64Array): boolean {
  let hasMoved = false;
  for (let at = 0; at < x.length; at++) {
    for (let other = at + 1; other < x.length; other++) {
      const [dx, dy] = [(x[other] as number) - (x[at] as number), (y[other] as number) - (y[at] as number)];
      const there = lengthOf(dx, dy);
      if (there >= leastDistance - 0.5) continue;
      hasMoved = true;
      const [unitX, unitY] = there < 1e-6 ? [1, 0] : [dx / there, dy / there];
      const push = (leastDistance - there) / 2;
      x[at] = (x[at] as number) - unitX * push;
      y[at] = (y[at] as number) - unitY * push;
      x[other] = (x[other] as number) + unitX * push;
      y[other] = (y[other] as number) + unitY * push;
    }
  }
  return hasMoved;
}

/** The picture with its upper left corner at 0, 0. Whole pixels: the last digits of a sum may differ between machines. */
function framed(part: readonly number[], x: Float64Array, y: Float64Array): Placed {
  const [left, top] = [x, y].map((axis) => axis.reduce((least, one) => Math.min(least, one), Infinity)) as [
    number,
    number,
  ];
  const points = new Map(
    part.map((id, at) => [
      id,
      { x: Math.round((x[at] as number) - left), y: Math.round((y[at] as number) - top) },
    ]),
  );
  return { points, width: most(x, left) - left, height: most(y, top) - top };
}
