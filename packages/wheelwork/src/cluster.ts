/** Wheelwork on many nodes: `createNode`, `createClient`, and what deals with their topics. */
export * from "@wheelwork/engine/cluster";
