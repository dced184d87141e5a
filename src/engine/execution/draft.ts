import type { EventType } from '../../core/execution/event.ts';
import type {
  Effects,
  ExecutionRelease,
  NewEvent,
  NewExecution,
  NewLog,
  NewOffer,
  NewStep,
  Transition,
} from '../../store/transition.ts';
import { taskState } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

export interface DraftEvent {
  readonly type: EventType;
  readonly at: number;
  readonly run: TaskRun | null;
  readonly data: object | null;
  dropped: boolean;
}

/** The release of an execution. Its event gets its number when the transition is put together. */
export type DraftRelease = Omit<ExecutionRelease, 'events' | 'inboxSeen'> & { readonly event: DraftEvent };

type Writable<T> = { [K in keyof T]: T[K] extends readonly (infer E)[] ? E[] : T[K] };
export type DraftEffects = Writable<Effects>;

/** The changes of one execution since its last transition. Tasks are written in their state at the next one. */
export class TransitionDraft {
  create: NewExecution | null = null;
  progressed = false;
  parsedInput: string | null = null;
  loadAttempts: number | null = null;
  inboxAcked: number | null = null;
  #effects: DraftEffects | null = null;
  release: DraftRelease | null = null;
  readonly #tasks = new Set<TaskRun>();
  readonly #steps: NewStep[] = [];
  readonly #logs: NewLog[] = [];
  readonly #events: DraftEvent[] = [];
  /** Functions that are called, in order, once all of this is durable. */
  readonly after: (() => void)[] = [];

  /** There is nothing to write, and no function to call afterwards. */
  get isEmpty(): boolean {
    const head =
      this.create ?? this.parsedInput ?? this.loadAttempts ?? this.inboxAcked ?? this.release ?? this.#effects;
    const rows = this.#tasks.size + this.#steps.length + this.#logs.length + this.#events.length;
    return head === null && !this.progressed && rows + this.after.length === 0;
  }

  /** Effects that few transitions have; created by the first access. */
  get effects(): DraftEffects {
    return (this.#effects ??= {
      messagesDone: [],
      children: [],
      cancelChildren: [],
      itemsCancelled: [],
      itemsDropped: [],
      offers: [],
      offersWithdrawn: [],
      offersEnded: [],
    });
  }

  task(run: TaskRun): void {
    this.#tasks.add(run);
  }

  /** The tasks and items to write. */
  get runs(): Iterable<TaskRun> {
    return this.#tasks;
  }

  /** Removes the items of a map from the changes. */
  withdrawItems(index: number): void {
    for (const run of this.#tasks) if (run.index === index && run.item !== -1) this.#tasks.delete(run);
  }

  /** Removes an offer that is not on its way to the database yet; false if it is. */
  withdrawOffer(offer: NewOffer): boolean {
    const at = this.#effects?.offers.indexOf(offer) ?? -1;
    if (at >= 0) this.#effects!.offers.splice(at, 1);
    return at >= 0;
  }

  step(step: NewStep): void {
    this.#steps.push(step);
  }

  log(log: NewLog): void {
    this.#logs.push(log);
  }

  event(type: EventType, at: number, run: TaskRun | null = null, data: object | null = null): DraftEvent {
    const event = { type, at, run, data, dropped: false };
    this.#events.push(event);
    return event;
  }

  /** Restores events of a transition that was refused, before all others. */
  restore(events: readonly NewEvent[]): void {
    this.#events.unshift(...events.map(({ type, at }) => ({ type, at, run: null, data: null, dropped: false })));
  }

  /** The transition. Its events are numbered from `seq` + 1. */
  transition(id: string, epoch: number, seq: number, inboxSeen: number): Transition {
    const events: NewEvent[] = [];
    for (const event of this.#events) if (!event.dropped) events.push(newEvent(event, ++seq));
    // the events of these starts are on their way: they cannot be dropped later
    for (const run of this.#tasks) run.startEvent = undefined;
    return {
      id,
      epoch,
      create: this.create,
      tasks: Array.from(this.#tasks, taskState),
      steps: this.#steps,
      logs: this.#logs,
      events,
      progressed: this.progressed,
      parsedInput: this.parsedInput,
      loadAttempts: this.loadAttempts,
      inboxAcked: this.inboxAcked,
      effects: this.#effects,
      release: this.release === null ? null : releaseOf(this.release, inboxSeen, seq + 1),
    };
  }
}

function releaseOf({ event, ...change }: DraftRelease, inboxSeen: number, seq: number): ExecutionRelease {
  return { ...change, inboxSeen, events: [newEvent(event, seq)] };
}

function newEvent({ type, at, run, data }: DraftEvent, seq: number): NewEvent {
  const attempt = run === null || run.attempt === 0 ? null : run.attempt;
  const item = run === null || run.item === -1 ? null : run.item;
  const text = data === null ? null : JSON.stringify(data);
  return { seq, type, at, task: run?.spec.name ?? null, item, attempt, data: text };
}
