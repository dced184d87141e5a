import type { NewExecution } from './batch.ts';
import { createExecutions, executionParams, liveHeadText, pinnedTo, tagParams } from './executions.ts';
import type { Created, LiveHead } from './executions.ts';
import { arraysOf, rowsFrom } from './postgres-arrays.ts';
import { executionArrays, tagArrays } from './postgres-rows.ts';
import { all, first } from './sql.ts';
import type { Script } from './sql.ts';

/**
 * The same as `createExecutions`, with one statement for all rows. Those with an idempotency key are looked up first, one by
 * one: they come one at a time anyway.
 */
export function* createAtOnce(creates: readonly NewExecution[]): Script<Created[]> {
  if (creates.length === 0 || creates.some(({ idempotencyKey }) => idempotencyKey !== null)) {
    return yield* createExecutions(creates);
  }
  const now = yield* pinned(creates);
  yield* all(createText, ...createParams(now));
  return createdAs(now);
}

/** Whether nothing has to be looked up before they are created: then that statement is the whole transaction. */
export function isOneStatement(creates: readonly NewExecution[]): boolean {
  return creates.every(({ idempotencyKey, pin, followsChannel }) => {
    return idempotencyKey === null && (pin === null || !followsChannel);
  });
}

export function createParams(creates: readonly NewExecution[]): ReturnType<typeof arraysOf> {
  const rows = creates.map((create) => executionParams(create, null));
  return [...arraysOf(executionArrays, rows), ...arraysOf(tagArrays, creates.flatMap(tagParams))];
}

export function createdAs(creates: readonly NewExecution[]): Created[] {
  return creates.map(({ id, code, inputHash }) => ({ id, created: true, code, inputHash }));
}

const names = Object.keys(executionArrays).join(', ');
const tagNames = Object.keys(tagArrays).join(', ');

/** Durable by itself, whatever the server's default is; where that is another isolation, nothing is written. */
export const createText: string = `with setting as materialized (select current_setting('transaction_isolation') = 'read committed' as isolated, case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write')
    then set_config('synchronous_commit', 'on', true) end),
  r as materialized (select * from ${rowsFrom(executionArrays, 1, 'r')} where (select isolated from setting)),
  made as (insert into executions (${names}) select ${names} from r),
  tagged as (insert into execution_tags (${tagNames})
    select ${tagNames} from ${rowsFrom(tagArrays, 1 + Object.keys(executionArrays).length, 't')} where (select isolated from setting)),
  told as (insert into events (execution_id, seq, type, at) select id, 1, 'execution.created', created_at from r)
  select cast(isolated as integer) as isolated from setting`;

/** Pins follow their channels; each channel is asked for once. */
function* pinned(creates: readonly NewExecution[]): Script<readonly NewExecution[]> {
  const heads = new Map<string, LiveHead | undefined>();
  const now: NewExecution[] = [];
  for (const create of creates) {
    const { pin, tenant, workflow } = create;
    if (pin === null || !create.followsChannel) {
      now.push(create);
      continue;
    }
    const channel = JSON.stringify([tenant, pin.package, workflow]);
    if (!heads.has(channel)) heads.set(channel, yield* first<LiveHead>(liveHeadText, tenant, pin.package, workflow));
    const head = heads.get(channel);
    now.push(head === undefined || head.digest === pin.digest ? create : pinnedTo(create, head));
  }
  return now;
}
