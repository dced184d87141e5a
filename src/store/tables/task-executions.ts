import type { TaskState } from '../transition.ts';
import { Table } from './table.ts';

/** The state of a task or of an item of a map, with its execution. */
export type TaskExecution = { readonly executionId: string } & TaskState;

export const taskExecutions: Table<TaskExecution> = new Table<TaskExecution>(
  'task_executions',
  ['execution_id', 'task', 'item'],
  {
    executionId: 'text',
    task: 'text',
    item: 'int',
    status: 'text',
    attempt: 'int',
    chargedAttempts: 'int',
    epoch: 'int',
    startedAt: 'bigint',
    endedAt: 'bigint',
    wakeAt: 'bigint',
    output: 'json',
    error: 'json',
    reason: 'text',
    cause: 'text',
    value: 'json',
  },
);

/** The same without the execution, for a query that has named it. */
export const taskStates: Table<TaskState> = taskExecutions.without('executionId');

/** A state overwrites the one before; the item of a map never changes. */
export const taskOverwrite: string = taskExecutions.without('value').overwrite;
