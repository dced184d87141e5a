import { isEnded } from '../../../core/execution.ts';
import type { ExecutionStatus } from '../../../core/execution.ts';
import type { Transition } from '../../transition.ts';
import { arraysOf, rowsFrom } from '../arrays.ts';
import type { ArrayColumns } from '../arrays.ts';
import { changedHeadRows, eventArrays, headArrays, lastEventRows } from './batch-rows.ts';
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

const mailArrays: ArrayColumns = {
  execution_id: 'text',
  n: 'int',
  at: 'bigint',
  kind: 'text',
  name: 'text',
  payload: 'json',
};
const toldArrays: ArrayColumns = { id: 'text', inbox_seq: 'int', woken: 'bool' };

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
  const mail: unknown[][] = [];
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
    mail.push([parent.id, parent.inbox_seq, letGo.endedAt, 'child_ended', letGo.parent!.task, JSON.stringify(id)]);
    const wakes = parent.owner === null && parent.status === 'waiting' && parent.epoch > 0;
    if (wakes) parent.status = 'pending';
    told.set(parent.id, wakes || told.get(parent.id) === true);
  }
  const inboxes = Array.from(told, ([id, woken]) => [id, heads.get(id)!.inbox_seq, woken]);
  const read = going.filter(({ release }) => release!.endedAt !== null && release!.inboxSeen > 0).map(({ id }) => [id]);
  return {
    held,
    statements: [
      ...rowsInto(headArrays, changedHeadRows(written, new Set(going)), (from) =>
        headsText('h.lets', ownRows(from, 'h')),
      ),
      ...rowsInto(eventArrays, lastEventRows(runner, going), (from) => {
        const columns = Object.keys(eventArrays).filter((name) => name !== 'lets');
        return `insert into events (${columns.join(', ')}) select ${columns.join(', ')} from ${from}`;
      }),
      ...rowsInto({ id: 'text' }, read, readMailText),
      ...rowsInto(
        mailArrays,
        mail,
        (from) => `insert into inbox_messages (${Object.keys(mailArrays).join(', ')}) select * from ${from}`,
      ),
      ...rowsInto(toldArrays, inboxes, (from) => toldText(ownRows(from, 'r'))),
    ],
  };
}

function rowsInto(
  columns: ArrayColumns,
  rows: readonly (readonly unknown[])[],
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
