import { randomUUID } from "node:crypto";
import * as z from "zod";
import { systemClock, type Bus, type Clock, type Message } from "wheelwork";
import { SpeakerAnswer, SpeakerCommand, type Speaker } from "../controller/speaker.ts";
import { BookMark, isSuperseded, NetworkEvent, subjectOf } from "../controller/store.ts";

/** The topics between the workers of flows and the switch controller. */
export interface SpeakerTopics {
  /** To the switch controller: commands. */
  readonly speakerCommands: string;
  /** From it: what came of them, under the same keys. */
  readonly speakerAnswers: string;
  /** From it: what happens in the network. It has one partition, so that events keep their order. */
  readonly networkEvents: string;
  /** To it: what has come of these events. */
  readonly eventAnswers: string;
}

/** Topics whose names begin with a prefix. Each flow-crud on Kafka needs its own ones. */
export const speakerTopics = (prefix = ""): SpeakerTopics => ({
  speakerCommands: `${prefix}worker-to-speaker`,
  speakerAnswers: `${prefix}speaker-to-worker`,
  networkEvents: `${prefix}speaker-to-hub`,
  eventAnswers: `${prefix}hub-to-speaker`,
});

/** The message of a command. The answer has the same key. */
export const commandMessage = (key: string, command: SpeakerCommand): Message => ({
  key,
  value: JSON.stringify(command),
});

/** The message of an answer to the command with this key, and who gives it. */
const answerMessage = (key: string, answer: SpeakerAnswer, by: BookMark | undefined): Message => ({
  key,
  value: JSON.stringify(by === undefined ? answer : { ...answer, by }),
});

const Answered = z.object({ by: BookMark.optional() });

/** The message of an event. Each has a key of its own: a hub takes a message once, also if it comes again. */
const eventMessage = (event: NetworkEvent): Message => ({
  key: `${subjectOf(event)} ${randomUUID()}`,
  value: JSON.stringify(event),
});

/** What a message says; undefined: it is none of its kind. */
const readCommand = (message: Message): SpeakerCommand | undefined => read(SpeakerCommand, message);
export const readAnswer = (message: Message): SpeakerAnswer | undefined => read(SpeakerAnswer, message);
export const readEvent = (message: Message): NetworkEvent | undefined => read(NetworkEvent, message);

interface Schema<T> {
  safeParse(value: unknown): { readonly success: boolean; readonly data?: T | undefined };
}

function read<T>(schema: Schema<T>, { value }: Message): T | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(value);
  } catch {
    return undefined;
  }
  return schema.safeParse(parsed).data;
}

/** What a service of a speaker is made with. */
export interface SpeakerServiceOptions {
  readonly bus: Bus;
  readonly speaker: Speaker;
  /** Default: those without a prefix. */
  readonly topics?: SpeakerTopics;
  /** The book of the speaker, as it was opened: it is in all that is said. Without it, nobody asks whose it is. */
  readonly by?: BookMark;
  /** Called for messages that are no commands, and for what could not be done or answered. */
  readonly onProblem?: (problem: string) => void;
}

/**
 * A speaker on a bus: it takes commands, has them executed, and answers. A command may come twice, or late: the speaker knows its number.
 * Where nobody knows what has come of a command, there is no answer, and it is given again.
 */
export class SpeakerService {
  readonly #bus: Bus;
  readonly #speaker: Speaker;
  readonly #topics: SpeakerTopics;
  readonly #by: BookMark | undefined;
  readonly #onProblem: (problem: string) => void;
  readonly #unsubscribe: () => void;
  /** Commands that are being executed, by key and text: one that comes again meanwhile has the same answer. */
  readonly #running = new Map<string, Promise<void>>();
  #isClosed = false;

  constructor(options: SpeakerServiceOptions) {
    this.#bus = options.bus;
    this.#speaker = options.speaker;
    this.#topics = options.topics ?? speakerTopics();
    this.#by = options.by;
    this.#onProblem = options.onProblem ?? (() => {});
    this.#unsubscribe = this.#bus.subscribe(this.#topics.speakerCommands, (message) => this.#take(message));
  }

  /** Tells the hubs what has happened in the network: the `onEvent` of a discovery. */
  async tell(event: NetworkEvent): Promise<void> {
    const told = this.#by === undefined ? event : { ...event, by: this.#by };
    await this.#bus.publish(this.#topics.networkEvents, eventMessage(told));
  }

  /** Takes no more commands, and waits for those that are being executed. It does not end the speaker. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#unsubscribe();
    await Promise.all(this.#running.values());
  }

  #take(message: Message): void {
    const command = readCommand(message);
    if (command === undefined)
      return this.#onProblem(`not a command: ${message.key} ${message.value}`.slice(0, 300));
    const name = `${message.key} ${message.value}`;
    if (this.#running.has(name)) return;
    const running = this.#execute(message.key, command).finally(() => this.#running.delete(name));
    this.#running.set(name, running);
  }

  async #execute(key: string, command: SpeakerCommand): Promise<void> {
    try {
      const answer = await this.#speaker.execute(command);
      if (answer !== undefined)
        await this.#bus.publish(this.#topics.speakerAnswers, answerMessage(key, answer, this.#by));
    } catch (error) {
      this.#onProblem(`${command.command} ${key} could not be done or answered: ${String(error)}`);
    }
  }
}

/** What a remote speaker is made with. */
export interface RemoteSpeakerOptions {
  readonly bus: Bus;
  /** Default: those without a prefix. */
  readonly topics?: SpeakerTopics;
  /**
   * The book of rules that was opened last. What the owner of another one says counts no more: it has lost the switches, and may not know it.
   * Default: whoever answers is believed.
   */
  readonly lastBook?: () => Promise<BookMark | undefined>;
  /** How long it waits for the answer to a command, in milliseconds. Default 2,800: a little less than the workers of flows have. */
  readonly timeoutMs?: number;
  /** Called for commands that could not be sent, and for answers that are none. */
  readonly onProblem?: (problem: string) => void;
  /** For tests: the clock. */
  readonly clock?: Pick<Clock, "after">;
}

/**
 * A speaker elsewhere, behind a `SpeakerService` on the same bus. Several processes may share the topic of answers: each takes those to its
 * own commands. If no answer comes in time, nobody knows what has come of the command.
 */
export class RemoteSpeaker implements Pick<Speaker, "execute"> {
  readonly #options: RemoteSpeakerOptions;
  readonly #topics: SpeakerTopics;
  /** What takes the answer to a command, by its key. */
  readonly #waiting = new Map<string, (answer: SpeakerAnswer | undefined) => void>();
  /** The question for the last book that is under way, and the one that comes after it. */
  #asking: Promise<BookMark | undefined> | undefined;
  #nextAsking: Promise<BookMark | undefined> | undefined;
  /** It listens from its first command on: a process that gives none needs no connection. */
  #unsubscribe: (() => void) | undefined;
  #isClosed = false;

  constructor(options: RemoteSpeakerOptions) {
    this.#options = options;
    this.#topics = options.topics ?? speakerTopics();
  }

  execute(command: SpeakerCommand): Promise<SpeakerAnswer | undefined> {
    if (this.#isClosed) return Promise.resolve(undefined);
    const { bus, clock = systemClock, timeoutMs = 2_800 } = this.#options;
    this.#unsubscribe ??= bus.subscribe(this.#topics.speakerAnswers, (message) => this.#take(message));
    const key = randomUUID();
    return new Promise((resolve) => {
      const cancel = clock.after(timeoutMs, () => this.#waiting.get(key)?.(undefined));
      this.#waiting.set(key, (answer) => {
        this.#waiting.delete(key);
        cancel();
        resolve(answer);
      });
      void this.#send(key, command);
    });
  }

  /** Waits for no answer any more. */
  close(): void {
    this.#isClosed = true;
    this.#unsubscribe?.();
    for (const end of this.#waiting.values()) end(undefined);
  }

  async #send(key: string, command: SpeakerCommand): Promise<void> {
    try {
      await this.#options.bus.publish(this.#topics.speakerCommands, commandMessage(key, command));
    } catch (error) {
      // It may have arrived all the same: nobody knows.
      this.#options.onProblem?.(`${command.command} ${key} could not be sent: ${String(error)}`);
      this.#waiting.get(key)?.(undefined);
    }
  }

  #take(message: Message): void {
    const end = this.#waiting.get(message.key);
    if (end === undefined) return;
    const answer = readAnswer(message);
    if (answer === undefined) {
      this.#options.onProblem?.(`not an answer: ${message.key} ${message.value}`.slice(0, 300));
      return end(undefined);
    }
    const by = read(Answered, message)?.by;
    if (by === undefined || this.#options.lastBook === undefined) return end(answer);
    this.#isOfOwner(by).then(
      (isOfOwner) => {
        // That of the owner may come yet.
        if (isOfOwner) this.#waiting.get(message.key)?.(answer);
        else
          this.#options.onProblem?.(
            `an answer of a switch controller that has lost its switches: ${message.key}`,
          );
      },
      (error: unknown) => {
        this.#options.onProblem?.(`nobody knows whose answer ${message.key} is: ${String(error)}`);
      },
    );
  }

  /** Asks after the answer has come, so that it is known to be older. Those that come meanwhile are asked about together. */
  async #isOfOwner(by: BookMark): Promise<boolean> {
    const { lastBook = () => Promise.resolve(undefined) } = this.#options;
    const before = this.#asking;
    this.#nextAsking ??= (async () => {
      await before?.catch(() => {});
      this.#asking = this.#nextAsking;
      this.#nextAsking = undefined;
      return lastBook();
    })();
    return !isSuperseded(by, await this.#nextAsking);
  }
}
