import type { AnyHub } from "@wheelwork/core";
import type { LogRecord } from "@wheelwork/engine/cluster";
import { placedKey } from "@wheelwork/engine";
import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { seededRandom } from "../../random.ts";
import { bulkHub } from "../checker/bulks.ts";
import type { Asked } from "../checker/starts.ts";
import { sentOf } from "../plans.ts";
import type { EndedRequest } from "../systems.ts";
import type { Askable, Asking } from "./asking.ts";
import { refusedHubName, requestOf, type Body, type Ledger, type Story } from "./ledger.ts";
import type { ShardsRequest } from "./plan.ts";
import { watchSome } from "../watching.ts";
import type { Stage } from "./stage.ts";

/** A request of the plan, with what it asks for. */
export interface Wanted {
  readonly plan: ShardsRequest;
  /** The key as its sender gives it, and as it is stored. */
  readonly given: string;
  readonly key: string;
  readonly hub: AnyHub;
  readonly body: unknown;
  /** When it begins, and how long it may take. */
  readonly sent: ReturnType<typeof sentOf>;
  /** Another request to the same hub, if there is one. */
  readonly other: unknown;
}

/** One sending of a request, and what became of it. */
interface Sending {
  readonly wanted: Wanted;
  readonly differs: boolean;
  readonly body: unknown;
  accepted: boolean;
  /** The code with which it was refused for good. */
  refused: string | undefined;
}

/** What a hub makes of a request. */
export function bodyOf({ opened }: Stage, hub: string, request: unknown): Body {
  if (hub === refusedHubName || hub === bulkHub) return { hub, request };
  const served = opened.hubs.find(({ name }) => name === hub);
  const checked = served?.definition.request["~standard"].validate(request);
  if (checked === undefined || checked instanceof Promise || checked.issues !== undefined)
    return { hub: refusedHubName, request: {} };
  return { hub, request: JSON.parse(JSON.stringify(checked.value)) as unknown };
}

/** The requests of a plan: those who send them, and what they must be answered. */
export class Requests {
  readonly wanted: readonly Wanted[];
  readonly #stage: Stage;
  readonly #ledger: Ledger;
  readonly #asking: Asking;
  readonly #sendings: Sending[] = [];
  /** Clients that are still asking. */
  #waiting = 0;
  /** Requests that somebody may watch, and how many of those do so still. */
  readonly #accepted = new Set<string>();
  #watching = 0;

  constructor(stage: Stage, ledger: Ledger, asking: Asking) {
    this.#stage = stage;
    this.#ledger = ledger;
    this.#asking = asking;
    this.wanted = stage.plan.requests.map((request) => this.#want(request));
  }

  #want(plan: ShardsRequest): Wanted {
    const { opened } = this.#stage;
    const { hub, request: body } = opened.request(seededRandom(plan.seed));
    const sent = opened.key?.(plan.key) ?? plan.key;
    const sound = placedKey(hub.definition, sent, body);
    const given =
      plan.body === "keyless"
        ? ""
        : plan.body === "odd-key"
          ? `${"a".repeat(200)}${plan.key}`
          : // The id of a request is its key, too. Who sends through a channel does not know of it.
            plan.by === "channel" && plan.body === "sound"
            ? sent
            : sound;
    const key =
      plan.body === "odd-key"
        ? `~${createHash("sha256").update(given).digest("hex")}`
        : given === sent
          ? sound
          : given;
    let other: unknown;
    for (let more = 1; more < 10 && other === undefined; more++) {
      const drawn = opened.request(seededRandom(plan.seed + more));
      const isOther =
        drawn.hub === hub &&
        placedKey(hub.definition, sound, drawn.request) === sound &&
        !isDeepStrictEqual(bodyOf(this.#stage, hub.name, drawn.request).request, body);
      if (isOther) other = drawn.request;
    }
    const sentAlong = sentOf(plan.start, this.#stage.startedAt);
    return { plan, given, key, hub, body: plan.body === "refused" ? 17 : body, sent: sentAlong, other };
  }

  /** Under which keys requests come, and when they begin. */
  get asked(): readonly Asked[] {
    return this.wanted.map(({ key, sent }) => ({ key, ...sent }));
  }

  /** The key that a request is stored under, of the key that its sender gave. */
  storedUnder(given: string): string {
    return this.wanted.find((wanted) => wanted.given === given)?.key ?? given;
  }

  // ---- sending ----

  /** Sends the request of this place in the plan, or another one under its key. */
  async send(place: number, differing: boolean): Promise<void> {
    const wanted = this.wanted[place] as Wanted;
    const { chronicle, outside } = this.#stage;
    const differs = differing && wanted.other !== undefined && wanted.plan.body === "sound";
    const body = differs ? wanted.other : wanted.body;
    const sending: Sending = { wanted, differs, body, accepted: false, refused: undefined };
    this.#sendings.push(sending);
    const { by, body: what } = wanted.plan;
    chronicle.count(`request by ${by}`);
    chronicle.count(`request ${differs ? "of another body" : what}`);
    if (by === "channel") {
      const value = what === "broken" ? "{ no JSON" : JSON.stringify(body);
      await outside.append(`to-${wanted.hub.name}`, { key: wanted.given, value });
      sending.accepted = true;
      chronicle.say("accepted", undefined, `${wanted.given} ${JSON.stringify(body)}`);
    } else if (by === "submit") await this.#submit(sending, `client ${place}`);
    else await this.#client(sending, `client ${place} ${this.#sendings.length}`);
  }

  /** Gives a request to one process. @returns Whether it need not be sent again. */
  async #submit(sending: Sending, who: string): Promise<boolean> {
    const { wanted, body } = sending;
    const { key, hub, sent } = wanted;
    const { chronicle } = this.#stage;
    const asked = this.#asking.any(who);
    if (asked === undefined) return false;
    const isOwner = asked.owns(this.#stage.shardOf(key));
    const given = await this.#asking.ask(asked, () =>
      asked.engine.submit(hub.name, body as never, { key, ...sent }),
    );
    if (given === undefined) return false;
    if ("value" in given) {
      sending.accepted = true;
      chronicle.say("accepted", asked, key);
      chronicle.count(isOwner ? "accepted" : "accepted elsewhere");
      this.#ledger.demand(
        "I9",
        !isOwner || this.#ledger.stories.has(key),
        () => `${key} is accepted before it is committed`,
      );
      const isSound = wanted.plan.body === "sound";
      this.#ledger.demand("I5", isSound, () => `${key} is accepted, and is no request`);
      void this.#lookOn(key);
      return true;
    }
    const { code, retryable } = given;
    if (retryable) return false;
    sending.refused = code;
    chronicle.count(`refused ${code}`);
    const fits = wanted.plan.body === "refused" ? code === "WW_INVALID_REQUEST" : code === "WW_KEY_REUSED";
    this.#ledger.demand("I5", fits, () => `${key} is refused with ${code}`);
    return true;
  }

  /** Sends its request under its key until it is accepted, and asks any process for the answer until it has it. */
  async #client(sending: Sending, who: string): Promise<void> {
    const { key } = sending.wanted;
    const stage = this.#stage;
    this.#waiting++;
    while (!(await this.#submit(sending, who))) await stage.wait(500);
    for (let told = !sending.accepted; !told;) {
      if (this.#ledger.lost.has(key) && !this.#ledger.stories.has(key)) break;
      told = await this.#askAnswer(key, who);
      if (!told) await stage.wait(300 + Math.ceil(stage.scaleMs / 40));
    }
    this.#waiting--;
  }

  /** Somebody may watch a request from when it is accepted. */
  async #lookOn(key: string): Promise<void> {
    if (this.#accepted.has(key)) return;
    this.#accepted.add(key);
    const { plan, clock, chronicle, scaleMs } = this.#stage;
    const { lost, stories } = this.#ledger;
    this.#watching++;
    await watchSome({
      seed: plan.seed,
      key,
      scaleMs,
      clock,
      any: () => this.#asking.any(`watcher ${key}`),
      archives: plan.historyRetentionMs !== undefined,
      mayBeForgotten: () => plan.retentionMs !== undefined || (lost.has(key) && !stories.has(key)),
      see: (seen) => {
        if (seen.type === "shown") chronicle.count("update");
        chronicle.see(this.#stage.shardOf(key), seen);
      },
    });
    this.#watching--;
  }

  /** @returns Whether there is nothing more to ask. */
  async #askAnswer(key: string, who: string): Promise<boolean> {
    const stage = this.#stage;
    const shard = stage.shardOf(key);
    const asked = this.#asking.any(who);
    if (asked === undefined) return false;
    const at = stage.clock.monotonicMs();
    const before = this.#ledger.stories.get(key);
    const wasThere = before !== undefined && !before.purged;
    const isOwner = asked.owns(shard);
    const waitMs = [0, 200, 3_000][stage.delay(`${who} waits`, 2)] ?? 0;
    const given = await this.#asking.ask(asked, () => asked.engine.answer(key, { waitMs }));
    if (given === undefined) return false;
    const story = this.#ledger.stories.get(key);
    if ("code" in given) {
      if (given.retryable) return false;
      stage.chronicle.count(`answer ${given.code}`);
      const fits = given.code === "WW_NOT_FOUND" && (!wasThere || story?.purged === true);
      this.#ledger.demand("I5", fits, () => `${key} was accepted, and is answered with ${given.code}`);
      return story?.purged === true;
    }
    const answer = given.value;
    if (answer === undefined) {
      this.#checkLate(key, asked, at, isOwner);
      return false;
    }
    stage.chronicle.count(isOwner ? "answer" : "answer elsewhere");
    stage.chronicle.see(shard, { type: "told", key, answer });
    return true;
  }

  /** A process tells no answer: it may not know it yet. */
  #checkLate(key: string, asked: Askable, at: number, isOwner: boolean): void {
    const story = this.#ledger.stories.get(key);
    // One that takes itself for the owner, and is not, knows no better.
    if (isOwner && this.#asking.isMistaken(asked, this.#stage.shardOf(key))) return;
    const lateMs = 5_000 + 40 * this.#stage.plan.storeMs;
    const since = Math.max(story?.answeredAt ?? 0, asked.wellSince, isOwner ? 0 : at - lateMs);
    const isLate = story?.answer !== undefined && story.purged === false && since + lateMs < at;
    this.#ledger.demand("I5", !isLate, () => `${key} has its answer, and node ${asked.number} does not tell`);
  }

  // ---- the end ----

  /** What is not answered yet; empty: nothing. */
  unrest(): string {
    const ledger = this.#ledger;
    if (this.#waiting > 0) return `${this.#waiting} clients ask`;
    if (this.#watching > 0) return `${this.#watching} watch`;
    if (ledger.live.size > 0) return `${[...ledger.live].join(", ")} go on`;
    const published = new Set(ledger.published.map(({ topic, key }) => `${topic} ${key}`));
    for (const sending of this.#sendings) {
      const { wanted } = sending;
      if (!sending.accepted || this.#isExcused(sending)) continue;
      if (wanted.given === "") {
        if (!this.#letterOf(sending)) return "a request without a key is no dead letter";
        continue;
      }
      if (ledger.stories.get(wanted.key)?.answer === undefined) return `${wanted.key} has no answer`;
      if (wanted.plan.by === "channel" && !published.has(`from-${wanted.hub.name} ${wanted.given}`))
        return `the answer of ${wanted.given} is not published`;
    }
    return "";
  }

  /** Whether nobody can be blamed for a request that has no answer. */
  #isExcused({ wanted: { key, given } }: Sending): boolean {
    return given !== "" && this.#ledger.lost.has(key) && !this.#ledger.stories.has(key);
  }

  #letterOf({ wanted: { hub, given }, body }: Sending): boolean {
    return this.#ledger.letters.some(
      ({ topic, key, value }) =>
        topic.startsWith(`to-${hub.name}-`) && key === given && value === JSON.stringify(body),
    );
  }

  /** What a request is, once it has come through a channel. */
  #bodyOfSending({ wanted: { plan, hub }, body }: Sending): Body {
    if (plan.body === "broken" || plan.body === "odd-key") return { hub: refusedHubName, request: {} };
    return bodyOf(this.#stage, hub.name, body);
  }

  /** Whether a dead letter of a channel came under the key of another request. */
  isOther({ key, value }: LogRecord): boolean {
    return this.#sendings.some((sending) => {
      const { wanted, body } = sending;
      const story = this.#ledger.stories.get(wanted.key);
      if (wanted.given !== key || JSON.stringify(body) !== value || story === undefined) return false;
      return story.starts > 1 || !this.#ledger.isBegunBy(story, this.#bodyOfSending(sending));
    });
  }

  /** Each that was accepted is worked as it was sent, and each other body under its key is a dead letter. */
  check(): void {
    for (const { key } of this.wanted) {
      const { starts = 0 } = this.#ledger.stories.get(key) ?? {};
      const sent = this.#sendings.filter(({ wanted }) => wanted.key === key).length;
      this.#ledger.demand(
        "I5",
        starts <= sent,
        () => `${key} is begun ${starts} times, and was sent ${sent} times`,
      );
    }
    for (const sending of this.#sendings) {
      const { wanted } = sending;
      const story = this.#ledger.stories.get(wanted.key);
      if (wanted.given === "" || story === undefined || story.starts > 1 || story.purged) continue;
      this.#checkSending(sending, story);
    }
  }

  #checkSending(sending: Sending, story: Story): void {
    const ledger = this.#ledger;
    const { wanted, refused, accepted, differs } = sending;
    const isBegun = ledger.isBegunBy(story, this.#bodyOfSending(sending));
    if (wanted.plan.by !== "channel" && accepted)
      ledger.demand("I5", isBegun, () => `${wanted.key} was accepted, and is another request`);
    if (wanted.plan.by === "channel" && accepted && !isBegun && !ledger.lost.has(wanted.key))
      ledger.demand(
        "dead-letter",
        ledger.letters.some((letter) => [wanted.key, wanted.given].includes(requestOf(letter))),
        () => `another body came for ${wanted.key}, and is no dead letter`,
      );
    if (refused === "WW_KEY_REUSED")
      ledger.demand("I5", !isBegun, () => `${wanted.key} was refused as another request, and is the same`);
    if (!differs && wanted.plan.body !== "sound" && wanted.plan.by === "channel") {
      const code = story.answer?.kind === "error" ? story.answer.code : story.answer?.kind;
      ledger.demand("replies", code === "invalid-request", () => `${wanted.key} is answered with ${code}`);
    }
  }

  /** Those that have come to their end. */
  ended(): readonly EndedRequest[] {
    return this.wanted.flatMap(({ key, hub }): EndedRequest[] => {
      const story = this.#ledger.stories.get(key);
      const [started] = story?.events ?? [];
      if (story?.answer === undefined || story.starts > 1) return [];
      if (started?.type !== "started" && started?.type !== "accepted") return [];
      if (started.hub !== hub.name) return [];
      return [{ key, hub: hub.name, request: started.request, answer: story.answer, history: story.events }];
    });
  }
}
