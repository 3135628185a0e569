import type { Mutant } from "./mutant.ts";

const session = "packages/openflow/src/session/session.ts";
const xids = "packages/openflow/src/session/xids.ts";
const ofSession = { tests: ["packages/openflow/test/session.test.ts"] };
const ofOwner = { tests: ["examples/flow-crud/test/speaker/owner.test.ts"] };

/** Mutants of what is said to switches, and of who may say it. No simulated hub sees them: tests of their packages look for them. */
export const mutantsOfSwitches: readonly Mutant[] = [
  {
    name: "go on as the master of a switch that has another one",
    file: session,
    from: "if (this.#isMaster && errorType === 1 && code === 10)",
    to: "if (!this.#isMaster && errorType === 1 && code === 10)",
    ...ofSession,
  },
  {
    name: "go on when the generation is stale",
    file: session,
    from: "if (why?.errorType === 11 && why.code === 0) {",
    to: "if (why?.errorType === 11 && why.code === 9) {",
    ...ofSession,
  },
  {
    name: "use a switch that has given another role than master",
    file: session,
    from: 'reply?.type === "roleReply" && reply.role === "master";',
    to: 'reply?.type === "roleReply";',
    ...ofSession,
  },
  {
    name: "say that nothing was changed when the connection has ended",
    file: session,
    from: 'reads ? outcomes.closed(error) : outcomes.unknown("the connection has ended", error),',
    to: "outcomes.closed(error),",
    ...ofSession,
  },
  {
    name: "take bytes that are no message for a sign of life",
    file: session,
    from: "      this.#framer.push(bytes, (frame) => {",
    to: "      this.#heardAt = now;\n      this.#askedAt = undefined;\n      this.#framer.push(bytes, (frame) => {",
    ...ofSession,
  },
  {
    name: "keep a switch that answers echoes and nothing else",
    file: session,
    from: "return oldest?.isOver === true ?",
    to: 'return oldest?.isOver === true && this.#state !== "ready" ?',
    ...ofSession,
  },
  {
    name: "refuse what was not sent yet",
    file: session,
    from: "return pending?.frames === undefined ? pending : undefined;",
    to: "return pending;",
    ...ofSession,
  },
  {
    name: "keep the window full of what nobody waits for",
    file: session,
    from: "if (pending.isOver) this.#finish(pending, undefined);",
    to: "if (pending.isOver) this.#sent.delete(pending.last);",
    ...ofSession,
  },
  {
    name: "send something between a bundle and its commit",
    file: session,
    from: "      this.#blocking === undefined &&\n",
    to: "",
    ...ofSession,
  },
  {
    name: "take the first part of a reply for the whole",
    file: session,
    from: "if (!hasMore) this.#finish(pending, undefined);",
    to: "this.#finish(pending, undefined);",
    ...ofSession,
  },
  {
    name: "give a transaction id to two messages that are under way",
    file: xids,
    from: "if (taken === undefined) break;",
    to: "if (taken !== 0) break;",
    ...ofSession,
  },
  {
    name: "lose the error of the first message of a group",
    file: xids,
    from: "if (one.first <= xid && xid <= one.last) return true;",
    to: "if (one.first < xid && xid <= one.last) return true;",
    ...ofSession,
  },
  {
    name: "note events of somebody who has lost the switches",
    file: "examples/flow-crud/src/controller/booked-flow-store.ts",
    from: "if (checked.by !== undefined && isSuperseded(",
    to: "if (checked.by === undefined && isSuperseded(",
    ...ofOwner,
  },
  {
    name: "take the answer of somebody who has lost the switches",
    file: "examples/flow-crud/src/floodlight/speaker-wire.ts",
    from: "return !isSuperseded(by, await this.#nextAsking);",
    to: "return isSuperseded(by, await this.#nextAsking) || true;",
    ...ofOwner,
  },
  {
    name: "give an owner whose clock is behind a lower generation",
    file: "examples/flow-crud/src/floodlight/address-book.ts",
    from: "Math.max(Math.floor(this.#options.wallMs()), above + 1)",
    to: "Math.floor(this.#options.wallMs())",
    ...ofOwner,
  },
];
