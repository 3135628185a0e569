import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { kafka, type Kafka } from "@wheelwork/kafka";
import { waitUntil } from "@wheelwork/services";
import type { LogReading, LogRecord } from "wheelwork/cluster";
import { PostgresFlowStore } from "../../src/controller/flow-store-postgres.ts";
import { addressOf, switchIdOf } from "../../src/controller/model.ts";
import { pathOfCookie, rulesOf } from "../../src/controller/rules.ts";
import type { FlowTopics } from "../../src/topics.ts";

const switches = 8;
const withinMs = 120_000;

export const sw = (number: number): string => switchIdOf(BigInt(number));

/** A flow as clients of OpenKilda write it: between two switches of the ring, in a VLAN of its own. */
export const flowBody = (flow_id: string, from: number, to: number, vlan: number) => ({
  flow_id,
  source: { switch_id: sw(from), port_number: 1, vlan_id: vlan },
  destination: { switch_id: sw(to), port_number: 2, vlan_id: vlan },
  maximum_bandwidth: 1_000,
});

/** What the tests of flows on Kafka and PostgreSQL see, besides HTTP: the store, the switches, and what goes over the topics. */
export class FlowStage {
  readonly store: PostgresFlowStore;
  readonly bus: Kafka;
  /** Each record of the topics of the speaker, from the beginning on. */
  readonly records: LogRecord[] = [];
  readonly #readings: LogReading[] = [];

  constructor(place: {
    readonly databaseUrl: string;
    readonly brokers: string;
    readonly flowSchema?: string;
  }) {
    const { databaseUrl, brokers, flowSchema } = place;
    this.store = new PostgresFlowStore(databaseUrl, flowSchema === undefined ? {} : { schema: flowSchema });
    this.bus = kafka({ brokers, clientId: "flow-stage" });
  }

  async listen({ speakerCommands, speakerAnswers, networkEvents, eventAnswers }: FlowTopics): Promise<void> {
    for (const topic of [speakerCommands, speakerAnswers, networkEvents, eventAnswers]) {
      const { partitions } = await this.bus.topic(topic);
      for (let partition = 0; partition < partitions; partition++)
        this.#readings.push(
          await this.bus.read(topic, partition, undefined, {
            records: (records) => void this.records.push(...records),
            lost: () => {},
          }),
        );
    }
  }

  of(topic: string): readonly LogRecord[] {
    return this.records.filter((record) => record.topic === topic);
  }

  /** Waits until the store knows the ring of switches, and all its links are up. */
  async ringIsUp(): Promise<void> {
    await waitUntil(async () => {
      const up = (await this.store.links()).filter(({ isUp }) => isUp);
      return up.length === 2 * switches;
    }, withinMs);
  }

  async close(): Promise<void> {
    for (const reading of this.#readings) reading.stop();
    await Promise.all([this.store.close(), this.bus.close()]);
  }

  /** What simulated switches have, against what the flows in the store need; and what does not fit together in the store. */
  async differences(controlUrl: string): Promise<string[]> {
    const problems = [...(await this.store.audit())];
    const should = new Set<string>();
    for (const flow of await this.store.flows({ limit: 1000 })) {
      const { inner, entries } = rulesOf(flow);
      for (const rule of [...inner, ...entries])
        should.add(
          rule.kind === "meter"
            ? `${rule.switchId} ${addressOf(rule)}`
            : `${rule.switchId} ${addressOf(rule)} of ${rule.cookie}`,
        );
    }
    const has = new Set<string>();
    for (let number = 1; number <= switches; number++) {
      const reply = await fetch(`${controlUrl}/network/switches/${number}/rules`);
      const { rules, meters } = (await reply.json()) as {
        readonly rules: readonly { readonly cookie: string; readonly address: string | null }[];
        readonly meters: readonly number[];
      };
      for (const { cookie, address } of rules)
        if (pathOfCookie(BigInt(`0x${cookie}`)) !== undefined)
          has.add(`${sw(number)} ${address ?? "?"} of ${cookie}`);
      for (const meter of meters) has.add(`${sw(number)} meter/${meter}`);
    }
    for (const one of should) if (!has.has(one)) problems.push(`missing: ${one}`);
    for (const one of has) if (!should.has(one)) problems.push(`too much: ${one}`);
    return problems;
  }
}

/** Cuts or mends a link as a person does, at the address of Floodlight. */
export async function network(command: "cut" | "mend", link: string, url: string): Promise<string> {
  const program = resolve(import.meta.dirname, "../../../../services/src/network-main.ts");
  const flags = ["--conditions=wheelwork-source", "--disable-warning=ExperimentalWarning"];
  const all = [...flags, program, command, link, "--name", "nothing", "--url", url];
  return (await promisify(execFile)(process.execPath, all)).stdout;
}
