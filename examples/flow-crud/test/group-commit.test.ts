import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test, vi } from "vitest";
import { SqliteFlowStore } from "../src/controller/flow-store-sqlite.ts";
import { GroupCommit, openDatabase } from "../src/database.ts";
import { isOfFlow } from "../src/floodlight/rule-messages.ts";
import { SimulatedNetwork } from "../src/floodlight/simulated-network.ts";
import { SwitchSpeaker } from "../src/floodlight/switch-speaker.ts";
import { switchEvent } from "./controller/network.ts";
import { idOf, ruleAt } from "./speaker/lab.ts";

const seed = Number(process.env["WHEELWORK_SEED"] ?? Math.floor(Math.random() * 1e9));

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "group-commit-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

const schema = "CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID";

/** A disk that takes its time: each sync waits until it is let go. */
class SlowDisk {
  readonly waiting: { readonly done: () => void; readonly fail: (error: Error) => void }[] = [];
  readonly sync = (): Promise<void> =>
    new Promise((done, fail) => {
      this.waiting.push({ done, fail });
    });

  /** The next sync, once it is under way. */
  async next() {
    return await vi.waitFor(() => {
      const sync = this.waiting.pop();
      if (sync === undefined) throw new Error("nothing is to be synced");
      return sync;
    });
  }
}

/** A table of facts that is written in groups. */
function openFacts(path: string, sync: (file: number) => Promise<void>) {
  const db = openDatabase(path, schema);
  const group = new GroupCommit(db, { soon: (task) => void setImmediate(task), disk: "aside", sync });
  onTestFinished(() => {
    if (db.isOpen) group.close();
  });
  const add = db.prepare("INSERT INTO fact VALUES (?, ?)");
  return { db, group, add: (name: string, text = "") => group.run(() => void add.run(name, text)) };
}

/** The facts of a file, as another program reads them. */
function factsOf(path: string): string[] {
  const db = new DatabaseSync(path, { readOnly: true });
  const rows = db.prepare("SELECT name FROM fact ORDER BY name").all();
  db.close();
  return rows.map((row) => String(row["name"]));
}

test("nobody is told before the disk has it, and what comes meanwhile is one group", async () => {
  const disk = new SlowDisk();
  const { group, add } = openFacts(join(newFolder(), "facts.db"), disk.sync);
  const told: string[] = [];
  const write = (name: string): Promise<number> => add(name).then(() => told.push(name));
  const first = write("a");
  const one = await disk.next();
  const later = Promise.all(["b", "c", "d"].map(write));
  await new Promise((resolve) => setImmediate(resolve));
  expect([told, disk.waiting.length]).toEqual([[], 0]);
  one.done();
  await first;
  expect(told).toEqual(["a"]);
  expect(group.settled()).toBe(undefined);
  (await disk.next()).done();
  await later;
  expect(told).toEqual(["a", "b", "c", "d"]);
});

test("a store of flows shows nothing that the disk does not have", async () => {
  const disk = new SlowDisk();
  const store = new SqliteFlowStore(join(newFolder(), "flows.db"), { sync: disk.sync });
  const noted = store.note(switchEvent(1));
  const sync = await disk.next();
  const seen: string[] = [];
  const read = store.switches().then((switches) => seen.push(`${switches.length} switch`));
  const written = noted.then(() => seen.push("noted"));
  await new Promise((resolve) => setImmediate(resolve));
  expect(seen).toEqual([]);
  sync.done();
  await Promise.all([read, written]);
  expect(seen.toSorted()).toEqual(["1 switch", "noted"]);
  const closed = store.close();
  (await disk.next()).done();
  await closed;
});

test("a switch that connects is told nothing that the disk does not have", async () => {
  const disk = new SlowDisk();
  let isSlow = false;
  const network = new SimulatedNetwork({ topology: { shape: "ring", switches: 3 }, reconnectMs: 1 });
  let connections = 0;
  const listen = async () => {
    const source = await network.listen();
    source.on("switch", () => connections++);
    return source;
  };
  const speaker = await SwitchSpeaker.over(listen, {
    path: join(newFolder(), "rules.db"),
    sync: () => (isSlow ? disk.sync() : Promise.resolve()),
  });
  onTestFinished(() => speaker.close());
  await vi.waitFor(() => expect(speaker.connected).toHaveLength(3));
  isSlow = true;
  const [switchId, rules] = [idOf(1), [ruleAt(1)]];
  const asked = speaker.execute({ command: "install", switchId, seq: 1, must: true, rules });
  const sync = await disk.next();
  network.disconnect(1);
  await vi.waitFor(() => expect(connections).toBe(4));
  // Each question to a simulated switch takes one turn.
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  const rulesOfFlows = () => network.flows(1).filter(({ cookie }) => isOfFlow(cookie)).length;
  expect(rulesOfFlows()).toBe(0);
  isSlow = false;
  sync.done();
  await asked;
  await vi.waitFor(() => expect(speaker.connected).toHaveLength(3));
  expect(rulesOfFlows()).toBe(1);
});

test("a sync that fails is told, and nothing that follows is told before all is on the disk", async () => {
  const folder = newFolder();
  const path = join(folder, "facts.db");
  const disk = new SlowDisk();
  const { group, add } = openFacts(path, disk.sync);
  const lost = add("a");
  const sync = await disk.next();
  const looked = group.settled();
  sync.fail(new Error("EIO"));
  await expect(lost).rejects.toThrow("EIO");
  await expect(looked).rejects.toThrow("EIO");
  // Another sync might say that all is well although it is not. What is in the file of the database was synced with it.
  const settled = group.settled();
  const again = await disk.next();
  copyFileSync(path, join(folder, "alone.db"));
  expect(factsOf(join(folder, "alone.db"))).toEqual(["a"]);
  again.done();
  await settled;
  expect(group.settled()).toBe(undefined);
});

test("a database that is closed while the disk works tells nobody that it is done", async () => {
  const disk = new SlowDisk();
  const { group, add } = openFacts(join(newFolder(), "facts.db"), disk.sync);
  const written = add("a");
  const sync = await disk.next();
  const later = add("b");
  group.close();
  sync.done();
  await expect(written).rejects.toThrow("closed");
  await expect(later).rejects.toThrow("not open");
});

test("what is written outside of the groups waits for the disk itself", async () => {
  const { db, add } = openFacts(join(newFolder(), "facts.db"), () => Promise.resolve());
  const level = () => db.prepare("PRAGMA synchronous").get()?.["synchronous"];
  await add("a");
  expect(level()).toBe(2);
  await expect(add("a")).rejects.toThrow("UNIQUE");
  expect(level()).toBe(2);
});

test("without a power supply from one moment to the next, all that was told is there", async () => {
  console.info(`seed ${seed}`);
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const folder = newFolder();
  const path = join(folder, "facts.db");
  // What a sync promises is what was in the files when it began.
  let image = "";
  let images = 0;
  const { db, add } = openFacts(path, async () => {
    const copy = join(folder, `image-${images++}.db`);
    for (const suffix of ["", "-wal"])
      if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
    for (let turns = random(4); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    image = copy;
  });
  // So small that the log is copied into the file and begins anew again and again.
  db.exec("PRAGMA wal_autocheckpoint = 8");
  const told: string[] = [];
  let looks = 0;
  const writers = Array.from({ length: 5 }, async (_, writer) => {
    for (let number = 0; number < 60; number++) {
      const name = `${writer}-${number}`;
      await add(name, "x".repeat(random(3_000)));
      told.push(name);
      if (random(10) > 0) continue;
      looks++;
      expect(factsOf(image), `seed ${seed}`).toEqual(expect.arrayContaining(told));
    }
  });
  await Promise.all(writers);
  expect(looks).toBeGreaterThan(0);
});

test("what a group has left to be written together is written once, and one that fails is no harm to the others", async () => {
  const db = openDatabase(join(newFolder(), "facts.db"), schema, "normal");
  const put = db.prepare("INSERT INTO fact VALUES (?, '')");
  const written: string[][] = [];
  let left: string[] = [];
  const group = new GroupCommit(db, {
    soon: (task) => void setImmediate(task),
    ending: () => {
      written.push([...left]);
      for (const name of left.splice(0)) put.run(name);
    },
    undone: () => (left = []),
  });
  onTestFinished(() => group.close());
  const add = (name: string) => group.run(() => (left.push(name), name));
  const cannot = (): Promise<never> =>
    group.run(() => {
      throw new Error("it cannot be done");
    });
  expect(await Promise.all([add("a"), add("b")])).toEqual(["a", "b"]);
  const statuses = async (asked: readonly Promise<unknown>[]) =>
    (await Promise.allSettled(asked)).map(({ status }) => status);
  expect(await statuses([add("c"), add("a"), add("d")])).toEqual(["fulfilled", "rejected", "fulfilled"]);
  // What comes meanwhile goes on, too.
  const asked = statuses([add("e"), cannot(), add("f")]);
  await new Promise((resolve) => setImmediate(resolve));
  const last = add("g");
  expect(await asked).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(await last).toBe("g");
  expect(factsOf(db.location() as string)).toEqual(["a", "b", "c", "d", "e", "f", "g"]);
  // Two together; three together in vain, and each alone; one fails before the end, and the others alone.
  expect(written).toEqual([["a", "b"], ["c", "a", "d"], ["c"], ["a"], ["d"], ["e"], ["f"], ["g"]]);
});
