import { isTaskEnded } from '../../core/execution/states.ts';
import type { TaskStatus } from '../../core/execution/states.ts';
import type { SkipReason } from '../../core/definition/definition.ts';
import type { TaskSpec } from '../../core/definition/spec.ts';
import { storedValue } from '../../core/json.ts';
import type { TaskError } from '../../core/task-error.ts';
import type { TaskState } from '../../store/transition.ts';
import { ended, idle } from './phase.ts';
import type { Phase } from './phase.ts';

/** One task, or one item of a map, of a live execution: its stored state, and its phase in memory. */
export interface TaskRun {
  readonly index: number;
  readonly spec: TaskSpec;
  /** The place of an item in its map; -1 for a task, and for a map itself. */
  readonly item: number;
  /** The item (JSON text) of an item; else null. */
  readonly value: string | null;
  status: TaskStatus;
  attempt: number;
  chargedAttempts: number;
  epoch: number;
  startedAt: number | null;
  endedAt: number | null;
  wakeAt: number | null;
  output: string | null;
  error: TaskError | null;
  reason: SkipReason | null;
  cause: string | null;
  /** Only `LiveState.move` changes it. */
  readonly phase: Phase;
  /** The task runs alone, begins only after its start is durable, and is charged by that start. */
  isPoisonSuspect: boolean;
  /** How many helpers died with an attempt of the task. */
  helperCrashes: number;
  /** The event of a start that is not on its way to the database yet. */
  startEvent: { dropped: boolean } | undefined;
  logLines: number;
}

export function newTaskRun(index: number, spec: TaskSpec): TaskRun {
  return {
    index,
    spec,
    item: -1,
    value: null,
    status: 'pending',
    attempt: 0,
    chargedAttempts: 0,
    epoch: 0,
    startedAt: null,
    endedAt: null,
    wakeAt: null,
    output: null,
    error: null,
    reason: null,
    cause: null,
    phase: idle,
    isPoisonSuspect: false,
    helperCrashes: 0,
    startEvent: undefined,
    logLines: 0,
  };
}

export function restoreTaskRun(index: number, spec: TaskSpec, state: TaskState): TaskRun {
  return {
    ...newTaskRun(index, spec),
    item: state.item,
    value: state.value,
    status: state.status,
    attempt: state.attempt,
    chargedAttempts: state.chargedAttempts,
    epoch: state.epoch,
    startedAt: state.startedAt,
    endedAt: state.endedAt,
    wakeAt: state.wakeAt,
    output: state.output,
    error: storedValue(state.error, `the error of task '${spec.name}'`) as TaskError | null,
    reason: state.reason as SkipReason | null,
    cause: state.cause,
    phase: isTaskEnded(state.status) ? ended : idle,
  };
}

export function taskState(run: TaskRun): TaskState {
  const { spec, status, attempt, chargedAttempts, epoch, startedAt, endedAt, wakeAt, output, error, reason, cause } =
    run;
  return {
    task: spec.name,
    item: run.item,
    status,
    attempt,
    chargedAttempts,
    epoch,
    startedAt,
    endedAt,
    wakeAt,
    output,
    error: error === null ? null : JSON.stringify(error),
    reason,
    cause,
    value: run.value,
  };
}

/** An answer for the task comes too late: nothing happens to it here any longer. */
export function isOver(execution: { readonly still: boolean }, run: TaskRun): boolean {
  return execution.still || isTaskEnded(run.status);
}

/** An attempt that starts and ends within one commit has no event for its start: the event of its end contains the time. */
export function coalesced(run: TaskRun): { readonly startedAt: string } | null {
  if (run.startEvent === undefined || run.startedAt === null) return null;
  run.startEvent.dropped = true;
  run.startEvent = undefined;
  return { startedAt: new Date(run.startedAt).toISOString() };
}

/** JSON text of how a task ended, in the form of a settled need (`Settled`). */
export function settledText(run: TaskRun): string {
  switch (run.status) {
    case 'completed':
      return `{"status":"completed","output":${run.output ?? 'null'}}`;
    case 'failed':
      return JSON.stringify({ status: 'failed', error: run.error });
    case 'skipped':
      return JSON.stringify({ status: 'skipped', reason: run.reason });
    default:
      return '{"status":"cancelled"}';
  }
}
