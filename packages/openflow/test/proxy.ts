import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** What stands between a switch and its speaker: it cuts the connection, or holds what comes. */
export class Proxy {
  #left = Infinity;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #held: [Socket, Buffer][] | undefined;

  constructor(port: number) {
    this.#server = createServer((down) => {
      const up = connect(port, "127.0.0.1");
      for (const socket of [down, up]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          if (this.#held !== undefined) return;
          down.destroy();
          up.destroy();
        });
      }
      down.pipe(up);
      up.on("data", (bytes) => {
        if (this.#held !== undefined) return void this.#held.push([down, bytes]);
        if (this.#left < bytes.length) {
          down.end(bytes.subarray(0, this.#left));
          this.#left = Infinity;
        } else {
          this.#left -= bytes.length;
          down.write(bytes);
        }
      });
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts the connection once so many bytes more have gone to the switch. */
  cutAfter(bytes: number): void {
    this.#left = bytes;
  }

  /** Holds what comes for the switch, and goes on to do so when the speaker has closed the connection. */
  hold(): void {
    this.#held = [];
  }

  /** Gives the switch what was held. */
  release(): void {
    for (const [down, bytes] of this.#held ?? []) down.write(bytes);
    this.#held = undefined;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}
