import { begunTasks, changedTasks, differenceText } from '../../core/execution/continuing.ts';
import type { TaskStatus } from '../../core/execution/states.ts';
import type { WorkflowSpec } from '../../core/definition/spec.ts';
import { ConflictError, ExecutionStateError, PackageNotFoundError } from '../../core/error.ts';
import { unavailable } from '../commit/pinned-versions.ts';
import { holdVersion } from '../registry/versions.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';
import type { Pin } from '../transition.ts';
import type { Head } from './inbox.ts';

/** Another version of its package that an execution continues with. */
export interface Repin {
  /** The version that it had when this was put together. */
  readonly from: Pin;
  readonly to: Pin;
  /** The definitions of its workflow in the two versions. */
  readonly before: WorkflowSpec;
  readonly now: WorkflowSpec;
  /** See `limitKey`; by the limit of the other version. */
  readonly limitKey: string | null;
}

/** Holds the version until the end of the transaction. Throws PACKAGE_NOT_FOUND, PACKAGE_UNAVAILABLE. */
export function* holdTarget(tx: Tx, tenant: string, { package: name, version }: Pin): Script<void> {
  const held = yield* holdVersion(tx, tenant, name, version);
  if (held === undefined || held.status === 'deleted') throw new PackageNotFoundError(name, version);
  if (held.status !== 'published') throw unavailable(name, version, held.status);
}

/**
 * Pins an execution without an owner, whose row is locked, to another version that is held. The rows of tasks that never began
 * and that the other version does not have are removed. Throws EXECUTION_STATE if it differs in what has begun, and CONFLICT if
 * another call has moved the execution meanwhile.
 */
export function* repin(tx: Tx, { id, status }: Head, { from, to, before, now, limitKey }: Repin): Script<void> {
  const pin = yield* first<{ digest: string | null }>('select digest from executions where id = $1', id);
  if (pin?.digest !== from.digest) {
    throw new ConflictError(`execution '${id}' is no longer pinned to v${from.version}; read it again and retry`);
  }
  const tasks = yield* all<{ task: string; status: TaskStatus; startedAt: number | null }>(
    'select task, status, started_at as "startedAt" from task_executions where execution_id = $1 and item = -1',
    id,
  );
  const begun = begunTasks(tasks.map((task) => ({ ...task, item: -1 })));
  const changed = changedTasks(before, now, begun);
  if (changed.length > 0) {
    const what = `it cannot continue as ${to.package} v${to.version}, which differs from v${from.version} in tasks that have begun`;
    throw new ExecutionStateError(id, status, 'retry', `${what}: ${differenceText(before, now, changed)}`);
  }
  const known = new Set(now.tasks.map(({ name }) => name));
  const gone = tasks.filter(({ task }) => !known.has(task)).map(({ task }) => task);
  if (gone.length > 0) {
    const text = `delete from task_executions where execution_id = $1 and ${tx.dialect.among('task', '$2')}`;
    yield* run(text, id, JSON.stringify(gone));
  }
  yield* run(
    'update executions set version = $2, digest = $3, keeps_version = 1, limit_key = $4 where id = $1',
    id,
    to.version,
    to.digest,
    limitKey,
  );
}
