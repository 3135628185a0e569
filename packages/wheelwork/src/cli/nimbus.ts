import { WheelworkError } from "@wheelwork/core";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** The address of Nimbus, and where it comes from. */
export interface NimbusPlace {
  readonly host: string;
  readonly port: number;
  /** For errors: what was looked at, and what decided. */
  readonly looked: string;
  /** The Storm that `npm run storm` has started, if Nimbus is of that one. */
  readonly local?: { readonly home: string; readonly jars: string };
}

const defaultPort = 6627;

/** The file that `npm run storm` keeps while its Storm runs. `StormCluster` of the services writes it. */
interface LocalStorm {
  readonly nimbus: string;
  readonly home: string;
  readonly jars: string;
}

/**
 * Finds Nimbus. The option goes first, then STORM_NIMBUS, then the file of `npm run storm` in this folder. Without any of them
 * it is Storm's own port on this machine.
 * @throws WheelworkError WW_CONFIG when an address is not valid, or the file cannot be read.
 */
export function findNimbus(option: string | undefined): NimbusPlace {
  const file = join(resolve(process.env["WHEELWORK_SERVICES"] ?? ".services"), "storm", "nimbus.json");
  const variable = process.env["STORM_NIMBUS"];
  if (option !== undefined) return { ...addressOf(option, "--nimbus"), looked: "--nimbus says so" };
  if (variable !== undefined)
    return {
      ...addressOf(variable, "STORM_NIMBUS"),
      looked: "STORM_NIMBUS says so, and --nimbus is not given",
    };
  const unset = "--nimbus is not given, STORM_NIMBUS is not set";
  if (existsSync(file)) {
    const { nimbus, home, jars } = readLocal(file);
    return { ...addressOf(nimbus, file), local: { home, jars }, looked: `${file} says so; ${unset}` };
  }
  return {
    host: "127.0.0.1",
    port: defaultPort,
    looked: `this is the default, since ${unset}, and there is no ${file}, which npm run storm writes`,
  };
}

/** Waits for a call to Nimbus. @throws WheelworkError WW_BUS_UNAVAILABLE which says where Nimbus was expected, and why there. */
export async function reached<T>({ host, port, looked }: NimbusPlace, call: Promise<T>): Promise<T> {
  try {
    return await call;
  } catch (cause) {
    if (!(cause instanceof WheelworkError) || cause.code !== "WW_BUS_UNAVAILABLE") throw cause;
    const reason = cause.message.split("\n")[0]?.replace(/^WW_BUS_UNAVAILABLE: /, "") ?? "";
    throw new WheelworkError("WW_BUS_UNAVAILABLE", `Nimbus cannot be reached at ${host}:${port}: ${reason}`, {
      next: `Why there: ${looked}.\n  Start Storm there, or say where Nimbus is: --nimbus HOST:PORT.`,
      retryable: true,
      cause,
    });
  }
}

function addressOf(given: string, where: string): { host: string; port: number } {
  const [, host = "", port = `${defaultPort}`] = /^\[?([^\]]*?)\]?(?::(\d+))?$/.exec(given) ?? [];
  const number = Number(port);
  if (host !== "" && number > 0 && number < 65_536) return { host, port: number };
  throw new WheelworkError("WW_CONFIG", `${where} must be HOST or HOST:PORT, not ${JSON.stringify(given)}`, {
    next: "Such as nimbus:6627.",
  });
}

function readLocal(file: string): LocalStorm {
  try {
    const read = JSON.parse(readFileSync(file, "utf8")) as Partial<LocalStorm>;
    const { nimbus, home, jars } = read;
    if (nimbus === undefined || home === undefined || jars === undefined)
      throw new TypeError("something is missing in it");
    return { nimbus, home, jars };
  } catch (cause) {
    throw new WheelworkError("WW_CONFIG", `${file} cannot be read: ${String(cause)}`, {
      next: "npm run storm -- start writes it anew. Or say where Nimbus is: --nimbus HOST:PORT.",
      cause,
    });
  }
}
