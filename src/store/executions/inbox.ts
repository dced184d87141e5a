import { isEnded } from '../../core/execution/states.ts';
import type { ExecutionStatus } from '../../core/execution/states.ts';
import { inboxMessages } from '../tables/inbox-messages.ts';
import type { InboxMessage } from '../tables/inbox-messages.ts';
import type { Row } from '../tables/table.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

export type { InboxMessage };

/** The result of a request to an execution. */
export type Delivery =
  /** Its owner will read it, or the next one. */
  | { readonly status: 'sent' }
  /** It has no owner, so the request was carried out. */
  | { readonly status: 'applied'; readonly as: ExecutionStatus }
  | { readonly status: 'ended'; readonly as: ExecutionStatus }
  /** Its state does not allow the request. */
  | { readonly status: 'refused'; readonly as: ExecutionStatus }
  /** The package that it is pinned to is gone. */
  | { readonly status: 'package_gone'; readonly package: string; readonly version: string }
  | { readonly status: 'unknown' };

/** The columns of an execution that a request needs. */
export interface Head {
  readonly id: string;
  readonly status: ExecutionStatus;
  readonly owner: string | null;
  readonly inbox_seq: number;
  readonly epoch: number;
  readonly wake_at: number | null;
  /** The reason of the pause. */
  readonly reason: string | null;
}

/** The row of an execution, locked; of any tenant if `tenant` is null. */
export function* lockHead(tx: Tx, id: string, tenant: string | null): Script<Head | undefined> {
  const head = yield* first<Head & { tenant: string }>(
    `select id, tenant, status, owner, inbox_seq, epoch, wake_at, reason from executions where id = $1 and pruned = 0${tx.dialect.lock('update')}`,
    id,
  );
  return head === undefined || (tenant !== null && head.tenant !== tenant) ? undefined : head;
}

/** True if a message wakes an execution: it has run, waits, and has no owner. A paused one keeps the message for later. */
export function wakesUp({ owner, status, epoch }: Pick<Head, 'owner' | 'status' | 'epoch'>): boolean {
  return owner === null && status === 'waiting' && epoch > 0;
}

/** Adds a message to the inbox of an execution whose row is locked, and wakes the execution. */
export function* post(tx: Tx, head: Head, message: Pick<InboxMessage, 'kind' | 'name' | 'payload'>): Script<void> {
  const n = head.inbox_seq + 1;
  yield* run(inboxMessages.insertText, ...inboxMessages.params({ executionId: head.id, n, at: tx.now, ...message }));
  const woken = wakesUp(head) ? `, status = 'pending', reason = 'woken', wake_at = null` : '';
  yield* run(`update executions set inbox_seq = $2${woken} where id = $1`, head.id, n);
}

/** Sends a signal to an execution; its owner, or the next one, will read it. */
export function* sendSignal(tx: Tx, id: string, tenant: string, name: string, payload: string): Script<Delivery> {
  const head = yield* lockHead(tx, id, tenant);
  if (head === undefined) return { status: 'unknown' };
  if (isEnded(head.status)) return { status: 'ended', as: head.status };
  yield* post(tx, head, { kind: 'signal', name, payload });
  return { status: 'sent' };
}

/** Tells a parent that a child has ended, unless the parent has ended. */
export function* childEnded(
  tx: Tx,
  parent: { readonly id: string; readonly task: string },
  child: string,
): Script<void> {
  const head = yield* lockHead(tx, parent.id, null);
  if (head === undefined || isEnded(head.status)) return;
  yield* post(tx, head, { kind: 'child_ended', name: parent.task, payload: JSON.stringify(child) });
}

const columns = inboxMessages.names('m.');

/** The unread messages of a runner's executions, in order. */
export function* inboxOf(runner: string): Script<InboxMessage[]> {
  const rows = yield* all<Row>(
    `select ${columns} from executions e join inbox_messages m on m.execution_id = e.id and m.n > e.inbox_acked
     where e.owner = $1 and e.inbox_seq > e.inbox_acked order by m.execution_id, m.n`,
    runner,
  );
  return rows.map((row) => inboxMessages.record(row));
}

/** The remaining messages of executions (a JSON array of ids): unread ones, and signals that no task has waited for yet. */
export function* inboxOfAll(tx: Tx, ids: string): Script<InboxMessage[]> {
  const rows = yield* all<Row>(
    `select ${columns} from inbox_messages m where ${tx.dialect.among('m.execution_id', '$1')} order by m.execution_id, m.n`,
    ids,
  );
  return rows.map((row) => inboxMessages.record(row));
}
