import type { FastifyInstance } from "fastify";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** How long a client may take for TLS and for the head of a request, and how often that is looked at, in milliseconds. */
export const [headTimeoutMs, checkEveryMs] = [10_000, 2_000];

/**
 * Bounds how many connections there are. One more takes the place of the connection that has waited longest for its client: one
 * that sends its request slowly, or keeps its connection for later. So clients that only hold connections keep nobody else out.
 * If the server works on a request of each connection, one more is cut.
 */
export function boundConnections({ server }: FastifyInstance, maxConnections: number): void {
  /** Those without a request that has come in, the one that has waited longest first. */
  const waiting = new Set<Socket>();
  const beneath = new SocketsBeneath();
  let open = 0;
  server.on("connection", (socket: Socket) => {
    open++;
    waiting.add(socket);
    beneath.note(socket);
    socket.once("close", () => {
      open--;
      waiting.delete(socket);
    });
    if (open <= maxConnections) return;
    const [longest = socket] = waiting;
    waiting.delete(longest);
    longest.destroy();
  });
  server.on("secureConnection", (socket: Socket) => beneath.join(socket));
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const socket = beneath.of(request.socket);
    waiting.delete(socket);
    response.once("close", () => {
      if (!socket.destroyed) waiting.add(socket);
    });
  });
}

/** Which connection of TCP is beneath one of TLS. Node does not say it: they have the same client and port. */
class SocketsBeneath {
  readonly #open = new Map<string, Socket>();
  readonly #beneath = new WeakMap<Socket, Socket>();

  /** A connection of TCP. */
  note(socket: Socket): void {
    const name = nameOf(socket);
    this.#open.set(name, socket);
    socket.once("close", () => this.#open.delete(name));
  }

  /** A connection of TLS. */
  join(socket: Socket): void {
    const beneath = this.#open.get(nameOf(socket));
    if (beneath !== undefined) this.#beneath.set(socket, beneath);
  }

  of(socket: Socket): Socket {
    return this.#beneath.get(socket) ?? socket;
  }
}

const nameOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
