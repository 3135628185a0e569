/** The stored key of the request that a run belongs to. Stored keys of requests have no '/', except for two where they begin. */
export const rootOf = (run: string): string =>
  run.slice(0, `${run}/`.indexOf("/", run.startsWith("//") ? 2 : 0));
