import { isEnded } from '../core/execution.ts';
import type { ExecutionStatus } from '../core/execution.ts';
import type { Batch, LetGo, NewEvent, Transition } from './batch.ts';
import { executionParams } from './executions.ts';
import { arraysOf, rowsFrom } from './postgres-arrays.ts';
import type { ArrayColumns } from './postgres-arrays.ts';

/** What the one statement says of a batch. */
export interface Said {
  /** 0 where the statement ran under another isolation than it is made for: nothing was written. */
  readonly isolated: number;
  /** 0 where the runner was declared dead: nothing was written. */
  readonly alive: number;
  /** 0 where the batch was written before. */
  readonly fresh: number;
  /** Of the executions that were not made by this batch: those that the runner still owns. */
  readonly owned: readonly string[];
  /** Not let go: mail has come. */
  readonly held: readonly string[];
}

/** Whether the one statement can write a batch: most do nothing to executions beside their own. */
export function isPlain({ transitions }: Batch): boolean {
  return transitions.every(({ create, effects, letGo }) => {
    const plainCreate = create === null || (!create.followsChannel && create.tags === null);
    const tellsNobody = letGo === null || letGo.parent === null || letGo.endedAt === null;
    return effects === null && plainCreate && tellsNobody;
  });
}

/** The columns of an execution that is made, in the order of `executionParams`. */
export const executionArrays: ArrayColumns = {
  id: 'text',
  tenant: 'text',
  workflow: 'text',
  package: 'text',
  version: 'text',
  digest: 'text',
  code: 'text',
  status: 'text',
  owner: 'text',
  epoch: 'int',
  priority: 'int',
  created_at: 'bigint',
  wake_at: 'bigint',
  started_at: 'bigint',
  input: 'json',
  tags: 'text',
  idempotency_key: 'text',
  input_hash: 'text',
  limit_key: 'text',
  root_id: 'text',
  parent_id: 'text',
  parent_task: 'text',
  parent_item: 'int',
  schedule_id: 'text',
  schedule_name: 'text',
  slot: 'bigint',
  is_catch_up: 'int',
  input_parsed: 'int',
  retention: 'bigint',
};
/** And of one that is let go at once. */
const made: ArrayColumns = {
  ...executionArrays,
  reason: 'text',
  ended_at: 'bigint',
  output: 'json',
  error: 'json',
  error_task: 'text',
};
export const tagArrays: ArrayColumns = {
  tenant: 'text',
  name: 'text',
  value: 'text',
  created_at: 'bigint',
  execution_id: 'text',
};
const head: ArrayColumns = {
  id: 'text',
  lets: 'bool',
  status: 'text',
  reason: 'text',
  wake_at: 'bigint',
  ended_at: 'bigint',
  output: 'json',
  error: 'json',
  error_task: 'text',
  inbox_seen: 'int',
  input: 'json',
  progressed: 'bool',
  loaded: 'bool',
  taken: 'int',
};
const task: ArrayColumns = {
  execution_id: 'text',
  task: 'text',
  item: 'int',
  status: 'text',
  attempt: 'int',
  used: 'int',
  epoch: 'int',
  started_at: 'bigint',
  ended_at: 'bigint',
  wake_at: 'bigint',
  output: 'json',
  error: 'json',
  reason: 'text',
  cause: 'text',
  value: 'json',
};
const step: ArrayColumns = { execution_id: 'text', task: 'text', item: 'int', name: 'text', output: 'json' };
const log: ArrayColumns = {
  execution_id: 'text',
  task: 'text',
  item: 'int',
  attempt: 'int',
  n: 'int',
  at: 'bigint',
  level: 'text',
  message: 'json',
  data: 'json',
};
const event: ArrayColumns = {
  execution_id: 'text',
  seq: 'int',
  type: 'text',
  at: 'bigint',
  task: 'text',
  item: 'int',
  attempt: 'int',
  runner: 'text',
  data: 'json',
  lets: 'bool',
};

const first = { runner: 1, n: 2, ids: 3, epochs: 4, floor: 5 };
const sets = [made, head, task, step, log, event] as const;
const starts = sets.map(
  (_, at) => 6 + sets.slice(0, at).reduce((sum, columns) => sum + Object.keys(columns).length, 0),
);

function rows(at: number, name: string): string {
  return rowsFrom(sets[at]!, starts[at]!, name);
}

function names(columns: ArrayColumns, alias = ''): string {
  return Object.keys(columns)
    .filter((column) => column !== 'lets')
    .map((column) => `${alias}${column}`)
    .join(', ');
}

const goes = 'h.lets and o.inbox = h.inbox_seen';
/** The value of a column of an execution that is let go now, else the one that it has. */
const letting = (column: string): string => `case when ${goes} then h.${column} else o.${column} end`;
const changed =
  'status, reason, owner, wake_at, ended_at, output, error, error_task, input, input_parsed, losses, loads, taken';

/**
 * The group commit as one statement: fence, number of the batch, who still owns what, and all rows. Rows are written with
 * `insert ... on conflict`, never `update ... from`, whose plan degrades on tables that were never analysed. For the same
 * reason what is owned is looked up row by row, by its key and (`is true`) never by the index of owners, which would compare
 * all that a runner owns with all that it commits.
 */
export const commitText: string = `with setting as materialized (select current_setting('transaction_isolation') = 'read committed' as isolated,
    case when current_setting('synchronous_commit') in ('off', 'local', 'remote_write') then set_config('synchronous_commit', 'on', true) end),
  fence as materialized (select 1 from runners where id = $${first.runner} and dead = 0 and (select isolated from setting) for share),
  batch as (insert into batches (runner, n, result) select $${first.runner}, $${first.n}, '' from fence
    where not exists (select 1 from batches where runner = $${first.runner} and n > $${first.n}) on conflict do nothing returning 1),
  forgotten as (delete from batches where runner = $${first.runner} and n <= $${first.floor}),
  owned as materialized (select e.* from
    (select * from unnest($${first.ids}::text[], $${first.epochs}::int[]) as r(id, epoch) where exists (select 1 from batch) order by id) t
    cross join lateral (select * from executions e
      where e.id = t.id and e.epoch = t.epoch and (e.owner = $${first.runner}) is true for update) e),
  made as (insert into executions (${names(made)}) select ${names(made, 'r.')} from ${rows(0, 'r')} where exists (select 1 from batch) returning id),
  live as materialized (select id from owned union all select id from made),
  h as materialized (select * from ${rows(1, 'r')}),
  heads as (insert into executions (id, tenant, workflow, code, epoch, created_at, root_id, ${changed})
    select o.id, o.tenant, o.workflow, o.code, o.epoch, o.created_at, o.root_id, ${letting('status')}, ${letting('reason')},
      case when ${goes} then null else o.owner end, ${letting('wake_at')}, ${letting('ended_at')}, ${letting('output')}, ${letting('error')},
      ${letting('error_task')}, coalesce(h.input, o.input), case when h.input is null then o.input_parsed else 1 end,
      case when h.progressed then 0 else o.losses end, case when h.loaded then 0 else o.loads end, coalesce(h.taken, o.taken)
    from owned o join h on h.id = o.id
    on conflict (id) do update set ${changed
      .split(', ')
      .map((column) => `${column} = excluded.${column}`)
      .join(', ')}),
  read_mail as (delete from mail using owned o, h where mail.execution_id = o.id and mail.kind <> 'signal' and h.id = o.id and h.ended_at is not null and ${goes}),
  tasks as (insert into task_executions (${names(task)}) select ${names(task, 'r.')} from ${rows(2, 'r')} where r.execution_id in (select id from live)
    on conflict (execution_id, task, item) do update set ${Object.keys(task)
      .slice(3, -1)
      .map((column) => `${column} = excluded.${column}`)
      .join(', ')}),
  steps_ as (insert into steps (${names(step)}) select ${names(step, 'r.')} from ${rows(3, 'r')} where r.execution_id in (select id from live)),
  logs_ as (insert into logs (${names(log)}) select ${names(log, 'r.')} from ${rows(4, 'r')} where r.execution_id in (select id from live)),
  events_ as (insert into events (${names(event)}) select ${names(event, 'r.')} from ${rows(5, 'r')} where r.execution_id in (select id from live)
    and (not r.lets or exists (select 1 from h join owned o on o.id = h.id where h.id = r.execution_id and ${goes})))
  select (select count(*) from setting where isolated) as isolated, (select count(*) from fence) as alive, (select count(*) from batch) as fresh,
    (select coalesce(json_agg(id), '[]') from owned) as owned,
    (select coalesce(json_agg(h.id), '[]') from h join owned o on o.id = h.id where h.lets and o.inbox <> h.inbox_seen) as held`;

/** The parameters of `commitText` for a plain batch; batches up to `floor` are forgotten. */
export function commitParams({ runner, n, transitions }: Batch, floor: number): unknown[] {
  const known = transitions.filter(({ create }) => create === null);
  const tables: unknown[][][] = [
    transitions.flatMap((transition) => (transition.create === null ? [] : [madeRow(runner, transition)])),
    known.flatMap((transition) => (changesHead(transition) ? [headRow(transition)] : [])),
    taskRows(transitions),
    transitions.flatMap(({ id, steps }) => steps.map((s) => [id, s.task, s.item, s.name, s.output])),
    transitions.flatMap(({ id, logs }) =>
      logs.map((l) => [id, l.task, l.item, l.attempt, l.n, l.at, l.level, l.message, l.data]),
    ),
    transitions.flatMap((transition) => eventRows(runner, transition)),
  ];
  const params: unknown[] = [runner, n, known.map(({ id }) => id), known.map(({ epoch }) => epoch), floor];
  for (const [at, columns] of sets.entries()) params.push(...arraysOf(columns, tables[at]!));
  return params;
}

/** What is written of tasks and items, in the order of the columns of `task_executions`. */
export function taskRows(transitions: readonly Transition[]): unknown[][] {
  return transitions.flatMap(({ id, tasks }) =>
    tasks.map((t) => [
      id,
      t.task,
      t.item,
      t.status,
      t.attempt,
      t.used,
      t.epoch,
      t.startedAt,
      t.endedAt,
      t.wakeAt,
      t.output,
      t.error,
      t.reason,
      t.cause,
      t.value,
    ]),
  );
}

function madeRow(runner: string, { create, letGo }: Transition): unknown[] {
  const row: unknown[] = executionParams(create!, create!.owned ? runner : null);
  if (letGo === null) return [...row, null, null, null, null, null];
  // made and let go with one commit: it is written as it is then
  const status: ExecutionStatus = letGo.status;
  row[7] = status;
  row[8] = null;
  row[12] = letGo.wakeAt;
  return [...row, letGo.reason, isEnded(status) ? letGo.endedAt : null, letGo.output, letGo.error, letGo.errorTask];
}

function changesHead({ letGo, parsedInput, progressed, loaded, mailTaken }: Transition): boolean {
  return letGo !== null || parsedInput !== null || progressed || loaded || mailTaken !== null;
}

function headRow({ id, letGo, parsedInput, progressed, loaded, mailTaken }: Transition): unknown[] {
  const { status, reason, wakeAt, endedAt, output, error, errorTask, inboxSeen }: Partial<LetGo> = letGo ?? {};
  const lets = [
    id,
    letGo !== null,
    status ?? null,
    reason ?? null,
    wakeAt ?? null,
    endedAt ?? null,
    output ?? null,
    error ?? null,
  ];
  return [...lets, errorTask ?? null, inboxSeen ?? 0, parsedInput, progressed, loaded, mailTaken];
}

function eventRows(runner: string, { id, create, events, letGo }: Transition): unknown[][] {
  const by = create !== null && !create.owned ? null : runner;
  const row = (e: NewEvent, lets: boolean): unknown[] => [
    id,
    e.seq,
    e.type,
    e.at,
    e.task,
    e.item,
    e.attempt,
    by,
    e.data,
    lets,
  ];
  const last = (letGo?.events ?? []).map((e) => row(e, create === null));
  return [...events.map((e) => row(e, false)), ...last];
}
