import Ajv from "ajv";
import addFormats from "ajv-formats";
import { asyncApi } from "wheelwork/cluster";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { expect, test } from "vitest";

test("the AsyncAPI document of a cluster is valid, and names its topics and partitions", () => {
  const channel = {
    name: "nb",
    from: "nb-to-hub",
    to: "hub-to-nb",
    hub: "flow-create",
    request: () => ({}),
    answer: () => ({ value: "" }),
  };
  const document = asyncApi({ shards: 16, channels: [channel], title: "flow-crud" }) as {
    channels: Record<string, { address: string; bindings?: object }>;
  };
  const path = createRequire(import.meta.url).resolve("@asyncapi/specs/schemas/3.0.0-without-$id.json");
  const ajv = new Ajv.default({ strict: false, allErrors: true, logger: false });
  addFormats.default(ajv);
  const validate = ajv.compile(JSON.parse(readFileSync(path, "utf8")) as object);
  validate(document);
  expect(validate.errors).toBeNull();
  expect(Object.values(document.channels).map(({ address }) => address)).toEqual([
    "nb-to-hub",
    "hub-to-nb",
    "nb-to-hub-dlt",
    "wheelwork-inbox",
    "wheelwork-inbox-dlt",
  ]);
  expect(document.channels["wheelwork-inbox"]?.bindings).toMatchObject({ kafka: { partitions: 16 } });
});
