import type { LogFault } from "@wheelwork/testing";
import { PlannedOperations, type Ledger, type Stage } from "@wheelwork/testing/simulator";
import type { Child } from "./child.ts";
import {
  stormOperations,
  type StormFault,
  type StormFaultKind,
  type StormOperation,
  type StormPlan,
} from "./plan.ts";
import type { Storm } from "./storm.ts";

const latestVersion = 3;
/** A topology that was ended is there again after so long at most, in milliseconds. */
const maxRedeployMs = 5_000;

const appendFaults: Partial<Record<StormFaultKind, LogFault>> = {
  "append-lost": "lost",
  "append-fails": "fail",
  "append-unseen": "unseen",
  "append-twice": "twice",
};

interface Numbered {
  readonly number: number;
}

interface Message {
  readonly key: string;
  readonly value: string;
}

/** What goes wrong on Storm, as the plan says. */
export class Faults {
  readonly #plan: StormPlan;
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  readonly #operations: PlannedOperations<StormFault>;
  #calm = false;

  constructor(plan: StormPlan, stage: Stage, ledger: Ledger) {
    this.#plan = plan;
    this.#stage = stage;
    this.#ledger = ledger;
    this.#operations = new PlannedOperations(plan.faults, (kind) => stormOperations[kind]);
  }

  /** All that has its time will happen then. */
  begin(storm: Storm): void {
    for (const fault of this.#plan.faults)
      if (stormOperations[fault.kind] === undefined)
        this.#stage.clock.after(fault.at, () => {
          if (!this.#calm) this.#strike(storm, fault);
        });
  }

  becalm(): void {
    this.#calm = true;
  }

  /** The fault that the plan has for this operation, which is the next of its kind. */
  at(operation: StormOperation, who: Numbered): StormFaultKind | undefined {
    if (this.#calm) return undefined;
    const fault = this.#operations.next(operation);
    if (fault === undefined) return undefined;
    this.#struck(fault, who);
    return fault.kind;
  }

  /** A record that a part writes; `kill`: it dies before it has sent it. */
  append(
    who: Numbered,
    component: string,
    topic: string,
    message: Message,
    kill: () => void,
  ): LogFault | undefined {
    const kind = this.at("append", who);
    const fault = kind === undefined ? undefined : appendFaults[kind];
    const { key, value } = message;
    this.#stage.chronicle.say(
      "append",
      who,
      `${component}: ${topic} ${key} ${value.slice(0, 100)} ${fault ?? ""}`,
    );
    if (fault === "lost") kill();
    else if (topic.startsWith("from-")) this.#ledger.publishes(message);
    return fault;
  }

  #struck({ kind, forMs }: StormFault, who?: Numbered): void {
    this.#stage.chronicle.struck(kind, forMs, who);
  }

  #strike(storm: Storm, fault: StormFault): void {
    const { clock, chronicle } = this.#stage;
    const { kind, forMs, task } = fault;
    switch (kind) {
      case "rebalance":
        this.#struck(fault);
        return storm.rebalance(1 + (task % 3), task);
      case "upgrade":
      case "roll-back":
        return this.#redeploy(storm, fault);
      case "clock-jump":
        this.#struck(fault);
        for (const shard of chronicle.traces.keys())
          chronicle.see(shard, { type: "fault", kind, node: undefined });
        return clock.jumpWall(forMs);
      case "defect":
        this.#struck(fault);
        this.#stage.defective = true;
        clock.after(forMs, () => (this.#stage.defective = false));
        return;
      case "kill-worker":
      case "kill-machine":
      case "freeze-worker":
      case "log-gone":
        return this.#strikeJvm(storm, fault);
      default: {
        const struck = childOf(storm, fault);
        if (struck !== undefined) this.#strikeChild(fault, struck);
      }
    }
  }

  #redeploy(storm: Storm, fault: StormFault): void {
    const version = storm.version + (fault.kind === "upgrade" ? 1 : -1);
    if (this.#stage.opened.upgraded === undefined || version < 1 || version > latestVersion) return;
    this.#struck(fault);
    storm.redeploy(version, Math.min(fault.forMs, maxRedeployMs));
  }

  #strikeJvm(storm: Storm, fault: StormFault): void {
    const { running } = storm;
    const jvm = running[fault.task % Math.max(1, running.length)];
    if (jvm === undefined || jvm.process.frozen) return;
    this.#struck(fault, jvm);
    switch (fault.kind) {
      case "kill-worker":
        return jvm.die();
      case "kill-machine":
        return jvm.crash();
      case "freeze-worker":
        return storm.freeze(jvm, fault.forMs);
      default:
        jvm.logGone = true;
        this.#stage.clock.after(fault.forMs, () => (jvm.logGone = false));
    }
  }

  #strikeChild(fault: StormFault, child: Child): void {
    const { clock, chronicle } = this.#stage;
    this.#struck(fault, child);
    chronicle.say("(task)", child, `${child.task.component} ${child.task.id}`);
    switch (fault.kind) {
      case "freeze-child":
        child.freeze();
        clock.after(fault.forMs, () => child.thaw());
        return;
      case "uncaught":
        return child.throws(new Error("thrown where nobody catches it, as planned"));
      case "store-gone":
        child.loseStore();
        clock.after(fault.forMs, () => (child.storeGone = false));
        return;
      default:
        return child.kill();
    }
  }
}

/** The program that a fault strikes: any, or one that it is about. */
function childOf({ children }: Storm, { kind, task }: StormFault): Child | undefined {
  const only =
    kind === "kill-coordinator" ? "bolt-coordinator" : kind === "store-gone" ? "bolt-hub" : undefined;
  const fits = children.filter(
    (child) => !child.process.frozen && (only === undefined || child.task.component === only),
  );
  return fits[task % Math.max(1, fits.length)];
}
