import {
  flowMod,
  match,
  meaningOf,
  meterFlags,
  ports,
  vlanPresent,
  type Action as WireAction,
  type FlowMod,
  type FlowStats,
  type Match,
  type MeterConfig,
} from "@wheelwork/openflow";
import {
  addressOf,
  hexOf,
  switchIdOf,
  type Action,
  type FlowRule,
  type MeterRule,
} from "../controller/model.ts";
import { cookieBits, pathOfCookie } from "../controller/rules.ts";

// The rules of flows as messages of OpenFlow, and back.

const vlanType = 0x8100;
const lldpType = 0x88cc;

/** The bits of a cookie that say whose it is. The others number a path. */
const ownerBits = ((1n << 20n) - 1n) << 44n;

/** What finds the rules of flows: one filter for each direction. */
const flowCookies: readonly { readonly cookie: bigint; readonly cookieMask: bigint }[] = [
  cookieBits & (1n << 62n),
  cookieBits & (1n << 61n),
].map((cookie) => ({ cookie, cookieMask: ownerBits }));

/** Whether a cookie is one of a flow. */
export const isOfFlow = (cookie: bigint): boolean => pathOfCookie(cookie) !== undefined;

/** The rule that each switch has besides those of flows: packets of discovery go to the controller, wherever they come in. */
export const lldpRule: FlowMod = flowMod({
  // OpenKilda's mark of service rules, and a number.
  cookie: (1n << 63n) | 1n,
  priority: 65_000,
  match: match({ ethType: lldpType }),
  instructions: [
    { type: "applyActions", actions: [{ type: "output", port: ports.controller, maxLength: 0xffff }] },
  ],
});

/** The message that puts a rule on its switch. */
export function additionOf(rule: FlowRule): FlowMod {
  const { cookie, priority, meter, actions } = rule;
  const applied = { type: "applyActions", actions: actions.flatMap(wireActions) } as const;
  return flowMod({
    cookie: BigInt(`0x${cookie}`),
    priority,
    match: matchOf(rule),
    instructions: meter === null ? [applied] : [{ type: "meter", meterId: meter }, applied],
  });
}

/** The messages that take what is ours from the address of a rule, and leave what is not. */
export const deletionsAt = (rule: FlowRule): FlowMod[] =>
  flowCookies.map((ours) =>
    flowMod({ command: "deleteStrict", priority: rule.priority, match: matchOf(rule), ...ours }),
  );

/** The message that takes exactly what a switch says it has. */
export const deletionOf = ({ tableId, cookie, priority, match: fields }: FlowStats): FlowMod =>
  flowMod({
    command: "deleteStrict",
    tableId,
    cookie,
    cookieMask: 0xffff_ffff_ffff_ffffn,
    priority,
    match: fields,
  });

/** What a rule matches. */
export const matchOf = ({ inPort, vlan }: Pick<FlowRule, "inPort" | "vlan">): Match =>
  match(vlan === null ? { inPort } : { inPort, vlan });

function wireActions(action: Action): WireAction {
  switch (action.type) {
    case "output":
      return { type: "output", port: action.port === "in" ? ports.inPort : action.port };
    case "pushVlan":
      return { type: "pushVlan", etherType: vlanType };
    case "setVlan":
      return { type: "setField", field: { field: "vlanVid", value: vlanPresent | action.vlan } };
    case "popVlan":
      return { type: "popVlan" };
  }
}

/** What a rule on a switch matches, if it is at an address that a rule of a flow can have. */
function placeOf({ tableId, match: fields }: FlowStats): Pick<FlowRule, "inPort" | "vlan"> | undefined {
  if (tableId !== 0 || fields.length === 0 || fields.length > 2) return undefined;
  let inPort: number | undefined;
  let vlan: number | null = null;
  for (const one of fields) {
    if (one.field === "inPort" && one.mask === undefined) inPort = one.value;
    else if (one.field === "vlanVid" && (one.mask ?? 0x1fff) === 0x1fff && (one.value & vlanPresent) !== 0)
      vlan = one.value & 0xfff;
    else return undefined;
  }
  return inPort === undefined ? undefined : { inPort, vlan };
}

/** The address of a rule on a switch; undefined: no rule of a flow can be there. */
export function addressOfFlow(stats: FlowStats): string | undefined {
  const place = placeOf(stats);
  return place && addressOf({ kind: "rule", priority: stats.priority, ...place } as FlowRule);
}

/** A rule that a switch has, as a rule of a flow. What no rule of a flow can say is left out. */
export function ruleOf(datapathId: bigint, stats: FlowStats): FlowRule | undefined {
  const place = placeOf(stats);
  if (place === undefined) return undefined;
  const { cookie, priority, instructions } = stats;
  const meter = instructions.find((one) => one.type === "meter")?.meterId ?? null;
  const applied = instructions.flatMap((one) => (one.type === "applyActions" ? one.actions : []));
  return {
    kind: "rule",
    switchId: switchIdOf(datapathId),
    cookie: hexOf(cookie),
    priority,
    ...place,
    meter,
    actions: applied.flatMap(actionOf),
  };
}

function actionOf(action: WireAction): Action[] {
  switch (action.type) {
    case "output":
      if (action.port === ports.inPort) return [{ type: "output", port: "in" }];
      return action.port <= ports.max && action.port > 0 ? [{ type: "output", port: action.port }] : [];
    case "pushVlan":
    case "popVlan":
      return [{ type: action.type }];
    case "setField": {
      const { field } = action;
      const vlan = field.field === "vlanVid" ? field.value & 0xfff : 0;
      return vlan === 0 ? [] : [{ type: "setVlan", vlan }];
    }
    default:
      return [];
  }
}

/** Whether a switch has a rule as it should be. */
export function isAsTold(told: FlowMod, has: FlowStats): boolean {
  if (told.cookie !== has.cookie || told.priority !== has.priority || told.tableId !== has.tableId)
    return false;
  // A switch within this process gives back the lists that it was given.
  const isGiven = told.match === has.match && told.instructions === has.instructions;
  if (isGiven && has.idleTimeoutS === 0 && has.hardTimeoutS === 0) return true;
  return meaningOf(told) === meaningOf(has);
}

/** A meter as a message: what it lets through, in kilobits per second. */
export const meterMod = (command: "add" | "modify", { meter, rateKbps }: MeterRule) =>
  ({
    type: "meterMod",
    command,
    flags: meterFlags.kilobits,
    meterId: meter,
    bands: [{ type: "drop", rate: rateKbps, burst: 0 }],
  }) as const;

/** Takes a meter, and the rules that use it: the switch says nothing of them. */
export const meterDeletion = (meterId: number) =>
  ({ type: "meterMod", command: "delete", flags: meterFlags.kilobits, meterId, bands: [] }) as const;

/** Whether a switch has a meter as it should be. */
export function isMeterAsTold({ rateKbps }: MeterRule, { flags, bands }: MeterConfig): boolean {
  const [band] = bands;
  const counts = (flags & meterFlags.kilobits) !== 0 && (flags & meterFlags.packets) === 0;
  return counts && bands.length === 1 && band?.type === "drop" && band.rate === rateKbps;
}

/** A meter that a switch has, as a rule. */
export function meterRuleOf(datapathId: bigint, cookie: string, { meterId, bands }: MeterConfig): MeterRule {
  const rateKbps = Math.max(1, bands[0]?.rate ?? 1);
  return { kind: "meter", switchId: switchIdOf(datapathId), cookie, meter: meterId, rateKbps };
}
