import { isEnded } from '../../../core/execution.ts';
import type { ExecutionStatus } from '../../../core/execution.ts';
import type { Transition } from '../../transition.ts';
import { arraysOf, rowsFrom } from '../arrays.ts';
import type { InboxMessage } from '../../executions/inbox.ts';
import { events } from '../../tables/events.ts';
import { inboxMessages } from '../../tables/inbox-messages.ts';
import { Columns } from '../../tables/table.ts';
import { changedHeadRows, headChanges, lastEventRows } from './batch-rows.ts';
import { headsText, readMailText } from './commit-statement.ts';

/** A row of an execution that this transaction has locked. */
export interface Head {
  readonly id: string;
  readonly epoch: number;
  inbox_seq: number;
  owner: string | null;
  status: ExecutionStatus;
}

/** What follows for the rows of executions from the transitions of a batch, in their order. */
export interface ReleaseWrites {
  /** Not let go: mail has come. */
  readonly held: readonly string[];
  /** One statement for each kind of row that changes. */
  readonly statements: readonly { readonly text: string; readonly values: readonly unknown[] }[];
}

/** An execution whose inbox has grown. */
interface Told {
  readonly id: string;
  readonly inboxSeq: number;
  readonly woken: boolean;
}

const toldColumns = new Columns<Told>({ id: 'text', inboxSeq: 'int', woken: 'bool' });
const idColumn = new Columns<{ readonly id: string }>({ id: 'text' });

/**
 * Who is let go, and which parents hear of it: as if one transition were written after the other, so that a parent which
 * is let go after its child has ended is held, and one that was let go before is woken. `heads` are the rows as they are
 * before, parents' too; one that the batch has made is not among them.
 */
export function releaseWrites(
  runner: string,
  written: readonly Transition[],
  heads: ReadonlyMap<string, Head>,
): ReleaseWrites {
  const held: string[] = [];
  const going: Transition[] = [];
  const messages: InboxMessage[] = [];
  const told = new Map<string, boolean>();
  for (const transition of written) {
    const { id, release: letGo } = transition;
    if (letGo === null) continue;
    const head = heads.get(id);
    if ((head?.inbox_seq ?? 0) !== letGo.inboxSeen) {
      held.push(id);
      continue;
    }
    going.push(transition);
    if (head !== undefined) {
      head.owner = null;
      head.status = letGo.status;
    }
    const parent = letGo.endedAt === null ? undefined : heads.get(letGo.parent?.id ?? '');
    if (parent === undefined || isEnded(parent.status)) continue;
    parent.inbox_seq += 1;
    messages.push({
      executionId: parent.id,
      n: parent.inbox_seq,
      at: letGo.endedAt!,
      kind: 'child_ended',
      name: letGo.parent!.task,
      payload: JSON.stringify(id),
    });
    const wakes = parent.owner === null && parent.status === 'waiting' && parent.epoch > 0;
    if (wakes) parent.status = 'pending';
    told.set(parent.id, wakes || told.get(parent.id) === true);
  }
  const inboxes = Array.from(told, ([id, woken]) => ({ id, inboxSeq: heads.get(id)!.inbox_seq, woken }));
  const read = going
    .filter(({ release }) => release!.endedAt !== null && release!.inboxSeen > 0)
    .map(({ id }) => ({ id }));
  return {
    held,
    statements: [
      ...rowsInto(headChanges, changedHeadRows(written, new Set(going)), (from) =>
        headsText('h.lets', ownRows(from, 'h')),
      ),
      ...rowsInto(events, lastEventRows(runner, going), (from) => `${events.into} select * from ${from}`),
      ...rowsInto(idColumn, read, readMailText),
      ...rowsInto(inboxMessages, messages, (from) => `${inboxMessages.into} select * from ${from}`),
      ...rowsInto(toldColumns, inboxes, (from) => toldText(ownRows(from, 'r'))),
    ],
  };
}

function rowsInto<R>(
  columns: Columns<R>,
  rows: readonly R[],
  text: (from: string) => string,
): ReleaseWrites['statements'] {
  return rows.length === 0 ? [] : [{ text: text(rowsFrom(columns, 1, 'r')), values: arraysOf(columns, rows) }];
}

/** Those rows, each with the execution that it is of, found by its key. */
function ownRows(from: string, as: string): string {
  return `(select * from ${from}) ${as} cross join lateral (select * from executions e where e.id = ${as}.id) o`;
}

/** Written with `insert ... on conflict`, never `update ... from`: see `commitText`. */
function toldText(rows: string): string {
  return `insert into executions (id, tenant, workflow, build_id, epoch, created_at, root_id, input, input_parsed, inbox_seq, status, reason, wake_at)
    select o.id, o.tenant, o.workflow, o.build_id, o.epoch, o.created_at, o.root_id, '{}', 0, r.inbox_seq, case when r.woken then 'pending' else o.status end,
      case when r.woken then 'woken' else o.reason end, case when r.woken then null else o.wake_at end
    from ${rows}
    on conflict (id) do update set inbox_seq = excluded.inbox_seq, status = excluded.status, reason = excluded.reason, wake_at = excluded.wake_at`;
}
