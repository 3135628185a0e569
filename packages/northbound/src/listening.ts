import { WheelworkError } from "@wheelwork/core";
import type { Logger } from "@wheelwork/engine";
import type { FastifyInstance } from "fastify";
import { BlockList, isIP } from "node:net";

/** Where a server is told to listen: an address or a name, `all` addresses, or a `path` of the file system. */
export type ListenPlace = { readonly host: string } | "all" | "path";

/** The name, or the address, in a `Host` header: in lower case, without port, brackets and the dot of the root. */
export function nameOf(host: string): string {
  return host
    .toLowerCase()
    .replace(/:\d*$/, "")
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "");
}

/**
 * Calls back each time before the server listens, with the place that it was told. If `tell` returns an error, the server does
 * not listen, and emits the error, as it does when an address is in use.
 */
export function beforeListening(
  { server }: FastifyInstance,
  tell: (place: ListenPlace) => Error | undefined,
): void {
  const listen = server.listen.bind(server) as (...args: unknown[]) => typeof server;
  server.listen = (...args: unknown[]) => {
    const error = tell(placeOf(args));
    if (error === undefined) return listen(...args);
    process.nextTick(() => server.emit("error", error));
    return server;
  };
}

/** The place in the arguments of `listen` of `node:net`. */
function placeOf([first, second]: readonly unknown[]): ListenPlace {
  if (typeof first === "object" && first !== null) {
    const { host, path, fd } = first as {
      readonly host?: unknown;
      readonly path?: unknown;
      readonly fd?: unknown;
    };
    if (typeof fd === "number") return "all";
    if (typeof host === "string" && host !== "") return { host };
    return typeof path === "string" ? "path" : "all";
  }
  if (typeof first === "string" && !/^\d+$/.test(first)) return "path";
  return typeof second === "string" && second !== "" ? { host: second } : "all";
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether only this machine can reach a server that listens there. A name other than `localhost` may resolve to any address. */
function isLocal(place: ListenPlace): boolean {
  if (place === "path") return true;
  if (place === "all") return false;
  return isLoopback(place.host);
}

/** Whether a host, as somebody listens on it, is this machine and no other one reaches it. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/^\[(.*)\]$/, "$1");
  switch (isIP(name)) {
    case 4:
      return loopback.check(name, "ipv4");
    case 6:
      return loopback.check(name, "ipv6");
    default:
      return /(?:^|\.)localhost$/.test(nameOf(host));
  }
}

/** Keeps a server that asks nobody who they are from listening where other machines reach it: `listen` fails with WW_INSECURE. */
export function keepLocal(app: FastifyInstance): void {
  beforeListening(app, (place) => {
    if (isLocal(place)) return undefined;
    const where = typeof place === "object" ? place.host : "all addresses";
    return new WheelworkError(
      "WW_INSECURE",
      `the server would listen on ${where}, where other machines reach it, and it asks nobody who they are`,
      {
        next: "Listen on 127.0.0.1, or give the server the option access (docs/security.md). If something else keeps strangers out, say insecure: true, or --insecure.",
      },
    );
  });
}

/** Warns when tokens come over a network as plain text. */
export function warnOfPlainText(app: FastifyInstance, logger: Logger): void {
  beforeListening(app, (place) => {
    if (!isLocal(place))
      logger.warn(
        { place },
        "the server speaks no TLS: tokens can be read on the way, unless a proxy speaks it",
      );
    return undefined;
  });
}
