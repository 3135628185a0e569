import { kind, kinds, type OptionKinds } from "@wheelwork/core/kernel";
import type { ConnectionOptions } from "./options.ts";

const { either, flag, list, object, oneOf, text, whole } = kinds;

/** What the options of connections may be. */
export const connectionOptions: OptionKinds<ConnectionOptions> = {
  connectionString: kind((value) => typeof value === "string" && !value.includes("\0"), "must be a text"),
  host: either(text(10_000), list(text(), 1), "must be a text, or a list of texts"),
  port: whole(1, 65_535),
  database: text(),
  user: text(),
  password: kind(
    (value) => typeof value === "string" || typeof value === "function",
    "must be a text, or a function that returns it",
  ),
  ssl: either(flag, object(), "must be true, false, or the options of TLS"),
  schema: text(),
  durability: oneOf("full", "normal"),
  timeoutMs: whole(1, 2_147_483_647),
  readers: whole(1, 10_000),
  writers: whole(1, 10_000),
};
