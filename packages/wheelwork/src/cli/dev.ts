import { fork, type ChildProcess } from "node:child_process";
import { existsSync, watch } from "node:fs";
import {
  createServer,
  request as send,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { dirname, extname, join, relative, resolve, sep } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { command, CommandError, usageError, wholeNumber, type Command } from "./command.ts";
import type { Ask, Serving, Told } from "./dev-messages.ts";
import { exitCodes } from "./exit-codes.ts";
import { say } from "./output.ts";

/** Something that a module, or its host, has failed with: people read it, and the former version goes on. */
class HostFailure extends Error {}

/** A process that hosts one version of the module. */
class Host {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }
  >();
  #asked = 0;
  #isWanted = true;
  /** Resolves when the process has ended. */
  readonly exited: Promise<void>;

  /** `crashed` is called when the process ends by itself. */
  constructor(crashed: () => void) {
    const extension = extname(fileURLToPath(import.meta.url));
    const program = fileURLToPath(new URL(`dev-host${extension}`, import.meta.url));
    this.#child = fork(program, [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#child.on("message", (told: Told) => {
      const waiting = this.#waiting.get(told.number);
      this.#waiting.delete(told.number);
      if ("failed" in told) waiting?.reject(new HostFailure(told.failed));
      else waiting?.resolve(told.value);
    });
    this.exited = new Promise((ended) => {
      this.#child.once("exit", () => {
        for (const { reject } of this.#waiting.values())
          reject(new HostFailure("the process of the module has ended"));
        this.#waiting.clear();
        ended();
        if (this.#isWanted) crashed();
      });
    });
  }

  async ask<T>(ask: Ask): Promise<T> {
    const number = ++this.#asked;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(number, { resolve: resolve as (value: unknown) => void, reject });
      this.#child.send({ number, ask }, (error) => {
        if (error === null) return;
        this.#waiting.delete(number);
        reject(new HostFailure("the process of the module has ended"));
      });
    });
  }

  /** Ends the process in good order: its engine stops first. */
  end(): Promise<void> {
    this.#isWanted = false;
    if (this.#child.connected) this.#child.disconnect();
    return this.exited;
  }
}

/** How long requests may take to be sent when a host is to close, in milliseconds. */
const sendingMs = 1000;

/** Headers that are about one connection. */
const ofConnection: ReadonlySet<string> = new Set(["connection", "keep-alive", "transfer-encoding"]);

function passedOn(rawHeaders: readonly string[]): string[] {
  const headers: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const [name = "", value = ""] = rawHeaders.slice(at, at + 2);
    if (!ofConnection.has(name.toLowerCase())) headers.push(name, value);
  }
  return headers;
}

/** The port that clients know. While one host takes over from another one, requests wait. Connections of clients stay open. */
class Door {
  readonly #server: Server;
  #port: number | undefined = undefined;
  #waiting: ((port: number) => void)[] = [];
  /** Requests that are not sent to the host in full. */
  readonly #sending = new Set<Promise<void>>();

  constructor() {
    this.#server = createServer((request, response) => {
      if (this.#port === undefined) this.#waiting.push((port) => this.#pass(request, response, port));
      else this.#pass(request, response, this.#port);
    });
  }

  listen(port: number): Promise<void> {
    return new Promise((ready, reject) => {
      this.#server.once("error", (error: NodeJS.ErrnoException) => {
        const what = error.code === "EADDRINUSE" ? "is taken" : `cannot be opened: ${error.message}`;
        reject(
          new CommandError(`the port ${port} ${what}\n  Name another one: --port.`, exitCodes.failed, error),
        );
      });
      this.#server.listen({ port, host: "127.0.0.1" }, ready);
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** Leads nowhere from now on. Resolves when the host has read all that was sent to it, so that its close answers that. */
  async shut(): Promise<void> {
    const port = this.#port;
    this.#port = undefined;
    await Promise.race([Promise.all(this.#sending), pause(sendingMs)]);
    // A host reads what came first before what comes now.
    if (port !== undefined) await fetch(`http://127.0.0.1:${port}/health`).catch(() => {});
  }

  leadTo(port: number): void {
    this.#port = port;
    for (const pass of this.#waiting.splice(0)) pass(port);
  }

  /** A connection for each request: a host that closes has none that another request is under way on. */
  #pass(request: IncomingMessage, response: ServerResponse, port: number): void {
    const { method = "GET", url: path = "/", rawHeaders } = request;
    const headers = passedOn(rawHeaders);
    const inside = send({ host: "127.0.0.1", port, method, path, headers, agent: false }, (reply) => {
      response.writeHead(reply.statusCode ?? 502, passedOn(reply.rawHeaders));
      reply.pipe(response);
      reply.on("error", () => response.destroy());
    });
    inside.on("error", () => response.destroy());
    response.on("close", () => inside.destroy());
    const sent = new Promise<void>((done) => {
      inside.once("finish", done).once("close", done);
    }).then(() => void this.#sending.delete(sent));
    this.#sending.add(sent);
    request.pipe(inside);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** Files that a module may be made of. */
const sources: ReadonlySet<string> = new Set([".ts", ".mts", ".cts", ".js", ".mjs", ".cjs", ".json"]);

/** So long after a change nothing more must change until it is looked at, in milliseconds: editors write several times. */
const settleMs = 100;

/** Calls back after files in a folder have changed, with the name of one. The result ends it. */
function watchFolder(folder: string, changed: (file: string) => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(folder, { recursive: true }, (_event, name) => {
    if (name === null || !sources.has(extname(name))) return;
    if (name.split(sep).some((part) => part === "node_modules" || part.startsWith("."))) return;
    clearTimeout(timer);
    timer = setTimeout(() => changed(name), settleMs);
  });
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}

interface DevOptions {
  readonly module: string;
  readonly store: string;
  readonly folder: string;
}

/** One version of the module serves at a time, and the next one takes over from it. */
class Dev {
  readonly #options: DevOptions;
  readonly #door = new Door();
  #host: Host | undefined = undefined;
  /** Changes are taken one after the other. */
  #work: Promise<void> = Promise.resolve();
  #isEnding = false;

  constructor(options: DevOptions) {
    this.#options = options;
  }

  async open(port: number): Promise<void> {
    await this.#door.listen(port);
    await this.#next();
  }

  changed(file: string): void {
    const { module, folder } = this.#options;
    const name = relative(process.cwd(), join(folder, file));
    this.#then(async () => {
      say(`changed: ${name === "" ? module : name}`);
      await this.#next();
    });
  }

  #then(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (!this.#isEnding) await work();
    });
  }

  /** Lets what the file says now take over, if it can. */
  async #next(): Promise<void> {
    const began = performance.now();
    const next = new Host(() => this.#crashed(next));
    const former = this.#host;
    try {
      await next.ask({ do: "load", module: this.#options.module, store: this.#options.store });
      if (former !== undefined) await this.#demandFit(former, next);
      const serving = await this.#handOver(former, next);
      this.#host = next;
      this.#door.leadTo(serving.port);
      await former?.end();
      this.#tell(serving, performance.now() - began, former === undefined);
    } catch (error) {
      await next.end();
      if (!(error instanceof HostFailure)) throw error;
      const otherwise =
        this.#host === undefined ? "nothing serves until it is corrected" : "the former version goes on";
      process.stderr.write(`not loaded: ${otherwise}\n${error.message}\n`);
    }
  }

  async #demandFit(former: Host, next: Host): Promise<void> {
    const standing = await former.ask<readonly never[]>({ do: "standing" });
    const unfit = await next.ask<readonly string[]>({ do: "fits", standing });
    if (unfit.length > 0) throw new HostFailure(unfit.map((why) => `  - ${why}`).join("\n"));
  }

  /** The store has one engine at a time. If the next one does not start, the former one starts again. */
  async #handOver(former: Host | undefined, next: Host): Promise<Serving> {
    await this.#door.shut();
    await former?.ask({ do: "release" });
    try {
      return await next.ask<Serving>({ do: "start" });
    } catch (error) {
      if (former !== undefined) this.#door.leadTo((await former.ask<Serving>({ do: "start" })).port);
      throw error;
    }
  }

  /** A worker may end its process. What the file says now is tried, and then the next change is waited for. */
  #crashed(host: Host): void {
    if (this.#host !== host) return;
    this.#host = undefined;
    void this.#door.shut();
    process.stderr.write("the process of the module has ended by itself: it is started again\n");
    this.#then(() => this.#next());
  }

  #tell({ hubs }: Serving, ms: number, isFirst: boolean): void {
    if (!isFirst) return say(`reloaded in ${Math.round(ms)} ms`);
    say(
      `http://127.0.0.1:${this.#door.port} serves ${this.#options.module}, from the store ${this.#options.store}`,
    );
    for (const { name, path } of hubs) say(`  POST ${path}  ${name}`);
    say("Each change of a file is loaded. Runs go on. Stop: Ctrl+C");
  }

  async end(): Promise<void> {
    this.#isEnding = true;
    await this.#work;
    await this.#host?.end();
    this.#door.close();
  }
}

/** The command for the time of writing a module. */
export const devCommand: Command = command({
  name: "dev",
  about: "Runs a module of hubs and workers with its HTTP API, and loads it again whenever a file changes.",
  more: `The module's default export has hubs, workers and, if any, schedules. Each hub takes requests at POST /NAME.
Runs are durable: they go on after each change. A module that does not compile, or whose hubs could not go on with the live
runs, is not loaded: it is told why, and the former version goes on. Requests that come meanwhile wait.`,
  takes: "MODULE",
  options: {
    port: { type: "string", value: "N", about: "to listen on, on this machine only (8088; 0 takes any)" },
    store: { type: "string", value: "FILE", about: "the SQLite file (.wheelwork/dev.db)" },
    folder: { type: "string", value: "DIR", about: "whose files are watched (that of the module)" },
  },
  run: async ({ values, positionals: [module = ""] }) => {
    if (!existsSync(module)) throw usageError(`there is no file ${module}`);
    const folder = resolve(values.folder ?? dirname(module));
    if (!existsSync(folder)) throw usageError(`there is no folder ${folder}`);
    const port = wholeNumber("--port", values.port, 8088, 0);
    const store = resolve(values.store ?? ".wheelwork/dev.db");
    const dev = new Dev({ module: resolve(module), store, folder });
    const ended = new Promise<void>((end) => {
      for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.once(signal, () => end());
    });
    await dev.open(port);
    const unwatch = watchFolder(folder, (file) => dev.changed(file));
    await ended;
    unwatch();
    await dev.end();
  },
});
