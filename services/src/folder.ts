import { join, resolve } from "node:path";

const ownFolder = join(import.meta.dirname, "..", "..", ".services");

/** Where the services keep their data: in the checkout, outside of git, unless WHEELWORK_SERVICES names another folder. */
export const defaultFolder = resolve(process.env["WHEELWORK_SERVICES"] ?? ownFolder);

/** What was downloaded. All folders share it, and wiping the data leaves it. */
export const defaultCache = join(ownFolder, "cache");
