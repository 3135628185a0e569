import { WheelworkError } from "@wheelwork/core";
import { parseArgs } from "node:util";
import { installNetwork, Network, networkFault, shapes } from "./network.ts";
import { openVSwitchIsInstalled } from "./openvswitch.ts";

const usage = `Usage: npm run network -- COMMAND [--name NAME]

  start [SHAPE] [SWITCHES]    a chain, ring, mesh or grid of switches, or none of links; default: a ring of 4
      --hosts N               with hosts 1 to N, each on port 1 of the switch of its number
      --controller TARGET     where the switches connect; several are possible; default: a socket file in its folder
  status                      says what there is
  host HOST SWITCH PORT [VLAN]   adds a host
  link SWITCH SWITCH up|down  cuts a link, or mends it
  cut LINK, mend LINK         the same for a link such as 2-3; without a network of that name, in the simulated one of npm start
      --url URL               where npm start listens, or Floodlight of a cluster (--network-port); default: http://127.0.0.1:8088;
                              the token is in WHEELWORK_TOKEN, if it wants one
  switch SWITCH off|on|reset  takes its controllers, gives them back, or lets it forget its rules
  crash                       starts all switches anew, as after a power cut
  ping HOST HOST [COUNT]      pings; the exit code is 0 if all were answered, 1 if none was, and 2 otherwise
  rules SWITCH                shows the rules of a switch; without a network of that name, of the simulated one, as cut does
  stop                        ends all of it

It needs root and Debian's package openvswitch-switch, which start installs. Several networks with different names run side by side.
`;

const say = (line: string): void => void process.stdout.write(`${line}\n`);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    name: { type: "string", default: "network" },
    hosts: { type: "string", default: "0" },
    controller: { type: "string", multiple: true },
    url: { type: "string" },
  },
});

function oneOf<T extends string>(value: string | undefined, known: readonly T[]): T {
  const found = known.find((one) => one === value);
  if (found !== undefined) return found;
  throw new WheelworkError(
    "WW_CONFIG",
    `${value ?? "nothing"} was given, and one of ${known.join(", ")} is needed`,
    {
      next: "npm run network shows how it is used.",
    },
  );
}

function whole(value: string | undefined, what: string): number {
  if (value !== undefined && /^\d{1,5}$/.test(value)) return Number(value);
  throw new WheelworkError("WW_CONFIG", `${what} is ${value ?? "missing"}, and must be a whole number`, {
    next: "npm run network shows how it is used.",
  });
}

async function start(network: Network, [shape = "ring", size = "4"]: readonly string[]): Promise<void> {
  if (!openVSwitchIsInstalled()) {
    say("Open vSwitch: installing it");
    installNetwork();
  }
  const fault = networkFault();
  if (fault !== undefined) {
    throw new WheelworkError("WW_CONFIG", `there can be no network here: ${fault}`, {
      next: "Run it as root on a machine that allows network namespaces, with openvswitch-switch, iputils-ping and ethtool.",
    });
  }
  await network.start(oneOf(shape, shapes), whole(size, "the number of switches"), values.controller);
  for (let host = 1; host <= whole(values.hosts, "the number of hosts"); host++)
    await network.host(host, host, 1);
  status(network);
}

function status(network: Network): void {
  const { shape, switches, links, controllers, hosts } = network.made();
  say(
    `${network.name}: ${network.isUp ? "up" : "down"}, a ${shape} of ${switches} switches with ${links.length} links`,
  );
  say(`controllers: ${controllers.join(", ") || "none"}`);
  for (const { host, at, port, vlan } of hosts) {
    say(
      `host ${host}: 10.99.0.${host}, on port ${port} of switch ${at}${vlan === 0 ? "" : `, in VLAN ${vlan}`}`,
    );
  }
}

/** Cuts or mends a link: of the network of this name, or of the simulated one of a running `npm start`. */
async function setLink(network: Network, link: string | undefined, isUp: boolean): Promise<void> {
  const [, one, other] = /^(\d{1,5})-(\d{1,5})$/.exec(link ?? "") ?? [];
  if (one === undefined || other === undefined) {
    throw new WheelworkError("WW_CONFIG", `the link is ${link ?? "missing"}, and must be as 2-3`, {
      next: "npm run network shows how it is used.",
    });
  }
  if (values.url === undefined && network.isUp)
    return network.link(Number(one), Number(other), isUp ? "up" : "down");
  await askSimulated(`/network/links/${one}-${other}`, { up: isUp });
  say(`${one}-${other} is ${isUp ? "up" : "down"}`);
}

/** Shows the rules of a switch: of the network of this name, or of the simulated one of a running `npm start`. */
async function showRules(network: Network, number: number): Promise<void> {
  if (values.url === undefined && network.isUp) {
    for (const rule of await network.dump(number)) say(rule.trim());
    return;
  }
  const { rules, meterTexts } = (await askSimulated(`/network/switches/${number}/rules`)) as {
    readonly rules: readonly { readonly text: string }[];
    readonly meterTexts: readonly string[];
  };
  for (const { text } of rules) say(text);
  for (const text of meterTexts) say(text);
}

/** Asks a simulated network. `body`: what is to be changed of it. @throws WheelworkError WW_CONFIG. */
async function askSimulated(path: string, body?: object): Promise<unknown> {
  const url = values.url ?? "http://127.0.0.1:8088";
  const unreachable = (why: string, cause?: unknown): WheelworkError =>
    new WheelworkError("WW_CONFIG", `${url} does not do that: ${why}`, {
      next: "Start npm start, or a network of your own: npm run network -- start ring 4. --url says where npm start listens.",
      ...(cause === undefined ? {} : { cause }),
    });
  const token = process.env["WHEELWORK_TOKEN"];
  let response: Response;
  let said: string;
  try {
    response = await fetch(new URL(path, url), {
      method: body === undefined ? "GET" : "POST",
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    });
    said = await response.text();
  } catch (error) {
    const { cause = error } = error as Error;
    throw unreachable(cause instanceof Error ? cause.message : String(cause), error);
  }
  let told: unknown;
  try {
    told = JSON.parse(said);
  } catch {
    // It is no server of ours.
  }
  if (response.ok && told !== undefined) return told;
  const detail = (told as { readonly detail?: unknown } | undefined)?.detail ?? said.slice(0, 300);
  throw unreachable(`${response.status} ${String(detail)}`);
}

async function main(): Promise<void> {
  const [command, ...rest] = positionals;
  const network = new Network(values.name);
  const number = (index: number, what: string): number => whole(rest[index], what);
  switch (command) {
    case "start":
      return start(network, rest);
    case "status":
      return status(network);
    case "host":
      await network.host(
        number(0, "the host"),
        number(1, "the switch"),
        number(2, "the port"),
        Number(rest[3] ?? 0),
      );
      return;
    case "link":
      return network.link(number(0, "a switch"), number(1, "a switch"), oneOf(rest[2], ["up", "down"]));
    case "cut":
      return setLink(network, rest[0], false);
    case "mend":
      return setLink(network, rest[0], true);
    case "switch":
      return network.switch(number(0, "the switch"), oneOf(rest[1], ["off", "on", "reset"]));
    case "crash":
      return network.crash();
    case "ping": {
      const count = Number(rest[2] ?? 3);
      const answered = await network.ping(number(0, "a host"), number(1, "a host"), count);
      say(`${answered} of ${count} were answered`);
      process.exitCode = answered === count ? 0 : answered === 0 ? 1 : 2;
      return;
    }
    case "rules":
      return showRules(network, number(0, "the switch"));
    case "stop":
      network.stop();
      return;
    default:
      process.stderr.write(usage);
      process.exitCode = 2;
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof WheelworkError ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
