// A learning switch: it floods what it has no place for, and learns behind which port each address is.
import {
  type Action,
  allTables,
  flowMod,
  listen,
  match,
  packetOut,
  ports,
  type Switch,
} from "@wheelwork/openflow";

const at = process.argv[2] ?? "6653"; // A port, or a socket file.
const speaker = await listen(/^\d+$/.test(at) ? { port: Number(at) } : { path: at });
console.log(`listening on ${speaker.port || at}`);
speaker.on("refused", (error, remote) => console.error(`${remote}: ${error.message}`));
speaker.on("switch", (sw) => {
  learn(sw);
  sw.on("end", ({ message }) => console.log(`switch ${sw.datapathId} has gone: ${message}`));
  start(sw).catch((error: Error) => {
    console.error(`switch ${sw.datapathId}: ${error.message}`);
    sw.close(); // It connects again, and gets another try.
  });
});

/** Begins with one rule: what no other rule matches goes to this program. */
async function start(sw: Switch): Promise<void> {
  await sw.apply([
    flowMod({ command: "delete", tableId: allTables }),
    flowMod({ priority: 0, instructions: [{ type: "applyActions", actions: [to(ports.controller)] }] }),
  ]);
  console.log(`switch ${sw.datapathId} is ready`);
}

function learn(sw: Switch): void {
  const places = new Map<string, number>();
  sw.on("packetIn", ({ match: fields, data }) => {
    const inPort = fields.find((one) => one.field === "inPort")?.value;
    if (inPort === undefined || data.length < 12) return;
    const [ethDst, ethSrc] = [addressAt(data, 0), addressAt(data, 6)];
    places.set(ethSrc, inPort);
    const place = places.get(ethDst);
    if (place !== undefined && place !== inPort) {
      // Later packets need this program no more. Who is silent for a minute is looked for again.
      sw.send(
        flowMod({
          idleTimeoutS: 60,
          match: match({ inPort, ethSrc, ethDst }),
          instructions: [{ type: "applyActions", actions: [to(place)] }],
        }),
      );
    }
    sw.send(packetOut({ inPort, data, actions: [to(place ?? ports.flood)] }));
  });
}

function to(port: number): Action {
  return { type: "output", port };
}

function addressAt(data: Uint8Array, at: number): string {
  return Array.from(data.subarray(at, at + 6), (byte) => byte.toString(16).padStart(2, "0")).join(":");
}
