import type { Books } from "./books.ts";
import { takeDue } from "./concerns.ts";
import { closePlan, commit, marksOf, plan, rebase, recall, settle, undo } from "./flow-operations.ts";
import type { Segment } from "./model.ts";
import { changeLink, note, type LinkChange } from "./network-events.ts";
import {
  isSuperseded,
  NetworkEvent,
  type Abandoned,
  type Avoid,
  type BookMark,
  type DueFlows,
  type FlowFilter,
  type FlowMarks,
  type FlowStore,
  type Guard,
  type Intent,
  type Pace,
  type Plan,
  type Recalled,
  type Refusal,
  type StoreAge,
  type StoredFlow,
  type StoredLink,
  type StoredSwitch,
} from "./store.ts";
import { promiseLook, takeFreed } from "./waiting.ts";

/**
 * What all stores of flows do alike: everything is decided on the books, and the store says how they are read and how what has changed in
 * them is written.
 */
export abstract class BookedFlowStore implements FlowStore {
  plan(flowId: string, guard: Guard, intent: Intent, avoid: Avoid): Promise<Plan | Abandoned | Refusal> {
    return this.write((books, now) => plan({ books, flowId, guard, now }, intent, avoid), flowId);
  }

  closePlan(flowId: string, guard: Guard): Promise<"done" | Refusal> {
    return this.write((books, now) => closePlan({ books, flowId, guard, now }), flowId);
  }

  commit(
    flowId: string,
    guard: Guard,
    settles: { readonly info: string | null } | null,
  ): Promise<"done" | Refusal> {
    return this.write((books, now) => commit({ books, flowId, guard, now }, settles), flowId);
  }

  recall(flowId: string, guard: Guard): Promise<Recalled | Refusal> {
    return this.write((books, now) => recall({ books, flowId, guard, now }), flowId);
  }

  settle(flowId: string, guard: Guard, info: string | null): Promise<"done" | Refusal> {
    return this.write((books, now) => settle({ books, flowId, guard, now }, info), flowId);
  }

  undo(flowId: string, guard: Guard, info: string | null): Promise<"done" | Refusal> {
    return this.write((books, now) => undo({ books, flowId, guard, now }, info), flowId);
  }

  flow(flowId: string): Promise<StoredFlow | undefined> {
    return this.read((books) => books.flow(flowId));
  }

  flows(filter: FlowFilter): Promise<readonly StoredFlow[]> {
    return this.read((books) => books.flows(filter));
  }

  counts(): Promise<Readonly<Record<StoredFlow["status"], number>>> {
    return this.read((books) => books.counts());
  }

  async note(event: NetworkEvent): Promise<readonly string[]> {
    const checked = NetworkEvent.parse(event);
    // One that was frozen, and has lost the switches meanwhile, takes its broken connections for switches that are gone.
    if (checked.by !== undefined && isSuperseded(checked.by, await this.lastBook())) return [];
    return this.write((books, now) => note(books, checked, now));
  }

  takeDue(pace: Pace): Promise<DueFlows> {
    return this.write((books, now) => {
      const due = takeDue(books, pace, now);
      const { flows: freed, nextInMs } = takeFreed(books, pace, now);
      const times = [due.nextInMs, nextInMs].filter((time) => time !== null);
      return {
        flows: due.flows,
        freed: [...freed],
        nextInMs: times.length === 0 ? null : Math.min(...times),
      };
    });
  }

  promiseLook(by: string): boolean {
    return this.known((books, now) => promiseLook(books, by, now));
  }

  switches(): Promise<readonly StoredSwitch[]> {
    return this.read((books) => books.switches());
  }

  links(): Promise<readonly StoredLink[]> {
    return this.read((books) => books.links());
  }

  changeLink(link: Segment, change: LinkChange): Promise<boolean | Refusal> {
    return this.write((books) => changeLink(books, link, change));
  }

  age(): Promise<StoreAge> {
    return this.read(({ counters: { version, nextPath } }) => ({ lastPlan: version, nextPath }));
  }

  /** What is stored of the past of the store, and of what flows need. */
  marks(): Promise<FlowMarks> {
    return this.read(marksOf);
  }

  /**
   * For what starts anew beside this store: no plan that is not committed comes true any more, so that its run goes back, and versions and
   * paths have numbers from `least` on.
   */
  rebase(least: StoreAge): Promise<FlowMarks> {
    return this.write((books, now) => rebase(books, now, least));
  }

  /** The book of rules that was opened last beside this store; undefined: there was none. */
  abstract lastBook(): Promise<BookMark | undefined>;
  abstract noteBook(mark: BookMark): Promise<void>;
  abstract audit(): Promise<readonly string[]>;
  abstract close(): Promise<void>;
  /** Reads the books as they are now. */
  protected abstract read<T>(read: (books: Books) => T): Promise<T>;
  /** Looks into the books as this process knows them. */
  protected abstract known<T>(look: (books: Books, now: number) => T): T;
  /** Changes the books in a transaction. `flowId`: the flow whose guard is needed, also if the flow is gone. */
  protected abstract write<T>(work: (books: Books, now: number) => T, flowId?: string): Promise<T>;
}
