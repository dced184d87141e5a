import type { TaskState } from '../transition.ts';
import { taskStates } from '../tables/task-executions.ts';
import type { Row } from '../tables/table.ts';

export type { EventRecord } from '../tables/events.ts';
export type { ExecutionRecord } from '../tables/executions.ts';

/** A row of `task_executions`. */
export type TaskRow = Row;

export function taskRecord(row: TaskRow): TaskState {
  return taskStates.record(row);
}
