import { expect, test } from "vitest";
import { changedFlow, FlowChanges, FlowSpec } from "../../src/controller/model.ts";
import { UpdateFlow } from "../../src/controller/requests.ts";
import { Intent } from "../../src/controller/store.ts";

test("a change of one field says nothing of the others", () => {
  const changes = { bandwidth: 64 };
  expect(UpdateFlow.parse({ flowId: "f", changes }).changes).toEqual(changes);
  expect(Intent.parse({ kind: "update", changes })).toEqual({ kind: "update", changes });
  const { flowId: _, ...fields } = FlowSpec.shape;
  expect(Object.keys(FlowChanges.shape).toSorted()).toEqual(Object.keys(fields).toSorted());
});

test("two changes of one end, one after the other, both hold", () => {
  const end = { switchId: "00:00:00:00:00:00:00:01", port: 1, vlan: 1 };
  const spec = FlowSpec.parse({ flowId: "f", source: end, destination: { ...end, port: 2 }, bandwidth: 0 });
  const [one, other] = [{ source: { port: 5 } }, { source: { vlan: 6 }, pinned: true }].map((changes) =>
    FlowChanges.parse(changes),
  ) as [FlowChanges, FlowChanges];
  const changed = changedFlow(changedFlow(spec, one), other);
  expect(changed).toEqual({ ...spec, source: { ...end, port: 5, vlan: 6 }, pinned: true });
});
