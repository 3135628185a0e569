import { connect, createServer, type Server, type Socket } from "node:net";

/** A wire that can be cut: what is sent while it is cut goes nowhere, and nobody is told, as when a cable is pulled. */
export class Wire {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  constructor(port: number, target: number) {
    this.port = port;
    this.#server = createServer((near) => {
      const far = connect({ host: "127.0.0.1", port: target });
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        this.#sockets.add(from);
        from.on("data", (chunk) => {
          // What was under way when the wire was cut is lost, and the connection with it.
          if (this.#isCut) return;
          to.write(chunk);
        });
        from.on("error", () => to.destroy());
        from.on("close", () => {
          this.#sockets.delete(from);
          if (!this.#isCut) to.destroy();
        });
      }
    });
  }

  listen(): Promise<void> {
    return new Promise((resolve) => void this.#server.listen(this.port, "127.0.0.1", resolve));
  }

  cut(): void {
    this.#isCut = true;
  }

  /** The wire is whole again; the connections of before are dead. */
  mend(): void {
    this.#isCut = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.mend();
    this.#server.close();
  }
}
