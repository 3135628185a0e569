/** Rule numbers from `first` to `last`, both included. */
interface Range {
  readonly first: number;
  readonly last: number;
}

/**
 * A set of rule numbers, as ranges in order. What a hub notes of each call is written with each outcome: a list of ten
 * thousand numbers would be written ten thousand times, ranges stay short.
 */
export type Ranges = readonly Range[];

/** The ranges with one more number. */
export function withNumber(ranges: Ranges, number: number): Ranges {
  const next = ranges.findIndex(({ first }) => first > number);
  const position = next === -1 ? ranges.length : next;
  const before = ranges[position - 1];
  const after = ranges[position];
  if (before !== undefined && number <= before.last) return ranges;
  const joinsBefore = before?.last === number - 1;
  const joinsAfter = after?.first === number + 1;
  const joined = { first: joinsBefore ? before.first : number, last: joinsAfter ? after.last : number };
  return ranges.toSpliced(
    joinsBefore ? position - 1 : position,
    Number(joinsBefore) + Number(joinsAfter),
    joined,
  );
}

/** The numbers of the ranges, in order. */
export function numbersOf(ranges: Ranges): number[] {
  return ranges.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, offset) => first + offset),
  );
}
