import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { addressOf } from "../../src/controller/model.ts";
import { AddressBook } from "../../src/floodlight/address-book.ts";
import { idOf, ruleAt } from "./lab.ts";

/** A book in a file, and the time that it is told. */
function opened() {
  const folder = mkdtempSync(join(tmpdir(), "wheelwork-book-"));
  const time = { now: 1_000_000 };
  const open = (): AddressBook =>
    new AddressBook({
      path: join(folder, "book.db"),
      durability: "normal",
      fenceMs: 10_000,
      soon: (task) => void setImmediate(task),
      wallMs: () => time.now,
    });
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return { open, time };
}

const switchId = idOf(1);
const stateOf = (book: AddressBook, vlan: number): string | undefined =>
  book.get(switchId, addressOf(ruleAt(vlan)))?.state;

test("what is noted is there after a restart, and generations rise, also if the clock goes back", async () => {
  const { open, time } = opened();
  const book = open();
  const first = book.nextGeneration();
  await book.want(switchId, 1, [ruleAt(1)], false);
  await book.prove(switchId, 1, [addressOf(ruleAt(1))]);
  await book.want(switchId, 2, [ruleAt(2)], true);
  await book.want(switchId, 2, [ruleAt(3)], false);
  await book.remove(switchId, 3, [ruleAt(3)]);
  book.close();
  time.now -= 500_000;
  const again = open();
  expect(again.nextGeneration()).toBeGreaterThan(first);
  expect([1, 2, 3].map((vlan) => stateOf(again, vlan))).toEqual(["installed", "owed", "removed"]);
  expect(again.unconfirmed(10).count).toBe(2);
  again.close();
});

test("a place is absent for as long as a command can be late, and what is not confirmed stays", async () => {
  const { open, time } = opened();
  const book = open();
  for (const vlan of [1, 2]) await book.want(switchId, 1, [ruleAt(vlan)], false);
  await book.remove(switchId, 2, [ruleAt(1), ruleAt(2)]);
  await book.confirm(switchId, [{ address: addressOf(ruleAt(1)), seq: 2 }]);
  time.now += 9_999;
  await book.remove(switchId, 1, [ruleAt(9)]);
  expect([1, 2].map((vlan) => stateOf(book, vlan))).toEqual(["absent", "removed"]);
  expect(await book.want(switchId, 1, [ruleAt(1)], false)).toBe("fenced");
  // It looks once in a minute.
  time.now += 60_000;
  await book.remove(switchId, 1, [ruleAt(9)]);
  expect([1, 2].map((vlan) => stateOf(book, vlan))).toEqual([undefined, "removed"]);
  book.close();
});

test("what could not be written is not remembered", async () => {
  const { open } = opened();
  const book = open();
  await book.want(switchId, 1, [ruleAt(1)], false);
  // A number that the file cannot hold undoes all that is written with it.
  const good = book.want(switchId, 2, [ruleAt(2)], false);
  const bad = book.want(switchId, Number.NaN, [ruleAt(3)], false);
  await expect(bad).rejects.toThrow("NOT NULL");
  await expect(good).rejects.toThrow("NOT NULL");
  expect([1, 2, 3].map((vlan) => stateOf(book, vlan))).toEqual(["wanted", undefined, undefined]);
  book.close();
});
