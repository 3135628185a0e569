import { resolve } from "node:path";
import { API, type Diagnostic } from "typescript/unstable/sync";

/** An error of the compiler: where it is in its text, and the whole message. */
export interface Found {
  readonly start: number;
  readonly end: number;
  readonly message: string;
}

/** Texts that are compiled as one program, as if they were files of this directory. */
export interface Program {
  /** The errors of a text, by position. */
  errors(name: string): Found[];
  /** The type that an editor shows of what is at a position of a text. */
  hover(name: string, position: number): string;
  /** What an editor offers at a position of a text. */
  completions(name: string, position: number): string[];
  close(): void;
}

const root = resolve(import.meta.dirname, "../../../..");
const directory = resolve(import.meta.dirname, "texts");

/** Compiles texts, by their names, with the settings of the project. */
export function compile(texts: ReadonlyMap<string, string>): Program {
  const path = (name: string): string => `${directory}/${name}.ts`;
  const config = `${directory}/tsconfig.json`;
  const files = new Map(Array.from(texts, ([name, text]) => [path(name), text]));
  files.set(
    config,
    JSON.stringify({
      extends: `${root}/tsconfig.base.json`,
      // A mistake often leaves something unused. That is no error of its own here.
      compilerOptions: { composite: false, noEmit: true, noUnusedLocals: false, noUnusedParameters: false },
      files: Array.from(texts.keys(), path),
    }),
  );
  const api = new API({
    cwd: root,
    fs: {
      readFile: (file) => files.get(file),
      fileExists: (file) => files.has(file) || undefined,
      directoryExists: (name) => name === directory || undefined,
    },
  });
  const project = api.updateSnapshot({ openProjects: [config] }).getProject(config);
  if (project === undefined) throw new Error("the compiler has no such project");
  const { program, checker } = project;
  let byFile: Map<string | undefined, Diagnostic[]> | undefined;
  // All at once, so that the compiler may share the work out among its threads.
  const checked = () =>
    (byFile ??= Map.groupBy(
      [...program.getSyntacticDiagnostics(), ...program.getSemanticDiagnostics()],
      ({ fileName }) => fileName,
    ));
  return {
    hover(name, position) {
      const type = checker.getTypeAtPosition(path(name), position);
      if (type === undefined) throw new Error(`nothing is at ${position} of ${name}`);
      return checker.typeToString(type);
    },
    errors: (name) =>
      (checked().get(path(name)) ?? [])
        .map((found) => ({ start: found.pos, end: found.end, message: messageOf(found) }))
        .toSorted((a, b) => a.start - b.start),
    completions: (name, position) =>
      (checker.getCompletionsAtPosition(path(name), position)?.entries ?? []).map((entry) => entry.name),
    close: () => api.close(),
  };
}

const messageOf = (found: Diagnostic): string =>
  [found.text, ...(found.messageChain ?? []).map(messageOf)].join("\n");
