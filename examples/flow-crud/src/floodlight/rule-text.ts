import type { FlowStats, MeterConfig } from "@wheelwork/openflow";
import { hexOf, type Action } from "../controller/model.ts";
import { ruleOf } from "./rule-messages.ts";

// What a switch has, for people: in the manner of `ovs-ofctl dump-flows`.

function textOfAction(action: Action): string {
  switch (action.type) {
    case "output":
      return action.port === "in" ? "in_port" : `output:${action.port}`;
    case "setVlan":
      return `set_vlan:${action.vlan}`;
    case "pushVlan":
      return "push_vlan";
    case "popVlan":
      return "pop_vlan";
  }
}

/** A rule that a switch has. Of one that no flow can have, only what all rules have is told. */
export function textOfFlow(stats: FlowStats): string {
  const common = `cookie=0x${hexOf(stats.cookie)}, n_packets=${stats.packets}, priority=${stats.priority}`;
  const rule = ruleOf(0n, stats);
  if (rule === undefined) return `${common}, no rule of a flow`;
  const actions = [
    ...(rule.meter === null ? [] : [`meter:${rule.meter}`]),
    ...rule.actions.map(textOfAction),
  ];
  const vlan = rule.vlan === null ? "" : `,dl_vlan=${rule.vlan}`;
  return `${common},in_port=${rule.inPort}${vlan} actions=${actions.join(",") || "drop"}`;
}

/** A meter that a switch has. */
export const textOfMeter = ({ meterId, bands }: MeterConfig): string =>
  `meter=${meterId} kbps=${bands.map(({ rate }) => rate).join(",")}`;
