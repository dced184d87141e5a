import type { EventType } from '../../core/execution/event.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import { commitTexts } from '../commit/commit-texts.ts';
import { events } from '../tables/events.ts';
import type { EventRecord } from '../tables/events.ts';
import { executions } from '../tables/executions.ts';
import type { ExecutionRecord } from '../tables/executions.ts';
import type { Row } from '../tables/table.ts';
import { taskExecutions, taskStates } from '../tables/task-executions.ts';
import type { TaskState } from '../transition.ts';
import { all, bulk, first, run } from '../script.ts';
import type { On, Script, SqlValue, Tx } from '../script.ts';

/** Appends an event to an execution without an owner; its row must be locked. */
export function* appendEvent(id: string, type: EventType, at: number, data: string | null): Script<void> {
  const event = { executionId: id, seq: (yield* lastSeq(id)) + 1, type, at, task: null, item: null, attempt: null };
  yield* run(events.insertText, ...events.params({ ...event, runner: null, data }));
}

/** The same for many events of one moment, by one statement. */
export function* appendEvents(
  { dialect, now }: Tx,
  id: string,
  list: readonly Pick<EventRecord, 'type' | 'task' | 'item'>[],
): Script<void> {
  let seq = yield* lastSeq(id);
  const rows = list.map(({ type, task, item }) => {
    return { executionId: id, seq: ++seq, type, at: now, task, item, attempt: null, runner: null, data: null };
  });
  yield* bulk(events, rows, commitTexts(dialect).events);
}

function* lastSeq(id: string): Script<number> {
  const row = yield* first<{ seq: number | null }>('select max(seq) as seq from events where execution_id = $1', id);
  return row?.seq ?? 0;
}

/** One execution, or undefined. */
export function* execution(id: string): Script<ExecutionRecord | undefined> {
  const row = yield* first<Row>(`select ${executions.names()} from executions where id = $1 and pruned = 0`, id);
  return row === undefined ? undefined : executions.record(row);
}

/** Those of these executions that have ended. */
export function* endedOf({ dialect }: On, ids: readonly string[]): Script<ExecutionRecord[]> {
  const rows = yield* all<Row>(
    `select ${executions.names()} from executions where ${dialect.among('id', '$1')} and ended_at is not null`,
    JSON.stringify(ids),
  );
  return rows.map((row) => executions.record(row));
}

/** Those of these ids that executions have. */
export function* knownOf({ dialect }: On, ids: readonly string[]): Script<string[]> {
  const text = `select id from executions where ${dialect.among('id', '$1')} and pruned = 0`;
  return (yield* all<{ id: string }>(text, JSON.stringify(ids))).map(({ id }) => id);
}

/** The number of open descendants of a root, counted up to `limit`. */
export function* openDescendants(rootId: string, limit: number): Script<number> {
  const row = yield* first<{ n: number | bigint }>(
    `select count(*) as n from (select 1 from executions
     where root_id = $1 and parent_id is not null and ended_at is null limit $2) open`,
    rootId,
    limit,
  );
  return Number(row!.n);
}

/** The tasks of an execution that have a state, items of maps included. */
export function* tasksOf(id: string): Script<TaskState[]> {
  const rows = yield* all<Row>('select * from task_executions where execution_id = $1', id);
  return rows.map((row) => taskStates.record(row));
}

/** The executions of a JSON array of ids, each with the number of its last event. */
export function* executionsOf(
  { dialect }: On,
  ids: string,
): Script<readonly { readonly record: ExecutionRecord; readonly seq: number }[]> {
  const rows = yield* all<Row>(
    `select ${executions.names('e.')}, (select max(seq) from events where execution_id = e.id) as seq
     from executions e where ${dialect.among('e.id', '$1')}`,
    ids,
  );
  return rows.map((row) => ({ record: executions.record(row), seq: Number(row.seq) }));
}

/** What continues executions: their tasks, and the items of maps that have not ended; by a JSON array of their ids. */
export function* tasksOfAll({ dialect }: On, ids: string): Script<ReadonlyMap<string, TaskState[]>> {
  const rows = yield* all<Row>(
    `select t.* from task_executions t where ${dialect.among('t.execution_id', '$1')}
     and (t.item = -1 or (select 1 from task_executions m where m.execution_id = t.execution_id and m.task = t.task
       and m.item = -1 and m.status in ('completed', 'failed', 'skipped', 'cancelled') limit 1) is null)
     order by t.execution_id, t.task, t.item`,
    ids,
  );
  const found = new Map<string, TaskState[]>();
  for (const { executionId, ...state } of rows.map((row) => taskExecutions.record(row))) {
    const states = found.get(executionId);
    if (states === undefined) found.set(executionId, [state]);
    else states.push(state);
  }
  return found;
}

/** The id of the execution that was created last, by the times in the ids; null if there is none. */
export function* newestId(): Script<string | null> {
  const row = yield* first<{ id: string | null }>('select max(id) as id from executions');
  return row?.id ?? null;
}

/** A line of `ctx.log`, as it is stored. */
export interface LogRecord {
  readonly task: string;
  /** -1 for a task that is no map. */
  readonly item: number;
  readonly attempt: number;
  readonly n: number;
  readonly at: number;
  readonly level: string;
  readonly message: string;
  readonly data: string | null;
}

/** The lines of an execution in the order of their times; at most `limit` after the first `skip`. */
export function* logsOf(id: string, task: string | null, skip: number, limit: number): Script<readonly LogRecord[]> {
  const only = task === null ? '' : 'and task = $4';
  return yield* all<LogRecord>(
    `select task, item, attempt, n, at, level, message, data from logs where execution_id = $1 ${only}
     order by at, task, item, attempt, n limit $2 offset $3`,
    id,
    limit,
    skip,
    ...(task === null ? [] : [task]),
  );
}

/** The key of a line among those of its execution. */
export type LogKey = Pick<LogRecord, 'task' | 'item' | 'attempt' | 'n'>;

/** The lines of an execution in the order of their keys, at most `limit` after one; in this order a page costs its own rows. */
export function* logPageOf(
  id: string,
  task: string | null,
  after: LogKey | null,
  limit: number,
): Script<readonly LogRecord[]> {
  const params: SqlValue[] = [id, limit];
  let where = '';
  if (task !== null) where += ` and task = $${params.push(task)}`;
  if (after !== null) {
    params.push(after.task, after.item, after.attempt, after.n);
    where += ` and (task, item, attempt, n) > ($${params.length - 3}, $${params.length - 2}, $${params.length - 1}, $${params.length})`;
  }
  return yield* all<LogRecord>(
    `select task, item, attempt, n, at, level, message, data from logs where execution_id = $1${where}
     order by task, item, attempt, n limit $2`,
    ...params,
  );
}

/** The outputs (JSON text) of the completed tasks of an execution. */
export function* outputsOf(id: string): Script<ReadonlyMap<string, string>> {
  const rows = yield* all<{ task: string; output: string }>(
    `select task, output from task_executions where execution_id = $1 and item = -1 and status = 'completed'`,
    id,
  );
  return new Map(rows.map((row) => [row.task, row.output]));
}

export function* stepOf(id: string, task: string, item: number, name: string): Script<string | undefined> {
  const row = yield* first<{ output: string }>(
    'select output from steps where execution_id = $1 and task = $2 and item = $3 and name = $4',
    id,
    task,
    item,
    name,
  );
  return row?.output;
}

export function* eventsOf(id: string, after: number, limit: number): Script<EventRecord[]> {
  const rows = yield* all<Row>(
    'select * from events where execution_id = $1 and seq > $2 order by seq limit $3',
    id,
    after,
    limit,
  );
  return rows.map((row) => events.record(row));
}

/** What to list; the newest first. `after` is the last one seen. */
export interface ExecutionFilter {
  readonly tenant: string;
  readonly workflow: string | null;
  /** The package of the workflow; null: an embedded one; undefined: any. */
  readonly package: string | null | undefined;
  readonly status: ExecutionStatus | null;
  /** Created at or after, epoch ms. */
  readonly since: number | null;
  /** The execution whose tasks have started them. */
  readonly parent: string | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly after: { readonly createdAt: number; readonly id: string } | null;
  readonly limit: number;
}

/** Read first: who looks for few rows in the order of a list may else be led through all that there are, the newest first. */
function childrenOf(parent: string): string {
  return `with children as materialized (select ${executions.names()}, pruned from executions where parent_id = ${parent})`;
}

/**
 * Every combination of filters is found by an index that ends in the order of the list (see `0001-executions.ts`), but for the
 * children of one execution: they are few, and found by their parent.
 */
export function* listExecutions(filter: ExecutionFilter): Script<ExecutionRecord[]> {
  const { tenant, workflow, status, since, parent, after, limit } = filter;
  const tags = Object.entries(filter.tags);
  const tag = parent === null ? tags.shift() : undefined;
  const params: SqlValue[] = parent === null ? [] : [parent];
  const conditions: string[] = ['e.pruned = 0'];
  const add = (condition: (name: string) => string, value: SqlValue | null): void => {
    if (value === null) return;
    params.push(value);
    conditions.push(condition(`$${params.length}`));
  };
  const by = tag === undefined ? 'e' : 't';
  add((name) => `${by}.tenant = ${name}`, tenant);
  if (tag !== undefined) {
    add((name) => `t.name = ${name}`, tag[0]);
    add((name) => `t.value = ${name}`, tag[1]);
  }
  add((name) => `e.workflow = ${name}`, workflow);
  // the rows of other packages with a workflow of that name are passed over
  if (filter.package === null) conditions.push('e.package is null');
  else add((name) => `e.package = ${name}`, filter.package ?? null);
  // written out: an index on some states only is used where the text itself says that it is one of them
  if (status !== null) conditions.push(`e.status = '${status}'`);
  if (status === 'running' && parent === null)
    conditions.push(`e.id in (select id from executions where owner is not null)`);
  add((name) => `${by}.created_at >= ${name}`, since);
  if (after !== null) {
    const idColumn = tag === undefined ? 'e.id' : 't.execution_id';
    params.push(after.createdAt, after.id);
    conditions.push(`(${by}.created_at, ${idColumn}) < ($${params.length - 1}, $${params.length})`);
  }
  for (const [name, value] of tags) {
    params.push(name, value);
    conditions.push(`exists (select 1 from execution_tags o where o.tenant = e.tenant and o.name = $${params.length - 1}
      and o.value = $${params.length} and o.created_at = e.created_at and o.execution_id = e.id)`);
  }
  params.push(limit);
  const [before, one] = parent === null ? ['', 'executions e'] : [childrenOf('$1'), 'children e'];
  const from = tag === undefined ? one : 'execution_tags t join executions e on e.id = t.execution_id';
  const order = tag === undefined ? 'e.created_at desc, e.id desc' : 't.created_at desc, t.execution_id desc';
  const rows = yield* all<Row>(
    `${before} select ${executions.names('e.')} from ${from} where ${conditions.join(' and ')} order by ${order} limit $${params.length}`,
    ...params,
  );
  return rows.map((row) => executions.record(row));
}
