import type { Message } from "@wheelwork/engine";
import type { SeededRandom } from "../../random.ts";

const prefix = "stray-";

/** What a program writes into an inbox that has no business there: nothing in it is an entry. */
const values: readonly Omit<Message, "key">[] = [
  { value: "nonsense" },
  { value: "" },
  { value: "[1," },
  { value: '{"type":"request"}' },
  { value: '{"type":"command","input":{"kind":"destroy"}}' },
  { value: "{}", headers: { ce_type: "wheelwork.unheard-of" } },
  { value: "null", headers: { ce_type: "wheelwork.request" } },
  { value: '{"hub":7,"request":{},"deadlineMs":-1}', headers: { ce_type: "wheelwork.request" } },
  { value: "late", headers: { ce_type: "wheelwork.response", "correlation-id": "1.1.1" } },
];

/** A record that no shard understands. */
export function strayMessage(random: SeededRandom, number: number): Message {
  const key = `${prefix}${number}${random.chance(0.2) ? "\0" : ""}`;
  return { key, ...random.pick(values) };
}

/** Whether a record of an inbox is a stray one: it becomes a dead letter, and changes nothing else. */
export const isStray = ({ key }: { readonly key: string }): boolean => key.startsWith(prefix);
