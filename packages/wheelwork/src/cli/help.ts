import type { Command, Options } from "./command.ts";
import { exitCodeTexts } from "./exit-codes.ts";

const program = "wheelwork";

/** How a command is called. */
const callOf = ({ name, takes, options }: Command): string =>
  [program, name, takes, Object.keys(options).length > 0 ? "[options]" : ""]
    .filter((word) => word !== "")
    .join(" ");

/** Rows of two columns. */
function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join("");
}

function optionRows(options: Options): (readonly [string, string])[] {
  return Object.entries(options).map(([name, { short, value, about, choices }]) => {
    const letter = short === undefined ? "    " : `-${short}, `;
    const what = choices === undefined ? value : choices.join("|");
    return [`${letter}--${name}${what === undefined ? "" : ` ${what}`}`, about] as const;
  });
}

/** The help of one command. */
export function helpOf(command: Command): string {
  const options = optionRows(command.options);
  return [
    `Usage: ${callOf(command)}\n\n${command.about}\n`,
    command.more === undefined ? "" : `\n${command.more.trim()}\n`,
    options.length === 0 ? "" : `\nOptions:\n${columns(options)}`,
  ].join("");
}

/** The help of all commands, or of those whose first word is given. */
export function overview(commands: readonly Command[], group?: string): string {
  const shown = group === undefined ? commands : commands.filter(({ name }) => name.split(" ")[0] === group);
  const rows = shown.map(({ name, takes, about }) => [`${name} ${takes}`.trimEnd(), about] as const);
  return [
    `Usage: ${program} ${group ?? "COMMAND"} ${group === undefined ? "" : "COMMAND "}[options]\n\n`,
    columns(rows),
    `\n${program} help COMMAND tells more, also of a single command.\n`,
    group === undefined ? `\nExit codes:\n${columns(Object.entries(exitCodeTexts))}` : "",
  ].join("");
}

/** docs/cli.md, from the registry. */
export function markdown(commands: readonly Command[], introduction: string): string {
  const cell = (text: string): string => text.replaceAll("|", "\\|");
  const sections = commands.map((command) => {
    const rows = optionRows(command.options).map(
      ([option, about]) => `| \`${cell(option.trim())}\` | ${cell(about)} |\n`,
    );
    return [
      `### ${command.name}\n\n`,
      `\`${callOf(command)}\`\n\n${command.about}\n`,
      command.more === undefined ? "" : `\n\`\`\`\n${command.more.trim()}\n\`\`\`\n`,
      rows.length === 0 ? "" : `\n| option | what it does |\n| - | - |\n${rows.join("")}`,
    ].join("");
  });
  const codes = Object.entries(exitCodeTexts).map(([code, text]) => `| ${code} | ${text} |\n`);
  return `${introduction}\n## Exit codes\n\n| code | meaning |\n| - | - |\n${codes.join("")}\n## Commands\n\n${sections.join("\n")}`;
}
