import type { Graph } from '../../core/definition/graph.ts';
import { freshProgress } from '../../core/plan.ts';
import type { Progress } from '../../core/plan.ts';
import type { NewExecution } from '../../store/transition.ts';
import type { AttemptEnd } from './attempt.ts';
import { Outputs } from './outputs.ts';
import { TransitionDraft } from './draft.ts';
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
  draft: TransitionDraft = new TransitionDraft();
  /** Attempts, questions and parsing under way. */
  busy = 0;
  /** Nothing begins any more: it is being handed back, or paused. */
  holding: 'release' | 'pause' | null = null;
  /** The end of this task is being written by a transaction of its own: until its outcome, transitions wait. */
  sealed: Sealed | undefined;
  /** It is not owned here any more. */
  gone = false;
  readonly #owner: { threw(cause: unknown): void };

  /** `owner`: is told that a function that moves the execution has thrown. */
  constructor(head: Head, graph: Graph, owner: { threw(cause: unknown): void }) {
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

  /** Does something once all changes so far are durable. */
  after(then: () => void): void {
    this.draft.after.push(then);
  }

  /** Calls a function that moves the execution. An exception costs this execution, and reaches neither the journal nor the process. */
  guard(act: () => void): void {
    try {
      act();
    } catch (cause) {
      this.#owner.threw(cause);
    }
  }

  /** The same for an asynchronous function, which nobody awaits. */
  watch(moving: Promise<void>): void {
    moving.catch((cause: unknown) => this.#owner.threw(cause));
  }

  /** Every task and every item to which something has happened. */
  *allRuns(): Generator<TaskRun, void, undefined> {
    for (const run of this.runs) if (run !== undefined) yield run;
    if (this.maps === undefined) return;
    for (const { items } of this.maps.values()) yield* items;
  }

  /** Records that a task or an item has ended as its status says. */
  recordEnd(run: TaskRun, now: number): void {
    const { status } = run;
    if (this.head.crashCount > 0 && (status === 'completed' || status === 'failed')) {
      this.head.crashCount = 0;
      this.draft.progressed = true;
    }
    if (run.written) return;
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
