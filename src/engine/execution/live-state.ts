import type { Graph } from '../../core/definition/graph.ts';
import { freshProgress } from '../../core/execution/plan.ts';
import type { Progress } from '../../core/execution/plan.ts';
import { eventFields } from '../../core/task-error.ts';
import type { NewExecution } from '../../store/transition.ts';
import type { AttemptEnd } from './attempt.ts';
import { Outputs } from './outputs.ts';
import { TransitionDraft } from './draft.ts';
import { ended, idle, isBusy } from './phase.ts';
import type { Phase } from './phase.ts';
import type { OfferBudget } from '../sharing/offer-budget.ts';
import type { SlotRequest, Slots } from '../slots.ts';
import { coalesced } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** The parts of an execution's row that its owner keeps in memory. */
export interface Head {
  readonly id: string;
  readonly tenant: string;
  readonly epoch: number;
  readonly priority: number;
  readonly schedule: NewExecution['schedule'];
  readonly rootId: string;
  readonly depth: number;
  readonly limitKey: string | null;
  readonly parent: NewExecution['parent'];
  input: string;
  inputParsed: boolean;
  crashCount: number;
}

/** Copies a head, so that the row it comes from is not kept in memory. */
export function headOf(row: Head): Head {
  const { id, tenant, epoch, priority, schedule, rootId, depth, limitKey, parent, input, inputParsed, crashCount } =
    row;
  return { id, tenant, epoch, priority, schedule, rootId, depth, limitKey, parent, input, inputParsed, crashCount };
}

/** A map that has its items. */
export interface MapRun {
  readonly run: TaskRun;
  readonly items: readonly TaskRun[];
  /** The items are durable, and may begin. */
  durable: boolean;
  /** The place of the next item to look at. */
  next: number;
  /** Items before that place that may begin again. */
  readonly again: TaskRun[];
  /** The number of items with an attempt under way, or that wait for a slot. */
  active: number;
  /** The number of items that have not ended. */
  open: number;
  /** The first item that failed for good, unless the map is settled. */
  failed: TaskRun | null;
}

export interface Sealed {
  readonly run: TaskRun;
  /** Resolves once the outcome is known. */
  readonly over: Promise<void>;
  readonly open: () => void;
  /** The end of its attempt, if that came before the outcome; it counts only if the transaction was not written. */
  late: AttemptEnd | undefined;
}

/** The parts of a runner that a phase can hold something of. */
interface PhaseHost {
  readonly slots: Slots;
  readonly offers: OfferBudget;
}

interface StateOwner {
  /** A function that moves the execution has thrown. */
  threw(cause: unknown): void;
  /** There may be something to write, or the execution may have come to rest. */
  changed(): void;
}

/** The state of a live execution: its tasks, and its life as a whole. */
export class LiveState {
  readonly head: Head;
  readonly graph: Graph;
  /** By the place of the task in the graph; undefined until something happens to the task. */
  readonly runs: (TaskRun | undefined)[] = [];
  /** The maps that run, by their place in the graph; undefined until there is one. */
  maps: Map<number, MapRun> | undefined;
  readonly outputs: Outputs;
  progress: Progress;
  #draft = new TransitionDraft();
  /** The number of tasks in a busy phase, and of questions of the execution itself. */
  #busy = 0;
  /** Nothing begins: the execution is about to be handed back, or paused. */
  holding: 'release' | 'pause' | null = null;
  /** The task whose end is being written by a transaction of its own. Transitions wait for its outcome. */
  sealed: Sealed | undefined;
  /** Another runner may own the execution. */
  gone = false;
  readonly #host: PhaseHost;
  readonly #owner: StateOwner;

  constructor(head: Head, graph: Graph, host: PhaseHost, owner: StateOwner) {
    this.#host = host;
    this.#owner = owner;
    this.head = head;
    this.graph = graph;
    this.progress = freshProgress(graph);
    this.outputs = new Outputs(graph);
  }

  get id(): string {
    return this.head.id;
  }

  /** Nothing may begin here. */
  get still(): boolean {
    return this.gone || this.holding !== null;
  }

  /** Nothing is under way for this execution, and no function waits for a commit. */
  get isAtRest(): boolean {
    return this.#busy === 0 && this.#draft.after.length === 0;
  }

  /** The changes that the next transition will write. Each use marks the execution for the journal. */
  get draft(): TransitionDraft {
    this.#owner.changed();
    return this.#draft;
  }

  /** There is nothing to write, and no function waits for a commit. */
  get isWritten(): boolean {
    return this.#draft.isEmpty;
  }

  /** Hands the changes so far over to a transition. */
  takeDraft(): TransitionDraft {
    const draft = this.#draft;
    this.#draft = new TransitionDraft();
    return draft;
  }

  /** Calls a function once all changes so far are durable. */
  after(then: () => void): void {
    this.draft.after.push(then);
  }

  /**
   * Moves a task or an item into a phase. The only writer of `TaskRun.phase`: it gives back what only the old phase
   * held, keeps count of busy tasks, and marks the execution for the journal.
   */
  move(run: TaskRun, phase: Phase): void {
    const old = run.phase;
    if (old === phase) return;
    const writable: { phase: Phase } = run;
    writable.phase = phase;
    this.#busy += Number(isBusy(phase)) - Number(isBusy(old));
    // the end of a timer alone changes nothing that is written
    if (old.is !== 'waiting') this.#owner.changed();
    exchange(run, old, this.#host);
  }

  /**
   * Asks user code or the database on behalf of a task, which is in the phase `asking` until the answer. `then` follows in the
   * same turn: nothing else can begin with the task in between.
   */
  async asking<T, R>(run: TaskRun, ask: () => Promise<T>, then: (answer: T) => R): Promise<R> {
    const phase: Phase = { is: 'asking' };
    this.move(run, phase);
    let answer: T;
    try {
      answer = await ask();
    } finally {
      if (run.phase === phase) this.move(run, idle);
    }
    return then(answer);
  }

  /** Asks a question on behalf of the execution itself. */
  async busyWith<T>(ask: () => Promise<T>): Promise<T> {
    this.#busy++;
    try {
      return await ask();
    } finally {
      this.#busy--;
      this.#owner.changed();
    }
  }

  /** The transaction of a task has its outcome: transitions may go on. */
  unseal(): void {
    this.sealed?.open();
    this.sealed = undefined;
    this.#owner.changed();
  }

  /** Calls a function that moves the execution. An exception fails this execution; the journal and the process go on. */
  guard(act: () => void): void {
    try {
      act();
    } catch (cause) {
      this.#owner.threw(cause);
    }
  }

  /** The same for an asynchronous function. No caller awaits it. */
  watch(moving: Promise<void>): void {
    moving.catch((cause: unknown) => this.#owner.threw(cause));
  }

  /** Every task with a state of its own, and every item of the maps that run. */
  *allRuns(): Generator<TaskRun, void, undefined> {
    for (const run of this.runs) if (run !== undefined) yield run;
    if (this.maps === undefined) return;
    for (const { items } of this.maps.values()) yield* items;
  }

  /**
   * Records that a task or an item has ended as its status says. A task that is in the phase `ended` before has its end
   * written already, by a transaction of its own.
   */
  recordEnd(run: TaskRun, now: number): void {
    const { status } = run;
    if (this.head.crashCount > 0 && (status === 'completed' || status === 'failed')) {
      this.head.crashCount = 0;
      this.draft.progressed = true;
    }
    if (run.phase === ended) return;
    this.move(run, ended);
    run.endedAt = now;
    run.wakeAt = null;
    const started = coalesced(run);
    const why = run.error === null ? null : eventFields(run.error);
    const skip = status === 'skipped' ? { reason: run.reason, cause: run.cause } : null;
    const data = started === null && why === null && skip === null ? null : { ...started, ...why, ...skip };
    if (status === 'completed' || status === 'failed' || status === 'skipped' || status === 'cancelled') {
      this.draft.event(`task.${status}`, now, run, data);
    }
    this.draft.task(run);
  }
}

/** Gives back what only the old phase of a task holds, and counts a new offer. `run` is in its new phase already. */
function exchange(run: TaskRun, old: Phase, { slots, offers }: PhaseHost): void {
  const { phase: next } = run;
  if (next.is === 'offered' && old.is !== 'offered') offers.opened(next.offer.row.queue);
  switch (old.is) {
    case 'queued':
      offers.leave(run);
      cancel(old.request, next);
      if (endTurnOf(next) !== old.endTurn) old.endTurn?.();
      return;
    case 'offered': {
      const { offer, request, hasSlot } = old;
      cancel(request, next);
      if (next.is !== 'offered') offers.over(offer.row.queue, offer.taken);
      if (hasSlot && !hasSlotIn(next)) slots.release();
      return;
    }
    case 'starting':
      if (hasSlotIn(next)) return;
      old.endTurn?.();
      slots.release();
      return;
    case 'waiting':
      old.timer.cancel();
      return;
    default:
  }
}

function cancel(request: SlotRequest | undefined, next: Phase): void {
  const isKept = (next.is === 'queued' || next.is === 'offered') && next.request === request;
  if (request !== undefined && !isKept) request.cancelled = true;
}

function endTurnOf(phase: Phase): (() => void) | undefined {
  return phase.is === 'queued' || phase.is === 'starting' ? phase.endTurn : undefined;
}

function hasSlotIn(phase: Phase): boolean {
  return phase.is === 'starting' || phase.is === 'running' || (phase.is === 'offered' && phase.hasSlot);
}
