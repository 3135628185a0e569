import { verifyStore, type StoreProgress } from "@wheelwork/engine";
import { WheelworkError } from "@wheelwork/core";
import type { TopicSettings } from "@wheelwork/kafka";
import { existsSync, realpathSync, statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import * as zlib from "node:zlib";
import { bytesText, contentsText } from "./backup.ts";
import { Client } from "./client.ts";
import { command, type Command } from "./command.ts";
import { findServer, serverOptions, type ServerPlace } from "./contexts.ts";
import { exitCodes } from "./exit-codes.ts";
import { findNimbus, reached } from "./nimbus.ts";
import { count, say, shown } from "./output.ts";
import { inspectAll, topicProblems } from "./inspect.ts";
import { needed, placeHelp, placeOptions, withPlace, type Place, type PlaceValues } from "./place.ts";
import { ProgressBar } from "./progress.ts";

/** What a look at something has found. */
interface Finding {
  readonly state: "ok" | "warning" | "problem";
  readonly what: string;
  /** What to do about it. */
  readonly next?: string;
}

const ok = (what: string): Finding => ({ state: "ok", what });
const warning = (what: string, next: string): Finding => ({ state: "warning", what, next });
const problem = (what: string, next: string): Finding => ({ state: "problem", what, next });

/** An error as a finding: its first line, and its next step. */
function failed(error: unknown, next: string): Finding {
  const [first = "", ...more] = (error instanceof Error ? error.message : String(error)).split("\n");
  if (error instanceof WheelworkError) return problem(first, error.next ?? next);
  return problem(first, [...more, next].join("\n"));
}

// ---- the program ----

/** The first Node that has all that stores need. */
const leastNode = [22, 15] as const;

export function nodeFindings(version: string, hasZstd: boolean): Finding[] {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isOld = major < leastNode[0] || (major === leastNode[0] && minor < leastNode[1]);
  if (isOld || !hasZstd)
    return [problem(`Node ${version} is too old`, `Install Node ${leastNode.join(".")} or newer.`)];
  return [ok(`Node ${version}`)];
}

// ---- a SQLite store ----

/** File systems, by the number that Linux gives them, on which SQLite's locks or its log do not hold what they promise. */
const networked: Readonly<Record<number, string>> = {
  0x6969: "NFS",
  0xff534d42: "CIFS",
  0xfe534d42: "SMB",
  0x517b: "SMB",
  0x01021997: "9p",
  0x786f4256: "a shared folder of VirtualBox",
};
const passing: Readonly<Record<number, string>> = {
  0x01021994: "tmpfs, which is memory: all is gone when the machine stops",
  0x794c7630: "the layer of a container: all is gone with the container",
};

const lowBytes = 100_000_000;
const logBytes = 256_000_000;
const dayMs = 86_400_000;

/** A clock that differs by more is worth a word, in milliseconds. */
const maxSkewMs = 2000;

/** What the file system says of a store. */
export function placeFindings(
  path: string,
  {
    type,
    freeBytes,
    bytes,
    log,
    names,
  }: Readonly<Record<"type" | "freeBytes" | "bytes" | "log" | "names", number>>,
): Finding[] {
  const move = "Move the store to a disk of the machine.";
  const network = networked[type];
  const gone = passing[type];
  return [
    network !== undefined
      ? problem(`${path} is on ${network}: its locks and its log are not safe there`, move)
      : gone !== undefined
        ? warning(`${path} is on ${gone}`, "Move the store to a volume, unless you can do without it.")
        : ok(`${path} is on a file system of this machine`),
    freeBytes < lowBytes
      ? problem(`its disk has ${bytesText(freeBytes)} left: commits fail when it is full`, "Make room.")
      : freeBytes < bytes
        ? warning(
            `its disk has ${bytesText(freeBytes)} left, and the store ${bytesText(bytes)}`,
            "Make room: a backup would not fit.",
          )
        : ok(`its disk has ${bytesText(freeBytes)} left`),
    log > logBytes
      ? warning(
          `${path}-wal has ${bytesText(log)}`,
          "Somebody reads the database in one long transaction, or the engine was killed. End that reader, or start the engine.",
        )
      : ok(`its log has ${bytesText(log)}`),
    ...(names > 1
      ? [
          problem(
            `${path} has ${names} names (hard links)`,
            "Delete the other names: under two names a database gets damaged.",
          ),
        ]
      : []),
  ];
}

/** What the clock says of the last commit. */
export function clockFindings(now: number, engineTime: number): Finding[] {
  if (engineTime === 0) return [ok("nothing was committed yet")];
  const at = new Date(engineTime).toISOString();
  if (engineTime > now + maxSkewMs)
    return [
      warning(
        `the clock of this machine is behind the store, whose last commit was at ${at}`,
        "Set the clock: until it has caught up, engine time stands still.",
      ),
    ];
  if (now - engineTime > 30 * dayMs)
    return [
      warning(
        `its last commit was at ${at}, more than 30 days ago`,
        "The next start is refused (WW_CLOCK). If the clock is right, start once with a larger maxDowntimeMs.",
      ),
    ];
  return [ok(`its last commit was at ${at}`)];
}

async function storeFindings(path: string, tell: (progress: StoreProgress) => void): Promise<Finding[]> {
  if (!existsSync(path))
    return [problem(`there is no file ${path}`, "Name the file that the engine has as its store.")];
  const real = realpathSync(path);
  const { type, bavail, bsize } = statfsSync(dirname(real));
  const { size, nlink } = statSync(real);
  const log = statSync(`${real}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  const facts = { type, freeBytes: bavail * bsize, bytes: size + log, log, names: nlink };
  const found = placeFindings(path, facts);
  try {
    const verdict = await verifyStore(path, tell);
    const restore =
      "Restore the store from a backup: see docs/durability.md. Check the disk and the memory of the machine.";
    return [
      ...found,
      ok(verdict.isHeld ? "an engine works on it" : "no engine works on it"),
      ...verdict.problems.map((place) => problem(place, restore)),
      ...(verdict.problems.length === 0
        ? [ok(`it is sound, and each checksum is right: ${contentsText(verdict)}`)]
        : []),
      ...clockFindings(Date.now(), verdict.engineTime),
    ];
  } catch (error) {
    return [...found, failed(error, "Restore the store from a backup: see docs/durability.md.")];
  }
}

// ---- a server ----

async function serverFindings(place: ServerPlace): Promise<Finding[]> {
  const client = new Client(place);
  const found: Finding[] = [];
  try {
    const sentAt = Date.now();
    const reply = await client.get("/health");
    const {
      status,
      ready,
      reason,
      warnings = [],
    } = reply.body as {
      readonly status: string;
      readonly ready: boolean;
      readonly reason?: string;
      readonly warnings?: readonly string[];
    };
    if (ready) found.push(ok(`${place.url} takes requests`));
    else
      found.push(
        problem(
          `${place.url} takes no requests: it is ${status}`,
          reason ?? "Look into the log of the server.",
        ),
      );
    for (const text of warnings)
      found.push(warning(shown(text), "See the log of the server, and docs/cluster.md."));
    found.push(...skew("the server", Date.parse(reply.headers.get("date") ?? ""), sentAt, 1000));
    const { body } = await client.get("/shards");
    const { shards } = body as {
      readonly shards: readonly { readonly shard: number; readonly problem?: string }[];
    };
    for (const { shard, problem: why } of shards)
      if (why !== undefined) found.push(problem(`shard ${shard}: ${shown(why)}`, "See docs/durability.md."));
    found.push(ok(`it has ${count(shards.length, "shard")}`));
    const parked = await client.get("/requests", { query: { status: "incident", limit: 1 } });
    if ((parked.body as { readonly requests: readonly object[] }).requests.length > 0)
      found.push(warning("requests are parked (incidents)", "See: wheelwork incidents"));
  } catch (error) {
    found.push(failed(error, "Start the server, or name another one: --url."));
  }
  return found;
}

/** How far another clock is from this one. `date` is known to `grainMs` only. */
function skew(whose: string, theirs: number, ours: number, grainMs: number): Finding[] {
  if (Number.isNaN(theirs)) return [];
  const ahead = theirs - ours;
  if (Math.abs(ahead) <= maxSkewMs + grainMs) return [ok(`the clock of ${whose} agrees with this one`)];
  const far = `${(Math.abs(ahead) / 1000).toFixed(1)} s ${ahead > 0 ? "ahead of" : "behind"}`;
  return [warning(`the clock of ${whose} is ${far} this one`, "Let both machines keep their time by NTP.")];
}

// ---- a cluster, and Storm ----

async function clusterFindings(values: PlaceValues): Promise<Finding[]> {
  return withPlace(values, async (place) => {
    const topics = (await topicProblems(place)).map((text) =>
      problem(text, "Start a node, which makes the topics, or name the brokers: --brokers."),
    );
    const found: Finding[] =
      topics.length > 0 ? topics : [ok(`Kafka at ${place.brokers} has the topics of the inbox`)];
    if (topics.length === 0) found.push(...(await inboxFindings(place)));
    try {
      found.push(...postgresFindings(await place.settings()));
      if (topics.length > 0) return found;
      const broken = (await inspectAll(place)).flatMap(({ shard, problem: why }) =>
        why === undefined
          ? []
          : [problem(`shard ${shard}: ${why}`, "See docs/durability.md and docs/cluster.md.")],
      );
      found.push(
        ...(broken.length > 0
          ? broken
          : [ok(`the store has ${count(place.shards, "shard")}, and each goes on where its inbox is`)]),
      );
    } catch (error) {
      found.push(failed(error, "Start PostgreSQL, or name its server: --database."));
    }
    return found;
  });
}

async function inboxFindings({ log, inbox }: Place): Promise<Finding[]> {
  try {
    return topicFindings(inbox, await log.settings(inbox));
  } catch (error) {
    return [failed(error, "Let the account describe the configs of its topics, or start the brokers.")];
  }
}

/** What the promises need of the inbox: what is in it was accepted, and may wait there for as long as an outage lasts. */
export function topicFindings(
  topic: string,
  { replicas, inSync, configs }: Pick<TopicSettings, "replicas" | "inSync" | "configs">,
): Finding[] {
  const retentionMs = Number(configs["retention.ms"] ?? -1);
  const least = Number(configs["min.insync.replicas"] ?? 1);
  const found: Finding[] = [];
  if ((configs["cleanup.policy"] ?? "delete").includes("compact"))
    found.push(
      problem(
        `the topic ${topic} is compacted: it loses requests and commands`,
        "Set cleanup.policy = delete.",
      ),
    );
  if (configs["unclean.leader.election.enable"] === "true")
    found.push(
      problem(
        `the topic ${topic} may be led by a broker that lacks records`,
        "Set unclean.leader.election.enable = false.",
      ),
    );
  if (inSync < least)
    found.push(
      problem(
        `of the topic ${topic}, ${inSync} copies are up to date, and writes need ${least}`,
        "Start the brokers that are away.",
      ),
    );
  else if (inSync < replicas)
    found.push(
      warning(
        `of the topic ${topic}, ${inSync} of ${replicas} copies are up to date`,
        "Start the brokers that are away.",
      ),
    );
  if (replicas < 2)
    found.push(
      warning(
        `the topic ${topic} has one copy: a broker that is lost takes requests with it`,
        "Give it three copies, with min.insync.replicas = 2.",
      ),
    );
  else if (least < 2)
    found.push(
      warning(
        `the topic ${topic} takes records that only one broker has`,
        "Set min.insync.replicas = 2, with three copies.",
      ),
    );
  if (retentionMs >= 0 && retentionMs < dayMs)
    found.push(
      warning(
        `the topic ${topic} keeps records for ${(retentionMs / 3_600_000).toFixed(1)} h: an outage that lasts longer loses requests`,
        "Set retention.ms to several days.",
      ),
    );
  return found.length > 0 ? found : [ok(`the topic ${topic} keeps what is accepted, in ${replicas} copies`)];
}

/** What the promises need of PostgreSQL. */
export function postgresFindings({
  version,
  serverMs,
  settings,
  synchronousStandbys: standbys,
}: {
  readonly version: string;
  readonly serverMs: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly synchronousStandbys: readonly string[];
}): Finding[] {
  const is = (name: string, value: string): boolean => settings[name] === value;
  const major = Number(version.split(".")[0]);
  return [
    major < 15
      ? problem(`PostgreSQL ${version} is too old`, "Use PostgreSQL 15 or newer.")
      : ok(`PostgreSQL ${version}`),
    is("fsync", "on")
      ? ok("it waits for its disk (fsync)")
      : problem("fsync is off: a crash of the server damages the store", "Set fsync = on."),
    is("full_page_writes", "on")
      ? ok("it protects pages that are half written (full_page_writes)")
      : problem("full_page_writes is off: a crash may damage pages", "Set full_page_writes = on."),
    is("synchronous_commit", "off")
      ? problem("synchronous_commit is off: a crash undoes the last commits", "Set synchronous_commit = on.")
      : ok(`commits wait for the disk (synchronous_commit = ${settings["synchronous_commit"] ?? "?"})`),
    is("data_checksums", "on")
      ? ok("its pages have checksums")
      : warning("its pages have no checksums: a damaged index hides rows", "Enable them with pg_checksums."),
    settings["synchronous_standby_names"] === ""
      ? warning(
          "no standby is synchronous: a failover may lose the last commits",
          "See docs/durability.md: a synchronous standby loses none.",
        )
      : ok(
          `commits wait for standbys: ${standbys.length === 0 ? "none is connected now" : standbys.join(", ")}`,
        ),
    ...skew("PostgreSQL", serverMs, Date.now(), 0),
  ];
}

async function stormFindings(option: string | undefined): Promise<Finding[]> {
  const { Nimbus } = await needed("@wheelwork/storm", () => import("@wheelwork/storm"));
  try {
    const place = findNimbus(option);
    const nimbus = new Nimbus(place);
    const list = await reached(place, nimbus.topologies());
    const found = [
      ok(
        `Nimbus at ${place.host}:${place.port} has ${list.length === 1 ? "1 topology" : `${list.length} topologies`}`,
      ),
    ];
    for (const { name, status } of list) {
      if (status !== "ACTIVE") {
        found.push(
          warning(`the topology ${name} is ${status}`, `See: wheelwork storm status --name ${name}`),
        );
        continue;
      }
      const { errors } = await reached(place, nimbus.topology(name));
      found.push(
        errors.length === 0
          ? ok(`the topology ${name} is active`)
          : warning(
              `the topology ${name} has reported ${count(errors.length, "error")}`,
              `See: wheelwork storm status --name ${name}`,
            ),
      );
    }
    return found;
  } catch (error) {
    return [failed(error, "Start Storm, or say where Nimbus is: --nimbus HOST:PORT.")];
  }
}

const marks = { ok: "ok", warning: "warning", problem: "problem" } as const;

/** The command that looks at everything that an engine needs. */
export const doctorCommand: Command = command({
  name: "doctor",
  about: "Looks at what an engine needs, and says what to do about what is wrong.",
  more: `It looks at Node, and at what you name: the file of a store (--store; an engine may work on it), a server (--url, --context), a
cluster (--brokers, --database) and Storm (--nimbus). Without any of them it looks at the server that other commands would ask.
It changes nothing. Warnings are no failure: with a problem the exit code is 1.
${placeHelp}`,
  takes: "",
  options: {
    store: { type: "string", value: "FILE", about: "the SQLite file of an engine: all of it is read" },
    nimbus: { type: "string", value: "HOST:PORT", about: "of Storm's Nimbus" },
    ...serverOptions,
    ...placeOptions,
    output: { type: "string", short: "o", choices: ["text", "json"], about: "how to print it (text)" },
  },
  run: async ({ values }) => {
    const { store, nimbus, url, context } = values;
    const found = nodeFindings(process.versions.node, "zstdCompressSync" in zlib);
    const isCluster = values.brokers !== undefined || values.database !== undefined;
    const isServer = url !== undefined || context !== undefined;
    const bar = new ProgressBar();
    if (store !== undefined)
      found.push(...(await storeFindings(store, ({ doing, share }) => bar.show(doing, share))));
    bar.end();
    if (isCluster) found.push(...(await clusterFindings(values)));
    if (nimbus !== undefined) found.push(...(await stormFindings(nimbus)));
    if (isServer || (store === undefined && nimbus === undefined && !isCluster))
      found.push(...(await serverFindings(findServer(values))));
    if (values.output === "json") say(JSON.stringify(found, undefined, 2));
    else
      for (const { state, what, next } of found) {
        say(`${marks[state].padEnd(8)} ${what}`);
        if (next !== undefined) for (const line of next.split("\n")) say(`${" ".repeat(9)}${line.trim()}`);
      }
    return found.some(({ state }) => state === "problem") ? exitCodes.failed : exitCodes.done;
  },
});
