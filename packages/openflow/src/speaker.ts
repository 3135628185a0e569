import { EventEmitter, once } from "node:events";
import { rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import {
  createSecureContext,
  createServer as createTlsServer,
  type PeerCertificate,
  TLSSocket,
} from "node:tls";
import type { Features } from "./codec/messages.ts";
import { OpenFlowError } from "./errors.ts";
import * as outcomes from "./session/outcomes.ts";
import { Session, type SessionEvent, type SessionLimits } from "./session/session.ts";
import { type RequestOptions, Switch } from "./switch.ts";

/** What a switch is trusted by, and what it trusts: PEM texts. */
export interface TlsOptions {
  readonly key: string | Buffer;
  readonly cert: string | Buffer;
  /** Who has signed the certificates of the switches. A switch without one is refused. */
  readonly ca: string | Buffer;
}

/** Who is at the other end of a connection. */
export interface Peer {
  /** Its address. */
  readonly remote: string;
  /** The certificate that it has proven to have; undefined: there is no TLS. */
  readonly certificate?: PeerCertificate;
}

/** How a speaker works. All limits have defaults. */
export interface SpeakerOptions extends Partial<SessionLimits> {
  /** Where switches connect. Default: 6653; 0: any that is free. */
  readonly port?: number;
  /** A socket file to listen on instead of a port: switches reach it from other network namespaces, too. */
  readonly path?: string;
  /** The address to listen on. Default: all of them. */
  readonly host?: string;
  /** TLS, with both sides verified. Without it, anybody who reaches the port may be a switch. */
  readonly tls?: TlsOptions;
  /**
   * In which generation the speaker is the master of a switch: of all speakers, the one with the highest generation is. The switch refuses
   * what the others write. Each owner needs a new number, such as the epoch of a shard. Default: the time at which the speaker began, so that
   * the one that was started last is the master.
   *
   * A function may throw to refuse a switch, for example if its certificate is not one for this datapath id.
   */
  readonly generation?: bigint | ((features: Features, peer: Peer) => bigint | Promise<bigint>);
  /** How long a request may take. Default: 10,000 ms. */
  readonly requestTimeoutMs?: number;
  /** How many connections there may be. Default: 1,000. */
  readonly maxConnections?: number;
}

/** What a speaker tells. */
export interface SpeakerEvents {
  /** A switch is connected, and this speaker is its master. */
  readonly switch: [one: Switch];
  /** A connection has ended before it was one with a switch, and why. */
  readonly refused: [error: OpenFlowError, remote: string];
  /** The server that listens has failed. */
  readonly error: [error: Error];
}

/** The longest time of a timer, in milliseconds. */
const longest = 2 ** 31 - 1;

const defaults: SessionLimits = {
  echoAfterMs: 2000,
  silentAfterMs: 6000,
  unansweredMs: 60_000,
  handshakeMs: 10_000,
  windowBytes: 0x4_0000,
  maxQueuedBytes: 0x100_0000,
  maxReplyBytes: 0x400_0000,
};

/** Listens for switches. @throws OpenFlowError WW_OF_CONFIG; the error of the server, such as EADDRINUSE */
export async function listen(options: SpeakerOptions = {}): Promise<Speaker> {
  const speaker = new Speaker(options);
  await speaker.opened();
  return speaker;
}

/** Speaks OpenFlow 1.3 with all switches that connect. */
export class Speaker extends EventEmitter<SpeakerEvents> {
  readonly #options: SpeakerOptions;
  readonly #limits: SessionLimits;
  readonly #requestTimeoutMs: number;
  readonly #server: Server;
  readonly #switches = new Map<bigint, Connection>();
  readonly #connections = new Set<Connection>();
  readonly #sockets = new Set<Socket>();
  readonly #began = BigInt(Date.now());
  /** Those who wait for a switch: what tells them that none comes any more. */
  readonly #waiting = new Set<(error: unknown) => void>();
  #closed: Promise<void> | undefined;

  /** `listen` makes them. */
  constructor(options: SpeakerOptions) {
    super();
    // Any number may wait for switches.
    this.setMaxListeners(0);
    this.#options = options;
    this.#limits = limitsOf(options);
    this.#requestTimeoutMs = positive("requestTimeoutMs", options.requestTimeoutMs ?? 10_000);
    const accept = (socket: Socket): void => this.#accept(socket);
    this.#server = options.tls === undefined ? createServer(accept) : this.#tlsServer(options.tls, accept);
    this.#server.maxConnections = options.maxConnections ?? 1000;
    this.#server.on("drop", (dropped) => {
      this.#refused(outcomes.tooMany(this.#server.maxConnections), addressOf(dropped ?? {}));
    });
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  #tlsServer(tls: TlsOptions, accept: (socket: Socket) => void): Server {
    const server = createTlsServer(tlsOf(tls, this.#limits.handshakeMs), accept);
    server.on("tlsClientError", (error, socket) => {
      this.#refused(outcomes.handshakeFailed(`TLS: ${error.message}`, error), addressOf(socket));
    });
    return server;
  }

  /** Begins to listen. */
  async opened(): Promise<void> {
    const { port = 6653, host, path } = this.#options;
    if (path !== undefined) await removeUnused(path);
    this.#server.listen(path === undefined ? { port, host } : { path });
    await once(this.#server, "listening");
    this.#server.on("error", (error) => this.emit("error", error));
  }

  /** The port that switches connect to. 0: there is none, since they connect to a socket file. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** The switches that are connected, by their datapath ids. */
  get switches(): ReadonlyMap<bigint, Switch> {
    return new Map(Array.from(this.#switches, ([id, { one }]) => [id, one as Switch]));
  }

  /**
   * The connection with a switch: the one that there is, or the next one. `timeoutMs` has the default of requests.
   * @throws OpenFlowError WW_OF_TIMEOUT: it has not connected in time; WW_OF_CLOSED: the speaker was closed
   */
  waitFor(datapathId: bigint, options: RequestOptions = {}): Promise<Switch> {
    const { timeoutMs = this.#requestTimeoutMs, signal } = options;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#closed !== undefined) throw outcomes.closedHere();
      const present = this.#switches.get(datapathId)?.one;
      if (present !== undefined) return resolve(present);
      const over = (): void => {
        clearTimeout(timer);
        this.off("switch", came);
        signal?.removeEventListener("abort", aborted);
        this.#waiting.delete(fail);
      };
      const fail = (error: unknown): void => {
        over();
        reject(error as Error);
      };
      const aborted = (): void => fail(signal?.reason);
      const came = (one: Switch): void => {
        if (one.datapathId !== datapathId) return;
        over();
        resolve(one);
      };
      const timer = setTimeout(
        () => fail(outcomes.notConnected(datapathId, timeoutMs)),
        Math.min(longest, positive("timeoutMs", timeoutMs)),
      );
      this.on("switch", came);
      signal?.addEventListener("abort", aborted);
      this.#waiting.add(fail);
    });
  }

  /** Ends all connections, and listens no more. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const over = once(this.#server, "close");
    this.#server.close();
    for (const connection of this.#connections) connection.session.end(outcomes.closedHere());
    for (const fail of this.#waiting) fail(outcomes.closedHere());
    // Those are left that have not come to a session: they have not ended their TLS handshake.
    for (const socket of this.#sockets) socket.destroy();
    await over;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(socket: Socket): void {
    const connection: Connection = new Connection(socket, this.#limits, (event) =>
      this.#told(connection, event),
    );
    this.#connections.add(connection);
    connection.start();
  }

  #told(connection: Connection, event: SessionEvent): void {
    const { one } = connection;
    switch (event.type) {
      case "identified":
        void this.#claim(connection, event.features);
        return;
      case "ready":
        return this.#ready(connection, event);
      case "message": {
        const { message } = event;
        // Each listener gets the message that its name says: the compiler cannot see it.
        one?.emit(message.type, message as never);
        return;
      }
      case "refused":
        one?.emit("refused", event.message);
        return;
      case "unreadable":
        one?.emit("unreadable", event.error);
        return;
      case "ended":
        return this.#ended(connection, event.error);
    }
  }

  async #claim(connection: Connection, features: Features): Promise<void> {
    const { generation = this.#began } = this.#options;
    try {
      connection.generation =
        typeof generation === "function" ? await generation(features, connection.peer) : generation;
      connection.takeMaster();
    } catch (error) {
      connection.session.end(
        outcomes.handshakeFailed(`there is no generation to be its master in: ${messageOf(error)}`, error),
      );
    }
  }

  /** The switch is the newest connection that says so: the former one may be dead without anybody having noticed. */
  #ready(connection: Connection, { features, atConnect }: SessionEvent & { type: "ready" }): void {
    const { remote, generation } = connection;
    const former = this.#switches.get(features.datapathId);
    const one = new Switch(
      { features, atConnect, remote, generation },
      connection.wire(this.#requestTimeoutMs),
    );
    connection.one = one;
    this.#switches.set(features.datapathId, connection);
    former?.session.end(outcomes.replaced(remote));
    this.emit("switch", one);
  }

  #ended(connection: Connection, error: OpenFlowError): void {
    const { one } = connection;
    this.#connections.delete(connection);
    if (one === undefined) return this.#refused(error, connection.remote);
    if (this.#switches.get(one.datapathId) === connection) this.#switches.delete(one.datapathId);
    one.emit("end", error);
  }

  #refused(error: OpenFlowError, remote: string): void {
    this.emit("refused", error, remote);
  }
}

/** A socket, and the session on it. It moves bytes and keeps the time; the session decides. */
class Connection {
  readonly session: Session;
  readonly remote: string;
  /** The switch, once it is ready. */
  one: Switch | undefined;
  generation = 0n;
  readonly #socket: Socket;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;
  #isFlushing = false;

  constructor(socket: Socket, limits: SessionLimits, tell: (event: SessionEvent) => void) {
    this.#socket = socket;
    this.remote = addressOf(socket);
    this.session = new Session(limits, performance.now(), (event) => {
      // An error of a listener is the program's own: it must not stop the session half-way.
      try {
        if (event.type === "ended") this.#close();
        tell(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    });
  }

  start(): void {
    const { session } = this;
    const socket = this.#socket;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => {
      session.received(bytes, performance.now());
      this.#later();
    });
    socket.on("error", (error) => session.end(outcomes.broken(error)));
    socket.on("close", () => session.end(outcomes.broken()));
    this.#flush();
  }

  get peer(): Peer {
    const { remote } = this;
    return this.#socket instanceof TLSSocket
      ? { remote, certificate: this.#socket.getPeerCertificate() }
      : { remote };
  }

  takeMaster(): void {
    this.session.takeMaster(this.generation, performance.now());
    this.#later();
  }

  /** What the switch's object uses. */
  wire(requestTimeoutMs: number) {
    const { session } = this;
    return {
      requestTimeoutMs,
      now: () => performance.now(),
      submit: (request: Parameters<Session["submit"]>[0]) => {
        const pending = session.submit(request, performance.now());
        this.#later();
        return (reason: unknown) => {
          session.cancel(pending, reason, performance.now());
          this.#later();
        };
      },
      end: (error: OpenFlowError) => session.end(error),
      get hasEnded() {
        return session.hasEnded;
      },
      get pendingBytes() {
        return session.pendingBytes;
      },
    };
  }

  /** Sends what there is once the callbacks that run now have had their say: many messages become one piece. */
  #later(): void {
    if (this.#isFlushing) return;
    if (!this.session.hasBytes) return this.#wake();
    this.#isFlushing = true;
    process.nextTick(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const bytes = this.session.takeBytes();
    if (bytes !== undefined && this.#socket.writable) {
      this.#socket.write(bytes, () => {
        this.session.flushed(bytes.length);
        this.#later();
      });
    }
    this.#wake();
  }

  /** Sets the timer, if the session has something to do before it rings. */
  #wake(): void {
    const { wakeAt } = this.session;
    if (wakeAt >= this.#timerAt || wakeAt === Infinity) return;
    clearTimeout(this.#timer);
    this.#timerAt = wakeAt;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Infinity;
        // If this process stood still, what the switch has said meanwhile is read first: it was not silent.
        setImmediate(() => {
          this.session.tick(performance.now());
          this.#flush();
        });
      },
      Math.min(longest, Math.max(0, Math.ceil(wakeAt - performance.now()))),
    );
  }

  #close(): void {
    clearTimeout(this.#timer);
    this.#timerAt = -Infinity;
    const last = this.session.takeBytes();
    if (last === undefined) this.#socket.destroy();
    else this.#socket.end(last, () => this.#socket.destroy());
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** A process that was killed leaves its socket file behind. It is removed if nobody listens there. */
async function removeUnused(path: string): Promise<void> {
  const socket = connect({ path });
  try {
    await once(socket, "connect");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ECONNREFUSED") rmSync(path, { force: true });
  } finally {
    socket.destroy();
  }
}

const addressOf = ({
  remoteAddress,
  remotePort,
}: Partial<Pick<Socket, "remoteAddress" | "remotePort">>): string =>
  remoteAddress === undefined ? "a socket file" : `${remoteAddress}:${remotePort}`;

function limitsOf(options: SpeakerOptions): SessionLimits {
  const limits = { ...defaults };
  for (const name of Object.keys(defaults) as (keyof SessionLimits)[]) {
    const value = options[name] ?? defaults[name];
    limits[name] = positive(name, value);
  }
  if (limits.echoAfterMs >= limits.silentAfterMs) {
    throw wrong(
      `echoAfterMs (${limits.echoAfterMs}) is not less than silentAfterMs (${limits.silentAfterMs})`,
      "Leave time for an echo to be answered.",
    );
  }
  return limits;
}

function positive(name: string, value: number): number {
  if (value > 0 && Number.isFinite(value)) return value;
  throw wrong(`${name} is ${value}, and must be a number above 0`, "Correct the option.");
}

const wrong = (message: string, next: string): OpenFlowError =>
  new OpenFlowError("WW_OF_CONFIG", message, { next });

function tlsOf({ key, cert, ca }: TlsOptions, handshakeTimeout: number) {
  const next =
    "Give the key and the certificate of the speaker, and the authority that signs those of the switches, as PEM texts.";
  if (!key || !cert || !ca) throw wrong("TLS needs key, cert and ca", next);
  try {
    createSecureContext({ key, cert, ca });
  } catch (error) {
    throw wrong(`TLS: ${(error as Error).message}`, next);
  }
  return { key, cert, ca, handshakeTimeout, requestCert: true, rejectUnauthorized: true };
}
