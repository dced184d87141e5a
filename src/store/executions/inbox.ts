import { isEnded } from '../../core/execution.ts';
import type { ExecutionStatus } from '../../core/execution.ts';
import { inboxMessages } from '../tables/inbox-messages.ts';
import type { InboxMessage } from '../tables/inbox-messages.ts';
import type { Row } from '../tables/table.ts';
import { all, first, run } from '../script.ts';
import type { Dialect, Script } from '../script.ts';

export type { InboxMessage };

/** How a request to an execution was taken. */
export type Delivery =
  /** Its owner will read it, or whoever takes it next. */
  | { readonly status: 'sent' }
  /** Nobody owns it, so the request was carried out. */
  | { readonly status: 'applied'; readonly as: ExecutionStatus }
  | { readonly status: 'ended'; readonly as: ExecutionStatus }
  /** It is not in the state that the request is for. */
  | { readonly status: 'refused'; readonly as: ExecutionStatus }
  /** The package that it is pinned to is gone. */
  | { readonly status: 'package_gone'; readonly package: string; readonly version: string }
  | { readonly status: 'unknown' };

/** What a request must know of an execution. */
export interface Head {
  readonly id: string;
  readonly status: ExecutionStatus;
  readonly owner: string | null;
  readonly inbox_seq: number;
  readonly epoch: number;
  readonly wake_at: number | null;
  /** Why it is paused. */
  readonly reason: string | null;
}

/** The row of an execution, locked; any tenant's where none is named. */
export function* lockHead(id: string, tenant: string | null, dialect: Dialect): Script<Head | undefined> {
  const head = yield* first<Head & { tenant: string }>(
    `select id, tenant, status, owner, inbox_seq, epoch, wake_at, reason from executions where id = $1 and pruned = 0${dialect.forUpdate}`,
    id,
  );
  return head === undefined || (tenant !== null && head.tenant !== tenant) ? undefined : head;
}

/** Whether a message wakes an execution: it has run, waits, and has no owner. A paused one keeps the message for later. */
export function wakesUp({ owner, status, epoch }: Pick<Head, 'owner' | 'status' | 'epoch'>): boolean {
  return owner === null && status === 'waiting' && epoch > 0;
}

/** Adds a message to the inbox of an execution whose row is locked, and wakes the execution. */
export function* post(head: Head, message: Pick<InboxMessage, 'kind' | 'name' | 'payload'>, now: number): Script<void> {
  const n = head.inbox_seq + 1;
  yield* run(inboxMessages.insertText, ...inboxMessages.params({ executionId: head.id, n, at: now, ...message }));
  const woken = wakesUp(head) ? `, status = 'pending', reason = 'woken', wake_at = null` : '';
  yield* run(`update executions set inbox_seq = $2${woken} where id = $1`, head.id, n);
}

/** Hands a signal to an execution; whoever owns it now or takes it next will read it. */
export function* sendSignal(
  id: string,
  tenant: string,
  name: string,
  payload: string,
  now: number,
  dialect: Dialect,
): Script<Delivery> {
  const head = yield* lockHead(id, tenant, dialect);
  if (head === undefined) return { status: 'unknown' };
  if (isEnded(head.status)) return { status: 'ended', as: head.status };
  yield* post(head, { kind: 'signal', name, payload }, now);
  return { status: 'sent' };
}

/** A child has ended: its parent is told, unless that has ended itself. */
export function* childEnded(
  parent: { readonly id: string; readonly task: string },
  child: string,
  now: number,
  dialect: Dialect,
): Script<void> {
  const head = yield* lockHead(parent.id, null, dialect);
  if (head === undefined || isEnded(head.status)) return;
  yield* post(head, { kind: 'child_ended', name: parent.task, payload: JSON.stringify(child) }, now);
}

const columns = inboxMessages.names('m.');

/** The mail that a runner's executions have and it has not taken in, in order. */
export function* inboxOf(runner: string): Script<InboxMessage[]> {
  const rows = yield* all<Row>(
    `select ${columns} from executions e join inbox_messages m on m.execution_id = e.id and m.n > e.inbox_acked
     where e.owner = $1 and e.inbox_seq > e.inbox_acked order by m.execution_id, m.n`,
    runner,
  );
  return rows.map((row) => inboxMessages.record(row));
}

/** All mail of executions that is still there: unread, or signals that no task has waited for yet; by a JSON array of their ids. */
export function* inboxOfAll(ids: string, dialect: Dialect): Script<InboxMessage[]> {
  const rows = yield* all<Row>(
    `select ${columns} from inbox_messages m where ${dialect.among('m.execution_id', '$1')} order by m.execution_id, m.n`,
    ids,
  );
  return rows.map((row) => inboxMessages.record(row));
}
