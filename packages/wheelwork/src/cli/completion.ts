import { command, usageError, type Command } from "./command.ts";

const shells = ["bash", "zsh", "fish"] as const;

/** The words that may follow the words before them, for completion. */
export function candidates(commands: readonly Command[], words: readonly string[]): string[] {
  const before = words.slice(0, -1).filter((word) => !word.startsWith("-"));
  const last = words.at(-1) ?? "";
  const found =
    commands.find(({ name }) => name === before.slice(0, 2).join(" ")) ??
    commands.find(({ name }) => name === before[0]);
  if (found !== undefined) {
    const previous = words.at(-2) ?? "";
    const option = Object.entries(found.options).find(
      ([name, { short }]) => previous === `--${name}` || (short !== undefined && previous === `-${short}`),
    );
    const choices = option?.[1].choices ?? [];
    const options = Object.keys(found.options).map((name) => `--${name}`);
    return (option === undefined || option[1].type === "boolean" ? options : choices).filter((word) =>
      word.startsWith(last),
    );
  }
  const depth = before.length;
  const next = commands
    .map(({ name }) => name.split(" "))
    .filter((parts) => before.every((word, at) => parts[at] === word))
    .flatMap((parts) => parts.slice(depth, depth + 1));
  return [...new Set(depth === 0 ? [...next, "help"] : next)].filter((word) => word.startsWith(last));
}

// Each script asks the program itself, so that a new version needs no new script.
const scripts: Readonly<Record<(typeof shells)[number], string>> = {
  bash: `_wheelwork() {
  local IFS=$'\\n'
  COMPREPLY=($(wheelwork complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _wheelwork wheelwork
`,
  zsh: `#compdef wheelwork
_wheelwork() {
  local -a found
  found=("\${(@f)$(wheelwork complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  [[ -n "\${found[1]}" ]] && compadd -a found || _files
}
compdef _wheelwork wheelwork
`,
  fish: `complete -c wheelwork -a '(wheelwork complete -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
};

/** The command that prints the script for a shell. */
export const completionCommand: Command = command({
  name: "completion",
  about: "Prints the script that completes commands and options in a shell.",
  more: `bash: source <(wheelwork completion bash), in ~/.bashrc
zsh:  source <(wheelwork completion zsh), in ~/.zshrc
fish: wheelwork completion fish | source, in ~/.config/fish/config.fish`,
  takes: shells.join("|"),
  options: {},
  run: async ({ positionals: [shell] }) => {
    const known = shells.find((one) => one === shell);
    if (known === undefined) throw usageError(`completion takes one of ${shells.join(", ")}`);
    process.stdout.write(scripts[known]);
  },
});
