import { isLoopback } from "@wheelwork/northbound";
import { Network } from "@wheelwork/services";
import { readFileSync } from "node:fs";
import { defaultSwitches } from "./network.ts";

// The options of a real network, on the command lines of `npm start`, `npm run cluster` and `npm run storm`.

const text = { type: "string" } as const;

/** The options of a real network, for `parseArgs`. */
export const networkFlags = {
  network: { type: "boolean" },
  openflow: text,
  "openflow-cert": text,
  "openflow-key": text,
  "openflow-ca": text,
} as const;

/** Their values. */
export interface NetworkValues {
  readonly network?: boolean | undefined;
  readonly openflow?: string | undefined;
  readonly "openflow-cert"?: string | undefined;
  readonly "openflow-key"?: string | undefined;
  readonly "openflow-ca"?: string | undefined;
}

/** What the help says of them. */
export const networkUsage = `  --network          drives real switches over OpenFlow 1.3 instead of simulated ones (docs/network.md)
  --openflow PLACE   where they connect: HOST:PORT, or a socket file   (that of npm run network, or 127.0.0.1:6653)
  --openflow-cert FILE, --openflow-key FILE, --openflow-ca FILE   speaks TLS with them, with these PEM files`;

/** The switches of a real network: how many there are, and where they connect. */
export interface RealNetwork {
  readonly switches: number;
  readonly listen: ({ readonly host: string; readonly port: number } | { readonly path: string }) & {
    readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
  };
}

/** How many switches `--switches` says. @throws RangeError */
export function switchesIn(given: string): number {
  const count = Number(given);
  if (Number.isInteger(count) && count >= 1 && count <= 1000) return count;
  throw new RangeError(`--switches must be an integer from 1 to 1000, not ${JSON.stringify(given)}`);
}

/**
 * The network that the options mean; undefined: none. Without `--openflow` it is the one that `npm run network` has made, if that is up.
 * @param insecure Other machines may connect without a certificate.
 * @throws RangeError with what is wrong with them. The error of the system, such as ENOENT.
 */
export function networkOf(
  values: NetworkValues,
  { switches, insecure = false }: { readonly switches?: number; readonly insecure?: boolean } = {},
  lab = new Network(),
): RealNetwork | undefined {
  if (values.network !== true) return undefined;
  const { openflow } = values;
  if (openflow === undefined && lab.isUp)
    return { switches: switches ?? lab.made().switches, listen: { path: lab.controllerPath } };
  const place = placeIn(openflow ?? `127.0.0.1:${defaultPort}`);
  const tls = tlsIn(values);
  if ("host" in place && tls === undefined && !insecure && !isLoopback(place.host))
    throw new RangeError(
      `--openflow ${openflow} lets anybody who reaches it be a switch: give --openflow-cert, --openflow-key and --openflow-ca, or --insecure`,
    );
  return {
    switches: switches ?? defaultSwitches,
    listen: tls === undefined ? place : { ...place, tls },
  };
}

const defaultPort = 6653;

function placeIn(
  openflow: string,
): { readonly host: string; readonly port: number } | { readonly path: string } {
  if (openflow.includes("/")) return { path: openflow };
  const [, host = "", port = ""] = /^\[?([^\]]+)\]?:(\d{1,5})$/.exec(openflow) ?? [];
  if (host !== "" && Number(port) <= 65_535) return { host, port: Number(port) };
  throw new RangeError(`--openflow must be HOST:PORT or a socket file, not ${JSON.stringify(openflow)}`);
}

function tlsIn(values: NetworkValues): RealNetwork["listen"]["tls"] {
  const { "openflow-cert": cert, "openflow-key": key, "openflow-ca": ca } = values;
  if (cert === undefined && key === undefined && ca === undefined) return undefined;
  if (cert === undefined || key === undefined || ca === undefined)
    throw new RangeError("--openflow-cert, --openflow-key and --openflow-ca belong together");
  const read = (file: string): string => readFileSync(file, "utf8");
  return { cert: read(cert), key: read(key), ca: read(ca) };
}

/** The same options, for a part of the system in a process of its own. */
export function networkArgs(values: NetworkValues): string[] {
  if (values.network !== true) return [];
  const names = ["openflow", "openflow-cert", "openflow-key", "openflow-ca"] as const;
  return [
    "--network",
    ...names.flatMap((name) => (values[name] === undefined ? [] : [`--${name}`, values[name]])),
  ];
}
