import { CloacinaError } from '../../core/error.ts';
import { effectOf, isCancelledByName, openTasks, reopenedTasks } from '../../core/execution/commands.ts';
import type { Command } from '../../core/execution/commands.ts';
import type { ExecutionStatus, TaskStatus } from '../../core/execution/states.ts';
import { storedJson } from '../../core/json.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import type { NewExecution } from '../transition.ts';
import { insertExecutions } from './create.ts';
import { appendEvent, appendEvents } from './executions.ts';
import { lockFamily } from './family.ts';
import { childEnded, lockHead, post } from './inbox.ts';
import type { Delivery, Head } from './inbox.ts';
import { countTaken } from '../sharing/offers.ts';
import { steps } from '../tables/steps.ts';
import { taskExecutions } from '../tables/task-executions.ts';
import type { TaskExecution } from '../tables/task-executions.ts';
import { commitTexts } from '../commit/commit-texts.ts';
import { holdVersion, manifestWorkflows } from '../registry/versions.ts';
import { lockPinnedVersions } from '../commit/pinned-versions.ts';
import { holdTarget, repin } from './repin.ts';
import type { Repin } from './repin.ts';
import { all, bulk, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

// Requests to an execution: sent as a message to its owner or, if it has none, carried out at once under the row's lock.

/** Cancels an execution, and with it the children that its tasks wait for. */
export function* cancelExecution(tx: Tx, id: string, tenant: string | null): Script<Delivery> {
  yield* lockFamily(tx, [id]);
  return yield* cancelLocked(tx, id, tenant);
}

/** Carries a request out: a message to the owner, or `apply` under the lock of the row, which returns the new status. */
function* carryOut(
  tx: Tx,
  command: Exclude<Command, 'retry'>,
  head: Head | undefined,
  apply: (head: Head) => Script<ExecutionStatus>,
): Script<Delivery> {
  if (head === undefined) return { status: 'unknown' };
  const effect = effectOf(command, head);
  if (effect === 'ended' || effect === 'refused') return { status: effect, as: head.status };
  if (effect === 'done') return { status: 'applied', as: head.status };
  if (effect === 'apply') return { status: 'applied', as: yield* apply(head) };
  yield* post(tx, head, { kind: command, name: null, payload: null });
  return { status: 'sent' };
}

function isAmong(statuses: readonly TaskStatus[]): string {
  return `status in (${statuses.map((status) => `'${status}'`).join(', ')})`;
}

/** As `cancelExecution`, if the whole family is locked already (see `lockFamily`). */
export function* cancelLocked(tx: Tx, id: string, tenant: string | null): Script<Delivery> {
  return yield* carryOut(tx, 'cancel', yield* lockHead(tx, id, tenant), function* cancel() {
    yield* endUnowned(tx, id);
    return 'cancelled';
  });
}

/**
 * Removes the items of half-written maps: the map's own row, which is written last, is missing or still pending, so its
 * items do not count. Once that row has another state, they look like a complete list. The executions have no owner, and
 * their rows are locked.
 */
export function* dropHalfWritten(tx: Tx, ids: readonly string[]): Script<void> {
  yield* run(
    `delete from task_executions where ${tx.dialect.among('execution_id', '$1')} and item >= 0 and (select 1 from task_executions m
       where m.execution_id = task_executions.execution_id and m.task = task_executions.task and m.item = -1 and m.status <> 'pending' limit 1) is null`,
    JSON.stringify(ids),
  );
}

/** Cancels an execution without an owner; its row is locked. */
function* endUnowned(tx: Tx, id: string): Script<void> {
  yield* dropHalfWritten(tx, [id]);
  const known = yield* all<{ task: string; item: number; status: TaskStatus }>(
    'select task, item, status from task_executions where execution_id = $1 order by task, item',
    id,
  );
  yield* run(
    `update task_executions set status = 'cancelled', ended_at = $2, wake_at = null
     where execution_id = $1 and ${isAmong(openTasks)}`,
    id,
    tx.now,
  );
  const begun = new Set(known.filter(({ item }) => item === -1).map(({ task }) => task));
  const untouched = (yield* tasksOfDefinition(id)).filter((task) => !begun.has(task));
  const ended = untouched.map((task) => cancelledTask(id, task, tx.now));
  yield* bulk(taskExecutions, ended, commitTexts(tx.dialect).tasks);
  const named = known.filter(({ status, item }) => isCancelledByName(status, item !== -1));
  yield* appendEvents(tx, id, [
    { type: 'execution.cancelling', task: null, item: null },
    ...named.map(({ task, item }) => ({ type: 'task.cancelled' as const, task, item: item === -1 ? null : item })),
    ...untouched.map((task) => ({ type: 'task.cancelled' as const, task, item: null })),
    { type: 'execution.cancelled', task: null, item: null },
  ]);
  yield* run(
    `update executions set status = 'cancelled', reason = null, wake_at = null, ended_at = $2, inbox_acked = inbox_seq where id = $1`,
    id,
    tx.now,
  );
  yield* countTaken(id);
  yield* run(`delete from inbox_messages where execution_id = $1 and kind <> 'signal'`, id);
  const children = yield* all<{ id: string }>(
    'select id from executions where parent_id = $1 and ended_at is null',
    id,
  );
  for (const child of children) yield* cancelLocked(tx, child.id, null);
  const parent = yield* first<{ parent_id: string | null; parent_task: string }>(
    'select parent_id, parent_task from executions where id = $1',
    id,
  );
  if (parent === undefined || parent.parent_id === null) return;
  yield* childEnded(tx, { id: parent.parent_id, task: parent.parent_task }, id);
}

/** A task that is cancelled before it began. */
function cancelledTask(executionId: string, task: string, at: number): TaskExecution {
  const none = { startedAt: null, wakeAt: null, output: null, error: null, reason: null, cause: null, value: null };
  const counts = { attempt: 0, chargedAttempts: 0, epoch: 0 };
  return { executionId, task, item: -1, status: 'cancelled', ...counts, ...none, endedAt: at };
}

/** The names of an execution's tasks, also of those that never began; none if its definition is damaged or unknown. */
function* tasksOfDefinition(id: string): Script<readonly string[]> {
  const row = yield* first<{ workflow: string; spec: string | null; manifest: string | null }>(
    `select e.workflow, (select d.spec from builds d where d.build_id = e.build_id) as spec,
       (select p.manifest from packages p where p.digest = e.digest limit 1) as manifest
     from executions e where e.id = $1`,
    id,
  );
  if (row === undefined) return [];
  try {
    const packaged = row.manifest === null ? [] : manifestWorkflows(row.manifest, row.workflow);
    const spec =
      row.spec === null
        ? packaged.find(({ name }) => name === row.workflow)
        : (storedJson(row.spec, `the definition of '${row.workflow}'`) as WorkflowSpec);
    return spec?.tasks.map(({ name }) => name) ?? [];
  } catch (error) {
    if (error instanceof CloacinaError && error.code === 'ROW_DAMAGED') return [];
    throw error;
  }
}

/** Pauses an execution: no task starts; running ones may finish. */
export function* pauseExecution(tx: Tx, id: string, tenant: string): Script<Delivery> {
  return yield* carryOut(tx, 'pause', yield* lockHead(tx, id, tenant), function* pause() {
    yield* holdUnowned(tx, id, 'operator');
    return 'paused';
  });
}

/** Holds an execution without an owner; its row is locked. */
export function* holdUnowned(tx: Tx, id: string, reason: string): Script<void> {
  yield* run(`update executions set status = 'paused', reason = $2 where id = $1`, id, reason);
  yield* appendEvent(id, 'execution.paused', tx.now, JSON.stringify({ reason }));
}

/** Resumes a paused execution. */
export function* resumeExecution(tx: Tx, id: string, tenant: string): Script<Delivery> {
  return yield* carryOut(tx, 'resume', yield* lockHead(tx, id, tenant), function* resume(head) {
    const as = yield* pendingAgain(tx, head);
    yield* appendEvent(id, 'execution.resumed', tx.now, null);
    return as;
  });
}

/** Sets the status after a pause: an execution that was paused before its `startAt` waits for that again. */
function* pendingAgain(tx: Tx, head: Head): Script<ExecutionStatus> {
  const early = head.epoch === 0 && head.wake_at !== null && head.wake_at > tx.now;
  const status = early ? 'waiting' : 'pending';
  yield* run(
    `update executions set status = $2, reason = $3, wake_at = $4, load_attempts = 0, crash_count = 0 where id = $1`,
    head.id,
    status,
    early || head.epoch === 0 ? null : 'resumed',
    early ? head.wake_at : null,
  );
  return status;
}

/** The data for the retry of an execution. */
export interface Retry {
  readonly id: string;
  readonly tenant: string;
  /** The build id that will run it: its own, or that of another definition of the same workflow. */
  readonly buildId: string;
  /** Tasks that begin again although they completed: the definition has changed under them. */
  readonly reset: readonly string[];
  /** Tasks that the definition has lost. */
  readonly gone: readonly string[];
  /** Another version of its package that it continues with; null: its own, or it has none. */
  readonly repin: Repin | null;
}

/**
 * Retries an execution that failed, was cancelled, or is held: every task that has not completed is pending again, with all
 * its attempts; attempt numbers go on. With `repin` throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE, EXECUTION_STATE and CONFLICT.
 */
export function* retryExecution(tx: Tx, retry: Retry): Script<Delivery> {
  const { id, tenant, buildId, reset, gone: unknown, repin: other } = retry;
  // the lock of a version precedes the lock of the execution
  if (other === null) yield* packageGone(tx, id);
  else yield* holdTarget(tx, tenant, other.to);
  if (reset.length > 0) yield* lockFamily(tx, [id]);
  const head = yield* lockHead(tx, id, tenant);
  if (head === undefined) return { status: 'unknown' };
  if (effectOf('retry', head) !== 'apply') return { status: 'refused', as: head.status };
  const gone = other === null ? yield* packageGone(tx, id) : undefined;
  if (gone !== undefined) return { status: 'package_gone', ...gone };
  if (other !== null) yield* repin(tx, head, other);
  const also = reset.length === 0 ? '' : ` or ${tx.dialect.among('task', '$2')}`;
  const params = reset.length === 0 ? [id] : [id, JSON.stringify(reset)];
  if (reset.length > 0) {
    // items, children and steps of such a task belong to the other definition
    yield* run(
      `delete from task_executions where execution_id = $1 and item >= 0 and ${tx.dialect.among('task', '$2')}`,
      ...params,
    );
    const children = yield* all<{ id: string }>(
      `select id from executions where parent_id = $1 and ended_at is null and ${tx.dialect.among('parent_task', '$2')}`,
      ...params,
    );
    for (const child of children) yield* cancelLocked(tx, child.id, null);
    yield* run(`delete from steps where execution_id = $1 and ${tx.dialect.among('task', '$2')}`, ...params);
  }
  if (unknown.length > 0) {
    const text = `delete from task_executions where execution_id = $1 and ${tx.dialect.among('task', '$2')}`;
    yield* run(text, id, JSON.stringify(unknown));
  }
  yield* dropHalfWritten(tx, [id]);
  // a map keeps its items; their own states tell the ones that begin again
  yield* run(
    `update task_executions set status = case when item = -1 and exists (select 1 from task_executions i
       where i.execution_id = $1 and i.task = task_executions.task and i.item >= 0) then 'running' else 'pending' end,
     charged_attempts = 0, ended_at = null, wake_at = null, output = null, error = null, reason = null, cause = null
     where execution_id = $1 and (${isAmong(reopenedTasks)}${also})`,
    ...params,
  );
  yield* run(
    `update executions set status = 'pending', reason = 'retried', build_id = $2, ended_at = null, wake_at = null, output = null,
     error = null, error_task = null, crash_count = 0, load_attempts = 0 where id = $1`,
    id,
    buildId,
  );
  const moved = other === null ? null : JSON.stringify({ from: other.from.version, to: other.to.version });
  yield* appendEvent(id, 'execution.retried', tx.now, moved);
  return { status: 'applied', as: 'pending' };
}

/** Holds the package version that an execution is pinned to; returns it if it was deleted. */
function* packageGone(tx: Tx, id: string): Script<{ readonly package: string; readonly version: string } | undefined> {
  const pin = yield* first<{ tenant: string; package: string; version: string }>(
    'select tenant, package, version from executions where id = $1 and digest is not null',
    id,
  );
  if (pin === undefined) return undefined;
  const held = yield* holdVersion(tx, pin.tenant, pin.package, pin.version);
  const isGone = held === undefined || held.status === 'deleted';
  return isGone ? { package: pin.package, version: pin.version } : undefined;
}

/** A new execution made of an existing one, with results of that one. */
export interface Fork {
  readonly create: NewExecution;
  readonly from: { readonly id: string; readonly task: string };
  /** Tasks whose outcomes (with items and steps) the new execution takes over. */
  readonly keep: readonly string[];
}

/** Makes a fork; both executions have an event of it. Throws PACKAGE_UNAVAILABLE. */
export function* forkExecution(tx: Tx, fork: Fork): Script<Delivery> {
  const { create, from, keep } = fork;
  const pins = yield* lockPinnedVersions(tx, [create]);
  const head = yield* lockHead(tx, from.id, create.tenant);
  if (head === undefined) return { status: 'unknown' };
  const fault = pins.fault(create);
  if (create.pin !== null && fault?.code === 'PACKAGE_NOT_FOUND') {
    return { status: 'package_gone', package: create.pin.package, version: create.pin.version };
  }
  if (fault !== null) throw fault;
  yield* insertExecutions(tx, [create], () => null);
  yield* appendEvent(create.id, 'execution.created', tx.now, null);
  yield* run('update executions set forked_from = $2, forked_task = $3 where id = $1', create.id, from.id, from.task);
  for (const [table, instead] of [
    [taskExecutions, { execution_id: '$2', epoch: '0' }],
    [steps, { execution_id: '$2' }],
  ] as const) {
    yield* run(
      `${table.into} select ${table.names('', instead)} from ${table.name} where execution_id = $1 and ${tx.dialect.among('task', '$3')}`,
      from.id,
      create.id,
      JSON.stringify(keep),
    );
  }
  yield* appendEvent(create.id, 'execution.forked', tx.now, JSON.stringify({ from: from.id, task: from.task }));
  const to = JSON.stringify({ to: create.id, task: from.task });
  if (head.owner === null) yield* appendEvent(from.id, 'execution.forked', tx.now, to);
  else yield* post(tx, head, { kind: 'forked', name: null, payload: to });
  return { status: 'applied', as: 'pending' };
}
