/*
 * The keys of runs, as they are stored, and what they say. How a key is made of what a sender gives is the business of
 * engines; the kernel knows only the stored key, and tells a new run its id.
 */

/** What begins a stored key whose text is not plain ASCII: the text follows, percent-encoded. */
export const encodedMark = "//";

/** The mark of a lane behind a key, and 16 hex digits. */
export const tagMark = "@~";
export const tagLength = tagMark.length + 16;
const tagPattern = /^@~[0-9a-f]{16}$/;

/** Where the tag of a key begins; 0: it has none. */
export function startOfTag(key: string): number {
  const start = key.length - tagLength;
  return start > 0 && key.startsWith(tagMark, start) && tagPattern.test(key.slice(start)) ? start : 0;
}

/** The request whose shard has a run: what it has begun lives there, too. */
export function rootOf(run: string): string {
  const slash = run.indexOf("/", run.startsWith(encodedMark) ? encodedMark.length : 0);
  return slash < 0 ? run : run.slice(0, slash);
}

/** The key of a request as its sender gave it. A run that a request has begun is named by its stored key. */
export const givenKey = (stored: string): string =>
  stored.startsWith(encodedMark) && rootOf(stored) === stored
    ? decodeURIComponent(stored.slice(encodedMark.length))
    : stored;

/** What a run is called: by those who ask for it, and by the one who sent its request. */
export function namesOf(stored: string): { readonly id: string; readonly key: string } {
  const id = givenKey(stored);
  const start = rootOf(stored) === stored ? startOfTag(id) : 0;
  return { id, key: start > 0 ? id.slice(0, start) : id };
}
