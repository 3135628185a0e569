import { join } from "node:path";

const root = join(import.meta.dirname, "..", "..");

/** Where the services keep their data: in the checkout, out of git. */
export const defaultFolder = join(root, ".services");

/** What was downloaded; wiping the data leaves it. */
export const defaultCache = join(defaultFolder, "cache");
