import type { LanePage } from "@wheelwork/engine";
import { listDeadLetters } from "@wheelwork/engine/cluster";
import { readFileSync } from "node:fs";
import { Client } from "./client.ts";
import { command, CommandError, wholeNumber, type Command } from "./command.ts";
import { findServer, serverOptions } from "./contexts.ts";
import { replay } from "./dead-letters.ts";
import { exitCodes, type ExitCode } from "./exit-codes.ts";
import { listShards } from "./inspect.ts";
import { again, idsOf, outputOption, printRows, say, shown, watchOption, type Column } from "./output.ts";
import { isDirect, placeOptions, withPlace } from "./place.ts";

/** The commands about the inside of an engine: its lanes, its shards, and what it could not process. */

const directHelp = `It asks the HTTP server. With --brokers or --database, or with KAFKA_BROKERS in the environment and no server named, it asks
the brokers and the store of a cluster themselves: that works while no node runs.`;

/** Options of the commands that ask the HTTP server, or a cluster itself. */
const eitherOptions = { ...serverOptions, ...placeOptions } as const;

const lanes = command({
  name: "lanes",
  about: "Lists the lanes that somebody is in, those with the longest queues first.",
  takes: "",
  options: {
    name: { type: "string", value: "NAME", about: "only the lanes of this name" },
    limit: { type: "string", value: "N", about: "at most so many (50)" },
    ...watchOption,
    ...outputOption,
    ...serverOptions,
  },
  run: async ({ values }) => {
    const client = new Client(findServer(values));
    const query = { name: values.name, limit: wholeNumber("--limit", values.limit, 50, 1) };
    await again(values.watch, async () => {
      const { body } = await client.get("/lanes", { query });
      const page = body as LanePage;
      printRows(values.output, page.lanes, {
        columns: [
          ["lane", ({ name }) => name],
          ["key", ({ key }) => key],
          ["waiting", ({ waiting }) => `${waiting}`],
          ["places", ({ held, places }) => `${held} of ${places ?? "?"}`],
          ["held by", ({ holders }) => holders[0]],
        ],
        idOf: ({ key }) => key,
        none: "nobody is in a lane",
      });
      const left = page.total - page.lanes.length;
      if (left > 0) process.stderr.write(`${left} more: see --limit\n`);
    });
  },
});

interface Shard {
  readonly shard: number;
  readonly isHere: boolean;
  readonly owner?: string;
  readonly epoch?: number;
  readonly batches?: number;
  readonly lastCommitAt?: string;
  readonly position?: number;
  readonly lag?: number;
  readonly unpublished?: number;
  readonly problem?: string;
}

const number = (value: number | undefined): string => (value === undefined ? "" : `${value}`);

const shardColumns: readonly Column<Shard>[] = [
  ["shard", ({ shard }) => `${shard}`],
  ["epoch", ({ epoch }) => number(epoch)],
  ["batches", ({ batches }) => number(batches)],
  ["position", ({ position }) => number(position)],
  ["lag", ({ lag }) => number(lag)],
  ["unpublished", ({ unpublished }) => number(unpublished)],
  ["last commit", ({ lastCommitAt }) => lastCommitAt],
  ["owner", ({ owner, problem }) => problem ?? owner ?? "(never claimed)"],
];

const shards = command({
  name: "shards",
  about: "Lists the shards: owner, position, lag.",
  more: directHelp,
  takes: "",
  options: { ...watchOption, ...outputOption, ...eitherOptions },
  run: async ({ values }) => {
    if (isDirect(values)) {
      const isWell = await withPlace(values, (place) => listShards(place));
      return isWell ? exitCodes.done : exitCodes.failed;
    }
    const client = new Client(findServer(values));
    let code: ExitCode = exitCodes.done;
    await again(values.watch, async () => {
      const { body } = await client.get("/shards");
      const { shards: rows } = body as { readonly shards: readonly Shard[] };
      printRows(values.output, rows, { columns: shardColumns, idOf: ({ shard }) => `${shard}`, none: "" });
      code = rows.some(({ problem }) => problem !== undefined) ? exitCodes.failed : exitCodes.done;
    });
    return code;
  },
});

interface Letter {
  readonly place: string;
  readonly at: string;
  readonly key: string;
  readonly reason: string;
  readonly origin: { readonly topic: string; readonly partition: number; readonly offset: number };
  readonly value: string;
  readonly isShort: boolean;
}

interface Letters {
  readonly letters: readonly Letter[];
  readonly hasMore: boolean;
}

/** A text of several lines, as a column of a table shows it. */
const inOneLine = (text: string): string => text.replaceAll(/\s*\n\s*/g, " ");

const letterColumns: readonly Column<Letter>[] = [
  ["place", ({ place }) => place],
  ["at", ({ at }) => at],
  ["key", ({ key }) => (key === "" ? "(no key)" : key)],
  ["origin", ({ origin }) => `${origin.topic}:${origin.partition}:${origin.offset}`],
  ["reason", ({ reason }) => inOneLine(reason)],
  [
    "value",
    ({ value, isShort }) =>
      isShort
        ? "(too large: it is at its origin)"
        : inOneLine(value.length > 60 ? `${value.slice(0, 57)}...` : value),
  ],
];

const topicOption = {
  topic: { type: "string", value: "TOPIC", about: "whose dead letters (the inbox)" },
} as const;

const listLetters = command({
  name: "dead-letters list",
  about: "Lists the newest records that could not be processed, and why.",
  more: directHelp,
  takes: "",
  options: {
    ...topicOption,
    limit: { type: "string", value: "N", about: "at most so many (50)" },
    ...watchOption,
    ...outputOption,
    ...eitherOptions,
  },
  run: async ({ values }) => {
    const limit = wholeNumber("--limit", values.limit, 50, 1);
    const print = ({ letters, hasMore }: Letters): void => {
      const none = `there are no dead letters of ${values.topic ?? "the inbox"}`;
      printRows(values.output, letters, { columns: letterColumns, idOf: ({ place }) => place, none });
      if (hasMore) process.stderr.write("there are older ones: see --limit\n");
    };
    if (isDirect(values)) {
      await withPlace(values, async ({ log, inbox }) => {
        const { letters, hasMore } = await listDeadLetters(log, values.topic ?? inbox, limit);
        const rows = letters.map((letter) => ({ ...letter, at: new Date(letter.at).toISOString() }));
        print({ letters: rows, hasMore });
      });
      return;
    }
    const client = new Client(findServer(values));
    await again(values.watch, async () => {
      const { body } = await client.get("/dead-letters", { query: { topic: values.topic, limit } });
      print(body as Letters);
    });
  },
});

/** As many as the server lists at once. */
const mostAtOnce = 1000;

const replayLetters = command({
  name: "dead-letters replay",
  about: "Sends dead letters to where they came from: all, or those at the places of the list.",
  more: `${directHelp}
PLACE is a place of the list, or - for places that come in, one in each line, as \`dead-letters list -o ids\` prints them.`,
  takes: "[PLACE...]",
  options: { ...topicOption, ...eitherOptions },
  run: async ({ values, positionals }) => {
    const { topic } = values;
    const given = positionals.flatMap((place) => (place === "-" ? idsOf(readFileSync(0, "utf8")) : [place]));
    const isAll = positionals.length === 0;
    if (isDirect(values)) {
      await withPlace(values, ({ log, inbox }) => replay(log, topic ?? inbox, isAll ? undefined : given));
      return;
    }
    const client = new Client(findServer(values));
    for (const place of isAll ? await allPlaces(client, topic) : given) {
      await client.post(`/dead-letters/${encodeURIComponent(place)}/replay`, { query: { topic } });
      say(`replayed ${shown(place)}`);
    }
  },
});

async function allPlaces(client: Client, topic: string | undefined): Promise<string[]> {
  const { body } = await client.get("/dead-letters", { query: { topic, limit: mostAtOnce } });
  const { letters, hasMore } = body as Letters;
  if (!hasMore) return letters.map(({ place }) => place);
  throw new CommandError(
    `there are more than ${mostAtOnce} dead letters: nothing was sent\n  Name them: wheelwork dead-letters list --limit ${mostAtOnce} -o ids | wheelwork dead-letters replay -`,
    exitCodes.failed,
  );
}

/** The commands about the inside of an engine. */
export const insideCommands: readonly Command[] = [lanes, shards, listLetters, replayLetters];
