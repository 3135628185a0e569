import { WheelworkError, type Problem } from "@wheelwork/core";
import { textOf, tryPlain } from "@wheelwork/core/kernel";
import type { BulkCommand, BulkRequest } from "../ports/bulks.ts";
import type { RequestFilter, StatusFilter } from "../ports/filter.ts";
import { asked, bare, isObject } from "./asked.ts";
import { problemsOf } from "./filters.ts";
import { isGiver, messageProblem } from "./validate.ts";

/** What requests may be that take a command. */
const living: readonly StatusFilter[] = [
  "pending",
  "running",
  "calling",
  "waiting",
  "retrying",
  "stuck",
  "incident",
];

const fieldsOf: { readonly [kind in BulkCommand["kind"]]: readonly string[] } = {
  cancel: [],
  retry: [],
  signal: ["name", "payload"],
  resolve: ["message"],
};

function commandProblems(command: unknown): Problem[] {
  const kind = isObject(command) ? command["kind"] : undefined;
  if (!isObject(command) || typeof kind !== "string" || !Object.hasOwn(fieldsOf, kind))
    return [{ path: "command", message: `must be one of ${Object.keys(fieldsOf).join(", ")}` }];
  const problems: Problem[] = [];
  const allowed = ["kind", ...fieldsOf[kind as BulkCommand["kind"]]];
  for (const name of Object.keys(command))
    if (!allowed.includes(name)) problems.push({ path: `command.${name}`, message: "is not known" });
  for (const name of ["name", "message"].filter((one) => allowed.includes(one)))
    if (typeof command[name] !== "string" || command[name] === "")
      problems.push({ path: `command.${name}`, message: "must be a text that is not empty" });
  const tooLong = kind === "resolve" ? messageProblem(command["message"]) : undefined;
  if (problems.length === 0 && tooLong !== undefined)
    problems.push({ path: "command.message", message: tooLong });
  if (kind === "signal" && tryPlain(command["payload"]).problem !== undefined)
    problems.push({ path: "command.payload", message: "must be JSON" });
  return problems;
}

/** What is wrong with the request of a bulk. */
export function bulkProblems(given: unknown): Problem[] {
  if (!isObject(given)) return [{ path: "", message: "must be an object" }];
  const { command, filter, by } = given;
  const problems = commandProblems(command);
  if (!isObject(filter)) return [...problems, { path: "filter", message: "must be an object" }];
  problems.push(
    ...problemsOf(filter as RequestFilter).map((one) => ({ ...one, path: `filter.${one.path}` })),
  );
  const kind = isObject(command) ? command["kind"] : undefined;
  const statuses = [(filter as RequestFilter).status ?? []].flat();
  const allowed = kind === "retry" || kind === "resolve" ? (["incident"] as const) : living;
  if (statuses.some((one) => !allowed.includes(one as never)))
    problems.push({
      path: "filter.status",
      message: `must be one of ${allowed.join(", ")}: others take no ${textOf(kind)}`,
    });
  if (by !== undefined && !isGiver(by)) problems.push({ path: "by", message: "must be a name" });
  return problems;
}

/** The request of a bulk, with the statuses that its command is for. @throws WheelworkError WW_INVALID_REQUEST with every problem. */
export function bulkRequestOf(
  command: BulkCommand,
  filter: RequestFilter,
  by: string | undefined,
): BulkRequest {
  const given = asked({ command, filter: bare(filter), ...(by === undefined ? {} : { by }) });
  const problems = bulkProblems(given);
  if (!hasBounds(given.filter))
    problems.push({
      path: "filter",
      message: "must say which requests are meant: give a hub, a status, a state, a code or a time",
    });
  if (problems.length > 0)
    throw new WheelworkError("WW_INVALID_REQUEST", "the bulk cannot be accepted", { problems });
  const { kind } = given.command;
  const isOfIncidents = kind === "retry" || kind === "resolve";
  const status: readonly StatusFilter[] = isOfIncidents ? ["incident"] : ["pending", "running"];
  return { ...given, filter: { ...given.filter, status: given.filter.status ?? status } };
}

/** Whether a filter says something. A command to each request of an engine must be asked for by a status. */
const hasBounds = (filter: unknown): boolean =>
  isObject(filter) && Object.values(filter).some((value) => value !== undefined);
