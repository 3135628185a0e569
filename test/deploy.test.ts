import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";

const root = resolve(import.meta.dirname, "..");

interface Service {
  readonly image?: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly command?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly healthcheck?: object;
  readonly volumes?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

const read = (name: string): Compose =>
  parse(readFileSync(resolve(root, "deploy", name), "utf8"), { merge: true }) as Compose;

/**
 * Checks that each file and volume that it names exists, and that each service waits until the ones it needs are
 * healthy.
 */
function checkServices({ services, volumes }: Compose): void {
  for (const [name, service] of Object.entries(services)) {
    expect(service.image ?? service.build, name).toBeDefined();
    const file =
      service.build === undefined
        ? "docker-compose.yml"
        : `${service.build.context}/${service.build.dockerfile}`;
    expect(existsSync(resolve(root, "deploy", file)), name).toBe(true);
    for (const [needed, { condition }] of Object.entries(service.depends_on ?? {})) {
      expect(services[needed]?.healthcheck, `${name} needs ${needed}`).toBeDefined();
      expect(condition).toBe("service_healthy");
    }
    for (const volume of service.volumes ?? []) {
      const source = volume.split(":")[0] ?? "";
      const isThere = source.startsWith("./")
        ? existsSync(resolve(root, "deploy", source))
        : source in volumes;
      expect(isThere, volume).toBe(true);
    }
  }
}

test("docker-compose.storm.yml is valid, and its parts find its Storm", () => {
  const compose = read("docker-compose.storm.yml");
  checkServices(compose);
  const settings = parse(readFileSync(resolve(root, "deploy/storm.yaml"), "utf8")) as Record<
    string,
    string[]
  >;
  for (const setting of ["storm.zookeeper.servers", "nimbus.seeds"])
    for (const host of settings[setting] ?? []) expect(compose.services).toHaveProperty(host);
  // All parts and the tests use the same version of Storm.
  const images = [
    compose.services["nimbus"]?.image,
    readFileSync(resolve(root, "deploy/Dockerfile.supervisor"), "utf8"),
  ];
  for (const image of images) expect(image).toContain("storm:2.8.3");
});

test("docker-compose.yml is valid: all that it names exists, and its commands have only options that the program takes", () => {
  const compose = read("docker-compose.yml");
  const { services } = compose;
  expect(Object.keys(services).toSorted()).toEqual([
    "floodlight",
    "kafka",
    "node-1",
    "node-2",
    "northbound",
    "postgres",
  ]);
  checkServices(compose);
  for (const [name, service] of Object.entries(services)) {
    if (service.build === undefined) continue;
    // The services share no files, so they may run on different machines. Only Floodlight has a volume, for the
    // switches.
    expect(service.volumes, name).toEqual(name === "floodlight" ? ["switches:/data"] : undefined);
    const program = resolve(root, "examples/flow-crud/src/cluster/main.ts");
    const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
    const { status, stderr } = spawnSync(
      process.execPath,
      [...flags, program, ...(service.command ?? []), "--help"],
      {
        encoding: "utf8",
      },
    );
    expect([status, stderr], name).toEqual([0, ""]);
  }
  // It is the program of `npm run cluster`.
  expect(readFileSync(resolve(root, "deploy/Dockerfile"), "utf8")).toContain(
    "examples/flow-crud/src/cluster/main.ts",
  );
});

test("docs/operate.md says of each alert what to do", () => {
  const read = (path: string): string => readFileSync(resolve(root, path), "utf8");
  const alerts = [...read("deploy/prometheus/wheelwork.rules.yml").matchAll(/- alert: (\w+)/g)].map(
    ([, name]) => name,
  );
  const rows = [...read("docs/operate.md").matchAll(/^\| `(Wheelwork\w+)` +\|/gm)].map(([, name]) => name);
  expect(alerts.length).toBeGreaterThan(10);
  expect(rows).toEqual(alerts);
});
