import type { NewExecution } from '../transition.ts';
import { createExecutions, executionParams, tagParams } from '../executions/executions.ts';
import type { CreatedExecution } from '../executions/executions.ts';
import { lockPinnedVersions } from '../commit/pinned-versions.ts';
import { arraysOf, rowsFrom } from './arrays.ts';
import { executionArrays, tagArrays } from './commit/batch-rows.ts';
import { all } from '../script.ts';
import type { Dialect, Script } from '../script.ts';

/**
 * As `createExecutions`, with one statement for all rows. If any has an idempotency key, all are created one by one:
 * such executions are started singly anyway.
 */
export function* createAtOnce(creates: readonly NewExecution[], dialect: Dialect): Script<CreatedExecution[]> {
  if (creates.length === 0 || creates.some(({ idempotencyKey }) => idempotencyKey !== null)) {
    return yield* createExecutions(creates, dialect);
  }
  const pins = yield* lockPinnedVersions(creates, dialect);
  const now = creates.map((create) => pins.settled(create));
  yield* all(createText, ...createParams(now));
  return createdAs(now);
}

/** Returns true if no lookup or lock is needed before the insert: then that statement is the whole transaction. */
export function isOneStatement(creates: readonly NewExecution[]): boolean {
  return creates.every(({ idempotencyKey, pin }) => idempotencyKey === null && pin === null);
}

export function createParams(creates: readonly NewExecution[]): ReturnType<typeof arraysOf> {
  const rows = creates.map((create) => executionParams(create, null));
  return [...arraysOf(executionArrays, rows), ...arraysOf(tagArrays, creates.flatMap(tagParams))];
}

export function createdAs(creates: readonly NewExecution[]): CreatedExecution[] {
  return creates.map(({ id, buildId, inputHash }) => ({ id, created: true, buildId, inputHash }));
}

const names = Object.keys(executionArrays).join(', ');
const tagNames = Object.keys(tagArrays).join(', ');

/** Durable by itself, whatever the server's default is; under any other isolation nothing is written. */
export const createText: string = `with setting as materialized (select current_setting('transaction_isolation') = 'read committed' as isolated, case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write')
    then set_config('synchronous_commit', 'on', true) end),
  r as materialized (select * from ${rowsFrom(executionArrays, 1, 'r')} where (select isolated from setting)),
  made as (insert into executions (${names}) select ${names} from r),
  tagged as (insert into execution_tags (${tagNames})
    select ${tagNames} from ${rowsFrom(tagArrays, 1 + Object.keys(executionArrays).length, 't')} where (select isolated from setting)),
  told as (insert into events (execution_id, seq, type, at) select id, 1, 'execution.created', created_at from r)
  select cast(isolated as integer) as isolated from setting`;
