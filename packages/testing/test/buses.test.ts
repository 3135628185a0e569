import { LocalBus } from "@wheelwork/engine";
import { describe, test } from "vitest";
import { busConformance } from "../src/index.ts";

busConformance({ describe, test }, "LocalBus", () => {
  const bus = new LocalBus();
  return { bus, other: bus, topic: "topic", close: () => {} };
});
