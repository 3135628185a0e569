import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** What stands between a switch and its speaker: it cuts the connection, or holds what comes. */
export class Proxy {
  /** It cuts the connection after so many bytes to the switch. */
  cutAfter = Infinity;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #passed = 0;
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
        const left = this.cutAfter - this.#passed;
        this.#passed += bytes.length;
        if (left < bytes.length) down.end(bytes.subarray(0, left));
        else down.write(bytes);
      });
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
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
