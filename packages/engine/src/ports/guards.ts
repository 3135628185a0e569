import { abandon, abandonWithin, isThenable, textOf } from "@wheelwork/core/kernel";
import { defaultLogger } from "./logger.ts";
import type { EngineEvent, Logger } from "./ports.ts";

/*
 * What an engine tells the functions of its user: lines of the log, what happens, that it has ended. They are called in the middle of
 * the loop. An exception there would stop it for everybody, and the rejection of an asynchronous function would end the process.
 */

/** Functions of the user that an engine tells something. */
interface Listeners {
  readonly logger?: Logger;
  readonly observe?: (event: EngineEvent) => void;
  readonly onFailure?: (error: never) => void;
}

/** Options whose functions disturb nobody, whatever they throw. */
export function guarded<Options extends Listeners>(options: Options): Options & { readonly logger: Logger } {
  const { logger: given, observe, onFailure } = options;
  const logger = given === undefined ? defaultLogger() : guardedLogger(given);
  return {
    ...options,
    logger,
    ...(observe === undefined ? {} : { observe: guardedCall(observe, "observe", logger) }),
    ...(onFailure === undefined ? {} : { onFailure: guardedCall(onFailure, "onFailure", logger) }),
  };
}

/** A function that is told something. What it throws is logged the first time. */
function guardedCall<Given>(
  tell: (given: Given) => void,
  name: string,
  logger: Logger,
): (given: Given) => void {
  let hasFailed = false;
  const failed = (error: unknown): void => {
    if (!hasFailed)
      logger.error({ error: textOf(error) }, `${name} has thrown an exception, which is ignored`);
    hasFailed = true;
  };
  return (given) => {
    try {
      const returned: unknown = tell(given);
      if (isThenable(returned)) returned.then(undefined, failed);
    } catch (error) {
      failed(error);
    }
  };
}

/** A logger whose lines go to standard error if it throws: it ends neither a loop nor a server. */
export function guardedLogger(logger: Logger): Logger {
  const line =
    (level: keyof Logger) =>
    (fields: object, message: string): void => {
      try {
        const returned: unknown = logger[level](fields, message);
        if (isThenable(returned)) abandon(returned);
      } catch (error) {
        abandonWithin(error);
        defaultLogger()[level](fields, message);
      }
    };
  return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
}
