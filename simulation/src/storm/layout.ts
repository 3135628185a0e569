import type { AnyTopology } from "@wheelwork/storm";

/** A task of a component. */
export interface Task {
  readonly id: number;
  readonly component: string;
}

/** What runs the tasks of a component. */
export type Kind =
  | { readonly type: "shell-bolt" | "shell-spout"; readonly part: string }
  | { readonly type: "kafka-spout"; readonly topics: readonly string[] }
  | { readonly type: "kafka-bolt" };

type Edge = AnyTopology["edges"][number];

const kinds: Readonly<Record<string, Kind["type"]>> = {
  "org.apache.storm.flux.wrappers.bolts.FluxShellBolt": "shell-bolt",
  "org.apache.storm.flux.wrappers.spouts.FluxShellSpout": "shell-spout",
  "org.apache.storm.kafka.spout.KafkaSpout": "kafka-spout",
  "org.apache.storm.kafka.bolt.KafkaBolt": "kafka-bolt",
};

/** A topology as Storm lays it out: tasks with numbers, and where each tuple goes. */
export class Layout {
  readonly topology: AnyTopology;
  readonly tasks: readonly Task[];
  readonly #byComponent: ReadonlyMap<string, readonly number[]>;

  constructor(topology: AnyTopology) {
    this.topology = topology;
    const components = Object.entries(topology.components).flatMap(([name, { tasks, parallelism }]) =>
      Array.from({ length: tasks ?? parallelism }, () => name),
    );
    this.tasks = components.map((component, place) => ({ id: place + 1, component }));
    const byComponent = Map.groupBy(this.tasks, ({ component }) => component);
    this.#byComponent = new Map(
      Array.from(byComponent, ([name, tasks]) => [name, tasks.map(({ id }) => id)] as const),
    );
  }

  tasksOf(component: string): readonly number[] {
    return this.#byComponent.get(component) ?? [];
  }

  /** What the program of a task is told when it begins. */
  handshake({ id, component }: Task): { readonly conf: object; readonly context: object } {
    const components = Object.fromEntries(this.tasks.map((task) => [task.id, task.component]));
    const context = { "task->component": components, taskid: id, componentid: component };
    return { conf: this.topology.config, context };
  }

  kindOf(component: string): Kind {
    const { className = "", constructorArgs = [], beans = [] } = this.topology.components[component] ?? {};
    const type = kinds[className];
    switch (type) {
      case "shell-bolt":
      case "shell-spout":
        return { type, part: String((constructorArgs[0] as readonly string[]).at(-1)) };
      case "kafka-spout": {
        const [, topics] = beans[0]?.constructorArgs ?? [];
        return { type, topics: topics as readonly string[] };
      }
      case "kafka-bolt":
        return { type };
      default:
        throw new TypeError(`the simulated Storm has no ${className}`);
    }
  }

  /** The tasks that a tuple goes to; `any` chooses one of so many. */
  targets(
    component: string,
    stream: string,
    values: readonly unknown[],
    any: (count: number) => number,
  ): readonly number[] {
    const edges = this.topology.edges.filter((edge) => edge.from === component && edge.stream === stream);
    return edges.flatMap((edge) => {
      const tasks = this.tasksOf(edge.to);
      const { grouping } = edge;
      switch (grouping.type) {
        case "all":
          return tasks;
        case "fields":
          return tasks.slice(...one(floorMod(this.#hash(edge, grouping.fields, values), tasks.length)));
        case "global":
          return tasks.slice(0, 1);
        default:
          return tasks.slice(...one(any(tasks.length)));
      }
    });
  }

  /** As Java hashes a list of texts. */
  #hash({ from, stream }: Edge, fields: readonly string[], values: readonly unknown[]): number {
    const names = this.topology.components[from]?.streams[stream] ?? [];
    return fields.reduce((hash, field) => {
      const value = values[names.indexOf(field)];
      return (Math.imul(hash, 31) + (typeof value === "string" ? hashOf(value) : 0)) | 0;
    }, 1);
  }
}

const one = (place: number): [number, number] => [place, place + 1];

const floorMod = (value: number, by: number): number => ((value % by) + by) % by;

/** The task, of so many, to which Storm gives what is grouped by a text. */
export const taskOf = (text: string, tasks: number): number => floorMod(31 + hashOf(text), tasks);

/** As Java hashes a text. */
function hashOf(text: string): number {
  let hash = 0;
  for (let place = 0; place < text.length; place++) hash = (Math.imul(hash, 31) + text.charCodeAt(place)) | 0;
  return hash;
}
