import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "@wheelwork/services";
import { seeded } from "../../src/floodlight/faults.ts";

const program = resolve(import.meta.dirname, "program.ts");
/** A worker has ended the process, as it was asked to. */
const byWorker = 86;

const values =
  "bigint date nan cyclic deep toJSON getter proxy thenable surrogate symbol map array null".split(" ");
const thrown = "undefined text message revoked".split(" ");
const behaviours = [...values.map((one) => `give ${one}`), ...thrown.map((one) => `throw ${one}`)];
const places = ["worker", "handler", "input", "reply", "turn", "patch"];
/** All that a hostile request may ask for. */
const attacks = [
  ...places.flatMap((where) => behaviours.map((how) => ({ where, how }))),
  { where: "worker", how: "schema" },
  { where: "worker", how: "exit" },
];

/** What is to be done. */
export interface HostilePlan {
  readonly kills: number;
  readonly seed: number;
  /** The folder of the store. */
  readonly data: string;
  readonly progress?: (line: string) => void;
}

/** What came of it. */
export interface HostileReport {
  readonly kills: number;
  /** How often a worker has ended the process. */
  readonly ended: number;
  readonly honest: number;
  readonly hostile: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly problems: readonly string[];
}

/** The program in a process of its own, which is started again whatever it dies of. */
class Runner {
  readonly port: number;
  readonly problems: string[] = [];
  ended = 0;
  readonly #store: string;
  #child: ChildProcess | undefined = undefined;
  #isKilled = false;
  #isOver = false;

  constructor(port: number, data: string) {
    this.port = port;
    this.#store = join(data, "hostile.db");
  }

  launch(): void {
    if (this.#isOver) return;
    const node = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const child = spawn(process.execPath, [...node, program, `${this.port}`, this.#store], {
      stdio: ["ignore", "pipe", "pipe", "ipc"],
      // Its logger throws: what is logged goes to standard error.
      env: { ...process.env, WHEELWORK_LOG_LEVEL: "silent" },
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (text) => (output = `${output}${String(text)}`.slice(-2000)));
    this.#child = child;
    this.#isKilled = false;
    child.once("exit", (code) => {
      if (code === byWorker) this.ended++;
      else if (!this.#isKilled) this.problems.push(`the process ended by itself with ${code}: ${output}`);
      this.launch();
    });
  }

  kill(): void {
    this.#isKilled = true;
    this.#child?.kill("SIGKILL");
  }

  async end(): Promise<void> {
    this.#isOver = true;
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    this.kill();
    await gone;
  }
}

/** Sends a request until it has its answer: its status and text. Undefined: it has none for too long. */
async function ask(url: string, key: string, body: object, withinMs: number): Promise<string | undefined> {
  for (const until = performance.now() + withinMs; performance.now() < until; await sleep(30)) {
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": key, prefer: "wait=3" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(10_000),
      });
      const text = await response.text();
      if (response.status !== 202 && response.status !== 503) return `${response.status} ${text}`;
    } catch {
      // The process was killed under the request, or is not up.
    }
  }
  return undefined;
}

/** A client that asks, and never reads what it is told. */
function deafClient(port: number): Socket {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  const head = "GET /requests?limit=100 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  socket.write(head.repeat(500));
  socket.pause();
  return socket;
}

/**
 * Runs programs that misbehave in every way beside honest ones, and kills their process now and then. Each honest request must get
 * its one right answer, each hostile one some answer, always the same, and nothing but a worker that does so may end the process.
 */
export async function hostile({ kills, seed, data, progress }: HostilePlan): Promise<HostileReport> {
  const random = seeded(seed);
  const runner = new Runner(await freePort(), data);
  const { problems } = runner;
  const url = `http://127.0.0.1:${runner.port}`;
  const statuses: Record<string, number> = {};
  const answers = new Map<
    string,
    { readonly path: string; readonly body: object; readonly answer: string }
  >();
  const load = { on: true };
  const deaf: Socket[] = [];
  let honest = 0;
  const take = async (path: string, key: string, body: object): Promise<string> => {
    const answer = await ask(`${url}${path}`, key, body, 240_000);
    if (answer === undefined) problems.push(`${key} ${JSON.stringify(body)} has no answer`);
    else answers.set(key, { path, body, answer });
    return answer ?? "";
  };
  const work = async (): Promise<void> => {
    while (load.on) {
      const n = ++honest;
      const answer = await take("/honest", `honest-${n}`, { n });
      const isRight =
        answer.startsWith("200 ") && (JSON.parse(answer.slice(4)) as { n?: number }).n === 4 * n;
      if (answer !== "" && !isRight) problems.push(`honest-${n} is told ${answer}`);
    }
  };
  const left = attacks.map((attack) => ({ attack, draw: random() })).toSorted((a, b) => a.draw - b.draw);
  const count = left.length;
  const attack = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const { where, how } = next.attack;
      const answer = await take("/hostile", `hostile ${where} ${how}`, { where, how });
      const status = answer.slice(0, 3);
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
  };
  runner.launch();
  try {
    const working = Promise.all(Array.from({ length: 4 }, work));
    const attacking = Promise.all(Array.from({ length: 8 }, attack));
    for (let killed = 0; killed < kills; killed++) {
      await sleep(1000 + random() * 2000);
      for (const socket of deaf.splice(0)) socket.destroy();
      runner.kill();
      progress?.(`${killed + 1} kills, ${answers.size} requests answered, ${left.length} attacks to come`);
      for (let number = 0; number < 5; number++) deaf.push(deafClient(runner.port));
    }
    await attacking;
    load.on = false;
    await working;
    for (const [key, { path, body, answer }] of answers) {
      const again = await ask(`${url}${path}`, key, body, 240_000);
      if (again !== answer) problems.push(`${key} is told ${answer}, and then ${again}`);
    }
  } finally {
    load.on = false;
    for (const socket of deaf) socket.destroy();
    await runner.end();
  }
  return { kills, ended: runner.ended, honest, hostile: count, statuses, problems };
}
