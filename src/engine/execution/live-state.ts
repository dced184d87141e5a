import type { Graph } from '../../core/definition/graph.ts';
import { freshProgress } from '../../core/plan.ts';
import type { Progress } from '../../core/plan.ts';
import type { NewExecution } from '../../store/transition.ts';
import type { AttemptEnd } from './attempt.ts';
import { Outputs } from './outputs.ts';
import { TransitionDraft } from './draft.ts';
import { ended, exchange, idle, isBusy } from './phase.ts';
import type { Phase, PhaseHost } from './phase.ts';
import { coalesced } from './task-run.ts';
import type { TaskRun } from './task-run.ts';

/** An execution as its owner keeps it. */
export interface Head {
  readonly id: string;
  readonly tenant: string;
  readonly epoch: number;
  readonly priority: number;
  readonly schedule: NewExecution['schedule'];
  readonly rootId: string;
  readonly parent: NewExecution['parent'];
  input: string;
  inputParsed: boolean;
  crashCount: number;
}

/** A map that has its items: they run, wait, or have ended. */
export interface MapRun {
  readonly run: TaskRun;
  readonly items: readonly TaskRun[];
  /** The items count, and may begin. */
  durable: boolean;
  /** The first item that has not been looked at yet. */
  next: number;
  /** Items that were looked at and are to begin again. */
  readonly again: TaskRun[];
  /** Items that have a slot or ask for one. */
  active: number;
  /** Items that have not ended. */
  open: number;
  /** The first item that failed for good, where that fails the map. */
  failed: TaskRun | null;
}

export interface Sealed {
  readonly run: TaskRun;
  /** Resolves with the outcome, whatever that is. */
  readonly over: Promise<void>;
  readonly open: () => void;
  /** How its attempt has ended meanwhile: the outcome decides whether that counts. */
  late: AttemptEnd | undefined;
}

interface StateOwner {
  /** A function that moves the execution has thrown. */
  threw(cause: unknown): void;
  /** There may be something to write, or the execution may have come to rest. */
  changed(): void;
}

/** What a live execution knows, shared by those that move it: its tasks, and its life as a whole. */
export class LiveState {
  readonly head: Head;
  readonly graph: Graph;
  /** By the place of the task in the graph; undefined where nothing has happened to it. */
  readonly runs: (TaskRun | undefined)[] = [];
  /** The maps that run, by their place in the graph; made when there is one. */
  maps: Map<number, MapRun> | undefined;
  readonly outputs: Outputs;
  progress: Progress;
  #draft = new TransitionDraft();
  /** Attempts, questions and parsing under way. */
  #busy = 0;
  /** Nothing begins any more: it is being handed back, or paused. */
  holding: 'release' | 'pause' | null = null;
  /** The end of this task is being written by a transaction of its own: until its outcome, transitions wait. */
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

  /** Whether nothing may begin here. */
  get still(): boolean {
    return this.gone || this.holding !== null;
  }

  /** Nothing of this execution runs in this process or is waited for. */
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

  /** Asks user code or the database on behalf of a task, which is in the phase `asking` until the answer. */
  async asking<T>(run: TaskRun, ask: () => Promise<T>): Promise<T> {
    const phase: Phase = { is: 'asking' };
    this.move(run, phase);
    try {
      return await ask();
    } finally {
      if (run.phase === phase) this.move(run, idle);
    }
  }

  /** Does the same on behalf of the execution itself. */
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

  /** Every task and every item to which something has happened. */
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
    const why = run.error === null ? null : { code: run.error.code, message: run.error.message };
    const skip = status === 'skipped' ? { reason: run.reason, cause: run.cause } : null;
    const data = started === null && why === null && skip === null ? null : { ...started, ...why, ...skip };
    if (status === 'completed' || status === 'failed' || status === 'skipped' || status === 'cancelled') {
      this.draft.event(`task.${status}`, now, run, data);
    }
    this.draft.task(run);
  }
}
