import { isEnded } from '../../core/execution.ts';
import type { ExecutionStatus } from '../../core/execution.ts';
import { all, first, run } from '../script.ts';
import type { Script, Tx } from '../script.ts';

/**
 * What others want of an execution. Persisted words. `child_ended`: one has ended; `forked`: another was made from it. `helper_started`: a
 * helper has begun with attempts; `helper_result`: how they ended; `helper_lost`: the helper died.
 */
export type InboxMessageKind =
  | 'cancel'
  | 'pause'
  | 'resume'
  | 'signal'
  | 'child_ended'
  | 'forked'
  | 'helper_started'
  | 'helper_result'
  | 'helper_lost';

/** One piece of mail, numbered within its execution from 1. `payload` is JSON text. */
export interface InboxMessage {
  readonly executionId: string;
  readonly n: number;
  readonly at: number;
  readonly kind: InboxMessageKind;
  /** Of a signal its name, of an ended child the task that waits for it. */
  readonly name: string | null;
  readonly payload: string | null;
}

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
export function* lockHead(tx: Tx, id: string, tenant: string | null): Script<Head | undefined> {
  const head = yield* first<Head & { tenant: string }>(
    `select id, tenant, status, owner, inbox_seq, epoch, wake_at, reason from executions where id = $1 and pruned = 0${tx.dialect.lock('update')}`,
    id,
  );
  return head === undefined || (tenant !== null && head.tenant !== tenant) ? undefined : head;
}

/**
 * Puts mail into the box of an execution whose row is locked. One that waits and that nobody owns becomes pending; one
 * that is paused, or not yet at its `startAt`, keeps the mail for later.
 */
export function* post(tx: Tx, head: Head, mail: Pick<InboxMessage, 'kind' | 'name' | 'payload'>): Script<void> {
  yield* run(
    'insert into inbox_messages (execution_id, n, at, kind, name, payload) values ($1, $2, $3, $4, $5, $6)',
    head.id,
    head.inbox_seq + 1,
    tx.now,
    mail.kind,
    mail.name,
    mail.payload,
  );
  const wakes = head.owner === null && head.status === 'waiting' && head.epoch > 0;
  const woken = wakes ? `, status = 'pending', reason = 'woken', wake_at = null` : '';
  yield* run(`update executions set inbox_seq = $2${woken} where id = $1`, head.id, head.inbox_seq + 1);
}

/** Hands a signal to an execution; whoever owns it now or takes it next will read it. */
export function* sendSignal(tx: Tx, id: string, tenant: string, name: string, payload: string): Script<Delivery> {
  const head = yield* lockHead(tx, id, tenant);
  if (head === undefined) return { status: 'unknown' };
  if (isEnded(head.status)) return { status: 'ended', as: head.status };
  yield* post(tx, head, { kind: 'signal', name, payload });
  return { status: 'sent' };
}

/** A child has ended: its parent is told, unless that has ended itself. */
export function* childEnded(
  tx: Tx,
  parent: { readonly id: string; readonly task: string },
  child: string,
): Script<void> {
  const head = yield* lockHead(tx, parent.id, null);
  if (head === undefined || isEnded(head.status)) return;
  yield* post(tx, head, { kind: 'child_ended', name: parent.task, payload: JSON.stringify(child) });
}

interface MessageRow extends Omit<InboxMessage, 'executionId'> {
  readonly execution_id: string;
}

const columns = 'm.execution_id, m.n, m.at, m.kind, m.name, m.payload';

/** The mail that a runner's executions have and it has not taken in, in order. */
export function* inboxOf(runner: string): Script<InboxMessage[]> {
  const rows = yield* all<MessageRow>(
    `select ${columns} from executions e join inbox_messages m on m.execution_id = e.id and m.n > e.inbox_acked
     where e.owner = $1 and e.inbox_seq > e.inbox_acked order by m.execution_id, m.n`,
    runner,
  );
  return rows.map(messageRecord);
}

/** All mail of executions that is still there: unread, or signals that no task has waited for yet; by a JSON array of their ids. */
export function* inboxOfAll(tx: Tx, ids: string): Script<InboxMessage[]> {
  const rows = yield* all<MessageRow>(
    `select ${columns} from inbox_messages m where ${tx.dialect.among('m.execution_id', '$1')} order by m.execution_id, m.n`,
    ids,
  );
  return rows.map(messageRecord);
}

function messageRecord({ execution_id: executionId, n, at, kind, name, payload }: MessageRow): InboxMessage {
  return { executionId, n, at, kind, name, payload };
}
