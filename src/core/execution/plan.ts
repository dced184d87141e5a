import type { Skip, TaskStatus } from './states.ts';
import type { SkipReason } from '../definition/definition.ts';
import type { Graph } from '../definition/graph.ts';

/**
 * The progress of one execution, by task index. The effects of a task's end are found from its dependents alone, so a
 * step costs the same in a graph of ten tasks and of ten thousand.
 */
export interface Progress {
  readonly status: TaskStatus[];
  /** Number of needs that have not ended, by task. */
  readonly unmet: Int32Array;
  /** Number of tasks that have not ended. */
  open: number;
  /** Failed tasks in the order of their end; the first unhandled one decides the ending. */
  readonly failed: number[];
}

export interface Follows {
  /** Tasks whose last need has just ended. */
  readonly ready: readonly number[];
  readonly skipped: readonly { readonly task: number; readonly skip: Skip }[];
}

export function freshProgress(graph: Graph): Progress {
  const size = graph.names.length;
  return {
    status: graph.names.map(() => 'pending' as const),
    unmet: graph.needCounts.slice(),
    open: size,
    failed: [],
  };
}

/**
 * Records the end of a task and returns its effects: tasks that became ready, and tasks that are skipped, transitively.
 */
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

/** Rebuilds progress from stored states; `failed` is in the order of their end. */
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

export type Ending =
  | { readonly status: 'completed' }
  | { readonly status: 'failed'; readonly task: number; readonly because: 'task_failed' | 'output_skipped' }
  | { readonly status: 'cancelled' };

/** The result of an execution, once no task is open. */
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
