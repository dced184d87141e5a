import type { SkipReason } from '../definition/definition.ts';

/** The states of an execution. They are persisted and never change. */
export type ExecutionStatus = 'pending' | 'running' | 'waiting' | 'paused' | 'completed' | 'failed' | 'cancelled';
export type EndedStatus = 'completed' | 'failed' | 'cancelled';
export type TaskStatus = 'pending' | 'running' | 'waiting' | 'completed' | 'failed' | 'skipped' | 'cancelled';

export const executionStatuses: readonly ExecutionStatus[] = [
  'pending',
  'running',
  'waiting',
  'paused',
  'completed',
  'failed',
  'cancelled',
];

export function isEnded(status: ExecutionStatus): status is EndedStatus {
  return status === 'completed' || status === 'failed' || status === 'cancelled';
}

export function isTaskEnded(status: TaskStatus): boolean {
  return status === 'completed' || status === 'failed' || status === 'skipped' || status === 'cancelled';
}

/** The reason for a skip, and the task that caused it (the task itself for `when_false`). */
export interface Skip {
  readonly reason: SkipReason;
  readonly cause: string;
}
