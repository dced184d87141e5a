import type { EventType } from '../core/event.ts';
import type { ExecutionStatus } from '../core/execution.ts';
import type { NewExecution, TaskState } from './batch.ts';
import { eventRecord, executionColumns, executionRecord, taskRecord } from './rows.ts';
import type { EventRecord, EventRow, ExecutionRecord, ExecutionRow, TaskRow } from './rows.ts';
import { all, first, run } from './sql.ts';
import type { Dialect, Script, SqlValue } from './sql.ts';

export const insertExecutionText = `insert into executions (id, tenant, workflow, package, version, digest, code, status,
  owner, epoch, priority, created_at, wake_at, started_at, input, tags, idempotency_key, input_hash, limit_key, root_id,
  parent_id, parent_task, parent_item, schedule_id, schedule_name, slot, is_catch_up, input_parsed)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)`;

export const upsertTaskText = `insert into task_executions (execution_id, task, item, status, attempt, used, epoch, started_at,
  ended_at, wake_at, output, error, reason, cause)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
  on conflict (execution_id, task, item) do update set status = excluded.status, attempt = excluded.attempt,
  used = excluded.used, epoch = excluded.epoch, started_at = excluded.started_at, ended_at = excluded.ended_at,
  wake_at = excluded.wake_at, output = excluded.output, error = excluded.error, reason = excluded.reason, cause = excluded.cause`;

export const insertEventText = `insert into events (execution_id, seq, type, at, task, item, attempt, runner, data)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`;

/** The parameters of `insertExecutionText`; with an owner it runs at once, without one it waits for anyone. */
export function executionParams(create: NewExecution, owner: string | null): SqlValue[] {
  const status: ExecutionStatus = owner !== null ? 'running' : create.startAt === null ? 'pending' : 'waiting';
  const { pin, parent, schedule } = create;
  return [
    create.id,
    create.tenant,
    create.workflow,
    pin?.package ?? null,
    pin?.version ?? null,
    pin?.digest ?? null,
    create.code,
    status,
    owner,
    owner === null ? 0 : 1,
    create.priority,
    create.createdAt,
    create.startAt,
    owner === null ? null : create.createdAt,
    create.input,
    create.tags,
    create.idempotencyKey,
    create.inputHash,
    create.limitKey,
    create.rootId,
    parent?.id ?? null,
    parent?.task ?? null,
    parent?.item ?? null,
    schedule?.id ?? null,
    schedule?.name ?? null,
    schedule?.slot ?? null,
    schedule === null ? null : Number(schedule.isCatchUp),
    Number(create.inputParsed),
  ];
}

/** What became of one execution that was to be created. */
export interface Created {
  readonly id: string;
  readonly created: boolean;
  /** Of the execution that has the idempotency key already. */
  readonly inputHash: string | null;
}

/**
 * Creates executions in one transaction, unowned: all, or none where it throws. One whose idempotency key is taken is
 * not created; the execution that has the key is named instead. A pin follows its channel.
 */
export function* createExecutions(creates: readonly NewExecution[]): Script<Created[]> {
  const results: Created[] = [];
  for (const create of creates) results.push(yield* createExecution(create));
  return results;
}

/** Creates one execution, unowned, with its first event. */
export function* createExecution(create: NewExecution): Script<Created> {
  if (create.idempotencyKey !== null) {
    const existing = yield* first<{ id: string; input_hash: string | null }>(
      'select id, input_hash from executions where tenant = $1 and workflow = $2 and idempotency_key = $3',
      create.tenant,
      create.workflow,
      create.idempotencyKey,
    );
    if (existing !== undefined) return { id: existing.id, created: false, inputHash: existing.input_hash };
  }
  yield* run(insertExecutionText, ...executionParams(yield* repinned(create), null));
  yield* appendEvent(create.id, 'execution.created', create.createdAt, null);
  return { id: create.id, created: true, inputHash: create.inputHash };
}

/** The live version of a package ($1 tenant, $2 package), where it still has the workflow $3. */
export const liveHeadText = `select c.digest, c.version from channels c
  join channel_workflows w on w.tenant = c.tenant and w.package = c.package and w.workflow = $3
  where c.tenant = $1 and c.package = $2 and c.channel = 'live'`;

/** What a new execution is pinned to in the transaction that creates it. */
export interface LiveHead {
  readonly digest: string;
  readonly version: string;
}

/** The execution for the version that its channel has meanwhile come to, whose own schema must look at the input. */
export function pinnedTo(create: NewExecution, { digest, version }: LiveHead): NewExecution {
  return { ...create, pin: { package: create.pin!.package, version, digest }, code: digest, inputParsed: false };
}

function* repinned(create: NewExecution): Script<NewExecution> {
  if (create.pin === null) return create;
  const head = yield* first<LiveHead>(liveHeadText, create.tenant, create.pin.package, create.workflow);
  return head === undefined || head.digest === create.pin.digest ? create : pinnedTo(create, head);
}

/** Appends an event to an execution that nobody owns; its row must be locked. */
export function* appendEvent(
  id: string,
  type: EventType,
  at: number,
  data: string | null,
  task: string | null = null,
): Script<void> {
  const row = yield* first<{ seq: number | null }>('select max(seq) as seq from events where execution_id = $1', id);
  yield* run(insertEventText, id, (row?.seq ?? 0) + 1, type, at, task, null, null, null, data);
}

/** One execution, or undefined. */
export function* execution(id: string): Script<ExecutionRecord | undefined> {
  const row = yield* first<ExecutionRow>(`select ${executionColumns} from executions where id = $1`, id);
  return row === undefined ? undefined : executionRecord(row);
}

/** The tasks of an execution that have a state, items of maps included. */
export function* tasksOf(id: string): Script<TaskState[]> {
  const rows = yield* all<TaskRow>('select * from task_executions where execution_id = $1', id);
  return rows.map(taskRecord);
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
  const rows = yield* all<EventRow>(
    'select * from events where execution_id = $1 and seq > $2 order by seq limit $3',
    id,
    after,
    limit,
  );
  return rows.map(eventRecord);
}

/** What to list; the newest first. `after` is the id of the last one seen. */
export interface ExecutionFilter {
  readonly tenant: string;
  readonly workflow: string | null;
  readonly status: ExecutionStatus | null;
  /** Created at or after, epoch ms. */
  readonly since: number | null;
  readonly tags: Readonly<Record<string, string>>;
  readonly after: string | null;
  readonly limit: number;
}

export function* listExecutions(filter: ExecutionFilter, dialect: Dialect): Script<ExecutionRecord[]> {
  const params: SqlValue[] = [filter.tenant];
  const conditions = ['tenant = $1'];
  const add = (condition: string, value: SqlValue | null): void => {
    if (value === null) return;
    params.push(value);
    conditions.push(`${condition} $${params.length}`);
  };
  add('workflow =', filter.workflow);
  add('status =', filter.status);
  add('created_at >=', filter.since);
  add('id <', filter.after);
  for (const [name, value] of Object.entries(filter.tags)) {
    params.push(name, value);
    conditions.push(dialect.holds('tags', `$${params.length - 1}`, `$${params.length}`));
  }
  params.push(filter.limit);
  const text = `select ${executionColumns} from executions where ${conditions.join(' and ')} order by id desc limit $${params.length}`;
  const rows = yield* all<ExecutionRow>(text, ...params);
  return rows.map(executionRecord);
}

/** An execution that a runner has just taken, with all it needs to go on. */
export interface ClaimedExecution {
  readonly execution: ExecutionRecord;
  readonly tasks: readonly TaskState[];
  /** The number of the last event. */
  readonly seq: number;
  /** Why it was pending: null for one that never ran, else `lost`, `released`, `woken`, `resumed` or `retried`. */
  readonly because: string | null;
}

export interface Claim {
  readonly runner: string;
  readonly now: number;
  readonly limit: number;
  /** What this runner can run (see `NewExecution.code`). */
  readonly codes: readonly string[];
  /** Where set, only executions of these roots. */
  readonly roots: readonly string[] | null;
}

/** Takes pending executions for a runner: the highest priority first, then the oldest. Claim, then load (see durability.md). */
export function* claimExecutions(claim: Claim, dialect: Dialect): Script<ClaimedExecution[]> {
  const mine = yield* first<{ dead: number }>(
    `select dead from runners where id = $1${dialect.forUpdate}`,
    claim.runner,
  );
  if (mine === undefined || mine.dead !== 0) return [];
  const roots = claim.roots === null ? '' : ` and ${dialect.among('root_id', '$3')}`;
  const found = yield* all<{ id: string; reason: string | null }>(
    `select id, reason from executions where status = 'pending' and ${dialect.among('code', '$1')}${roots}
     order by priority desc, created_at limit $2${dialect.skipLocked}`,
    JSON.stringify(claim.codes),
    claim.limit,
    ...(claim.roots === null ? [] : [JSON.stringify(claim.roots)]),
  );
  for (const { id } of found) {
    yield* run(
      `update executions set status = 'running', reason = null, owner = $2, epoch = epoch + 1, wake_at = null,
       started_at = coalesce(started_at, $3) where id = $1`,
      id,
      claim.runner,
      claim.now,
    );
  }
  const claimed: ClaimedExecution[] = [];
  for (const { id, reason } of found) claimed.push(yield* load(id, reason));
  return claimed;
}

/** An owned execution with its tasks and the number of its last event. */
function* load(id: string, because: string | null): Script<ClaimedExecution> {
  const record = yield* execution(id);
  const last = yield* first<{ seq: number | null }>('select max(seq) as seq from events where execution_id = $1', id);
  return { execution: record!, tasks: yield* tasksOf(id), seq: last?.seq ?? 0, because };
}

/** Makes executions pending whose time has come; gives how many. */
export function* wakeExecutions(now: number, limit: number): Script<number> {
  return yield* run(
    `update executions set status = 'pending', reason = 'woken', wake_at = null where id in
     (select id from executions where status = 'waiting' and wake_at <= $1 order by wake_at limit $2)`,
    now,
    limit,
  );
}

/** The earliest time at which a waiting execution wakes, or null. */
export function* nextWake(): Script<number | null> {
  const row = yield* first<{ at: number | null }>(
    `select min(wake_at) as at from executions where status = 'waiting' and wake_at is not null`,
  );
  return row?.at ?? null;
}

/** Whether anything is pending that one of these codes can run. */
export function* hasPending(
  codes: readonly string[],
  roots: readonly string[] | null,
  dialect: Dialect,
): Script<boolean> {
  const among = roots === null ? '' : ` and ${dialect.among('root_id', '$2')}`;
  const row = yield* first<{ id: string }>(
    `select id from executions where status = 'pending' and ${dialect.among('code', '$1')}${among} limit 1`,
    JSON.stringify(codes),
    ...(roots === null ? [] : [JSON.stringify(roots)]),
  );
  return row !== undefined;
}

/** What the rows say this runner owns. */
export function* ownedBy(runner: string): Script<readonly { readonly id: string; readonly epoch: number }[]> {
  return yield* all<{ id: string; epoch: number }>('select id, epoch from executions where owner = $1', runner);
}

/** Gives back an execution that a runner owns without knowing of it (the answer to its claim was lost). */
export function* handBack(id: string, runner: string, epoch: number): Script<void> {
  yield* run(
    `update executions set status = 'pending', reason = 'lost', owner = null where id = $1 and owner = $2 and epoch = $3`,
    id,
    runner,
    epoch,
  );
}

export type { EventRecord, ExecutionRecord };
