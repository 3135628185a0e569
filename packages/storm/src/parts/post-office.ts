import { WheelworkError, type AnyHub } from "@wheelwork/core";
import {
  keyProblem,
  place,
  signalHash,
  storedKey,
  validSignal,
  type InboxEntry,
  type PostOffice,
} from "@wheelwork/engine/parts";
import { forwarded } from "./lane-records.ts";
import type { Publication } from "./streams.ts";

/**
 * Takes posts to other runs through the inbox, since no task can ask another one. A post is delivered when the broker has its record:
 * the task of its run takes the records of a run in their order, and each once, by its key or its command id. What that run does not
 * take is a dead letter of the inbox.
 */
export function inboxOffice(
  inbox: string,
  hubs: () => ReadonlyMap<string, AnyHub>,
  publish: (publication: Publication & { readonly id: string }) => Promise<void>,
): PostOffice {
  const send = (key: string, entry: InboxEntry, id: string): Promise<void> =>
    publish({ topic: inbox, message: forwarded(key, entry), id: `post:${id}` });
  return {
    start: async (hub, given, request) => {
      const stored = storedKeyOf(given, "key");
      const { key, entry } = place(hubs(), stored, { type: "request", hub, request });
      await send(key, entry, key);
    },
    signal: async (hub, given, signal, payload, id) => {
      const key = storedKeyOf(given, "id");
      const valid = validSignal(hub, hubs().get(hub)?.definition, signal, payload);
      const input = {
        kind: "signal",
        id,
        signal,
        payload: valid,
        hash: signalHash(signal, payload, valid),
      } as const;
      await send(key, { type: "command", input, isPost: true }, id);
    },
  };
}

/** @throws WheelworkError WW_INVALID_REQUEST. */
function storedKeyOf(given: string, path: string): string {
  const problem = keyProblem(given);
  if (problem === undefined) return storedKey(given);
  throw new WheelworkError("WW_INVALID_REQUEST", "a post cannot be sent", {
    problems: [{ path, message: problem }],
  });
}
