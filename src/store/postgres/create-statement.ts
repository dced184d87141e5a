import type { NewExecution } from '../transition.ts';
import type { CreatedExecution } from '../executions/create.ts';
import { arraysOf, rowsFrom } from './arrays.ts';
import { executionTags, tagRows } from '../tables/execution-tags.ts';
import { newExecutionRow, newExecutions } from '../tables/executions.ts';

/** Returns true if no lookup or lock is needed before the insert: then that statement is the whole transaction. */
export function isOneStatement(creates: readonly NewExecution[]): boolean {
  return creates.every(({ idempotencyKey, pin }) => idempotencyKey === null && pin === null);
}

export function createParams(creates: readonly NewExecution[]): string[] {
  const rows = creates.map((create) => newExecutionRow(create, null));
  return [...arraysOf(newExecutions, rows), ...arraysOf(executionTags, creates.flatMap(tagRows))];
}

export function createdAs(creates: readonly NewExecution[]): CreatedExecution[] {
  return creates.map(({ id, buildId, inputHash }) => ({ id, created: true, buildId, inputHash }));
}

/** Durable by itself, whatever the server's default is; where that is another isolation, nothing is written. */
export const createText: string = `with setting as materialized (select current_setting('transaction_isolation') = 'read committed' as isolated, case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write')
    then set_config('synchronous_commit', 'on', true) end),
  r as materialized (select * from ${rowsFrom(newExecutions, 1, 'r')} where (select isolated from setting)),
  made as (${newExecutions.into} select ${newExecutions.names()} from r),
  tagged as (${executionTags.into}
    select ${executionTags.names()} from ${rowsFrom(executionTags, 1 + newExecutions.list.length, 't')} where (select isolated from setting)),
  told as (insert into events (execution_id, seq, type, at) select id, 1, 'execution.created', created_at from r)
  select cast(isolated as integer) as isolated from setting`;
