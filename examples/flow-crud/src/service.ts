import {
  hubByHandlers,
  type DeepReadonly,
  type Failure,
  type Handling,
  type Outcome,
  type SettledCall,
} from "wheelwork";
import {
  defaultDeadlineMs,
  FlowReply,
  FlowRequest,
  type FlowCreateOptions,
  type FlowErrorCode,
} from "./hub.ts";
import { flowSpokes, type FlowSpokes } from "./spokes.ts";

/** Where the service is in its work; the chart says the same by its states. */
type Phase = "allocate" | "install" | "validate" | "remove" | "validate-removed" | "release";

interface ServiceData extends FlowRequest {
  phase: Phase;
  path: readonly string[];
  rules: readonly number[];
  code: FlowErrorCode | null;
  errors: readonly string[];
  zombies: readonly number[];
  leaked: boolean;
}

type Service = Handling<ServiceData, { flowid: string; message: string }, FlowErrorCode>;
type Data = DeepReadonly<ServiceData>;

/**
 * Flow create by handlers (the proof of concept's FlowCrudService): the same requests, answers and workers as the chart, with the
 * conditionals that a chart saves its author. It is here to be compared with it.
 */
export function flowCreateService(options: FlowCreateOptions = {}, spokes: FlowSpokes = flowSpokes(options)) {
  const { cleanUpMs = 30_000, releaseMs = 10_000 } = options;

  const install = (s: Service): void => {
    s.patch({ phase: "install" });
    const { error, flowid, rules } = s.data;
    // The proof of concept's first error switch: the hub does nothing, and waits for its own deadline.
    if (error === "IN_HUB") return;
    for (const ruleid of rules) s.call(spokes.installRule, { flowid, ruleid, error });
  };

  const forEachRule = (
    s: Service,
    phase: Phase,
    spoke: FlowSpokes["validateRule" | "removeRule" | "validateRemovedRule"],
  ): void => {
    s.patch({ phase });
    for (const rule of touched(s.data)) s.call(spoke as FlowSpokes["removeRule"], rule);
    if (s.open === 0) next(s);
  };

  const release = (s: Service): void => {
    s.patch({ phase: "release" });
    s.call(spokes.release, { flowid: s.data.flowid });
  };

  const finish = (s: Service): void => {
    const { code, errors, zombies, leaked } = s.data;
    s.fail(code ?? "hub-timeout", errors.join(";\n"), { zombies, resourcesReleased: !leaked });
  };

  /** The calls of a phase have all settled. */
  const next = (s: Service): void => {
    switch (s.data.phase) {
      case "allocate":
        return install(s);
      case "install":
        return forEachRule(s, "validate", spokes.validateRule);
      case "validate":
        return s.reply({ flowid: s.data.flowid, message: "all operation is successful" });
      case "remove":
        return forEachRule(s, "validate-removed", spokes.validateRemovedRule);
      case "validate-removed":
        return release(s);
      case "release":
        return finish(s);
    }
  };

  const allocated = (s: Service, call: SettledCall, outcome: Outcome): void => {
    const { flowid, length } = s.data;
    if (outcome.kind !== "ok") {
      fault(s, "resource-error", `error on resource allocation: ${textOf(outcome)}`);
      // The pool has said that it gave nothing: there is nothing to release.
      return outcome.kind === "error" && outcome.code === "exhausted" ? finish(s) : s.cleanUp();
    }
    if (call.callee === spokes.computePath.name) {
      const { path } = outcome.output as { path: string[] };
      s.patch({ path });
      return s.call(spokes.computeRules, { flowid, length, path });
    }
    if (call.callee === spokes.computeRules.name) {
      s.patch({ rules: (outcome.output as { rules: number[] }).rules });
      return s.call(spokes.allocate, { flowid, length, path: [...s.data.path] });
    }
    next(s);
  };

  /** What a failure means to the phase that it comes in. */
  const failed = (s: Service, call: SettledCall): void => {
    const { ruleid } = call.input as { readonly ruleid?: number };
    switch (s.data.phase) {
      case "install":
        return fault(s, "worker-error", "error in worker on rule install");
      case "validate":
        return fault(s, "worker-error", "error in worker on rule validation");
      case "validate-removed":
        return s.patch({ zombies: [...s.data.zombies, ruleid ?? -1] });
      case "release":
        return s.patch({ leaked: true });
      default:
    }
  };

  return hubByHandlers(
    "flow-create-service",
    {
      request: FlowRequest,
      reply: FlowReply,
      errors: ["hub-timeout", "worker-error", "resource-error", "cancelled"],
      deadlineMs: options.deadlineMs ?? defaultDeadlineMs,
      cleanUpMs: 2 * cleanUpMs + releaseMs,
      calls: Object.values(spokes),
      data: (request): ServiceData => ({
        ...request,
        phase: "allocate",
        path: [],
        rules: [],
        code: null,
        errors: [],
        zombies: [],
        leaked: false,
      }),
    },
    {
      request: (s) => s.call(spokes.computePath, { flowid: s.data.flowid, length: s.data.length }),
      response: (s, call, outcome) => {
        if (s.data.phase === "allocate") return allocated(s, call, outcome);
        if (outcome.kind !== "ok") failed(s, call);
        if (s.open > 0) return;
        // No removal goes out while an install may still land: the round ends first.
        if (s.data.code !== null && !s.cleaningUp) s.cleanUp();
        else next(s);
      },
      timeout: (s, cause) => {
        if (cause === "deadline" && s.data.code === null) fault(s, "hub-timeout", "error in hub by timeout");
        if (cause === "cancel")
          s.patch({ code: "cancelled", errors: [...s.data.errors, "cancelled on request"] });
        if (s.data.phase === "allocate") release(s);
        else forEachRule(s, "remove", spokes.removeRule);
      },
    },
  );
}

const touched = ({ error, flowid, rules }: Data) =>
  error === "IN_HUB" ? [] : rules.map((ruleid) => ({ flowid, ruleid }));

/** Notes what went wrong; of one round only the first counts. */
function fault(s: Service, code: FlowErrorCode, text: string): void {
  if (s.data.code === null) s.patch({ code, errors: [...s.data.errors, text] });
}

function textOf(failure: Failure): string {
  return failure.kind === "error" ? failure.message : "timeout";
}
