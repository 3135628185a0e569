import { WheelworkError } from "@wheelwork/core";
import { backupCommand } from "./backup.ts";
import { bulkCommands } from "./bulks.ts";
import { clusterCommands } from "./cluster.ts";
import { CommandError, findCommand, parse, unknownCommand, type Command } from "./command.ts";
import { candidates, completionCommand } from "./completion.ts";
import { devCommand } from "./dev.ts";
import { doctorCommand } from "./doctor.ts";
import { exitCodeOf, exitCodes, type ExitCode } from "./exit-codes.ts";
import { helpOf, markdown, overview } from "./help.ts";
import { hubCommands } from "./hubs.ts";
import { insideCommands } from "./inside.ts";
import { repairCommand } from "./repair.ts";
import { requestCommands } from "./requests.ts";
import { scheduleCommands } from "./schedules.ts";
import { settingCommands } from "./settings.ts";
import { stormCommands } from "./storm.ts";
import { tokenCommands } from "./tokens.ts";
import { topCommand } from "./top.ts";

const commands: readonly Command[] = [
  ...requestCommands,
  ...bulkCommands,
  ...hubCommands,
  ...scheduleCommands,
  ...insideCommands,
  topCommand,
  devCommand,
  doctorCommand,
  backupCommand,
  repairCommand,
  ...settingCommands,
  ...tokenCommands,
  completionCommand,
  ...clusterCommands,
  ...stormCommands,
];

const introduction = `<!-- Made by \`npm run -s wheelwork -- help --markdown > docs/cli.md\`: change the commands, not this page. -->

# The command line

\`wheelwork\` asks the HTTP server of an engine (see [HTTP](http.md)), so it works alike on SQLite, on a cluster and on Storm. A few commands look at the servers of a cluster or of Storm themselves.

It finds the server by \`--url\`, then \`--context\`, then \`WHEELWORK_URL\`, then \`WHEELWORK_CONTEXT\`, then the current context, and else takes \`http://127.0.0.1:8088\`. \`WHEELWORK_TOKEN\` is sent as a bearer token, so that it is in no history of a shell. [Security](security.md) says who may do what. The token and the certificate of a context go only to the server of that context.

To a server that wants certificates of its clients (mTLS), \`--tls-cert\` and \`--tls-key\` show one; \`--tls-ca\` names the authority of the server, if Node does not trust it. A context may keep the paths of the three files.

Commands with \`--store\` read the SQLite file of an engine that has stopped. They start no engine, and write nothing.

A command is sent again if no reply comes, under an \`Idempotency-Key\`, so it counts once. Keys and texts of others are shown with control characters escaped.

\`\`\`sh
wheelwork requests submit flow-create '{"flowid":"f1","length":10}' --key f1 --wait 10
wheelwork requests watch f1
wheelwork incidents
wheelwork requests list --status incident -o ids | wheelwork requests retry -
wheelwork requests cancel --where "hub=flow-create createdTo=2026-11-27T00:00:00Z" --dry-run
\`\`\`
`;

function help(words: readonly string[]): string {
  const names = words.filter((word) => !word.startsWith("-"));
  if (words.includes("--markdown")) return markdown(commands, introduction);
  if (names.length === 0) return overview(commands);
  const [group = ""] = names;
  const isGroup = commands.some(({ name }) => name.startsWith(`${group} `));
  if (isGroup && names.length === 1) return overview(commands, group);
  const found = findCommand(commands, words);
  if (found !== undefined) return helpOf(found.command);
  if (isGroup) return overview(commands, group);
  throw unknownCommand(commands, names);
}

/** The command that runs, for whoever must read its help. */
let running: Command | undefined = undefined as Command | undefined;

async function run(words: readonly string[]): Promise<ExitCode> {
  const [first] = words;
  if (first === "complete") {
    for (const word of candidates(commands, words.slice(words[1] === "--" ? 2 : 1)))
      process.stdout.write(`${word}\n`);
    return exitCodes.done;
  }
  const end = words.indexOf("--");
  const options = end < 0 ? words : words.slice(0, end);
  const asksForHelp = options.includes("--help") || options.includes("-h");
  if (first === undefined || first === "help" || asksForHelp) {
    process.stdout.write(help(first === "help" ? words.slice(1) : words));
    return exitCodes.done;
  }
  const found = findCommand(commands, words);
  if (found === undefined) throw unknownCommand(commands, words);
  running = found.command;
  return running.run(parse(running, found.rest));
}

// A reader that has had enough, such as `head`, is no failure. A full disk is one: what was written is not all there is.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(exitCodes.done);
  process.stderr.write(`the output cannot be written: ${error.message}\n`);
  process.exit(exitCodes.failed);
});

try {
  process.exitCode = await run(process.argv.slice(2));
} catch (error) {
  const isOurs = error instanceof CommandError || error instanceof WheelworkError;
  process.stderr.write(`${isOurs ? error.message : String(error)}\n`);
  if (error instanceof CommandError) process.exitCode = error.exitCode;
  else process.exitCode = error instanceof WheelworkError ? exitCodeOf(error) : exitCodes.failed;
  const of = running === undefined ? "" : ` ${running.name}`;
  if (process.exitCode === exitCodes.usage) process.stderr.write(`\nSee: wheelwork help${of}\n`);
}
