// What nobody who writes JavaScript has said: the tests say it.
import type { Hub } from "@wheelwork/core";
import type { Worker } from "@wheelwork/engine";

export const text: Hub<{ readonly words: readonly string[] }>;
export const workers: readonly Worker[];
