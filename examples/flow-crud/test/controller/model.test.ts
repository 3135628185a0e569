import { expect, test } from "vitest";
import { FlowChanges, FlowSpec } from "../../src/controller/model.ts";
import { UpdateFlow } from "../../src/controller/requests.ts";
import { Intent } from "../../src/controller/store.ts";

test("a change of one field says nothing of the others", () => {
  const changes = { bandwidth: 64 };
  expect(UpdateFlow.parse({ flowId: "f", changes }).changes).toEqual(changes);
  expect(Intent.parse({ kind: "update", changes })).toEqual({ kind: "update", changes });
  const { flowId: _, ...fields } = FlowSpec.shape;
  expect(Object.keys(FlowChanges.shape).toSorted()).toEqual(Object.keys(fields).toSorted());
});
