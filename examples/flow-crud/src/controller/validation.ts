import { end, hub, stay, type DeepReadonly } from "wheelwork";
import type { FlowSpec, Layout, Path, Rule } from "./model.ts";
import { ValidateFlow, validationErrors, ValidationReply } from "./requests.ts";
import { bySwitch, rulesOfDirection, type Direction } from "./rules.ts";
import type { ControllerSpokes } from "./spokes.ts";

type DirectionReply = ValidationReply["directions"][number];

/** What of a direction of a path is on one switch. */
interface Part {
  readonly name: DirectionReply["direction"];
  readonly switchId: string;
  readonly rules: readonly Rule[];
}

interface ValidationData {
  readonly flowId: string;
  layout: Layout | null;
  directions: DirectionReply[];
  /** Of each switch that was read, by its id. */
  totals: Record<string, { rules: number; meters: number }>;
  switchId: string;
}

type Data = DeepReadonly<ValidationData>;

function nameOf({ role }: Pick<Path, "role">, direction: Direction): DirectionReply["direction"] {
  return role === "main" ? direction : `protected_${direction}`;
}

/** What is to be read, the parts of each direction one after the other. */
function partsOf(layout: DeepReadonly<Layout> | null): readonly Part[] {
  if (layout === null) return [];
  const { spec, paths } = layout as Layout & { readonly spec: FlowSpec };
  return paths.flatMap((path) =>
    (["forward", "reverse"] as const).flatMap((direction) =>
      bySwitch(rulesOfDirection(spec, path, direction)).map(({ switchId, rules }) => ({
        name: nameOf(path, direction),
        switchId,
        rules,
      })),
    ),
  );
}

const countOf = (rules: readonly Rule[], kind: Rule["kind"]): number =>
  rules.filter((rule) => rule.kind === kind).length;

/** Compares what the switches of a flow really have with what they should have. It changes nothing, and holds up no other operation. */
export function validationHub(spokes: ControllerSpokes, { deadlineMs = 30_000 } = {}) {
  return hub(
    "validate-flow",
    {
      request: ValidateFlow,
      reply: ValidationReply,
      errors: validationErrors,
      deadlineMs,
      deadline: "TimeoutRaised",
      labels: ({ flowId, correlationId }) => ({
        flow: flowId,
        ...(correlationId === "" ? {} : { correlation: correlationId }),
      }),
      chart: {
        Looking: { Found: "Reading", Unknown: "Unknown", Down: "Down", TimeoutRaised: "TookTooLong" },
        Reading: { Read: stay, Next: "Done", Away: "Away", TimeoutRaised: "TookTooLong" },
        Done: end,
        Unknown: end,
        Down: end,
        Away: end,
        TookTooLong: end,
      },
      data: ({ flowId }): ValidationData => ({
        flowId,
        layout: null,
        directions: [],
        totals: {},
        switchId: "",
      }),
    },
    {
      Looking: (s) =>
        s.call(spokes.look, {
          input: ({ flowId }) => ({ flowId }),
          ok: (_data, { layout, status }) => {
            if (layout === null) return s.raise("Unknown");
            if (status === "DOWN" || layout.paths.length === 0) return s.raise("Down");
            return s.raise("Found", {
              layout: layout as Layout,
              directions: layout.paths.flatMap((path) =>
                (["forward", "reverse"] as const).map((direction) => ({
                  direction: nameOf(path, direction),
                  asExpected: true,
                  discrepancies: [],
                  rules: 0,
                  meters: 0,
                  packets: 0,
                  bytes: 0,
                })),
              ),
            });
          },
          failed: "TimeoutRaised",
        }),

      Reading: (s) =>
        s.each(spokes.read, {
          inputs: ({ layout }) =>
            partsOf(layout).map(({ switchId, rules }) => ({ switchId, rules: [...rules] })),
          ok: (data, read, { index, input }) => {
            const part = partsOf(data.layout)[index] as Part;
            return s.raise("Read", {
              totals: {
                ...data.totals,
                [input.switchId]: { rules: read.totalRules, meters: read.totalMeters },
              },
              directions: (data.directions as DirectionReply[]).map((one) =>
                one.direction === part.name
                  ? {
                      ...one,
                      asExpected: one.asExpected && read.discrepancies.length === 0,
                      discrepancies: [
                        ...one.discrepancies,
                        ...(read.discrepancies as DirectionReply["discrepancies"]),
                      ],
                      rules: one.rules + countOf(part.rules, "rule"),
                      meters: one.meters + countOf(part.rules, "meter"),
                      // Packets are counted where they enter.
                      packets: Math.max(one.packets, read.packets),
                      bytes: Math.max(one.bytes, read.bytes),
                    }
                  : one,
              ),
            });
          },
          failed: (_data, _failure, { input }) => s.raise("Away", { switchId: input.switchId }),
          done: "Next",
        }),

      Done: ({ flowId, directions, totals }: Data) => {
        const all = Object.values(totals);
        return {
          flowId,
          directions: directions as DirectionReply[],
          totalRules: all.reduce((sum, { rules }) => sum + rules, 0),
          totalMeters: all.reduce((sum, { meters }) => sum + meters, 0),
        };
      },
      Unknown: ({ flowId }, s) => s.fail("unknown", `there is no flow ${flowId}`),
      Down: ({ flowId }, s) => s.fail("down", `the flow ${flowId} is DOWN: there is nothing to validate`),
      Away: ({ switchId }, s) => s.fail("away", `switch ${switchId} could not be read`),
      TookTooLong: ({ flowId }, s) =>
        s.fail("timeout", `the flow ${flowId} could not be validated in its time`),
    },
  );
}
