import { isEnded } from '../core/execution.ts';
import type { ExecutionStatus } from '../core/execution.ts';
import { appendEvent } from './executions.ts';
import { all, first, run } from './sql.ts';
import type { Dialect, Script } from './sql.ts';

/** What others want of an execution. Persisted words. */
export type MailKind = 'cancel';

/** One piece of mail, numbered within its execution from 1. `payload` is JSON text. */
export interface Mail {
  readonly executionId: string;
  readonly n: number;
  readonly at: number;
  readonly kind: MailKind;
  readonly name: string | null;
  readonly payload: string | null;
}

/** How a request to an execution was taken. */
export type Delivery =
  /** Its owner will read it. */
  | { readonly status: 'sent'; readonly owner: string }
  /** Nobody owns it, so the request was carried out. */
  | { readonly status: 'applied' }
  | { readonly status: 'ended'; readonly as: ExecutionStatus }
  | { readonly status: 'unknown' };

interface Head {
  readonly status: ExecutionStatus;
  readonly owner: string | null;
  readonly inbox: number;
}

/** Asks that an execution be cancelled: by mail to its owner, or at once where nobody owns it. */
export function* cancelExecution(id: string, tenant: string, now: number, dialect: Dialect): Script<Delivery> {
  const head = yield* first<Head>(
    `select status, owner, inbox from executions where id = $1 and tenant = $2${dialect.forUpdate}`,
    id,
    tenant,
  );
  if (head === undefined) return { status: 'unknown' };
  if (isEnded(head.status)) return { status: 'ended', as: head.status };
  if (head.owner !== null) {
    yield* deliver(id, head.inbox, { kind: 'cancel', name: null, payload: null }, now);
    return { status: 'sent', owner: head.owner };
  }
  yield* endUnowned(id, now);
  return { status: 'applied' };
}

function* deliver(id: string, inbox: number, mail: Pick<Mail, 'kind' | 'name' | 'payload'>, now: number): Script<void> {
  yield* run(
    'insert into mail (execution_id, n, at, kind, name, payload) values ($1, $2, $3, $4, $5, $6)',
    id,
    inbox + 1,
    now,
    mail.kind,
    mail.name,
    mail.payload,
  );
  yield* run('update executions set inbox = $2 where id = $1', id, inbox + 1);
}

/** Cancels an execution that nobody owns; its row is locked. */
function* endUnowned(id: string, now: number): Script<void> {
  yield* appendEvent(id, 'execution.cancelling', now, null);
  const open = yield* all<{ task: string }>(
    `select task from task_executions where execution_id = $1 and item = -1 and status in ('pending', 'running', 'waiting')`,
    id,
  );
  for (const { task } of open) yield* appendEvent(id, 'task.cancelled', now, null, task);
  yield* run(
    `update task_executions set status = 'cancelled', ended_at = $2, wake_at = null
     where execution_id = $1 and status in ('pending', 'running', 'waiting')`,
    id,
    now,
  );
  yield* appendEvent(id, 'execution.cancelled', now, null);
  yield* run(
    `update executions set status = 'cancelled', reason = null, wake_at = null, ended_at = $2, taken = inbox where id = $1`,
    id,
    now,
  );
  yield* run('delete from mail where execution_id = $1', id);
}

/** The mail that a runner's executions have and it has not taken in, in order. */
export function* mailFor(runner: string): Script<Mail[]> {
  const rows = yield* all<Mail & { execution_id: string }>(
    `select m.execution_id, m.n, m.at, m.kind, m.name, m.payload from executions e
     join mail m on m.execution_id = e.id and m.n > e.taken
     where e.owner = $1 and e.inbox > e.taken order by m.execution_id, m.n`,
    runner,
  );
  return rows.map(({ execution_id: executionId, n, at, kind, name, payload }) => ({
    executionId,
    n,
    at,
    kind,
    name,
    payload,
  }));
}
