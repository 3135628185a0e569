import { WheelworkError } from "@wheelwork/core";
import { zipSync } from "fflate";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown, type Plugin } from "rolldown";

const fileRead = /readFileSync\(\s*new URL\((["'])([^"']+)\1,\s*import\.meta\.url\)\s*\)/g;

/** Files that a module reads from beside itself when it is loaded, such as WebAssembly, come along. */
const inlined: Plugin = {
  name: "inlined-files",
  transform: (code, id) => {
    if (!code.includes("readFileSync")) return undefined;
    return code.replaceAll(fileRead, (_all, _quote, path: string) => {
      const content = readFileSync(new URL(path, pathToFileURL(id)));
      return `Buffer.from(${JSON.stringify(content.toString("base64"))}, "base64")`;
    });
  },
};

const main = "wheelwork:main";

/**
 * An application and what it needs, as one file that Node can run by itself: the main file of the topology's resources.
 * `module` is a file whose default export is a `StormApp`, or makes one of a `StormConfig`.
 * @throws WheelworkError WW_CONFIG when it cannot be made one file.
 */
export function bundleApp(module: string): Promise<string> {
  const parts = fileURLToPath(import.meta.resolve("@wheelwork/storm/parts"));
  return bundle(main, {
    name: "main",
    resolveId: (id) => (id === main ? id : undefined),
    load: (id) =>
      id === main
        ? `import { runPart } from ${JSON.stringify(parts)};
import app from ${JSON.stringify(resolve(module))};
runPart(typeof app === "function" ? app : () => app);`
        : undefined,
  });
}

/** A program and what it needs, as one file that Node can run by itself. @throws WheelworkError WW_CONFIG when it cannot be. */
export const bundleProgram = (entry: string): Promise<string> => bundle(resolve(entry));

async function bundle(entry: string, ...plugins: Plugin[]): Promise<string> {
  const build = await rolldown({
    input: entry,
    plugins: [...plugins, inlined],
    platform: "node",
    resolve: { conditionNames: ["wheelwork-source", "node"] },
    // What only another way of running needs is loaded when it is asked for, and is not there.
    external: ["pg-native"],
    logLevel: "silent",
  });
  try {
    const { output } = await build.generate({ format: "esm", codeSplitting: false, minify: true });
    return output[0].code;
  } catch (error) {
    throw new WheelworkError("WW_CONFIG", `${entry} cannot be made one file: ${String(error)}`, {
      next: "All that it imports must be there.",
    });
  } finally {
    await build.close();
  }
}

/** The jar of a topology: nothing but its resources, which Storm unpacks beside each worker. */
export function topologyJar(resources: Readonly<Record<string, string>>): Uint8Array {
  const files = Object.entries(resources).map(([name, content]) => [
    `resources/${name}`,
    new TextEncoder().encode(content),
  ]);
  // The same content is the same jar, whenever it is made.
  return zipSync(Object.fromEntries(files) as Record<string, Uint8Array>, {
    mtime: new Date(2000, 0, 1),
    level: 6,
  });
}

/** Where Storm is, for those who submit. */
export interface StormHome {
  /** The folder of a Storm distribution: `lib-worker` and `conf` are used. */
  readonly home: string;
  /** The folder with the jars that the topology needs besides: storm-kafka-client, flux-core, flux-wrappers, kafka-clients. */
  readonly jars: string;
}

const jarsOf = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith(".jar"))
    .map((name) => join(folder, name));

/**
 * Submits a topology through Flux, Storm's own reader of such descriptions: it needs Java, and none of ours.
 * @throws WheelworkError WW_CONFIG when Java or Storm are not there, or Nimbus refuses the topology.
 */
export function submit(
  { home, jars }: StormHome,
  topology: { readonly flux: string; readonly jar: Uint8Array },
): void {
  for (const folder of [join(home, "lib-worker"), jars]) {
    if (existsSync(folder)) continue;
    throw new WheelworkError("WW_CONFIG", `Storm is not complete: there is no folder ${folder}`, {
      next: "Name the folder of a Storm distribution, and one with the jars of Flux and of Storm's Kafka client.",
    });
  }
  const scratch = mkdtempSync(join(tmpdir(), "wheelwork-storm-"));
  try {
    const [jar, yaml] = [join(scratch, "topology.jar"), join(scratch, "topology.yaml")];
    writeFileSync(jar, topology.jar);
    writeFileSync(yaml, topology.flux);
    mkdirSync(join(scratch, "logs"));
    // As artifacts with a name that stays, each jar is uploaded once for all topologies.
    const artifacts = Object.fromEntries(jarsOf(jars).map((file) => [artifactOf(file), file]));
    const java = [
      "-Xmx256m",
      "-XX:+UseSerialGC",
      "-XX:TieredStopAtLevel=1",
      "-Dstorm.options=",
      `-Dstorm.home=${home}`,
      `-Dstorm.log.dir=${join(scratch, "logs")}`,
      "-Dstorm.conf.file=",
      `-Dstorm.jar=${jar}`,
      "-Dstorm.dependency.jars=",
      `-Dstorm.dependency.artifacts=${JSON.stringify(artifacts)}`,
      "-cp",
      [join(home, "lib-worker", "*"), join(home, "conf"), jar, ...jarsOf(jars)].join(":"),
      "org.apache.storm.flux.Flux",
      yaml,
    ];
    const { status, error, stdout, stderr } = spawnSync("java", java, { encoding: "utf8", timeout: 120_000 });
    if (status === 0) return;
    const said = `${stdout}\n${stderr}`.split("\n").filter((line) => /Exception|ERROR|Error/.test(line));
    throw new WheelworkError(
      "WW_CONFIG",
      `the topology could not be submitted: ${error?.message ?? said.slice(0, 5).join("; ")}`,
      { next: "Look whether Java is installed, and Nimbus runs where conf/storm.yaml says." },
    );
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** `group:name:version` of a jar, as its blob is called. */
function artifactOf(file: string): string {
  const [, name, version] = /([^/]+?)-(\d[^/]*)\.jar$/.exec(file) ?? [];
  return `wheelwork:${name ?? file}:${version ?? "0"}`;
}
