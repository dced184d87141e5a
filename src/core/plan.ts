import type { Skip, TaskStatus } from './execution.ts';
import type { SkipReason } from './definition/definition.ts';
import type { Graph } from './definition/graph.ts';

/**
 * How far one execution is, by the place of each task in its graph. What follows from a task's end is found from its
 * dependents alone, so a step costs the same in a graph of ten tasks and of ten thousand.
 */
export interface Progress {
  readonly status: TaskStatus[];
  /** Needs that have not ended, by task. */
  readonly unmet: Int32Array;
  /** Tasks that have not ended. */
  open: number;
  /** The first task that failed without being handled yet is looked for among these, in order of their end. */
  readonly failed: number[];
}

export interface Follows {
  /** Tasks whose needs are all met now. */
  readonly ready: readonly number[];
  readonly skipped: readonly { readonly task: number; readonly skip: Skip }[];
}

/** Progress of an execution of which nothing has run. */
export function freshProgress(graph: Graph): Progress {
  const size = graph.names.length;
  return {
    status: graph.names.map(() => 'pending' as const),
    unmet: graph.needCounts.slice(),
    open: size,
    failed: [],
  };
}

/** Records the end of a task and says what follows: who is ready, who is skipped (and what follows from that). */
export function taskEnded(graph: Graph, progress: Progress, task: number, status: TaskStatus): Follows {
  const ready: number[] = [];
  const skipped: { task: number; skip: Skip }[] = [];
  close(progress, task, status);
  const ended = [task];
  for (const at of ended) {
    const reason = skipReason(progress.status[at]!);
    for (const dependent of graph.dependents[at]!) {
      progress.unmet[dependent.task]!--;
      if (progress.status[dependent.task] !== 'pending') continue;
      if (reason !== null && dependent.plain) {
        close(progress, dependent.task, 'skipped');
        skipped.push({ task: dependent.task, skip: { reason, cause: graph.names[at]! } });
        ended.push(dependent.task);
      } else if (progress.unmet[dependent.task] === 0) {
        ready.push(dependent.task);
      }
    }
  }
  return { ready, skipped };
}

function close(progress: Progress, task: number, status: TaskStatus): void {
  progress.status[task] = status;
  progress.open--;
  if (status === 'failed') progress.failed.push(task);
}

function skipReason(status: TaskStatus): SkipReason | null {
  if (status === 'failed') return 'need_failed';
  if (status === 'skipped') return 'need_skipped';
  return status === 'cancelled' ? 'need_cancelled' : null;
}

/** Builds progress from stored states, in the order of definition; `failed` in the order of their end. */
export function restoreProgress(
  graph: Graph,
  stored: ReadonlyMap<number, TaskStatus>,
  failed: readonly number[],
): Progress {
  const progress = freshProgress(graph);
  for (const [task, status] of stored) {
    progress.status[task] = status;
    if (!endedStates.has(status)) continue;
    progress.open--;
    for (const dependent of graph.dependents[task]!) progress.unmet[dependent.task]!--;
  }
  progress.failed.push(...failed);
  return progress;
}

const endedStates: ReadonlySet<TaskStatus> = new Set(['completed', 'failed', 'skipped', 'cancelled']);

/** How an execution ends, once no task is open. */
export type Ending =
  | { readonly status: 'completed' }
  | { readonly status: 'failed'; readonly task: number; readonly because: 'task_failed' | 'output_skipped' }
  | { readonly status: 'cancelled' };

/**
 * An execution fails when a failed task was not handled: no completed task took it as a settled need, and it is not
 * returned as settled. A plain output task that did not complete fails it, handled or not.
 */
export function endingOf(graph: Graph, progress: Progress, cancelled: boolean): Ending {
  if (cancelled) return { status: 'cancelled' };
  const output = graph.spec.output;
  const returned = output === null ? -1 : graph.indexOf.get(output.task)!;
  const unhandled = progress.failed.find((task) => {
    if (task === returned) return output?.settled !== true;
    return !graph.dependents[task]!.some((by) => by.settled && progress.status[by.task] === 'completed');
  });
  if (unhandled !== undefined) return { status: 'failed', task: unhandled, because: 'task_failed' };
  if (output !== null && !output.settled && progress.status[returned] !== 'completed') {
    return { status: 'failed', task: returned, because: 'output_skipped' };
  }
  return { status: 'completed' };
}
