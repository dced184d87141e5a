import type { Graph } from '../core/graph.ts';
import { freshProgress } from '../core/plan.ts';
import type { Progress } from '../core/plan.ts';
import type { NewExecution } from '../store/batch.ts';
import { Outputs } from './outputs.ts';
import { Pending } from './pending.ts';
import type { TaskRun } from './task-run.ts';

/** An execution as its owner keeps it. */
export interface Head {
  readonly id: string;
  readonly tenant: string;
  readonly epoch: number;
  readonly priority: number;
  readonly schedule: NewExecution['schedule'];
  input: string;
  inputParsed: boolean;
  losses: number;
}

/** What a live execution knows, shared by the two halves that move it: its tasks, and its life as a whole. */
export class LiveState {
  readonly head: Head;
  readonly graph: Graph;
  /** By the place of the task in the graph; undefined where nothing has happened to it. */
  readonly runs: (TaskRun | undefined)[] = [];
  readonly outputs: Outputs;
  progress: Progress;
  pending: Pending = new Pending();
  /** Attempts, questions and parsing under way. */
  busy = 0;
  /** It is being handed back: nothing begins any more. */
  releasing = false;
  /** It is not owned here any more. */
  gone = false;

  constructor(head: Head, graph: Graph) {
    this.head = head;
    this.graph = graph;
    this.progress = freshProgress(graph);
    this.outputs = new Outputs(graph);
  }

  get id(): string {
    return this.head.id;
  }

  /** Does something once all changes so far are durable. */
  after(then: () => void): void {
    this.pending.after.push(then);
  }
}
